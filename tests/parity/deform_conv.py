"""Parity of the deformable convolution with torchvision's, offsets given."""

from __future__ import annotations

from plugins.operators.deform_conv import DeformConv2d, deform_conv2d_reference


def deform_conv(constructor: dict, data: dict, meta: dict) -> dict:
    kernel = constructor["kernel_size"]
    options = {
        name: constructor.get(name, default)
        for name, default in (("stride", 1), ("padding", 0), ("dilation", 1), ("groups", 1))
    }
    module = DeformConv2d(
        constructor["in_channels"],
        constructor["out_channels"],
        kernel,
        **options,
        bias="param/bias" in data,
        offset_groups=data["input/offset"].shape[1] // (2 * kernel**2),
    )
    # The fixture gives the offsets; nothing predicts them.
    module.conv_offset = None
    parameters = {name: name for name in ("weight", "bias") if f"param/{name}" in data}
    return {
        "module": module,
        "parameters": parameters,
        "forward": lambda m, inputs: m.sample(inputs["x"], inputs["offset"]),
        "reference": lambda m, inputs: deform_conv2d_reference(m, inputs["x"], inputs["offset"]),
    }


CASES = {"deform_conv2d": deform_conv}
