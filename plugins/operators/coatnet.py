"""CoAtNet: MBConv blocks and Transformer blocks with relative attention, stacked by a layout such as C-C-T-T.

Paper: Dai, Liu, Le, Tan, "CoAtNet: Marrying Convolution and Attention for All Data Sizes",
https://arxiv.org/abs/2106.04803

    pre-normalised (the paper's):  y_i = sum_j softmax_j( q_i . k_j / sqrt(d) + w_{i-j} ) v_j
    post-normalised:               y_i = sum_j ( softmax_j( q_i . k_j / sqrt(d) ) + w_{i-j} ) v_j
    MBConv:       x <- Proj(Pool(x)) + Conv(SE(DepthConv(Conv(Norm(x)))))
    Transformer:  x <- Proj(Pool(x)) + Attention(Pool(Norm(x))),  x <- x + FFN(Norm(x))

w is one number per head and offset, a table P of (2H-1) x (2W-1): w_{i-j} = P[row of i - row of j + H-1, column of i -
column of j + W-1].

Departures and choices where the paper leaves room:
- no official code exists; details come from MaxViT, of the same team: hidden widths from the output width,
  squeeze-and-excitation to a quarter of it, biases on the shortcut and the last 1x1 only, logits scaled by d^-1/2;
- 2 x 2 pooling, rounded up on odd maps; `pool` and `stride_in` also give timm's variant (average pooling, stride in the
  depthwise convolution);
- on a map other than the table's, the table is resized bilinearly (half-pixel centres) on the fly.

Fast form: the N x N bias of a head is Toeplitz along both axes, so it is two sliding views of the table, no index
table; tokens stay channels-last from block to block, so that norms and projections run without copies.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.ops import StochasticDepth

from plugins.operators.checks import require, require_choice, require_rate
from plugins.operators.squeeze_excite import SqueezeExcite, squeeze_excite_reference

RELATIVE = ("pre", "post", "none")
NORMS = ("batch", "layer")
STRIDES = ("expand", "depthwise")
POOLS = ("max2", "avg2", "max3", "avg3")

# Stages S0..S4 of the family: (kind, blocks, width) segments; S is the convolutional stem.
SIZES = {
    0: ((("S", 2, 64),), (("C", 2, 96),), (("C", 3, 192),), (("T", 5, 384),), (("T", 2, 768),)),
    1: ((("S", 2, 64),), (("C", 2, 96),), (("C", 6, 192),), (("T", 14, 384),), (("T", 2, 768),)),
    2: ((("S", 2, 128),), (("C", 2, 128),), (("C", 6, 256),), (("T", 14, 512),), (("T", 2, 1024),)),
    3: ((("S", 2, 192),), (("C", 2, 192),), (("C", 6, 384),), (("T", 14, 768),), (("T", 2, 1536),)),
    4: ((("S", 2, 192),), (("C", 2, 192),), (("C", 12, 384),), (("T", 28, 768),), (("T", 2, 1536),)),
    5: ((("S", 2, 192),), (("C", 2, 256),), (("C", 12, 512),), (("T", 28, 1280),), (("T", 2, 2048),)),
    6: ((("S", 2, 192),), (("C", 2, 192),), (("C", 4, 384),), (("C", 8, 768), ("T", 42, 1536)), (("T", 2, 2048),)),
    7: ((("S", 2, 192),), (("C", 2, 256),), (("C", 4, 512),), (("C", 8, 1024), ("T", 42, 2048)), (("T", 2, 3072),)),
}
HEAD_DIMS = {0: 32, 1: 32, 2: 32, 3: 32, 4: 32, 5: 64, 6: 128, 7: 128}


def stages_of_layout(layout: str, blocks: tuple[int, ...], widths: tuple[int, ...]) -> tuple:
    """Stages for `CoAtNet` from a layout of S1..S4, such as C-C-T-T, with five numbers of blocks and five widths
    (S0..S4)."""
    letters = layout.split("-")
    require(
        len(letters) == 4 and set(letters) <= {"C", "T"},
        "layout",
        layout,
        "four letters C or T joined by -, for S1..S4",
    )
    require(
        "C" not in "".join(letters).lstrip("C"), "layout", layout, "convolution stages come before Transformer stages"
    )
    require(len(blocks) == 5, "blocks", blocks, "five numbers, S0..S4")
    require(len(widths) == 5, "widths", widths, "five numbers, S0..S4")
    return tuple(((kind, count, width),) for kind, count, width in zip(("S", *letters), blocks, widths, strict=True))


def pool2d(x: Tensor, pool: str) -> Tensor:
    """Halve a map by max or avg pooling over 2 x 2, or over 3 x 3 with padding 1 (the border is left out of
    averages)."""
    if pool == "max2":
        return F.max_pool2d(x, 2, ceil_mode=True)
    if pool == "avg2":
        return F.avg_pool2d(x, 2, ceil_mode=True, count_include_pad=False)
    if pool == "max3":
        return F.max_pool2d(x, 3, 2, 1)
    return F.avg_pool2d(x, 3, 2, 1, count_include_pad=False)


class ChannelNorm(nn.LayerNorm):
    """Layer normalisation over the channels of an N x C x H x W map."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


def norm_layer(kind: str, channels: int) -> nn.Module:
    """BatchNorm (eps 1e-5) or layer normalisation over channels (eps 1e-6)."""
    return nn.BatchNorm2d(channels) if kind == "batch" else ChannelNorm(channels, eps=1e-6)


class Shortcut(nn.Module):
    """Proj(Pool(x)): pooled if stride is 2, projected if the width changes."""

    def __init__(self, in_channels: int, out_channels: int, stride: int, pool: str) -> None:
        super().__init__()
        require(stride in (1, 2), "stride", stride, "must be 1 or 2")
        require_choice("pool", pool, POOLS)
        self.stride, self.pool = stride, pool
        self.project = nn.Conv2d(in_channels, out_channels, 1) if in_channels != out_channels else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return self.project(pool2d(x, self.pool) if self.stride == 2 else x)


class MBConv(nn.Module):
    """Pre-norm inverted bottleneck, N x in_channels x H x W -> N x out_channels x ceil(H/stride) x ceil(W/stride).

    Args:
        in_channels, out_channels: a change of width or a stride gives the shortcut a projection or a pooling.
        stride: 1 or 2.
        stride_in: the convolution that strides, expand (the first 1x1: the paper's main text) or depthwise.
        norm: batch or layer.
        expansion: hidden width over out_channels.
        kernel_size: odd side of the depthwise convolution.
        se_ratio: width of squeeze-and-excitation over out_channels; 0 for none.
        pool: of the shortcut, see `pool2d`.
        drop_path: rate of dropping the branch of a sample in training.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        stride: int = 1,
        stride_in: str = "expand",
        norm: str = "batch",
        expansion: float = 4,
        kernel_size: int = 3,
        se_ratio: float = 0.25,
        pool: str = "max2",
        drop_path: float = 0.0,
    ) -> None:
        super().__init__()
        require_choice("stride_in", stride_in, STRIDES)
        require_choice("norm", norm, NORMS)
        require(kernel_size % 2 == 1, "kernel_size", kernel_size, "must be odd, the kernel is centred")
        require_rate("drop_path", drop_path)
        hidden = int(out_channels * expansion)
        self.in_channels, self.out_channels, self.stride, self.stride_in = in_channels, out_channels, stride, stride_in
        self.shortcut = Shortcut(in_channels, out_channels, stride, pool)
        self.norm = norm_layer(norm, in_channels)
        self.expand = nn.Conv2d(in_channels, hidden, 1, stride if stride_in == "expand" else 1, bias=False)
        self.expand_norm = norm_layer(norm, hidden)
        self.depthwise = nn.Conv2d(
            hidden,
            hidden,
            kernel_size,
            stride if stride_in == "depthwise" else 1,
            kernel_size // 2,
            groups=hidden,
            bias=False,
        )
        self.depthwise_norm = norm_layer(norm, hidden)
        self.squeeze_excite = (
            SqueezeExcite(hidden, max(1, int(out_channels * se_ratio)), F.silu) if se_ratio else nn.Identity()
        )
        self.project = nn.Conv2d(hidden, out_channels, 1)
        self.drop_path = StochasticDepth(drop_path, "row")

    def forward(self, x: Tensor) -> Tensor:
        _check_channels(x, self.in_channels)
        hidden = F.gelu(self.expand_norm(self.expand(self.norm(x))))
        hidden = F.gelu(self.depthwise_norm(self.depthwise(hidden)))
        return self.shortcut(x) + self.drop_path(self.project(self.squeeze_excite(hidden)))

    def macs(self, x: Tensor) -> int:
        """Multiply-adds of the block on this input (squeeze-and-excitation included)."""
        inside = x.shape[2] * x.shape[3]
        outside = math.ceil(x.shape[2] / self.stride) * math.ceil(x.shape[3] / self.stride)
        expanded = outside if self.stride_in == "expand" else inside
        hidden = self.expand.out_channels
        total = expanded * self.in_channels * hidden + outside * hidden * (
            self.depthwise.kernel_size[0] ** 2 + self.out_channels
        )
        if isinstance(self.squeeze_excite, SqueezeExcite):
            total += 2 * hidden * self.squeeze_excite.reduced
        if self.in_channels != self.out_channels:
            total += outside * self.in_channels * self.out_channels
        return x.shape[0] * total


def mbconv_reference(block: MBConv, x: Tensor) -> Tensor:
    """The block as plain sums: norms written out, projections as einsum, the depthwise kernel as moved maps. Running
    statistics are left as they are, also in training."""

    def norm(layer: nn.Module, t: Tensor) -> Tensor:
        if isinstance(layer, nn.BatchNorm2d) and layer.training:
            mean, variance = t.mean((0, 2, 3), keepdim=True), t.var((0, 2, 3), unbiased=False, keepdim=True)
        elif isinstance(layer, nn.BatchNorm2d):
            mean, variance = (s.view(1, -1, 1, 1) for s in (layer.running_mean, layer.running_var))
        else:
            mean, variance = t.mean(1, keepdim=True), t.var(1, unbiased=False, keepdim=True)
        t = (t - mean) / torch.sqrt(variance + layer.eps)
        return t * layer.weight.view(1, -1, 1, 1) + layer.bias.view(1, -1, 1, 1)

    def gelu(t: Tensor) -> Tensor:
        return t * 0.5 * (1 + torch.erf(t / math.sqrt(2)))

    def pointwise(layer: nn.Conv2d, t: Tensor) -> Tensor:
        y = torch.einsum("oc,nchw->nohw", layer.weight[:, :, 0, 0], t)
        return y if layer.bias is None else y + layer.bias.view(1, -1, 1, 1)

    first = block.expand.stride[0]
    hidden = gelu(norm(block.expand_norm, pointwise(block.expand, norm(block.norm, x)[:, :, ::first, ::first])))
    side, step = block.depthwise.kernel_size[0], block.depthwise.stride[0]
    padded = F.pad(hidden, (side // 2,) * 4)
    height, width = hidden.shape[2:]
    moved = sum(
        block.depthwise.weight[:, 0, a, b].view(1, -1, 1, 1) * padded[:, :, a : a + height : step, b : b + width : step]
        for a in range(side)
        for b in range(side)
    )
    hidden = gelu(norm(block.depthwise_norm, moved))
    if isinstance(block.squeeze_excite, SqueezeExcite):
        hidden = squeeze_excite_reference(block.squeeze_excite, hidden)
    shortcut = pool2d(x, block.shortcut.pool) if block.stride == 2 else x
    if block.in_channels != block.out_channels:
        shortcut = pointwise(block.shortcut.project, shortcut)
    return shortcut + pointwise(block.project, hidden)


class RelativeAttention(nn.Module):
    """Multi-head attention over a whole map with a static relative bias, N x H x W x in_channels -> N x H x W x
    out_channels.

    Args:
        in_channels, out_channels: q, k, v have out_channels; head_dim must divide it.
        head_dim: d; there are out_channels / d heads.
        map_size: (H, W) for which the table is made.
        relative: pre (bias inside the softmax), post (added to the weights), none.
    Parameters: qkv rows stand head by head, q k v inside each; table is heads x (2H-1) x (2W-1).
    """

    def __init__(
        self, in_channels: int, out_channels: int, head_dim: int, map_size: tuple[int, int], relative: str = "pre"
    ) -> None:
        super().__init__()
        require(
            head_dim >= 1 and out_channels % head_dim == 0,
            "head_dim",
            head_dim,
            f"must divide out_channels={out_channels}",
        )
        require_choice("relative", relative, RELATIVE)
        require(min(map_size) >= 1, "map_size", map_size, "sides must be at least 1")
        self.heads, self.head_dim, self.relative = out_channels // head_dim, head_dim, relative
        self.qkv = nn.Linear(in_channels, 3 * out_channels)
        self.proj = nn.Linear(out_channels, out_channels)
        if relative != "none":
            shape = (self.heads, 2 * map_size[0] - 1, 2 * map_size[1] - 1)
            self.table = nn.Parameter(torch.randn(shape) * 0.02)

    def forward(self, x: Tensor) -> Tensor:
        batch, height, width, _ = x.shape
        q, k, v = self.qkv(x).view(batch, height * width, self.heads, 3, self.head_dim).permute(3, 0, 2, 1, 4).unbind(0)
        bias = None if self.relative == "none" else relative_bias(resized(self.table, height, width)).to(q.dtype)
        y = F.scaled_dot_product_attention(q, k, v, attn_mask=bias if self.relative == "pre" else None)
        if self.relative == "post":
            y = y + bias @ v
        return self.proj(y.transpose(1, 2).reshape(batch, height, width, -1))

    def _load_from_state_dict(self, state_dict: dict, prefix: str, *rest) -> None:
        """Weights of another map load with their table resized, to finetune them on this one."""
        stored = state_dict.get(prefix + "table")
        if self.relative != "none" and stored is not None and stored.shape[0] == self.heads:
            state_dict[prefix + "table"] = resized(stored, *((side + 1) // 2 for side in self.table.shape[1:]))
        super()._load_from_state_dict(state_dict, prefix, *rest)

    @torch.no_grad()
    def resize_table(self, map_size: tuple[int, int]) -> None:
        """Replace the table by its bilinear resize for another map, to finetune it there."""
        if self.relative != "none":
            self.table = nn.Parameter(resized(self.table, *map_size).clone())

    def macs(self, x: Tensor) -> int:
        """Multiply-adds: projections, both products, and the static product if it is post-normalised."""
        batch, height, width, channels = x.shape
        n, out = height * width, self.heads * self.head_dim
        products = 3 if self.relative == "post" else 2
        return batch * (n * (3 * channels * out + out**2) + products * n * n * out)


def resized(table: Tensor, height: int, width: int) -> Tensor:
    """The table for a map of this size: heads x (2 height - 1) x (2 width - 1)."""
    size = (2 * height - 1, 2 * width - 1)
    if tuple(table.shape[1:]) == size:
        return table
    return F.interpolate(table.unsqueeze(0), size, mode="bilinear", align_corners=False).squeeze(0)


def relative_bias(table: Tensor) -> Tensor:
    """heads x (2H-1) x (2W-1) by offset -> heads x HW x HW by (query, key), as windows slid over the reversed table."""
    height, width = ((side + 1) // 2 for side in table.shape[1:])
    windows = table.unfold(1, height, 1).unfold(
        2, width, 1
    )  # heads x query y x query x x reversed key y x reversed key x
    return windows.flip(3, 4).reshape(-1, height * width, height * width)


def relative_attention_reference(module: RelativeAttention, x: Tensor) -> Tensor:
    """The same attention by its sums, bias looked up pair by pair."""
    batch, height, width, _ = x.shape
    n = height * width
    q, k, v = module.qkv(x).view(batch, n, module.heads, 3, module.head_dim).unbind(3)
    logits = torch.einsum("nihd,njhd->nhij", q, k) / math.sqrt(module.head_dim)
    if module.relative != "none":
        y, z = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
        y, z = y.flatten(), z.flatten()
        bias = resized(module.table, height, width)[:, y[:, None] - y + height - 1, z[:, None] - z + width - 1]
    if module.relative == "pre":
        logits = logits + bias
    weights = logits.softmax(dim=-1)
    if module.relative == "post":
        weights = weights + bias
    return module.proj(torch.einsum("nhij,njhd->nihd", weights, v).reshape(batch, height, width, -1))


class TransformerBlock(nn.Module):
    """Relative attention and FFN, N x in_channels x H x W -> N x out_channels x ceil(H/stride) x ceil(W/stride).

    Args:
        in_channels, out_channels, stride, pool, drop_path: as in `MBConv`; the stride pools the normed input and the
            shortcut.
        head_dim, map_size, relative: of `RelativeAttention`; map_size is that of the output.
        expansion: of the FFN.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        map_size: tuple[int, int],
        stride: int = 1,
        head_dim: int = 32,
        relative: str = "pre",
        expansion: float = 4,
        pool: str = "max2",
        drop_path: float = 0.0,
    ) -> None:
        super().__init__()
        require_rate("drop_path", drop_path)
        self.in_channels, self.out_channels, self.stride = in_channels, out_channels, stride
        self.shortcut = Shortcut(in_channels, out_channels, stride, pool)
        self.norm1 = nn.LayerNorm(in_channels, eps=1e-6)
        self.attention = RelativeAttention(in_channels, out_channels, head_dim, map_size, relative)
        self.norm2 = nn.LayerNorm(out_channels, eps=1e-6)
        hidden = int(out_channels * expansion)
        self.fc1, self.fc2 = nn.Linear(out_channels, hidden), nn.Linear(hidden, out_channels)
        self.drop_path = StochasticDepth(drop_path, "row")

    def forward(self, x: Tensor) -> Tensor:
        return self._with(self.attention, x)

    def _with(self, attention, x: Tensor) -> Tensor:
        _check_channels(x, self.in_channels)
        normed = self.norm1(x.permute(0, 2, 3, 1))
        if self.stride == 2:
            normed = pool2d(normed.permute(0, 3, 1, 2), self.shortcut.pool).permute(0, 2, 3, 1)
        y = self.shortcut(x).permute(0, 2, 3, 1) + self.drop_path(attention(normed))
        y = y + self.drop_path(self.fc2(F.gelu(self.fc1(self.norm2(y)))))
        return y.permute(0, 3, 1, 2)  # a view: the memory stays channels-last

    def macs(self, x: Tensor) -> int:
        """Multiply-adds of the block on this input."""
        height, width = (math.ceil(side / self.stride) for side in x.shape[2:])
        tokens = x.shape[0] * height * width
        total = self.attention.macs(x.new_empty((x.shape[0], height, width, self.in_channels), device="meta"))
        total += 2 * tokens * self.out_channels * self.fc1.out_features
        return total + (tokens * self.in_channels * self.out_channels if self.in_channels != self.out_channels else 0)


def transformer_block_reference(block: TransformerBlock, x: Tensor) -> Tensor:
    """The block over the reference attention."""
    return block._with(lambda tokens: relative_attention_reference(block.attention, tokens), x)


class CoAtNet(nn.Module):
    """The classifier: N x 3 x H x W images -> N x classes.

    Args:
        stages: S0..S4, each a tuple of (kind, blocks, width) segments; the first of kind S (convolutions) or P (one
            patch convolution), the others C or T. See `SIZES`, `stages_of_layout` and `vit_rel`.
        image_size: (H, W) of the images, from which the sizes of the tables follow.
        classes: number of classes; None leaves the classifier out and gives N x last width.
        strides: of S0..S4 (2 each in the paper; images of 32 x 32 want 1 in S0 and S1); of P, the side of a patch.
        head_dim, relative: of attention. norm, stride_in: of MBConv. pool: of every shortcut.
        drop_path: rate of the last block; it grows linearly from 0.
        head_hidden: a dense layer (tanh) of the last width before the classifier.
    """

    def __init__(
        self,
        stages: tuple,
        image_size: tuple[int, int],
        classes: int | None,
        strides: tuple[int, ...] = (2, 2, 2, 2, 2),
        head_dim: int = 32,
        relative: str = "pre",
        norm: str = "batch",
        stride_in: str = "expand",
        pool: str = "max2",
        drop_path: float = 0.0,
        head_hidden: bool = False,
    ) -> None:
        super().__init__()
        require(len(strides) == len(stages), "strides", strides, f"one for each of the {len(stages)} stages")
        require(classes is None or classes >= 1, "classes", classes, "must be at least 1")
        total = sum(count for stage in stages[1:] for _, count, _ in stage)
        (kind, count, channels), size = stages[0][0], _halved(image_size, strides[0])
        require(kind in ("S", "P"), "stages[0]", stages[0], "the first stage is the stem, kind S or P")
        if kind == "S":
            self.stem = stem(count, channels, strides[0])
        else:
            self.stem = nn.Conv2d(3, channels, strides[0], strides[0])
        built, done = [], 0
        for stage, stride in zip(stages[1:], strides[1:], strict=True):
            size, blocks = _halved(size, stride), []
            for kind, count, width in stage:
                require_choice("kind of a stage", kind, ("C", "T"))
                for _ in range(count):
                    rate = drop_path * done / max(1, total - 1)
                    step = stride if not blocks else 1
                    if kind == "C":
                        block = MBConv(channels, width, step, stride_in, norm, pool=pool, drop_path=rate)
                    else:
                        block = TransformerBlock(
                            channels, width, size, step, head_dim, relative, pool=pool, drop_path=rate
                        )
                    blocks.append(block)
                    channels, done = width, done + 1
            built.append(nn.Sequential(*blocks))
        self.stages = nn.ModuleList(built)
        self.norm = nn.LayerNorm(channels, eps=1e-6)
        self.hidden = nn.Sequential(nn.Linear(channels, channels), nn.Tanh()) if head_hidden else nn.Identity()
        self.head = nn.Identity() if classes is None else nn.Linear(channels, classes)

    def features(self, x: Tensor) -> list[Tensor]:
        """Maps after S0, S1, .. (N x width x H' x W')."""
        maps = [self.stem(x)]
        for stage in self.stages:
            maps.append(stage(maps[-1]))
        return maps

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.hidden(self.norm(self.features(x)[-1].mean((2, 3)))))


def coatnet(size: int, image_size: tuple[int, int] = (224, 224), classes: int = 1000, **options) -> CoAtNet:
    """CoAtNet-0 .. CoAtNet-7 with the paper's widths, depths and head size; options go to `CoAtNet`."""
    require_choice("size", size, tuple(SIZES))
    return CoAtNet(SIZES[size], image_size, classes, **{"head_dim": HEAD_DIMS[size]} | options)


def vit_rel(
    patch: int,
    width: int,
    blocks: int,
    image_size: tuple[int, int],
    classes: int | None,
    head_dim: int = 32,
    relative: str = "pre",
    drop_path: float = 0.0,
) -> CoAtNet:
    """ViT_REL: patches of patch x patch pixels, then Transformer blocks with relative attention at one size."""
    require(all(side % patch == 0 for side in image_size), "patch", patch, f"must divide image_size={image_size}")
    stages = ((("P", 1, width),), (("T", blocks, width),))
    return CoAtNet(stages, image_size, classes, (patch, 1), head_dim=head_dim, relative=relative, drop_path=drop_path)


def stem(convolutions: int, width: int, stride: int) -> nn.Sequential:
    """S0: 3 x 3 convolutions, the first strided, with BatchNorm and GELU between them."""
    layers: list[nn.Module] = [nn.Conv2d(3, width, 3, stride, 1, bias=False)]
    for _ in range(convolutions - 1):
        layers += [nn.BatchNorm2d(width), nn.GELU(), nn.Conv2d(width, width, 3, padding=1)]
    return nn.Sequential(*layers)


def _halved(size: tuple[int, int], stride: int) -> tuple[int, int]:
    return math.ceil(size[0] / stride), math.ceil(size[1] / stride)


def _check_channels(x: Tensor, channels: int) -> None:
    require(x.dim() == 4 and x.shape[1] == channels, "x.shape", tuple(x.shape), f"must be N x {channels} x H x W")
