"""A window centred on the query: the keys of a K x K convolution, for every pattern of terms."""

import math

import pytest
import torch

from plugins.operators.generalized_attention import (
    GeneralizedAttention,
    attention_maps,
    generalized_attention_reference,
)

PATTERNS = [f"{number:04b}" for number in range(16)]


def drawn(terms: str, window: int | None, kv_stride: int = 1) -> GeneralizedAttention:
    torch.manual_seed(0)
    module = GeneralizedAttention(8, terms, heads=2, kv_stride=kv_stride, window=window)
    torch.nn.init.ones_(module.gamma)
    return module


@pytest.mark.parametrize("terms", PATTERNS)
@pytest.mark.parametrize(("window", "kv_stride"), [(1, 1), (3, 1), (5, 1), (5, 2)])
def test_a_window_is_a_plain_masked_softmax(terms, window, kv_stride):
    module, x = drawn(terms, window, kv_stride), torch.randn(2, 8, 6, 7)
    # The same weights over all keys, as a softmax whose logits outside the window are -inf: from the maps of one query.
    every = drawn(terms, None, kv_stride)
    value = module.split_heads(module.value_conv(x[:, :, ::kv_stride, ::kv_stride]))
    out = torch.empty(2, 2, 42, 4)
    for row in range(6):
        for column in range(7):
            weights = attention_maps(every, x, row, column)["all"]
            far_y = (torch.arange(weights.shape[-2]) * kv_stride - row).abs() > window // 2
            far_x = (torch.arange(weights.shape[-1]) * kv_stride - column).abs() > window // 2
            logits = weights.log().masked_fill(far_y[:, None] | far_x[None], -math.inf)
            out[:, :, row * 7 + column] = torch.einsum("nmk,nmkd->nmd", logits.flatten(2).softmax(-1), value)
    torch.testing.assert_close(module(x), module.finish(x, out, 6, 7), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(module(x), generalized_attention_reference(module, x), atol=1e-5, rtol=1e-5)


def test_a_pixel_sees_as_far_to_one_side_as_to_the_other():
    module = drawn("0100", 3)
    x = torch.randn(1, 8, 9, 9, requires_grad=True)
    module(x)[0, :, 4, 4].sum().backward()
    rows, columns = torch.nonzero(x.grad[0].abs().sum(0), as_tuple=True)
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (3, 5, 3, 5)


def test_multiply_adds_count_the_pairs_in_sight():
    seen = drawn("0100", 3).visible(5, 6, 5, 6, torch.device("cpu"))
    assert drawn("0100", 3).pairs(5, 5) * drawn("0100", 3).pairs(6, 6) == seen.sum()


@pytest.mark.parametrize(
    ("options", "rule"),
    [
        ({"window": 4}, "must be odd"),
        ({"window": 3, "spatial_range": 1}, "spatial_range=-1"),
        ({"window": 1, "kv_stride": 2}, "holds no key"),
    ],
)
def test_a_window_that_cannot_be_is_refused(options, rule):
    with pytest.raises(ValueError, match=rule):
        GeneralizedAttention(8, "0100", heads=2, **{"kv_stride": 1} | options)
