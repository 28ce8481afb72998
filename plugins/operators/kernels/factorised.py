"""Softmax attention over a map, with logits that are a product and two tables: one of key columns, one of key rows.

    logits[i, (y, x)] = q_i . k_(y, x) + rows[i, y] + columns[i, x]
    out_i = sum_(y, x) softmax_(y, x)(logits)[i, (y, x)] v_(y, x)

This is the form of relative positions (AAConv) and of the factors E1 .. E4 (generalized attention): a relative position
splits into its two axes, so a query needs H + W numbers for the map's H W keys.

Blocks. Logits are made for as many queries at a time as fit a core's cache, turned into weights in place and multiplied
with the values before they leave it; nothing of size queries x keys is ever kept. The backward pass makes the weights
of each block again, which costs one more product and saves that memory. Per block, with p the weights and g the
gradient of the output,

    dv = p' g,    dlogits = p (g v' - g . out),    dq = dlogits k,    dk = dlogits' q,

and the gradients of the tables are dlogits summed over the rows (columns) of the map. g . out is what the softmax
subtracts, sum_j p_j (g . v_j), without a pass over the weights.

Where logits are the tables alone, the weights are products of two softmaxes and need neither a map of logits nor an
exponential: `product_average`.

Each loop over blocks is one torch operator with a backward of its own, so that `torch.compile` sees one node.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

# Logits held at a time: on a CPU what a core's cache takes, on a GPU enough to fill it.
LOGITS = {"cpu": 1 << 18, "cuda": 1 << 26}
# Fewer queries at a time, or fewer than a quarter of it from one group, make products too thin, whatever a cache takes.
QUERIES = 128
# Up to this H + W, adding two tables of short rows to a block costs more than H + W further features in its products.
FOLDED = 64


def factorised_attention(q: Tensor, k: Tensor, v: Tensor, columns: Tensor | None, rows: Tensor | None) -> Tensor:
    """softmax(q k' + rows[.., row of key] + columns[.., column of key]) v.

    Args:
        q: G x queries x d, already scaled; k: G x keys x d; v: G x keys x d_v. All of one dtype.
        columns: G x queries x W; rows: G x queries x H, with H W keys row by row; both or neither. Entries may be -inf,
            as long as every query keeps one key.
    Returns: G x queries x d_v.
    """
    q, k, v, columns, rows = (None if t is None else t.contiguous() for t in (q, k, v, columns, rows))
    return _attention(q, k, v, columns, rows)


def folded(q: Tensor, k: Tensor, columns: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
    """(q, k) whose product holds the tables too: they become features of the query, against one-hot features of keys.

    Shapes as in `factorised_attention`, with any leading axes. Entries must be finite: 0 times -inf is not 0.
    """
    height, width = rows.shape[-1], columns.shape[-1]
    column_of_key = torch.eye(width, dtype=k.dtype, device=k.device).repeat(height, 1)
    row_of_key = torch.eye(height, dtype=k.dtype, device=k.device).repeat_interleave(width, dim=0)
    place = torch.cat((column_of_key, row_of_key), dim=1).expand(*k.shape[:-2], -1, -1)
    return torch.cat((q, columns, rows), dim=-1), torch.cat((k, place), dim=-1)


def product_average(v: Tensor, columns: Tensor, rows: Tensor) -> Tensor:
    """sum_(y, x) rows[.., y] columns[.., x] v_(y, x): the average with weights that are products.

    Args: as in `factorised_attention`, with weights in place of logits. Returns: G x queries x d_v.
    """
    v, columns, rows = v.contiguous(), columns.contiguous(), rows.contiguous()  # the caller's v may go meanwhile
    return _average(v, columns, rows)


def _blocks(groups: int, queries: int, keys: int, device: torch.device) -> Iterator[tuple[slice, slice]]:
    """Index pairs (groups, queries) of what is worked on together."""
    budget = LOGITS.get(device.type, LOGITS["cuda"])
    # A product of one group keeps one thread busy: torch hands a batch to its threads group by group.
    side_by_side = min(groups, torch.get_num_threads(), 4) if device.type == "cpu" else 1
    queries_at_once = min(queries, max(QUERIES, budget // keys) // side_by_side)
    groups_at_once = max(side_by_side, budget // (queries_at_once * keys))
    for g in range(0, groups, groups_at_once):
        for i in range(0, queries, queries_at_once):
            yield slice(g, g + groups_at_once), slice(i, i + queries_at_once)


def _weights(q: Tensor, k: Tensor, columns: Tensor | None, rows: Tensor | None) -> Tensor:
    """Softmaxed weights of one block, G x queries x keys."""
    if columns is None:
        logits = torch.bmm(q, k.transpose(1, 2))
    else:
        logits = torch.add(rows.unsqueeze(3), columns.unsqueeze(2)).flatten(2)
        logits.baddbmm_(q, k.transpose(1, 2))
    return torch.softmax(logits, dim=-1, out=logits)


def _cut(block: tuple[slice, slice], *tables: Tensor | None) -> Iterator[Tensor | None]:
    return (None if t is None else t[block] for t in tables)


def _sums_like(*tensors: Tensor) -> list[Tensor]:
    """Zeros for sums over blocks of queries, in float32 at least."""
    return [torch.zeros_like(t, dtype=torch.promote_types(t.dtype, torch.float32)) for t in tensors]


def _add_product(total: Tensor, a: Tensor, b: Tensor) -> None:
    """total += a b. In one go where the sum has the dtype of its terms: the product is as large as all keys."""
    if total.dtype == a.dtype:
        total.baddbmm_(a, b)
    else:
        total += torch.bmm(a, b)


@torch.library.custom_op("convattn::factorised_attention", mutates_args=())
def _attention(q: Tensor, k: Tensor, v: Tensor, columns: Tensor | None, rows: Tensor | None) -> Tensor:
    out = v.new_empty(*q.shape[:2], v.shape[2])
    with torch.autocast(q.device.type, enabled=False):  # the caller chose the dtype
        for block in _blocks(q.shape[0], q.shape[1], k.shape[1], q.device):
            group, _ = block
            # Not by a name, which would keep the weights of a block while those of the next are made.
            out[block] = torch.bmm(_weights(q[block], k[group], *_cut(block, columns, rows)), v[group])
    return out


@torch.library.custom_op("convattn::factorised_attention_backward", mutates_args=())
def _attention_backward(
    g: Tensor, out: Tensor, q: Tensor, k: Tensor, v: Tensor, columns: Tensor | None, rows: Tensor | None
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    dq, (dk, dv) = torch.empty_like(q), _sums_like(k, v)
    dcolumns, drows = (q.new_empty(0) if t is None else torch.empty_like(t) for t in (columns, rows))
    shift = -(g * out).sum(dim=2, keepdim=True)
    with torch.autocast(q.device.type, enabled=False):
        for block in _blocks(q.shape[0], q.shape[1], k.shape[1], q.device):
            group, _ = block
            weights = _weights(q[block], k[group], *_cut(block, columns, rows))
            _add_product(dv[group], weights.transpose(1, 2), g[block])
            dlogits = torch.baddbmm(shift[block], g[block], v[group].transpose(1, 2)).mul_(weights)
            dq[block] = torch.bmm(dlogits, k[group])
            _add_product(dk[group], dlogits.transpose(1, 2), q[block])
            if columns is not None:
                by_row = dlogits.unflatten(2, (rows.shape[2], columns.shape[2]))
                dcolumns[block], drows[block] = by_row.sum(dim=2), by_row.sum(dim=3)
    return dq, dk.to(k.dtype), dv.to(v.dtype), dcolumns, drows


@_attention.register_fake
def _(q, k, v, columns, rows):
    return v.new_empty(*q.shape[:2], v.shape[2])


@_attention_backward.register_fake
def _(g, out, q, k, v, columns, rows):
    tables_like = (q.new_empty(0) if t is None else torch.empty_like(t) for t in (columns, rows))
    return (torch.empty_like(q), torch.empty_like(k), torch.empty_like(v), *tables_like)


def _save_attention(ctx, inputs, output) -> None:
    ctx.save_for_backward(output, *inputs)


def _gradients_of_attention(ctx, g: Tensor):
    gradients = _attention_backward(g.contiguous(), *ctx.saved_tensors)
    has_tables = ctx.saved_tensors[-1] is not None
    return gradients if has_tables else (*gradients[:3], None, None)


_attention.register_autograd(_gradients_of_attention, setup_context=_save_attention)


@torch.library.custom_op("convattn::product_average", mutates_args=())
def _average(v: Tensor, columns: Tensor, rows: Tensor) -> Tensor:
    out = v.new_empty(*columns.shape[:2], v.shape[2])
    with torch.autocast(v.device.type, enabled=False):
        for block in _blocks(columns.shape[0], columns.shape[1], v.shape[1], v.device):
            group, _ = block
            row, column = rows[block].unsqueeze(3), columns[block].unsqueeze(2)
            out[block] = torch.bmm(torch.mul(row, column).flatten(2), v[group])
    return out


@torch.library.custom_op("convattn::product_average_backward", mutates_args=())
def _average_backward(g: Tensor, v: Tensor, columns: Tensor, rows: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    (dv,), dcolumns, drows = _sums_like(v), torch.empty_like(columns), torch.empty_like(rows)
    with torch.autocast(v.device.type, enabled=False):
        for block in _blocks(columns.shape[0], columns.shape[1], v.shape[1], v.device):
            group, _ = block
            row, column = rows[block].unsqueeze(3), columns[block].unsqueeze(2)
            _add_product(dv[group], torch.mul(row, column).flatten(2).transpose(1, 2), g[block])
            by_row = torch.bmm(g[block], v[group].transpose(1, 2)).unflatten(2, (rows.shape[2], columns.shape[2]))
            dcolumns[block] = (row.transpose(2, 3) @ by_row).squeeze(2)
            drows[block] = (by_row @ column.transpose(2, 3)).squeeze(3)
    return dv.to(v.dtype), dcolumns, drows


@_average.register_fake
def _(v, columns, rows):
    return v.new_empty(*columns.shape[:2], v.shape[2])


@_average_backward.register_fake
def _(g, v, columns, rows):
    return torch.empty_like(v), torch.empty_like(columns), torch.empty_like(rows)


def _save_average(ctx, inputs, output) -> None:
    ctx.save_for_backward(*inputs)


def _gradients_of_average(ctx, g: Tensor):
    return _average_backward(g.contiguous(), *ctx.saved_tensors)


_average.register_autograd(_gradients_of_average, setup_context=_save_average)
