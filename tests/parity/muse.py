"""Parity of the MUSE branch and of the full layer around it with the released code."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from plugins.operators.muse import MuseAttention, muse_attention_reference


def attention(constructor: dict, side: str) -> MuseAttention:
    """The branch of one side ("encoder" or "decoder") that the released options describe."""
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


def check_causal(mask: Tensor | None) -> None:
    """The operator knows one attention mask, -inf above the diagonal."""
    if mask is not None and not torch.equal(torch.isneginf(mask), torch.ones_like(mask, dtype=torch.bool).triu(1)):
        raise ValueError("attn_mask: only -inf above the diagonal is supported")


def branch(constructor: dict, data: dict, meta: dict) -> dict:
    side = side_of(constructor)
    module = attention(constructor, side)
    check_causal(data.get("input/attn_mask"))

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
        y = residual + self_attention(self.self_attn, x, inputs) + self.fc2(self.fc1(x).relu())
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
    check_causal(data.get("input/self_attn_mask"))
    activation = constructor.get("activation_fn", "relu")
    if activation != "relu":
        raise ValueError(f"activation_fn={activation!r}: only relu is supported")
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
