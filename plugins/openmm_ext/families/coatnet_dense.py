"""CoAtNet and ViT_REL with a map at their end, as the backbone of an image probe (Dai et al., arXiv 2106.04803)."""

from torch import Tensor

from plugins.openmm_ext.families import coatnet
from plugins.openmm_ext.lean_mmseg import MODELS
from plugins.operators.coatnet import CoAtNet

OPTION = "coatnet"
TASKS = ("probe",)


@MODELS.register_module()
class ConvattnCoAtNetDense(CoAtNet):
    """`CoAtNet` without pooling and classifier; N x 3 x H x W -> (N x last width x h x w,), normalised."""

    def __init__(self, stages: list, image_size: tuple[int, int], **options) -> None:
        super().__init__(stages, image_size, classes=None, **options)

    def forward(self, x: Tensor) -> tuple[Tensor]:
        return (self.norm(self.features(x)[-1].permute(0, 2, 3, 1)).permute(0, 3, 1, 2),)


def place(model: dict, options: dict, task) -> None:
    """Write the backbone into the model's config; UserError for options that do not go together."""
    config, width = coatnet.backbone(options)
    model["backbone"] = {**config, "type": "ConvattnCoAtNetDense"}
    model["decode_head"] |= {"in_channels": width, "channels": width}
