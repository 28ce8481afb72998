"""mmseg's fully convolutional head with a layer between its two 3x3 convolutions, as CCNet's head has it.

    layers = "plugins.openmm_ext.layers"
    custom_imports = dict(imports=[f"{layers}.attended_head", f"{layers}.generalized_attention"])
    model = dict(decode_head=dict(type="ConvattnAttendedHead", between=dict(
        type="ConvattnGeneralizedAttention", attention_type="0110", num_heads=8, kv_stride=2)))

Parameter names are those of `FCNHead`, and `between.*`. The paper (arXiv 1904.05873) does not say in any reachable copy
where its segmentation network holds the module; this place is our choice.
"""

import torch
from mmseg.models.decode_heads import FCNHead
from mmseg.registry import MODELS


@MODELS.register_module()
class ConvattnAttendedHead(FCNHead):
    """`FCNHead` of two convolutions with `between` (a layer's config without in_channels) after the first."""

    def __init__(self, between: dict, num_convs: int = 2, **options) -> None:
        if num_convs != 2:
            raise ValueError(f"num_convs={num_convs}: the layer stands between two convolutions, so it must be 2")
        super().__init__(num_convs=num_convs, **options)
        self.between = MODELS.build({**between, "in_channels": self.channels})

    def _forward_feature(self, inputs):
        x = self._transform_inputs(inputs)
        y = self.convs[1](self.between(self.convs[0](x)))
        return self.conv_cat(torch.cat([x, y], dim=1)) if self.concat_input else y
