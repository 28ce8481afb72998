"""Channel gates: against their sums and against timm's modules."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from timm.layers.gather_excite import GatherExcite as PeerGatherExcite
from timm.layers.squeeze_excite import SEModule

from plugins.operators.squeeze_excite import (
    GatherExcite,
    SqueezeExcite,
    gather_excite_reference,
    squeeze_excite_reference,
)
from tests.unit.operators.comparisons import assert_compiles, assert_same, gradcheck, randomise, relative_error


@given(data=st.data())
@settings(max_examples=15, deadline=None)
def test_fast_equals_reference(data):
    torch.manual_seed(data.draw(st.integers(0, 99)))
    channels = data.draw(st.integers(1, 20))
    x = torch.randn(data.draw(st.integers(1, 3)), channels, data.draw(st.integers(1, 9)), data.draw(st.integers(1, 9)))
    gate = randomise(
        SqueezeExcite(channels, data.draw(st.sampled_from([None, 3])), data.draw(st.sampled_from([F.relu, F.silu])))
    )
    assert_same(gate, lambda x: squeeze_excite_reference(gate, x), gate, x)
    gather = GatherExcite(channels, data.draw(st.sampled_from([0, 2, 4])))
    assert_same(gather, lambda x: gather_excite_reference(gather, x), gather, x)


def test_squeeze_excite_equals_timm():
    torch.manual_seed(0)
    ours, peer = randomise(SqueezeExcite(32)), SEModule(32, rd_divisor=1)
    peer.load_state_dict(ours.state_dict())
    x = torch.randn(2, 32, 5, 6)
    assert relative_error(ours(x), peer(x)) < 1e-6


@pytest.mark.parametrize("extent", [0, 2, 4])
def test_gather_excite_equals_timm(extent):
    x = torch.randn(2, 6, 7, 8)
    peer = PeerGatherExcite(6, extent=extent, use_mlp=False)
    assert relative_error(GatherExcite(6, extent)(x), peer(x)) < 1e-6


def test_gradients_are_right_and_it_compiles():
    gradcheck(SqueezeExcite(5, 2, F.silu), torch.randn(2, 5, 3, 4))
    assert_compiles(SqueezeExcite(5), torch.randn(2, 5, 3, 4).requires_grad_())
    assert_compiles(GatherExcite(5), torch.randn(2, 5, 3, 4).requires_grad_())


def test_autocast():
    """Within 2 % of the largest output in bfloat16."""
    gate, x = randomise(SqueezeExcite(16)), torch.randn(2, 16, 5, 5)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert relative_error(gate(x), squeeze_excite_reference(gate, x)) < 0.02


def test_bad_input():
    with pytest.raises(ValueError, match="reduced=0: must be at least 1"):
        SqueezeExcite(8, 0)
    with pytest.raises(ValueError, match="extent=3: must be 0 or a power of two"):
        GatherExcite(8, 3)
    with pytest.raises(ValueError, match="must be N x 8 x H x W"):
        GatherExcite(8)(torch.randn(1, 7, 4, 4))
    assert SqueezeExcite(64).macs(torch.empty(2, 64, 5, 5)) == 2 * 2 * 64 * 4
