"""Parity of the MUSE branch and of the full layer around it with the released code."""

from __future__ import annotations

import json

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from plugins.operators.muse import MuseAttention, muse_attention_reference

ACTIVATIONS = {"relu": F.relu, "gelu": F.gelu, "tanh": torch.tanh}


def attention(constructor: dict, side: str) -> MuseAttention:
    """The branch of one side ("encoder" or "decoder") that the released options describe."""
    for name, served in (("combine", 1), ("lnv", "origin")):
        if constructor.get(name, served) != served:
            raise ValueError(f"{name}={constructor[name]!r}: our operator has {served!r} only")
    if constructor.get("attn_dynamic_type", 0) == 0:
        kernels = []
    elif constructor.get("attn_wide_kernels"):
        kernels = list(constructor["attn_wide_kernels"])
    else:
        kernels = [constructor["kernel_size"]]
    return MuseAttention(
        constructor[f"{side}_embed_dim"],
        constructor[f"{side}_attention_heads"],
        kernels,
        causal=side == "decoder",
        combine="gate" if constructor.get("dynamic_gate", 0) else "concat",
        mask_padding=bool(constructor.get("dynamic_padding", 0)),
    )


def attention_names(module: MuseAttention, prefix: str = "", ours: str = "") -> dict[str, str]:
    names = {
        "in_proj_weight": "in_proj.weight",
        "in_proj_bias": "in_proj.bias",
        "out_proj.weight": "out_proj.weight",
        "out_proj.bias": "out_proj.bias",
    }
    names |= {f"dynamics.{i}.weight_linear.weight": f"dynamics.{i}.weight" for i in range(len(module.kernels))}
    if hasattr(module, "gate"):
        names["dynamic_gate_para"] = "gate"
    return {prefix + theirs: ours + name for theirs, name in names.items()}


def side_of(constructor: dict) -> str:
    return "encoder" if "encoder_embed_dim" in constructor else "decoder"


def check_causal(mask: Tensor | None, side: str) -> None:
    """The operator knows one attention mask, -inf above the diagonal, and always has it on the decoder's side."""
    causal = mask is not None and torch.equal(torch.isneginf(mask), torch.ones_like(mask, dtype=torch.bool).triu(1))
    if (mask is not None or side == "decoder") and (side == "encoder" or not causal):
        raise ValueError("attention mask: -inf above the diagonal in a decoder and none in an encoder, nothing else")


def cross_attention(constructor: dict, data: dict, meta: dict) -> dict:
    """The decoder's branch over the encoder's output: plain attention, without an operator of ours."""
    module = nn.MultiheadAttention(constructor["decoder_embed_dim"], constructor["decoder_attention_heads"])
    tensors = json.loads(meta["call"])["tensors"]

    def forward(m: nn.MultiheadAttention, inputs: dict) -> dict:
        query, key = (inputs[tensors[name].removeprefix("input/")] for name in ("query", "key"))
        y, weights = m(query, key, key, key_padding_mask=inputs.get("key_padding_mask"))
        return {"y": y, "attn_weights": weights}

    return {"module": module, "parameters": {name: name for name in module.state_dict()}, "forward": forward}


def branch(constructor: dict, data: dict, meta: dict) -> dict:
    """One branch of the released layer: self-attention of the encoder ('es') or decoder ('ds'), or 'dc'."""
    if "'dc'" in meta["class"]:
        return cross_attention(constructor, data, meta)
    side = side_of(constructor)
    module = attention(constructor, side)
    check_causal(data.get("input/attn_mask"), side)

    def forward(m: MuseAttention, inputs: dict) -> dict:
        y, weights = m(inputs["x"], inputs.get("key_padding_mask"), need_weights=True)
        return {"y": y, "attn_weights": weights}

    return {
        "module": module,
        "parameters": attention_names(module),
        "forward": forward,
        "reference": lambda m, inputs: muse_attention_reference(m, inputs["x"], inputs.get("key_padding_mask")),
    }


class Layer(nn.Module):
    """The published layer: every branch reads the same x, one residual, one norm."""

    def __init__(self, constructor: dict, side: str) -> None:
        super().__init__()
        width, inner = constructor[f"{side}_embed_dim"], constructor[f"{side}_ffn_embed_dim"]
        self.activation = ACTIVATIONS[constructor.get("activation_fn", "relu")]
        self.pre_norm = bool(constructor.get(f"{side}_normalize_before", False))
        self.self_attn = attention(constructor, side)
        if side == "decoder":
            self.encoder_attn = nn.MultiheadAttention(width, constructor["decoder_attention_heads"])
        self.self_attn_layer_norm = nn.LayerNorm(width)
        self.fc1, self.fc2 = nn.Linear(width, inner), nn.Linear(inner, width)

    def forward(self, inputs: dict, self_attention) -> dict:
        residual = x = inputs["x"]
        if self.pre_norm:
            x = self.self_attn_layer_norm(x)
        out = {}
        y = residual + self_attention(self.self_attn, x, inputs) + self.fc2(self.activation(self.fc1(x)))
        if "encoder_out" in inputs:
            memory = inputs["encoder_out"]
            cross, weights = self.encoder_attn(x, memory, memory, key_padding_mask=inputs.get("encoder_padding_mask"))
            y = y + cross
            out["cross_attn_weights"] = weights
        out["y"] = y if self.pre_norm else self.self_attn_layer_norm(y)
        return out


def padding(inputs: dict) -> Tensor | None:
    """The mask of self-attention's own keys: in a decoder layer `encoder_padding_mask` belongs to the memory."""
    if "encoder_out" in inputs:
        return inputs.get("self_attn_padding_mask")
    return inputs.get("encoder_padding_mask")


def layer(constructor: dict, data: dict, meta: dict) -> dict:
    side = side_of(constructor)
    module = Layer(constructor, side)
    check_causal(data.get("input/self_attn_mask"), side)
    names = attention_names(module.self_attn, "self_attn.", "self_attn.")
    names |= {name: name for name, _ in module.named_parameters() if not name.startswith("self_attn.")}
    names |= {
        f"encoder_attn_layer_norm.{part}": None
        for part in ("weight", "bias")
        if f"param/encoder_attn_layer_norm.{part}" in data
    }
    return {
        "module": module,
        "parameters": names,
        "forward": lambda m, inputs: m(inputs, lambda a, x, given: a(x, padding(given))[0]),
        "reference": lambda m, inputs: m(inputs, lambda a, x, given: muse_attention_reference(a, x, padding(given))),
    }


CASES = {
    "ParallelMultiheadAttention": branch,
    "TransformerCombineEncoderLayer": layer,
    "TransformerCombineDecoderLayer": layer,
}
