"""MUSE for fairseq (https://arxiv.org/abs/1911.09483): `--arch muse` and the architectures below.

One residual block a layer: self-attention, convolution, feed-forward and, in the decoder, cross-attention read the same
input and are summed. No kernels gives MUSE-simple. Embeddings, positions, beam search and training are fairseq's own.
Departures from the released code: padding does not leak into the convolution unless asked for, `--weight-dropout` is
heeded, and the never used cross-attention norm exists only with `--released-parameters`.
"""

# fairseq's option parser knows only these spellings of types.
# ruff: noqa: UP006, UP035, UP045

from argparse import Namespace
from dataclasses import dataclass, field
from typing import List, Optional

from fairseq.dataclass import ChoiceEnum, FairseqDataclass
from fairseq.dataclass.utils import gen_parser_from_dataclass
from fairseq.models import register_model, register_model_architecture
from fairseq.models.transformer import TransformerConfig, TransformerModelBase
from omegaconf import DictConfig, OmegaConf


@dataclass
class MuseConfig(FairseqDataclass):
    encoder_embed_dim: int = field(default=384, metadata={"help": "width of the encoder, a multiple of its heads"})
    encoder_ffn_embed_dim: int = field(
        default=768, metadata={"help": "hidden width of the encoder's feed-forward branch"}
    )
    encoder_layers: int = field(default=12, metadata={"help": "number of encoder layers"})
    encoder_attention_heads: int = field(
        default=4, metadata={"help": "attention heads, also kernel groups, of the encoder"}
    )
    decoder_embed_dim: int = field(default=384, metadata={"help": "width of the decoder, a multiple of its heads"})
    decoder_ffn_embed_dim: int = field(
        default=768, metadata={"help": "hidden width of the decoder's feed-forward branch"}
    )
    decoder_layers: int = field(default=12, metadata={"help": "number of decoder layers"})
    decoder_attention_heads: int = field(
        default=4, metadata={"help": "attention heads, also kernel groups, of the decoder"}
    )
    convolution_kernels: List[int] = field(
        default_factory=lambda: [3, 15],
        metadata={
            "help": "odd kernel sizes of the convolution branch of every layer, such as [3,15]; [] for MUSE-simple"
        },
    )
    convolution_per_layer: Optional[List[int]] = field(
        default=None,
        metadata={
            "help": "one kernel size a layer instead, from the lowest up, such as [3,7,15,31]; same in both stacks"
        },
    )
    convolution_kind: ChoiceEnum(["dynamic", "depthwise", "standard"]) = field(
        default="dynamic",
        metadata={"help": "kernels made from the input, learnt depthwise kernels, or a dense convolution"},
    )
    convolution_projection: ChoiceEnum(["shared", "separate", "attention"]) = field(
        default="shared",
        metadata={"help": "the convolution reads the values of self-attention, a projection of its own, or its output"},
    )
    convolution_stacks: List[str] = field(
        default_factory=lambda: ["encoder", "decoder"],
        metadata={"help": "stacks that have the convolution, such as ['encoder']"},
    )
    initialisation: ChoiceEnum(["default", "xavier"]) = field(
        default="default", metadata={"help": "of the layers' linear maps: as released, or Xavier-uniform"}
    )
    convolution_combine: ChoiceEnum(["gate", "concat"]) = field(
        default="gate", metadata={"help": "several kernels: learnt softmax weights, or all of them side by side"}
    )
    convolve_padding: bool = field(
        default=False, metadata={"help": "let padding leak into the encoder's convolution, as the released code does"}
    )
    ffn: ChoiceEnum(["own", "none", "shared"]) = field(
        default="own",
        metadata={
            "help": "feed-forward branch: its own; none; or, encoder only, its first map feeds the convolution too"
        },
    )
    dropout: float = field(default=0.1, metadata={"help": "dropout of embeddings and of every branch before the sum"})
    attention_dropout: float = field(default=0.0, metadata={"help": "dropout of attention probabilities"})
    activation_dropout: float = field(default=0.0, metadata={"help": "dropout after the feed-forward activation"})
    input_dropout: float = field(default=0.0, metadata={"help": "dropout of the input of attention and convolution"})
    weight_dropout: float = field(default=0.1, metadata={"help": "DropConnect of the dynamic kernels"})
    share_decoder_input_output_embed: bool = field(
        default=False, metadata={"help": "share decoder input and output embeddings"}
    )
    share_all_embeddings: bool = field(
        default=False, metadata={"help": "share all embeddings (needs a joined dictionary and equal widths)"}
    )
    released_parameters: bool = field(
        default=False,
        metadata={"help": "keep the unused cross-attention norm of the released decoder, for its parameter totals"},
    )
    fuse_matrices: bool = field(
        default=False,
        metadata={"help": "at generation, read and write self-attention and feed-forward with one matrix each"},
    )
    max_source_positions: int = field(default=1024, metadata={"help": "longest source, in tokens"})
    max_target_positions: int = field(default=1024, metadata={"help": "longest target, in tokens"})


@register_model("muse", dataclass=MuseConfig)
class MuseModel(TransformerModelBase):
    """fairseq's encoder-decoder with MUSE layers in both stacks."""

    @classmethod
    def add_args(cls, parser):
        # Without defaults, so that the sizes of an architecture can tell what the user did not set.
        gen_parser_from_dataclass(parser, MuseConfig(), delete_default=True)

    @classmethod
    def build_model(cls, cfg, task):
        return super().build_model(transformer_config(cfg), task)

    @classmethod
    def build_encoder(cls, cfg, src_dict, embed_tokens):
        from ..layers.muse import MuseEncoder

        return MuseEncoder(cfg, src_dict, embed_tokens)

    @classmethod
    def build_decoder(cls, cfg, tgt_dict, embed_tokens):
        from ..layers.muse import MuseDecoder

        return MuseDecoder(cfg, tgt_dict, embed_tokens)


def transformer_config(cfg) -> TransformerConfig:
    """fairseq's nested configuration from the flat options of MuseConfig; MUSE's own switches become attributes."""
    options = OmegaConf.to_container(cfg) if isinstance(cfg, DictConfig) else vars(cfg)
    options = {key: getattr(value, "value", value) for key, value in options.items()}
    # fairseq derives these two through an interpolation that does not follow a changed width.
    options["decoder_input_dim"] = options["decoder_output_dim"] = options["decoder_embed_dim"]
    return TransformerConfig.from_namespace(Namespace(**options))


def _sizes(args, width, ffn_width, layers, heads):
    for side in ("encoder", "decoder"):
        _default(args, f"{side}_embed_dim", width)
        _default(args, f"{side}_ffn_embed_dim", ffn_width)
        _default(args, f"{side}_layers", layers)
        _default(args, f"{side}_attention_heads", heads)


def _default(args, name, value):
    if not hasattr(args, name):
        setattr(args, name, value)


@register_model_architecture("muse", "muse_mini")
def muse_mini(args):
    """The size of the generated data: minutes on one core."""
    _sizes(args, width=64, ffn_width=128, layers=2, heads=4)


@register_model_architecture("muse", "muse_iwslt_de_en")
def muse_iwslt_de_en(args):
    """IWSLT14 De-En (section 3.1): 12 + 12 layers of width 384."""
    _sizes(args, width=384, ffn_width=768, layers=12, heads=4)
    _default(args, "dropout", 0.4)


@register_model_architecture("muse", "muse_simple_iwslt_de_en")
def muse_simple_iwslt_de_en(args):
    """MUSE-simple of the same size: no convolution."""
    _default(args, "convolution_kernels", [])
    muse_iwslt_de_en(args)


@register_model_architecture("muse", "muse_wmt_en_de_big")
def muse_wmt_en_de_big(args):
    """WMT14 En-De: 12 + 12 layers of width 768, joined dictionary."""
    _sizes(args, width=768, ffn_width=3072, layers=12, heads=16)
    _default(args, "dropout", 0.3)
    _default(args, "attention_dropout", 0.1)
    _default(args, "input_dropout", 0.1)
    _default(args, "share_all_embeddings", True)


@register_model_architecture("muse", "muse_wmt_en_fr_big")
def muse_wmt_en_fr_big(args):
    """WMT14 En-Fr: as En-De, less dropout."""
    _default(args, "dropout", 0.1)
    muse_wmt_en_de_big(args)
