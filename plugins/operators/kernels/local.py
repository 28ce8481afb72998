"""Attention of each query over the window of keys around it, by blocks of queries.

    out[a, b] = sum_(s, t) softmax_(s, t)( q[a, b] . k[a stride + s, b stride + t] ) v[a stride + s, b stride + t],
    s and t in 0 .. window - 1

A window of its own for each query would take window^2 copies of k and v. Here a square block of queries meets all keys
of the block's neighbourhood in one matrix product, from which -inf takes what lies outside a query's own window: some
products are in vain, but they are large ones, and neighbourhoods overlap only at their edges, so keys are copied a few
times.

The backward pass makes the weights of each block again instead of keeping them, and is one torch operator like the
forward, so that `torch.compile` sees one node each.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

from plugins.operators.checks import require

# Edge of a block of queries, in keys: smaller blocks copy more keys, larger ones make more products in vain.
EDGE = 8
# Logits held at a time: on a CPU what a core's cache takes, on a GPU enough to fill it.
LOGITS = {"cpu": 1 << 19, "cuda": 1 << 26}


def local_attention(q: Tensor, k: Tensor, v: Tensor, window: int, stride: int) -> Tensor:
    """Attention of each query over the window x window keys around it.

    Args:
        q: G x Ho x Wo x d, already scaled.
        k, v: G x H x W x d, padded so that query (a, b) sees rows a * stride .. a * stride + window - 1, and columns
            likewise: H >= (Ho - 1) * stride + window.
    Returns: G x Ho x Wo x d.
    Errors: ValueError where the keys are too few.
    """
    require(
        k.shape[1] >= (q.shape[1] - 1) * stride + window and k.shape[2] >= (q.shape[2] - 1) * stride + window,
        "k.shape",
        tuple(k.shape),
        f"too small for queries {tuple(q.shape)}, window={window}, stride={stride}",
    )
    return _attention(q, k.to(q.dtype), v.to(q.dtype), window, stride)  # autocast leaves them unlike


@lru_cache(maxsize=32)
def _outside(edge: int, window: int, stride: int, device: torch.device, dtype: torch.dtype) -> Tensor:
    """0 where a query of a block sees a key of its neighbourhood, -inf elsewhere: edge^2 x span^2."""
    query = torch.arange(edge).unsqueeze(1) * stride
    key = torch.arange((edge - 1) * stride + window).unsqueeze(0)
    axis = (key >= query) & (key < query + window)
    visible = (axis[:, None, :, None] & axis[None, :, None, :]).flatten(2).flatten(0, 1)
    return torch.zeros(visible.shape, dtype=dtype).masked_fill_(~visible, -torch.inf).to(device)


class _Blocks:
    """How maps are cut. A block is `edge` x `edge` queries; its neighbourhood is `span` x `span` keys; neighbourhoods
    begin `step` keys apart. The map of queries is padded to `rows` x `columns` blocks."""

    def __init__(self, q: Tensor, window: int, stride: int) -> None:
        self.groups, height, width, _ = q.shape
        self.edge = max(1, min(EDGE // stride, max(height, width)))
        self.step, self.span = self.edge * stride, (self.edge - 1) * stride + window
        self.rows, self.columns = math.ceil(height / self.edge), math.ceil(width / self.edge)
        self.outside = _outside(self.edge, window, stride, q.device, q.dtype)
        # Whole rows of blocks go together: as many groups as the budget takes, else as many rows of one group.
        strip = self.columns * self.edge**2 * self.span**2
        budget = LOGITS.get(q.device.type, LOGITS["cuda"])
        self.groups_at_once = max(1, min(self.groups, budget // strip))
        self.rows_at_once = max(1, min(self.rows, budget // (strip * self.groups_at_once)))

    def __iter__(self) -> Iterator[tuple[tuple[slice, slice], tuple[slice, slice]]]:
        """Index pairs of what is worked on together: (groups, rows of queries), (groups, rows of keys)."""
        for g in range(0, self.groups, self.groups_at_once):
            groups = slice(g, g + self.groups_at_once)
            for row in range(0, self.rows, self.rows_at_once):
                last = min(self.rows, row + self.rows_at_once)
                yield (
                    (groups, slice(row * self.edge, last * self.edge)),
                    (groups, slice(row * self.step, (last - 1) * self.step + self.span)),
                )

    def pad_queries(self, t: Tensor) -> Tensor:
        return _grow(t, self.rows * self.edge, self.columns * self.edge)

    def pad_keys(self, t: Tensor) -> Tensor:
        return _grow(t, (self.rows - 1) * self.step + self.span, (self.columns - 1) * self.step + self.span)

    def queries(self, t: Tensor) -> Tensor:
        """g x H x W x d -> blocks x edge^2 x d."""
        return _cut(t, self.edge, self.edge)

    def keys(self, t: Tensor) -> Tensor:
        """g x H x W x d -> blocks x span^2 x d."""
        return _cut(t, self.span, self.step)

    def weights(self, q: Tensor, k: Tensor) -> Tensor:
        """Softmaxed weights of blocks, blocks x edge^2 x span^2, 0 outside the windows."""
        logits = torch.baddbmm(self.outside, q, k.transpose(1, 2))
        return torch.softmax(logits, dim=-1, out=logits)

    def write(self, target: Tensor, blocks: Tensor) -> None:
        """Put blocks of queries in their places."""
        tiles = target.unfold(1, self.edge, self.edge).unfold(2, self.edge, self.edge)
        tiles.copy_(_uncut(blocks, target.shape[0], self.columns, self.edge))

    def add_keys(self, target: Tensor, blocks: Tensor) -> None:
        """Add neighbourhoods where they were cut.

        They overlap, and an addition to overlapping views would lose terms. Every n-th one (n = span / step, rounded
        up) is clear of the others, so n^2 additions of neighbourhoods that lie apart do.
        """
        apart = math.ceil(self.span / self.step)
        tiles = _uncut(blocks, target.shape[0], self.columns, self.span)
        for y in range(min(apart, tiles.shape[1])):
            for x in range(min(apart, self.columns)):
                part = tiles[:, y::apart, x::apart]
                place = target[:, y * self.step :, x * self.step :].unfold(1, self.span, apart * self.step)
                place.unfold(2, self.span, apart * self.step)[:, : part.shape[1], : part.shape[2]] += part


def _cut(t: Tensor, size: int, step: int) -> Tensor:
    """Tiles of size x size pixels, one every `step`: g x H x W x d -> tiles x size^2 x d."""
    return t.unfold(1, size, step).unfold(2, size, step).permute(0, 1, 2, 4, 5, 3).reshape(-1, size**2, t.shape[3])


def _uncut(blocks: Tensor, groups: int, columns: int, size: int) -> Tensor:
    """Blocks as unfold has them: groups x rows x columns x d x size x size."""
    return blocks.view(groups, -1, columns, size, size, blocks.shape[2]).permute(0, 1, 2, 5, 3, 4)


def _grow(t: Tensor, height: int, width: int) -> Tensor:
    """Add rows and columns of zeros at the end, or drop some, to this size."""
    return F.pad(t, (0, 0, 0, width - t.shape[2], 0, height - t.shape[1]))


@torch.library.custom_op("convattn::local_attention", mutates_args=())
def _attention(q: Tensor, k: Tensor, v: Tensor, window: int, stride: int) -> Tensor:
    size = q.shape[1:3]
    blocks = _Blocks(q, window, stride)
    q, k, v = blocks.pad_queries(q), blocks.pad_keys(k), blocks.pad_keys(v)
    out = torch.empty_like(q, memory_format=torch.contiguous_format)
    for query, key in blocks:
        weights = blocks.weights(blocks.queries(q[query]), blocks.keys(k[key]))
        blocks.write(out[query], torch.bmm(weights, blocks.keys(v[key])))
    return _grow(out, *size).contiguous()


@torch.library.custom_op("convattn::local_attention_backward", mutates_args=())
def _attention_backward(
    g: Tensor, out: Tensor, q: Tensor, k: Tensor, v: Tensor, window: int, stride: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of q, k and v from that of the output, g. With p the weights of a block:

    dv = p' g,    dlogits = p (g v' - g . out),    dq = dlogits k,    dk = dlogits' q
    """
    size, key_size = q.shape[1:3], k.shape[1:3]
    blocks = _Blocks(q, window, stride)
    # What the softmax takes off, sum_j p_j (g . v_j) = g . out, needs no weights: it starts the product g v'.
    shift = blocks.pad_queries(-(g * out).sum(dim=3, keepdim=True))
    # Queries that only fill up a block have g = 0 and give the keys nothing; keys beyond the map are dropped below.
    g, q, k, v = blocks.pad_queries(g), blocks.pad_queries(q), blocks.pad_keys(k), blocks.pad_keys(v)
    dq = torch.empty_like(q, memory_format=torch.contiguous_format)  # each query lies in one block: written once
    precise = torch.promote_types(q.dtype, torch.float32)  # a key lies in several: summed
    dk, dv = (torch.zeros_like(t, dtype=precise, memory_format=torch.contiguous_format) for t in (k, v))
    for query, key in blocks:
        qs, gs, ks, vs = blocks.queries(q[query]), blocks.queries(g[query]), blocks.keys(k[key]), blocks.keys(v[key])
        weights = blocks.weights(qs, ks)
        blocks.add_keys(dv[key], torch.bmm(weights.transpose(1, 2), gs))
        # Keys outside a window have weight 0, and so no share in dlogits whatever the product gives there.
        dlogits = torch.baddbmm(blocks.queries(shift[query]), gs, vs.transpose(1, 2)).mul_(weights)
        blocks.write(dq[query], torch.bmm(dlogits, ks))
        blocks.add_keys(dk[key], torch.bmm(dlogits.transpose(1, 2), qs))
    dq, dk, dv = _grow(dq, *size), _grow(dk, *key_size), _grow(dv, *key_size)
    return dq.contiguous(), dk.to(k.dtype).contiguous(), dv.to(v.dtype).contiguous()


@_attention.register_fake
def _(q, k, v, window, stride):
    return q.new_empty(q.shape)


@_attention_backward.register_fake
def _(g, out, q, k, v, window, stride):
    return q.new_empty(q.shape), k.new_empty(k.shape), v.new_empty(v.shape)


def _save(ctx, inputs, output) -> None:
    q, k, v, ctx.window, ctx.stride = inputs
    ctx.save_for_backward(output, q, k, v)


def _gradients(ctx, g: Tensor):
    return (*_attention_backward(g, *ctx.saved_tensors, ctx.window, ctx.stride), None, None)


_attention.register_autograd(_gradients, setup_context=_save)
