"""Dynamic and lightweight convolution: depthwise convolutions with softmaxed taps, predicted from the query or learnt.

Papers: Wu, Fan, Baevski, Dauphin, Auli, "Pay Less Attention with Lightweight and Dynamic Convolutions",
https://arxiv.org/abs/1901.10430, and the study of spatial attention that compares it with E2,
https://arxiv.org/abs/1904.05873

    y[t, c] = sum_j softmax_j(W x[t])_{h(c), j}  x[t + j - p, c] + b_c       zeros outside, h(c) = c // R, R = C // H

The 1-D forms follow fairseq's `DynamicConv1dTBC` and `LightweightConv1dTBC` with `weight_softmax=True`. Departures:
- the softmax runs over all K taps, also where some meet the zeros outside; `renorm_padding=True` has it over the others
  alone, as fairseq's option of that name;
- sequences of any length take one path (fairseq has two, which differ in a causal kernel longer than the sequence).
`DynamicConvBlock1d` puts the published block around it: linear C -> 2C, gated linear unit, convolution, linear.
The 2-D form is not in a paper; it is the same operator on a K x K window, inside 1x1 convolutions and a residual gate
that starts at 0.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from plugins.operators.checks import require, require_heads, require_mask, require_rate, require_tbc

# Longer sequences are cut in pieces of this many positions, so that memory grows with T and not with its square.
PIECE = 128


def band_matrix(w: Tensor, first: int, columns: int) -> Tensor:
    """Taps as rows of a matrix: entry [t, s] is w[t, s - t + first], zero where there is no such tap.

    Args:
        w: ... x T x K.
        first: taps of row 0 that fall before column 0.
        columns: number of columns, at most T + K - 1 - first.
    Returns: ... x T x columns, a view of a matrix with T + K - 1 columns.
    """
    length, kernel = w.shape[-2:]
    # Rows padded to T + K and cut to T + K - 1 slide right by one a row: tap j of row t lands in column t + j.
    band = F.pad(w, (0, length)).flatten(-2)[..., :-length].unflatten(-1, (length, length + kernel - 1))
    return band[..., first : first + columns]


def tap_convolution(x: Tensor, w: Tensor, left: int) -> Tensor:
    """sum_j w[t, n, h, j] x[t + j - left, n, c of head h], for the last positions of x.

    Args:
        x: S x N x C; positions before the last T are history.
        w: T x N x H x K tap weights.
        left: taps before the current position.
    Returns: T x N x C.
    """
    length, _, heads, kernel = w.shape
    total = x.shape[0]
    x = x.unflatten(2, (heads, -1)).permute(1, 2, 0, 3)
    w = w.permute(1, 2, 0, 3)
    pieces = []
    for start in range(0, length, PIECE):
        stop = min(start + PIECE, length)
        first = total - length + start - left
        low, high = max(first, 0), min(first + stop - start + kernel - 1, total)
        band = band_matrix(w[:, :, start:stop], low - first, high - low)
        pieces.append(band @ x[:, :, low:high])
    y = pieces[0] if len(pieces) == 1 else torch.cat(pieces, 2)
    return y.permute(2, 0, 1, 3).flatten(2)


def tap_convolution_reference(x: Tensor, w: Tensor, left: int) -> Tensor:
    """``tap_convolution`` as the equation reads: one shifted copy of x a tap."""
    length, _, heads, kernel = w.shape
    history = x.shape[0] - length
    x = F.pad(x, (0, 0, 0, 0, max(left - history, 0), kernel - 1 - left))[max(history - left, 0) :]
    x = x.unflatten(2, (heads, -1))
    return sum(w[..., j, None] * x[j : j + length] for j in range(kernel)).flatten(2)


def append_history(x: Tensor, state: dict, key: str, keep: int) -> Tensor:
    """Put the positions that earlier calls left in ``state`` before x, and leave the last ``keep`` there."""
    if key in state:
        x = torch.cat((state[key]["input"], x))
    state[key] = {"input": x[max(x.shape[0] - keep, 0) :]}
    return x


def reorder_history(state: dict, key: str, new_order: Tensor) -> None:
    """Keep the hypotheses ``new_order`` (indices into the batch) of a cache made by ``append_history``."""
    if key in state:
        state[key] = {"input": state[key]["input"].index_select(1, new_order)}


class TapConv1d(nn.Module):
    """What the two 1-D convolutions share: geometry, cache, and the sum over taps. T x N x C.

    Args:
        input_size: C. kernel_size: K. num_heads: H, divides C.
        padding_l: taps before the current position; K // 2 centred, K - 1 causal (the default).
        weight_dropout: DropConnect on tap weights after the softmax.
        bias: add a bias a channel to the output.
    """

    def __init__(
        self,
        input_size: int,
        kernel_size: int,
        padding_l: int | None,
        num_heads: int,
        weight_dropout: float,
        bias: bool,
    ) -> None:
        super().__init__()
        require_heads("input_size", input_size, num_heads)
        require(kernel_size >= 1, "kernel_size", kernel_size, "at least 1")
        padding_l = kernel_size - 1 if padding_l is None else padding_l
        require(0 <= padding_l < kernel_size, "padding_l", padding_l, f"must lie in 0..kernel_size-1={kernel_size - 1}")
        require(
            padding_l == kernel_size - 1 or kernel_size % 2 == 1,
            "kernel_size",
            kernel_size,
            "must be odd unless causal (padding_l = kernel_size - 1)",
        )
        require_rate("weight_dropout", weight_dropout)
        self.input_size, self.kernel_size, self.padding_l = input_size, kernel_size, padding_l
        self.num_heads, self.weight_dropout = num_heads, weight_dropout
        self.conv_bias = nn.Parameter(torch.zeros(input_size)) if bias else None

    def tap_weights(self, query: Tensor, history: int = 0) -> Tensor:
        """Softmaxed taps, T x N x H x K, of queries that `history` positions go before."""
        raise NotImplementedError

    def forward(self, x: Tensor, incremental_state: dict | None = None, query: Tensor | None = None) -> Tensor:
        """
        Args:
            x: T x N x C; with `incremental_state`, the new positions only.
            incremental_state: a dict that keeps the last K - 1 inputs; only if causal.
            query: what predicts the taps, T x N x channels; x if not given.
        Returns: T x N x C.
        """
        require_tbc("x", x, self.input_size)
        query = x if query is None else query
        if incremental_state is not None:
            require(
                self.padding_l == self.kernel_size - 1,
                "padding_l",
                self.padding_l,
                "incremental_state needs the causal form, padding_l = kernel_size - 1",
            )
            x = append_history(x, incremental_state, self.state_key, self.kernel_size - 1)
        y = tap_convolution(x, self.tap_weights(query, x.shape[0] - query.shape[0]), self.padding_l)
        return y if self.conv_bias is None else y + self.conv_bias

    @property
    def state_key(self) -> str:
        return f"{type(self).__name__}.{id(self)}"

    def reorder_incremental_state(self, incremental_state: dict, new_order: Tensor) -> None:
        reorder_history(incremental_state, self.state_key, new_order)

    def macs(self, x: Tensor) -> int:
        """Multiply-adds of the forward, whole batch: tap prediction and the sum over taps."""
        return x.shape[0] * x.shape[1] * self.kernel_size * (self.input_size + self.prediction_macs)

    prediction_macs = 0


class DynamicConv1d(TapConv1d):
    """Dynamic convolution on T x N x C: taps are a linear function of the query (fast form).

    Arguments of ``TapConv1d``, and:
        bias: of the tap prediction. conv_bias: of the output.
        renorm_padding: taps outside the sequence take no part in the softmax, so that the others sum to 1.
    Raises: ValueError naming argument, value and rule.
    """

    def __init__(
        self,
        input_size: int,
        kernel_size: int,
        padding_l: int | None = None,
        num_heads: int = 1,
        weight_dropout: float = 0.0,
        bias: bool = False,
        conv_bias: bool = False,
        renorm_padding: bool = False,
    ) -> None:
        super().__init__(input_size, kernel_size, padding_l, num_heads, weight_dropout, conv_bias)
        self.renorm_padding = renorm_padding
        self.weight_linear = nn.Linear(input_size, num_heads * kernel_size, bias=bias)
        nn.init.xavier_uniform_(self.weight_linear.weight)
        if bias:
            nn.init.zeros_(self.weight_linear.bias)
        self.prediction_macs = input_size * num_heads

    def tap_logits(self, query: Tensor) -> Tensor:
        """W x[t] + b, T x N x H x K."""
        require_tbc("query", query, self.weight_linear.in_features)
        return self.weight_linear(query).unflatten(-1, (self.num_heads, self.kernel_size))

    def tap_weights(self, query: Tensor, history: int = 0) -> Tensor:
        logits = self.tap_logits(query)
        if self.renorm_padding:
            logits = logits.masked_fill(self.outside(query.shape[0], history, query.device), -math.inf)
        return F.dropout(logits.softmax(-1), self.weight_dropout, self.training)

    def outside(self, length: int, history: int, device: torch.device) -> Tensor:
        """Whether tap j of position t meets the zeros outside, T x 1 x 1 x K."""
        t = torch.arange(length, device=device)[:, None, None, None]
        position = t + torch.arange(self.kernel_size, device=device) - self.padding_l
        return (position < -history) | (position >= length)


class LightweightConv1d(TapConv1d):
    """Lightweight convolution on T x N x C: one learnt kernel a head, softmaxed (fast form).

    Arguments of ``TapConv1d``; `bias` is that of the output.
    Raises: ValueError naming argument, value and rule.
    """

    def __init__(
        self,
        input_size: int,
        kernel_size: int,
        padding_l: int | None = None,
        num_heads: int = 1,
        weight_dropout: float = 0.0,
        bias: bool = False,
    ) -> None:
        super().__init__(input_size, kernel_size, padding_l, num_heads, weight_dropout, bias)
        self.weight = nn.Parameter(torch.empty(num_heads, 1, kernel_size))
        nn.init.xavier_uniform_(self.weight)

    def tap_weights(self, query: Tensor, history: int = 0) -> Tensor:
        w = self.weight.squeeze(1).softmax(-1)
        w = F.dropout(w, self.weight_dropout, self.training)
        return w.expand(*query.shape[:2], -1, -1)


def tap_conv1d_reference(module: TapConv1d, x: Tensor, query: Tensor | None = None) -> Tensor:
    """The equation of the file's head. Same result as ``module(x, query=query)``."""
    y = tap_convolution_reference(x, module.tap_weights(x if query is None else query), module.padding_l)
    return y if module.conv_bias is None else y + module.conv_bias


class DynamicConvBlock1d(nn.Module):
    """What stands in for self-attention on T x N x C: linear C -> 2C, gated linear unit, dynamic convolution, linear.

    Args:
        embed_dim: C. kernel_size: K, odd unless causal. heads: H, divides C.
        causal: position t reads positions up to t only.
        weight_dropout: DropConnect on tap weights.
    """

    def __init__(
        self, embed_dim: int, kernel_size: int, heads: int, causal: bool = False, weight_dropout: float = 0.0
    ) -> None:
        super().__init__()
        left = kernel_size - 1 if causal else kernel_size // 2
        require(causal or kernel_size % 2 == 1, "kernel_size", kernel_size, "must be odd unless causal=True")
        self.in_proj = nn.Linear(embed_dim, 2 * embed_dim)
        self.conv = DynamicConv1d(embed_dim, kernel_size, left, heads, weight_dropout)
        self.out_proj = nn.Linear(embed_dim, embed_dim)

    def forward(
        self, x: Tensor, key_padding_mask: Tensor | None = None, incremental_state: dict | None = None
    ) -> Tensor:
        """x: T x N x C; key_padding_mask: N x T bool, True where padded (zeroed before the convolution)."""
        require_tbc("x", x, self.conv.input_size)
        require_mask("key_padding_mask", key_padding_mask, (x.shape[1], x.shape[0]))
        x = F.glu(self.in_proj(x))
        if key_padding_mask is not None:
            x = x.masked_fill(key_padding_mask.t().unsqueeze(-1), 0)
        return self.out_proj(self.conv(x, incremental_state))

    def macs(self, x: Tensor, *unused: object, **unused_options: object) -> int:
        """Multiply-adds of the forward, whole batch."""
        return 3 * x.shape[0] * x.shape[1] * x.shape[2] ** 2 + self.conv.macs(x)


class DynamicConv2d(nn.Module):
    """Dynamic convolution on N x C x H x W with its own residual (fast form).

    x + gamma * W_o sum_taps softmax(W g)[tap] g[position + tap],  g = GLU(W_i x); gamma starts at 0.

    Args:
        in_channels: C. kernel_size: K, odd; the window is K x K, zeros outside. heads: H, divides C.
    """

    def __init__(self, in_channels: int, kernel_size: int = 3, heads: int = 8) -> None:
        super().__init__()
        require_heads("in_channels", in_channels, heads)
        require(kernel_size >= 1 and kernel_size % 2 == 1, "kernel_size", kernel_size, "must be odd (centred window)")
        self.in_channels, self.kernel_size, self.heads = in_channels, kernel_size, heads
        self.in_conv = nn.Conv2d(in_channels, 2 * in_channels, 1)
        self.weight_conv = nn.Conv2d(in_channels, heads * kernel_size**2, 1, bias=False)
        self.out_conv = nn.Conv2d(in_channels, in_channels, 1)
        self.gamma = nn.Parameter(torch.zeros(1))

    def reset_parameters(self) -> None:
        """As new: torch's own initialisation of the three convolutions, gamma 0."""
        for convolution in (self.in_conv, self.weight_conv, self.out_conv):
            convolution.reset_parameters()
        nn.init.zeros_(self.gamma)

    def gated_and_taps(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """g (N x C x H x W) and softmaxed taps (N x heads x K*K x H x W)."""
        require(
            x.dim() == 4 and x.shape[1] == self.in_channels,
            "x.shape",
            tuple(x.shape),
            f"must be N x {self.in_channels} x H x W",
        )
        g = F.glu(self.in_conv(x), dim=1)
        return g, self.weight_conv(g).unflatten(1, (self.heads, -1)).softmax(2)

    def forward(self, x: Tensor) -> Tensor:
        """x: N x C x H x W; returns the same shape."""
        g, taps = self.gated_and_taps(x)
        height, width = x.shape[2:]
        padded = F.pad(g, [self.kernel_size // 2] * 4).unflatten(1, (self.heads, -1))
        y = 0
        for tap in range(self.kernel_size**2):
            i, j = divmod(tap, self.kernel_size)
            y = y + taps[:, :, tap, None] * padded[..., i : i + height, j : j + width]
        return x + self.gamma * self.out_conv(y.flatten(1, 2))

    def macs(self, x: Tensor) -> int:
        """Multiply-adds of the forward, whole batch."""
        c, taps = self.in_channels, self.kernel_size**2
        return x.shape[0] * x.shape[2] * x.shape[3] * (3 * c * c + c * taps * self.heads + c * taps)


def dynamic_conv2d_reference(module: DynamicConv2d, x: Tensor) -> Tensor:
    """The same sum over an unfolded window. Same result as ``module(x)``."""
    g, taps = module.gated_and_taps(x)
    windows = F.unfold(g, module.kernel_size, padding=module.kernel_size // 2)
    windows = windows.unflatten(1, (module.heads, -1, module.kernel_size**2)).unflatten(-1, x.shape[2:])
    y = torch.einsum("nhrkyx,nhkyx->nhryx", windows, taps)
    return x + module.gamma * module.out_conv(y.flatten(1, 2))
