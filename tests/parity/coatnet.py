"""Parity of CoAtNet's blocks with timm's."""

from __future__ import annotations

from plugins.operators.coatnet import MBConv, TransformerBlock, mbconv_reference, transformer_block_reference

POOLS = {"max2": "max2", "avg2": "avg2", "max": "max3", "avg": "avg3"}
STRIDES = {"dw": "depthwise", "1x1": "expand"}
NORMS = {"batchnorm2d": "batch", "layernorm2d": "layer"}


def mbconv(constructor: dict, data: dict, meta: dict) -> dict:
    """timm's MbConvBlock. timm's defaults stride the depthwise convolution and average-pool the shortcut."""
    cfg = dict(constructor.get("cfg") or {})
    module = MBConv(
        constructor["in_chs"],
        constructor["out_chs"],
        constructor.get("stride", 1),
        stride_in=_known(cfg, "stride_mode", "dw", STRIDES),
        norm=_known(cfg, "norm_layer", "batchnorm2d", NORMS),
        expansion=cfg.pop("expand_ratio", 4.0),
        kernel_size=cfg.pop("kernel_size", 3),
        se_ratio=cfg.pop("attn_ratio", 0.25),
        pool=_known(cfg, "pool_type", "avg2", POOLS),
    )
    _nothing_left(cfg)
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
    return {
        "module": module,
        "parameters": _renamed(data, prefixes),
        "forward": lambda m, inputs: m(inputs["x"]),
        "reference": lambda m, inputs: mbconv_reference(m, inputs["x"]),
    }


def transformer(constructor: dict, data: dict, meta: dict) -> dict:
    """timm's TransformerBlock2d: 1x1 convolutions where we have linear layers; window_size is the map of the tables."""
    cfg = dict(constructor.get("cfg") or {})
    position = cfg.pop("rel_pos_type", "bias")
    if position not in ("bias", "bias_tf", "", None):
        raise ValueError(f"rel_pos_type={position}: only bias, bias_tf and none are known")
    relative = "pre" if any("rel_pos" in key for key in data) else "none"
    stride = constructor.get("stride", 1)
    window = constructor.get("window_size") or [side // stride for side in data["input/x"].shape[2:]]
    module = TransformerBlock(
        constructor["dim"],
        constructor["dim_out"],
        tuple(window),
        stride,
        cfg.pop("dim_head", 32),
        relative,
        expansion=cfg.pop("expand_ratio", 4.0),
        pool=_known(cfg, "pool_type", "avg2", POOLS),
    )
    _nothing_left(cfg)
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
    value = cfg.pop(key, default) or default
    if value not in choices:
        raise ValueError(f"{key}={value}: must be one of {', '.join(choices)}")
    return choices[value]


def _nothing_left(cfg: dict) -> None:
    harmless = {"norm_layer", "norm_eps", "act_layer", "attn_layer", "attn_act_layer", "block_type"}
    unknown = sorted(set(cfg) - harmless)
    if unknown:
        raise ValueError(f"cfg has {', '.join(unknown)}, which our block does not have")


CASES = {"MbConvBlock": mbconv, "TransformerBlock2d": transformer}
