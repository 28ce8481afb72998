"""fairseq's Transformer with the attention factors of https://arxiv.org/abs/1904.05873: `--arch spatial_attention`.

    self-attention of a layer: y = sum of the chosen operators at x, in fairseq's own residual block
    without any ("w/o"): the block is left out with its norm

The operators are generalized attention with the chosen terms E1..E4, a deformable convolution and a dynamic
convolution; encoder-decoder attention becomes generalized attention. All options of `--arch transformer` hold.
Positions enter through E2 and E4 and, as in every Transformer of fairseq, through the embeddings.
Departures and choices (the paper's form for translation could not be read): convolutions stand beside attention in one
residual block, since a Transformer has none that they could replace; those in the decoder are causal; encoder and
decoder change together unless `--self-attention-stacks` says otherwise. Shapes are T x N x C.
"""

# fairseq's option parser knows only these spellings of types.
# ruff: noqa: UP006, UP035

from dataclasses import dataclass, field
from typing import List

import torch
from fairseq.dataclass import FairseqDataclass
from fairseq.dataclass.utils import gen_parser_from_dataclass
from fairseq.models import register_model, register_model_architecture
from fairseq.models.transformer import (
    TransformerConfig,
    TransformerDecoderBase,
    TransformerEncoderBase,
    TransformerModel,
)
from fairseq.models.transformer.transformer_legacy import base_architecture
from fairseq.modules.transformer_layer import TransformerDecoderLayerBase, TransformerEncoderLayerBase
from torch import nn


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
        return AttentionEncoder(TransformerConfig.from_namespace(args), src_dict, embed_tokens)

    @classmethod
    def build_decoder(cls, args, tgt_dict, embed_tokens):
        return AttentionDecoder(TransformerConfig.from_namespace(args), tgt_dict, embed_tokens)


@register_model_architecture("spatial_attention", "spatial_attention")
def spatial_attention(args):
    """The sizes of fairseq's `transformer`; the attention of the options."""
    base_architecture(args)


class AttentionEncoder(TransformerEncoderBase):
    """fairseq's encoder with `AttentionEncoderLayer`s."""

    def build_encoder_layer(self, cfg):
        return AttentionEncoderLayer(cfg)


class AttentionDecoder(TransformerDecoderBase):
    """fairseq's decoder with `AttentionDecoderLayer`s."""

    def build_decoder_layer(self, cfg, no_encoder_attn=False):
        return AttentionDecoderLayer(cfg, no_encoder_attn)


class AttentionEncoderLayer(TransformerEncoderLayerBase):
    """x [T, N, C] -> [T, N, C]."""

    def __init__(self, cfg):
        super().__init__(cfg)
        leave_out_empty_block(self)

    def build_self_attention(self, embed_dim, cfg):
        return build_mixer(cfg, cfg.encoder, "encoder") or super().build_self_attention(embed_dim, cfg)


class AttentionDecoderLayer(TransformerDecoderLayerBase):
    """x [T, N, C], encoder output [S, N, C] -> (y [T, N, C], attention weights [N, T, S] or None, None)."""

    def __init__(self, cfg, no_encoder_attn=False):
        super().__init__(cfg, no_encoder_attn)
        leave_out_empty_block(self)

    def build_self_attention(self, embed_dim, cfg, add_bias_kv=False, add_zero_attn=False):
        mixer = build_mixer(cfg, cfg.decoder, "decoder")
        return mixer or super().build_self_attention(embed_dim, cfg, add_bias_kv, add_zero_attn)

    def build_encoder_attention(self, embed_dim, cfg):
        if cfg.encoder_attention_terms == "own":
            return super().build_encoder_attention(embed_dim, cfg)
        from ..layers import encoder_attention

        return encoder_attention.build(cfg, embed_dim)


def leave_out_empty_block(layer: nn.Module) -> None:
    """Without any operator the residual block is x itself: no norm either."""
    if isinstance(layer.self_attn, SelfMixer) and not layer.self_attn.operators:
        layer.self_attn_layer_norm = nn.Identity()


class SelfMixer(nn.Module):
    """The sum of operators in the place of fairseq's self-attention, called as that is."""

    def __init__(self, operators: list[nn.Module], heads: int, head_dim: int) -> None:
        super().__init__()
        self.operators = nn.ModuleList(operators)
        self.num_heads, self.head_dim = heads, head_dim

    def forward(self, query, key=None, value=None, key_padding_mask=None, incremental_state=None, **unused):
        """query [T, N, C] -> (y [T, N, C], None); operators are causal by themselves, fairseq's mask is not needed."""
        y = torch.zeros_like(query) if not self.operators else 0
        for operator in self.operators:
            out = operator(query, key_padding_mask=key_padding_mask, incremental_state=incremental_state)
            y = y + (out[0] if isinstance(out, tuple) else out)
        return y, None

    def _get_input_buffer(self, incremental_state):
        """fairseq's decoder layer asks; only its own cross-self-attention uses the answer."""
        return {}


def build_mixer(cfg, side, stack: str) -> SelfMixer | None:
    """The operators of a stack's self-attention; None where fairseq's own stays. Each imported only when asked for."""
    if cfg.self_attention_terms == "own" or stack not in cfg.self_attention_stacks:
        return None
    width, heads, causal, operators = side.embed_dim, side.attention_heads, stack == "decoder", []
    if cfg.self_attention_terms != "none":
        from ..layers import generalized_attention

        operators.append(generalized_attention.build(cfg, width, heads, causal))
    if cfg.deformable_kernel:
        from ..layers import deform_conv

        operators.append(deform_conv.build(cfg, width, heads, causal))
    if cfg.dynamic_kernel:
        from ..layers import dynamic_conv

        operators.append(dynamic_conv.build(cfg, width, heads, causal))
    return SelfMixer(operators, heads, width // heads)
