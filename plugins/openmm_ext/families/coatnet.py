"""CoAtNet and ViT_REL as backbones of mmpretrain's `ImageClassifier` (Dai et al., arXiv 2106.04803).

    custom_imports = dict(imports=["plugins.openmm_ext.families.coatnet"])
    model = dict(type="ImageClassifier", neck=None, head=dict(type="LinearClsHead", num_classes=1000, in_channels=768),
                 backbone=dict(type="ConvattnCoAtNet", image_size=(224, 224), head_hidden=True, stages=[...]))

`stages` as in `plugins.operators.coatnet.CoAtNet`. Weights of another layout are refused; those of another image size
load with their tables resized bilinearly. The backbone ends with global pooling, layer normalisation and, with
`head_hidden`, the dense layer of the last width that brings the parameter counts to the printed ones: the text of the
paper does not name it, timm's models of the paper's sizes have it.
"""

from mmengine.registry import MODELS
from torch import Tensor

from plugins.openmm_ext.layout_check import refuse_other_layouts
from plugins.operators.coatnet import HEAD_DIMS, SIZES, CoAtNet, stages_of_layout
from plugins.suite.errors import UserError

OPTION = "coatnet"
TASKS = ("classification",)
# Options that go to the operator under their own names.
OPERATOR_OPTIONS = ("head_dim", "relative", "norm", "stride_in", "drop_path", "head_hidden")


@MODELS.register_module()
class ConvattnCoAtNet(CoAtNet):
    """`CoAtNet` without its classifier; N x 3 x H x W -> (N x last width,)."""

    def __init__(self, stages: list, image_size: tuple[int, int], **options) -> None:
        super().__init__(stages, image_size, classes=None, **options)
        refuse_other_layouts(self, resizable=(".table",))

    def forward(self, x: Tensor) -> tuple[Tensor]:
        return (super().forward(x),)


def backbone(options: dict) -> tuple[dict, int]:
    """(backbone's config, its last width) for the `coatnet` options; UserError for those that do not go together."""
    stages, strides = _stages(options)
    if "s2_share" in options:
        stages = _split(stages, options["s2_share"])
    given = {key: options[key] for key in OPERATOR_OPTIONS if key in options}
    if "layout" not in options:
        given.setdefault("head_dim", HEAD_DIMS[options["size"]])
    side = _needed(options, "image_size")
    config = {
        "type": "ConvattnCoAtNet",
        "stages": stages,
        "image_size": (side, side),
        "strides": tuple(strides),
        **given,
    }
    return config, stages[-1][-1][2]


def place(model: dict, options: dict, task) -> None:
    """Write the backbone into the config of an `ImageClassifier`.

    It returns pooled vectors, so that no neck is needed.
    """
    model["backbone"], model["head"]["in_channels"] = backbone(options)
    model["neck"] = None


def _stages(options: dict) -> tuple[tuple, tuple[int, ...]]:
    """(stages, strides) of the layout, or of the paper's size where no layout is named."""
    layout = options.get("layout")
    strides = options.get("strides", (2, 2, 2, 2, 2))
    if layout is None:
        return SIZES[_needed(options, "size")], strides
    if layout == "ViT_REL":
        vit = _needed(options, "vit")
        if _needed(options, "image_size") % vit["patch"]:
            raise UserError(f"model.coatnet.vit.patch={vit['patch']}: must divide image_size={options['image_size']}")
        return ((("P", 1, vit["width"]),), (("T", vit["blocks"], vit["width"]),)), (vit["patch"], 1)
    blocks = _needed(options, "blocks")
    if layout not in blocks:
        raise UserError(f"model.coatnet.blocks: says nothing of layout {layout}; give its five numbers of blocks")
    return stages_of_layout(layout, tuple(blocks[layout]), tuple(_needed(options, "widths"))), strides


def _split(stages: tuple, share: float) -> tuple:
    """The same blocks in S2 and S3 together, `share` of them in S2 (rounded, at least one in each)."""
    if len(stages) != 5 or len(stages[3]) != 1:
        raise UserError("model.coatnet.s2_share: needs five stages, S3 of one kind; take another layout or size")
    (kind2, count2, width2), (kind3, count3, width3) = stages[2][0], stages[3][0]
    both = count2 + count3
    in_s2 = min(max(round(share * both), 1), both - 1)
    return (*stages[:2], ((kind2, in_s2, width2),), ((kind3, both - in_s2, width3),), stages[4])


def _needed(options: dict, key: str):
    if key not in options:
        raise UserError(f"model.coatnet.{key}: is missing; give it in the recipe")
    return options[key]
