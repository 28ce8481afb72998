"""ResNets whose blocks exchange their 3x3 convolution for an operator: the common part of several families.

mmpretrain's `ResNet` builds the network; afterwards `exchange` of a family is called once a block and may put an
operator in place of a convolution, or a gate behind the last normalisation. Usable as the backbone of mmpretrain, mmdet
and mmseg alike: parameters, stages and `out_indices` are those of mmpretrain's.

Depths beyond mmpretrain's: 20 (three stages of three basic blocks) and 29 (of three bottlenecks), for small pictures;
26 and 38, the bottleneck layouts of the stand-alone attention papers. `stem_stride` is what the stem divides the
picture's sides by: 4 is the usual stem (7x7 stride 2 and max pooling), 2 and 1 are a 3x3 convolution of that stride.
"""

import math
from collections import OrderedDict
from dataclasses import dataclass

from mmpretrain.models.backbones.resnet import BasicBlock, Bottleneck, ResNet
from torch import nn

from plugins.operators.checks import require, require_choice
from plugins.suite.errors import UserError

STEM_STRIDES = (1, 2, 4)


@dataclass(frozen=True)
class Network:
    """A ResNet by its depth, with its own channels of the first stage and its own stem."""

    depth: int
    channels: int
    stem_stride: int


class ExchangedResNet(ResNet):
    """mmpretrain's ResNet with `exchange(block, stage, size)` called for every block once it stands.

    Args:
        depth: a key of `arch_settings`.
        stem_stride: see the file's head.
        image: side of the square training picture, or (height, width); decides the sizes of maps handed to `exchange`.
        options: of mmpretrain's ResNet.
    Errors: ValueError for an unknown stem or for dilated stages, which the operators do not have.
    """

    arch_settings = {
        **ResNet.arch_settings,
        20: (BasicBlock, (3, 3, 3)),
        29: (Bottleneck, (3, 3, 3)),
        26: (Bottleneck, (1, 2, 4, 1)),
        38: (Bottleneck, (2, 3, 5, 2)),
    }

    def __init__(self, depth: int, stem_stride: int = 4, image: int | tuple[int, int] = 224, **options) -> None:
        require_choice("stem_stride", stem_stride, STEM_STRIDES)
        self.stem_stride = stem_stride
        stages = len(self.arch_settings[depth][1]) if depth in self.arch_settings else 4
        super().__init__(
            depth, **{"num_stages": stages, "strides": (1, 2, 2, 2)[:stages]} | _per_stage(stages) | options
        )
        require(set(self.dilations) == {1}, "dilations", self.dilations, "the operators have none, give 1 a stage")
        sides = (image, image) if isinstance(image, int) else tuple(image)
        step = stem_stride
        for stage, name in enumerate(self.res_layers):
            step *= self.strides[stage]
            size = tuple(math.ceil(side / step) for side in sides)
            for block in getattr(self, name):
                self.exchange(block, stage, size)
        self._freeze_stages()

    def exchange(self, block: nn.Module, stage: int, size: tuple[int, int]) -> None:
        """Change one block in place. stage: 0 for the first; size: (height, width) of the block's result."""

    def _make_stem_layer(self, in_channels: int, stem_channels: int) -> None:
        super()._make_stem_layer(in_channels, stem_channels)
        if self.stem_stride < 4:
            self.conv1 = nn.Conv2d(in_channels, stem_channels, 3, self.stem_stride, 1, bias=False)
            self.maxpool = nn.Identity()


def _per_stage(stages: int) -> dict:
    return {"dilations": (1,) * stages, "out_indices": (stages - 1,)}


def spatial_convolution(block: nn.Module) -> str:
    """Name of the convolution that an operator replaces: the 3x3 of a bottleneck, the first 3x3 of a basic block."""
    return "conv2" if isinstance(block, Bottleneck) else "conv1"


def add_gate(block: nn.Module, gate: nn.Module) -> None:
    """Put a gate behind the block's last normalisation: where stochastic depth stands, before the sum."""
    block.drop_path = nn.Sequential(OrderedDict(gate=gate, drop=block.drop_path))


def channels_out(depth: int, base_channels: int) -> list[int]:
    """Channels of the maps of the stages."""
    block, blocks = ExchangedResNet.arch_settings[depth]
    return [base_channels * (4 if block is Bottleneck else 1) * 2**stage for stage in range(len(blocks))]


def known_network(family: str, options: dict, networks: dict):
    """What `networks` has under the option `network`; UserError where it is missing or another family's."""
    name = options.get("network")
    if name not in networks:
        raise UserError(f"model.{family}.network={name}: must be one of {', '.join(networks)}")
    return networks[name]
