"""One ACmix (arXiv 2111.14556) as the layer of an image probe's network."""

from mmengine.registry import MODELS
from torch import Tensor, nn

from plugins.operators.acmix import ACmix

OPTION = "acmix"
TASKS = ("probe",)


def place(model: dict, options: dict, task) -> None:
    """Write the layer into the model's config; options: mix, heads, kernel_att, kernel_conv."""
    task.place_layer(model, OPTION, {"type": "ConvattnACmixLayer", **options})


@MODELS.register_module()
class ConvattnACmixLayer(nn.Module):
    """x + ACmix(x), N x C x H x W -> the same. Args: of `ACmix`."""

    def __init__(self, in_channels: int, **options) -> None:
        super().__init__()
        self.mixed = ACmix(in_channels, in_channels, **options)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.mixed(x)
