"""CoAtNet-0 .. 7 against the printed sizes, on the meta device, with the numbers of the study's reference.csv."""

import csv
from pathlib import Path

import pytest
import torch

from plugins.operators.coatnet import SIZES, CoAtNet, coatnet
from plugins.runner.measure import count_macs, count_parameters

REFERENCE = Path(__file__).resolve().parents[2] / "experiments" / "coatnet" / "reference.csv"
STRIDES = {"expand": "stride in first 1x1 conv; eval 224x224", "depthwise": "stride in depthwise conv; eval 224x224"}


def printed(table: str, size: int, variant: str) -> dict[str, float]:
    with REFERENCE.open() as rows:
        wanted = {"table": table, "model": f"CoAtNet-{size}", "variant": variant}
        fitting = [row for row in csv.DictReader(rows) if wanted.items() <= row.items()]
    return {row["metric"]: float(row["value"]) for row in fitting}


def counted(model: CoAtNet, side: int) -> tuple[float, float]:
    """(parameters in M, multiply-adds in G)."""
    images = torch.empty(1, 3, side, side, device="meta")
    return count_parameters(model) / 1e6, count_macs(model.eval(), lambda: model(images)) / 1e9


def build(size: int, side: int, **options) -> CoAtNet:
    with torch.device("meta"):
        return coatnet(size, (side, side), head_hidden=True, **options)


@pytest.mark.parametrize(
    ("table", "size", "variant", "stride_in"),
    [("Table 4", size, "eval 224x224", "expand") for size in range(4)]
    + [("Table 9", size, STRIDES[place], place) for size in range(3) for place in STRIDES],
)
def test_parameters_and_multiply_adds_at_224(table, size, variant, stride_in):
    """All rows that print them at 224: parameters to 1 %, multiply-adds to 2 %."""
    numbers = printed(table, size, variant)
    params, macs = counted(build(size, 224, stride_in=stride_in), 224)
    assert params == pytest.approx(numbers["params"], rel=0.01)
    assert macs == pytest.approx(numbers["flops"], rel=0.02)


@pytest.mark.parametrize("size", [4, 5, 7])
def test_parameters_of_the_large_models(size):
    """Printed at 512 only, where the multiply-adds also hold what grows with the logits (see models.yaml)."""
    numbers = printed("Table 5", size, "eval 512x512")
    params, macs = counted(build(size, 512), 512)
    assert params == pytest.approx(numbers["params"], rel=0.01)
    assert macs == pytest.approx(numbers["flops"], rel=0.03)


def test_coatnet_6_is_printed_larger_than_its_printed_widths():
    """With S4 as wide as CoAtNet-7's the print is met; with the width of the paper's Table 12 it is not."""
    numbers = printed("Table 5", 6, "eval 512x512")
    with torch.device("meta"):
        wider = CoAtNet((*SIZES[6][:4], (("T", 2, 3072),)), (512, 512), 1000, head_dim=128, head_hidden=True)
    assert count_parameters(build(6, 512)) / 1e6 == pytest.approx(1350.1, abs=0.1)
    assert count_parameters(wider) / 1e6 == pytest.approx(numbers["params"], rel=0.01)
