"""Parity of generalized attention: official parameter names are ours."""

from __future__ import annotations

from plugins.operators.generalized_attention import GeneralizedAttention, generalized_attention_reference


def generalized_attention(constructor: dict, data: dict, meta: dict) -> dict:
    module = GeneralizedAttention(
        constructor["in_channels"],
        terms=constructor.get("attention_type", "1111"),
        heads=constructor.get("num_heads", 9),
        kv_stride=constructor.get("kv_stride", 2),
        q_stride=constructor.get("q_stride", 1),
        spatial_range=constructor.get("spatial_range", -1),
        position_embedding_dim=constructor.get("position_embedding_dim", -1),
        position_magnitude=constructor.get("position_magnitude", 1),
    )
    return {
        "module": module,
        "parameters": {name: name for name in (key[6:] for key in data if key.startswith("param/"))},
        "forward": lambda m, inputs: m(inputs["x"]),
        "reference": lambda m, inputs: generalized_attention_reference(m, inputs["x"]),
    }


CASES = {"GeneralizedAttention": generalized_attention}
