"""Dynamic and lightweight convolutions: fast form against the equation, decoding, padding."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from plugins.operators.dynamic_conv import (
    DynamicConv1d,
    DynamicConv2d,
    DynamicConvBlock1d,
    LightweightConv1d,
    dynamic_conv2d_reference,
    tap_conv1d_reference,
)
from tests.unit.operators.comparisons import assert_compiles, assert_same, gradcheck, randomise, relative_error

FORMS = [DynamicConv1d, LightweightConv1d]


@pytest.mark.parametrize("form", FORMS)
@given(data=st.data())
@settings(max_examples=25, deadline=None)
def test_fast_equals_reference(form, data):
    torch.manual_seed(data.draw(st.integers(0, 99)))
    kernel = data.draw(st.sampled_from([1, 3, 7, 31]))
    module = randomise(
        form(
            8,
            kernel,
            data.draw(st.sampled_from([None, kernel // 2])),
            data.draw(st.sampled_from([1, 2, 8])),
            bias=data.draw(st.booleans()),
        )
    )
    x = torch.randn(data.draw(st.sampled_from([1, 2, 5, 40, 129, 300])), data.draw(st.integers(1, 3)), 8)
    assert_same(module, lambda x: tap_conv1d_reference(module, x), module, x)


@given(data=st.data())
@settings(max_examples=15, deadline=None)
def test_fast_equals_reference_on_maps(data):
    torch.manual_seed(data.draw(st.integers(0, 99)))
    module = randomise(DynamicConv2d(8, data.draw(st.sampled_from([1, 3, 5])), data.draw(st.sampled_from([1, 2, 8]))))
    x = torch.randn(2, 8, data.draw(st.integers(1, 6)), data.draw(st.integers(1, 6)))
    assert_same(module, lambda x: dynamic_conv2d_reference(module, x), module, x)


@pytest.mark.parametrize("form", FORMS)
def test_incremental_equals_full_and_reads_no_future(form):
    module = randomise(form(8, 4, None, 2))
    x = torch.randn(9, 3, 8, requires_grad=True)
    full = module(x)
    state: dict = {}
    steps = [module(x[a:b], state) for a, b in ((0, 1), (1, 3), (3, 9))]
    assert relative_error(torch.cat(steps), full) < 1e-5
    full[4].sum().backward()
    assert (x.grad[5:] == 0).all()
    order, state = torch.tensor([2, 0, 0]), {}
    module(x[:5], state)
    module.reorder_incremental_state(state, order)
    assert relative_error(module(x[5:], state), module(torch.cat((x[:5, order], x[5:])))[5:]) < 1e-5


def test_block_masks_padding_and_decodes():
    block = randomise(DynamicConvBlock1d(8, 3, 2))
    x = torch.randn(5, 2, 8)
    padded, mask = torch.cat((x, torch.randn(3, 2, 8))), torch.zeros(2, 8, dtype=torch.bool)
    mask[:, 5:] = True
    assert relative_error(block(padded, mask)[:5], block(x)) < 1e-5
    causal = randomise(DynamicConvBlock1d(8, 4, 2, causal=True))
    state: dict = {}
    assert relative_error(torch.cat([causal(x[i : i + 1], None, state) for i in range(5)]), causal(x)) < 1e-5
    assert causal.macs(x) == 10 * (3 * 64 + 4 * (8 * 2 + 8))


def test_gradients_are_right():
    torch.manual_seed(1)
    gradcheck(randomise(DynamicConv1d(4, 3, 1, 2, bias=True, conv_bias=True)), torch.randn(4, 1, 4))
    gradcheck(randomise(LightweightConv1d(4, 3, 2, 2)), torch.randn(4, 1, 4))
    gradcheck(randomise(DynamicConv2d(4, 3, 2)), torch.randn(1, 4, 3, 2))


@pytest.mark.parametrize(
    ("module", "shape"),
    [
        (DynamicConv1d(8, 3, 1, 2), (6, 2, 8)),
        (LightweightConv1d(8, 3, 1, 2), (6, 2, 8)),
        (DynamicConv2d(8, 3, 2), (2, 8, 4, 5)),
    ],
)
def test_bfloat16_and_compile(module, shape):
    """bfloat16 stays within 3 % of the largest output."""
    torch.manual_seed(2)
    module, x = randomise(module), torch.randn(shape)
    expected = module(x)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y = module(x)
    y.sum().backward()
    assert relative_error(y, expected) < 3e-2
    assert_compiles(module, x)
    assert relative_error(module.bfloat16()(x.bfloat16()), expected) < 3e-2


@pytest.mark.parametrize("geometry", [(3, 1), (5, 4), (9, 8)])
def test_renormalised_taps_sum_to_one_inside_the_sequence(geometry):
    """A constant input stays as it is, at the ends too, which it does not without the option."""
    torch.manual_seed(0)
    kernel, left = geometry
    x = torch.ones(6, 2, 8)
    for renorm_padding in (True, False):
        module = randomise(DynamicConv1d(8, kernel, left, 2, renorm_padding=renorm_padding))
        assert torch.allclose(module(x), x) == renorm_padding


def test_renormalised_taps_are_the_same_step_by_step():
    """What came before counts as inside, as far as it is known."""
    torch.manual_seed(0)
    module = randomise(DynamicConv1d(8, 4, 3, 2, renorm_padding=True))
    x = torch.randn(7, 2, 8)
    state: dict = {}
    steps = [module(x[a:b], state) for a, b in ((0, 1), (1, 3), (3, 4), (4, 7))]
    assert relative_error(torch.cat(steps), module(x)) < 1e-5


def test_published_module_agrees():
    fairseq = pytest.importorskip("fairseq.modules.dynamic_convolution")
    for kernel, left in ((3, 2), (7, 3)):
        theirs = fairseq.DynamicConv1dTBC(8, kernel, left, 2, weight_softmax=True, bias=True, conv_bias=True)
        ours = DynamicConv1d(8, kernel, left, 2, bias=True, conv_bias=True)
        ours.load_state_dict(randomise(theirs).state_dict())
        x = torch.randn(11, 2, 8)
        assert relative_error(ours(x), theirs(x)) < 1e-5


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: DynamicConv1d(8, 3, 1, 3), "heads=3"),
        (lambda: DynamicConv1d(8, 4, 2), "kernel_size=4"),
        (lambda: DynamicConv1d(8, 0), "kernel_size=0"),
        (lambda: DynamicConv1d(8, 3, 5), "padding_l=5"),
        (lambda: DynamicConv2d(8, 4), "kernel_size=4"),
        (lambda: DynamicConv2d(8, 3, 3), "heads=3"),
        (lambda: DynamicConvBlock1d(8, 4, 2), "kernel_size=4"),
        (lambda: DynamicConv1d(8, 3)(torch.randn(2, 2, 6)), r"x\.shape"),
        (lambda: DynamicConv2d(8)(torch.randn(8, 4, 4)), r"x\.shape"),
        (
            lambda: DynamicConvBlock1d(8, 3, 2)(torch.randn(4, 2, 8), torch.zeros(4, 2, dtype=torch.bool)),
            r"key_padding_mask\.shape",
        ),
        (lambda: DynamicConv1d(8, 3, 1)(torch.randn(2, 2, 8), {}), "incremental_state needs"),
    ],
)
def test_bad_arguments_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
