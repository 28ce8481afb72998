"""One attention augmented convolution (arXiv 1904.09925) as the layer of an image probe's network."""

from mmengine.registry import MODELS
from torch import Tensor, nn
from torch.nn import functional as F

from plugins.operators.aaconv import AAConv

OPTION = "aaconv"
TASKS = ("probe",)


def place(model: dict, options: dict, task) -> None:
    """Write the layer into the model's config; options: nu, kappa, heads, key_floor, position."""
    task.place_layer(model, OPTION, {"type": "ConvattnAAConvLayer", **options})


@MODELS.register_module()
class ConvattnAAConvLayer(nn.Module):
    """ReLU(x + AAConv(x)), 3x3, N x C x H x W -> the same.

    Args: of `AAConv`; `side`: height and width of the maps, for the tables of relative positions.
    """

    def __init__(self, in_channels: int, side: int, **options) -> None:
        super().__init__()
        self.mixed = AAConv(in_channels, in_channels, map_size=(side, side), **options)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(x + self.mixed(x))
