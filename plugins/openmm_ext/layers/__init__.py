"""The operators that an arm puts into a network for a dense task, as configs of registered layers.

`attention` (generalized attention) and `dynamic_convolution` (its form for images) ask for the same place, so
that the two can be held against each other. Where that place is, the task's own module says.
"""

from plugins.suite.errors import UserError

ATTENTION_MODULE = "plugins.openmm_ext.layers.generalized_attention"
DYNAMIC_MODULE = "plugins.openmm_ext.layers.dynamic_conv"
DEFORMABLE_MODULE = "plugins.openmm_ext.layers.deform_conv"


def layer_of(words: dict) -> tuple[dict | None, list[str]]:
    """(config of the layer, modules to import) for `attention` or `dynamic_convolution`; (None, []) for neither."""
    attention, dynamic = words.get("attention"), words.get("dynamic_convolution")
    if attention and dynamic:
        raise UserError(
            "model.attention, model.dynamic_convolution: both take the same place in the network; set one to null"
        )
    if attention:
        layer = {
            "type": "ConvattnGeneralizedAttention",
            "attention_type": attention["terms"],
            "num_heads": attention.get("heads", 8),
            "kv_stride": attention.get("kv_stride", 2),
            "spatial_range": attention.get("spatial_range", -1),
        }
        return layer, [ATTENTION_MODULE]
    if dynamic:
        layer = {
            "type": "ConvattnDynamicConv",
            "kernel_size": dynamic["kernel"],
            "num_heads": dynamic.get("heads", 8),
        }
        return layer, [DYNAMIC_MODULE]
    return None, []


def place_deformable(backbone: dict, words: dict) -> list[str]:
    """Deformable convolution (no modulation, one offset group) as the 3x3 convolutions of a ResNet's conv3 to conv5."""
    if not words.get("deformable"):
        return []
    backbone["dcn"] = {"type": "ConvattnDeformConv", "deform_groups": 1, "fallback_on_stride": False}
    backbone["stage_with_dcn"] = (False, True, True, True)
    return [DEFORMABLE_MODULE]
