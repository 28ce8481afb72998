"""What the paths of ACmix add, on layers whose paths are known."""

import pytest
import torch
from torch import nn

from plugins.openmm_ext.path_leads import path_leads, path_scales, path_squares
from plugins.operators.acmix import Mix


class Layer(nn.Module):
    """`Mix` of x times two and x: the one's root mean square is twice the other's."""

    def __init__(self, mix: str, alpha: float = 0.5, beta: float = 0.5) -> None:
        super().__init__()
        self.mix = Mix(mix)
        if mix == "free":
            self.mix.att_scale.data.fill_(alpha)
            self.mix.conv_scale.data.fill_(beta)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.mix(2 * x, x)


def leads_of(model: nn.Module, batches: int = 1) -> list[tuple[str, float]]:
    generator = torch.Generator().manual_seed(0)
    with path_squares(model) as squares:
        for _ in range(batches):
            model(torch.randn(2, 3, 4, 4, generator=generator))
    return path_leads(model, squares)


@pytest.mark.parametrize("batches", [1, 3])
@pytest.mark.parametrize(
    ("alpha", "beta", "lead"), [(0.5, 0.5, -1), (0.5, 1, 0), (0.25, -2, 2), (-1, 0.5, -2)], ids=str
)
def test_a_lead_weighs_scales_by_what_they_scale(alpha, beta, lead, batches):
    model = nn.Sequential(Layer("free", alpha, beta))
    assert leads_of(model, batches) == [("0", pytest.approx(lead, abs=1e-6))]


def test_layers_come_in_the_order_of_the_network_and_fixed_scales_have_no_lead():
    model = nn.Sequential(Layer("sum"), Layer("convex"), Layer("free", 0.5, 2))
    assert leads_of(model) == [("1", pytest.approx(-1)), ("2", pytest.approx(1))]
    assert [name for name, _ in path_scales(model)] == ["1", "2"]
    assert leads_of(nn.Sequential(Layer("sum"))) == []


def test_a_silent_path_has_no_lead():
    assert leads_of(nn.Sequential(Layer("free", 0.0, 1.0))) == []


def test_nothing_stays_on_the_network():
    model = nn.Sequential(Layer("free"))
    leads_of(model)
    assert not model[0].mix._forward_pre_hooks
