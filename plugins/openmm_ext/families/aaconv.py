"""Networks of the attention augmented convolution study (Bello et al., ICCV 2019, arXiv 1904.09925) as backbones.

    custom_imports = dict(imports=["plugins.openmm_ext.families.aaconv"])
    backbone = dict(type="ConvattnAAResNet", depth=50, kind="augmented", kappa=0.2, nu=0.1, out_indices=(0, 1, 2, 3))

`kind` says what a block has: plain, augmented (`AAConv` in place of one 3x3 convolution), se (Squeeze-and-Excitation)
or ge (Gather-Excite without parameters, over the whole map), the two gates behind the block's last normalisation.

Places, where the reachable text of the paper leaves room, are those that reproduce its printed sizes:
- ResNets: the 3x3 of each bottleneck, or the first 3x3 of each basic block, in all stages but the first. The first
  augmented stage of ImageNet networks attends over maps pooled by 2 (`pool`).
- Wide ResNet: the first 3x3 of every block. Shortcuts have no weights: the input is average-pooled and its channels
  filled up with zeros. With 1x1 projections instead, the printed 36.3 M are missed by 0.26 M.
"""

import math

import torch.nn.functional as F
from mmengine.registry import MODELS
from mmpretrain.models.backbones.base_backbone import BaseBackbone
from torch import Tensor, nn

from plugins.openmm_ext.families.resnets import (
    ExchangedResNet,
    Network,
    add_gate,
    channels_out,
    known_network,
    spatial_convolution,
)
from plugins.operators.aaconv import AAConv
from plugins.operators.checks import require_choice
from plugins.operators.squeeze_excite import GatherExcite, SqueezeExcite
from plugins.suite.errors import UserError

OPTION = "aaconv"
TASKS = ("classification", "detection", "segmentation")
KINDS = ("plain", "augmented", "se", "ge")
GATES = {"se": SqueezeExcite, "ge": GatherExcite}
NETWORKS = {
    "cifar20": Network(depth=20, channels=16, stem_stride=1),
    "wrn28_10": Network(depth=28, channels=160, stem_stride=1),
    "resnet34": Network(depth=34, channels=64, stem_stride=4),
    "resnet50": Network(depth=50, channels=64, stem_stride=4),
    "resnet101": Network(depth=101, channels=64, stem_stride=4),
    "resnet152": Network(depth=152, channels=64, stem_stride=4),
}
LAYER_OPTIONS = ("kind", "kappa", "nu", "heads", "key_floor", "position", "image")


def augmented(
    in_channels: int,
    out_channels: int,
    stride: int,
    size: tuple[int, int],
    pool: int,
    kappa: float,
    nu: float,
    heads: int,
    key_floor: int,
    position: str,
) -> AAConv:
    """The 3x3 `AAConv` whose result has (height, width) `size`; its attention runs over that map, pooled by `pool`."""
    return AAConv(
        in_channels,
        out_channels,
        stride=stride,
        heads=heads,
        kappa=kappa,
        nu=nu,
        key_floor=key_floor,
        position=position,
        map_size=tuple(math.ceil(side / pool) for side in size),
        pool=pool,
    )


@MODELS.register_module()
class ConvattnAAResNet(ExchangedResNet):
    """ResNet with augmented convolutions, or with a rival's gates.

    Args:
        depth, stem_stride, image, options: see `ExchangedResNet`.
        kind: plain, augmented, se or ge.
        kappa, nu, heads, key_floor, position: of `AAConv`.
        pool: pooling of the attention's input in the second stage, the first that is augmented.
    Errors: ValueError for an unknown kind and for what `AAConv` refuses, such as maps larger than `image` gives.
    """

    def __init__(
        self,
        depth: int,
        kind: str = "augmented",
        kappa: float = 0.2,
        nu: float = 0.1,
        heads: int = 8,
        key_floor: int = 20,
        position: str = "relative",
        pool: int = 2,
        **options,
    ) -> None:
        require_choice("kind", kind, KINDS)
        self.kind, self.pool = kind, pool
        self.layer = {"kappa": kappa, "nu": nu, "heads": heads, "key_floor": key_floor, "position": position}
        super().__init__(depth, **options)

    def exchange(self, block: nn.Module, stage: int, size: tuple[int, int]) -> None:
        if self.kind in GATES:
            add_gate(block, GATES[self.kind](block.out_channels))
        elif self.kind == "augmented" and stage > 0:
            name = spatial_convolution(block)
            old = getattr(block, name)
            pool = self.pool if stage == 1 else 1
            layer = augmented(old.in_channels, old.out_channels, old.stride[0], size, pool, **self.layer)
            setattr(block, name, layer)


class WideBlock(nn.Module):
    """Pre-activation block: BN, ReLU, first 3x3, BN, ReLU, second 3x3, a gate if any, and the shortcut.

    Args:
        first: the first 3x3, plain or augmented; it has the block's stride.
        gate: a module of N x C x H x W, or None.
        activate_first: the shortcut too starts after BN and ReLU (the network's first block).
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        stride: int,
        first: nn.Module,
        gate: nn.Module | None,
        activate_first: bool,
    ) -> None:
        super().__init__()
        self.stride, self.extra, self.activate_first = stride, out_channels - in_channels, activate_first
        self.norm1, self.conv1 = nn.BatchNorm2d(in_channels), first
        self.norm2, self.conv2 = (
            nn.BatchNorm2d(out_channels),
            nn.Conv2d(out_channels, out_channels, 3, 1, 1, bias=False),
        )
        self.gate = gate if gate is not None else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        active = F.relu(self.norm1(x))
        shortcut = active if self.activate_first else x
        if self.stride > 1:
            shortcut = F.avg_pool2d(shortcut, self.stride, ceil_mode=True)
        y = self.conv2(F.relu(self.norm2(self.conv1(active))))
        return F.pad(shortcut, (0, 0, 0, 0, 0, self.extra)) + self.gate(y)


@MODELS.register_module()
class ConvattnWideResNet(BaseBackbone):
    """Wide ResNet-28 for small pictures: three stages of four blocks at full, half and quarter size.

    Args:
        base_channels: of the first stage; 160 is WRN-28-10.
        stem_stride: stride of the 3x3 stem, 1 in the paper.
        image: side of the square training picture, or (height, width).
        kind, kappa, nu, heads, key_floor, position: as in `ConvattnAAResNet`.
        out_indices: stages whose maps are returned; the last one has passed the final BN and ReLU.
    """

    def __init__(
        self,
        base_channels: int = 160,
        stem_stride: int = 1,
        image: int | tuple[int, int] = 32,
        kind: str = "augmented",
        kappa: float = 0.2,
        nu: float = 0.1,
        heads: int = 8,
        key_floor: int = 20,
        position: str = "relative",
        out_indices: tuple[int, ...] = (2,),
        init_cfg: tuple[dict, ...] | None = (
            {"type": "Kaiming", "layer": ["Conv2d"]},
            {"type": "Constant", "val": 1, "layer": ["_BatchNorm"]},
        ),
    ) -> None:
        super().__init__(list(init_cfg) if init_cfg else None)
        require_choice("kind", kind, KINDS)
        self.out_indices = tuple(out_indices)
        layer = {"kappa": kappa, "nu": nu, "heads": heads, "key_floor": key_floor, "position": position}
        sides = (image, image) if isinstance(image, int) else tuple(image)
        self.stem = nn.Conv2d(3, 16, 3, stem_stride, 1, bias=False)
        self.stages, channels = nn.ModuleList(), 16
        for stage in range(3):
            width, size = base_channels * 2**stage, tuple(math.ceil(s / stem_stride / 2**stage) for s in sides)
            blocks = []
            for number in range(4):
                stride = 2 if stage > 0 and number == 0 else 1
                if kind == "augmented":
                    first = augmented(channels, width, stride, size, 1, **layer)
                else:
                    first = nn.Conv2d(channels, width, 3, stride, 1, bias=False)
                gate = GATES[kind](width) if kind in GATES else None
                blocks.append(WideBlock(channels, width, stride, first, gate, activate_first=stage + number == 0))
                channels = width
            self.stages.append(nn.Sequential(*blocks))
        self.norm = nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        x = self.stem(x)
        maps = []
        for stage, blocks in enumerate(self.stages):
            x = blocks(x)
            if stage in self.out_indices:
                maps.append(F.relu(self.norm(x)) if stage == 2 else x)
        return tuple(maps)


def backbone(options: dict) -> tuple[dict, list[int]]:
    """(backbone's config, channels of its stages) for the `aaconv` options of an arm."""
    network = known_network(OPTION, options, NETWORKS)
    layer = {key: options[key] for key in LAYER_OPTIONS if key in options}
    base = options.get("channels", network.channels)
    config = {"base_channels": base, "stem_stride": options.get("stem_stride", network.stem_stride)}
    if network.depth == 28:
        if "pool" in options:
            raise UserError(f"model.aaconv.pool={options['pool']}: not known to wrn28_10; leave it out")
        return {"type": "ConvattnWideResNet", **config, **layer}, [base, 2 * base, 4 * base]
    config |= {"type": "ConvattnAAResNet", "depth": network.depth, "stem_channels": base}
    config["pool"] = options.get("pool", 2 if network.stem_stride == 4 else 1)
    return config | layer, channels_out(network.depth, base)


def place(model: dict, options: dict, task) -> None:
    """Write the backbone into the model's config, as `task` takes one."""
    task.place_backbone(model, OPTION, *backbone(options))
