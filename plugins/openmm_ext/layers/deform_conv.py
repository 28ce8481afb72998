"""Deformable convolution as a convolution layer of mmdet's and mmseg's ResNet (Dai et al., arXiv 1703.06211).

    custom_imports = dict(imports=["plugins.openmm_ext.layers.deform_conv"])
    model = dict(backbone=dict(dcn=dict(type="ConvattnDeformConv", deform_groups=1, fallback_on_stride=False),
                               stage_with_dcn=(False, True, True, True)))

Keywords and parameter names are those of mmcv's `DCN`, so a config changes its `type` alone and public checkpoints load
strictly. Two reasons not to take mmcv's: a ResNet trained from scratch re-draws its offset convolution, which has to
start at zero, and nothing counts its multiply-adds.
"""

from mmengine.registry import MODELS
from torch import nn

from plugins.operators.deform_conv import DeformConv2d

OPTION = "deformable"
TASKS = ("detection", "segmentation", "probe")


def place(model: dict, options: bool, task) -> None:
    """Write it (no modulation, one offset group) in the place of the 3x3 convolutions of a ResNet's conv3 to conv5."""
    model["backbone"]["dcn"] = {"type": "ConvattnDeformConv", "deform_groups": 1, "fallback_on_stride": False}
    model["backbone"]["stage_with_dcn"] = (False, True, True, True)


@MODELS.register_module()
class ConvattnDeformConv(DeformConv2d):
    """`DeformConv2d` with mmcv's keywords; N C H W -> N C' H' W'."""

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: int, deform_groups: int = 1, **geometry
    ) -> None:
        super().__init__(in_channels, out_channels, kernel_size, offset_groups=deform_groups, **geometry)

    def init_weights(self) -> None:
        """Offsets zero again, whatever the network's initialisation drew: the layer starts as a regular convolution."""
        nn.init.zeros_(self.conv_offset.weight)
        nn.init.zeros_(self.conv_offset.bias)
