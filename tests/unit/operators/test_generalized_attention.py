"""Generalized attention on images: fast form against the equation, and the published costs."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from plugins.operators.generalized_attention import (
    GeneralizedAttention,
    attention_maps,
    generalized_attention_reference,
)
from tests.unit.operators.comparisons import assert_compiles, assert_same, gradcheck, randomise, relative_error

PATTERNS = [f"{i:04b}" for i in range(16)]


def make(terms: str, channels: int = 8, **options) -> GeneralizedAttention:
    return randomise(GeneralizedAttention(channels, terms=terms, **{"heads": 2, **options}))


@pytest.mark.parametrize("terms", PATTERNS)
@given(data=st.data())
@settings(max_examples=6, deadline=None)
def test_fast_equals_reference(terms, data):
    torch.manual_seed(data.draw(st.integers(0, 99)))
    heads = data.draw(st.integers(1, 4))
    module = make(
        terms,
        data.draw(st.sampled_from([8, 12, 20])),
        heads=heads,
        kv_stride=data.draw(st.integers(1, 3)),
        q_stride=data.draw(st.integers(1, 2)),
        spatial_range=data.draw(st.sampled_from([-1, -1, 0, 2])),
        position_embedding_dim=data.draw(st.sampled_from([-1, 4])),
        position_magnitude=data.draw(st.sampled_from([1, 2])),
    )
    x = torch.randn(
        data.draw(st.integers(1, 2)), module.in_channels, data.draw(st.integers(1, 7)), data.draw(st.integers(1, 9))
    )
    assert_same(module, lambda x: generalized_attention_reference(module, x), module, x)


@pytest.mark.parametrize("terms", PATTERNS)
def test_large_logits(terms):
    """No 1/sqrt(d) stands before the logits: spreads of hundreds must not overflow or divide nothing by nothing."""
    torch.manual_seed(0)
    module = randomise(GeneralizedAttention(8, terms=terms, heads=2, kv_stride=1), 8.0).double()
    with torch.no_grad():
        module.gamma.fill_(1), module.value_conv.weight.normal_(), module.proj_conv.weight.normal_()
    x = torch.randn(1, 8, 6, 5, dtype=torch.float64)
    expected = generalized_attention_reference(module, x)
    assert relative_error(module(x), expected) < 1e-9
    assert torch.isfinite(module.float()(x.float())).all()


@pytest.mark.parametrize("terms", PATTERNS)
def test_gradients_are_right(terms):
    torch.manual_seed(1)
    gradcheck(make(terms, 4, heads=1), torch.randn(1, 4, 3, 4))
    gradcheck(make(terms, 4, heads=1, spatial_range=1, kv_stride=1), torch.randn(1, 4, 3, 2))


@pytest.mark.parametrize("terms", ["0010", "0001", "0110", "1000", "1111"])
def test_bfloat16(terms):
    """Autocast and all-bfloat16 stay within 3 % of the largest output (8 bits of mantissa, logits of size one)."""
    torch.manual_seed(2)
    module = make(terms, 16)
    x = torch.randn(2, 16, 6, 7)
    expected = generalized_attention_reference(module, x)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y = module(x)
    y.sum().backward()
    assert relative_error(y, expected) < 3e-2
    assert relative_error(module.bfloat16()(x.bfloat16()), expected) < 3e-2


@pytest.mark.parametrize("terms", ["0001", "0010", "0011", "0111", "1000", "1111"])
def test_compiles_without_graph_breaks(terms):
    torch.manual_seed(3)
    assert_compiles(make(terms), torch.randn(1, 8, 4, 5))


def test_starts_as_identity():
    x = torch.randn(1, 8, 4, 5)
    assert torch.equal(GeneralizedAttention(8, heads=2)(x), x)


def test_costs_of_the_published_table():
    """Nine blocks of a ResNet-50 at 800 x 1344, kv_stride 2, 8 heads: parameters in millions and GMACs."""
    table = {
        "0010": (3.545, 1.26),
        "0001": (3.545, 11.74),
        "0011": (4.728, 12.37),
        "0100": (4.722, 14.70),
        "0101": (4.725, 14.70),
        "0110": (5.904, 15.33),
        "0111": (5.907, 15.33),
        "1000": (4.722, 20.64),
        "1010": (4.725, 20.64),
        "1001": (5.904, 22.06),
        "1011": (5.907, 22.06),
        "1100": (5.901, 22.54),
        "1101": (5.904, 22.54),
        "1110": (5.904, 22.54),
        "1111": (5.907, 22.54),
    }
    for terms, (millions, giga) in table.items():
        parameters = macs = 0
        for channels, blocks, height, width in ((256, 6, 50, 84), (512, 3, 25, 42)):
            module = GeneralizedAttention(channels, terms=terms, heads=8, kv_stride=2)
            parameters += blocks * sum(p.numel() for p in module.parameters())
            macs += blocks * module.macs(torch.empty(1, channels, height, width, device="meta"))
        assert round(parameters / 1e6, 3) == millions, terms
        assert round(macs / 1e9, 2) == giga, terms


def test_multiply_adds_with_a_range_are_those_of_the_pairs_in_sight():
    """Every query of the reach's window counted by hand, on a map of 5 x 7 at stride 1."""
    free, bound = (make("1111", kv_stride=1, spatial_range=reach) for reach in (-1, 1))
    x = torch.empty(1, 8, 5, 7, device="meta")
    rows = sum(min(i + 2, 4) - max(i - 1, 0) + 1 for i in range(5))
    columns = sum(min(j + 2, 6) - max(j - 1, 0) + 1 for j in range(7))
    projections, pairs = 4 * 35 * 64, rows * columns
    assert bound.macs(x) == projections + (rows + columns) * 32 + 2 * pairs * 8 + (5 * columns + 7 * rows) * 8
    assert free.macs(x) == projections + (25 + 49) * 32 + 2 * 35 * 35 * 8 + 35 * 12 * 8


@pytest.mark.parametrize("terms", PATTERNS)
@pytest.mark.parametrize("reach", [-1, 1])
def test_attention_maps_are_the_weights_of_the_sum(terms, reach):
    """The values weighted with the map of one query give the output there; each term is a distribution of its own."""
    torch.manual_seed(3)
    module = make(terms, kv_stride=2, spatial_range=reach)
    x = torch.randn(2, 8, 5, 6)
    maps = attention_maps(module, x, row=3, column=1)
    assert set(maps) == {"all"} | {f"E{i + 1}" for i, bit in enumerate(terms) if bit == "1"}
    for weights in maps.values():
        assert weights.shape == (2, 2, 3, 3)
        torch.testing.assert_close(weights.sum((2, 3)), torch.ones(2, 2))
    value = module.split_heads(module.value_conv(x[:, :, ::2, ::2]))
    summed = torch.einsum("nmk,nmkd->nmd", maps["all"].flatten(2), value).flatten(1)
    at = module.gamma * module.proj_conv(summed[..., None, None])[..., 0, 0] + x[:, :, 3, 1]
    torch.testing.assert_close(at, module(x)[:, :, 3, 1], rtol=1e-4, atol=1e-5)


def test_range_limits_what_a_query_reads():
    torch.manual_seed(4)
    module = make("0110", kv_stride=1, spatial_range=1)
    x = torch.randn(1, 8, 7, 7, requires_grad=True)
    module(x)[0, :, 3, 3].sum().backward()
    reached = x.grad[0].abs().sum(0) > 0
    expected = torch.zeros(7, 7, dtype=torch.bool)
    expected[2:6, 2:6] = True  # one more on the high side, as published
    assert torch.equal(reached, expected)


@pytest.mark.parametrize("terms", PATTERNS[1:])
def test_state_is_mmcv_s(terms):
    bricks = pytest.importorskip("mmcv.cnn.bricks")
    theirs = bricks.GeneralizedAttention(16, num_heads=2, attention_type=terms)
    ours = GeneralizedAttention(16, terms=terms, heads=2)
    randomise(theirs)
    ours.load_state_dict(theirs.state_dict(), strict=True)
    theirs.load_state_dict(ours.state_dict(), strict=True)
    if terms in ("0100", "0110", "1100", "1110"):
        return
    x = torch.randn(2, 16, 5, 7)
    assert relative_error(ours(x), theirs(x)) < 1e-4


def test_range_table_of_a_checkpoint_is_ignored():
    module = GeneralizedAttention(8, heads=2, spatial_range=1)
    state = module.state_dict() | {"local_constraint_map": torch.zeros(4, 4, 2, 2, dtype=torch.uint8)}
    module.load_state_dict(state, strict=True)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"terms": "2010"}, "terms='2010'"),
        ({"terms": "11"}, "terms='11'"),
        ({"heads": 9}, "heads=9"),
        ({"heads": 0}, "heads=0"),
        ({"kv_stride": 0}, "kv_stride=0"),
        ({"q_stride": 0}, "q_stride=0"),
        ({"spatial_range": -2}, "spatial_range=-2"),
        ({"position_embedding_dim": 6}, "position_embedding_dim=6"),
    ],
)
def test_bad_arguments_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        GeneralizedAttention(8, **{"heads": 2, **options})


def test_bad_input_is_named():
    module = GeneralizedAttention(8, heads=2)
    for x in (torch.randn(1, 6, 4, 4), torch.randn(8, 4, 4)):
        with pytest.raises(ValueError, match=r"x\.shape"):
            module(x)
