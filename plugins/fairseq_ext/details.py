"""What a translation run keeps beside its scores, small enough for metrics.json: `details`.

gates       the learnt weight of each kernel, by layer (MUSE, figure 8)
dispersion  how widely the encoder's self-attention spreads, by layer and sentence length; the paper shows one map
            and reports no such number
"""

from __future__ import annotations

import math
import re
from contextlib import contextmanager

import torch

LENGTH_BUCKETS = 4
ATTENTION = ("MultiheadAttention", "MuseAttention", "GeneralizedAttention1d")


def gate_weights(parameters: dict) -> dict[str, list[float]]:
    """The learnt weights of the kernels, {"encoder.<layer>": [...], "decoder.<layer>": [...]}, from a model's state."""
    gates = {}
    for name, value in parameters.items():
        match = re.fullmatch(r"(encoder|decoder)\.layers\.(\d+)\.self_attn\.gate", name)
        if match and value.numel() > 1:
            gates[f"{match[1]}.{match[2]}"] = value.float().softmax(0).tolist()
    return gates


@contextmanager
def attention_of(encoder):
    """Collects by layer the self-attention of each batch that the encoder reads: N x T x T, heads averaged."""
    maps, handles, inside = {}, [], []

    def hook(layer):
        def collect(module, args, kwargs, output):
            if not inside:
                inside.append(True)
                maps[layer] = module(*args, **kwargs | {"need_weights": True})[1]
                inside.clear()

        return collect

    for index, layer in enumerate(encoder.layers):
        for module in layer.self_attn.modules() if hasattr(layer, "self_attn") else ():
            if type(module).__name__ in ATTENTION:
                handles.append(module.register_forward_hook(hook(index), with_kwargs=True))
    try:
        yield maps
    finally:
        for handle in handles:
            handle.remove()


def dispersion(model, batches, padding: int) -> dict:
    """Entropy (over the log of the length) and share of the last token, by encoder layer and bucket of source length.

    batches: fairseq samples with the source padded on the left or right by `padding`. A sentence counts with the mean
    over its positions; sentences of one token are left out (their entropy has no scale). {} where no layer attends.
    """
    rows = {}
    lengths = []
    with torch.no_grad(), attention_of(model.encoder) as maps:
        for sample in batches:
            tokens = sample["net_input"]["src_tokens"]
            model.encoder(tokens, sample["net_input"]["src_lengths"])
            real = tokens.ne(padding)
            lengths += real.sum(1).tolist()
            for layer, weights in maps.items():
                rows.setdefault(layer, []).extend(_spread(weights, real))
    if not rows:
        return {}
    buckets = quantile_buckets(lengths)
    table = {f"encoder.{layer}": _by_bucket(values, lengths, buckets) for layer, values in sorted(rows.items())}
    return {"source_tokens": buckets, "layers": table}


def _spread(weights: torch.Tensor, real: torch.Tensor) -> list[tuple[float, float]]:
    """(entropy / log T, share of the last token) of each sentence of a batch."""
    weights = weights.float() * real[:, None, :]
    entropy = -(weights * weights.clamp_min(1e-12).log()).sum(-1)
    position = torch.arange(real.shape[1], device=real.device)
    last = (real * position).argmax(1)
    share = weights.gather(2, last[:, None, None].expand(-1, weights.shape[1], 1)).squeeze(2)
    count = real.sum(1)
    scale = count.clamp_min(2).log()
    return list(
        zip(
            ((entropy * real).sum(1) / count / scale).tolist(),
            ((share * real).sum(1) / count).tolist(),
            strict=True,
        )
    )


def quantile_buckets(lengths: list[int], count: int = LENGTH_BUCKETS) -> list[list[int]]:
    """[shortest, longest] of up to `count` buckets with about as many sentences each, from length 2 on."""
    ordered = sorted(length for length in lengths if length > 1)
    edges = sorted({ordered[math.ceil(len(ordered) * k / count) - 1] for k in range(1, count + 1)})
    return [[low, high] for low, high in zip([2, *(edge + 1 for edge in edges)], edges, strict=False)]


def _by_bucket(values: list[tuple[float, float]], lengths: list[int], buckets: list[list[int]]) -> dict:
    inside = [[v for v, n in zip(values, lengths, strict=True) if low <= n <= high] for low, high in buckets]
    return {
        name: [round(sum(v[index] for v in part) / len(part), 5) for part in inside]
        for index, name in enumerate(("entropy", "last_token"))
    }
