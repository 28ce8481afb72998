"""The parity harness: recorded fixtures where they are at hand, and fixtures made here in the same format."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from timm.layers import RelPosBias, RelPosBiasTf
from timm.models.maxxvit import MaxxVitConvCfg, MaxxVitTransformerCfg, MbConvBlock, TransformerBlock2d

from tests.parity.__main__ import main
from tests.unit.operators.recording import peer_form, peer_parameters, write_fixture

FIXTURES = Path(os.environ.get("CONVATTN_FIXTURES", Path(__file__).parents[4] / "shared" / "fixtures"))


def record(path: Path, name: str, constructor: dict, module: torch.nn.Module, shape: tuple[int, ...]) -> dict:
    """Run a peer's module with random parameters and write what happened; return the file's content."""
    torch.manual_seed(0)
    return write_fixture(path, name, constructor, peer_parameters(module), {"x": torch.randn(shape)}, peer_form(module))


def record_mbconv(path: Path, stride: int = 1, **cfg) -> dict:
    width = 12 if stride == 1 else 8
    module = MbConvBlock(12, width, stride, cfg=MaxxVitConvCfg(**cfg))
    constructor = {"in_chs": 12, "out_chs": width, "stride": stride, "cfg": cfg}
    return record(path, "MbConvBlock", constructor, module, (2, 12, 6, 8))


def record_transformer(path: Path, stride: int = 1, **cfg) -> dict:
    options, window = {"dim_head": 4} | cfg, (4 // stride, 6 // stride)
    kind = {"bias": RelPosBias, "bias_tf": RelPosBiasTf}.get(options.get("rel_pos_type", "bias"))

    def position(num_heads: int, **_) -> torch.nn.Module:
        return kind(window, num_heads=num_heads)

    module = TransformerBlock2d(8, 8 * stride, stride, position if kind else None, MaxxVitTransformerCfg(**options))
    constructor = {"dim": 8, "dim_out": 8 * stride, "stride": stride, "window_size": window, "cfg": options}
    return record(path, "TransformerBlock2d", constructor, module, (2, 8, 4, 6))


@pytest.mark.skipif(not FIXTURES.is_dir(), reason=f"no recorded fixtures at {FIXTURES} (set CONVATTN_FIXTURES)")
def test_recorded_fixtures(capsys):
    assert main([str(FIXTURES)]) == 0, capsys.readouterr().out


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"stride": 2},
        {"stride": 2, "stride_mode": "1x1", "pool_type": "max2"},
        {"stride": 2, "pool_type": "max", "expand_ratio": 2.0},
        {"norm_layer": "layernorm2d", "norm_eps": 1e-6, "kernel_size": 5, "attn_ratio": 0.5},
    ],
)
def test_timm_mbconv(tmp_path, capsys, options):
    record_mbconv(tmp_path / "case.safetensors", **options)
    assert main([str(tmp_path)]) == 0, capsys.readouterr().out


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"rel_pos_type": "bias_tf", "dim_head": 2},
        {"rel_pos_type": ""},
        {"stride": 2, "pool_type": "avg2"},
        {"stride": 2, "pool_type": "max2", "expand_ratio": 2.0},
    ],
)
def test_timm_transformer(tmp_path, capsys, options):
    record_transformer(tmp_path / "case.safetensors", **options)
    assert main([str(tmp_path)]) == 0, capsys.readouterr().out


@pytest.mark.parametrize("key", ["output/y", "grad_input/x", "grad_param/conv2_kxk.weight"])
@pytest.mark.parametrize("wrong", [0.01, float("nan")])
def test_a_deviation_fails(tmp_path, capsys, key, wrong):
    path = tmp_path / "deep" / "case.safetensors"
    path.parent.mkdir()
    content = record_mbconv(path)
    content["data"][key].view(-1)[0] += wrong
    save_file(content["data"], path, content["meta"])
    assert main([str(tmp_path)]) == 1
    assert f"FAIL {key}" in capsys.readouterr().out


def test_every_kind_of_trouble_is_one_line(tmp_path, capsys):
    content = record_mbconv(tmp_path / "good.safetensors")
    data, meta = content["data"], content["meta"]
    (tmp_path / "truncated.safetensors").write_bytes((tmp_path / "good.safetensors").read_bytes()[:200])
    save_file(data, tmp_path / "nameless.safetensors", {})
    save_file(data, tmp_path / "unknown.safetensors", meta | {"class": "Perceiver"})
    save_file(data, tmp_path / "garbled.safetensors", meta | {"constructor": "{"})
    save_file(data, tmp_path / "intolerant.safetensors", meta | {"tolerance": "{}"})
    save_file(data | {"param/extra": torch.zeros(1)}, tmp_path / "surplus.safetensors", meta)
    short = {key: t for key, t in data.items() if key != "param/conv3_1x1.bias"}
    save_file(short, tmp_path / "short.safetensors", meta)
    odd = json.dumps(json.loads(meta["constructor"]) | {"cfg": {"stride_mode": "pool"}})
    save_file(data, tmp_path / "odd.safetensors", meta | {"constructor": odd})
    assert main([str(tmp_path)]) == 1
    lines = {line.split()[0]: line for line in capsys.readouterr().out.splitlines()}
    for case, text in {
        "truncated": "not a readable safetensors file",
        "nameless": "lacks class, constructor, tolerance",
        "unknown": "unknown case: no adapter for class 'Perceiver'",
        "garbled": "metadata is not JSON",
        "intolerant": "metadata tolerance has no entry for output/y",
        "surplus": "parameter extra has no counterpart",
        "short": "no recorded value for our project.bias",
        "odd": "stride_mode=pool: must be one of dw, 1x1",
    }.items():
        assert "FAIL" in lines[case] and text in lines[case]
    assert "9 fixtures, 1 pass, 8 fail" in lines["9"]


def test_an_empty_folder_fails(tmp_path, capsys):
    assert main([str(tmp_path)]) == 1
    assert "no *.safetensors fixture" in capsys.readouterr().err
