"""MUSE: self-attention and convolution side by side on one projection, mixed by one output projection.

Paper: Zhao, Sun, Xu, Zhang, Luo, "MUSE: Parallel Multi-Scale Attention for Sequence to Sequence Learning",
https://arxiv.org/abs/1911.09483

    [q, k, v] = W_in u + b_in,  u = Dropout(x)
    a = softmax(q k' / sqrt(d) + mask) v
    c_K[t] = sum_j softmax_j(P_K v[t])_j  v[t + j - p],   p = K // 2 centred, K - 1 causal, zeros outside
    y = W_o [a ; sum_K softmax(theta)_K c_K] + b_o        (combine = gate)
    y = W_o [a ; c_K1 ; c_K2 ; ...] + b_o                 (combine = concat)

The heads are those of the attention: one kernel a head. The feed-forward branch of the paper stays outside.
Departures from the released code: padded positions are zeroed before the convolution unless `mask_padding=False` (the
release lets them leak by default); DropConnect reads `weight_dropout` (the release ignores its flag). Not in the
release, so choices of ours:
- `projection="separate"`: the convolution reads W_c u + b_c instead of v; `projection="attention"`: it reads a, so that
  it comes after attention, and W_o still sees both;
- `kind="depthwise"`: the same convolution with learnt, input-independent logits (heads x K), so that only the
  dependence on v is removed; `kind="standard"`: a full d x d x K convolution without bias.
Initialisation: W_in and P_K PyTorch's default, W_o Kaiming-uniform (a=1) as in the release, biases 0.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from plugins.operators.checks import require, require_choice, require_heads, require_mask, require_rate, require_tbc
from plugins.operators.dynamic_conv import tap_convolution, tap_convolution_reference


def reach_left(kernel: int, causal: bool) -> int:
    """Taps that stand before the current position."""
    return kernel - 1 if causal else kernel // 2


class MuseAttention(nn.Module):
    """Attention and convolution branch on T x N x C (fast form).

    Args:
        embed_dim: C.
        num_heads: H, divides C.
        kernels: kernel sizes of the convolution; [] leaves plain attention. Centred ones must be odd.
        causal: position t sees positions up to t only, in both parts.
        projection: what the convolution reads, "shared" (v), "separate" (a map of its own) or "attention" (a).
        kind: "dynamic", "depthwise" or "standard" convolution.
        combine: "gate" (learnt scalar weights, `gate` before the softmax) or "concat".
        dropout: on attention probabilities. weight_dropout: DropConnect on tap weights. input_dropout: on x.
        mask_padding: zero padded positions before the convolution.
    Raises: ValueError naming argument, value and rule.
    """

    def __init__(
        self,
        embed_dim: int,
        num_heads: int,
        kernels: list[int] | tuple[int, ...] = (3, 15),
        causal: bool = False,
        projection: str = "shared",
        kind: str = "dynamic",
        combine: str = "gate",
        dropout: float = 0.0,
        weight_dropout: float = 0.1,
        input_dropout: float = 0.0,
        mask_padding: bool = True,
    ) -> None:
        super().__init__()
        require_heads("embed_dim", embed_dim, num_heads)
        for kernel in kernels:
            require(
                kernel >= 1 and (causal or kernel % 2 == 1),
                "kernels",
                list(kernels),
                "each at least 1, and odd unless causal",
            )
        require_choice("projection", projection, ("shared", "separate", "attention"))
        require_choice("kind", kind, ("dynamic", "depthwise", "standard"))
        require_choice("combine", combine, ("gate", "concat"))
        for name, rate in (("dropout", dropout), ("weight_dropout", weight_dropout), ("input_dropout", input_dropout)):
            require_rate(name, rate)
        self.embed_dim, self.num_heads, self.kernels, self.causal = embed_dim, num_heads, list(kernels), causal
        self.projection, self.kind, self.combine = projection, kind, combine
        self.dropout, self.weight_dropout, self.input_dropout = dropout, weight_dropout, input_dropout
        self.mask_padding = mask_padding
        self.head_dim = embed_dim // num_heads
        self.in_proj = nn.Linear(embed_dim, 3 * embed_dim)
        if kernels and projection == "separate":
            self.conv_proj = nn.Linear(embed_dim, embed_dim)
        if kernels and combine == "gate":
            self.gate = nn.Parameter(torch.empty(len(kernels)))
        if kind == "dynamic":
            self.dynamics = nn.ModuleList(nn.Linear(embed_dim, num_heads * k, bias=False) for k in kernels)
        elif kind == "depthwise":
            self.taps = nn.ParameterList(nn.Parameter(torch.empty(num_heads, k)) for k in kernels)
        else:
            self.convolutions = nn.ModuleList(nn.Conv1d(embed_dim, embed_dim, k, bias=False) for k in kernels)
        branches = 1 + (len(kernels) if combine == "concat" else min(len(kernels), 1))
        self.out_proj = nn.Linear(branches * embed_dim, embed_dim)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        nn.init.kaiming_uniform_(self.out_proj.weight, a=1)
        for module in (self.in_proj, self.out_proj, getattr(self, "conv_proj", None)):
            if module is not None:
                nn.init.zeros_(module.bias)
        for taps in getattr(self, "taps", ()):
            nn.init.xavier_uniform_(taps)
        if hasattr(self, "gate"):
            nn.init.constant_(self.gate, 1 / len(self.kernels))

    def gate_weights(self) -> Tensor:
        """Weight of each kernel after the softmax, for logging."""
        return self.gate.softmax(0)

    def forward(
        self,
        x: Tensor,
        key_padding_mask: Tensor | None = None,
        incremental_state: dict | None = None,
        need_weights: bool = False,
    ) -> tuple[Tensor, Tensor | None]:
        """
        Args:
            x: T x N x C; with `incremental_state`, the new positions only.
            key_padding_mask: N x T bool, True where padded.
            incremental_state: a dict that the module fills with its cache; only if causal.
            need_weights: also return attention probabilities averaged over heads, N x T x S.
        Returns: (T x N x C, weights or None).
        """
        parts, weights = self.branches(x, key_padding_mask, incremental_state, need_weights)
        return self.out_proj(torch.cat(parts, -1)), weights

    def branches(
        self,
        x: Tensor,
        key_padding_mask: Tensor | None = None,
        incremental_state: dict | None = None,
        need_weights: bool = False,
        projected: Tensor | None = None,
    ) -> tuple[list[Tensor], Tensor | None]:
        """What the output projection reads, [a, c ...], and the weights. `projected`: W_in u + b_in if at hand."""
        q, k, v, c, mask = self.project(x, key_padding_mask, incremental_state, projected)
        a, weights = self.attend(q, k, v, mask, need_weights)
        if self.kernels and self.projection == "attention":
            c = self.attended(a, key_padding_mask, incremental_state)
        return [a, *(self.convolve(c, x.shape[0]) if self.kernels else [])], weights

    def project(
        self,
        x: Tensor,
        key_padding_mask: Tensor | None,
        incremental_state: dict | None,
        projected: Tensor | None = None,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor | None, Tensor | None]:
        """Heads q, k, v (N x H x T x d), convolution input (S x N x C, history first) and key mask (N x S)."""
        require_tbc("x", x, self.embed_dim)
        require_mask("key_padding_mask", key_padding_mask, (x.shape[1], x.shape[0]))
        u = F.dropout(x, self.input_dropout, self.training)
        q, k, v = (self.in_proj(u) if projected is None else projected).chunk(3, -1)
        c = None
        if self.kernels and self.projection != "attention":
            c = self.without_padding(self.conv_proj(u) if self.projection == "separate" else v, key_padding_mask)
        if incremental_state is not None:
            require(
                self.causal, "incremental_state", "dict", "needs causal=True: later positions would change earlier ones"
            )
            k, v, c, key_padding_mask = self.extend_cache(incremental_state, k, v, c, key_padding_mask)
        q, k, v = (t.unflatten(-1, (self.num_heads, self.head_dim)).permute(1, 2, 0, 3) for t in (q, k, v))
        return q, k, v, c, key_padding_mask

    def without_padding(self, c: Tensor, mask: Tensor | None) -> Tensor:
        """c (T x N x C) with padded positions zeroed, unless padding may leak."""
        return c if mask is None or not self.mask_padding else c.masked_fill(mask.t().unsqueeze(-1), 0)

    def attended(self, a: Tensor, mask: Tensor | None, state: dict | None) -> Tensor:
        """What a convolution after attention reads: the attention's outputs (S x N x C, history first)."""
        c = self.without_padding(a, mask)
        if state is not None:
            key = f"{self.state_key}.attended"
            if key in state:
                c = torch.cat((state[key]["conv"], c))
            state[key] = {"conv": c}
        return c

    def extend_cache(
        self, state: dict, k: Tensor, v: Tensor, c: Tensor | None, mask: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor | None, Tensor | None]:
        """Append the new positions to what earlier calls left in ``state``; all positions seen so far come back."""
        new = {"key": k, "value": v}
        if c is not None:
            new["conv"] = c
        old = state.get(self.state_key, {})
        if mask is not None or "mask" in old:
            # Before the first mask, nothing was padded.
            new["mask"] = (mask if mask is not None else k.new_zeros(k.shape[:2], dtype=torch.bool).t()).t()
            if old and "mask" not in old:
                old = {**old, "mask": k.new_zeros(old["key"].shape[:2], dtype=torch.bool)}
        if old:
            new = {name: torch.cat((old[name], tensor)) for name, tensor in new.items()}
        state[self.state_key] = new
        mask = new["mask"].t() if "mask" in new else None
        return new["key"], new["value"], new.get("conv"), mask

    @property
    def state_key(self) -> str:
        return f"MuseAttention.{id(self)}"

    def reorder_incremental_state(self, incremental_state: dict, new_order: Tensor) -> None:
        """Keep the hypotheses ``new_order`` (indices into the batch) of the cache, as beam search asks."""
        for key in (self.state_key, f"{self.state_key}.attended"):
            if key in incremental_state:
                cache = incremental_state[key]
                incremental_state[key] = {name: t.index_select(1, new_order) for name, t in cache.items()}

    def attend(
        self, q: Tensor, k: Tensor, v: Tensor, padding: Tensor | None, need_weights: bool
    ) -> tuple[Tensor, Tensor | None]:
        """Scaled dot-product attention, heads joined: T x N x C."""
        length, total = q.shape[2], k.shape[2]
        alone = self.causal and padding is None and length == total and not need_weights
        allowed = None if alone else self.allowed(length, total, padding, q.device)
        weights = None
        if need_weights:
            logits = (q * self.head_dim**-0.5) @ k.transpose(2, 3)
            if allowed is not None:
                logits = logits.masked_fill(~allowed, -math.inf)
            probabilities = logits.softmax(-1)
            weights = probabilities.mean(1)
            a = F.dropout(probabilities, self.dropout, self.training) @ v
        else:
            rate = self.dropout if self.training else 0.0
            a = F.scaled_dot_product_attention(q, k, v, attn_mask=allowed, dropout_p=rate, is_causal=alone)
        return a.permute(2, 0, 1, 3).flatten(2), weights

    def allowed(self, length: int, total: int, padding: Tensor | None, device: torch.device) -> Tensor | None:
        """Which keys a query may read, broadcastable to N x H x length x total, or None for all."""
        allowed = None
        if self.causal and length > 1:
            allowed = torch.ones(length, total, dtype=torch.bool, device=device).tril(total - length)
        if padding is not None:
            real = ~padding[:, None, None, :]
            allowed = real if allowed is None else allowed & real
        return allowed

    def convolve(self, c: Tensor, length: int) -> list[Tensor]:
        """Convolution outputs at the last ``length`` positions of c, one tensor a branch of the output projection."""
        if self.kind == "standard":
            outputs = [self.standard(c, conv.weight, length) for conv in self.convolutions]
            if self.combine == "concat":
                return outputs
            return [sum(g * y for g, y in zip(self.gate_weights(), outputs, strict=True))]
        weights = self.tap_weights(c[-length:])
        if self.combine == "concat":
            return [
                tap_convolution(c, w, reach_left(k, self.causal)) for w, k in zip(weights, self.kernels, strict=True)
            ]
        # The kernels are linear in c: adding their taps first leaves a single convolution of the widest one.
        widest = max(self.kernels)
        left = reach_left(widest, self.causal)
        mixed = 0
        for g, w, k in zip(self.gate_weights(), weights, self.kernels, strict=True):
            before = left - reach_left(k, self.causal)
            mixed = mixed + F.pad(g * w, (before, widest - k - before))
        return [tap_convolution(c, mixed, left)]

    def tap_weights(self, c: Tensor) -> list[Tensor]:
        """Softmaxed taps of each kernel, T x N x H x K."""
        if self.kind == "dynamic":
            logits = F.linear(c, torch.cat([layer.weight for layer in self.dynamics]))
            logits = [
                x.unflatten(-1, (self.num_heads, -1)) for x in logits.split([len(p.weight) for p in self.dynamics], -1)
            ]
        else:
            logits = list(self.taps)
        weights = [F.dropout(x.softmax(-1), self.weight_dropout, self.training) for x in logits]
        return [w.expand(*c.shape[:2], -1, -1) for w in weights]

    def standard(self, c: Tensor, weight: Tensor, length: int) -> Tensor:
        """Full convolution at the last ``length`` positions of c; weight is C x C x K."""
        kernel = weight.shape[2]
        left = reach_left(kernel, self.causal)
        history = c.shape[0] - length
        c = F.pad(c, (0, 0, 0, 0, max(left - history, 0), kernel - 1 - left))[max(history - left, 0) :]
        return F.conv1d(c.permute(1, 2, 0), weight).permute(2, 0, 1)

    def macs(self, x: Tensor, *unused: object, **unused_options: object) -> int:
        """Multiply-adds of the forward on T x N x C, whole batch, full T x T maps; softmax and additions left out."""
        length, batch, c = x.shape
        per_position = 3 * c * c + 2 * length * c + self.out_proj.in_features * c
        if self.kernels and self.projection == "separate":
            per_position += c * c
        taps = sum(self.kernels)
        if self.kind == "dynamic":
            per_position += taps * (c * self.num_heads + c)
        else:
            per_position += taps * c * (c if self.kind == "standard" else 1)
        return length * batch * per_position


def muse_attention_reference(module: MuseAttention, x: Tensor, key_padding_mask: Tensor | None = None) -> Tensor:
    """The equations of the file's head, term by term. Same result as ``module(x, key_padding_mask)[0]``."""
    q, k, v, c, _ = module.project(x, key_padding_mask, None)
    length = x.shape[0]
    logits = torch.einsum("nhtd,nhsd->nhts", q, k) / math.sqrt(module.head_dim)
    if module.causal:
        logits = logits.masked_fill(torch.ones(length, length, dtype=torch.bool, device=x.device).triu(1), -math.inf)
    if key_padding_mask is not None:
        logits = logits.masked_fill(key_padding_mask[:, None, None, :], -math.inf)
    a = F.dropout(logits.softmax(-1), module.dropout, module.training) @ v
    parts = [a.permute(2, 0, 1, 3).flatten(2)]
    if module.kernels:
        if module.projection == "attention":
            c = module.without_padding(parts[0], key_padding_mask)
        if module.kind == "standard":
            convolved = [module.standard(c, conv.weight, length) for conv in module.convolutions]
        else:
            convolved = [
                tap_convolution_reference(c, w, reach_left(kernel, module.causal))
                for w, kernel in zip(module.tap_weights(c), module.kernels, strict=True)
            ]
        if module.combine == "gate":
            convolved = [sum(g * y for g, y in zip(module.gate_weights(), convolved, strict=True))]
        parts += convolved
    return module.out_proj(torch.cat(parts, -1))
