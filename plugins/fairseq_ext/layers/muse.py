"""Encoder and decoder layers of MUSE (https://arxiv.org/abs/1911.09483, section 2), and the stacks that hold them.

    encoder y = LN(x + A(x) + F(x)),  decoder y = LN(x + A(x) + X(x, e) + F(x)),  every branch with its own dropout

A self-attention with the convolution branch (operator MuseAttention), F = W2 relu(W1 x + b1) + b2, X cross-attention to
the encoder output e. Shapes are T x N x C.
Parameter names are the released code's, but cross-attention has fairseq's present q_proj, k_proj, v_proj.
A feed-forward branch that shares its first map with the convolution (table 7) was never released and the paper gives no
formula: here h = W1 x + b1 feeds both, W2 relu(h) and Wc conv(h), and self-attention is left as it is.
"""

import torch
import torch.nn.functional as F
from fairseq.models.transformer import TransformerDecoderBase, TransformerEncoderBase
from fairseq.modules import FairseqDropout, LayerNorm, MultiheadAttention
from torch import nn

from plugins.operators.dynamic_conv import DynamicConv1d
from plugins.operators.muse import MuseAttention

OPTION = "parallel"
TASKS = ("translation",)


class MuseEncoder(TransformerEncoderBase):
    """fairseq's encoder with MUSE layers."""

    def __init__(self, cfg, dictionary, embed_tokens):
        self.kernels = kernels_by_layer(cfg, cfg.encoder.layers, "encoder")
        super().__init__(cfg, dictionary, embed_tokens)
        initialise(self.layers, cfg.initialisation)

    def build_encoder_layer(self, cfg):
        return MuseEncoderLayer(cfg, self.kernels.pop(0))


class MuseDecoder(TransformerDecoderBase):
    """fairseq's decoder with MUSE layers."""

    def __init__(self, cfg, dictionary, embed_tokens):
        self.kernels = kernels_by_layer(cfg, cfg.decoder.layers, "decoder")
        super().__init__(cfg, dictionary, embed_tokens)
        initialise(self.layers, cfg.initialisation)

    def build_decoder_layer(self, cfg, no_encoder_attn=False):
        return MuseDecoderLayer(cfg, self.kernels.pop(0))


def initialise(layers: nn.ModuleList, way: str) -> None:
    """`xavier`: every linear map of the layers Xavier-uniform, biases 0 (the choice that section 2.1 rejects)."""
    if way == "xavier":
        for module in layers.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)


def kernels_by_layer(cfg, layers: int, stack: str) -> list[list[int]]:
    """The kernel sizes of each layer, lowest first; ValueError when `convolution_per_layer` has another length."""
    if stack not in cfg.convolution_stacks:
        return [[] for _ in range(layers)]
    if not cfg.convolution_per_layer:
        return [list(cfg.convolution_kernels)] * layers
    if len(cfg.convolution_per_layer) != layers:
        sizes = list(cfg.convolution_per_layer)
        raise ValueError(f"convolution_per_layer {sizes} must have one size for each of {layers} layers")
    return [[kernel] for kernel in cfg.convolution_per_layer]


class MuseEncoderLayer(nn.Module):
    """x [T, N, C] -> [T, N, C]; `kernels` are the kernel sizes of this layer."""

    def __init__(self, cfg, kernels):
        super().__init__()
        width, ffn_width = cfg.encoder.embed_dim, cfg.encoder.ffn_embed_dim
        shared = cfg.ffn == "shared"
        self.self_attn = build_self_attention(cfg, cfg.encoder, [] if shared else kernels, causal=False)
        self.self_attn_layer_norm = LayerNorm(width)
        self.dropout_module = FairseqDropout(cfg.dropout, module_name=self.__class__.__name__)
        self.ffn, self.fuse, self.fused = cfg.ffn, cfg.fuse_matrices and cfg.ffn == "own", None
        if self.ffn != "none":
            self.fc1 = nn.Linear(width, ffn_width)
            self.fc2 = nn.Linear(ffn_width, width)
            self.activation_dropout_module = FairseqDropout(cfg.activation_dropout, module_name=self.__class__.__name__)
        if shared:
            self.ffn_conv = build_hidden_convolution(cfg, kernels)
            self.ffn_conv_out = nn.Linear(ffn_width, width)

    def forward(self, x, encoder_padding_mask, attn_mask=None):
        if self.fused:
            return self.self_attn_layer_norm(x + self.fused(x, encoder_padding_mask))
        y, _ = self.self_attn(x, key_padding_mask=encoder_padding_mask)
        y = x + self.dropout_module(y)
        if self.ffn == "none":
            return self.self_attn_layer_norm(y)
        h = self.fc1(x)
        y = y + self.dropout_module(self.fc2(self.activation_dropout_module(torch.relu(h))))
        if self.ffn == "shared":
            if encoder_padding_mask is not None:
                h = h.masked_fill(encoder_padding_mask.t().unsqueeze(-1), 0)
            y = y + self.dropout_module(self.ffn_conv_out(self.ffn_conv(h)))
        return self.self_attn_layer_norm(y)

    def make_generation_fast_(self, **kwargs):
        """fairseq's hook before decoding."""
        self.fused = FusedBranches(self) if self.fuse else None

    def upgrade_state_dict_named(self, state_dict, name):
        """fairseq renames parameters of its oldest layers here; these layers never had other names."""


class MuseDecoderLayer(nn.Module):
    """x [T, N, C], encoder_out [S, N, C] -> (y [T, N, C], cross-attention weights or None, None)."""

    def __init__(self, cfg, kernels):
        super().__init__()
        width, ffn_width = cfg.decoder.embed_dim, cfg.decoder.ffn_embed_dim
        self.self_attn = build_self_attention(cfg, cfg.decoder, kernels, causal=True)
        self.encoder_attn = MultiheadAttention(
            width,
            cfg.decoder.attention_heads,
            kdim=cfg.encoder.embed_dim,
            vdim=cfg.encoder.embed_dim,
            dropout=cfg.attention_dropout,
            encoder_decoder_attention=True,
        )
        self.self_attn_layer_norm = LayerNorm(width)
        if cfg.released_parameters:
            self.encoder_attn_layer_norm = LayerNorm(width)
        self.dropout_module = FairseqDropout(cfg.dropout, module_name=self.__class__.__name__)
        self.ffn = "none" if cfg.ffn == "none" else "own"
        self.fuse, self.fused = cfg.fuse_matrices and self.ffn == "own", None
        if self.ffn == "own":
            self.fc1 = nn.Linear(width, ffn_width)
            self.fc2 = nn.Linear(ffn_width, width)
            self.activation_dropout_module = FairseqDropout(cfg.activation_dropout, module_name=self.__class__.__name__)
        self.need_attn = True

    def forward(
        self,
        x,
        encoder_out=None,
        encoder_padding_mask=None,
        incremental_state=None,
        self_attn_mask=None,
        self_attn_padding_mask=None,
        need_attn=False,
        need_head_weights=False,
    ):
        # The operator is causal by itself, so fairseq's mask is not needed.
        if self.fused:
            y = self.fused(x, self_attn_padding_mask, incremental_state)
        else:
            y, _ = self.self_attn(x, key_padding_mask=self_attn_padding_mask, incremental_state=incremental_state)
        cross, weights = self.encoder_attn(
            query=x,
            key=encoder_out,
            value=encoder_out,
            key_padding_mask=encoder_padding_mask,
            incremental_state=incremental_state,
            static_kv=True,
            need_weights=need_attn or need_head_weights or (not self.training and self.need_attn),
            need_head_weights=need_head_weights,
        )
        y = x + self.dropout_module(y) + self.dropout_module(cross)
        if self.ffn == "own" and not self.fused:
            h = self.activation_dropout_module(torch.relu(self.fc1(x)))
            y = y + self.dropout_module(self.fc2(h))
        return self.self_attn_layer_norm(y), weights, None

    def make_generation_fast_(self, need_attn=False, **kwargs):
        """fairseq's hook before decoding: no attention weights unless an alignment is printed."""
        self.need_attn = need_attn
        self.fused = FusedBranches(self) if self.fuse else None


class FusedBranches(nn.Module):
    """Self-attention, convolution and feed-forward of a layer, with one matrix in and one out (section 3.3.1).

    Both branches read the same x and end in one sum, so their first maps stack and their last ones stand side by side:
    the same result with fewer, larger products. For inference only; the layer's own parameters stay as they are.
    """

    def __init__(self, layer):
        super().__init__()
        attention, first, last = layer.self_attn, layer.fc1, layer.fc2
        # Kept out of the module tree: it belongs to the layer.
        object.__setattr__(self, "attention", attention)
        self.split = [attention.in_proj.out_features, first.out_features]
        with torch.no_grad():
            for name in ("weight", "bias"):
                stacked = torch.cat((getattr(attention.in_proj, name), getattr(first, name)))
                self.register_buffer(f"{name}_in", stacked, persistent=False)
            self.register_buffer("weight_out", torch.cat((attention.out_proj.weight, last.weight), 1), persistent=False)
            self.register_buffer("bias_out", attention.out_proj.bias + last.bias, persistent=False)

    def forward(self, x, key_padding_mask=None, incremental_state=None):
        """x [T, N, C] -> [T, N, C], what the layer adds to x."""
        projected, h = F.linear(x, self.weight_in, self.bias_in).split(self.split, -1)
        parts, _ = self.attention.branches(x, key_padding_mask, incremental_state, projected=projected)
        return F.linear(torch.cat((*parts, torch.relu(h)), -1), self.weight_out, self.bias_out)


def build_self_attention(cfg, side, kernels, causal):
    """The operator for one layer of a stack whose sizes are `side`."""
    return MuseAttention(
        side.embed_dim,
        side.attention_heads,
        kernels=kernels,
        causal=causal,
        projection=cfg.convolution_projection,
        kind=cfg.convolution_kind,
        combine=cfg.convolution_combine,
        dropout=cfg.attention_dropout,
        weight_dropout=cfg.weight_dropout,
        input_dropout=cfg.input_dropout,
        mask_padding=not cfg.convolve_padding,
    )


def build_hidden_convolution(cfg, kernels):
    """The convolution over the feed-forward branch's hidden channels; ValueError unless there is one kernel."""
    if len(kernels) != 1:
        raise ValueError(f"convolution_kernels {kernels} with ffn shared: give exactly one kernel size")
    (kernel,) = kernels
    return DynamicConv1d(
        cfg.encoder.ffn_embed_dim,
        kernel,
        padding_l=kernel // 2,
        num_heads=cfg.encoder.attention_heads,
        weight_dropout=cfg.weight_dropout,
    )
