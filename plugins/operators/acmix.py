"""ACmix: one set of 1x1 projections, used both by local self-attention and by a convolution, and the two results mixed.

Paper: Pan, Ge, Lu, Song, Chen, Huang, Huang, "On the Integration of Self-Attention and Convolution",
https://arxiv.org/abs/2111.14556

    q, k, v = 1x1 convolutions of x, each cut into N heads of d = C / N channels
    F_att(i) = sum_{j in window of i} softmax_j( q_i . (k_j + p_i - p_j) / sqrt(d) ) v_j      heads concatenated
    F_conv   = sum_t Shift_t( f_t ),   f = FC (3N maps -> k_c^2 maps, for each of the d channels)
    y = alpha F_att + beta F_conv

`p` is a 1x1 convolution of the coordinates. Shift_t is written as a group convolution whose kernels start as one-hot.

Departures and choices:
- the released code is followed where text and code differ: FC gives k_c^2 maps, and the N copies come from the group
  convolution, which has no bias; its output channel is channel * N + copy while attention has head * d + channel, added
  as they are;
- alpha multiplies attention and beta the convolution (`att_scale`, `conv_scale`; the first figure has them the other
  way round);
- q, k, v are one parameter; any odd `kernel_conv`, and odd maps under stride (the size is rounded up).

Fast form. q_i . p_i is the same for every key of a query, so the softmax does not see it: attention over the keys k - p
is the whole formula, and `kernels/local.py` makes it from a few copies of k and v instead of k_a^2. FC and group
convolution are two linear maps in a row and are multiplied into one kernel when that is no dearer.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from plugins.operators.checks import require, require_choice, require_heads
from plugins.operators.kernels.local import local_attention

MIXES = ("attention", "convolution", "sum", "convex", "free")
SHIFTS = ("tensor", "fixed", "learnable", "random")
OUTPUTS = ("heads", "shared")
# Up to this many heads the product of FC and group convolution costs no more than the two in a row.
COMPOSED_HEADS = 8


class Mix(nn.Module):
    """alpha * attention + beta * convolution, with the scales of one arm.

    Args:
        mix: attention or convolution alone, their sum, a convex pair (alpha, 1 - alpha), or two free scales (the
            paper's). Learnt scales start at 0.5.
    """

    def __init__(self, mix: str) -> None:
        super().__init__()
        require_choice("mix", mix, MIXES)
        self.mix = mix
        if mix in ("convex", "free"):
            self.att_scale = nn.Parameter(torch.full((1,), 0.5))
        if mix == "free":
            self.conv_scale = nn.Parameter(torch.full((1,), 0.5))

    @property
    def attends(self) -> bool:
        """Whether the attention path is there."""
        return self.mix != "convolution"

    @property
    def convolves(self) -> bool:
        """Whether the convolution path is there."""
        return self.mix != "attention"

    def scales(self) -> list[float] | None:
        """[alpha, beta] as learnt so far; None for an arm that learns none."""
        if self.mix not in ("convex", "free"):
            return None
        alpha = self.att_scale.item()
        return [alpha, self.conv_scale.item() if self.mix == "free" else 1 - alpha]

    def forward(self, attention: Tensor | None, convolution: Tensor | None) -> Tensor:
        if self.mix in ("attention", "convolution"):
            return attention if self.attends else convolution
        if self.mix == "sum":
            return attention + convolution
        beta = self.conv_scale if self.mix == "free" else 1 - self.att_scale
        return self.att_scale * attention + beta * convolution


class ConvolutionPath(nn.Module):
    """FC, shift and sum: N x d x 3 heads x H x W -> N x (d * heads) x H' x W', output channel = channel * heads + copy.

    Args:
        heads, depth: number of heads and channels of one head.
        kernel: odd k_c.
        stride: of the result.
        shift: how maps are moved: tensor (slices), fixed (group convolution with frozen one-hot kernels), learnable
            (the same kernels as parameters), random (parameters without the one-hot start).
        outputs: heads (one set of kernels a copy, the released form) or shared (one set, its result repeated). Frozen
            shifts give equal copies, so they store one set.
        bias: of FC.
    """

    def __init__(self, heads: int, depth: int, kernel: int, stride: int, shift: str, outputs: str, bias: bool) -> None:
        super().__init__()
        require(kernel % 2 == 1, "kernel_conv", kernel, "must be odd, shifts are centred")
        require_choice("shift", shift, SHIFTS)
        require_choice("outputs", outputs, OUTPUTS)
        self.heads, self.depth, self.kernel, self.stride, self.shift = heads, depth, kernel, stride, shift
        self.copies = heads if outputs == "heads" and shift in ("learnable", "random") else 1
        self.fc = nn.Conv2d(3 * heads, kernel**2, 1, bias=bias)
        shape = (depth * self.copies, kernel**2, kernel, kernel)
        if shift in ("learnable", "random"):
            self.weight = nn.Parameter(torch.empty(shape))
        elif shift == "fixed":
            self.register_buffer("weight", torch.empty(shape), persistent=False)
        self.reset_shift()

    @torch.no_grad()
    def reset_shift(self) -> None:
        """Set the kernels to their start. Call it again after a network re-draws all its convolutions, as most do."""
        if self.shift == "random":
            nn.init.kaiming_uniform_(self.weight, a=math.sqrt(5))
        elif self.shift != "tensor":
            one_hot = torch.eye(self.kernel**2).unflatten(1, (self.kernel, self.kernel))
            self.weight.copy_(one_hot.expand_as(self.weight))

    def forward(self, maps: Tensor) -> Tensor:
        if self.shift == "tensor" or self.heads > COMPOSED_HEADS:
            return convolution_path_reference(self, maps)
        # One group convolution over the 3 heads maps of a channel.
        kernel = torch.einsum("otyx,tm->omyx", self.weight, self.fc.weight.flatten(1))
        y = self._group(maps.flatten(1, 2), kernel)
        if self.fc.bias is not None:  # constant maps, except that the zero padding cuts them at the border
            constant = self.fc.bias.repeat(self.depth).view(1, -1, 1, 1).expand(-1, -1, *maps.shape[3:])
            y = y + self._group(constant, self.weight)
        return self._repeat(y)

    def _group(self, x: Tensor, weight: Tensor) -> Tensor:
        weight = weight.to(x.dtype)
        # torch 2.11 returns a wrong weight gradient where weight and input of a group convolution can both be taken for
        # channels-last; with a kernel of one tap a contiguous weight always can.
        if self.kernel == 1:
            x = x[:, :, :: self.stride, :: self.stride].unflatten(1, (self.depth, -1))
            return torch.einsum("ndmyx,dom->ndoyx", x, weight.flatten(1).unflatten(0, (self.depth, -1))).flatten(1, 2)
        weight = weight.contiguous()
        return F.conv2d(x, weight, stride=self.stride, padding=self.kernel // 2, groups=self.depth)

    def _repeat(self, y: Tensor) -> Tensor:
        return y if self.copies == self.heads else y.repeat_interleave(self.heads, dim=1)

    def macs(self, batch: int, height: int, width: int) -> int:
        """Multiply-adds for a map: FC at full size and the group convolution at the result's; moving tensors costs
        none."""
        taps, channels = self.kernel**2, self.depth * self.heads
        out = math.ceil(height / self.stride) * math.ceil(width / self.stride)
        moved = 0 if self.shift == "tensor" else taps**2 * self.depth * self.copies
        return batch * (height * width * taps * 3 * channels + out * moved)


def convolution_path_reference(path: ConvolutionPath, maps: Tensor) -> Tensor:
    """The path in its two steps: mix the 3 heads maps of every channel, then move and add."""
    batch, depth, _, height, width = maps.shape
    mixed = path.fc(maps.flatten(0, 1)).unflatten(0, (batch, depth))  # N x d x k_c^2 x H x W
    if path.shift != "tensor":
        return path._repeat(path._group(mixed.flatten(1, 2), path.weight))
    reach, step = path.kernel // 2, path.stride
    padded = F.pad(mixed, (reach, reach, reach, reach))
    taps = [
        padded[
            :,
            :,
            t,
            t // path.kernel : t // path.kernel + height : step,
            t % path.kernel : t % path.kernel + width : step,
        ]
        for t in range(path.kernel**2)
    ]
    return path._repeat(torch.stack(taps).sum(dim=0))


class ACmix(nn.Module):
    """ACmix in its ResNet form (fast), N x in_channels x H x W -> N x out_channels x ceil(H/stride) x ceil(W/stride).

    Args:
        in_channels, out_channels: heads must divide the latter.
        heads: N.
        kernel_att: odd side k_a of the attention window; the map is padded by reflection, so its sides must exceed k_a
            // 2.
        kernel_conv: odd side k_c of the convolution.
        stride: projections are made at full size, queries and shifts are strided.
        mix: see `Mix`; a path that an arm leaves out has no parameters, except q, k, v.
        shift, outputs: see `ConvolutionPath`.
    Errors: ValueError for wrong widths, even kernels, or a map smaller than the window's reach.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        heads: int = 4,
        kernel_att: int = 7,
        kernel_conv: int = 3,
        stride: int = 1,
        mix: str = "free",
        shift: str = "learnable",
        outputs: str = "heads",
    ) -> None:
        super().__init__()
        require_heads("out_channels", out_channels, heads)
        require(kernel_att % 2 == 1, "kernel_att", kernel_att, "must be odd, the window is centred")
        require(stride >= 1, "stride", stride, "must be at least 1")
        self.in_channels, self.out_channels, self.heads, self.depth = (
            in_channels,
            out_channels,
            heads,
            out_channels // heads,
        )
        self.kernel_att, self.stride = kernel_att, stride
        self.mix = Mix(mix)
        self.qkv = nn.Conv2d(in_channels, 3 * out_channels, 1)
        if self.mix.attends:
            self.position = nn.Conv2d(2, self.depth, 1)
        if self.mix.convolves:
            self.convolution = ConvolutionPath(heads, self.depth, kernel_conv, stride, shift, outputs, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        _check_map(self, x)
        # Rows of the projection by channel, then by q, k, v heads: what the group convolution reads. Channels-last
        # memory is the faster one for it, and the one in which blocks of keys are cut in long runs.
        weight = self.qkv.weight.unflatten(0, (3 * self.heads, self.depth)).transpose(0, 1).flatten(0, 1)
        bias = self.qkv.bias.view(3 * self.heads, self.depth).T.flatten()
        maps = F.conv2d(x.contiguous(memory_format=torch.channels_last), weight, bias)
        maps = maps.unflatten(1, (self.depth, 3 * self.heads))
        convolved = self.convolution(maps) if self.mix.convolves else None
        return self.mix(self._attend(maps) if self.mix.attends else None, convolved)

    def _attend(self, maps: Tensor) -> Tensor:
        # N x d x 3 heads x H x W -> q, k, v, each (N * heads) x H x W x d
        q, k, v = maps.unflatten(2, (3, self.heads)).permute(2, 0, 3, 4, 5, 1).flatten(1, 2).unbind(0)
        q = q[:, :: self.stride, :: self.stride] * self.depth**-0.5
        k = k - position_map(self, maps).permute(1, 2, 0)
        k, v = (reflect(t, self.kernel_att // 2) for t in (k, v))
        y = local_attention(q, k, v, self.kernel_att, self.stride).unflatten(0, (-1, self.heads))
        return y.permute(0, 2, 3, 1, 4).flatten(3).permute(0, 3, 1, 2)

    def macs(self, x: Tensor) -> int:
        """Multiply-adds of the published module: projections, positions, both attention products, FC and shift
        kernels."""
        batch, _, height, width = x.shape
        total = batch * height * width * 3 * self.in_channels * self.out_channels
        if self.mix.attends:
            total += height * width * 2 * self.depth + self.attention_macs(x)
        return total + (self.convolution.macs(batch, height, width) if self.mix.convolves else 0)

    def attention_macs(self, x: Tensor) -> int:
        """Of `macs`, the two products of attention."""
        batch, _, height, width = x.shape
        out = math.ceil(height / self.stride) * math.ceil(width / self.stride)
        return batch * out * 2 * self.kernel_att**2 * self.out_channels if self.mix.attends else 0


def reflect(t: Tensor, reach: int) -> Tensor:
    """Pad both axes of G x H x W x d by reflection."""
    return F.pad(t.permute(0, 3, 1, 2), (reach,) * 4, mode="reflect").permute(0, 2, 3, 1)


def position_map(module: ACmix, like: Tensor) -> Tensor:
    """p, d x H x W: a 1x1 convolution of the coordinates x, y in [-1, 1] over the map; shared by the heads."""
    height, width = like.shape[-2:]
    y = torch.linspace(-1, 1, height, device=like.device).unsqueeze(1).expand(height, width)
    x = torch.linspace(-1, 1, width, device=like.device).expand(height, width)
    return module.position(torch.stack((x, y)).to(module.position.weight.dtype)).to(like.dtype)


def acmix_reference(module: ACmix, x: Tensor) -> Tensor:
    """The same module as the released algorithm has it: k, v, p laid out by unfold, k_a^2 copies of each."""
    _check_map(module, x)
    batch, _, height, width = x.shape
    heads, depth, side, step = module.heads, module.depth, module.kernel_att, module.stride
    qkv = module.qkv(x)
    convolved = None
    if module.mix.convolves:
        maps = qkv.view(batch, 3 * heads, depth, height, width).transpose(1, 2)
        convolved = convolution_path_reference(module.convolution, maps)
    if not module.mix.attends:
        return module.mix(None, convolved)
    q, k, v = (t.reshape(batch * heads, depth, height, width) for t in qkv.chunk(3, dim=1))
    p = position_map(module, x).unsqueeze(0)
    out = (math.ceil(height / step), math.ceil(width / step))

    def windows(t: Tensor) -> Tensor:
        t = F.pad(t, (side // 2,) * 4, mode="reflect")
        return F.unfold(t, side, stride=step).view(t.shape[0], depth, side**2, *out)

    q, p_query = q[..., ::step, ::step].unsqueeze(2), p[..., ::step, ::step].unsqueeze(2)
    logits = (q * depth**-0.5 * (windows(k) + p_query - windows(p))).sum(dim=1, keepdim=True)
    attended = (logits.softmax(dim=2) * windows(v)).sum(dim=2)
    return module.mix(attended.reshape(batch, heads * depth, *out), convolved)


def _check_map(module: ACmix, x: Tensor) -> None:
    require(
        x.dim() == 4 and x.shape[1] == module.in_channels,
        "x.shape",
        tuple(x.shape),
        f"must be N x {module.in_channels} x H x W",
    )
    if module.mix.attends:
        least = module.kernel_att // 2 + 1
        require(
            min(x.shape[2:]) >= least,
            "x.shape",
            tuple(x.shape),
            f"reflection for kernel_att={module.kernel_att} needs sides of at least {least}",
        )


class SwinACmix(nn.Module):
    """ACmix in its Swin form: attention inside windows, convolution over the whole map. Channels last, N x H x W x dim.

    Args:
        dim: channels; heads must divide it.
        window: (height, width) of a window; must divide the map.
        heads: N.
        kernel_conv, mix, shift, outputs: as in `ACmix`.
    The projection acts on attention only, before its scale; FC has a bias. The logit is q . k / sqrt(d) + table[query -
    key].
    Errors: ValueError for wrong widths, a map that the window does not divide, or a mask of another shape.
    """

    def __init__(
        self,
        dim: int,
        window: tuple[int, int],
        heads: int,
        kernel_conv: int = 3,
        mix: str = "free",
        shift: str = "learnable",
        outputs: str = "heads",
    ) -> None:
        super().__init__()
        require_heads("dim", dim, heads)
        require(min(window) >= 1, "window", window, "sides must be at least 1")
        self.dim, self.window, self.heads, self.depth = dim, tuple(window), heads, dim // heads
        self.scale = self.depth**-0.5
        self.mix = Mix(mix)
        self.qkv = nn.Linear(dim, 3 * dim)
        if self.mix.attends:
            self.proj = nn.Linear(dim, dim)
            table = torch.empty((2 * window[0] - 1) * (2 * window[1] - 1), heads)
            self.relative_position_bias_table = nn.Parameter(nn.init.trunc_normal_(table, std=0.02))
        if self.mix.convolves:
            self.convolution = ConvolutionPath(heads, self.depth, kernel_conv, 1, shift, outputs, bias=True)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """x: N x H x W x dim; mask: None or windows x positions x positions, added to the logits (shifted windows)."""
        qkv = self._project(x, mask)
        convolved = self._convolve(qkv, self.convolution) if self.mix.convolves else None
        if not self.mix.attends:
            return self.mix(None, convolved)
        q, k, v = self._windows(qkv)
        logits = torch.matmul(q * self.scale, k.transpose(-2, -1)) + self._bias(mask)
        return self.mix(self._whole(logits.softmax(dim=-1) @ v, x), convolved)

    def macs(self, x: Tensor, mask: Tensor | None = None) -> int:
        """Multiply-adds of the published module on this input."""
        batch, height, width, _ = x.shape
        n = batch * height * width
        total = 3 * n * self.dim**2
        if self.mix.attends:
            total += n * self.dim**2 + self.attention_macs(x)
        return total + (self.convolution.macs(batch, height, width) if self.mix.convolves else 0)

    def attention_macs(self, x: Tensor, mask: Tensor | None = None) -> int:
        """Of `macs`, the two products of attention."""
        positions = x.shape[0] * x.shape[1] * x.shape[2]
        return 2 * positions * self.window[0] * self.window[1] * self.dim if self.mix.attends else 0

    def _project(self, x: Tensor, mask: Tensor | None) -> Tensor:
        require(x.dim() == 4 and x.shape[3] == self.dim, "x.shape", tuple(x.shape), f"must be N x H x W x {self.dim}")
        height, width = x.shape[1:3]
        require(
            height % self.window[0] == 0 and width % self.window[1] == 0,
            "x.shape",
            tuple(x.shape),
            f"window={self.window} must divide the map",
        )
        if mask is not None:
            positions = self.window[0] * self.window[1]
            shape = (height * width // positions, positions, positions)
            require(
                tuple(mask.shape) == shape, "mask.shape", tuple(mask.shape), f"must be {shape}: windows, queries, keys"
            )
        return self.qkv(x)

    def _convolve(self, qkv: Tensor, path) -> Tensor:
        maps = qkv.unflatten(3, (3 * self.heads, self.depth)).permute(0, 4, 3, 1, 2)
        return path(maps).permute(0, 2, 3, 1)

    def _windows(self, qkv: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """q, k, v as N x windows x heads x positions x d."""
        (height, width), (rows, columns) = qkv.shape[1:3], self.window
        t = qkv.view(-1, height // rows, rows, width // columns, columns, 3, self.heads, self.depth)
        return (
            t.permute(5, 0, 1, 3, 6, 2, 4, 7)
            .reshape(3, qkv.shape[0], -1, self.heads, rows * columns, self.depth)
            .unbind(0)
        )

    def _bias(self, mask: Tensor | None) -> Tensor:
        rows, columns = self.window
        index = query_minus_key(rows, columns).to(self.relative_position_bias_table.device)
        bias = self.relative_position_bias_table[index].permute(2, 0, 1)
        return bias if mask is None else bias + mask.unsqueeze(1)

    def _whole(self, attended: Tensor, x: Tensor) -> Tensor:
        """Windows back into the map, projected."""
        (height, width), (rows, columns) = x.shape[1:3], self.window
        t = attended.view(-1, height // rows, width // columns, self.heads, rows, columns, self.depth)
        return self.proj(t.permute(0, 1, 4, 2, 5, 3, 6).reshape(x.shape))


def swin_acmix_reference(module: SwinACmix, x: Tensor, mask: Tensor | None = None) -> Tensor:
    """The same module, window by window and head by head."""
    qkv = module._project(x, mask)
    convolved = (
        module._convolve(qkv, lambda maps: convolution_path_reference(module.convolution, maps))
        if module.mix.convolves
        else None
    )
    if not module.mix.attends:
        return module.mix(None, convolved)
    rows, columns = module.window
    index = query_minus_key(rows, columns).to(x.device)
    attended = torch.zeros_like(x)
    wide = x.shape[2] // columns
    for window in range(x.shape[1] // rows * wide):
        y, z = window // wide * rows, window % wide * columns
        q, k, v = qkv[:, y : y + rows, z : z + columns].flatten(1, 2).chunk(3, dim=2)
        for head in range(module.heads):
            part = slice(head * module.depth, (head + 1) * module.depth)
            logits = module.scale * q[..., part] @ k[..., part].transpose(1, 2)
            logits = logits + module.relative_position_bias_table[index, head]
            if mask is not None:
                logits = logits + mask[window]
            attended[:, y : y + rows, z : z + columns, part] = (logits.softmax(dim=2) @ v[..., part]).unflatten(
                1, (rows, columns)
            )
    return module.mix(module.proj(attended), convolved)


def query_minus_key(rows: int, columns: int) -> Tensor:
    """Table row of every (query, key) pair of a window: positions x positions, int64."""
    y, x = torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij")
    y, x = y.flatten(), x.flatten()
    return (y[:, None] - y[None, :] + rows - 1) * (2 * columns - 1) + (x[:, None] - x[None, :] + columns - 1)
