"""The backbone of the image probes: a stem with a small field of sight, and one layer that may exchange between places.

    custom_imports = dict(imports=["plugins.openmm_ext.families.probe_net"])
    model = dict(backbone=dict(type="ConvattnProbeNet", stem="two", width=32, layer=dict(
        type="ConvattnGeneralizedAttention", attention_type="0010", num_heads=4, kv_stride=1)))

What the stem cannot see, the layer has to bring: so that a probe asks for the layer's mechanism and nothing else.
"""

from mmengine.model import BaseModule
from torch import Tensor, nn
from torch.nn import functional as F

from plugins.openmm_ext.lean_mmseg import MODELS
from plugins.operators.checks import require_choice

STEMS = ("one", "two")


@MODELS.register_module()
class ConvattnProbeNet(BaseModule):
    """Images N x 3 x H x W -> one map, N x width x h x w.

    Args:
        stem: one, two 1x1 convolutions (a token is a pixel), or two, two 3x3 convolutions, the second with stride 2
            (a token is 2x2 pixels and sees 5x5); ReLU behind each.
        width: channels.
        convolution: whether a 3x3 convolution with a residual and ReLU stands before the layer.
        dcn, stage_with_dcn: as mmseg's ResNet has them; the convolution is this network's last stage.
        layer: config of the layer without its in_channels, or None for none.
    Errors: ValueError for another stem, or for `dcn` where there is no convolution to be exchanged.
    """

    def __init__(
        self,
        stem: str = "two",
        width: int = 32,
        convolution: bool = False,
        dcn: dict | None = None,
        stage_with_dcn: tuple[bool, ...] = (False,),
        layer: dict | None = None,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(init_cfg)
        require_choice("stem", stem, STEMS)
        size = {"one": {"kernel_size": 1}, "two": {"kernel_size": 3, "padding": 1}}[stem]
        first = nn.Conv2d(3, width, **size)
        second = nn.Conv2d(width, width, stride=2 if stem == "two" else 1, **size)
        self.stem = nn.Sequential(first, nn.ReLU(), second, nn.ReLU())
        if dcn and not convolution:
            raise ValueError("dcn: takes the place of a convolution; set convolution=True")
        self.convolution = None
        if convolution and dcn and stage_with_dcn[-1]:
            geometry = {key: value for key, value in dcn.items() if key != "fallback_on_stride"}
            self.convolution = MODELS.build(
                {**geometry, "in_channels": width, "out_channels": width, "kernel_size": 3, "padding": 1}
            )
        elif convolution:
            self.convolution = nn.Conv2d(width, width, 3, padding=1)
        self.layer = MODELS.build({**layer, "in_channels": width}) if layer else nn.Identity()

    def init_weights(self) -> None:
        """The parts' own, but for the layer's residual gate: open (1), for from 0 it stays closed on some seeds."""
        super().init_weights()
        gate = getattr(self.layer, "gamma", None)
        if gate is not None:
            nn.init.ones_(gate)

    def forward(self, x: Tensor) -> tuple[Tensor]:
        x = self.stem(x)
        if self.convolution is not None:
            x = F.relu(x + self.convolution(x))
        return (self.layer(x),)
