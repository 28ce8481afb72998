"""Products in blocks against their sums written out, whatever the size of a block; gradients, dtypes, graph nodes."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from plugins.operators.kernels import factorised, local
from plugins.operators.kernels.factorised import factorised_attention, folded, product_average
from plugins.operators.kernels.local import local_attention
from tests.unit.operators.comparisons import relative_error


def with_gradients(form, *tensors: Tensor | None) -> list[Tensor]:
    """Output and the gradients of all tensors under a fixed random loss."""
    leaves = [None if t is None else t.detach().clone().requires_grad_() for t in tensors]
    y = form(*leaves)
    g = torch.randn(y.shape, generator=torch.Generator().manual_seed(7), dtype=torch.float64).to(y.dtype)
    (y * g).sum().backward()
    return [y.detach(), *(t.grad for t in leaves if t is not None)]


def assert_same(fast, plain, *tensors: Tensor | None) -> None:
    """Output and gradients to 1e-9 in float64, of numbers about 1."""
    doubled = [None if t is None else t.double() for t in tensors]
    for a, b in zip(with_gradients(fast, *doubled), with_gradients(plain, *doubled), strict=True):
        assert a.shape == b.shape
        assert torch.allclose(a, b, rtol=1e-9, atol=1e-9)


def plain_attention(q: Tensor, k: Tensor, v: Tensor, columns: Tensor | None, rows: Tensor | None) -> Tensor:
    """The formula of the kernel's head, key by key."""
    logits = q @ k.transpose(1, 2)
    if columns is not None:
        width = columns.shape[2]
        tables = [rows[..., key // width] + columns[..., key % width] for key in range(k.shape[1])]
        logits = logits + torch.stack(tables, dim=2)
    return logits.softmax(dim=2) @ v


def plain_average(v: Tensor, columns: Tensor, rows: Tensor) -> Tensor:
    width = columns.shape[2]
    weights = [rows[..., key // width] * columns[..., key % width] for key in range(v.shape[1])]
    return torch.stack(weights, dim=2) @ v


def plain_local_attention(q: Tensor, k: Tensor, v: Tensor, window: int, stride: int) -> Tensor:
    """The formula of the kernel's head, query by query."""
    rows = []
    for a in range(q.shape[1]):
        row = []
        for b in range(q.shape[2]):
            y, x = slice(a * stride, a * stride + window), slice(b * stride, b * stride + window)
            logits = (k[:, y, x].flatten(1, 2) @ q[:, a, b].unsqueeze(2)).squeeze(2)
            row.append((logits.softmax(dim=1).unsqueeze(1) @ v[:, y, x].flatten(1, 2)).squeeze(1))
        rows.append(torch.stack(row, dim=1))
    return torch.stack(rows, dim=1)


def case(groups=3, queries=7, size=(3, 4), depth=5, value_depth=2) -> tuple[Tensor, ...]:
    """q, k, v, columns, rows. Queries need not be as many as keys, nor values as wide as keys."""
    keys = size[0] * size[1]
    shapes = [(queries, depth), (keys, depth), (keys, value_depth), (queries, size[1]), (queries, size[0])]
    return tuple(torch.randn(groups, *shape) for shape in shapes)


@pytest.mark.parametrize("tables", [True, False])
@given(data=st.data())
@settings(max_examples=15, deadline=None)
def test_factorised_attention_is_its_formula(tables, data):
    torch.manual_seed(data.draw(st.integers(0, 99)))
    q, k, v, columns, rows = case(
        data.draw(st.integers(1, 5)),
        data.draw(st.integers(1, 9)),
        (data.draw(st.integers(1, 4)), data.draw(st.integers(1, 4))),
        data.draw(st.integers(1, 4)),
        data.draw(st.integers(1, 4)),
    )
    assert_same(factorised_attention, plain_attention, q, k, v, *((columns, rows) if tables else (None, None)))


@given(data=st.data())
@settings(max_examples=10, deadline=None)
def test_product_average_is_its_formula(data):
    torch.manual_seed(data.draw(st.integers(0, 99)))
    _, _, v, columns, rows = case(
        data.draw(st.integers(1, 5)),
        data.draw(st.integers(1, 9)),
        (data.draw(st.integers(1, 4)), data.draw(st.integers(1, 4))),
    )
    assert_same(product_average, plain_average, v, columns, rows)


@pytest.mark.parametrize("stride", [1, 2, 3])
@given(data=st.data())
@settings(max_examples=10, deadline=None)
def test_local_attention_is_its_formula(stride, data):
    torch.manual_seed(data.draw(st.integers(0, 99)))
    window, depth = data.draw(st.sampled_from([1, 2, 3, 5])), data.draw(st.integers(1, 3))
    groups, height, width = (data.draw(st.integers(1, high)) for high in (3, 10, 12))
    more = data.draw(st.integers(0, 2))  # keys that no query sees get no gradient
    q = torch.randn(groups, height, width, depth)
    k, v = torch.randn(2, groups, (height - 1) * stride + window + more, (width - 1) * stride + window + more, depth)
    assert_same(
        lambda q, k, v: local_attention(q, k, v, window, stride),
        lambda q, k, v: plain_local_attention(q, k, v, window, stride),
        *(q, k, v),
    )


@pytest.mark.parametrize("logits", [1, 20, 70, 150, 1 << 18])
@pytest.mark.parametrize("tables", [True, False])
def test_the_size_of_blocks_changes_nothing(logits, tables, monkeypatch):
    torch.manual_seed(0)
    monkeypatch.setitem(factorised.LOGITS, "cpu", logits)
    monkeypatch.setattr(factorised, "QUERIES", 4)  # one from each of four groups
    q, k, v, columns, rows = case()
    assert_same(factorised_attention, plain_attention, q, k, v, *((columns, rows) if tables else (None, None)))
    assert_same(product_average, plain_average, v, columns, rows)


@pytest.mark.parametrize("edge", [1, 3, 8])
@pytest.mark.parametrize("logits", [1, 3000, 1 << 20])
def test_the_size_of_local_blocks_changes_nothing(edge, logits, monkeypatch):
    torch.manual_seed(0)
    monkeypatch.setitem(local.LOGITS, "cpu", logits)
    monkeypatch.setattr(local, "EDGE", edge)
    q, k, v = torch.randn(2, 7, 10, 3), torch.randn(2, 11, 14, 3), torch.randn(2, 11, 14, 3)
    assert_same(
        lambda q, k, v: local_attention(q, k, v, 5, 1), lambda q, k, v: plain_local_attention(q, k, v, 5, 1), q, k, v
    )


def test_folded_tables_are_the_tables():
    torch.manual_seed(1)
    q, k, v, columns, rows = case()

    def fold(q: Tensor, k: Tensor, v: Tensor, columns: Tensor, rows: Tensor) -> Tensor:
        return factorised_attention(*folded(q, k, columns, rows), v, None, None)

    assert_same(fold, plain_attention, q, k, v, columns, rows)


def test_keys_that_a_table_hides_take_no_part():
    torch.manual_seed(2)
    q, k, v, columns, rows = case()
    columns[:, :, 1] = -math.inf
    rows[0, 2, :2] = -math.inf
    assert_same(factorised_attention, plain_attention, q, k, v, columns, rows)
    dk = with_gradients(factorised_attention, q, k, v, columns, rows)[2]
    assert (dk.view(3, 3, 4, -1)[:, :, 1] == 0).all() and torch.isfinite(dk).all()


def test_gradients_are_right():
    torch.manual_seed(3)
    q, k, v, columns, rows = (t.double().requires_grad_() for t in case(2, 3, (2, 3), 2, 2))
    assert torch.autograd.gradcheck(factorised_attention, (q, k, v, columns, rows))
    assert torch.autograd.gradcheck(factorised_attention, (q, k, v, None, None))
    assert torch.autograd.gradcheck(product_average, (v, columns, rows))
    q, k, v = (torch.randn(2, *size, 2, dtype=torch.float64).requires_grad_() for size in ((3, 2), (5, 4), (5, 4)))
    assert torch.autograd.gradcheck(lambda q, k, v: local_attention(q, k, v, 3, 1), (q, k, v))


@pytest.mark.parametrize("autocast", [True, False])
def test_the_caller_chooses_the_dtype(autocast):
    """Autocast does not reach into the blocks: float32 stays exact to 1e-5; bfloat16 inputs give 3 % at worst."""
    torch.manual_seed(4)
    tensors = case()
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
        for form, plain, inputs in (
            (factorised_attention, plain_attention, tensors),
            (product_average, plain_average, tensors[2:]),
        ):
            exact = plain(*(t.double() for t in inputs))
            assert form(*inputs).dtype == torch.float32
            assert relative_error(form(*inputs), exact) < 1e-5
            y = form(*(t.bfloat16() for t in inputs))
            assert y.dtype == torch.bfloat16
            assert relative_error(y, exact) < 0.03


def test_torch_finds_no_fault_with_the_operators():
    """Schema, fake tensors, autograd registration and traced gradients, by torch's own check."""
    torch.manual_seed(5)
    q, k, v, columns, rows = (t.requires_grad_() for t in case())
    torch.library.opcheck(torch.ops.convattn.factorised_attention.default, (q, k, v, columns, rows))
    torch.library.opcheck(torch.ops.convattn.factorised_attention.default, (q, k, v, None, None))
    torch.library.opcheck(torch.ops.convattn.product_average.default, (v, columns, rows))
    q, k, v = (torch.randn(2, *size, 3).requires_grad_() for size in ((4, 4), (6, 6), (6, 6)))
    torch.library.opcheck(torch.ops.convattn.local_attention.default, (q, k, v, 3, 1))


def test_too_few_keys_for_the_windows():
    with pytest.raises(ValueError, match="too small for queries"):
        local_attention(torch.randn(1, 4, 4, 2), torch.randn(1, 5, 6, 2), torch.randn(1, 5, 6, 2), 3, 1)
