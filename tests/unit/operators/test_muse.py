"""MUSE: fast form against the equations, decoding, padding, gate."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from plugins.operators.muse import MuseAttention, muse_attention_reference
from tests.unit.operators.comparisons import assert_compiles, assert_same, gradcheck, randomise, relative_error

KINDS = ["dynamic", "depthwise", "standard"]


def make(kernels=(3, 7), causal: bool = False, **options) -> MuseAttention:
    return randomise(MuseAttention(8, 2, list(kernels), causal, **options)).eval()


def padding(batch: int, length: int) -> torch.Tensor:
    """Last positions of every second sentence padded."""
    mask = torch.zeros(batch, length, dtype=torch.bool)
    mask[::2, length - length // 3 :] = True
    return mask


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("combine", ["gate", "concat"])
@given(data=st.data())
@settings(max_examples=12, deadline=None)
def test_fast_equals_reference(kind, combine, data):
    torch.manual_seed(data.draw(st.integers(0, 99)))
    kernels = data.draw(st.sampled_from([[], [3], [3, 15], [7, 1, 5]]))
    module = make(
        kernels,
        data.draw(st.booleans()),
        kind=kind,
        combine=combine,
        projection=data.draw(st.sampled_from(["shared", "separate", "attention"])),
        mask_padding=data.draw(st.booleans()),
    )
    length, batch = data.draw(st.sampled_from([1, 2, 5, 9, 150])), data.draw(st.integers(1, 3))
    mask = padding(batch, length) if data.draw(st.booleans()) else None
    x = torch.randn(length, batch, 8)
    assert_same(lambda x: module(x, mask)[0], lambda x: muse_attention_reference(module, x, mask), module, x)


@pytest.mark.parametrize("kind", KINDS)
def test_no_position_reads_the_future(kind):
    module = make(causal=True, kind=kind)
    x = torch.randn(9, 1, 8, requires_grad=True)
    module(x)[0][4].sum().backward()
    assert (x.grad[5:] == 0).all()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("projection", ["shared", "separate", "attention"])
@pytest.mark.parametrize("kernels", [[], [3], [3, 7]])
def test_incremental_equals_full(kind, projection, kernels):
    module = make(kernels, True, kind=kind, projection=projection)
    x, mask = torch.randn(9, 2, 8), torch.zeros(2, 9, dtype=torch.bool)
    mask[1, 4] = True
    for padded in (None, mask):
        state: dict = {}
        steps = [
            module(x[a:b], None if padded is None else padded[:, a:b], state)[0]
            for a, b in ((0, 1), (1, 4), (4, 5), (5, 9))
        ]
        assert relative_error(torch.cat(steps), module(x, padded)[0]) < 1e-5


def test_reordered_state_follows_the_hypotheses():
    module = make(causal=True)
    x, order = torch.randn(5, 3, 8), torch.tensor([2, 0, 0])
    state: dict = {}
    module(x[:4], incremental_state=state)
    module.reorder_incremental_state(state, order)
    expected = module(torch.cat((x[:4, order], x[4:])))[0][4:]
    assert relative_error(module(x[4:], incremental_state=state)[0], expected) < 1e-5


@pytest.mark.parametrize("kind", KINDS)
def test_padding_changes_real_positions_only_when_it_may_leak(kind):
    x = torch.randn(5, 2, 8)
    padded = torch.cat((x, torch.randn(3, 2, 8)))
    mask = torch.zeros(2, 8, dtype=torch.bool)
    mask[:, 5:] = True
    for mask_padding in (True, False):
        module = make(kind=kind, mask_padding=mask_padding)
        error = relative_error(module(padded, mask)[0][:5], module(x)[0])
        assert (error < 1e-5) == mask_padding


def test_weights_are_probabilities():
    module = make(causal=True)
    x = torch.randn(6, 2, 8)
    y, weights = module(x, need_weights=True)
    assert torch.allclose(weights.sum(-1), torch.ones(2, 6))
    assert (weights.triu(1) == 0).all()
    assert relative_error(y, module(x)[0]) < 1e-5


def test_gate_starts_uniform_and_is_readable():
    module = MuseAttention(8, 2, [3, 7, 15])
    assert torch.allclose(module.gate_weights(), torch.full((3,), 1 / 3))
    assert not hasattr(MuseAttention(8, 2, [3, 7], combine="concat"), "gate")


@pytest.mark.parametrize("causal", [False, True])
def test_parameters_added_over_plain_attention(causal):
    """d^2 + d H sum(K) + number of kernels, as published."""

    def count(kernels: list[int]) -> int:
        return sum(p.numel() for p in MuseAttention(16, 4, kernels, causal).parameters())

    assert count([3, 15]) - count([]) == 16**2 + 16 * 4 * 18 + 2


def test_macs_of_the_whole_branch():
    x = torch.empty(10, 3, 8, device="meta")
    plain = 30 * (3 * 64 + 2 * 10 * 8 + 64)
    assert MuseAttention(8, 2, []).macs(x) == plain
    assert MuseAttention(8, 2, [3, 5]).macs(x) == plain + 30 * (64 + 8 * (8 * 2 + 8))
    assert MuseAttention(8, 2, [3], kind="standard", projection="separate").macs(x) == plain + 30 * (64 + 64 + 3 * 64)


def test_dropout_only_in_training():
    module = make(dropout=0.3, weight_dropout=0.3, input_dropout=0.3)
    x = torch.randn(5, 2, 8)
    assert torch.equal(module(x)[0], module(x)[0])
    module.train()
    assert not torch.equal(module(x)[0], module(x)[0])


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_are_right(kind):
    torch.manual_seed(1)
    module = randomise(MuseAttention(4, 2, [1, 3], True, kind=kind, weight_dropout=0)).eval()
    gradcheck(module, torch.randn(4, 1, 4), lambda m, x: m(x)[0])


@pytest.mark.parametrize("kind", KINDS)
def test_bfloat16_and_compile(kind):
    """bfloat16 stays within 3 % of the largest output."""
    torch.manual_seed(2)
    module, mask = make(kind=kind), padding(2, 6)
    x = torch.randn(6, 2, 8)
    expected = muse_attention_reference(module, x, mask)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y = module(x, mask)[0]
    y.sum().backward()
    assert relative_error(y, expected) < 3e-2
    assert_compiles(module, x, mask)
    assert relative_error(module.bfloat16()(x.bfloat16(), mask)[0], expected) < 3e-2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_heads": 3}, "heads=3"),
        ({"kernels": [3, 4]}, r"kernels=\[3, 4\]"),
        ({"kernels": [0]}, r"kernels=\[0\]"),
        ({"projection": "own"}, "projection='own'"),
        ({"kind": "static"}, "kind='static'"),
        ({"combine": "sum"}, "combine='sum'"),
        ({"weight_dropout": 1.5}, "weight_dropout=1.5"),
    ],
)
def test_bad_arguments_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        MuseAttention(**{"embed_dim": 8, "num_heads": 2, **options})


def test_bad_input_is_named():
    module = make()
    x = torch.randn(4, 2, 8)
    with pytest.raises(ValueError, match=r"x\.shape"):
        module(torch.randn(4, 2, 6))
    with pytest.raises(ValueError, match=r"key_padding_mask\.shape"):
        module(x, torch.zeros(4, 2, dtype=torch.bool))
    with pytest.raises(ValueError, match="causal=True"):
        module(x, incremental_state={})
