"""Generalized attention on sequences: any sum of the factors E1..E4, for self- and encoder-decoder attention.

Paper: Zhu, Cheng, Zhang, Lin, Dai, "An Empirical Study of Spatial Attention Mechanisms in Deep Networks",
https://arxiv.org/abs/1904.05873

    y_t = W_o concat_m sum_s A_m(t, s) W'_m x_s + b_o
    A_m(t, .) = softmax over s of (b1 E1 + b2 E2 + b3 E3 + b4 E4) / sqrt(d)
    E1 = q . k    E2 = q . r(t - s)    E3 = u . k    E4 = v . r(t - s)    r(o) = F c(o)
    c(o) = [sin(o w_i), cos(o w_i)],  w_i = 1000^(-2i/P), i = 0 .. P/2 - 1

The paper's form for translation could not be read. What is chosen here:
- the code of the 2-D module on one axis: all P = C features, and no 1/sqrt(2), since there is one axis;
- offsets are target position minus source position in encoder-decoder attention, as between positions of one sequence;
  source positions are counted without padding, so that what a batch pads on the left moves no offset;
- logits are divided by sqrt(d) (the vision module does not), so that 1000 is the attention of the Transformer;
- `spatial_range` limits self-attention to a window as the 2-D module does; a padded query then reads itself at least;
- no bias on q, k and v: a bias of q would be an E3 (against k) or an E4 (against r) in disguise, even where those
  are off.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from plugins.operators.checks import require, require_heads, require_mask, require_rate, require_tbc
from plugins.operators.generalized_attention import axis_code, require_terms


class GeneralizedAttention1d(nn.Module):
    """Generalized attention on T x N x C, without residual or norm (fast form).

    Args:
        embed_dim: C, even where there is a position term.
        terms: four characters 0 or 1, which of E1..E4 are summed. 0000 is uniform attention.
        heads: M, divides C.
        causal: position t reads positions up to t only (self-attention of a decoder).
        dropout: on attention probabilities.
        spatial_range: R, positions further than R from the query are not read (self-attention only); -1 for no limit.
    Raises: ValueError naming argument, value and rule.
    """

    def __init__(
        self,
        embed_dim: int,
        terms: str = "1111",
        heads: int = 8,
        causal: bool = False,
        dropout: float = 0.0,
        spatial_range: int = -1,
    ) -> None:
        super().__init__()
        require_terms(terms)
        require_heads("embed_dim", embed_dim, heads)
        require_rate("dropout", dropout)
        require(spatial_range >= -1, "spatial_range", spatial_range, "must be -1 (no limit) or at least 0")
        self.embed_dim, self.terms, self.heads, self.causal, self.dropout = embed_dim, terms, heads, causal, dropout
        self.spatial_range, self.head_dim = spatial_range, embed_dim // heads
        self.e1, self.e2, self.e3, self.e4 = (bit == "1" for bit in terms)
        if self.e1 or self.e2:
            self.q_proj = nn.Linear(embed_dim, embed_dim, bias=False)
        if self.e1 or self.e3:
            self.k_proj = nn.Linear(embed_dim, embed_dim, bias=False)
        self.v_proj = nn.Linear(embed_dim, embed_dim, bias=False)
        if self.e2 or self.e4:
            require(embed_dim % 2 == 0, "embed_dim", embed_dim, "must be even where E2 or E4 is on (sine and cosine)")
            self.r_proj = nn.Linear(embed_dim, embed_dim, bias=False)
        if self.e3:
            self.key_bias = nn.Parameter(torch.empty(heads, self.head_dim))
        if self.e4:
            self.position_bias = nn.Parameter(torch.empty(heads, self.head_dim))
        self.out_proj = nn.Linear(embed_dim, embed_dim)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Xavier-uniform projections as in fairseq (q, k, v, r narrower by sqrt(2)); u and v as in the 2-D module."""
        for name, module in self.named_children():
            nn.init.xavier_uniform_(module.weight, gain=1 if name == "out_proj" else 1 / math.sqrt(2))
        nn.init.zeros_(self.out_proj.bias)
        bound = 1 / math.sqrt(2 * self.head_dim)
        for name in ("key_bias", "position_bias"):
            if hasattr(self, name):
                nn.init.uniform_(getattr(self, name), -bound, bound)

    def forward(
        self,
        x: Tensor,
        memory: Tensor | None = None,
        key_padding_mask: Tensor | None = None,
        incremental_state: dict | None = None,
        need_weights: bool = False,
    ) -> tuple[Tensor, Tensor | None]:
        """
        Args:
            x: T x N x C queries; with `incremental_state`, the new positions only.
            memory: S x N x C, what is attended to (encoder output); x itself if not given.
            key_padding_mask: N x S bool, True where padded. In incremental self-attention, of the new positions.
            incremental_state: a dict that the module fills with its cache: keys and values so far (self-attention,
                causal only), or those of `memory` and the number of positions done (encoder-decoder attention).
            need_weights: also return probabilities averaged over heads, N x T x S.
        Returns: (T x N x C, weights or None).
        """
        require_tbc("x", x, self.embed_dim)
        source = x if memory is None else memory
        require_tbc("memory", source, self.embed_dim)
        require_mask("key_padding_mask", key_padding_mask, (source.shape[1], source.shape[0]))
        self.check_range(memory)
        first = 0
        if incremental_state is None:
            k, v = self.keys_values(source)
        elif memory is None:
            require(self.causal, "incremental_state", "dict", "self-attention needs causal=True to decode step by step")
            k, v, key_padding_mask = self.extend_cache(incremental_state, x, key_padding_mask)
            first = v.shape[0] - x.shape[0]
        else:
            k, v, first = self.memory_cache(incremental_state, memory, x.shape[0])
        q = self.split(self.q_proj(x)) if self.e1 or self.e2 else None
        positions = None if memory is None else key_positions(key_padding_mask)
        logits = self.logits(q, None if k is None else self.split(k), first, x.shape[0], v.shape[0], positions)
        allowed = self.allowed(first, x.shape[0], v.shape[0], memory is None, key_padding_mask)
        y, weights = self.mix(logits, allowed, self.split(v), x.shape[0], need_weights)
        return self.out_proj(y), weights

    def check_range(self, memory: Tensor | None) -> None:
        limited = self.spatial_range >= 0 and memory is not None
        require(not limited, "spatial_range", self.spatial_range, "must be -1 where another sequence is attended to")

    def split(self, x: Tensor) -> Tensor:
        """T x N x C to N x M x T x d."""
        return x.unflatten(-1, (self.heads, self.head_dim)).permute(1, 2, 0, 3)

    def keys_values(self, source: Tensor) -> tuple[Tensor | None, Tensor]:
        return (self.k_proj(source) if self.e1 or self.e3 else None), self.v_proj(source)

    def extend_cache(self, state: dict, x: Tensor, mask: Tensor | None) -> tuple[Tensor | None, Tensor, Tensor | None]:
        """Keys, values (S x N x C) and key mask (N x S) of all positions so far."""
        k, v = self.keys_values(x)
        padded = x.new_zeros(x.shape[:2], dtype=torch.bool) if mask is None else mask.t()
        new = {"value": v, "padded": padded} | ({} if k is None else {"key": k})
        if self.state_key in state:
            old = state[self.state_key]
            new = {name: torch.cat((old[name], tensor)) for name, tensor in new.items()}
        state[self.state_key] = new
        return new.get("key"), new["value"], new["padded"].t()

    def memory_cache(self, state: dict, memory: Tensor, steps: int) -> tuple[Tensor | None, Tensor, int]:
        """Keys and values of the memory, projected once, and the index of the first new target position."""
        cache = state.get(self.state_key)
        if cache is None:
            k, v = self.keys_values(memory)
            cache = {"value": v, "done": torch.zeros(1, v.shape[1], dtype=torch.long)} | (
                {} if k is None else {"key": k}
            )
        first = int(cache["done"][0, 0])
        state[self.state_key] = cache | {"done": cache["done"] + steps}
        return cache.get("key"), cache["value"], first

    @property
    def state_key(self) -> str:
        return f"GeneralizedAttention1d.{id(self)}"

    def reorder_incremental_state(self, incremental_state: dict, new_order: Tensor) -> None:
        """Keep the hypotheses ``new_order`` (indices into the batch) of the cache, as beam search asks."""
        if self.state_key in incremental_state:
            cache = incremental_state[self.state_key]
            incremental_state[self.state_key] = {
                name: t.index_select(1, new_order.to(t.device)) for name, t in cache.items()
            }

    def logits(
        self, q: Tensor | None, k: Tensor | None, first: int, length: int, total: int, positions: Tensor | None
    ) -> Tensor:
        """Sum of the terms that are on, broadcastable to N x M x T x S; keys only where no term reads the query.

        positions: N x S, those of the keys where they are not their indices.
        """
        scale = self.head_dim**-0.5
        u = self.key_bias[:, None] if self.e3 else 0
        v = self.position_bias[:, None] if self.e4 else 0
        logits = self.v_proj.weight.new_zeros(1, 1, 1, total)
        if self.e1:
            logits = (q + u) * scale @ k.transpose(2, 3)
        elif self.e3:
            logits = u * scale @ k.transpose(2, 3)
        if self.e2 or self.e4:
            content = (q + v if self.e2 else v.unsqueeze(0)) * scale
            by_position = self.position_logits(content, first, length, total)
            if positions is not None:
                index = positions[:, None, None].expand(-1, self.heads, length, -1)
                by_position = by_position.expand(len(positions), -1, -1, -1).gather(3, index)
            logits = logits + by_position
        return logits

    def position_logits(self, content: Tensor, first: int, length: int, total: int) -> Tensor:
        """content . r(t - s), t = first .. first + length - 1: a product with the distinct offsets, a shift by row."""
        offsets = torch.arange(first + length - 1, first - total, -1, device=content.device)
        code = axis_code(offsets, self.embed_dim).to(self.r_proj.weight.dtype)
        r = self.r_proj(code).unflatten(-1, (self.heads, self.head_dim)).permute(1, 2, 0)
        table = content @ r
        if table.shape[2] == 1 and length > 1:
            table = table.expand(-1, -1, length, -1)
        # Row t wants columns length - 1 - t .. + total - 1 of the table: padding rows to one more column and reading
        # the memory one column later in each row shifts them into place.
        width = length + total - 1
        shifted = F.pad(table, (1, 0)).flatten(2)[..., length:].unflatten(2, (length, width))
        return shifted[..., :total]

    def allowed(self, first: int, length: int, total: int, own: bool, padding: Tensor | None) -> Tensor | None:
        """Which keys a query may read, broadcastable to N x M x T x S, or None for all."""
        allowed = None
        if self.causal and own and length > 1:
            device = self.v_proj.weight.device
            allowed = torch.ones(length, total, dtype=torch.bool, device=device).tril(first)
        if padding is not None:
            real = ~padding[:, None, None, :]
            allowed = real if allowed is None else allowed & real
        if self.spatial_range >= 0:
            offset = self.offsets(first, length, total)
            near = offset.abs() <= self.spatial_range
            # A padded query may have padded positions alone in reach: it reads itself, so that no row is empty.
            allowed = near if allowed is None else (allowed & near) | (offset == 0)
        return allowed

    def offsets(self, first: int, length: int, total: int) -> Tensor:
        """t - s of every pair, T x S."""
        device = self.v_proj.weight.device
        query = torch.arange(first, first + length, device=device)
        return query[:, None] - torch.arange(total, device=device)

    def mix(
        self, logits: Tensor, allowed: Tensor | None, v: Tensor, length: int, need_weights: bool
    ) -> tuple[Tensor, Tensor | None]:
        """Softmax over keys and average of values, T x N x C. Where logits have one row, one map serves all queries."""
        if allowed is not None:
            logits = logits.masked_fill(~allowed, -math.inf)
        probabilities = logits.softmax(-1)
        weights = None
        if need_weights:
            weights = probabilities.mean(1).expand(v.shape[0], length, -1)
        probabilities = F.dropout(probabilities, self.dropout, self.training)
        y = (probabilities @ v).expand(-1, -1, length, -1)
        return y.permute(2, 0, 1, 3).flatten(2), weights

    def macs(self, x: Tensor, memory: Tensor | None = None, *unused: object, **unused_options: object) -> int:
        """Multiply-adds of the forward, whole batch, of all pairs within `spatial_range` (not only the causal ones);
        softmax and additions left out."""
        length, batch, c = x.shape
        total = length if memory is None else memory.shape[0]
        shared = self.terms in ("0010", "0000") and not (self.causal and memory is None)
        pairs = length * total
        if self.spatial_range >= 0:
            reach = self.spatial_range
            pairs = sum(max(0, min(total - 1, t + reach) - max(0, t - reach) + 1) for t in range(length))
            shared = False
        count = total * c * c + length * c * c + (total if shared else pairs) * c
        if self.e1 or self.e2:
            count += length * c * c
        if self.e1 or self.e3:
            count += total * c * c
        if self.e1:
            count += pairs * c
        elif self.e3:
            count += total * c
        if self.e2:
            count += pairs * c
        elif self.e4:
            count += (length + total - 1) * c
        position = (length + total - 1) * c * c if self.e2 or self.e4 else 0
        return batch * count + position


def key_positions(padding: Tensor | None) -> Tensor | None:
    """Place of each key among the real keys of its sentence, N x S, from `padding` (N x S, True where padded).

    None where the index is the place, because nothing stands before the first real key. Of padded keys, any place.
    """
    if padding is None or not padding[:, 0].any():
        return None
    return ((~padding).cumsum(1) - 1).clamp_min(0)


def generalized_attention_1d_reference(
    module: GeneralizedAttention1d, x: Tensor, memory: Tensor | None = None, key_padding_mask: Tensor | None = None
) -> Tensor:
    """The equation of the file's head with r for every pair of positions. Same result as ``module(...)[0]``."""
    source = x if memory is None else memory
    length, total = x.shape[0], source.shape[0]
    k, value = module.keys_values(source)
    value = module.split(value)
    logits = value.new_zeros(*value.shape[:2], length, total)
    if module.e1 or module.e2:
        q = module.split(module.q_proj(x))
    if module.e1 or module.e3:
        k = module.split(k)
    if module.e2 or module.e4:
        source_position = torch.arange(total, device=x.device)[None]
        if memory is not None and key_padding_mask is not None:
            source_position = (~key_padding_mask).cumsum(1) - 1
        offsets = torch.arange(length, device=x.device)[:, None] - source_position[:, None]  # 1 or N x T x S
        r = module.r_proj(axis_code(offsets, module.embed_dim).to(value.dtype))
        r = r.unflatten(-1, (module.heads, module.head_dim))
    if module.e1:
        logits = logits + torch.einsum("nmtd,nmsd->nmts", q, k)
    if module.e2:
        logits = logits + torch.einsum("nmtd,ntsmd->nmts", q, r.expand(len(q), -1, -1, -1, -1))
    if module.e3:
        logits = logits + torch.einsum("md,nmsd->nms", module.key_bias, k).unsqueeze(2)
    if module.e4:
        logits = logits + torch.einsum("md,ntsmd->nmts", module.position_bias, r)
    logits = logits / math.sqrt(module.head_dim)
    offset = module.offsets(0, length, total)
    allowed = torch.ones(1, 1, length, total, dtype=torch.bool, device=x.device)
    if module.causal and memory is None:
        allowed = offset >= 0
    if key_padding_mask is not None:
        allowed = allowed & ~key_padding_mask[:, None, None, :]
    if module.spatial_range >= 0:
        allowed = (allowed & (offset.abs() <= module.spatial_range)) | (offset == 0)
    logits = logits.masked_fill(~allowed, -math.inf)
    y = F.dropout(logits.softmax(-1), module.dropout, module.training) @ value
    return module.out_proj(y.permute(2, 0, 1, 3).flatten(2))
