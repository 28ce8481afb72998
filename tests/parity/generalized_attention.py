"""Parity of generalized attention: official parameter names are ours."""

from __future__ import annotations

from plugins.operators.generalized_attention import GeneralizedAttention, generalized_attention_reference
from tests.parity import only


def generalized_attention(constructor: dict, data: dict, meta: dict) -> dict:
    """mmcv's module; a range table that it stores is arithmetic here."""
    only(
        constructor,
        **dict.fromkeys(("in_channels", "attention_type", "num_heads", "kv_stride", "q_stride", "spatial_range"), ()),
        **dict.fromkeys(("position_embedding_dim", "position_magnitude"), ()),
    )
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
        "parameters": {key[6:]: key[6:] for key in data if key.startswith("param/")} | {"local_constraint_map": None},
        "forward": lambda m, inputs: m(inputs["x"]),
        "reference": lambda m, inputs: generalized_attention_reference(m, inputs["x"]),
    }


CASES = {"GeneralizedAttention": generalized_attention}
