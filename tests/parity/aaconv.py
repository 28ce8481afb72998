"""Parity of the attention augmented convolution with the public ports, whose parameter names are ours."""

from __future__ import annotations

from plugins.operators.aaconv import AAConv, aaconv_reference
from tests.parity import only


def augmented_conv(constructor: dict, data: dict, meta: dict) -> dict:
    """The paper's operator: 1x1 q, k, v, or (where recorded so) with the kernel and stride of the plain convolution."""
    options = (
        "in_channels",
        "out_channels",
        "kernel_size",
        "dk",
        "dv",
        "Nh",
        "relative",
        "stride",
        "shape",
        "input_size",
    )
    only(constructor, **dict.fromkeys(options, ()))
    kernel = constructor.get("kernel_size", 3)
    relative = constructor.get("relative", True)
    qkv_kernel = data["param/qkv_conv.weight"].shape[-1]
    map_size = None
    if relative:
        map_size = tuple((data[f"param/key_rel_{axis}"].shape[0] + 1) // 2 for axis in "hw")
    module = AAConv(
        constructor["in_channels"],
        constructor["out_channels"],
        kernel,
        stride=constructor.get("stride", 1),
        heads=constructor["Nh"],
        dk=constructor["dk"],
        dv=constructor["dv"],
        position="relative" if relative else "none",
        map_size=map_size,
        qkv_kernel=qkv_kernel,
        strided_projection=True,
    )
    return {
        "module": module,
        "parameters": {key[6:]: key[6:] for key in data if key.startswith("param/")},
        "forward": lambda m, inputs: m(inputs["x"]),
        "reference": lambda m, inputs: aaconv_reference(m, inputs["x"]),
    }


CASES = {"AugmentedConv": augmented_conv}
