"""What models cost: multiply-adds of known layers, memory of a known allocation."""

import torch
from torch import nn

from plugins.runner import measure


class Spoken(nn.Module):
    """A product that claims seven multiply-adds, whatever it does."""

    def forward(self, x):
        return x @ x

    def macs(self, x):
        return 7


def test_macs_of_known_layers():
    linear = nn.Sequential(nn.Linear(8, 4), Spoken())
    x = torch.ones(4, 8)
    assert measure.count_macs(linear, lambda: linear(x)) == 4 * 8 * 4 + 7
    convolution = nn.Conv2d(3, 5, 3, padding=1)
    assert measure.count_macs(convolution, lambda: convolution(torch.ones(2, 3, 6, 7))) == 2 * 6 * 7 * 5 * 27
    assert measure.count_parameters(linear) == 36


def test_macs_of_fused_attention():
    q = torch.ones(2, 4, 6, 8)
    attend = nn.functional.scaled_dot_product_attention
    assert measure.count_macs(nn.Identity(), lambda: attend(q, q, q)) == 2 * (2 * 4 * 6 * 6 * 8)


def test_peak_memory_of_a_known_allocation():
    peak = measure.peak_megabytes(lambda: torch.ones(1_000_000) + 1, "cpu")
    assert 8.0 <= peak <= 8.1


def test_cost_is_of_one_example_and_has_no_time():
    model = nn.Linear(8, 8)
    x = torch.ones(1, 8)
    cost = measure.measure(model, lambda: model(x))
    assert (cost["params"], cost["macs"]) == (72, 64)
    assert set(cost) == {"params", "macs", "macs_counter", "macs_leaves_out"}
    assert measure.one_example({"height": 3, "batch": 8}) == {"height": 3, "batch": 1}
    assert measure.one_example({"height": 3}) == {"height": 3}


def test_macs_of_an_operator_that_is_called_with_keywords():
    from plugins.operators.muse import MuseAttention

    branch = MuseAttention(8, 2, kernels=[3])
    x, padding = torch.ones(5, 2, 8), torch.zeros(2, 5, dtype=torch.bool)
    assert measure.count_macs(branch, lambda: branch(x, key_padding_mask=padding)) == branch.macs(x) > 0
