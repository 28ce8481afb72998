"""ACmix (arXiv 2111.14556) as the layer of an image probe's network."""

from mmengine.registry import MODELS
from torch import Tensor, nn

from plugins.operators.acmix import ACmix

OPTION = "acmix"
TASKS = ("probe",)


def place(model: dict, options: dict, task) -> None:
    """Write the layer into the model's config; options: mix, heads, kernel_att, kernel_conv, depth."""
    task.place_layer(model, OPTION, {"type": "ConvattnACmixLayer", **options})


@MODELS.register_module()
class ConvattnACmixLayer(nn.Module):
    """x + ACmix(x), `depth` times in a row; N x C x H x W -> the same. Other args: of `ACmix`."""

    def __init__(self, in_channels: int, depth: int = 1, **options) -> None:
        super().__init__()
        self.mixed = nn.ModuleList(ACmix(in_channels, in_channels, **options) for _ in range(depth))

    def forward(self, x: Tensor) -> Tensor:
        for mixed in self.mixed:
            x = x + mixed(x)
        return x
