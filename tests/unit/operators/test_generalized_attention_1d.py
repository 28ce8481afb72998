"""Generalized attention on sequences: fast form against the equation, decoding, padding."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from plugins.operators.generalized_attention_1d import GeneralizedAttention1d, generalized_attention_1d_reference
from tests.unit.operators.comparisons import assert_compiles, assert_same, gradcheck, randomise, relative_error

PATTERNS = [f"{i:04b}" for i in range(16)]


def make(
    terms: str, causal: bool = False, width: int = 8, heads: int = 2, spatial_range: int = -1
) -> GeneralizedAttention1d:
    return randomise(GeneralizedAttention1d(width, terms, heads, causal, spatial_range=spatial_range))


def padding(batch: int, length: int) -> torch.Tensor:
    """Last positions of every second sentence padded."""
    mask = torch.zeros(batch, length, dtype=torch.bool)
    mask[::2, length - length // 3 :] = True
    return mask


@pytest.mark.parametrize("terms", PATTERNS)
@given(data=st.data())
@settings(max_examples=6, deadline=None)
def test_fast_equals_reference(terms, data):
    torch.manual_seed(data.draw(st.integers(0, 99)))
    batch, length, total = (data.draw(st.integers(1, high)) for high in (3, 9, 9))
    module = make(
        terms,
        data.draw(st.booleans()),
        data.draw(st.sampled_from([8, 12])),
        data.draw(st.sampled_from([1, 2, 4])),
        data.draw(st.sampled_from([-1, 0, 2])),
    )
    other = module.spatial_range < 0 and data.draw(st.booleans())
    memory = torch.randn(total, batch, module.embed_dim) if other else None
    mask = padding(batch, length if memory is None else total) if data.draw(st.booleans()) else None
    x = torch.randn(length, batch, module.embed_dim)
    assert_same(
        lambda x: module(x, None if memory is None else memory.to(x.dtype), mask)[0],
        lambda x: generalized_attention_1d_reference(module, x, None if memory is None else memory.to(x.dtype), mask),
        module,
        x,
    )


@pytest.mark.parametrize("terms", PATTERNS)
def test_no_position_reads_the_future(terms):
    module = make(terms, causal=True)
    x = torch.randn(6, 1, 8, requires_grad=True)
    module(x)[0][2].sum().backward()
    assert (x.grad[3:] == 0).all()


@pytest.mark.parametrize("terms", PATTERNS)
def test_incremental_equals_full(terms):
    torch.manual_seed(0)
    module, cross = make(terms, causal=True), make(terms)
    x, memory = torch.randn(6, 2, 8), torch.randn(5, 2, 8)
    mask = padding(2, 5)
    state: dict = {}
    steps = [
        (module(x[a:b], incremental_state=state)[0], cross(x[a:b], memory, mask, state)[0])
        for a, b in ((0, 2), (2, 3), (3, 6))
    ]
    assert relative_error(torch.cat([a for a, _ in steps]), module(x)[0]) < 1e-5
    assert relative_error(torch.cat([b for _, b in steps]), cross(x, memory, mask)[0]) < 1e-5


def test_reordered_state_follows_the_hypotheses():
    module = make("1111", causal=True)
    x, order = torch.randn(4, 3, 8), torch.tensor([2, 0, 0])
    state: dict = {}
    module(x[:3], incremental_state=state)
    module.reorder_incremental_state(state, order)
    y = module(x[3:], incremental_state=state)[0]
    expected = module(torch.cat((x[:3, order], x[3:])))[0][3:]
    assert relative_error(y, expected) < 1e-5


@pytest.mark.parametrize("terms", ["0010", "0110", "1111"])
def test_padding_does_not_change_real_positions(terms):
    module = make(terms)
    x = torch.randn(5, 2, 8)
    padded = torch.cat((x, torch.randn(3, 2, 8)))
    mask = torch.zeros(2, 8, dtype=torch.bool)
    mask[:, 5:] = True
    assert relative_error(module(padded, None, mask)[0][:5], module(x)[0]) < 1e-5


@pytest.mark.parametrize("causal", [False, True])
def test_a_window_hides_what_lies_outside(causal):
    module = make("1111", causal, spatial_range=1)
    x = torch.randn(6, 1, 8, requires_grad=True)
    module(x)[0][3].sum().backward()
    read = x.grad.abs().sum((1, 2)) > 0
    assert read.tolist() == [False, False, True, True, not causal, False]
    state: dict = {}
    steps = [module(x[a:b], incremental_state=state)[0] for a, b in ((0, 2), (2, 5), (5, 6))] if causal else []
    assert not causal or relative_error(torch.cat(steps), module(x)[0]) < 1e-5


def test_a_window_of_padding_alone_stays_finite():
    module = make("0100", spatial_range=1)
    mask = torch.zeros(2, 8, dtype=torch.bool)
    mask[0, 3:] = True
    assert module(torch.randn(8, 2, 8), None, mask)[0].isfinite().all()


def test_weights_are_probabilities():
    for terms in ("0010", "1111"):
        _, weights = make(terms)(torch.randn(4, 2, 8), torch.randn(6, 2, 8), need_weights=True)
        assert weights.shape == (2, 4, 6)
        assert torch.allclose(weights.sum(-1), torch.ones(2, 4))


@pytest.mark.parametrize("terms", PATTERNS)
def test_gradients_are_right(terms):
    torch.manual_seed(1)
    gradcheck(make(terms, True, 4, 1), torch.randn(4, 1, 4), lambda m, x: m(x)[0])


def test_bfloat16_and_compile():
    """bfloat16 stays within 3 % of the largest output."""
    torch.manual_seed(2)
    module = make("1111", causal=True)
    x = torch.randn(6, 2, 8)
    expected = generalized_attention_1d_reference(module, x)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y = module(x)[0]
    y.sum().backward()
    assert relative_error(y, expected) < 3e-2
    assert_compiles(module, x)
    assert relative_error(module.bfloat16()(x.bfloat16())[0], expected) < 3e-2


def test_one_hundred_is_the_transformer_s_attention():
    module = make("1000")
    x = torch.randn(5, 2, 8)
    q, k, v = (module.split(p(x)) for p in (module.q_proj, module.k_proj, module.v_proj))
    expected = torch.nn.functional.scaled_dot_product_attention(q, k, v).permute(2, 0, 1, 3).flatten(2)
    assert relative_error(module(x)[0], module.out_proj(expected)) < 1e-5


def test_macs_count_what_is_on():
    x = torch.empty(6, 2, 8, device="meta")
    count = {terms: GeneralizedAttention1d(8, terms, 2).macs(x) for terms in PATTERNS}
    assert count["0010"] < count["0110"] < count["1111"]
    assert count["1000"] == 2 * (4 * 6 * 64 + 2 * 36 * 8)
    near = GeneralizedAttention1d(8, "1000", 2, spatial_range=1).to("meta").macs(x)
    assert near == 2 * (4 * 6 * 64 + 2 * 16 * 8)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"terms": "2010"}, "terms='2010'"),
        ({"terms": "11"}, "terms='11'"),
        ({"heads": 3}, "heads=3"),
        ({"dropout": 1.0}, "dropout=1.0"),
        ({"spatial_range": -2}, "spatial_range=-2"),
    ],
)
def test_bad_arguments_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        GeneralizedAttention1d(8, **{"heads": 2, **options})


def test_bad_input_is_named():
    module = make("1111")
    x = torch.randn(4, 2, 8)
    with pytest.raises(ValueError, match=r"x\.shape"):
        module(torch.randn(4, 2, 6))
    with pytest.raises(ValueError, match=r"memory\.shape"):
        module(x, torch.randn(4, 2, 6))
    with pytest.raises(ValueError, match=r"key_padding_mask\.shape"):
        module(x, None, torch.zeros(4, 2, dtype=torch.bool))
    with pytest.raises(ValueError, match="causal=True"):
        module(x, incremental_state={})
    with pytest.raises(ValueError, match="spatial_range=2"):
        make("1111", spatial_range=2)(x, x)
