"""The dynamic convolution beside self-attention, with its own projections; a kernel a head."""

from torch import nn

from plugins.operators.dynamic_conv import DynamicConvBlock1d

OPTION = "dynamic_convolution"
TASKS = ("translation",)


def build(cfg, width: int, heads: int, causal: bool) -> nn.Module:
    """The operator with the taps of fairseq's options, for x [T, N, width]."""
    return DynamicConvBlock1d(width, cfg.dynamic_kernel, heads, causal, cfg.attention_dropout)
