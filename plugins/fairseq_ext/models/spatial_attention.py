"""fairseq's Transformer with the attention factors of https://arxiv.org/abs/1904.05873: `--arch spatial_attention`.

Self-attention becomes a sum of what is asked for: generalized attention with the chosen terms E1..E4, a deformable
convolution, a dynamic convolution, or nothing at all; encoder-decoder attention becomes generalized attention. All
options of `--arch transformer` hold. The paper's form for translation could not be read; what is chosen here is said in
the options' help and in `attention_layers`. Positions enter through E2 and E4 and, as in every Transformer of fairseq,
through the embeddings.
"""

# fairseq's option parser knows only these spellings of types.
# ruff: noqa: UP006, UP035

from dataclasses import dataclass, field
from typing import List

from fairseq.dataclass import FairseqDataclass
from fairseq.dataclass.utils import gen_parser_from_dataclass
from fairseq.models import register_model, register_model_architecture
from fairseq.models.transformer import TransformerConfig, TransformerModel
from fairseq.models.transformer.transformer_legacy import base_architecture


@dataclass
class SpatialAttentionOptions(FairseqDataclass):
    self_attention_terms: str = field(
        default="1111",
        metadata={"help": "terms E1..E4 of self-attention as four bits, 'none' to leave it out, 'own' for fairseq's"},
    )
    self_attention_stacks: List[str] = field(
        default_factory=lambda: ["encoder", "decoder"],
        metadata={"help": "stacks whose self-attention is exchanged, such as ['encoder']; fairseq's own elsewhere"},
    )
    self_attention_range: int = field(
        default=-1,
        metadata={"help": "positions further away than this are not read by self-attention; -1 for no limit"},
    )
    deformable_kernel: int = field(
        default=0, metadata={"help": "add a deformable convolution with that many taps to self-attention; 0 for none"}
    )
    dynamic_kernel: int = field(
        default=0, metadata={"help": "add a dynamic convolution with that many taps to self-attention; 0 for none"}
    )
    encoder_attention_terms: str = field(
        default="own", metadata={"help": "terms of encoder-decoder attention as four bits, 'own' for fairseq's"}
    )


@register_model("spatial_attention")
class SpatialAttentionModel(TransformerModel):
    """fairseq's encoder-decoder with exchanged attention."""

    @classmethod
    def add_args(cls, parser):
        super().add_args(parser)
        gen_parser_from_dataclass(parser, SpatialAttentionOptions())

    @classmethod
    def build_encoder(cls, args, src_dict, embed_tokens):
        from ..attention_layers import AttentionEncoder

        return AttentionEncoder(TransformerConfig.from_namespace(args), src_dict, embed_tokens)

    @classmethod
    def build_decoder(cls, args, tgt_dict, embed_tokens):
        from ..attention_layers import AttentionDecoder

        return AttentionDecoder(TransformerConfig.from_namespace(args), tgt_dict, embed_tokens)


@register_model_architecture("spatial_attention", "spatial_attention")
def spatial_attention(args):
    """The sizes of fairseq's `transformer`; the attention of the options."""
    base_architecture(args)
