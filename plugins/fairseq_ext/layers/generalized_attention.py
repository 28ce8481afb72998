"""Generalized attention (https://arxiv.org/abs/1904.05873) in the place of fairseq's self-attention."""

from torch import nn

from plugins.operators.generalized_attention_1d import GeneralizedAttention1d

OPTION = "attention"
TASKS = ("translation",)


def build(cfg, width: int, heads: int, causal: bool) -> nn.Module:
    """The operator with the terms and the window of fairseq's options, for x [T, N, width]."""
    return GeneralizedAttention1d(
        width, cfg.self_attention_terms, heads, causal, cfg.attention_dropout, cfg.self_attention_range
    )
