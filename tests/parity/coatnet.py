"""Parity of CoAtNet's blocks with timm's."""

from __future__ import annotations

from torch import nn

from plugins.operators.coatnet import MBConv, TransformerBlock, mbconv_reference, transformer_block_reference
from tests.parity import only

POOLS = {"max2": "max2", "avg2": "avg2", "max": "max3", "avg": "avg3"}
STRIDES = {"dw": "depthwise", "1x1": "expand"}
NORMS = {"batchnorm2d": "batch", "layernorm2d": "layer"}
# Options of timm's blocks with the values that our blocks serve; () is any value: read below, read off the recorded
# parameters, or without effect on the block.
CONVOLUTION = {
    **dict.fromkeys(("expand_ratio", "expand_output", "kernel_size", "stride_mode", "pool_type", "norm_layer"), ()),
    **dict.fromkeys(("norm_eps", "norm_layer_cl", "downsample_pool_type", "output_bias", "attn_ratio"), ()),
    "block_type": ("mbconv",),
    "group_size": (1,),
    "pre_norm_act": (False,),
    "padding": ("",),
    "attn_early": (False,),
    "attn_layer": ("se", "", None),
    "attn_act_layer": ("silu",),
    "init_values": (None,),
    "act_layer": ("gelu",),
}
TRANSFORMER = {
    **dict.fromkeys(("dim_head", "head_first", "expand_ratio", "shortcut_bias", "attn_bias", "pool_type"), ()),
    **dict.fromkeys(("attn_drop", "proj_drop", "rel_pos_dim", "partition_ratio", "window_size", "grid_size"), ()),
    **dict.fromkeys(("no_block_attn", "use_nchw_attn", "norm_layer_cl", "norm_eps"), ()),
    "rel_pos_type": ("bias", "bias_tf", "", None),
    "init_values": (None,),
    "act_layer": ("gelu",),
    "norm_layer": ("layernorm2d",),
}


def mbconv(constructor: dict, data: dict, meta: dict) -> dict:
    """timm's MbConvBlock. timm's defaults stride the depthwise convolution and average-pool the shortcut."""
    only(constructor, **dict.fromkeys(("in_chs", "out_chs", "stride", "cfg", "drop_path"), ()), dilation=([1, 1], 1))
    cfg, outputs = dict(constructor.get("cfg") or {}), constructor["out_chs"]
    only(cfg, **CONVOLUTION)
    reduced = data.get("param/se.fc1.weight")
    module = MBConv(
        constructor["in_chs"],
        outputs,
        constructor.get("stride", 1),
        stride_in=_known(cfg, "stride_mode", "dw", STRIDES),
        norm=_known(cfg, "norm_layer", "batchnorm2d", NORMS),
        expansion=_ratio(data["param/conv1_1x1.weight"], outputs),
        kernel_size=cfg.get("kernel_size", 3),
        se_ratio=0 if reduced is None else _ratio(reduced, outputs),
        pool=_known(cfg, "pool_type", "avg2", POOLS),
    )
    _set_eps(module, cfg)
    prefixes = {
        "pre_norm": "norm",
        "conv1_1x1": "expand",
        "norm1": "expand_norm",
        "conv2_kxk": "depthwise",
        "norm2": "depthwise_norm",
        "se": "squeeze_excite",
        "conv3_1x1": "project",
        "shortcut.expand": "shortcut.project",
    }
    parameters = _renamed(data, prefixes)
    if cfg.get("output_bias") is False:
        _without_bias(module, parameters)
    return {
        "module": module,
        "parameters": parameters,
        "forward": lambda m, inputs: m(inputs["x"]),
        "reference": lambda m, inputs: mbconv_reference(m, inputs["x"]),
    }


def transformer(constructor: dict, data: dict, meta: dict) -> dict:
    """timm's TransformerBlock2d: 1x1 convolutions where we have linear layers; window_size is the map of the tables."""
    only(constructor, **dict.fromkeys(("dim", "dim_out", "stride", "cfg", "window_size", "drop_path"), ()))
    cfg, outputs = dict(constructor.get("cfg") or {}), constructor["dim_out"]
    widens = outputs != constructor["dim"]
    only(cfg, **TRANSFORMER, expand_first=(True,) if widens else ())
    relative = "pre" if any("rel_pos" in key for key in data) else "none"
    stride = constructor.get("stride", 1)
    window = constructor.get("window_size") or [side // stride for side in data["input/x"].shape[2:]]
    module = TransformerBlock(
        constructor["dim"],
        outputs,
        tuple(window),
        stride,
        cfg.get("dim_head", 32),
        relative,
        expansion=_ratio(data["param/mlp.fc1.weight"], outputs),
        pool=_known(cfg, "pool_type", "avg2", POOLS),
    )
    _set_eps(module, cfg)
    prefixes = {
        "norm1.norm": "norm1",
        "norm1": "norm1",
        "attn.qkv": "attention.qkv",
        "attn.proj": "attention.proj",
        "norm2": "norm2",
        "mlp.fc1": "fc1",
        "mlp.fc2": "fc2",
        "shortcut.expand": "shortcut.project",
    }
    table = [key[6:] for key in data if key.startswith("param/attn.rel_pos.")]
    parameters = _renamed({key: t for key, t in data.items() if key[6:] not in table}, prefixes)
    if cfg.get("attn_bias") is False or cfg.get("shortcut_bias") is False:
        _without_bias(module, parameters)
    for name, target in parameters.items():
        if name.endswith(".weight") and not target.startswith(("norm", "shortcut")):  # 1x1 kernels are matrices here
            parameters[name] = (target, lambda t: t.flatten(1), lambda gradient: gradient[..., None, None])
    parameters |= {name: _table(window, data[f"param/{name}"].dim()) for name in table}
    return {
        "module": module,
        "parameters": parameters,
        "forward": lambda m, inputs: m(inputs["x"]),
        "reference": lambda m, inputs: transformer_block_reference(m, inputs["x"]),
    }


def _ratio(weight, outputs: int) -> float:
    """The ratio to the output width that gives a layer of as many rows; half a row more, since widths round down."""
    return (len(weight) + 0.5) / outputs


def _set_eps(module: nn.Module, cfg: dict) -> None:
    """timm's own default is that of our blocks: 1e-5 for batch norms, 1e-6 for layer norms."""
    for layer in module.modules():
        if isinstance(layer, nn.BatchNorm2d | nn.LayerNorm) and cfg.get("norm_eps"):
            layer.eps = cfg["norm_eps"]


def _without_bias(module: nn.Module, parameters: dict) -> None:
    """Take out the biases that the recorded block does not have."""
    for name, layer in module.named_modules():
        if getattr(layer, "bias", None) is not None and f"{name}.bias" not in parameters.values():
            layer.bias = None


def _table(window: list[int], rank: int) -> tuple:
    """timm's bias is offsets x heads by query - key; its TensorFlow form is heads x rows x columns by key - query."""
    rows, columns = 2 * window[0] - 1, 2 * window[1] - 1
    if rank == 3:
        return "attention.table", lambda t: t.flip(1, 2), lambda gradient: gradient.flip(1, 2)
    return "attention.table", lambda t: t.T.unflatten(1, (rows, columns)), lambda gradient: gradient.flatten(1).T


def _renamed(data: dict, prefixes: dict[str, str]) -> dict[str, str]:
    names = {}
    for name in (key[6:] for key in data if key.startswith("param/")):
        prefix = next((p for p in prefixes if name.startswith(p + ".")), None)
        if prefix is not None:
            names[name] = prefixes[prefix] + name[len(prefix) :]
    return names


def _known(cfg: dict, key: str, default: str, choices: dict[str, str]) -> str:
    value = cfg.get(key) or default
    if value not in choices:
        raise ValueError(f"{key}={value}: must be one of {', '.join(choices)}")
    return choices[value]


CASES = {"MbConvBlock": mbconv, "TransformerBlock2d": transformer}
