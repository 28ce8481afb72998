"""Dynamic convolution in two dimensions as a plugin layer of mmdet's and mmseg's ResNet and of our heads.

    custom_imports = dict(imports=["plugins.openmm_ext.layers.dynamic_conv"])
    model = dict(backbone=dict(plugins=[dict(
        cfg=dict(type="ConvattnDynamicConv", kernel_size=3, num_heads=8),
        stages=(False, False, True, True), position="after_conv2")]))

The paper that compares it with attention on images (arXiv 1904.05873) does not print its two-dimensional form; ours is
that of `plugins.operators.dynamic_conv.DynamicConv2d`.
"""

from mmengine.registry import MODELS

from plugins.operators.dynamic_conv import DynamicConv2d

OPTION = "dynamic_convolution"
TASKS = ("detection", "segmentation", "probe")


def place(model: dict, options: dict, task) -> None:
    """Write the layer into the model's config, in the place of attention, so that the two can be compared.

    options: kernel (side of the window) and, where the operator's default is not meant, heads.
    """
    names = {"kernel": "kernel_size", "heads": "num_heads"}
    given = {names.get(key, key): value for key, value in options.items() if value is not None}
    task.place_layer(model, OPTION, {"type": "ConvattnDynamicConv", **given})


@MODELS.register_module()
class ConvattnDynamicConv(DynamicConv2d):
    """`DynamicConv2d` with the toolbox's keywords; N C H W -> N C H W."""

    _abbr_ = "dynamic_conv_block"

    def __init__(self, in_channels: int, kernel_size: int = 3, num_heads: int = 8) -> None:
        super().__init__(in_channels, kernel_size, heads=num_heads)

    def init_weights(self) -> None:
        """Repeat the operator's own initialisation: a ResNet from scratch re-draws every convolution inside it."""
        self.reset_parameters()
