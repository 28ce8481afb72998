"""Squeeze-and-Excitation and Gather-Excite: the channel gates that attention augmented convolutions are held against.

Papers: Hu, Shen, Sun, "Squeeze-and-Excitation Networks", https://arxiv.org/abs/1709.01507
        Hu, Shen, Albanie, Sun, Vedaldi, "Gather-Excite: Exploiting Feature Context in Convolutional Networks",
        https://arxiv.org/abs/1810.12348

    SE:  y = x * sigmoid( W_2 act(W_1 mean(x)) )                     one gate a channel
    GE:  y = x * sigmoid( resize( gather(x) ) )                      gate from the whole map, or from a neighbourhood

Gather is the mean (GE-theta-minus, without parameters). Results equal timm's `SEModule` and `GatherExcite`, which the
tests run beside them; here the widths are explicit and every layer counts its multiply-adds.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from plugins.operators.checks import require


class SqueezeExcite(nn.Module):
    """Gate the channels of an N x C x H x W map by its mean.

    Args:
        channels: C.
        reduced: hidden width; C / 16 rounded down (at least 1) if None.
        activation: between the two 1x1 layers, a function of a tensor.
    """

    def __init__(self, channels: int, reduced: int | None = None, activation=F.relu) -> None:
        super().__init__()
        reduced = max(1, channels // 16) if reduced is None else reduced
        require(reduced >= 1, "reduced", reduced, "must be at least 1")
        self.channels, self.reduced, self.activation = channels, reduced, activation
        self.fc1, self.fc2 = nn.Conv2d(channels, reduced, 1), nn.Conv2d(reduced, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        _check(x, self.channels)
        return x * self.fc2(self.activation(self.fc1(x.mean((2, 3), keepdim=True)))).sigmoid()

    def macs(self, x: Tensor) -> int:
        """Multiply-adds of the two 1x1 layers."""
        return x.shape[0] * 2 * self.channels * self.reduced


def squeeze_excite_reference(module: SqueezeExcite, x: Tensor) -> Tensor:
    """The gate by its sums."""
    mean = x.sum((2, 3)) / (x.shape[2] * x.shape[3])
    hidden = module.activation(mean @ module.fc1.weight.flatten(1).T + module.fc1.bias)
    gate = 1 / (1 + torch.exp(-(hidden @ module.fc2.weight.flatten(1).T + module.fc2.bias)))
    return x * gate[:, :, None, None]


class GatherExcite(nn.Module):
    """Gate each pixel of an N x C x H x W map by the mean around it, without parameters.

    Args:
        channels: C.
        extent: 0 gathers over the whole map; otherwise a power-of-two ratio e: means over (2e-1) x (2e-1) pixels every
            e pixels, resized by repetition.
    """

    def __init__(self, channels: int, extent: int = 0) -> None:
        super().__init__()
        require(extent >= 0 and extent & (extent - 1) == 0, "extent", extent, "must be 0 or a power of two")
        self.channels, self.extent = channels, extent

    def forward(self, x: Tensor) -> Tensor:
        _check(x, self.channels)
        if self.extent == 0:
            return x * x.mean((2, 3), keepdim=True).sigmoid()
        side = 2 * self.extent - 1
        gathered = F.avg_pool2d(x, side, self.extent, side // 2, count_include_pad=False)
        return x * F.interpolate(gathered, x.shape[2:]).sigmoid()

    def macs(self, x: Tensor) -> int:
        """No products but the gate itself: 0."""
        return 0


def gather_excite_reference(module: GatherExcite, x: Tensor) -> Tensor:
    """The gate pixel by pixel."""
    _, _, height, width = x.shape
    step = module.extent
    if step == 0:
        return x / (1 + torch.exp(-x.sum((2, 3), keepdim=True) / (height * width)))
    rows, columns = math.ceil(height / step), math.ceil(width / step)
    y = torch.empty_like(x)
    for a in range(height):
        for b in range(width):
            centre = a * rows // height * step, b * columns // width * step
            near = x[
                :, :, max(0, centre[0] - step + 1) : centre[0] + step, max(0, centre[1] - step + 1) : centre[1] + step
            ]
            y[:, :, a, b] = x[:, :, a, b] / (1 + torch.exp(-near.mean((2, 3))))
    return y


def _check(x: Tensor, channels: int) -> None:
    require(x.dim() == 4 and x.shape[1] == channels, "x.shape", tuple(x.shape), f"must be N x {channels} x H x W")
