"""Attention augmented convolution: fast form against the equation, timm's logits, the paper's sizes, and bad input."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from timm.layers.bottleneck_attn import PosEmbedRel

from plugins.operators import aaconv
from plugins.operators.aaconv import AAConv, aaconv_reference, relative_to_absolute, split_channels
from tests.unit.operators.comparisons import assert_compiles, assert_same, gradcheck, randomise, relative_error


def small(position: str = "relative", size: tuple[int, int] = (4, 5), **options) -> AAConv:
    return randomise(AAConv(5, 10, **{"heads": 2, "dk": 8, "dv": 4, "position": position, "map_size": size} | options))


@pytest.mark.parametrize("position", aaconv.POSITIONS)
@given(data=st.data())
@settings(max_examples=8, deadline=None)
def test_fast_equals_reference(position, data):
    torch.manual_seed(data.draw(st.integers(0, 99)))
    heads, stride, pool = data.draw(st.integers(1, 3)), data.draw(st.integers(1, 2)), data.draw(st.integers(1, 2))
    height, width = data.draw(st.integers(1, 9)), data.draw(st.integers(1, 7))
    module = small(
        position,
        (9, 7),
        heads=heads,
        dk=heads * data.draw(st.integers(1, 4)),
        dv=heads * data.draw(st.integers(1, 3)),
        stride=stride,
        pool=pool,
        strided_projection=data.draw(st.booleans()),
        qkv_kernel=data.draw(st.sampled_from([1, 3])),
    )
    x = torch.randn(data.draw(st.integers(1, 3)), 5, height, width)
    y = module(x)
    assert y.shape == (x.shape[0], 10, -(-height // stride), -(-width // stride))
    assert_same(module, lambda x: aaconv_reference(module, x), module, x)


def test_tables_of_large_maps_are_not_folded_into_the_product(monkeypatch):
    torch.manual_seed(0)
    monkeypatch.setattr(aaconv, "FOLDED", 8)
    module, x = small(), torch.randn(2, 5, 4, 5)
    monkeypatch.setattr(aaconv, "folded", None)  # would fail if it were called
    assert_same(module, lambda x: aaconv_reference(module, x), module, x)


def test_large_logits_stay_finite():
    module = randomise(small(), 30.0)
    x = torch.randn(1, 5, 4, 5)
    assert relative_error(module.double()(x.double()), aaconv_reference(module, x.double())) < 1e-9
    assert torch.isfinite(module.float()(x)).all()


@pytest.mark.parametrize("position", aaconv.POSITIONS)
def test_gradients_are_right(position):
    torch.manual_seed(1)
    gradcheck(small(position, (3, 2)), torch.randn(1, 5, 3, 2))


def test_relative_logits_equal_timm():
    torch.manual_seed(2)
    height, width, depth = 4, 6, 5
    peer = PosEmbedRel((height, width), depth, scale=1.0)
    q = torch.randn(3, height * width, depth)
    by_row = q.unflatten(1, (height, width))
    columns = relative_to_absolute(by_row @ peer.width_rel.T)
    rows = relative_to_absolute(by_row.transpose(1, 2) @ peer.height_rel.T).transpose(1, 2)
    ours = (rows.unsqueeze(4) + columns.unsqueeze(3)).reshape(3, height * width, -1)
    assert relative_error(ours, peer(q)) < 1e-6


def test_without_position_permuted_pixels_give_permuted_attention():
    torch.manual_seed(3)
    module, order = small("none", dv=10), torch.randperm(20)
    x = torch.randn(2, 5, 4, 5)
    permuted = x.flatten(2)[:, :, order].view_as(x)
    assert relative_error(module(permuted).flatten(2), module(x).flatten(2)[:, :, order]) < 1e-5


def test_smaller_maps_use_the_middle_of_the_tables():
    torch.manual_seed(4)
    large, x = small(size=(7, 6)), torch.randn(1, 5, 4, 5)
    same = small(size=(4, 5))
    middle = {"key_rel_h": large.key_rel_h[3:-3], "key_rel_w": large.key_rel_w[1:-1]}
    same.load_state_dict(large.state_dict() | middle)
    assert relative_error(large(x), same(x)) < 1e-6


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_bfloat16_and_autocast(dtype):
    """All-bfloat16 and autocast stay within 3 % of the largest output, forward, and 6 % backward."""
    torch.manual_seed(5)
    module, x = small(), torch.randn(2, 5, 4, 5)
    expected = aaconv_reference(module, x)
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=dtype is torch.float32):
        y = module.to(dtype)(x.to(dtype))
    assert relative_error(y, expected) < 0.03
    y.float().sum().backward()
    gradient = module.key_rel_w.grad.clone()
    module.float().zero_grad()
    aaconv_reference(module, x).sum().backward()
    assert relative_error(gradient, module.key_rel_w.grad) < 0.06


@pytest.mark.parametrize("position", aaconv.POSITIONS)
def test_compiles_without_graph_breaks(position):
    assert_compiles(small(position), torch.randn(2, 5, 4, 5))


def test_no_attention_and_no_convolution():
    x = torch.randn(2, 5, 4, 5)
    plain = AAConv(5, 10, kappa=0, nu=0)
    assert not hasattr(plain, "qkv_conv") and plain(x).shape == (2, 10, 4, 5)
    full = AAConv(5, 16, kappa=1, nu=1, heads=2, map_size=(4, 5))
    assert not hasattr(full, "conv_out") and full(x).shape == (2, 16, 4, 5)


@pytest.mark.parametrize(
    ("kappa", "nu", "millions"), [(0.2, 0.1, 25.81), (0.25, 0.25, 24.31), (0.5, 0.5, 22.35), (1, 1, 19.39)]
)
def test_sizes_of_augmented_resnet50(kappa, nu, millions):
    """Parameters when the 3x3 of the bottlenecks of the last three stages is augmented, against the paper's models."""
    total = 25.557e6
    for width, blocks, side in ((128, 4, 14), (256, 6, 14), (512, 3, 7)):
        with torch.device("meta"):
            layer = AAConv(width, width, heads=8, kappa=kappa, nu=nu, map_size=(side, side))
        weights = [p for name, p in layer.named_parameters() if not name.endswith("bias")]
        total += blocks * (sum(p.numel() for p in weights) - 9 * width**2)
    assert total / 1e6 == pytest.approx(millions, abs=0.01)


def test_macs_are_the_papers():
    module = AAConv(16, 32, heads=2, dk=8, dv=4, map_size=(6, 5))
    n = 30
    expected = n * 9 * 16 * 28 + n * 16 * 20 + n * 16 + n * n * 12 + n * 8 * (11 + 9)
    assert module.macs(torch.empty(3, 16, 6, 5)) == 3 * expected


def test_key_floor():
    assert split_channels(128, 8, 0.2, 0.1, 20) == (160, 8)
    assert split_channels(512, 8, 0.2, 0.1, 0) == (96, 48)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"dk": 9}, "dk=9: heads=2 must divide it"),
        ({"dv": 3}, "dv=3: heads=2 must divide it"),
        ({"dv": 12}, "dv=12: at most out_channels=10"),
        ({"kernel_size": 2}, "kernel_size=2: must be odd"),
        ({"position": "polar"}, "position='polar': must be one of"),
        ({"map_size": None}, "map_size=None: relative positions need"),
        ({"kappa": 2}, "kappa=2: a fraction"),
        ({"dk": 0}, "dk=0: keys and values come together"),
        ({"pool": 0}, "pool=0: must be at least 1"),
    ],
)
def test_bad_arguments(options, message):
    with pytest.raises(ValueError, match=message):
        small(**options)


@pytest.mark.parametrize(
    ("shape", "message"), [((2, 4, 4, 5), r"must be N x 5 x H x W"), ((2, 5, 5, 5), r"larger than map_size=\(4, 5\)")]
)
def test_bad_input(shape, message):
    with pytest.raises(ValueError, match=message):
        small()(torch.randn(shape))
