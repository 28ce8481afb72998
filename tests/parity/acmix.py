"""Parity of ACmix with the released modules: the ResNet form and the Swin form."""

from __future__ import annotations

from plugins.operators.acmix import ACmix, SwinACmix, acmix_reference, swin_acmix_reference


def acmix(constructor: dict, data: dict, meta: dict) -> dict:
    """ResNet form. The released projections are three convolutions, ours is one."""
    if constructor.get("dilation", 1) != 1:
        raise ValueError(
            f"dilation={constructor['dilation']}: only 1 is supported (the released module fails with others)"
        )
    width = constructor["out_planes"]
    module = ACmix(
        constructor["in_planes"],
        width,
        constructor.get("head", 4),
        constructor.get("kernel_att", 7),
        constructor.get("kernel_conv", 3),
        constructor.get("stride", 1),
    )
    parameters = {"conv_p.weight": "position.weight", "conv_p.bias": "position.bias", **_mixing()}
    for number in range(3):
        rows = slice(number * width, (number + 1) * width)
        parameters |= {f"conv{number + 1}.{kind}": (f"qkv.{kind}", rows) for kind in ("weight", "bias")}
    return {
        "module": module,
        "parameters": parameters,
        "forward": lambda m, inputs: m(inputs["x"]),
        "reference": lambda m, inputs: acmix_reference(m, inputs["x"]),
    }


def swin(constructor: dict, data: dict, meta: dict) -> dict:
    """Swin form, with or without the mask of shifted windows."""
    module = SwinACmix(constructor["dim"], tuple(constructor["window_size"]), constructor["num_heads"])
    same = ("qkv.weight", "qkv.bias", "proj.weight", "proj.bias", "relative_position_bias_table")
    return {
        "module": module,
        "parameters": {name: name for name in same} | _mixing() | {"fc.bias": "convolution.fc.bias"},
        "forward": lambda m, inputs: m(inputs["x"], inputs.get("mask")),
        "reference": lambda m, inputs: swin_acmix_reference(m, inputs["x"], inputs.get("mask")),
    }


def _mixing() -> dict[str, str]:
    return {
        "rate1": "mix.att_scale",
        "rate2": "mix.conv_scale",
        "fc.weight": "convolution.fc.weight",
        "dep_conv.weight": "convolution.weight",
    }


CASES = {"ACmix": acmix, "WindowAttention_acmix": swin}
