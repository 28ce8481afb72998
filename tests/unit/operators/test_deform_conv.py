"""Deformable convolutions: fast forms against the equation, decoding, padding."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from plugins.operators.deform_conv import (
    DeformConv1d,
    DeformConv2d,
    SeparableDeformConv1d,
    SeparableDeformConv2d,
    deform_conv1d_reference,
    deform_conv2d_reference,
)
from tests.unit.operators.comparisons import assert_compiles, assert_same, gradcheck, randomise, relative_error

SEQUENCE_FORMS = [DeformConv1d, SeparableDeformConv1d]


@given(data=st.data())
@settings(max_examples=25, deadline=None)
def test_fast_equals_reference(data):
    torch.manual_seed(data.draw(st.integers(0, 99)))
    module = randomise(
        DeformConv2d(
            6,
            12,
            data.draw(st.sampled_from([1, 2, 3])),
            stride=data.draw(st.integers(1, 3)),
            padding=data.draw(st.integers(1, 2)),
            dilation=data.draw(st.integers(1, 2)),
            groups=data.draw(st.sampled_from([1, 2, 6])),
            bias=data.draw(st.booleans()),
            offset_groups=data.draw(st.sampled_from([1, 3])),
        )
    )
    x = torch.randn(2, 6, data.draw(st.integers(3, 8)), data.draw(st.integers(3, 8)))
    assert_same(module, lambda x: deform_conv2d_reference(module, x), module, x)


@pytest.mark.parametrize("form", SEQUENCE_FORMS)
@given(data=st.data())
@settings(max_examples=20, deadline=None)
def test_fast_equals_reference_on_sequences(form, data):
    torch.manual_seed(data.draw(st.integers(0, 99)))
    module = randomise(form(6, 4, data.draw(st.sampled_from([1, 3, 5])), data.draw(st.booleans())))
    length = data.draw(st.integers(1, 9))
    mask = None
    if data.draw(st.booleans()):
        mask = torch.zeros(2, length, dtype=torch.bool)
        mask[0, length // 2 + 1 :] = True
    x = torch.randn(length, 2, 6)
    assert_same(lambda x: module(x, mask), lambda x: deform_conv1d_reference(module, x, mask), module, x)


def test_starts_as_a_plain_convolution():
    module = DeformConv2d(4, 6, 3, padding=1, bias=True)
    x = torch.randn(1, 4, 5, 6)
    assert relative_error(module(x), torch.nn.functional.conv2d(x, module.weight, module.bias, padding=1)) < 1e-5


@pytest.mark.parametrize("form", SEQUENCE_FORMS)
def test_incremental_equals_full_and_reads_no_future(form):
    torch.manual_seed(0)
    module = randomise(form(8, 8, 4, causal=True))
    x = torch.randn(7, 3, 8, requires_grad=True)
    for fresh in (False, True):
        if fresh:  # every point on a whole position, as at the start of training
            torch.nn.init.zeros_(module.offset.weight)
            torch.nn.init.zeros_(module.offset.bias)
        state: dict = {}
        full = module(x)
        assert (
            relative_error(torch.cat([module(x[a:b], None, state) for a, b in ((0, 1), (1, 4), (4, 7))]), full) < 1e-5
        )
        grads = torch.autograd.grad(full[3].sum(), (x, module.offset.weight))
        assert (grads[0][4:] == 0).all()
        changed = x.detach().clone()
        changed[4:] = torch.randn(3, 3, 8)
        again = torch.autograd.grad(module(changed)[3].sum(), module.offset.weight)[0]
        assert torch.equal(grads[1], again)
    order, state = torch.tensor([2, 0, 0]), {}
    module(x[:5], None, state)
    module.reorder_incremental_state(state, order)
    assert relative_error(module(x[5:], None, state), module(torch.cat((x[:5, order], x[5:])))[5:]) < 1e-5


@pytest.mark.parametrize("form", SEQUENCE_FORMS)
def test_padding_does_not_change_real_positions(form):
    module = randomise(form(8, 8, 3))
    x = torch.randn(5, 2, 8)
    padded, mask = torch.cat((x, torch.randn(3, 2, 8))), torch.zeros(2, 8, dtype=torch.bool)
    mask[:, 5:] = True
    assert relative_error(module(padded, mask)[:5], module(x)) < 1e-5


def test_gradients_are_right():
    torch.manual_seed(1)
    gradcheck(randomise(DeformConv2d(2, 2, 3, padding=1, bias=True)), torch.randn(1, 2, 4, 3))
    gradcheck(randomise(DeformConv1d(3, 2, 3)), torch.randn(5, 1, 3))
    gradcheck(randomise(SeparableDeformConv1d(3, 2, 3)), torch.randn(5, 1, 3))


@pytest.mark.parametrize(
    ("module", "shape"),
    [
        (DeformConv2d(8, 8, 3, padding=1, groups=2), (2, 8, 4, 5)),
        (SeparableDeformConv2d(8), (2, 8, 4, 5)),
        (DeformConv1d(8, 8, 3), (6, 2, 8)),
        (SeparableDeformConv1d(8, 8, 3, causal=True), (6, 2, 8)),
    ],
)
def test_bfloat16_and_compile(module, shape):
    """Under autocast the sampling points stay in float32 or bfloat16 as predicted: 10 % of the largest output."""
    torch.manual_seed(2)
    module, x = randomise(module, 0.2), torch.randn(shape)
    expected = module(x)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y = module(x)
    y.sum().backward()
    assert relative_error(y, expected) < 0.1
    assert_compiles(module, x)


def test_macs_of_a_known_case():
    x = torch.empty(2, 4, 6, 6, device="meta")
    assert DeformConv2d(4, 8, 3, stride=2, padding=1).macs(x) == 2 * 9 * (9 * 4 * 18 + 4 * 9 * 4 + 9 * 4 * 8)
    assert DeformConv1d(4, 8, 3).macs(torch.empty(5, 2, 4, device="meta")) == 10 * (3 * 4 * 3 + 3 * 4 * 8)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: DeformConv2d(6, 8, 3, groups=4), "groups=4"),
        (lambda: DeformConv2d(6, 8, 0), "kernel_size=0"),
        (lambda: DeformConv2d(6, 8, 3, offset_groups=4), "offset_groups=4"),
        (lambda: DeformConv2d(6, 8, 3, stride=0), "stride=0"),
        (lambda: DeformConv2d(6, 8, 3)(torch.randn(1, 4, 5, 5)), r"x\.shape"),
        (lambda: DeformConv2d(6, 8, 5)(torch.randn(1, 6, 3, 3)), "must hold the window of 5"),
        (lambda: SeparableDeformConv2d(6, 4), "kernel_size=4"),
        (lambda: DeformConv1d(6, 6, 4), "kernel_size=4"),
        (lambda: DeformConv1d(6, 6, 3)(torch.randn(5, 2, 4)), r"x\.shape"),
        (
            lambda: DeformConv1d(6, 6, 3)(torch.randn(5, 2, 6), torch.zeros(5, 2, dtype=torch.bool)),
            r"key_padding_mask\.shape",
        ),
        (lambda: DeformConv1d(6, 6, 3)(torch.randn(5, 2, 6), None, {}), "causal=True"),
    ],
)
def test_bad_arguments_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
