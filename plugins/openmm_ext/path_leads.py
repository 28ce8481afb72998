"""How much each path of an ACmix layer weighs in what the layer gives (arXiv 2111.14556, section 4.4).

A scale alone says nothing: a path of small maps and a large scale may add less than the other. Here the scales are
weighed by the root mean square of what they scale.
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn


def scaled_layers(model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """(layer, its `Mix`) of every layer that learns to scale its two paths, in the order of the network."""
    for name, module in model.named_modules():
        if hasattr(module, "scales") and module.scales():
            yield name.removeprefix("backbone.").rpartition(".")[0], module


def path_scales(model: nn.Module) -> list[tuple[str, list[float]]]:
    """(layer, [alpha, beta]) of `scaled_layers`."""
    return [(name, module.scales()) for name, module in scaled_layers(model)]


@contextmanager
def path_squares(model: nn.Module) -> Iterator[dict[str, Tensor]]:
    """Within it, {layer: sums of squares of the attention's and of the convolution's maps} of all forward passes."""
    squares, handles = {}, []

    def collector(name: str):
        def collect(module: nn.Module, paths: tuple[Tensor, Tensor]) -> None:
            both = torch.stack([path.detach().double().square().sum() for path in paths])
            squares[name] = squares.get(name, 0) + both

        return collect

    for name, module in scaled_layers(model):
        handles.append(module.register_forward_pre_hook(collector(name)))
    try:
        yield squares
    finally:
        for handle in handles:
            handle.remove()


def path_leads(model: nn.Module, squares: dict[str, Tensor]) -> list[tuple[str, float]]:
    """(layer, log2(|beta| rms(convolution) / (|alpha| rms(attention)))) of `scaled_layers`: above 0 the convolution
    leads. [] where a path gives nothing but zeros: its lead has no logarithm.

    squares: of `path_squares`; both paths have maps of one size, so that their sums compare as their means do.
    """
    leads = []
    for name, (alpha, beta) in path_scales(model):
        attention, convolution = (squares[name].sqrt() * torch.tensor([abs(alpha), abs(beta)])).tolist()
        if not attention or not convolution:
            return []
        leads.append((name, math.log2(convolution / attention)))
    return leads
