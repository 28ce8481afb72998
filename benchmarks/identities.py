"""``python -m benchmarks.identities``: the equalities of operators that claims rest on, measured in seconds.

Writes {identities: [{name, says, test, errors: {float32, float64}, bounds}], counts: [{name, says, value}]}. An error
is the largest difference over the largest magnitude (of relative size, where the identity is one of counts); the
bounds are a hundred roundings of the type. The ledger reads the committed record,
results/published/paper/identities.json; the tests named in it prove the same on other shapes.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from plugins.operators import acmix
from plugins.operators.acmix import ACmix, ConvolutionPath
from plugins.suite.files import write_json

OUT = Path("results/published/paper/identities.json")
ACMIX = "tests/unit/operators/test_acmix.py"
ROUNDINGS = 100
RESNET50 = ((64, 56, 3), (128, 28, 4), (256, 14, 6), (512, 7, 3))  # width, side of the map, blocks of a stage


def main(argv: list[str] | None = None) -> int:
    """Writes the record and prints a line for each entry."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.identities", description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path, default=OUT, metavar="F", help=f"write the record here ({OUT})")
    path = parser.parse_args(argv).json
    content = record()
    write_json(path, content)
    for entry in content["identities"]:
        print(entry["name"], *(f"{precision} {error:.1e}" for precision, error in entry["errors"].items()))
    for entry in content["counts"]:
        print(entry["name"], f"{entry['value']:.4f}")
    return 0


def record() -> dict:
    """All identities and counts."""
    identities = [
        (
            "convolution_is_shifted_projections",
            shifted_projections,
            f"{ACMIX}::test_convolution_is_shifted_projections",
        ),
        ("one_hot_kernels_move_tensors", one_hot_kernels, f"{ACMIX}::test_one_hot_kernels_move_tensors"),
        (
            "projections_grow_with_width",
            growth,
            "tests/unit/analysis/test_evidence.py::test_the_projections_of_acmix_grow_with_the_width",
        ),
    ]
    convolution, attention = projection_shares()
    return {
        "identities": [_measured(name, measure, test) for name, measure, test in identities],
        "counts": [
            {"name": "projection_share_of_convolution", "says": SHARE.format("3x3 convolutions"), "value": convolution},
            {"name": "projection_share_of_attention", "says": SHARE.format("7x7 self-attention"), "value": attention},
        ],
    }


SHARE = "multiply-adds of 1x1 projections in the {} of ResNet-50's bottlenecks, at the resolution of their results"


def _measured(name: str, measure: Callable[[torch.dtype], float], test: str) -> dict:
    types = {"float32": torch.float32, "float64": torch.float64}
    return {
        "name": name,
        "says": measure.__doc__.split("\n")[0],
        "test": test,
        "errors": {precision: measure(dtype) for precision, dtype in types.items()},
        "bounds": {precision: ROUNDINGS * torch.finfo(dtype).eps for precision, dtype in types.items()},
    }


def relative_error(a: Tensor, b: Tensor) -> float:
    """Largest difference over the largest magnitude of `b`."""
    return float((a - b).abs().max() / b.abs().max())


def shifted_projections(dtype: torch.dtype) -> float:
    """A 3x3 convolution is nine 1x1 convolutions, moved and added."""
    generator = torch.Generator().manual_seed(1)
    weight = torch.randn(32, 24, 3, 3, dtype=dtype, generator=generator)
    x = torch.randn(2, 24, 28, 20, dtype=dtype, generator=generator)
    padded = F.pad(x, (1, 1, 1, 1))
    moved = sum(
        F.conv2d(padded[:, :, a : a + 28, b : b + 20], weight[:, :, a : a + 1, b : b + 1])
        for a in range(3)
        for b in range(3)
    )
    return relative_error(moved, F.conv2d(x, weight, padding=1))


def one_hot_kernels(dtype: torch.dtype) -> float:
    """A group convolution with one-hot kernels moves tensors."""
    worst = 0.0
    for stride in (1, 2):
        paths = [
            ConvolutionPath(4, 6, 3, stride, shift, outputs, bias=True).to(dtype)
            for shift in ("tensor", "fixed", "learnable")
            for outputs in acmix.OUTPUTS
        ]
        generator = torch.Generator().manual_seed(stride)
        maps = torch.randn(2, 6, 12, 14, 10, dtype=dtype, generator=generator)
        for path in paths:
            path.fc.load_state_dict(paths[0].fc.state_dict())
            worst = max(worst, relative_error(path(maps).detach(), paths[0](maps).detach()))
    return worst


def growth(dtype: torch.dtype) -> float:
    """The multiply-adds of ACmix's projections over those of its 7x7 attention are 3C / 98."""
    errors = []
    for width, side, _ in RESNET50:
        module, x = _attention(width, side)
        projections = torch.tensor(3 * width * width * side * side, dtype=dtype)
        errors.append(float((projections / module.attention_macs(x) - 3 * width / 98).abs() / (3 * width / 98)))
    return max(errors)


def projection_shares() -> tuple[float, float]:
    """Shares of the 1x1 projections in ResNet-50's 3x3 convolutions and in 7x7 self-attention in their place."""
    projections = attention = additions = 0
    for width, side, blocks in RESNET50:
        module, x = _attention(width, side)
        projections += blocks * 3 * width * width * side * side
        attention += blocks * module.attention_macs(x)
        additions += blocks * 9 * width * side * side
    return 3 * projections / (3 * projections + additions), projections / (projections + attention)


def _attention(width: int, side: int) -> tuple[ACmix, Tensor]:
    with torch.device("meta"):
        return ACmix(width, width, mix="attention"), torch.empty(1, width, side, side)


if __name__ == "__main__":
    sys.exit(main())
