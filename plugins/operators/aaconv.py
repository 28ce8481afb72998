"""Attention augmented convolution: a convolution whose output channels partly come from attention over the whole map.

Paper: Bello, Zoph, Vaswani, Shlens, Le, "Attention Augmented Convolutional Networks", https://arxiv.org/abs/1904.09925

    AAConv(X) = Concat[ Conv(X), MHA(X) ]                      out_channels - d_v maps, then d_v maps
    O_h = Softmax_j( q_i^T / sqrt(d_kh) ( k_j + rW_{jx-ix} + rH_{jy-iy} ) ) V,    MHA = W_O Concat[O_1 .. O_Nh]
    d_k = kappa * out_channels, d_v = nu * out_channels, d_kh = d_k / N_h

Departures and choices where the paper leaves room:
- d_k and d_v are rounded down to whole heads and d_k is at least `key_floor` a head; this reproduces the printed sizes.
- q, k, v stand in the order of the equation (the appendix splits k, q, v); the layout of a checkpoint depends on it.
- a strided layer average-pools the input of the attention branch, or strides its projection (`strided_projection`);
  `pool` pools further and resizes the result bilinearly, for maps too large to attend over.
- the relative tables have zero mean and standard deviation d_kh^-1/2 (read literally, the appendix code has this as the
  mean).
- a relative layer accepts maps smaller than `map_size`: they use the middle of the tables;
- the paper has no official code beyond its appendix; public ports lay heads' results out as (position, value) and read
  them as (value, position), which mixes space and channels: here each position keeps its values.

Fast form. The relative logits of query i depend on the key through its column or its row alone, so they are two thin
tables a query (W and H numbers) instead of (HW)^2 products with r; `kernels/factorised.py` has the attention over them.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from plugins.operators.checks import require, require_choice
from plugins.operators.kernels.factorised import FOLDED, factorised_attention, folded

POSITIONS = ("none", "sine", "coordconv", "relative")


def split_channels(out_channels: int, heads: int, kappa: float, nu: float, key_floor: int) -> tuple[int, int]:
    """(d_k, d_v) of a layer: fractions of out_channels in whole heads, keys not below `key_floor` a head; (0, 0) if nu
    is 0."""
    require(0 <= kappa <= 1, "kappa", kappa, "a fraction of the output channels, in [0, 1]")
    require(0 <= nu <= 1, "nu", nu, "a fraction of the output channels, in [0, 1]")
    if nu == 0:
        return 0, 0
    per_key = max(int(kappa * out_channels) // heads, key_floor, 1)
    per_value = max(int(nu * out_channels) // heads, 1)
    return per_key * heads, per_value * heads


class AAConv(nn.Module):
    """Attention augmented convolution (fast form), N x in_channels x H x W -> N x out_channels x ceil(H/stride) x
    ceil(W/stride).

    Args:
        in_channels, out_channels: the latter is d_v maps of attention and the rest of convolution.
        kernel_size: odd side of the convolution, zero padding kernel_size // 2.
        stride: of both branches.
        heads: N_h; must divide d_k and d_v.
        kappa, nu: d_k / out_channels and d_v / out_channels. nu = 0 is the plain convolution, nu = 1 has no
            convolution.
        key_floor: least d_k / N_h when d_k comes from kappa (20 in the paper).
        dk, dv: exact widths instead of kappa and nu; the floor does not apply to them.
        position: none, sine (2-D sinusoids added to the attention's input), coordconv (two coordinate channels joined
            to it) or relative (tables added to the logits).
        map_size: (H, W) over which attention runs, after stride and pool; the size of the relative tables, needed for
            them alone.
        pool: further average pooling of the attention's input, undone by bilinear resizing of its output.
        qkv_kernel: side of the q, k, v projection (1 in the paper).
        strided_projection: stride the q, k, v projection instead of pooling its input.
    Shapes of parameters: key_rel_w (2W-1, d_kh), key_rel_h (2H-1, d_kh), shared by the heads; row = key - query + size
    - 1.
    Errors: ValueError for widths that heads do not divide, an even kernel, or a map larger than the tables.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int = 3,
        stride: int = 1,
        heads: int = 8,
        kappa: float = 0.2,
        nu: float = 0.1,
        key_floor: int = 20,
        dk: int | None = None,
        dv: int | None = None,
        position: str = "relative",
        map_size: tuple[int, int] | None = None,
        pool: int = 1,
        qkv_kernel: int = 1,
        strided_projection: bool = False,
    ) -> None:
        super().__init__()
        require(kernel_size % 2 == 1, "kernel_size", kernel_size, "must be odd, the kernel is centred")
        require(qkv_kernel % 2 == 1, "qkv_kernel", qkv_kernel, "must be odd, the kernel is centred")
        require(stride >= 1, "stride", stride, "must be at least 1")
        require(pool >= 1, "pool", pool, "must be at least 1")
        require(heads >= 1, "heads", heads, "must be at least 1")
        require_choice("position", position, POSITIONS)
        share = split_channels(out_channels, heads, kappa, nu, key_floor)
        self.dk, self.dv = share[0] if dk is None else dk, share[1] if dv is None else dv
        require(self.dk % heads == 0, "dk", self.dk, f"heads={heads} must divide it")
        require(self.dv % heads == 0, "dv", self.dv, f"heads={heads} must divide it")
        require(self.dv <= out_channels, "dv", self.dv, f"at most out_channels={out_channels}")
        require((self.dk > 0) == (self.dv > 0), "dk", self.dk, f"keys and values come together, dv={self.dv}")
        self.in_channels, self.out_channels, self.kernel_size, self.stride = (
            in_channels,
            out_channels,
            kernel_size,
            stride,
        )
        self.heads, self.position, self.pool = heads, position, pool
        self.strided_projection = strided_projection
        if self.dv < out_channels:
            self.conv_out = nn.Conv2d(in_channels, out_channels - self.dv, kernel_size, stride, kernel_size // 2)
        if self.dv:
            self._add_attention(map_size, qkv_kernel)

    def _add_attention(self, map_size: tuple[int, int] | None, qkv_kernel: int) -> None:
        inputs = self.in_channels + (2 if self.position == "coordconv" else 0)
        self.qkv_conv = nn.Conv2d(
            inputs, 2 * self.dk + self.dv, qkv_kernel, self.stride if self.strided_projection else 1, qkv_kernel // 2
        )
        self.attn_out = nn.Conv2d(self.dv, self.dv, 1)
        if self.position == "relative":
            require(map_size is not None, "map_size", map_size, "relative positions need (H, W) of the attention's map")
            height, width = map_size
            require(min(height, width) >= 1, "map_size", map_size, "sides must be at least 1")
            depth = self.dk // self.heads
            self.key_rel_w = nn.Parameter(torch.randn(2 * width - 1, depth) * depth**-0.5)
            self.key_rel_h = nn.Parameter(torch.randn(2 * height - 1, depth) * depth**-0.5)

    def forward(self, x: Tensor) -> Tensor:
        require(
            x.dim() == 4 and x.shape[1] == self.in_channels,
            "x.shape",
            tuple(x.shape),
            f"must be N x {self.in_channels} x H x W",
        )
        if not self.dv:
            return self.conv_out(x)
        q, k, v, size = project(self, x)
        columns = rows = None
        if self.position == "relative":
            table_w, table_h = tables(self, size)
            by_row = q.unflatten(2, size)  # N x heads x H x W x d
            columns = relative_to_absolute(by_row @ table_w.T).flatten(2, 3)
            by_column = relative_to_absolute(by_row.transpose(2, 3) @ table_h.T)
            rows = by_column.transpose(2, 3).flatten(2, 3)
        return merge(self, x, attend(q, k, v, columns, rows), size)

    def macs(self, x: Tensor) -> int:
        """Multiply-adds of the published layer on this input: projections, both products, relative logits,
        convolution."""
        batch, _, height, width = x.shape
        out = math.ceil(height / self.stride) * math.ceil(width / self.stride)
        total = out * self.kernel_size**2 * self.in_channels * (self.out_channels - self.dv)
        if self.dv:
            rows, columns = attention_size(self, (height, width))
            n = rows * columns
            kernel = self.qkv_conv.kernel_size[0] ** 2 * self.qkv_conv.in_channels
            total += n * kernel * (2 * self.dk + self.dv) + n * self.dv**2
            if self.position == "relative":
                total += n * self.dk * (2 * rows - 1 + 2 * columns - 1)
        return batch * total + self.attention_macs(x)

    def attention_macs(self, x: Tensor) -> int:
        """Of `macs`, the two products of attention, Q K^T and weights V; the paper's counts leave them out."""
        rows, columns = attention_size(self, tuple(x.shape[2:]))
        return x.shape[0] * (rows * columns) ** 2 * (self.dk + self.dv)


def attention_size(module: AAConv, size: tuple[int, int]) -> tuple[int, int]:
    """Height and width of the map that attention runs over, for an input of this size."""
    step = module.pool * module.stride
    return math.ceil(size[0] / step), math.ceil(size[1] / step)


def project(module: AAConv, x: Tensor) -> tuple[Tensor, Tensor, Tensor, tuple[int, int]]:
    """q (scaled by d_kh^-1/2), k, v as N x heads x positions x depth, and (height, width) of those positions."""
    step = module.pool * (1 if module.strided_projection else module.stride)
    if step > 1:
        x = F.avg_pool2d(x, step, ceil_mode=True)
    if module.position == "sine":
        x = x + sine_code(x.shape[1], x.shape[2], x.shape[3], x)
    elif module.position == "coordconv":
        x = torch.cat((x, coordinates(x.shape[2], x.shape[3], x).expand(x.shape[0], -1, -1, -1)), dim=1)
    qkv = module.qkv_conv(x)
    q, k, v = qkv.flatten(2).split((module.dk, module.dk, module.dv), dim=1)
    q, k, v = (t.unflatten(1, (module.heads, -1)).transpose(2, 3) for t in (q, k, v))
    return q * (module.dk // module.heads) ** -0.5, k, v, (qkv.shape[2], qkv.shape[3])


def merge(module: AAConv, x: Tensor, attended: Tensor, size: tuple[int, int]) -> Tensor:
    """Project the heads' results (N x heads x positions x depth), resize them if pooled, and join the convolution's
    maps."""
    y = module.attn_out(attended.transpose(2, 3).flatten(1, 2).unflatten(2, size))
    full = tuple(math.ceil(side / module.stride) for side in x.shape[2:])
    if size != full:
        y = F.interpolate(y, full, mode="bilinear", align_corners=False)
    return torch.cat((module.conv_out(x), y), dim=1) if module.dv < module.out_channels else y


def tables(module: AAConv, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Relative tables for a map of this size, (2W-1) x d and (2H-1) x d: the middle of the stored ones."""
    stored = ((module.key_rel_h.shape[0] + 1) // 2, (module.key_rel_w.shape[0] + 1) // 2)
    require(
        size[0] <= stored[0] and size[1] <= stored[1],
        "x.shape",
        f"attention map {size[0]} x {size[1]}",
        f"larger than map_size={stored}, for which the relative tables were made",
    )
    skip_h, skip_w = stored[0] - size[0], stored[1] - size[1]
    return (
        module.key_rel_w[skip_w : module.key_rel_w.shape[0] - skip_w],
        module.key_rel_h[skip_h : module.key_rel_h.shape[0] - skip_h],
    )


def relative_to_absolute(logits: Tensor) -> Tensor:
    """... x L x (2L-1) by (query, key - query + L-1) -> ... x L x L by (query, key).

    In the flat rows entry (i, j) lies at i * (2L-2) + j + L-1, so reading rows of 2L-2 from L-1 on puts them in place.
    """
    length = logits.shape[-2]
    if length == 1:
        return logits
    flat = logits.flatten(-2)[..., length - 1 : length - 1 + length * (2 * length - 2)]
    return flat.unflatten(-1, (length, 2 * length - 2))[..., :length]


def sine_code(channels: int, height: int, width: int, like: Tensor) -> Tensor:
    """2-D sinusoids, channels x H x W: the first half of the channels codes y, the rest x, sines then cosines."""
    half = channels // 2
    codes = []
    for count, length in ((half, height), (channels - half, width)):
        rank = torch.arange(count, device=like.device) // 2
        angle = torch.arange(length, device=like.device) / 10000.0 ** (2 * rank / max(count, 1)).unsqueeze(1)
        even = (torch.arange(count, device=like.device) % 2 == 0).unsqueeze(1)
        codes.append(torch.where(even, angle.sin(), angle.cos()))
    y, x = codes
    code = torch.cat((y.unsqueeze(2).expand(-1, -1, width), x.unsqueeze(1).expand(-1, height, -1)))
    return code.to(like.dtype)


def coordinates(height: int, width: int, like: Tensor) -> Tensor:
    """x and y in [-1, 1], 1 x 2 x H x W."""
    y = torch.linspace(-1, 1, height, device=like.device).unsqueeze(1).expand(height, width)
    x = torch.linspace(-1, 1, width, device=like.device).expand(height, width)
    return torch.stack((x, y)).unsqueeze(0).to(like.dtype)


def aaconv_reference(module: AAConv, x: Tensor) -> Tensor:
    """The same layer as the equation has it: every logit from its own position vector. Memory grows with (HW)^2 d."""
    if not module.dv:
        return module.conv_out(x)
    q, k, v, size = project(module, x)
    height, width = size
    logits = torch.einsum("nhid,nhjd->nhij", q, k)
    if module.position == "relative":
        table_w, table_h = tables(module, size)
        iy, ix = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
        iy, ix = iy.flatten().to(x.device), ix.flatten().to(x.device)
        r = table_w[ix[None, :] - ix[:, None] + width - 1] + table_h[iy[None, :] - iy[:, None] + height - 1]
        logits = logits + torch.einsum("nhid,ijd->nhij", q, r.to(q.dtype))
    return merge(module, x, torch.einsum("nhij,nhjd->nhid", logits.softmax(dim=-1), v), size)


def attend(q: Tensor, k: Tensor, v: Tensor, columns: Tensor | None, rows: Tensor | None) -> Tensor:
    """softmax(q k^T + columns[.., column of key] + rows[.., row of key]) v.

    Args:
        q, k: N x heads x positions x d; v: N x heads x positions x d_v.
        columns: N x heads x positions x W, rows: N x heads x positions x H, with H * W positions; both or neither.
    """
    if columns is not None and columns.shape[3] + rows.shape[3] <= FOLDED:
        (q, k), columns, rows = folded(q, k, columns, rows), None, None
    by_head = (None if t is None else t.to(v.dtype).flatten(0, 1) for t in (q, k, v, columns, rows))
    return factorised_attention(*by_head).unflatten(0, q.shape[:2])
