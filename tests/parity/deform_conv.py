"""Parity of the deformable convolution with torchvision's, offsets given."""

from __future__ import annotations

from plugins.operators.deform_conv import DeformConv2d, deform_conv2d_reference
from tests.parity import only, side


def deform_conv(constructor: dict, data: dict, meta: dict) -> dict:
    """`torchvision.ops.deform_conv2d` without a modulation mask."""
    if "input/mask" in data:
        raise ValueError("mask: our operator is not modulated")
    geometry = ("kernel_size", "stride", "padding", "dilation")
    only(
        constructor,
        **dict.fromkeys((*geometry, "in_channels", "out_channels", "groups", "bias"), ()),
        offset_groups=(),
        deform_groups=(),
        mask=(None, False),
    )
    defaults = {"stride": 1, "padding": 0, "dilation": 1}
    options = {name: side(constructor.get(name, defaults.get(name)), name) for name in geometry}
    module = DeformConv2d(
        constructor["in_channels"],
        constructor["out_channels"],
        **options,
        groups=constructor.get("groups", 1),
        bias="param/bias" in data,
        offset_groups=data["input/offset"].shape[1] // (2 * options["kernel_size"] ** 2),
    )
    # The fixture gives the offsets; nothing predicts them.
    module.conv_offset = None
    return {
        "module": module,
        "parameters": {name: name for name in ("weight", "bias") if f"param/{name}" in data},
        "forward": lambda m, inputs: m.sample(inputs["x"], inputs["offset"]),
        "reference": lambda m, inputs: deform_conv2d_reference(m, inputs["x"], inputs["offset"]),
    }


CASES = {"deform_conv2d": deform_conv}
