"""Parity with official modules in the cases that a recorded set may hold: sizes, strides, masks, all their options.

What an installed package has is run as it is; the rest is written out in `plain_forms`. Each case becomes a fixture of
the recorded kind and goes through the command that checks recorded ones.
"""

from __future__ import annotations

import json
import math

import pytest
import torch
from torch import Tensor
from torchvision.ops import deform_conv2d

from tests.parity.__main__ import main
from tests.unit.operators import plain_forms
from tests.unit.operators.recording import peer_form, peer_parameters, write_fixture


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(1)


@pytest.fixture
def agrees(tmp_path, capsys):
    """agrees(class, constructor, parameters or their shapes, inputs, form): record, and check the record."""

    def check(name: str, constructor: dict, parameters: dict, inputs: dict[str, Tensor], form, **meta: str) -> None:
        torch.manual_seed(0)
        values = {key: t if isinstance(t, Tensor) else drawn(key, t) for key, t in parameters.items()}
        write_fixture(tmp_path / "case.safetensors", name, constructor, values, inputs, form, **meta)
        status = main([str(tmp_path)])
        assert status == 0, capsys.readouterr().out

    return check


@pytest.fixture
def refusal(tmp_path, capsys):
    """The line of a case that cannot be served, its record made of the shapes alone."""

    def line(name: str, constructor: dict, parameters: dict, inputs: dict[str, Tensor], **meta: str) -> str:
        values = {key: drawn(key, shape) for key, shape in parameters.items()}

        def form(parameters: dict, inputs: dict) -> Tensor:
            return inputs["x"] * 1

        write_fixture(tmp_path / "case.safetensors", name, constructor, values, inputs, form, **meta)
        assert main([str(tmp_path)]) == 1
        lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("case ") and "FAIL" in line]
        assert len(lines) == 1
        return lines[0]

    return line


def drawn(name: str, shape: tuple[int, ...]) -> Tensor:
    return torch.rand(shape) + 0.5 if "running_var" in name else torch.randn(shape) * 0.4


def norm_shapes(name: str, width: int) -> dict:
    return {f"{name}.{part}": (width,) for part in ("weight", "bias", "running_mean", "running_var")}


# ACmix


def acmix_shapes(inputs: int, width: int, heads: int, prefix: str = "") -> dict:
    shapes = {
        "rate1": (1,),
        "rate2": (1,),
        "conv_p.weight": (width // heads, 2, 1, 1),
        "conv_p.bias": (width // heads,),
    }
    for i in (1, 2, 3):
        shapes |= {f"conv{i}.weight": (width, inputs, 1, 1), f"conv{i}.bias": (width,)}
    shapes |= {"fc.weight": (9, 3 * heads, 1, 1), "dep_conv.weight": (width, 9, 3, 3)}
    return {prefix + name: shape for name, shape in shapes.items()}


@pytest.mark.parametrize(
    ("sizes", "heads", "kernel", "stride", "shape"),
    [
        ((5, 8), 2, 3, 1, (3, 4)),
        ((4, 6), 1, 5, 1, (3, 5)),
        ((3, 6), 6, 1, 1, (2, 3)),
        ((6, 9), 3, 7, 1, (4, 5)),
        ((4, 8), 4, 5, 2, (4, 6)),
        ((4, 4), 2, 3, 3, (6, 3)),
        ((2, 9), 9, 3, 1, (3, 3)),  # more heads than the two linear maps are multiplied for
    ],
)
def test_acmix(agrees, sizes, heads, kernel, stride, shape):
    constructor = {"in_planes": sizes[0], "out_planes": sizes[1], "head": heads, "kernel_att": kernel, "kernel_conv": 3}
    constructor |= {"stride": stride, "dilation": 1}
    x = torch.randn(2, sizes[0], *shape)
    shapes = acmix_shapes(*sizes, heads)
    agrees("ACmix", constructor, shapes, {"x": x}, lambda p, i: plain_forms.acmix(constructor, p, i["x"]))


@pytest.mark.parametrize("mode", ["eval", "train"])
@pytest.mark.parametrize(
    ("planes", "options"),
    [
        ((16, 4), {}),
        ((6, 2), {"stride": 2}),
        ((6, 4), {"stride": 2, "base_width": 128}),
        ((8, 4), {"k_att": 5, "head": 4, "groups": 2}),
    ],
)
def test_acmix_bottleneck(agrees, planes, options, mode):
    """The released block with and without a projected, strided shortcut; norms of running and of batch statistics."""
    constructor = {"inplanes": planes[0], "planes": planes[1], "k_att": 3, "head": 2, "k_conv": 3} | options
    width = int(planes[1] * options.get("base_width", 64) / 64) * options.get("groups", 1)
    shapes = {"conv1.weight": (width, planes[0], 1, 1), "conv3.weight": (4 * planes[1], width, 1, 1)}
    shapes |= norm_shapes("bn1", width) | norm_shapes("bn2", width) | norm_shapes("bn3", 4 * planes[1])
    shapes |= acmix_shapes(width, width, constructor["head"], "conv2.")
    if planes[0] != 4 * planes[1] or options.get("stride", 1) > 1:
        shapes |= {"downsample.0.weight": (4 * planes[1], planes[0], 1, 1)} | norm_shapes("downsample.1", 4 * planes[1])

    def form(p: dict, inputs: dict) -> Tensor:
        return plain_forms.bottleneck(constructor, p, inputs["x"], mode == "train")

    agrees("Bottleneck", constructor, shapes, {"x": torch.randn(2, planes[0], 4, 6)}, form, mode=mode)


def window_shapes(dim: int, heads: int, side: int, bias: bool = True, prefix: str = "") -> dict:
    shapes = {
        "qkv.weight": (3 * dim, dim),
        "proj.weight": (dim, dim),
        "proj.bias": (dim,),
        "rate1": (1,),
        "rate2": (1,),
    }
    shapes |= {"fc.weight": (9, 3 * heads, 1, 1), "fc.bias": (9,), "dep_conv.weight": (dim, 9, 3, 3)}
    shapes |= {"relative_position_bias_table": ((2 * side - 1) ** 2, heads)} | (
        {"qkv.bias": (3 * dim,)} if bias else {}
    )
    return {prefix + name: shape for name, shape in shapes.items()}


@pytest.mark.parametrize("masked", [True, False])
@pytest.mark.parametrize("options", [{}, {"qkv_bias": False}, {"qk_scale": 0.7}])
def test_acmix_window_attention(agrees, options, masked):
    constructor = {"dim": 6, "window_size": [2, 2], "num_heads": 3} | options
    inputs = {"x": torch.randn(2, 4, 6, 6)}
    if masked:
        inputs["mask"] = torch.where(torch.rand(6, 4, 4) < 0.3, -100.0, 0.0)

    def form(p: dict, inputs: dict) -> Tensor:
        return plain_forms.window_attention_acmix(constructor, p, inputs["x"], inputs.get("mask"))

    shapes = window_shapes(6, 3, 2, options.get("qkv_bias", True))
    agrees("WindowAttention_acmix", constructor, shapes, inputs, form)


@pytest.mark.parametrize(
    ("size", "options"),
    [
        ((4, 4), {"window_size": 2}),
        ((4, 6), {"window_size": 2, "shift_size": 1}),
        ((6, 6), {"window_size": 3, "shift_size": 1, "mlp_ratio": 2.0}),
        ((6, 6), {"window_size": 3, "shift_size": 2, "qkv_bias": False}),
        ((3, 6), {"window_size": 3, "shift_size": 1}),  # one side is one window: not shifted
        ((2, 4), {"window_size": 7, "shift_size": 3}),  # the window shrinks to the map
    ],
)
@pytest.mark.parametrize("with_mask", [True, False])
def test_acmix_swin_block(agrees, size, options, with_mask):
    """The released block, shifted and not; a record may or may not hold the mask, which is a buffer there."""
    constructor = {
        "dim": 4,
        "input_resolution": list(size),
        "num_heads": 2,
        "shift_size": 0,
        "mlp_ratio": 4.0,
    } | options
    side, hidden = min(*size, options["window_size"]), int(4 * constructor["mlp_ratio"])
    shapes = window_shapes(4, 2, side, options.get("qkv_bias", True), "attn.")
    shapes |= {f"norm{i}.{part}": (4,) for i in (1, 2) for part in ("weight", "bias")}
    shapes |= {
        "mlp.fc1.weight": (hidden, 4),
        "mlp.fc1.bias": (hidden,),
        "mlp.fc2.weight": (4, hidden),
        "mlp.fc2.bias": (4,),
    }
    if with_mask and min(size) > options["window_size"] and constructor["shift_size"]:
        shapes["attn_mask"] = released_mask(size, side, constructor["shift_size"])

    def form(p: dict, inputs: dict) -> Tensor:
        return plain_forms.swin_block(constructor, p, inputs["x"])

    agrees("SwinTransformerBlock", constructor, shapes, {"x": torch.randn(2, size[0] * size[1], 4)}, form)


def released_mask(size: tuple[int, int], side: int, shift: int) -> Tensor:
    """Windows x places x places: -100 where only one of two places has wrapped around an axis."""
    wrapped = [torch.arange(n) >= n - shift for n in size]
    kind = wrapped[0][:, None].long() * 2 + wrapped[1].long()
    windows = [
        kind[top : top + side, left : left + side].flatten()
        for top in range(0, size[0], side)
        for left in range(0, size[1], side)
    ]
    return torch.stack([torch.where(w[:, None] == w, 0.0, -100.0) for w in windows])


# Generalized attention


def generalized_shapes(constructor: dict) -> dict:
    channels, heads = constructor["in_channels"], constructor["num_heads"]
    width, code = channels // heads * heads, constructor.get("position_embedding_dim", -1)
    e1, e2, e3, e4 = (bit == "1" for bit in constructor["attention_type"])
    shapes = {"value_conv.weight": (width, channels, 1, 1), "gamma": (1,)}
    shapes |= {"proj_conv.weight": (channels, width, 1, 1), "proj_conv.bias": (channels,)}
    if e1 or e2:
        shapes["query_conv.weight"] = (width, channels, 1, 1)
    if e1 or e3:
        shapes["key_conv.weight"] = (width, channels, 1, 1)
    if e2 or e4:
        half = (channels if code < 0 else code) // 2
        shapes |= {"appr_geom_fc_x.weight": (width, half), "appr_geom_fc_y.weight": (width, half)}
    return shapes | ({"appr_bias": (width,)} if e3 else {}) | ({"geom_bias": (width,)} if e4 else {})


@pytest.mark.parametrize("terms", [f"{i:04b}" for i in range(1, 16)])
@pytest.mark.parametrize(
    "options",
    [
        {"kv_stride": 1},
        {"kv_stride": 2, "q_stride": 2, "num_heads": 3},
        {"kv_stride": 1, "spatial_range": 1, "position_magnitude": 2},
        {"kv_stride": 2, "spatial_range": 2, "position_embedding_dim": 4},
    ],
)
def test_generalized_attention(agrees, terms, options):
    constructor = {"in_channels": 8, "attention_type": terms, "num_heads": 2} | options

    def form(p: dict, inputs: dict) -> Tensor:
        return plain_forms.generalized_attention(constructor, p, inputs["x"])

    agrees("GeneralizedAttention", constructor, generalized_shapes(constructor), {"x": torch.randn(2, 8, 3, 5)}, form)


# Attention augmented convolution


@pytest.mark.parametrize(
    ("options", "qkv_kernel", "shape"),
    [
        ({"relative": True}, 1, (3, 4)),
        ({"relative": False, "Nh": 4, "kernel_size": 5}, 1, (4, 3)),
        ({"relative": True, "stride": 2, "shape": 3}, 3, (6, 6)),
        ({"relative": False, "stride": 2}, 3, (5, 4)),
        ({"relative": True, "Nh": 1, "kernel_size": 1}, 1, (1, 5)),
    ],
)
def test_augmented_convolution(agrees, options, qkv_kernel, shape):
    constructor = {"in_channels": 3, "out_channels": 10, "kernel_size": 3, "dk": 8, "dv": 4, "Nh": 2} | options
    kernel, stride = constructor["kernel_size"], constructor.get("stride", 1)
    shapes = {"qkv_conv.weight": (20, 3, qkv_kernel, qkv_kernel), "qkv_conv.bias": (20,)}
    shapes |= {"conv_out.weight": (6, 3, kernel, kernel), "conv_out.bias": (6,)}
    shapes |= {"attn_out.weight": (4, 4, 1, 1), "attn_out.bias": (4,)}
    if constructor["relative"]:
        height, width = (math.ceil(side / stride) for side in shape)
        depth = 8 // constructor["Nh"]
        shapes |= {"key_rel_w": (2 * width - 1, depth), "key_rel_h": (2 * height - 1, depth)}

    def form(p: dict, inputs: dict) -> Tensor:
        return plain_forms.augmented_conv(constructor, p, inputs["x"])

    agrees("AugmentedConv", constructor, shapes, {"x": torch.randn(2, 3, *shape)}, form)


# MUSE


def muse_constructor(side: str, **options) -> dict:
    sizes = {f"{side}_attention_heads": 2, f"{side}_embed_dim": 8, f"{side}_ffn_embed_dim": 12}
    common = {"attn_wide_kernels": [3, 7], "attn_dynamic_type": 2, "attn_dynamic_cat": 1, "combine": 1, "lnv": "origin"}
    common |= {"dynamic_gate": 1, "dynamic_padding": 0, "activation_fn": "relu"}
    return sizes | common | {f"{side}_normalize_before": False} | options


def branch_shapes(constructor: dict, side: str, prefix: str = "") -> dict:
    heads, kernels = constructor[f"{side}_attention_heads"], constructor["attn_wide_kernels"]
    inputs = 8 * (2 if constructor["dynamic_gate"] else 1 + len(kernels))
    shapes = {"in_proj_weight": (24, 8), "in_proj_bias": (24,), "out_proj.weight": (8, inputs), "out_proj.bias": (8,)}
    shapes |= {f"dynamics.{i}.weight_linear.weight": (heads * k, 8) for i, k in enumerate(kernels)}
    shapes |= {"dynamic_gate_para": (len(kernels),)} if constructor["dynamic_gate"] else {}
    return {prefix + name: shape for name, shape in shapes.items()}


def causal(length: int) -> Tensor:
    return torch.full((length, length), -math.inf).triu(1)


def padded(batch: int, length: int) -> Tensor:
    mask = torch.zeros(batch, length, dtype=torch.bool)
    mask[0, length - 2 :] = True
    return mask


@pytest.mark.parametrize("side", ["encoder", "decoder"])
@pytest.mark.parametrize("padding", [None, 0, 1])
@pytest.mark.parametrize("options", [{}, {"dynamic_gate": 0}, {"attn_wide_kernels": [1, 5, 3]}])
def test_muse_branch(agrees, side, padding, options):
    """Without padding, with padding that leaks into the convolution (the released default), and with it masked."""
    constructor = muse_constructor(side, dynamic_padding=padding or 0, **options)
    inputs = {"x": torch.randn(6, 2, 8)} | ({} if padding is None else {"key_padding_mask": padded(2, 6)})
    inputs |= {"attn_mask": causal(6)} if side == "decoder" else {}

    def form(p: dict, inputs: dict) -> dict:
        return plain_forms.muse_branch(constructor, p, inputs["x"], side, inputs.get("key_padding_mask"))

    name = f"ParallelMultiheadAttention (cur_attn_type='{side[0]}s')"
    agrees(name, constructor, branch_shapes(constructor, side), inputs, form)


def test_muse_cross_attention(agrees):
    constructor = muse_constructor("decoder")
    shapes = {"in_proj_weight": (24, 8), "in_proj_bias": (24,), "out_proj.weight": (8, 8), "out_proj.bias": (8,)}
    inputs = {"x": torch.randn(4, 2, 8), "encoder_out": torch.randn(5, 2, 8), "key_padding_mask": padded(2, 5)}
    call = {"tensors": {"query": "input/x", "key": "input/encoder_out", "value": "input/encoder_out"}, "other": {}}

    def form(p: dict, inputs: dict) -> dict:
        padding = inputs["key_padding_mask"]
        return plain_forms.muse_cross_attention(constructor, p, inputs["x"], inputs["encoder_out"], padding)

    name = "ParallelMultiheadAttention (cur_attn_type='dc')"
    agrees(name, constructor, shapes, inputs, form, call=json.dumps(call))


@pytest.mark.parametrize("side", ["encoder", "decoder"])
@pytest.mark.parametrize("pre_norm", [False, True])
@pytest.mark.parametrize("options", [{}, {"dynamic_gate": 0, "dynamic_padding": 1, "attn_wide_kernels": [3]}])
def test_muse_layer(agrees, side, pre_norm, options):
    constructor = muse_constructor(side, **options) | {f"{side}_normalize_before": pre_norm}
    shapes = branch_shapes(constructor, side, "self_attn.")
    shapes |= {"fc1.weight": (12, 8), "fc1.bias": (12,), "fc2.weight": (8, 12), "fc2.bias": (8,)}
    shapes |= {"self_attn_layer_norm.weight": (8,), "self_attn_layer_norm.bias": (8,)}
    inputs = {"x": torch.randn(5, 2, 8), "encoder_padding_mask": padded(2, 5)}
    if side == "decoder":
        plain = {"in_proj_weight": (24, 8), "in_proj_bias": (24,), "out_proj.weight": (8, 8), "out_proj.bias": (8,)}
        shapes |= {f"encoder_attn.{name}": shape for name, shape in plain.items()}
        shapes |= {"encoder_attn_layer_norm.weight": (8,), "encoder_attn_layer_norm.bias": (8,)}  # never used
        inputs |= {"encoder_out": torch.randn(5, 2, 8), "self_attn_mask": causal(5)}

    def form(p: dict, inputs: dict) -> dict:
        return plain_forms.muse_layer(constructor, p, inputs, side)

    agrees(f"TransformerCombine{side.capitalize()}Layer", constructor, shapes, inputs, form)


# Dynamic and lightweight convolution: fairseq's own


@pytest.mark.parametrize("geometry", [(3, 2), (3, 1), (7, 3), (7, 6), (1, 0), (5, 4)])
@pytest.mark.parametrize(
    "options",
    [
        {"weight_softmax": True},
        {"weight_softmax": True, "renorm_padding": True},
        {"weight_softmax": True, "renorm_padding": True, "bias": True, "conv_bias": True},
        {"weight_softmax": True, "in_proj": True},
        {"weight_softmax": True, "in_proj": True, "renorm_padding": True},
        {"weight_softmax": False},
        {"weight_softmax": False, "in_proj": True, "conv_bias": True},
    ],
)
def test_dynamic_convolution(agrees, geometry, options):
    """Centred and causal kernels, some longer than the sequence of 5."""
    fairseq = pytest.importorskip("fairseq.modules.dynamic_convolution")
    constructor = {"input_size": 8, "kernel_size": geometry[0], "padding_l": geometry[1], "num_heads": 2} | options
    peer = fairseq.DynamicConv1dTBC(**constructor)
    agrees("DynamicConv1dTBC", constructor, peer_parameters(peer), {"x": torch.randn(5, 2, 8)}, peer_form(peer))


def test_dynamic_convolution_of_a_query_of_its_own(agrees):
    fairseq = pytest.importorskip("fairseq.modules.dynamic_convolution")
    constructor = {"input_size": 8, "kernel_size": 3, "padding_l": 1, "num_heads": 2, "weight_softmax": True}
    constructor |= {"query_size": 6}
    peer = fairseq.DynamicConv1dTBC(**constructor)
    inputs = {"x": torch.randn(5, 2, 8), "query": torch.randn(5, 2, 6)}
    agrees("DynamicConv1dTBC", constructor, peer_parameters(peer), inputs, peer_form(peer))


@pytest.mark.parametrize("geometry", [(3, 2), (7, 3), (7, 6)])
@pytest.mark.parametrize("options", [{"weight_softmax": True}, {"weight_softmax": False, "bias": True}])
def test_lightweight_convolution(agrees, geometry, options):
    fairseq = pytest.importorskip("fairseq.modules.lightweight_convolution")
    constructor = {"input_size": 8, "kernel_size": geometry[0], "padding_l": geometry[1], "num_heads": 2} | options
    peer = fairseq.LightweightConv1dTBC(**constructor)
    agrees("LightweightConv1dTBC", constructor, peer_parameters(peer), {"x": torch.randn(5, 2, 8)}, peer_form(peer))


# Deformable convolution: torchvision's own


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"stride": 2, "padding": 1, "bias": True},
        {"dilation": 2, "padding": 2, "groups": 2},
        {"kernel_size": [1, 1], "stride": [1, 1], "padding": 0},
        {"kernel_size": 5, "padding": [2, 2], "groups": 4},
    ],
)
@pytest.mark.parametrize("offset_groups", [1, 2])
def test_deformable_convolution(agrees, options, offset_groups):
    constructor = {"in_channels": 4, "out_channels": 8, "kernel_size": 3, "stride": 1, "padding": 0, "dilation": 1}
    constructor |= {"groups": 1, "bias": False} | options
    kernel = torch.tensor(constructor["kernel_size"]).flatten()[0].item()
    shapes = {"weight": (8, 4 // constructor["groups"], kernel, kernel)} | (
        {"bias": (8,)} if constructor["bias"] else {}
    )
    stride, padding, dilation = (
        torch.tensor(constructor[name]).flatten()[0].item() for name in ("stride", "padding", "dilation")
    )
    height, width = ((side + 2 * padding - dilation * (kernel - 1) - 1) // stride + 1 for side in (7, 6))
    inputs = {"x": torch.randn(2, 4, 7, 6), "offset": torch.randn(2, 2 * offset_groups * kernel**2, height, width)}

    def form(p: dict, inputs: dict) -> Tensor:
        return deform_conv2d(inputs["x"], inputs["offset"], p["weight"], p.get("bias"), stride, padding, dilation)

    agrees("deform_conv2d(mask=None)", constructor, shapes, inputs, form)


# What cannot be served


@pytest.mark.parametrize(
    ("name", "constructor", "inputs", "rule"),
    [
        ("ACmix", {"in_planes": 4, "out_planes": 4, "dilation": 2}, {}, "dilation=2: our operator has 1 only"),
        ("ACmix", {"in_planes": 4, "out_planes": 4, "kernel_conv": 5}, {}, "kernel_conv=5: our operator has 3 only"),
        ("ACmix", {"in_planes": 4, "out_planes": 4, "gate": 1}, {}, "gate=1: not an option of our operator"),
        (
            "SwinTransformerBlock",
            {"dim": 4, "input_resolution": [4, 4], "num_heads": 2, "act_layer": "torch.nn.ReLU"},
            {},
            "act_layer='torch.nn.ReLU': our block has GELU only",
        ),
        ("WindowAttention_acmix", {"dim": 4, "window_size": [2, 3], "num_heads": 2}, {}, "one value for both axes"),
        ("GeneralizedAttention", {"in_channels": 8, "num_heads": 2, "bias": True}, {}, "bias=True: not an option"),
        (
            "DynamicConv1dTBC",
            {"input_size": 8, "kernel_size": 4, "padding_l": 2, "weight_softmax": True},
            {"x": torch.randn(3, 1, 8)},
            "kernel_size=4: must be odd unless causal",
        ),
        (
            "deform_conv2d",
            {"in_channels": 4, "out_channels": 4, "kernel_size": [1, 3]},
            {"offset": torch.randn(1, 6, 4, 4)},
            "kernel_size=[1, 3]: our operator has one value for both axes",
        ),
        ("deform_conv2d", {"kernel_size": 1}, {"mask": torch.rand(1, 1, 4, 4)}, "mask: our operator is not modulated"),
        (
            "ParallelMultiheadAttention (cur_attn_type='es')",
            muse_constructor("encoder"),
            {"attn_mask": causal(4)},
            "attention mask: -inf above the diagonal in a decoder and none in an encoder",
        ),
        ("TransformerCombineEncoderLayer", muse_constructor("encoder", combine=0), {}, "combine=0: our operator has 1"),
    ],
)
def test_what_cannot_be_served_is_one_line(refusal, name, constructor, inputs, rule):
    assert rule in refusal(name, constructor, {}, {"x": torch.randn(1, 4, 4, 4)} | inputs)


def test_unfolded_kernels_longer_than_the_sequence_are_fairseqs_own(refusal):
    constructor = {"input_size": 8, "kernel_size": 7, "padding_l": 6, "weight_softmax": True}
    call = json.dumps({"tensors": {"x": "input/x"}, "other": {"unfold": True}})
    assert "unfold: fairseq drops taps" in refusal(
        "DynamicConv1dTBC", constructor, {}, {"x": torch.randn(5, 2, 8)}, call=call
    )


def test_a_record_without_gradients_or_optional_outputs(tmp_path, capsys):
    """Attention weights need not be recorded, nor gradients; what is recorded must be given."""
    constructor = muse_constructor("encoder")
    parameters = {name: drawn(name, shape) for name, shape in branch_shapes(constructor, "encoder").items()}
    inputs = {"x": torch.randn(6, 2, 8)}
    path, name = tmp_path / "case.safetensors", "ParallelMultiheadAttention (cur_attn_type='es')"

    def form(p: dict, inputs: dict) -> dict:
        return plain_forms.muse_branch(constructor, p, inputs["x"], "encoder", None)

    content = write_fixture(path, name, constructor, parameters, inputs, form)
    from safetensors.torch import save_file

    bare = {key: t for key, t in content["data"].items() if "grad" not in key and key != "output/attn_weights"}
    save_file(bare, path, content["meta"])
    assert main([str(tmp_path)]) == 0, capsys.readouterr().out
    tolerance = json.loads(content["meta"]["tolerance"]) | {"output/gates": {"atol": 1.0, "rtol": 1.0}}
    save_file(bare | {"output/gates": torch.zeros(2)}, path, content["meta"] | {"tolerance": json.dumps(tolerance)})
    assert main([str(tmp_path)]) == 1
    assert "gives no output gates" in capsys.readouterr().out
