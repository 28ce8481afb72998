"""Parity of ACmix with the released modules, the ResNet form and the Swin form, and with the blocks around them."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from plugins.operators.acmix import ACmix, SwinACmix, acmix_reference, swin_acmix_reference
from tests.parity import only, side

# The released blocks hide a pair of another region with this logit, where -inf would do.
HIDDEN = -100.0


def operator(constructor: dict) -> ACmix:
    """The ResNet form from the released constructor."""
    only(
        constructor,
        **dict.fromkeys(("in_planes", "out_planes", "head", "kernel_att", "stride"), ()),
        kernel_conv=(3,),  # the released padding is 1, so that other kernels give maps of another size
        dilation=() if constructor.get("kernel_att", 7) == 1 else (1,),  # the released module stops at others
    )
    return ACmix(
        constructor["in_planes"],
        constructor["out_planes"],
        constructor.get("head", 4),
        constructor.get("kernel_att", 7),
        stride=constructor.get("stride", 1),
    )


def operator_names(width: int, theirs: str = "", ours: str = "") -> dict:
    """Official name -> ours, with prefixes. The released projections are three convolutions, ours is one."""
    names = {"conv_p.weight": "position.weight", "conv_p.bias": "position.bias", **MIXING}
    names = {theirs + official: ours + name for official, name in names.items()}
    for number in range(3):
        rows = slice(number * width, (number + 1) * width)
        for kind in ("weight", "bias"):
            names[f"{theirs}conv{number + 1}.{kind}"] = (f"{ours}qkv.{kind}", rows)
    return names


MIXING = {
    "rate1": "mix.att_scale",
    "rate2": "mix.conv_scale",
    "fc.weight": "convolution.fc.weight",
    "dep_conv.weight": "convolution.weight",
}


def acmix(constructor: dict, data: dict, meta: dict) -> dict:
    """ResNet form."""
    return {
        "module": operator(constructor),
        "parameters": operator_names(constructor["out_planes"]),
        "forward": lambda m, inputs: m(inputs["x"]),
        "reference": lambda m, inputs: acmix_reference(m, inputs["x"]),
    }


def of_kind(constructor: dict, name: str, kind: str) -> None:
    """Raise ValueError where an option that is a class, recorded by its name, is not the released default."""
    if kind not in str(constructor.get(name) or kind):
        raise ValueError(f"{name}={constructor[name]!r}: our block has {kind} only")


class Bottleneck(nn.Module):
    """The released block: 1x1, ACmix with the stride, 1x1 to four times the planes, a norm after each, residual."""

    def __init__(self, inputs: int, width: int, outputs: int, acmix: ACmix, downsample: nn.Module | None) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(inputs, width, 1, bias=False), nn.BatchNorm2d(width)
        self.acmix, self.bn2 = acmix, nn.BatchNorm2d(width)
        self.conv3, self.bn3 = nn.Conv2d(width, outputs, 1, bias=False), nn.BatchNorm2d(outputs)
        self.downsample = downsample

    def forward(self, x: Tensor, attend) -> Tensor:
        y = self.bn1(self.conv1(x)).relu()
        y = self.bn2(attend(self.acmix, y)).relu()
        return (self.bn3(self.conv3(y)) + (x if self.downsample is None else self.downsample(x))).relu()


def bottleneck(constructor: dict, data: dict, meta: dict) -> dict:
    """The block of the released ResNet; `downsample` is read off the recorded parameters."""
    sizes = ("inplanes", "planes", "k_att", "head", "k_conv", "stride", "downsample", "groups", "base_width")
    only(constructor, **dict.fromkeys((*sizes, "dilation", "norm_layer"), ()))
    of_kind(constructor, "norm_layer", "BatchNorm2d")
    stride = constructor.get("stride", 1)
    width = int(constructor["planes"] * (constructor.get("base_width", 64) / 64)) * constructor.get("groups", 1)
    layer = {"in_planes": width, "out_planes": width, "kernel_att": constructor["k_att"], "head": constructor["head"]}
    layer |= {"kernel_conv": constructor["k_conv"], "stride": stride, "dilation": constructor.get("dilation", 1)}
    outputs = 4 * constructor["planes"]
    names = {key[6:]: key[6:] for key in data if key.startswith("param/") and not key.startswith("param/conv2.")}
    module = Bottleneck(
        constructor["inplanes"], width, outputs, operator(layer), downsampling(data, constructor["inplanes"], stride)
    )
    return {
        "module": module,
        "parameters": names | operator_names(width, "conv2.", "acmix."),
        "forward": lambda m, inputs: m(inputs["x"], lambda acmix, y: acmix(y)),
        "reference": lambda m, inputs: m(inputs["x"], acmix_reference),
    }


def downsampling(data: dict, inputs: int, stride: int) -> nn.Module | None:
    """The shortcut's layers in their recorded places: strided 1x1 convolutions and batch norms."""
    prefix = "param/downsample."
    weights = {key: t for key, t in data.items() if key.startswith(prefix) and key.endswith(".weight")}
    layers = nn.Sequential()
    for key, weight in sorted(weights.items(), key=lambda item: int(item[0].split(".")[1])):
        bias = key.replace(".weight", ".bias") in data
        convolution = weight.dim() == 4
        layer = nn.Conv2d(inputs, len(weight), 1, stride, bias=bias) if convolution else nn.BatchNorm2d(len(weight))
        layers.add_module(key.split(".")[1], layer)
    return layers if weights else None


def windowed(constructor: dict) -> SwinACmix:
    """The Swin form from the released constructor: without bias of q, k, v, or with another scale, if so asked."""
    options = dict.fromkeys(("dim", "window_size", "num_heads", "qkv_bias", "qk_scale", "attn_drop", "proj_drop"), ())
    only(constructor, **options)
    window = side(constructor["window_size"], "window_size")  # the released partition takes squares alone
    module = SwinACmix(constructor["dim"], (window, window), constructor["num_heads"])
    if not constructor.get("qkv_bias", True):
        module.qkv.bias = None
    module.scale = constructor.get("qk_scale") or module.scale
    return module


def windowed_names(data: dict, theirs: str = "", ours: str = "") -> dict:
    """Official name -> ours, with prefixes; None for the index table, which is arithmetic here."""
    same = ("qkv.weight", "qkv.bias", "proj.weight", "proj.bias", "relative_position_bias_table")
    names = {name: name for name in same} | MIXING | {"fc.bias": "convolution.fc.bias"}
    names = {theirs + official: ours + name for official, name in names.items()}
    names[f"{theirs}relative_position_index"] = None
    return {official: name for official, name in names.items() if f"param/{official}" in data}


def swin(constructor: dict, data: dict, meta: dict) -> dict:
    """Swin form, with or without the mask of shifted windows."""
    return {
        "module": windowed(constructor),
        "parameters": windowed_names(data),
        "forward": lambda m, inputs: m(inputs["x"], inputs.get("mask")),
        "reference": lambda m, inputs: swin_acmix_reference(m, inputs["x"], inputs.get("mask")),
    }


def region_mask(height: int, width: int, window: int, shift: int) -> Tensor:
    """Logits that hide from each other, in a rolled map, what was not near before: windows x positions x positions."""

    def region(length: int) -> Tensor:
        """After the roll, the last window of an axis holds its old end and, in its last `shift` places, its start."""
        place = torch.arange(length)
        return (place >= length - window).long() + (place >= length - shift).long()

    label = region(height)[:, None] * 3 + region(width)
    label = label.unfold(0, window, window).unfold(1, window, window).reshape(-1, window**2)
    return torch.where(label[:, :, None] == label[:, None, :], 0.0, HIDDEN)


class SwinBlock(nn.Module):
    """The released block on N x HW x C: norm, (shifted-)window ACmix, norm, two-layer perceptron; two residuals."""

    def __init__(self, attention: SwinACmix, size: tuple[int, int], shift: int, hidden: int) -> None:
        super().__init__()
        self.norm1, self.attn, self.norm2 = nn.LayerNorm(attention.dim), attention, nn.LayerNorm(attention.dim)
        self.fc1, self.fc2 = nn.Linear(attention.dim, hidden), nn.Linear(hidden, attention.dim)
        self.size, self.shift = size, shift
        mask = region_mask(*size, attention.window[0], shift) if shift else None
        self.register_buffer("mask", mask, persistent=False)

    def forward(self, x: Tensor, attend) -> Tensor:
        y = torch.roll(self.norm1(x).unflatten(1, self.size), (-self.shift, -self.shift), (1, 2))
        y = torch.roll(attend(self.attn, y, self.mask), (self.shift, self.shift), (1, 2))
        x = x + y.flatten(1, 2)
        return x + self.fc2(F.gelu(self.fc1(self.norm2(x))))


def swin_block(constructor: dict, data: dict, meta: dict) -> dict:
    """The block of the released Swin; a map no larger than the window is one window and is not shifted."""
    shared = ("dim", "num_heads", "qkv_bias", "qk_scale", "attn_drop")
    more = ("input_resolution", "window_size", "shift_size", "mlp_ratio", "drop", "drop_path")
    only(constructor, **dict.fromkeys((*shared, *more, "act_layer", "norm_layer"), ()))
    of_kind(constructor, "act_layer", "GELU")
    of_kind(constructor, "norm_layer", "LayerNorm")
    size = tuple(constructor["input_resolution"])
    window, shift = side(constructor.get("window_size", 7), "window_size"), constructor.get("shift_size", 0)
    if min(size) <= window:
        window, shift = min(size), 0
    layer = {name: constructor[name] for name in shared if name in constructor} | {"window_size": window}
    hidden = int(constructor["dim"] * constructor.get("mlp_ratio", 4.0))
    module = SwinBlock(windowed(layer), size, shift, hidden)
    recorded = data.get("param/attn_mask")
    if recorded is not None and not (module.mask is not None and torch.equal(recorded, module.mask)):
        raise ValueError("attn_mask: the recorded mask is not that of shifted windows")
    names = windowed_names(data, "attn.", "attn.") | {"attn_mask": None}
    for part in ("weight", "bias"):
        names |= {f"norm{number}.{part}": f"norm{number}.{part}" for number in (1, 2)}
        names |= {f"mlp.fc{number}.{part}": f"fc{number}.{part}" for number in (1, 2)}
    return {
        "module": module,
        "parameters": names,
        "forward": lambda m, inputs: m(inputs["x"], lambda attention, y, mask: attention(y, mask)),
        "reference": lambda m, inputs: m(inputs["x"], swin_acmix_reference),
    }


CASES = {
    "ACmix": acmix,
    "Bottleneck": bottleneck,
    "WindowAttention_acmix": swin,
    "SwinTransformerBlock": swin_block,
}
