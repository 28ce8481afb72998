"""Generalized attention on images: any sum of the four factors E1..E4 of spatial attention.

Paper: Zhu, Cheng, Zhang, Lin, Dai, "An Empirical Study of Spatial Attention Mechanisms in Deep Networks",
https://arxiv.org/abs/1904.05873

    y_q = gamma * W_o concat_m [ sum_k A_m(q, k) W'_m x_k ] + b_o) + x_q
    A_m(q, .) = softmax over k of  b1 E1 + b2 E2 + b3 E3 + b4 E4
    E1 = q . k    E2 = q . r(q - k)    E3 = u . k    E4 = v . r(q - k)
    r(dx, dy) = (F_x c(dx) + F_y c(dy)) / sqrt(2),   c(t) = [sin(t w_i), cos(t w_i)],   w_i = 1000^(-4i/P)

The bits b1 b2 b3 b4 are the string `terms`. Parameter names and initialisation are those of mmcv's
`GeneralizedAttention`, so checkpoints of the toolbox load strictly. Departures from mmcv, where it is wrong or stops:
- 0100, 0110, 1100 and 1110 use the query itself on the y axis (mmcv transposes it), so they work on any map;
- `spatial_range` works for any channel count and map size and needs no stored table (one in a checkpoint is
  ignored), and 0010 with a range masks around each query, not around pixel (0, 0).

Fast form. r is a sum over the axes, so E2 + E4 are two tables a query, one of key columns and one of key rows, from as
many products with r as there are offsets along an axis. With E1, `kernels/factorised.py` has the softmax over q . k and
these tables. Without it, weights are products of a factor of the column, one of the row and one of the key; without E2
either, the softmax itself separates into one along each axis; 0010 and 0000 have one map for all queries.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from plugins.operators.checks import require
from plugins.operators.kernels.factorised import factorised_attention, product_average

WAVELENGTH = 1000.0
# Largest spread of E3 for which a weight that underflows is negligible: exp(-60) is far above float32's smallest.
SAFE_RANGE = 60.0


def require_terms(terms: str) -> None:
    """Raise ValueError unless ``terms`` names a pattern of E1..E4."""
    require(
        isinstance(terms, str) and len(terms) == 4 and set(terms) <= set("01"),
        "terms",
        terms,
        "four characters, each 0 or 1, for E1 E2 E3 E4, such as '0110'",
    )


def axis_code(offsets: Tensor, dim: int) -> Tensor:
    """Sinusoidal code of offsets along one axis.

    Args:
        offsets: any shape, in input pixels.
        dim: number of features, half sines then half cosines; must be even.
    Returns: offsets.shape + (dim,), float64.
    """
    rank = torch.arange(dim // 2, device=offsets.device, dtype=torch.float64)
    angle = offsets.to(torch.float64).unsqueeze(-1) / WAVELENGTH ** (rank * 2 / dim)
    return torch.cat((angle.sin(), angle.cos()), dim=-1)


def visible_along_axis(queries: int, keys: int, reach: int, kv_stride: int, device: torch.device) -> Tensor:
    """Which keys a query may see along one axis: queries x keys, bool, by index on the two (strided) grids.

    As released: with stride 1 from `reach` before the query to `reach` + 1 behind it.
    """
    i = torch.arange(queries, device=device).unsqueeze(1)
    a = torch.arange(keys, device=device).unsqueeze(0)
    low = torch.div(i - reach, kv_stride, rounding_mode="floor")
    high = torch.div(i + reach + 1, kv_stride, rounding_mode="floor")
    return (low <= a) & (a <= high)


def within_window(queries: int, keys: int, window: int, kv_stride: int, device: torch.device) -> Tensor:
    """Which keys lie in a window centred on the query along one axis: queries x keys, bool; strides as above."""
    i = torch.arange(queries, device=device).unsqueeze(1)
    a = torch.arange(keys, device=device).unsqueeze(0) * kv_stride
    return (i - a).abs() <= window // 2


class GeneralizedAttention(nn.Module):
    """Residual block of generalized attention on N x C x H x W maps (fast form).

    Args:
        in_channels: C. With position terms the code width P must be a multiple of 4.
        terms: four characters 0 or 1, which of E1..E4 are summed. 0000 is uniform attention, not "no attention".
        heads: M; each has d = C // M channels, so C - M*d channels of C get no head of their own.
        kv_stride: keys and values are pixels 0, s, 2s, ... of both axes.
        q_stride: likewise for queries; with more than 1 the branch is resized bilinearly to H x W.
        spatial_range: -1 for all keys, else reach in query pixels along each axis.
        window: None, or K (odd): the keys at most K // 2 pixels off along each axis, the K x K window of a convolution. For
            q_stride 1; not together with spatial_range.
        position_embedding_dim: P, width of the position code; -1 means C.
        position_magnitude: factor on offsets.
    Raises: ValueError naming argument, value and rule.
    """

    def __init__(
        self,
        in_channels: int,
        terms: str = "1111",
        heads: int = 8,
        kv_stride: int = 2,
        q_stride: int = 1,
        spatial_range: int = -1,
        position_embedding_dim: int = -1,
        position_magnitude: float = 1,
        window: int | None = None,
    ) -> None:
        super().__init__()
        require_terms(terms)
        require(1 <= heads <= in_channels, "heads", heads, f"must lie between 1 and in_channels={in_channels}")
        for name, stride in (("kv_stride", kv_stride), ("q_stride", q_stride)):
            require(stride >= 1, name, stride, "a stride is at least 1")
        require(
            spatial_range >= -1, "spatial_range", spatial_range, "-1 (unrestricted) or a reach of at least 0 pixels"
        )
        if window is not None:
            require(
                window >= 1 and window % 2 == 1, "window", window, "must be odd, so that the query is in its middle"
            )
            require(
                window > kv_stride // 2 * 2, "window", window, f"holds no key of some queries at kv_stride={kv_stride}"
            )
            require(q_stride == 1 and spatial_range < 0, "window", window, "goes with q_stride=1 and spatial_range=-1")
        self.window = window
        self.in_channels, self.terms, self.heads = in_channels, terms, heads
        self.kv_stride, self.q_stride, self.spatial_range = kv_stride, q_stride, spatial_range
        self.position_dim = position_embedding_dim if position_embedding_dim > 0 else in_channels
        self.position_magnitude = position_magnitude
        self.head_dim = in_channels // heads
        width = self.head_dim * heads
        self.e1, self.e2, self.e3, self.e4 = (bit == "1" for bit in terms)
        if self.e1 or self.e2:
            self.query_conv = nn.Conv2d(in_channels, width, 1, bias=False)
        if self.e1 or self.e3:
            self.key_conv = nn.Conv2d(in_channels, width, 1, bias=False)
        self.value_conv = nn.Conv2d(in_channels, width, 1, bias=False)
        if self.e2 or self.e4:
            require(
                self.position_dim % 4 == 0,
                "position_embedding_dim",
                self.position_dim,
                "must be a multiple of 4 (sine and cosine on two axes); -1 takes in_channels",
            )
            self.appr_geom_fc_x = nn.Linear(self.position_dim // 2, width, bias=False)
            self.appr_geom_fc_y = nn.Linear(self.position_dim // 2, width, bias=False)
        if self.e3:
            self.appr_bias = nn.Parameter(torch.empty(width))
        if self.e4:
            self.geom_bias = nn.Parameter(torch.empty(width))
        self.proj_conv = nn.Conv2d(width, in_channels, 1, bias=True)
        self.gamma = nn.Parameter(torch.zeros(1))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Official initialisation: Kaiming-uniform (a=1) projections, u and v uniform in 1/sqrt(2d), gamma 0."""
        for module in self.children():
            nn.init.kaiming_uniform_(module.weight, a=1)
        nn.init.zeros_(self.proj_conv.bias)
        nn.init.zeros_(self.gamma)
        bound = 1 / math.sqrt(2 * self.head_dim)
        for name in ("appr_bias", "geom_bias"):
            if hasattr(self, name):
                nn.init.uniform_(getattr(self, name), -bound, bound)

    def _load_from_state_dict(self, state_dict: dict, prefix: str, *args) -> None:
        # mmcv stores its range table as a parameter; here the range is arithmetic.
        state_dict.pop(prefix + "local_constraint_map", None)
        super()._load_from_state_dict(state_dict, prefix, *args)

    def grids(self, height: int, width: int) -> tuple[int, int, int, int]:
        """Query rows, query columns, key rows, key columns of an H x W map."""
        return (
            -(-height // self.q_stride),
            -(-width // self.q_stride),
            -(-height // self.kv_stride),
            -(-width // self.kv_stride),
        )

    def split_heads(self, x: Tensor) -> Tensor:
        """N x (M d) x h x w to N x M x (h w) x d."""
        return x.flatten(2).unflatten(1, (self.heads, self.head_dim)).transpose(2, 3)

    def position_features(self, fc: nn.Linear, queries: int, keys: int) -> Tensor:
        """r along one axis for every query and key index: queries x keys x M x d.

        Only the distinct offsets are projected: there are about queries + keys of them, not their product.
        """
        device = fc.weight.device
        i = torch.arange(queries, device=device).unsqueeze(1) * self.q_stride
        a = torch.arange(keys, device=device).unsqueeze(0) * self.kv_stride
        lowest = -(keys - 1) * self.kv_stride
        distinct = torch.arange(lowest, (queries - 1) * self.q_stride + 1, device=device)
        code = axis_code(distinct * self.position_magnitude, self.position_dim // 2).to(fc.weight.dtype)
        table = fc(code) / math.sqrt(2)
        return table[i - a - lowest].unflatten(-1, (self.heads, self.head_dim))

    @property
    def bounded(self) -> bool:
        """Whether a query sees some of the keys only."""
        return self.spatial_range >= 0 or self.window is not None

    def seen_along_axis(self, queries: int, keys: int, device: torch.device) -> Tensor:
        """The keys in sight along one axis, queries x keys, bool."""
        if self.window is not None:
            return within_window(queries, keys, self.window, self.kv_stride, device)
        return visible_along_axis(queries, keys, self.spatial_range, self.kv_stride, device)

    def visible(self, h: int, w: int, hk: int, wk: int, device: torch.device) -> Tensor | None:
        """Keys that each query may see, (h w) x (hk wk) bool, or None when all are."""
        if not self.bounded:
            return None
        rows, columns = self.seen_along_axis(h, hk, device), self.seen_along_axis(w, wk, device)
        return (rows[:, None, :, None] & columns[None, :, None, :]).reshape(h * w, hk * wk)

    def finish(self, x: Tensor, heads_out: Tensor, h: int, w: int) -> Tensor:
        """Output projection, resize where queries were strided, gated residual. heads_out: N x M x (h w) x d."""
        y = self.proj_conv(heads_out.transpose(2, 3).reshape(x.shape[0], -1, h, w))
        if self.q_stride > 1:
            y = F.interpolate(y, size=x.shape[2:], mode="bilinear", align_corners=False)
        return self.gamma * y + x

    def check_input(self, x: Tensor) -> None:
        require(
            x.dim() == 4 and x.shape[1] == self.in_channels,
            "x.shape",
            tuple(x.shape),
            f"must be N x {self.in_channels} x H x W",
        )

    def forward(self, x: Tensor) -> Tensor:
        """x: N x C x H x W; returns the same shape."""
        self.check_input(x)
        h, w, hk, wk = self.grids(*x.shape[2:])
        x_kv = x[:, :, :: self.kv_stride, :: self.kv_stride]
        value = self.split_heads(self.value_conv(x_kv))
        key = self.split_heads(self.key_conv(x_kv)) if self.e1 or self.e3 else None
        query = None
        if self.e1 or self.e2:
            query = self.split_heads(self.query_conv(x[:, :, :: self.q_stride, :: self.q_stride]))
        if self.terms in ("0000", "0010") and not self.bounded:
            return self.finish(x, self.one_map(key, value), 1, 1)
        if self.terms in ("1000", "1010"):
            return self.finish(x, self.content_attention(query, key, value, self.visible(h, w, hk, wk, x.device)), h, w)
        columns, rows = self.position_tables(query, h, w, hk, wk, value)
        if self.bounded:
            columns, rows = self.bound_tables(columns, rows)
        if self.e1 or self.e2:
            out = self.table_attention(query, key, value, columns, rows)
        else:
            out = self.separable_attention(key, value.unflatten(2, (hk, wk)), columns, rows)
        return self.finish(x, out, h, w)

    def saliency(self, key: Tensor) -> Tensor:
        """E3 of every key: N x M x keys."""
        return torch.einsum("md,nmkd->nmk", self.appr_bias.view(self.heads, self.head_dim).to(key.dtype), key)

    def one_map(self, key: Tensor | None, value: Tensor) -> Tensor:
        """0010 and 0000: no term reads the query, so all queries share one average. N x M x 1 x d."""
        if key is None:
            return value.mean(2, keepdim=True)
        return self.saliency(key).softmax(-1).unsqueeze(2) @ value

    def with_bias(self, query: Tensor, bias: nn.Parameter | None) -> Tensor:
        """query + u or query + v of each head: E1 + E3 = (q + u) . k and E2 + E4 = (q + v) . r."""
        return query if bias is None else query + bias.view(self.heads, 1, self.head_dim)

    def content_attention(self, query: Tensor, key: Tensor, value: Tensor, visible: Tensor | None) -> Tensor:
        """1000 and 1010. Contiguous heads, because flash attention on a CPU asks for it."""
        query = self.with_bias(query, self.appr_bias if self.e3 else None).to(value.dtype)
        return F.scaled_dot_product_attention(
            query.contiguous(), key.contiguous(), value.contiguous(), attn_mask=visible, scale=1.0
        )

    def position_tables(
        self, query: Tensor | None, h: int, w: int, hk: int, wk: int, like: Tensor
    ) -> tuple[Tensor, Tensor]:
        """E2 + E4 as (column offset) + (row offset): N x M x h x w x wk and N x M x h x w x hk.

        Without E2 the query's content plays no part, and they shrink to M x w x wk and M x h x hk.
        """
        if not self.e2 and not self.e4:
            return like.new_zeros(1, w, wk), like.new_zeros(1, h, hk)
        r_x = self.position_features(self.appr_geom_fc_x, w, wk)
        r_y = self.position_features(self.appr_geom_fc_y, h, hk)
        if not self.e2:
            v = self.geom_bias.view(self.heads, self.head_dim)
            return torch.einsum("md,wkmd->mwk", v, r_x), torch.einsum("md,hkmd->mhk", v, r_y)
        content = self.with_bias(query, self.geom_bias if self.e4 else None).unflatten(2, (h, w))
        return torch.einsum("nmhwd,wkmd->nmhwk", content, r_x), torch.einsum("nmhwd,hkmd->nmhwk", content, r_y)

    def bound_tables(self, columns: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
        """The range is a rectangle of keys, so -inf in each table is all that it takes."""
        w, wk = columns.shape[-2:]
        hk, device = rows.shape[-1], rows.device
        h = rows.shape[-3] if rows.dim() == 5 else rows.shape[-2]
        seen_x, seen_y = self.seen_along_axis(w, wk, device), self.seen_along_axis(h, hk, device)
        if rows.dim() == 5:
            seen_y = seen_y.unsqueeze(1)
        return columns.masked_fill(~seen_x, -math.inf), rows.masked_fill(~seen_y, -math.inf)

    def separable_attention(self, key: Tensor | None, value: Tensor, columns: Tensor, rows: Tensor) -> Tensor:
        """Position terms that do not read the query: a softmax along each key row, then one over the rows.

        Exact, with M w (hk wk) weights in place of M (h w) (hk wk).
        value: N x M x hk x wk x d; columns: M x w x wk; rows: M x h x hk.
        """
        columns, rows = columns.unsqueeze(2), rows.unsqueeze(2)
        if key is not None:
            columns = columns + self.saliency(key).unflatten(2, value.shape[2:4]).unsqueeze(2)
            total = columns.logsumexp(-1)
            rows = rows + total.unsqueeze(2)
        inner = columns.softmax(-1).transpose(-3, -2).to(value.dtype) @ value
        out = rows.softmax(-1).transpose(-3, -2).to(value.dtype) @ inner.transpose(2, 3)
        return out.transpose(2, 3).flatten(2, 3)

    def table_attention(
        self, query: Tensor, key: Tensor | None, value: Tensor, columns: Tensor, rows: Tensor
    ) -> Tensor:
        """All that reads the query and the position. Half precision is widened: logits are sums of four terms."""
        n, m, _, d = value.shape
        h, w = rows.shape[-3:-1] if self.e2 else (rows.shape[-2], columns.shape[-2])
        if not self.e2:
            columns, rows = columns[:, None], rows[:, :, None]
        dtype = torch.promote_types(value.dtype, torch.float32)
        columns, rows = (t.to(dtype).expand(n, m, h, w, -1).flatten(0, 1).flatten(1, 2) for t in (columns, rows))
        v = value.to(dtype).flatten(0, 1)
        if self.e1:
            query = self.with_bias(query, self.appr_bias if self.e3 else None)
            q, k = (t.to(dtype).flatten(0, 1) for t in (query, key))
            out = factorised_attention(q, k, v, columns, rows)
        else:
            saliency = self.saliency(key).to(dtype).flatten(0, 1) if self.e3 else None
            out = self.product_attention(v, columns, rows, saliency)
        return out.to(value.dtype).unflatten(0, (n, m))

    @staticmethod
    def spread(saliency: Tensor) -> float:
        """Largest difference of E3 between keys of one head; 0 where there are no numbers to look at (meta device)."""
        with torch.no_grad():
            return 0.0 if saliency.is_meta else float((saliency.amax(-1) - saliency.amin(-1)).max())

    def product_attention(self, v: Tensor, columns: Tensor, rows: Tensor, saliency: Tensor | None) -> Tensor:
        """Without E1, weights are products: exp(column) exp(row) exp(saliency)."""
        if saliency is None:
            return product_average(v, columns.softmax(-1), rows.softmax(-1))
        if torch.compiler.is_compiling() or self.spread(saliency) > SAFE_RANGE:
            # A product could be nothing in float32 where the sum of its logits is not: leave it to the softmax of sums.
            one = v.new_ones(*columns.shape[:2], 1)
            return factorised_attention(one, saliency.unsqueeze(-1), v, columns, rows)
        columns, rows = columns.softmax(-1), rows.softmax(-1)
        factor = (saliency - saliency.amax(-1, keepdim=True).detach()).exp()
        total = columns @ factor.unflatten(-1, (rows.shape[-1], -1)).transpose(1, 2)
        total = (total * rows).sum(-1, keepdim=True)
        return product_average(v * factor.unsqueeze(-1), columns, rows) / total

    def pairs(self, queries: int, keys: int) -> int:
        """How many (query, key) pairs of one axis the range lets see each other."""
        if not self.bounded:
            return queries * keys
        return int(self.seen_along_axis(queries, keys, torch.device("cpu")).sum())

    def macs(self, x: Tensor) -> int:
        """Multiply-adds of the published algorithm on this input, whole batch; softmax and additions left out.

        With a range, pairs out of each other's sight are not counted: a map of all pairs is not needed for them.
        """
        h, w, hk, wk = self.grids(*x.shape[2:])
        c, n, nk = self.in_channels, h * w, hk * wk
        along_x, along_y = self.pairs(w, wk), self.pairs(h, hk)
        seen = along_x * along_y
        shared = self.terms == "0010" and not self.bounded
        total = nk * c * c + (c * c if shared else n * c * c)
        if self.e1 or self.e2:
            total += n * c * c
        if self.e1 or self.e3:
            total += nk * c * c
        if self.e2 or self.e4:
            total += (along_x + along_y) * c * c // 2
        if self.e1:
            total += seen * c
        elif self.e3:
            total += nk * c
        if self.e2:
            total += (h * along_x + w * along_y) * c
        elif self.e4:
            total += (along_x + along_y) * c
        return (total + (nk * c if shared else seen * c)) * x.shape[0]


def generalized_attention_reference(module: GeneralizedAttention, x: Tensor) -> Tensor:
    """The equation of the file's head, with every logit in memory. Same arguments and result as ``module(x)``."""
    module.check_input(x)
    h, w, hk, wk = module.grids(*x.shape[2:])
    x_q = x[:, :, :: module.q_stride, :: module.q_stride]
    x_k = x[:, :, :: module.kv_stride, :: module.kv_stride]
    value = module.split_heads(module.value_conv(x_k))
    logits = value.new_zeros(*value.shape[:2], h, w, hk, wk)
    if module.e1 or module.e2:
        q = module.split_heads(module.query_conv(x_q)).unflatten(2, (h, w))
    if module.e1 or module.e3:
        k = module.split_heads(module.key_conv(x_k)).unflatten(2, (hk, wk))
    if module.e2 or module.e4:
        r_x = module.position_features(module.appr_geom_fc_x, w, wk)
        r_y = module.position_features(module.appr_geom_fc_y, h, hk)
    if module.e1:
        logits = logits + torch.einsum("nmhwd,nmabd->nmhwab", q, k)
    if module.e2:
        logits = logits + torch.einsum("nmhwd,wbmd->nmhwb", q, r_x).unsqueeze(-2)
        logits = logits + torch.einsum("nmhwd,hamd->nmhwa", q, r_y).unsqueeze(-1)
    if module.e3:
        u = module.appr_bias.view(module.heads, module.head_dim)
        logits = logits + torch.einsum("md,nmabd->nmab", u, k)[:, :, None, None]
    if module.e4:
        v = module.geom_bias.view(module.heads, module.head_dim)
        logits = logits + torch.einsum("md,wbmd->mwb", v, r_x)[:, None, :, None]
        logits = logits + torch.einsum("md,hamd->mha", v, r_y)[:, :, None, :, None]
    logits = logits.flatten(4).flatten(2, 3)
    visible = module.visible(h, w, hk, wk, x.device)
    if visible is not None:
        logits = logits.masked_fill(~visible, -math.inf)
    return module.finish(x, logits.softmax(-1) @ value, h, w)


@torch.no_grad()
def attention_maps(module: GeneralizedAttention, x: Tensor, row: int, column: int) -> dict[str, Tensor]:
    """Where one query looks: its softmax over all keys by each term alone, "E1" .. "E4", and by their sum, "all".

    Args: x: N x C x H x W; row, column: the query's place on the (strided) grid of queries.
    Returns: {term: N x M x hk x wk}, summing to 1 over hk and wk; terms that are off are left out.
    """
    module.check_input(x)
    h, w, hk, wk = module.grids(*x.shape[2:])
    x_k = x[:, :, :: module.kv_stride, :: module.kv_stride]
    shape = (x.shape[0], module.heads, hk, wk)
    terms = {}
    if module.e1 or module.e2:
        x_q = x[:, :, :: module.q_stride, :: module.q_stride][:, :, row : row + 1, column : column + 1]
        q = module.split_heads(module.query_conv(x_q)).squeeze(2)
    if module.e1 or module.e3:
        k = module.split_heads(module.key_conv(x_k)).unflatten(2, (hk, wk))
    if module.e2 or module.e4:
        r_x = module.position_features(module.appr_geom_fc_x, w, wk)[column]
        r_y = module.position_features(module.appr_geom_fc_y, h, hk)[row]
    if module.e1:
        terms["E1"] = torch.einsum("nmd,nmabd->nmab", q, k)
    if module.e2:
        terms["E2"] = torch.einsum("nmd,bmd->nmb", q, r_x)[:, :, None] + torch.einsum("nmd,amd->nma", q, r_y)[..., None]
    if module.e3:
        u = module.appr_bias.view(module.heads, module.head_dim)
        terms["E3"] = torch.einsum("md,nmabd->nmab", u, k)
    if module.e4:
        v = module.geom_bias.view(module.heads, module.head_dim)
        along = torch.einsum("md,bmd->mb", v, r_x)[:, None] + torch.einsum("md,amd->ma", v, r_y)[..., None]
        terms["E4"] = along.expand(shape)
    terms["all"] = sum(terms.values()) if terms else x.new_zeros(shape)
    seen = module.visible(h, w, hk, wk, x.device)
    hidden = torch.zeros(hk, wk, dtype=torch.bool) if seen is None else ~seen[row * w + column].view(hk, wk)
    return {
        name: logits.masked_fill(hidden.to(x.device), -math.inf).flatten(2).softmax(-1).view(shape)
        for name, logits in terms.items()
    }
