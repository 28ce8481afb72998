"""Fixtures of the recorded kind, made here: a form is run in float64 and written with what its module's record has."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor, nn


def write_fixture(
    path: Path,
    name: str,
    constructor: dict,
    parameters: dict[str, Tensor],
    inputs: dict[str, Tensor],
    form: Callable[[dict[str, Tensor], dict[str, Tensor]], Tensor | dict[str, Tensor]],
    **meta: str,
) -> dict:
    """Write one fixture; return its content, {"data": tensors, "meta": strings}.

    Args:
        name: the official class. constructor: its arguments.
        parameters, inputs: by official name, float32; masks and running statistics get no gradient.
        form: form(parameters, inputs) -> output, or outputs by name with "y" among them.
    """
    leaves = [{key: _leaf(key, t) for key, t in tensors.items()} for tensors in (parameters, inputs)]
    result = form(*leaves)
    outputs = result if isinstance(result, dict) else {"y": result}
    g = torch.randn(outputs["y"].shape).double()
    (outputs["y"] * g).sum().backward()
    data = {f"param/{key}": t for key, t in parameters.items()} | {f"input/{key}": t for key, t in inputs.items()}
    data |= {f"output/{key}": t.detach() for key, t in outputs.items()} | {"grad_output/y": g}
    for kind, tensors in zip(("param", "input"), leaves, strict=True):
        data |= {f"grad_{kind}/{key}": t.grad for key, t in tensors.items() if t.grad is not None}
    data = {key: (t.float() if t.is_floating_point() else t).contiguous().clone() for key, t in data.items()}
    tolerance = {
        key: {"atol": 1e-5 * max(1.0, t.abs().max().item()), "rtol": 1e-4}
        for key, t in data.items()
        if key.startswith(("output/", "grad_input/", "grad_param/"))
    }
    meta |= {"class": name, "constructor": json.dumps(constructor), "tolerance": json.dumps(tolerance)}
    save_file(data, path, meta)
    return {"data": data, "meta": meta}


def _leaf(name: str, t: Tensor) -> Tensor:
    """In float64, with a gradient unless it is a mask or a running statistic."""
    if not t.is_floating_point():
        return t
    return t.detach().double().requires_grad_("mask" not in name and "running_" not in name)


def peer_parameters(module: nn.Module) -> dict[str, Tensor]:
    """Random values for every parameter and float buffer of a module, by name; variances positive."""
    return {
        name: torch.rand(t.shape) + 0.5 if "running_var" in name else torch.randn(t.shape) * 0.3
        for name, t in module.state_dict().items()
        if t.is_floating_point()
    }


def peer_form(module: nn.Module, **options) -> Callable:
    """A module of another package as a form, in evaluation mode; options go to its forward."""
    module = module.double().eval()

    def form(parameters: dict[str, Tensor], inputs: dict[str, Tensor]) -> Tensor:
        return torch.func.functional_call(module, parameters, kwargs=inputs | options)

    return form
