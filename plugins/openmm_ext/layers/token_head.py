"""The head of the image probes: 1x1 convolutions on tokens, nothing resized.

custom_imports = dict(imports=["plugins.openmm_ext.layers.token_head"])
model = dict(decode_head=dict(type="ConvattnTokenHead", in_channels=32, channels=32, num_classes=4))
"""

from torch import Tensor, nn
from torch.nn import functional as F

from plugins.openmm_ext.lean_mmseg import MODELS, BaseDecodeHead


@MODELS.register_module()
class ConvattnTokenHead(BaseDecodeHead):
    """Logits of every token from its own features: N x in_channels x h x w -> N x classes x h x w.

    Args: of mmseg's `BaseDecodeHead`; there is no dropout, and torch's own initialisation.
        hidden: whether a convolution and ReLU stand before the last one. A head without is linear: it adds what a place
            is and what it was told, and cannot choose by the one among the other.
    """

    def __init__(self, hidden: bool = True, **options) -> None:
        super().__init__(**{"dropout_ratio": 0, "init_cfg": None} | options)
        self.hidden = nn.Conv2d(self.in_channels, self.channels, 1) if hidden else None

    def forward(self, inputs: tuple[Tensor, ...]) -> Tensor:
        x = self._transform_inputs(inputs)
        return self.cls_seg(x if self.hidden is None else F.relu(self.hidden(x)))

    def predict_by_feat(self, seg_logits: Tensor, batch_img_metas: list[dict]) -> Tensor:
        """The logits as they are: labels stand on tokens."""
        return seg_logits
