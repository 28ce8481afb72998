"""Transformer layers with exchanged attention, for the translation studies of https://arxiv.org/abs/1904.05873.

    self-attention of a layer: y = sum of the chosen operators at x, in fairseq's own residual block
    without any ("w/o"): the block is left out with its norm

Departures and choices (the paper's form could not be read): the deformable convolution is dense over channels and
stands beside attention in one residual block, since a Transformer has no convolution that it could replace; those in
the decoder are causal; encoder and decoder change together unless `self_attention_stacks` says otherwise.
Shapes are T x N x C.
"""

import torch
from fairseq.models.transformer import TransformerDecoderBase, TransformerEncoderBase
from fairseq.modules.transformer_layer import TransformerDecoderLayerBase, TransformerEncoderLayerBase
from torch import nn


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
        if cfg.encoder.embed_dim != embed_dim:
            raise ValueError(
                f"encoder_embed_dim={cfg.encoder.embed_dim}: must equal decoder_embed_dim={embed_dim} for "
                "encoder_attention_terms"
            )
        from plugins.operators.generalized_attention_1d import GeneralizedAttention1d

        heads, dropout = cfg.decoder.attention_heads, cfg.attention_dropout
        return EncoderAttention(GeneralizedAttention1d(embed_dim, cfg.encoder_attention_terms, heads, dropout=dropout))


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


class EncoderAttention(nn.Module):
    """Generalized attention in the place of fairseq's encoder-decoder attention, called as that is."""

    def __init__(self, operator: nn.Module) -> None:
        super().__init__()
        self.operator = operator

    def forward(
        self,
        query,
        key,
        value=None,
        key_padding_mask=None,
        incremental_state=None,
        need_weights=True,
        need_head_weights=False,
        **unused,
    ):
        """query [T, N, C], key [S, N, C] -> (y [T, N, C], weights [N, T, S] averaged over heads, or None).

        With `need_head_weights`, which fairseq asks for to average them itself, the average as a single head.
        """
        wanted = need_weights or need_head_weights
        y, weights = self.operator(query, key, key_padding_mask, incremental_state, wanted)
        return y, weights[None] if need_head_weights else weights


def build_mixer(cfg, side, stack: str) -> SelfMixer | None:
    """The operators of a stack's self-attention; None where fairseq's own stays. Each imported only when asked for."""
    terms = cfg.self_attention_terms
    if terms == "own" or stack not in cfg.self_attention_stacks:
        return None
    width, heads, causal, operators = side.embed_dim, side.attention_heads, stack == "decoder", []
    if terms != "none":
        from plugins.operators.generalized_attention_1d import GeneralizedAttention1d

        reach = cfg.self_attention_range
        operators.append(GeneralizedAttention1d(width, terms, heads, causal, cfg.attention_dropout, reach))
    if cfg.deformable_kernel:
        from plugins.operators.deform_conv import DeformConv1d

        operators.append(DeformConv1d(width, width, cfg.deformable_kernel, causal))
    if cfg.dynamic_kernel:
        from plugins.operators.dynamic_conv import DynamicConvBlock1d

        operators.append(DynamicConvBlock1d(width, cfg.dynamic_kernel, heads, causal, cfg.attention_dropout))
    return SelfMixer(operators, heads, width // heads)
