"""Networks of the ACmix study (Pan et al., CVPR 2022, arXiv 2111.14556) as backbones.

    custom_imports = dict(imports=["plugins.openmm_ext.families.acmix"])
    backbone = dict(type="ConvattnACmixResNet", depth=50, mix="free", out_indices=(0, 1, 2, 3))
    backbone = dict(type="ConvattnACmixSwin", arch="tiny", mix="free", out_indices=(0, 1, 2, 3))

Places are those of the released code: ACmix replaces the 3x3 convolution of every bottleneck in all stages, its stride
included, and the (shifted-)window attention of every Swin block. `mix="plain"` is the network without ACmix.
In shifted Swin blocks the convolution sees the rolled map, as in the released code.

The placements in SAN and PVT were never released and their text could not be reached: they are not built here.

Unlike the released code, a ResNet keeps the shift kernels' start: it re-draws its convolutions by type, and the
operator's kernels are parameters of their own.
"""

import torch
import torch.nn.functional as F
from mmengine.registry import MODELS
from mmpretrain.models.backbones.swin_transformer import SwinTransformer
from mmpretrain.models.utils import ShiftWindowMSA
from torch import Tensor, nn

from plugins.openmm_ext.families.resnets import (
    ExchangedResNet,
    Network,
    channels_out,
    known_network,
    spatial_convolution,
)
from plugins.operators.acmix import ACmix, SwinACmix
from plugins.operators.checks import require
from plugins.suite.errors import UserError

OPTION = "acmix"
TASKS = ("classification", "detection", "segmentation")
RESNETS = {
    "cifar29": Network(depth=29, channels=16, stem_stride=1),
    "resnet26": Network(depth=26, channels=64, stem_stride=4),
    "resnet38": Network(depth=38, channels=64, stem_stride=4),
    "resnet50": Network(depth=50, channels=64, stem_stride=4),
}
SWINS = {"swin_tiny": "tiny", "swin_small": "small"}  # names of mmpretrain
LAYER_OPTIONS = ("mix", "shift", "outputs", "kernel_conv", "heads", "kernel_att")


@MODELS.register_module()
class ConvattnACmixResNet(ExchangedResNet):
    """ResNet of bottlenecks with ACmix in the place of every 3x3 convolution.

    Args:
        depth, stem_stride, options: see `ExchangedResNet`; depth 26, 29, 38, 50, 101 or 152.
        mix: plain (no ACmix) or an arm of `Mix`: attention, convolution, sum, convex, free.
        heads, kernel_att, kernel_conv, shift, outputs: of `ACmix`.
    Errors: ValueError for what `ACmix` refuses, such as maps smaller than half the attention window.
    """

    def __init__(
        self,
        depth: int,
        mix: str = "free",
        heads: int = 4,
        kernel_att: int = 7,
        kernel_conv: int = 3,
        shift: str = "learnable",
        outputs: str = "heads",
        **options,
    ) -> None:
        self.layer = {
            "mix": mix,
            "heads": heads,
            "kernel_att": kernel_att,
            "kernel_conv": kernel_conv,
            "shift": shift,
            "outputs": outputs,
        }
        super().__init__(depth, **options)

    def exchange(self, block: nn.Module, stage: int, size: tuple[int, int]) -> None:
        if self.layer["mix"] == "plain":
            return
        name = spatial_convolution(block)
        require(name == "conv2", "depth", self.depth, "ACmix stands in bottlenecks, which this depth has not")
        old = getattr(block, name)
        setattr(block, name, ACmix(old.in_channels, old.out_channels, stride=old.stride[0], **self.layer))


class ShiftWindowACmix(ShiftWindowMSA):
    """`SwinACmix` with the padding, rolling and masking of Swin's (shifted-)window attention; N x HW x C -> N x HW x C.

    Args: of mmpretrain's `ShiftWindowMSA`; `layer` holds those of `SwinACmix`.
    """

    def __init__(self, embed_dims: int, num_heads: int, window_size: int, layer: dict, **options) -> None:
        super().__init__(embed_dims, num_heads, window_size, window_msa=nn.Identity, **options)
        self.w_msa = SwinACmix(embed_dims, (window_size, window_size), num_heads, **layer)

    def forward(self, query: Tensor, hw_shape: tuple[int, int]) -> Tensor:
        """query: N x HW x C; hw_shape: (H, W)."""
        height, width = hw_shape
        window, roll = self.window_size, self.shift_size
        require(
            min(height, width) >= window or self.pad_small_map,
            "hw_shape",
            hw_shape,
            f"smaller than window_size={window}; set pad_small_map=True or a smaller window",
        )
        if min(height, width) == window and not self.pad_small_map:
            roll = 0  # one window: nothing to shift
        x = query.unflatten(1, hw_shape)
        x = F.pad(x, (0, 0, 0, -width % window, 0, -height % window))
        mask = self.get_attn_mask(x.shape[1:3], window, roll, x.device)
        x = self.w_msa(torch.roll(x, (-roll, -roll), (1, 2)), mask)
        x = torch.roll(x, (roll, roll), (1, 2))[:, :height, :width]
        return self.drop(x.flatten(1, 2))


@MODELS.register_module()
class ConvattnACmixSwin(SwinTransformer):
    """mmpretrain's Swin Transformer with ACmix in the place of every window attention.

    Args:
        arch, options: of mmpretrain's `SwinTransformer`.
        mix: plain (the usual window attention) or an arm of `Mix`.
        kernel_conv, shift, outputs: of `SwinACmix`.
    """

    def __init__(
        self,
        arch: str | dict = "tiny",
        mix: str = "free",
        kernel_conv: int = 3,
        shift: str = "learnable",
        outputs: str = "heads",
        pad_small_map: bool = False,
        **options,
    ) -> None:
        super().__init__(arch, pad_small_map=pad_small_map, **options)
        if mix == "plain":
            return
        layer = {"mix": mix, "kernel_conv": kernel_conv, "shift": shift, "outputs": outputs}
        for stage in self.stages:
            for block in stage.blocks:
                old = block.attn
                block.attn = ShiftWindowACmix(
                    old.w_msa.embed_dims,
                    old.w_msa.num_heads,
                    old.window_size,
                    layer,
                    shift_size=old.shift_size,
                    pad_small_map=pad_small_map,
                )
                block.attn.drop = old.drop


def backbone(options: dict) -> tuple[dict, list[int]]:
    """(backbone's config, channels of its stages) for the `acmix` options of an arm."""
    network = known_network(OPTION, options, RESNETS | SWINS)
    layer = {key: options[key] for key in LAYER_OPTIONS if key in options}
    if "drop_path" in options:
        layer["drop_path_rate"] = options["drop_path"]
    if network in SWINS.values():
        return _swin(network, options, layer)
    base = options.get("channels", network.channels)
    config = {
        "type": "ConvattnACmixResNet",
        "depth": network.depth,
        "stem_channels": base,
        "base_channels": base,
        "stem_stride": options.get("stem_stride", network.stem_stride),
    }
    return config | layer, channels_out(network.depth, base)


def _swin(name: str, options: dict, layer: dict) -> tuple[dict, list[int]]:
    """Windows are a thirty-second of the picture's side at the released sizes (7 of 224 pixels): so here."""
    for option in ("heads", "kernel_att"):
        if option in options:
            raise UserError(f"model.acmix.{option}={options[option]}: Swin has its own heads and windows; leave it out")
    known = SwinTransformer.arch_zoo[name]
    arch = {**known, "embed_dims": options.get("channels", known["embed_dims"])}
    patch, image = options.get("stem_stride", 4), options.get("image", 224)
    config = {
        "type": "ConvattnACmixSwin",
        "arch": arch,
        "img_size": image,
        "patch_size": patch,
        "window_size": image // (8 * patch),
    }
    return config | layer, [arch["embed_dims"] * 2**stage for stage in range(4)]


def place(model: dict, options: dict, task) -> None:
    """Write the backbone into the model's config, as `task` takes one."""
    task.place_backbone(model, OPTION, *backbone(options))
