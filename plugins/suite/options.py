"""The options in which arms (`set`) and recipes (`model`) speak of operators, keyed by task.

An option that a task does not know is a fault when the file is read: it would otherwise be left unread, and the arm
would silently equal its base. Options are absent unless a file gives them; defaults are the operators' own.

Each task has three types: what a recipe may say, what an arm may say (sizes as multiples of the recipe's too), and what
a resolved run must say, which adds the rules in which several options take part.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, model_validator

from plugins.suite.typed import Strict, described, fault, pattern, unique

Positive = Annotated[int, Field(ge=1)]
Terms = pattern("[01]{4}", 'four bits in quotes, E1 E2 E3 E4, such as "0010"')
Multiple = pattern("x[0-9]+([.][0-9]+)?", "a multiple of the recipe's, such as x2 or x0.75")
Stacks = Annotated[list[Literal["encoder", "decoder"]], Field(min_length=1), AfterValidator(unique)]
FivePositive = Annotated[list[Positive], Field(min_length=5, max_length=5)]
Side = Annotated[list[Positive], Field(min_length=2, max_length=2), "a pair [height, width]"]
Layout = Literal["ViT_REL", "C-C-C-C", "C-C-C-T", "C-C-T-T", "C-T-T-T"]
Mix = Literal["plain", "attention", "convolution", "sum", "convex", "free"]
ResNets = Literal["cifar20", "wrn28_10", "resnet34", "resnet50", "resnet101", "resnet152"]
Mixed = Literal["cifar29", "resnet26", "resnet38", "resnet50", "swin_tiny", "swin_small"]


def option(description: str, unit: str = "", **limits: Any) -> Any:
    """An option, which stays absent where no file gives it. Null is a value of its own, where the type has it."""
    return described(description, None, unit, True, **limits)


class ImageAttention(Strict):
    """Generalized attention (arXiv 1904.05873) on maps."""

    terms: Terms = option("which of the four terms of the attention weight are on")
    kv_stride: int = option("stride at which keys and values are taken", "pixels of the map", ge=1)
    heads: int = option("number of heads, which divides the channels", ge=1)
    spatial_range: int = option("furthest offset of a key from its query, -1 for no limit", "keys", ge=-1)
    window: int = option(
        "side (odd) of a window of keys centred on the query, in place of spatial_range", "pixels of the map", ge=1
    )

    @model_validator(mode="after")
    def _one_limit(self) -> ImageAttention:
        if self.window and self.window % 2 == 0:
            raise fault("window", f"{self.window} must be odd, so that the query stands in its middle")
        if self.window and self.spatial_range is not None:
            raise fault("window", "is another kind of limit than spatial_range; leave one of them out")
        return self


class SentenceAttention(Strict):
    """Generalized attention (arXiv 1904.05873) on sentences."""

    terms: Terms = option("which of the four terms of the attention weight are on")
    spatial_range: int = option("furthest offset of a key from its query, -1 for no limit", "tokens", ge=-1)


class CrossAttention(Strict):
    """Generalized attention from the sentence that is written to the one that is read."""

    terms: Terms = option("which of the four terms of the attention weight are on")


class ImageDynamicConvolution(Strict):
    """Dynamic convolution (arXiv 1901.10430) in the form for images: kernel x kernel weights made at each position."""

    kernel: int = option("side of the window", "pixels of the map", ge=1)
    heads: int = option("number of heads, each with weights of its own", ge=1)


class SentenceDynamicConvolution(Strict):
    """Dynamic convolution (arXiv 1901.10430)."""

    kernel: int = option("width of the window", "tokens", ge=1)


class Convolution(Strict):
    """The convolution branch of MUSE (arXiv 1911.09483)."""

    kernels: list[Positive] = option("kernel sizes, weighed by a learnt gate", "tokens", min_length=1)
    kind: Literal["dynamic", "depthwise", "standard"] = option("how the kernel's weights come about")
    projection: Literal["shared", "separate", "attention"] = option(
        "what the convolution reads: attention's values, a linear map of its own, or attention's output"
    )
    combine: Literal["gate", "concat"] = option("how the outputs of several kernels become one")
    per_layer: Annotated[list[Positive], Field(min_length=1)] | None = option(
        "sizes spread over the layers, one a layer, in place of `kernels`; null for the same in all", "tokens"
    )
    mask_padding: bool = option("whether padding is set to zero before the convolution reads it")
    stacks: Stacks = option("the stacks that have the convolution; both without it")


class VitShape(Strict):
    """The shape of ViT_REL."""

    patch: int = described("side of a patch", unit="pixels", ge=1)
    width: int = described("width of the blocks", unit="channels", ge=1)
    blocks: int = described("number of blocks", ge=1)


class CoAtNet(Strict):
    """A CoAtNet (arXiv 2106.04803) as the backbone of a classifier."""

    size: int = option("the paper's CoAtNet-0 .. CoAtNet-7", ge=0, le=7)
    layout: Layout = option("S1..S4 as C (MBConv) or T (Transformer), or ViT_REL; takes the place of `size`")
    widths: FivePositive = option("widths of S0..S4 of the layouts", "channels")
    blocks: dict[Layout, FivePositive] = option("number of blocks of S0..S4, by layout")
    vit: VitShape = option("shape of ViT_REL")
    image_size: int = option("side of the images", "pixels", ge=1)
    strides: Annotated[list[Literal[1, 2]], Field(min_length=5, max_length=5)] = option("strides of S0..S4")
    s2_share: float = option("share of the blocks of S2 and S3 that stand in S2", gt=0, lt=1)
    head_dim: int = option("size of an attention head", "channels", ge=1)
    relative: Literal["pre", "post", "none"] = option("the bias by offset: inside the softmax, behind it, or none")
    norm: Literal["batch", "layer"] = option("normalisation in MBConv")
    stride_in: Literal["expand", "depthwise"] = option("the convolution of MBConv that strides")
    drop_path: float = option("stochastic depth of the last block", ge=0, lt=1)
    head_hidden: bool = option("whether a dense layer of the last width stands before the classifier")


class AAConv(Strict):
    """A ResNet with attention augmented convolutions (arXiv 1904.09925), or a rival of it."""

    network: ResNets = option("the network whose convolutions are exchanged")
    channels: int = option("channels of the first stage; the network's own without it", ge=1)
    stem_stride: Literal[1, 2, 4] = option("what the stem divides the picture's sides by")
    image: Positive | Side = option("side of the training pictures, or [height, width]", "pixels")
    kind: Literal["plain", "augmented", "se", "ge"] = option("nothing, attention, or a gate over channels")
    kappa: float = option("d_k / output channels", ge=0, le=1)
    nu: float = option("d_v / output channels", gt=0, le=1)
    heads: int = option("number of heads", ge=1)
    key_floor: int = option("least d_k of a head", "channels", ge=1)
    position: Literal["none", "sine", "coordconv", "relative"] = option("position encoding of the attention")
    pool: int = option("pooling before attention in the first augmented stage", "pixels of the map", ge=1)


class ACmix(Strict):
    """A ResNet or Swin Transformer with ACmix (arXiv 2111.14556)."""

    network: Mixed = option("the network whose layers are exchanged")
    channels: int = option("channels of the first stage; the network's own without it", ge=1)
    stem_stride: Literal[1, 2, 4] = option("what the stem, or a patch, divides the picture's sides by")
    image: int = option("side of the training pictures; decides a Swin's window", "pixels", ge=1)
    mix: Mix = option("the paths, and how they are weighed: 1 + 1, a + (1 - a), free a and b")
    shift: Literal["tensor", "fixed", "learnable", "random"] = option("how the shift is computed, and its start")
    outputs: Literal["heads", "shared"] = option("one set of shift kernels a head, or one for all")
    heads: int = option("ResNets: number of heads, which divides the channels", ge=1)
    kernel_att: Literal[1, 3, 5, 7, 9, 11] = option("ResNets: side of the attention window")
    kernel_conv: Literal[1, 3, 5, 7] = option("side of the convolution")
    drop_path: float = option("stochastic depth of the last block", ge=0, lt=1)


class AAConvLayer(Strict):
    """One attention augmented convolution (arXiv 1904.09925), 3x3."""

    side: int = option("height and width of the maps", "pixels of the map", ge=1)
    kappa: float = option("d_k / output channels", ge=0, le=1)
    nu: float = option("d_v / output channels; 0 for a plain convolution, 1 for attention alone", ge=0, le=1)
    heads: int = option("number of heads", ge=1)
    key_floor: int = option("least d_k of a head", "channels", ge=1)
    position: Literal["none", "sine", "coordconv", "relative"] = option("position encoding of the attention")


class ACmixLayer(Strict):
    """ACmix (arXiv 2111.14556)."""

    mix: Literal["attention", "convolution", "sum", "convex", "free"] = option("the paths, and how they are weighed")
    heads: int = option("number of heads, which divides the channels", ge=1)
    kernel_att: Literal[1, 3, 5, 7, 9, 11] = option("side of the attention window")
    kernel_conv: Literal[1, 3, 5, 7] = option("side of the convolution")
    depth: int = option("how many stand in a row, 1 where it is not given", "layers", ge=1)


class TranslationOptions(Strict):
    """Translation: the encoder-decoder and what stands in the place of its self-attention."""

    layers: int = option("blocks of the encoder, and of the decoder", ge=1)
    width: int = option("width of the embeddings and blocks", "channels", ge=1)
    ffn_width: int = option("width inside the feed-forward network", "channels", ge=1)
    heads: int = option("attention heads, which divide the width", ge=1)
    dropout: float = option("dropout of block outputs", ge=0, lt=1)
    parallel: bool = option("true (all branches in one residual block, MUSE) or false (the plain Transformer)")
    convolution: Convolution | None = option("the convolution branch of MUSE, or null for none")
    ffn: Literal["own", "none", "shared"] = option("feed-forward branch: its own, none, or shared with the convolution")
    ffn_widened_for: list[Positive] = option(
        "kernel sizes: the FFN grows by the parameters that a convolution with them would add", "tokens", min_length=1
    )
    initialisation: Literal["default", "xavier"] = option("of the linear maps of MUSE: PyTorch's default or Xavier's")
    released_parameters: bool = option("keeps the never used norm of MUSE's released decoder, for its parameter totals")
    attention: SentenceAttention | None = option("generalized attention for self-attention, or null for none")
    deformable: bool = option("deformable convolution of 3 taps beside or for self-attention")
    dynamic_convolution: SentenceDynamicConvolution | None = option("dynamic convolution for self-attention, or null")
    stacks: Stacks = option("where those three stand; both without it")
    encoder_attention: CrossAttention | None = option("terms of encoder-decoder attention; null for fairseq's own")


class TranslationArm(TranslationOptions):
    """Translation, in an arm: sizes may be multiples of the recipe's."""

    layers: Positive | Multiple = option("blocks of the encoder, and of the decoder")
    width: Positive | Multiple = option("width of the embeddings and blocks", "channels")
    ffn_width: Positive | Multiple = option("width inside the feed-forward network", "channels")


EXCHANGED = ("attention", "deformable", "dynamic_convolution")


class TranslationModel(TranslationOptions):
    """Translation, resolved."""

    layers: int = described("blocks of the encoder, and of the decoder", ge=1)
    width: int = described("width of the embeddings and blocks", unit="channels", ge=1)
    ffn_width: int = described("width inside the feed-forward network", unit="channels", ge=1)
    heads: int = described("attention heads, which divide the width", ge=1)
    dropout: float = described("dropout of block outputs", ge=0, lt=1)

    @model_validator(mode="after")
    def _go_together(self) -> TranslationModel:
        given = self.model_fields_set
        attention = {*EXCHANGED, "stacks", "encoder_attention"} & given
        if attention and (self.parallel or self.convolution):
            raise fault(min(attention), "takes the place of attention; leave out parallel and convolution, MUSE's own")
        if "stacks" in given and not given & {*EXCHANGED}:
            raise fault("stacks", f"says where something stands that is not given; add one of {', '.join(EXCHANGED)}")
        if not self.parallel:
            self._refuse_muse()
        elif self.ffn == "shared" and not self.convolution:
            raise fault("ffn", "shared means shared with the convolution; set convolution too")
        elif self.convolution and not (self.convolution.kernels or self.convolution.per_layer):
            raise fault("convolution.kernels", "is missing; give kernels or per_layer")
        for key in ("attention", "encoder_attention"):
            if getattr(self, key) and not getattr(self, key).terms:
                raise fault(f"{key}.terms", "is missing; give the four bits")
        if self.dynamic_convolution and not self.dynamic_convolution.kernel:
            raise fault("dynamic_convolution.kernel", "is missing; give the width of the window")
        return self

    def _refuse_muse(self) -> None:
        """What the plain Transformer would leave unread."""
        for key, harmless in (("convolution", None), ("ffn", "own"), ("released_parameters", False)):
            if getattr(self, key) not in (None, harmless):
                raise fault(key, "the plain Transformer (parallel: false) has none; set parallel to true")
        if self.initialisation:
            raise fault("initialisation", "is MUSE's; leave it out where parallel is false")


class DetectionOptions(Strict):
    """Detection: what the backbone is, or what is put into the recipe's own."""

    attention: ImageAttention | None = option("generalized attention behind 3x3 convolutions, or null for none")
    deformable: bool = option("deformable convolution in the place of 3x3 convolutions of conv3 to conv5")
    dynamic_convolution: ImageDynamicConvolution | None = option("dynamic convolution in attention's place, or null")
    aaconv: AAConv = option("a ResNet with attention augmented convolutions as the backbone")
    acmix: ACmix = option("a ResNet or Swin Transformer with ACmix as the backbone")


class DetectionModel(DetectionOptions):
    """Detection, resolved."""

    @model_validator(mode="after")
    def _go_together(self) -> DetectionModel:
        for family in ("aaconv", "acmix"):
            others = [key for key in self.model_fields_set if key != family and getattr(self, key)]
            if getattr(self, family) and others:
                raise fault(family, f"brings its own backbone, which has no {min(others)}; leave one of them out")
        if self.attention and self.dynamic_convolution:
            raise fault("attention", "takes the same place as dynamic_convolution; set one of them to null")
        if self.attention and not self.attention.terms:
            raise fault("attention.terms", "is missing; give the four bits")
        if self.dynamic_convolution and not self.dynamic_convolution.kernel:
            raise fault("dynamic_convolution.kernel", "is missing; give the side of the window")
        _need_network(self)
        return self


class SegmentationOptions(DetectionOptions):
    """Segmentation: what the backbone is, or what is put into the recipe's own and its head."""


class SegmentationModel(DetectionModel):
    """Segmentation, resolved."""


class ClassificationOptions(Strict):
    """Classification: the backbone, exactly one of three families."""

    coatnet: CoAtNet = option("a CoAtNet or ViT_REL")
    aaconv: AAConv = option("a ResNet with attention augmented convolutions, or a rival of it")
    acmix: ACmix = option("a ResNet or Swin Transformer with ACmix")
    train_fraction: float = option(
        "share of every class that is trained on; smaller shares lie inside larger ones", gt=0, le=1
    )


class ClassificationModel(ClassificationOptions):
    """Classification, resolved."""

    @model_validator(mode="after")
    def _go_together(self) -> ClassificationModel:
        families = [key for key in ("aaconv", "acmix", "coatnet") if getattr(self, key)]
        if len(families) != 1:
            known = "one of aaconv, acmix, coatnet"
            raise fault(families[-1] if families else "", f"{' and '.join(families) or 'no family'}; give {known}")
        if self.coatnet and not self.coatnet.image_size:
            raise fault("coatnet.image_size", "is missing; give it in the recipe")
        if self.coatnet and self.coatnet.layout is None and self.coatnet.size is None:
            raise fault("coatnet", "needs size or layout")
        _need_network(self)
        return self


class ProbeOptions(Strict):
    """Image probes: the one layer behind the stem of the recipe's network, or a whole network with a map at its end."""

    attention: ImageAttention | None = option("generalized attention, or null for none")
    dynamic_convolution: ImageDynamicConvolution | None = option("dynamic convolution, or null for none")
    deformable: bool = option("deformable convolution in the place of the recipe's 3x3 convolution, where it has one")
    aaconv: AAConvLayer = option("an attention augmented convolution")
    acmix: ACmixLayer = option("an ACmix layer")
    coatnet: CoAtNet = option("a CoAtNet or ViT_REL in the place of stem and layer")


LAYERS = ("attention", "dynamic_convolution", "aaconv", "acmix")


class ProbeModel(ProbeOptions):
    """Image probes, resolved."""

    @model_validator(mode="after")
    def _go_together(self) -> ProbeModel:
        layers = [key for key in LAYERS if getattr(self, key)]
        if len(layers) > 1:
            raise fault(layers[1], f"takes the same place as {layers[0]}; leave one of them out")
        if self.coatnet and (layers or self.deformable):
            raise fault("coatnet", f"is a whole network, which has no {(layers or ['deformable'])[0]}; leave one out")
        if self.coatnet and not self.coatnet.image_size:
            raise fault("coatnet.image_size", "is missing; give it in the recipe")
        if self.attention and not self.attention.terms:
            raise fault("attention.terms", "is missing; give the four bits")
        if self.dynamic_convolution and not self.dynamic_convolution.kernel:
            raise fault("dynamic_convolution.kernel", "is missing; give the side of the window")
        if self.aaconv and not self.aaconv.side:
            raise fault("aaconv.side", "is missing; give it in the recipe")
        return self


def _need_network(model: DetectionModel | ClassificationModel) -> None:
    for family in ("aaconv", "acmix"):
        if getattr(model, family) and not getattr(model, family).network:
            raise fault(f"{family}.network", "is missing; give it in the recipe")


# What an arm's `set` may say, by task. Recipes and resolved runs: plugins/suite/schema.py.
ARM_OPTIONS: dict[str, type[Strict]] = {
    "translation": TranslationArm,
    "detection": DetectionOptions,
    "segmentation": SegmentationOptions,
    "classification": ClassificationOptions,
    "probe": ProbeOptions,
}
