"""CoAtNet: blocks against their sums and against timm's, the family's sizes, layouts, resizing, and bad input."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from plugins.operators import coatnet
from plugins.operators.coatnet import (
    CoAtNet,
    MBConv,
    RelativeAttention,
    TransformerBlock,
    mbconv_reference,
    relative_attention_reference,
    relative_bias,
    stages_of_layout,
    transformer_block_reference,
    vit_rel,
)
from tests.unit.operators.comparisons import assert_compiles, assert_same, gradcheck, randomise, relative_error


def attention(**options) -> RelativeAttention:
    return randomise(
        RelativeAttention(**{"in_channels": 6, "out_channels": 8, "head_dim": 4, "map_size": (4, 3)} | options)
    )


def transformer(**options) -> TransformerBlock:
    return randomise(
        TransformerBlock(**{"in_channels": 8, "out_channels": 8, "map_size": (4, 3), "head_dim": 4} | options)
    )


def mbconv(**options) -> MBConv:
    return randomise(MBConv(**{"in_channels": 6, "out_channels": 8} | options)).eval()


def tiny(layout: str = "C-C-T-T", **options) -> CoAtNet:
    return CoAtNet(
        stages_of_layout(layout, (2, 1, 1, 1, 1), (4, 4, 8, 8, 8)),
        (32, 32),
        3,
        head_dim=4,
        **{"strides": (1, 1, 2, 2, 2)} | options,
    )


@pytest.mark.parametrize("relative", coatnet.RELATIVE)
@given(data=st.data())
@settings(max_examples=8, deadline=None)
def test_attention_equals_reference(relative, data):
    torch.manual_seed(data.draw(st.integers(0, 99)))
    module = attention(
        relative=relative,
        head_dim=data.draw(st.sampled_from([2, 4, 8])),
        map_size=(data.draw(st.integers(1, 4)), data.draw(st.integers(1, 5))),
    )
    x = torch.randn(2, data.draw(st.integers(1, 4)), data.draw(st.integers(1, 5)), 6)
    assert_same(module, lambda x: relative_attention_reference(module, x), module, x)


@given(data=st.data())
@settings(max_examples=12, deadline=None)
def test_mbconv_equals_reference(data):
    torch.manual_seed(data.draw(st.integers(0, 99)))
    module = mbconv(
        out_channels=data.draw(st.sampled_from([6, 8])),
        stride=data.draw(st.integers(1, 2)),
        stride_in=data.draw(st.sampled_from(coatnet.STRIDES)),
        norm=data.draw(st.sampled_from(coatnet.NORMS)),
        pool=data.draw(st.sampled_from(coatnet.POOLS)),
        se_ratio=data.draw(st.sampled_from([0, 0.25])),
        kernel_size=data.draw(st.sampled_from([3, 5])),
    )
    x = torch.randn(2, 6, data.draw(st.integers(2, 7)), data.draw(st.integers(2, 7)))
    assert_same(module, lambda x: mbconv_reference(module, x), module, x)


@pytest.mark.parametrize("pool", coatnet.POOLS)
def test_transformer_block_equals_reference(pool):
    torch.manual_seed(0)
    module = transformer(in_channels=6, stride=2, pool=pool)
    assert_same(module, lambda x: transformer_block_reference(module, x), module, torch.randn(2, 6, 7, 6))


def test_gradients_are_right():
    torch.manual_seed(1)
    for relative in coatnet.RELATIVE:
        gradcheck(attention(relative=relative), torch.randn(1, 4, 3, 6))
    gradcheck(attention(), torch.randn(1, 3, 2, 6))
    gradcheck(mbconv(stride=2), torch.randn(1, 6, 4, 4))
    gradcheck(transformer(in_channels=6, stride=2), torch.randn(1, 6, 8, 6))


def test_bias_is_looked_up_by_query_minus_key():
    height, width = 3, 4
    table = torch.randn(2, 2 * height - 1, 2 * width - 1)
    bias = relative_bias(table).view(2, height, width, height, width)
    assert torch.equal(bias[:, 2, 1, 0, 3], table[:, 2 - 0 + height - 1, 1 - 3 + width - 1])


def test_post_normalised_bias_is_added_to_the_weights():
    torch.manual_seed(2)
    with_bias, without = attention(relative="post"), attention(relative="none")
    without.load_state_dict({k: v for k, v in with_bias.state_dict().items() if k != "table"})
    x = torch.randn(1, 4, 3, 6)
    with torch.no_grad():
        with_bias.table.zero_()
    assert relative_error(with_bias(x), without(x)) < 1e-6


def test_other_maps_resize_the_table_bilinearly():
    torch.manual_seed(3)
    module, x = attention(), torch.randn(1, 6, 5, 6)
    on_the_fly = module(x)
    module.resize_table((6, 5))
    assert module.table.shape == (2, 11, 9) and relative_error(on_the_fly, module(x)) < 1e-6
    with torch.no_grad():  # a table that is linear in the offset stays so, away from the ends
        module.table.copy_(torch.arange(11.0).view(1, 11, 1).expand(2, 11, 9) - 5)
    larger = coatnet.resized(module.table, 9, 5)[0, :, 0]
    steps = larger.diff()[2:-2]
    assert larger[8].abs() < 1e-6 and (steps - steps[0]).abs().max() < 1e-5


@pytest.mark.parametrize("size", range(6))
def test_sizes_of_the_family(size):
    """Parameters counted from the paper's widths and depths, with a plain head (M)."""
    with torch.device("meta"):
        model = coatnet.coatnet(size)
    expected = (24.45, 41.64, 73.64, 164.61, 273.06, 682.86)[size]
    assert sum(p.numel() for p in model.parameters()) / 1e6 == pytest.approx(expected, abs=0.01)


@pytest.mark.parametrize(("stride_in", "billions"), [("expand", 4.14), ("depthwise", 4.55)])
def test_macs_of_coatnet_0(stride_in, billions):
    with torch.device("meta"):
        model = coatnet.coatnet(0, stride_in=stride_in)
    stem = 112 * 112 * 9 * (3 * 64 + 64 * 64)
    counted = [stem + 768 * 1000]
    for block in model.modules():
        if isinstance(block, (MBConv, TransformerBlock)):
            block.register_forward_hook(lambda module, inputs, _: counted.append(module.macs(*inputs)))
    model(torch.empty(1, 3, 224, 224, device="meta"))
    assert sum(counted) / 1e9 == pytest.approx(billions, abs=0.02)


def test_widened_stage_without_a_stride():
    """CoAtNet-6 and -7 widen inside S3."""
    stages = ((("S", 2, 4),), (("C", 1, 4),), (("C", 1, 8), ("T", 1, 16)))
    model = CoAtNet(stages, (16, 16), 3, strides=(2, 2, 2), head_dim=8)
    assert [tuple(m.shape[1:]) for m in model.features(torch.randn(2, 3, 16, 16))] == [(4, 8, 8), (4, 4, 4), (16, 2, 2)]


@pytest.mark.parametrize("layout", ["C-C-C-C", "C-C-C-T", "C-C-T-T", "C-T-T-T"])
def test_layouts(layout):
    model = tiny(layout, drop_path=0.2)
    kinds = ["C" if isinstance(stage[0], MBConv) else "T" for stage in model.stages]
    assert "-".join(kinds) == layout
    assert model(torch.randn(2, 3, 32, 32)).shape == (2, 3)


def test_vit_rel_and_other_resolutions():
    assert vit_rel(4, 8, 2, (16, 16), 5, head_dim=4)(torch.randn(2, 3, 16, 16)).shape == (2, 5)
    assert tiny()(torch.randn(1, 3, 48, 48)).shape == (1, 3)
    assert tiny(head_hidden=True, norm="layer", relative="post")(torch.randn(1, 3, 32, 32)).shape == (1, 3)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_bfloat16_and_autocast(dtype):
    """All-bfloat16 and autocast stay within 4 % of the largest output."""
    torch.manual_seed(4)
    for module, reference, shape in (
        (mbconv(stride=2), mbconv_reference, (2, 6, 6, 6)),
        (transformer(), transformer_block_reference, (2, 8, 4, 3)),
    ):
        x = torch.randn(shape)
        expected = reference(module, x)
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=dtype is torch.float32):
            y = module.to(dtype)(x.to(dtype))
        assert relative_error(y, expected) < 0.04
        y.float().sum().backward()
        assert all(p.grad is not None for p in module.parameters())


@pytest.mark.parametrize("relative", coatnet.RELATIVE)
def test_compiles_without_graph_breaks(relative):
    assert_compiles(tiny(relative=relative).eval(), torch.randn(2, 3, 32, 32))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: attention(head_dim=3), "head_dim=3: must divide out_channels=8"),
        (lambda: attention(relative="rotary"), "relative='rotary': must be one of"),
        (lambda: mbconv(stride=3), "stride=3: must be 1 or 2"),
        (lambda: mbconv(kernel_size=4), "kernel_size=4: must be odd"),
        (lambda: mbconv(pool="min2"), "pool='min2': must be one of"),
        (lambda: mbconv(stride_in="both"), "stride_in='both': must be one of"),
        (lambda: mbconv(norm="group"), "norm='group': must be one of"),
        (lambda: tiny("C-T-C-T"), "layout='C-T-C-T': convolution stages come before"),
        (lambda: tiny("C-C-T"), "layout='C-C-T': four letters"),
        (lambda: tiny(strides=(1, 2)), r"strides=\(1, 2\): one for each"),
        (lambda: vit_rel(5, 8, 1, (16, 16), 3), "patch=5: must divide image_size"),
        (lambda: coatnet.coatnet(9), "size=9: must be one of"),
        (lambda: mbconv()(torch.randn(1, 5, 4, 4)), "must be N x 6 x H x W"),
        (lambda: transformer()(torch.randn(1, 5, 4, 4)), "must be N x 8 x H x W"),
    ],
)
def test_bad_input(make, message):
    with pytest.raises(ValueError, match=message):
        make()
