"""Generalized attention as a plugin layer of mmdet's and mmseg's ResNet (Zhu et al., ICCV 2019, arXiv 1904.05873).

    custom_imports = dict(imports=["plugins.openmm_ext.layers.generalized_attention"])
    model = dict(backbone=dict(plugins=[dict(
        cfg=dict(type="ConvattnGeneralizedAttention", attention_type="0110", num_heads=8, kv_stride=2),
        stages=(False, False, True, True), position="after_conv2")]))

Keywords, parameter names and the layer's name in the backbone are those of mmcv's `GeneralizedAttention`, so a config
changes its `type` alone and public checkpoints load strictly. Unlike mmcv's, all sixteen patterns work on any map.
"""

from mmengine.registry import MODELS

from plugins.operators.generalized_attention import GeneralizedAttention

OPTION = "attention"
TASKS = ("detection", "segmentation", "probe")


def place(model: dict, options: dict, task) -> None:
    """Write the layer into the model's config, where `task` has its place for one.

    options: terms (E1..E4 as four bits) and, where the operator's defaults are not meant, heads, kv_stride,
    spatial_range or window.
    """
    names = {"terms": "attention_type", "heads": "num_heads"}
    given = {names.get(key, key): value for key, value in options.items() if value is not None}
    task.place_layer(model, OPTION, {"type": "ConvattnGeneralizedAttention", **given})


@MODELS.register_module()
class ConvattnGeneralizedAttention(GeneralizedAttention):
    """`GeneralizedAttention` with mmcv's keywords; N C H W -> N C H W."""

    _abbr_ = "gen_attention_block"

    def __init__(self, in_channels: int, num_heads: int = 8, attention_type: str = "1111", **options) -> None:
        super().__init__(in_channels, terms=attention_type, heads=num_heads, **options)

    def init_weights(self) -> None:
        """Repeat the operator's own initialisation: a ResNet from scratch re-draws every convolution inside it."""
        self.reset_parameters()
