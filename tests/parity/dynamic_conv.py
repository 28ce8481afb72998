"""Parity of the 1-D dynamic and lightweight convolutions with fairseq's."""

from __future__ import annotations

from plugins.operators.dynamic_conv import DynamicConv1d, LightweightConv1d, tap_conv1d_reference


def geometry(constructor: dict) -> dict:
    if not constructor.get("weight_softmax", False):
        raise ValueError("weight_softmax=False: our taps are always softmaxed")
    for option in ("renorm_padding", "in_proj"):
        if constructor.get(option, False):
            raise ValueError(f"{option}=True: not part of the operator")
    kernel = constructor.get("kernel_size", 1)
    left = constructor.get("padding_l")
    return {
        "input_size": constructor["input_size"],
        "kernel_size": kernel,
        "padding_l": left,
        "num_heads": constructor.get("num_heads", 1),
    }


def case(module, parameters: dict) -> dict:
    return {
        "module": module,
        "parameters": parameters,
        "forward": lambda m, inputs: m(inputs["x"]),
        "reference": lambda m, inputs: tap_conv1d_reference(m, inputs["x"]),
    }


def dynamic(constructor: dict, data: dict, meta: dict) -> dict:
    module = DynamicConv1d(
        **geometry(constructor), bias=constructor.get("bias", False), conv_bias=constructor.get("conv_bias", False)
    )
    return case(module, {name: name for name, _ in module.named_parameters()})


def lightweight(constructor: dict, data: dict, meta: dict) -> dict:
    module = LightweightConv1d(**geometry(constructor), bias=constructor.get("bias", False))
    parameters = {"weight": "weight"}
    if module.conv_bias is not None:
        parameters["bias"] = "conv_bias"
    return case(module, parameters)


CASES = {"DynamicConv1dTBC": dynamic, "LightweightConv1dTBC": lightweight}
