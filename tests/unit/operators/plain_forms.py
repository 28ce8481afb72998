"""The official modules by the formulas of their papers alone: for fixtures that no installed package can record.

Each function takes the official constructor, the parameters under their official names, and the inputs, and returns the
output (or a dict of outputs). Loops run over queries and keys; nothing is shared with the operators under test. Where
the released code departs from its paper, the function follows the conventions that the recorded fixtures document.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

Parameters = dict[str, Tensor]


def pointwise(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """1x1 convolution of N x C x H x W."""
    y = torch.einsum("oc,nchw->nohw", weight.flatten(1), x)
    return y if bias is None else y + bias[:, None, None]


def linear(x: Tensor, p: Parameters, name: str) -> Tensor:
    y = torch.einsum("oc,...c->...o", p[f"{name}.weight"], x)
    return y + p[f"{name}.bias"] if f"{name}.bias" in p else y


def layer_norm(x: Tensor, p: Parameters, name: str) -> Tensor:
    centred = x - x.mean(-1, keepdim=True)
    scaled = centred / (centred.square().mean(-1, keepdim=True) + 1e-5).sqrt()
    return scaled * p[f"{name}.weight"] + p[f"{name}.bias"]


def batch_norm(x: Tensor, p: Parameters, name: str, training: bool) -> Tensor:
    mean, variance = p[f"{name}.running_mean"], p[f"{name}.running_var"]
    if training:
        mean = x.mean((0, 2, 3))
        variance = (x - mean[:, None, None]).square().mean((0, 2, 3))
    scale = p[f"{name}.weight"] / (variance + 1e-5).sqrt()
    return (x - mean[:, None, None]) * scale[:, None, None] + p[f"{name}.bias"][:, None, None]


def within(p: Parameters, name: str) -> Parameters:
    """The parameters of a part, under the part's own names."""
    return {key.removeprefix(f"{name}."): t for key, t in p.items() if key.startswith(f"{name}.")}


def zeros_outside(x: Tensor, y: int, z: int) -> Tensor:
    """x[..., y, z] of a map, 0 outside."""
    inside = 0 <= y < x.shape[-2] and 0 <= z < x.shape[-1]
    return x[..., y, z] if inside else torch.zeros_like(x[..., 0, 0])


def mirrored(i: int, length: int) -> int:
    """A place reflected into 0 .. length - 1, the border itself not repeated."""
    return -i if i < 0 else 2 * length - 2 - i if i >= length else i


# ACmix


def shifted_convolution(maps: list[Tensor], fc: Tensor, bias: Tensor | None, kernels: Tensor, stride: int) -> Tensor:
    """FC and group convolution of the 3N maps of N x d x H x W: channel c, copy j at c * copies + j."""
    mixed = torch.einsum("tm,mncyx->nctyx", fc.flatten(1), torch.stack(maps))
    if bias is not None:
        mixed = mixed + bias[:, None, None]
    depth, (height, width) = mixed.shape[1], mixed.shape[3:]
    kernels = kernels.unflatten(0, (depth, -1))  # d x copies x taps x 3 x 3
    rows = []
    for y in range(0, height, stride):
        row = []
        for z in range(0, width, stride):
            near = torch.stack([zeros_outside(mixed, y + a, z + b) for a in (-1, 0, 1) for b in (-1, 0, 1)], dim=-1)
            row.append(torch.einsum("cjts,ncts->ncj", kernels.flatten(3), near).flatten(1))
        rows.append(torch.stack(row, dim=-1))
    return torch.stack(rows, dim=-2)


def acmix(constructor: dict, p: Parameters, x: Tensor) -> Tensor:
    """rate1 * attention over reflected windows + rate2 * convolution of the same projections."""
    heads, stride = constructor.get("head", 4), constructor.get("stride", 1)
    reach = constructor.get("kernel_att", 7) // 2
    height, width = x.shape[2:]
    # each a list of heads, N x d x H x W
    q, k, v = (pointwise(x, p[f"conv{i}.weight"], p[f"conv{i}.bias"]).chunk(heads, dim=1) for i in (1, 2, 3))
    across = torch.linspace(-1, 1, width, dtype=x.dtype).expand(height, width)
    down = torch.linspace(-1, 1, height, dtype=x.dtype)[:, None].expand(height, width)
    places = pointwise(torch.stack((across, down))[None], p["conv_p.weight"], p["conv_p.bias"])
    attended = []
    for one_q, one_k, one_v in zip(q, k, v, strict=True):
        rows = []
        for y in range(0, height, stride):
            row = []
            for z in range(0, width, stride):
                window = [
                    (mirrored(y + a, height), mirrored(z + b, width))
                    for a in range(-reach, reach + 1)
                    for b in range(-reach, reach + 1)
                ]
                logits = torch.stack(
                    [
                        (one_q[..., y, z] * (one_k[..., s, t] + places[..., y, z] - places[..., s, t])).sum(1)
                        for s, t in window
                    ],
                    dim=1,
                )
                weights = (logits / math.sqrt(one_q.shape[1])).softmax(dim=1)
                values = torch.stack([one_v[..., s, t] for s, t in window], dim=1)
                row.append((weights[..., None] * values).sum(1))
            rows.append(torch.stack(row, dim=-1))
        attended.append(torch.stack(rows, dim=-2))
    convolved = shifted_convolution([*q, *k, *v], p["fc.weight"], None, p["dep_conv.weight"], stride)
    return p["rate1"] * torch.cat(attended, dim=1) + p["rate2"] * convolved


def bottleneck(constructor: dict, p: Parameters, x: Tensor, training: bool = False) -> Tensor:
    """1x1, ACmix, 1x1, each with a norm; the shortcut is strided and projected where the record has a projection."""
    stride = constructor.get("stride", 1)
    width = len(p["conv1.weight"])
    y = batch_norm(pointwise(x, p["conv1.weight"]), p, "bn1", training).relu()
    inner = {"out_planes": width, "head": constructor["head"], "kernel_att": constructor["k_att"], "stride": stride}
    y = batch_norm(acmix(inner, within(p, "conv2"), y), p, "bn2", training).relu()
    y = batch_norm(pointwise(y, p["conv3.weight"]), p, "bn3", training)
    if "downsample.0.weight" in p:
        x = batch_norm(pointwise(x[..., ::stride, ::stride], p["downsample.0.weight"]), p, "downsample.1", training)
    return (x + y).relu()


def window_attention_acmix(constructor: dict, p: Parameters, x: Tensor, mask: Tensor | None = None) -> Tensor:
    """rate1 * W_o attention inside windows + rate2 * convolution over the map; N x H x W x C."""
    heads, side = constructor["num_heads"], constructor["window_size"][0]
    depth = constructor["dim"] // heads
    scale = constructor.get("qk_scale") or 1 / math.sqrt(depth)
    projected = linear(x, p, "qkv").unflatten(3, (3, heads, depth))
    q, k, v = projected.unbind(3)  # N x H x W x heads x d
    table = p["relative_position_bias_table"]
    attended = torch.zeros_like(q)
    number = 0
    for top in range(0, x.shape[1], side):
        for left in range(0, x.shape[2], side):
            places = [(a, b) for a in range(side) for b in range(side)]
            for i, (a, b) in enumerate(places):
                logits = []
                for j, (c, d) in enumerate(places):
                    logit = scale * (q[:, top + a, left + b] * k[:, top + c, left + d]).sum(-1)
                    logit = logit + table[(a - c + side - 1) * (2 * side - 1) + b - d + side - 1]
                    logits.append(logit if mask is None else logit + mask[number, i, j])
                weights = torch.stack(logits, dim=-1).softmax(-1)  # N x heads x keys
                values = v[:, top : top + side, left : left + side].flatten(1, 2)
                attended[:, top + a, left + b] = torch.einsum("nhj,njhd->nhd", weights, values)
            number += 1
    maps = [t.permute(0, 3, 1, 2) for t in projected.flatten(3, 4).unbind(3)]
    convolved = shifted_convolution(maps, p["fc.weight"], p["fc.bias"], p["dep_conv.weight"], 1).permute(0, 2, 3, 1)
    return p["rate1"] * linear(attended.flatten(3), p, "proj") + p["rate2"] * convolved


def swin_block(constructor: dict, p: Parameters, x: Tensor) -> Tensor:
    """Norm, ACmix in windows of the rolled map, norm, perceptron. Neighbours by the roll alone are hidden."""
    (height, width), side = constructor["input_resolution"], constructor.get("window_size", 7)
    shift = constructor.get("shift_size", 0)
    if min(height, width) <= side:
        side, shift = min(height, width), 0
    mask = None
    if shift:
        # Where a place of the rolled map came from, and by which copy of the map it was reached.
        def origin(i: int, length: int) -> tuple[int, int]:
            return (i + shift) % length, (i + shift) // length

        windows = []
        for top in range(0, height, side):
            for left in range(0, width, side):
                places = [(top + a, left + b) for a in range(side) for b in range(side)]
                copies = [(origin(a, height)[1], origin(b, width)[1]) for a, b in places]
                windows.append([[0.0 if one == other else -100.0 for other in copies] for one in copies])
        mask = torch.tensor(windows, dtype=x.dtype)
    y = layer_norm(x, p, "norm1").unflatten(1, (height, width))
    rows, columns = ([(i + shift) % n for i in range(n)] for n in (height, width))
    inner = {**constructor, "window_size": [side, side]}
    y = window_attention_acmix(inner, within(p, "attn"), y[:, rows][:, :, columns], mask)
    back_rows, back_columns = ([(i - shift) % n for i in range(n)] for n in (height, width))
    x = x + y[:, back_rows][:, :, back_columns].flatten(1, 2)
    hidden = linear(layer_norm(x, p, "norm2"), p, "mlp.fc1")
    hidden = hidden * 0.5 * (1 + torch.erf(hidden / math.sqrt(2)))
    return x + linear(hidden, p, "mlp.fc2")


# Generalized attention


def generalized_attention(constructor: dict, p: Parameters, x: Tensor) -> Tensor:
    """E1 .. E4 of every pair of a query and a key, by the paper's equations."""
    bits = [bit == "1" for bit in constructor["attention_type"]]
    heads, kv, qs = constructor["num_heads"], constructor.get("kv_stride", 2), constructor.get("q_stride", 1)
    reach, magnitude = constructor.get("spatial_range", -1), constructor.get("position_magnitude", 1)
    depth, (height, width) = constructor["in_channels"] // heads, x.shape[2:]
    code = constructor.get("position_embedding_dim", -1)
    code = constructor["in_channels"] if code < 0 else code

    def features(name: str) -> Tensor:
        return pointwise(x, p[f"{name}.weight"]).unflatten(1, (heads, depth))  # N x M x d x H x W

    def position(dx: float, dy: float) -> Tensor:
        def sinusoids(t: float) -> Tensor:
            angle = t * magnitude / 1000 ** (4 * torch.arange(code // 4, dtype=x.dtype) / code)
            return torch.cat((angle.sin(), angle.cos()))

        r = p["appr_geom_fc_x.weight"] @ sinusoids(dx) + p["appr_geom_fc_y.weight"] @ sinusoids(dy)
        return (r / math.sqrt(2)).unflatten(0, (heads, depth))

    query = features("query_conv") if bits[0] or bits[1] else None
    key = features("key_conv") if bits[0] or bits[2] else None
    value = features("value_conv")
    keys = [(s, t) for s in range(0, height, kv) for t in range(0, width, kv)]

    def sees(i: int, a: int) -> bool:
        return reach < 0 or math.floor((i - reach) / kv) <= a <= math.floor((i + reach + 1) / kv)

    rows = []
    for y in range(0, height, qs):
        row = []
        for z in range(0, width, qs):
            logits = []
            for s, t in keys:
                total = x.new_zeros(len(x), heads)
                if bits[0]:
                    total = total + (query[..., y, z] * key[..., s, t]).sum(-1)
                if bits[1]:
                    total = total + (query[..., y, z] * position(z - t, y - s)).sum(-1)
                if bits[2]:
                    total = total + (p["appr_bias"].view(heads, depth) * key[..., s, t]).sum(-1)
                if bits[3]:
                    total = total + (p["geom_bias"].view(heads, depth) * position(z - t, y - s)).sum(-1)
                visible = sees(y // qs, s // kv) and sees(z // qs, t // kv)
                logits.append(total if visible else torch.full_like(total, -math.inf))
            weights = torch.stack(logits, dim=-1).softmax(-1)
            values = torch.stack([value[..., s, t] for s, t in keys], dim=-1)
            row.append(torch.einsum("nmk,nmdk->nmd", weights, values).flatten(1))
        rows.append(torch.stack(row, dim=-1))
    branch = pointwise(torch.stack(rows, dim=-2), p["proj_conv.weight"], p["proj_conv.bias"])
    if qs > 1:
        branch = torch.nn.functional.interpolate(branch, (height, width), mode="bilinear", align_corners=False)
    return p["gamma"] * branch + x


# Attention augmented convolution


def convolution(x: Tensor, weight: Tensor, bias: Tensor, stride: int) -> Tensor:
    """k x k, zero padding k // 2."""
    reach = weight.shape[-1] // 2
    rows = []
    for y in range(0, x.shape[2], stride):
        row = []
        for z in range(0, x.shape[3], stride):
            near = [zeros_outside(x, y + a, z + b) for a in range(-reach, reach + 1) for b in range(-reach, reach + 1)]
            row.append(torch.einsum("ocs,ncs->no", weight.flatten(2), torch.stack(near, dim=-1)) + bias)
        rows.append(torch.stack(row, dim=-1))
    return torch.stack(rows, dim=-2)


def augmented_conv(constructor: dict, p: Parameters, x: Tensor) -> Tensor:
    """Concat[Conv(X), MHA(X)] with the paper's relative logits."""
    heads, dk, dv = (constructor[name] for name in ("Nh", "dk", "dv"))
    stride = constructor.get("stride", 1)
    q, k, v = convolution(x, p["qkv_conv.weight"], p["qkv_conv.bias"], stride).split((dk, dk, dv), dim=1)
    height, width = q.shape[2:]
    places = [(y, z) for y in range(height) for z in range(width)]
    outputs = []
    for one_q, one_k, one_v in zip(*(t.chunk(heads, dim=1) for t in (q, k, v)), strict=True):
        attended = torch.zeros_like(one_v)
        for y, z in places:
            logits = []
            for s, t in places:
                relative = one_k[..., s, t]
                if constructor["relative"]:
                    relative = relative + p["key_rel_w"][t - z + width - 1] + p["key_rel_h"][s - y + height - 1]
                logits.append((one_q[..., y, z] * relative).sum(1) / math.sqrt(dk // heads))
            weights = torch.stack(logits, dim=1).softmax(1)
            attended[..., y, z] = torch.einsum("nk,nck->nc", weights, one_v.flatten(2))
        outputs.append(attended)
    attended = pointwise(torch.cat(outputs, dim=1), p["attn_out.weight"], p["attn_out.bias"])
    return torch.cat((convolution(x, p["conv_out.weight"], p["conv_out.bias"], stride), attended), dim=1)


# MUSE


def attend(q: Tensor, k: Tensor, v: Tensor, heads: int, hidden: Tensor | None) -> tuple[Tensor, Tensor]:
    """Scaled dot products head by head; hidden: N x T x S, True where a key is not read. T x N x C and weights."""
    outputs, maps = [], []
    for one_q, one_k, one_v in zip(*(t.chunk(heads, dim=2) for t in (q, k, v)), strict=True):
        logits = torch.einsum("tnd,snd->nts", one_q, one_k) / math.sqrt(one_q.shape[2])
        weights = (logits if hidden is None else logits.masked_fill(hidden, -math.inf)).softmax(-1)
        outputs.append(torch.einsum("nts,snd->tnd", weights, one_v))
        maps.append(weights)
    return torch.cat(outputs, dim=2), torch.stack(maps).mean(0)


def tap_sum(x: Tensor, taps: Tensor, left: int) -> Tensor:
    """sum_j taps[t, n, h, j] x[t + j - left], zeros outside; T x N x C."""
    heads = taps.shape[2]
    rows = []
    for t in range(len(x)):
        total = torch.zeros_like(x[0]).unflatten(1, (heads, -1))
        for j in range(taps.shape[3]):
            if 0 <= t + j - left < len(x):
                total = total + taps[t, :, :, j, None] * x[t + j - left].unflatten(1, (heads, -1))
        rows.append(total.flatten(1))
    return torch.stack(rows)


def muse_branch(constructor: dict, p: Parameters, x: Tensor, side: str, padding: Tensor | None) -> dict:
    """W_o [attention, convolutions of the projected v] of one side; padding: N x T, True where padded."""
    heads = constructor[f"{side}_attention_heads"]
    q, k, v = (x @ p["in_proj_weight"].T + p["in_proj_bias"]).chunk(3, dim=2)
    length, batch = x.shape[:2]
    hidden = torch.zeros(batch, length, length, dtype=torch.bool)
    if side == "decoder":
        hidden = hidden | torch.ones(length, length, dtype=torch.bool).triu(1)
    if padding is not None:
        hidden = hidden | padding[:, None, :]
    attended, weights = attend(q, k, v, heads, hidden)
    if padding is not None and constructor["dynamic_padding"]:
        v = v * (~padding.T[..., None]).to(v.dtype)
    convolved = []
    for number, kernel in enumerate(constructor["attn_wide_kernels"]):
        logits = (v @ p[f"dynamics.{number}.weight_linear.weight"].T).unflatten(2, (heads, kernel))
        convolved.append(tap_sum(v, logits.softmax(-1), kernel - 1 if side == "decoder" else kernel // 2))
    if constructor["dynamic_gate"]:
        gate = p["dynamic_gate_para"].softmax(0)
        convolved = [sum(g * y for g, y in zip(gate, convolved, strict=True))]
    return {"y": linear(torch.cat((attended, *convolved), dim=2), p, "out_proj"), "attn_weights": weights}


def muse_cross_attention(constructor: dict, p: Parameters, x: Tensor, memory: Tensor, padding: Tensor | None) -> dict:
    """The decoder's attention to the encoder's output, without convolution."""
    (wq, wk, wv), (bq, bk, bv) = p["in_proj_weight"].chunk(3), p["in_proj_bias"].chunk(3)
    hidden = None if padding is None else padding[:, None, :]
    y, weights = attend(
        x @ wq.T + bq, memory @ wk.T + bk, memory @ wv.T + bv, constructor["decoder_attention_heads"], hidden
    )
    return {"y": linear(y, p, "out_proj"), "attn_weights": weights}


def muse_layer(constructor: dict, p: Parameters, inputs: dict[str, Tensor], side: str) -> dict:
    """Attention, convolutions, cross-attention and perceptron of one input, summed; one norm."""
    x = inputs["x"]
    first = constructor[f"{side}_normalize_before"]
    u = layer_norm(x, p, "self_attn_layer_norm") if first else x
    padding = inputs.get("encoder_padding_mask") if side == "encoder" else None
    y = x + muse_branch(constructor, within(p, "self_attn"), u, side, padding)["y"]
    y = y + linear(linear(u, p, "fc1").clamp(min=0), p, "fc2")
    outputs = {}
    if side == "decoder":
        cross = muse_cross_attention(
            constructor, within(p, "encoder_attn"), u, inputs["encoder_out"], inputs.get("encoder_padding_mask")
        )
        y, outputs["cross_attn_weights"] = y + cross["y"], cross["attn_weights"]
    return {"y": y if first else layer_norm(y, p, "self_attn_layer_norm")} | outputs
