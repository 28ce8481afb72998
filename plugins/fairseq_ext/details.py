"""What a translation run keeps beside its scores, small enough for metrics.json: `details`."""

from __future__ import annotations

import re


def gate_weights(parameters: dict) -> dict[str, list[float]]:
    """The learnt weights of the kernels (MUSE, figure 8), {"encoder.<layer>": [...], "decoder.<layer>": [...]}, from a
    model's state."""
    gates = {}
    for name, value in parameters.items():
        match = re.fullmatch(r"(encoder|decoder)\.layers\.(\d+)\.self_attn\.gate", name)
        if match and value.numel() > 1:
            gates[f"{match[1]}.{match[2]}"] = value.float().softmax(0).tolist()
    return gates
