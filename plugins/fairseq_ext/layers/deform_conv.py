"""The deformable convolution beside self-attention. It is dense over channels: a Transformer has none to take over."""

from torch import nn

from plugins.operators.deform_conv import DeformConv1d

OPTION = "deformable"
TASKS = ("translation",)


def build(cfg, width: int, heads: int, causal: bool) -> nn.Module:
    """The operator with the taps of fairseq's options, for x [T, N, width]; it has no heads."""
    return DeformConv1d(width, width, cfg.deformable_kernel, causal)
