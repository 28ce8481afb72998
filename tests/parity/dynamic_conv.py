"""Parity of the 1-D dynamic and lightweight convolutions with fairseq's."""

from __future__ import annotations

import json

import torch.nn.functional as F
from torch import Tensor, nn

from plugins.operators.dynamic_conv import DynamicConv1d, LightweightConv1d, TapConv1d, tap_conv1d_reference
from tests.parity import only

GEOMETRY = ("input_size", "kernel_size", "padding_l", "num_heads", "weight_dropout", "weight_softmax", "bias")


def geometry(constructor: dict) -> dict:
    """Options that both forms share, under our names."""
    return {
        "input_size": constructor["input_size"],
        "kernel_size": constructor.get("kernel_size", 1),
        "padding_l": constructor.get("padding_l"),
        "num_heads": constructor.get("num_heads", 1),
        "bias": constructor.get("bias", False),
    }


class RawDynamic(DynamicConv1d):
    """`weight_softmax=False`: the taps as they are predicted, which our operator never has; the same sum over them."""

    def tap_weights(self, query: Tensor, history: int = 0) -> Tensor:
        return self.tap_logits(query)


class RawLightweight(LightweightConv1d):
    """`weight_softmax=False`, likewise."""

    def tap_weights(self, query: Tensor, history: int = 0) -> Tensor:
        return self.weight.squeeze(1).expand(*query.shape[:2], -1, -1)


def project_inside(module: DynamicConv1d) -> None:
    """`in_proj=True`: the layer that predicts the taps has C more rows, which project the input."""
    width, taps = module.input_size, module.num_heads * module.kernel_size
    module.weight_linear = nn.Linear(width, width + taps)

    def rows(x: Tensor, part: slice) -> Tensor:
        return F.linear(x, module.weight_linear.weight[part], module.weight_linear.bias[part])

    module.values = lambda x: rows(x, slice(width))
    module.tap_logits = lambda x: rows(x, slice(width, None)).unflatten(-1, (module.num_heads, module.kernel_size))


def case(module: TapConv1d, parameters: dict) -> dict:
    """Both forms; `values` is what the taps act on, the input itself but for `in_proj`."""

    def run(form, inputs: dict) -> Tensor:
        query = inputs.get("query", inputs["x"])
        return form(getattr(module, "values", lambda x: x)(inputs["x"]), query)

    return {
        "module": module,
        "parameters": parameters,
        "forward": lambda m, inputs: run(lambda x, query: m(x, query=query), inputs),
        "reference": lambda m, inputs: run(lambda x, query: tap_conv1d_reference(m, x, query), inputs),
    }


def dynamic(constructor: dict, data: dict, meta: dict) -> dict:
    """fairseq's `DynamicConv1dTBC`, whole sequences."""
    only(constructor, **dict.fromkeys((*GEOMETRY, "conv_bias", "renorm_padding", "query_size", "in_proj"), ()))
    options = geometry(constructor) | {"conv_bias": constructor.get("conv_bias", False)}
    length, kernel = len(data["input/x"]), options["kernel_size"]
    unfolded = json.loads(meta.get("call", "{}")).get("other", {}).get("unfold") or length > 512
    if unfolded and kernel > length and options["padding_l"] == kernel - 1:
        raise ValueError(
            f"unfold: fairseq drops taps before the softmax there, kernel_size={kernel} on {length} positions"
        )
    softmax = constructor.get("weight_softmax", False)
    if softmax:
        module = DynamicConv1d(**options, renorm_padding=constructor.get("renorm_padding", False))
    else:
        module = RawDynamic(**options)
    if constructor.get("in_proj", False):
        project_inside(module)
    elif constructor.get("query_size"):
        taps = module.weight_linear.out_features
        module.weight_linear = nn.Linear(constructor["query_size"], taps, bias=options["bias"])
    return case(module, {name: name for name, _ in module.named_parameters()})


def lightweight(constructor: dict, data: dict, meta: dict) -> dict:
    """fairseq's `LightweightConv1dTBC`, whole sequences."""
    only(constructor, **dict.fromkeys(GEOMETRY, ()))
    form = LightweightConv1d if constructor.get("weight_softmax", False) else RawLightweight
    module = form(**geometry(constructor))
    return case(module, {"weight": "weight"} | ({"bias": "conv_bias"} if module.conv_bias is not None else {}))


CASES = {"DynamicConv1dTBC": dynamic, "LightweightConv1dTBC": lightweight}
