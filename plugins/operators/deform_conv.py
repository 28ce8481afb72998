"""Deformable convolution: taps that move by an offset read from the query.

Papers: Dai et al., "Deformable Convolutional Networks", https://arxiv.org/abs/1703.06211, and the study of spatial
attention that compares it with E2, https://arxiv.org/abs/1904.05873

    y_q = sum_m W_m x(q + p_m + o_m(q)),   x(s) = sum_k G(k, s) x_k,   G linear interpolation, zero outside

2-D: not modulated; offsets come from a convolution of the same geometry that starts at zero (`conv_offset`, as in
mmcv's `DeformConv2dPack`, whose parameter names are kept). The 1-D forms could not be read; chosen here:
- offsets are a linear function of the query alone, o_m = w_m x_q + b_m, as in the study's formula;
- the causal form limits sampling points to the query and interpolates from the left, so no later position is ever read,
  not even by a gradient.
The separable forms are the ones aligned with attention (one weight a tap and channel, then W_o on all of them).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.ops import deform_conv2d

from plugins.operators.checks import require, require_mask, require_tbc


class DeformConv2d(nn.Module):
    """Deformable convolution v1 on N x C x H x W, offsets predicted inside.

    Args:
        in_channels, out_channels, kernel_size, stride, padding, dilation, groups, bias: as in ``nn.Conv2d``, square.
        offset_groups: groups of input channels with offsets of their own.
    Raises: ValueError naming argument, value and rule.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        stride: int = 1,
        padding: int = 0,
        dilation: int = 1,
        groups: int = 1,
        bias: bool = False,
        offset_groups: int = 1,
    ) -> None:
        super().__init__()
        for name, value in (
            ("kernel_size", kernel_size),
            ("stride", stride),
            ("dilation", dilation),
            ("groups", groups),
            ("offset_groups", offset_groups),
        ):
            require(value >= 1, name, value, "at least 1")
        require(
            in_channels % groups == 0 and out_channels % groups == 0,
            "groups",
            groups,
            f"must divide in_channels={in_channels} and out_channels={out_channels}",
        )
        require(
            in_channels % offset_groups == 0, "offset_groups", offset_groups, f"must divide in_channels={in_channels}"
        )
        self.in_channels, self.kernel_size, self.groups = in_channels, kernel_size, groups
        self.stride, self.padding, self.dilation = stride, padding, dilation
        self.weight = nn.Parameter(torch.empty(out_channels, in_channels // groups, kernel_size, kernel_size))
        self.bias = nn.Parameter(torch.zeros(out_channels)) if bias else None
        self.conv_offset = nn.Conv2d(
            in_channels, 2 * kernel_size**2 * offset_groups, kernel_size, stride, padding, dilation
        )
        nn.init.kaiming_uniform_(self.weight, nonlinearity="relu")
        nn.init.zeros_(self.conv_offset.weight)
        nn.init.zeros_(self.conv_offset.bias)

    def check_input(self, x: Tensor) -> None:
        require(
            x.dim() == 4 and x.shape[1] == self.in_channels,
            "x.shape",
            tuple(x.shape),
            f"must be N x {self.in_channels} x H x W",
        )
        window = self.dilation * (self.kernel_size - 1) + 1
        require(
            min(x.shape[2:]) + 2 * self.padding >= window,
            "x.shape",
            tuple(x.shape),
            f"map and padding={self.padding} must hold the window of {window} pixels",
        )

    def forward(self, x: Tensor) -> Tensor:
        """x: N x C x H x W; returns N x out_channels x H' x W'."""
        self.check_input(x)
        return self.sample(x, self.conv_offset(x))

    def sample(self, x: Tensor, offset: Tensor) -> Tensor:
        """The convolution with given offsets: N x (2 K K groups) x H' x W', (dy, dx) a tap, in pixels.

        On a GPU torchvision's kernel; on a CPU that one's backward is several times slower than to sample and multiply.
        """
        bias = None if self.bias is None else self.bias.to(x.dtype)
        if x.is_cuda:
            offset, weight = offset.to(x.dtype), self.weight.to(x.dtype)
            return deform_conv2d(x, offset, weight, bias, self.stride, self.padding, self.dilation)
        y, z = self.points(offset.to(torch.promote_types(x.dtype, torch.float32)))
        batch, groups, _, height, width = y.shape
        # Pixel centres in grid_sample's coordinates, where the map spans -1 .. 1 from edge to edge.
        grid = torch.stack(((2 * z + 1) / x.shape[3] - 1, (2 * y + 1) / x.shape[2] - 1), -1)
        maps = x.to(grid.dtype).unflatten(1, (groups, -1)).flatten(0, 1)
        samples = F.grid_sample(maps, grid.flatten(0, 1).flatten(1, 2), align_corners=False).to(x.dtype)
        samples = samples.view(batch, self.groups, -1, height * width)
        weight = self.weight.to(x.dtype).view(self.groups, self.weight.shape[0] // self.groups, -1)
        out = (weight @ samples).view(batch, -1, height, width)
        return out if bias is None else out + bias[:, None, None]

    def points(self, offset: Tensor) -> tuple[Tensor, Tensor]:
        """Rows and columns of the sampling points, each N x groups x (K K) x H' x W', in pixels."""
        offset = offset.unflatten(1, (-1, self.kernel_size**2, 2))
        height, width = offset.shape[-2:]
        taps = torch.arange(self.kernel_size, device=offset.device, dtype=offset.dtype) * self.dilation - self.padding
        rows = torch.arange(height, device=offset.device, dtype=offset.dtype) * self.stride
        columns = torch.arange(width, device=offset.device, dtype=offset.dtype) * self.stride
        y = taps.repeat_interleave(self.kernel_size)[:, None, None] + rows[:, None] + offset[:, :, :, 0]
        z = taps.repeat(self.kernel_size)[:, None, None] + columns + offset[:, :, :, 1]
        return y, z

    def macs(self, x: Tensor) -> int:
        """Multiply-adds of the forward, whole batch: offsets, four a bilinear sample, and the convolution."""
        window = self.dilation * (self.kernel_size - 1) + 1
        height, width = ((side + 2 * self.padding - window) // self.stride + 1 for side in x.shape[2:])
        taps = self.kernel_size**2
        offsets = self.conv_offset.weight.numel()
        return x.shape[0] * height * width * (offsets + 4 * taps * self.in_channels + self.weight.numel())


def bilinear(x: Tensor, y: Tensor, z: Tensor) -> Tensor:
    """Values of maps at points, zero outside: N x G x C x P.

    Args: x: N x G x C x H x W; y and z, row and column of each point: N x G x P.
    """
    height, width = x.shape[3:]
    top, left = y.floor(), z.floor()
    total = 0
    for row in (top, top + 1):
        for column in (left, left + 1):
            inside = (row >= 0) & (row < height) & (column >= 0) & (column < width)
            weight = (1 - (y - row).abs()) * (1 - (z - column).abs()) * inside
            index = (row.clamp(0, height - 1) * width + column.clamp(0, width - 1)).long()
            index = index.unsqueeze(2).expand(-1, -1, x.shape[2], -1)
            total = total + weight.unsqueeze(2) * x.flatten(3).gather(3, index)
    return total


def deform_conv2d_reference(module: DeformConv2d, x: Tensor, offset: Tensor | None = None) -> Tensor:
    """The equation of the file's head: sample every tap, then multiply. Same result as ``module(x)``.

    With `offset` given, the same result as ``module.sample(x, offset)``.
    """
    module.check_input(x)
    y, z = module.points(module.conv_offset(x) if offset is None else offset)
    samples = bilinear(x.unflatten(1, (y.shape[1], -1)), y.flatten(2), z.flatten(2)).flatten(1, 2)
    samples = samples.unflatten(-1, y.shape[2:]).unflatten(1, (module.groups, -1))
    weight = module.weight.flatten(2).unflatten(0, (module.groups, -1))
    out = torch.einsum("ngcthw,goct->ngohw", samples, weight).flatten(1, 2)
    return out if module.bias is None else out + module.bias[:, None, None]


class SeparableDeformConv2d(nn.Module):
    """Depthwise deformable convolution, then a 1x1 convolution with bias, on N x C x H x W; stride 1, same size.

    Args:
        channels: C. kernel_size: K, odd. dilation: distance of taps before they move.
    """

    def __init__(self, channels: int, kernel_size: int = 3, dilation: int = 1) -> None:
        super().__init__()
        require(kernel_size % 2 == 1, "kernel_size", kernel_size, "must be odd (centred window)")
        self.depthwise = DeformConv2d(
            channels, channels, kernel_size, 1, dilation * (kernel_size // 2), dilation, groups=channels
        )
        self.pointwise = nn.Conv2d(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """x: N x C x H x W; returns the same shape."""
        return self.pointwise(self.depthwise(x))

    def macs(self, x: Tensor) -> int:
        """Multiply-adds of the forward, whole batch."""
        return self.depthwise.macs(x) + x.shape[0] * x.shape[2] * x.shape[3] * x.shape[1] ** 2


class DeformConv1d(nn.Module):
    """Deformable convolution on T x N x C with linear interpolation (fast form).

    Args:
        in_channels: C. out_channels: C'.
        kernel_size: K, odd unless causal. Before they move, taps stand at -K//2 .. K//2, or -(K-1) .. 0 if causal.
        causal: never read a position after the query.
        bias: of the output.
    Raises: ValueError naming argument, value and rule.
    """

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: int = 3, causal: bool = False, bias: bool = True
    ) -> None:
        super().__init__()
        require(
            kernel_size >= 1 and (causal or kernel_size % 2 == 1),
            "kernel_size",
            kernel_size,
            "at least 1, and odd unless causal=True",
        )
        self.in_channels, self.kernel_size, self.causal = in_channels, kernel_size, causal
        self.left = kernel_size - 1 if causal else kernel_size // 2
        self.offset = nn.Linear(in_channels, kernel_size)
        nn.init.zeros_(self.offset.weight)
        nn.init.zeros_(self.offset.bias)
        self.make_weights(out_channels, bias)

    def make_weights(self, out_channels: int, bias: bool) -> None:
        self.taps = nn.Linear(self.kernel_size * self.in_channels, out_channels, bias=bias)

    def mix(self, samples: Tensor) -> Tensor:
        """samples: T x N x K x C."""
        return self.taps(samples.flatten(2))

    def forward(
        self, x: Tensor, key_padding_mask: Tensor | None = None, incremental_state: dict | None = None
    ) -> Tensor:
        """
        Args:
            x: T x N x C; with `incremental_state`, the new positions only.
            key_padding_mask: N x T bool, True where padded (zeroed before sampling).
            incremental_state: a dict that keeps all inputs so far; only if causal.
        Returns: T x N x C'.
        """
        x, points, _ = self.points(x, key_padding_mask, incremental_state)
        return self.mix(self.interpolate(x, points))

    def points(
        self, x: Tensor, key_padding_mask: Tensor | None, incremental_state: dict | None
    ) -> tuple[Tensor, Tensor, int]:
        """Inputs with history (S x N x C), sampling points (T x N x K, in positions of S), index of the first query."""
        require_tbc("x", x, self.in_channels)
        require_mask("key_padding_mask", key_padding_mask, (x.shape[1], x.shape[0]))
        moves = self.offset(x)
        length = x.shape[0]
        if key_padding_mask is not None:
            x = x.masked_fill(key_padding_mask.t().unsqueeze(-1), 0)
        if incremental_state is not None:
            require(
                self.causal, "incremental_state", "dict", "needs causal=True: later positions would change earlier ones"
            )
            if self.state_key in incremental_state:
                x = torch.cat((incremental_state[self.state_key]["input"], x))
            incremental_state[self.state_key] = {"input": x}
        first = x.shape[0] - length
        query = torch.arange(first, x.shape[0], device=x.device, dtype=moves.dtype)[:, None, None]
        points = query + torch.arange(self.kernel_size, device=x.device, dtype=moves.dtype) - self.left + moves
        if self.causal:
            points = torch.minimum(points, query)
        return x, points, first

    def interpolate(self, x: Tensor, points: Tensor) -> Tensor:
        """Values of x at the points: T x N x K x C."""
        # From the left in the causal form: a point on the query reads the query and the one before it.
        upper = points.ceil() if self.causal else points.floor() + 1
        batch = torch.arange(x.shape[1], device=x.device)[:, None]
        total = 0
        for k in (upper - 1, upper):
            weight = (1 - (points - k).abs()) * ((k >= 0) & (k < x.shape[0]))
            total = total + weight.to(x.dtype).unsqueeze(-1) * x[k.clamp(0, x.shape[0] - 1).long(), batch]
        return total

    @property
    def state_key(self) -> str:
        return f"{type(self).__name__}.{id(self)}"

    def reorder_incremental_state(self, incremental_state: dict, new_order: Tensor) -> None:
        """Keep the hypotheses ``new_order`` (indices into the batch) of the cache, as beam search asks."""
        if self.state_key in incremental_state:
            cached = incremental_state[self.state_key]["input"]
            incremental_state[self.state_key] = {"input": cached.index_select(1, new_order)}

    def macs(self, x: Tensor, *unused: object, **unused_options: object) -> int:
        """Multiply-adds of the forward, whole batch: offsets, two an interpolated sample, and the taps."""
        sampling = self.kernel_size * self.in_channels * 3
        return x.shape[0] * x.shape[1] * (sampling + self.tap_macs())

    def tap_macs(self) -> int:
        return self.taps.weight.numel()


class SeparableDeformConv1d(DeformConv1d):
    """Depthwise form of ``DeformConv1d`` (one weight a tap and channel), then a linear map C -> C' with bias."""

    def make_weights(self, out_channels: int, bias: bool) -> None:
        self.depthwise = nn.Parameter(torch.empty(self.kernel_size, self.in_channels))
        nn.init.uniform_(self.depthwise, -(self.kernel_size**-0.5), self.kernel_size**-0.5)
        self.pointwise = nn.Linear(self.in_channels, out_channels, bias=bias)

    def mix(self, samples: Tensor) -> Tensor:
        return self.pointwise((samples * self.depthwise).sum(2))

    def tap_macs(self) -> int:
        return self.depthwise.numel() + self.pointwise.weight.numel()


def deform_conv1d_reference(module: DeformConv1d, x: Tensor, key_padding_mask: Tensor | None = None) -> Tensor:
    """The equation of the file's head, G(k, s) = max(0, 1 - |k - s|) for every k. Same result as ``module(...)``."""
    x, points, _ = module.points(x, key_padding_mask, None)
    k = torch.arange(x.shape[0], device=x.device, dtype=points.dtype)
    interpolation = (1 - (k - points.unsqueeze(-1)).abs()).clamp(min=0)
    return module.mix(torch.einsum("tnjk,knc->tnjc", interpolation, x))
