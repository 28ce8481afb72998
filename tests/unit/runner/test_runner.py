"""The life of one run: lock, failure record, atomic writing, devices, doctor, cost counting."""

import contextlib
import errno
import fcntl
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml
from torch import nn

from plugins.runner import __main__ as runner
from plugins.runner import device, doctor, measure, state
from plugins.suite import files, sources
from plugins.suite.errors import UserError

REPOSITORY = Path(__file__).resolve().parents[3]


def test_json_is_whole_or_absent(tmp_path):
    target = tmp_path / "metrics.json"
    with pytest.raises(ValueError):
        files.write_json(target, {"bleu": float("nan")})
    assert list(tmp_path.iterdir()) == []
    files.write_json(target, {"bleu": 1.0})
    assert json.loads(target.read_text()) == {"bleu": 1.0}
    assert [path.name for path in tmp_path.iterdir()] == ["metrics.json"]


def test_two_runs_in_one_folder(tmp_path):
    with (
        state.alone(tmp_path),
        pytest.raises(UserError, match=f"another process .pid {os.getpid()}"),
        state.alone(tmp_path),
    ):
        pass
    with state.alone(tmp_path):
        pass


def fail_with(monkeypatch, tmp_path, error):
    def engine(spec, data, run_dir, kind):
        raise error

    monkeypatch.setattr(runner, "_run", engine)
    spec = {"study": "s", "ablation": "a", "arm": "b", "seed": 1, "train": {}}
    (tmp_path / "metrics.json").write_text("{}")
    return runner._guarded(spec, tmp_path, tmp_path, "cpu")


@pytest.mark.parametrize(
    ("error", "code", "words"),
    [
        (UserError("data.name: no data set 'x'"), 2, "no data set 'x'"),
        (OSError(errno.ENOSPC, "No space left on device", "checkpoint.pt"), 1, "the disk is full"),
        (RuntimeError("first\nsecond"), 1, "RuntimeError: first second"),
        (SystemExit(3), 1, "SystemExit: 3"),
    ],
)
def test_a_failed_run_leaves_an_error_and_no_metrics(monkeypatch, tmp_path, capsys, error, code, words):
    assert fail_with(monkeypatch, tmp_path, error) == code
    assert not (tmp_path / "metrics.json").exists()
    assert words in json.loads((tmp_path / "error.json").read_text())["error"]
    first = capsys.readouterr().err.splitlines()[0]
    assert first.startswith("error: s/a/b seed 1: ") and words in first
    assert "Traceback" in (tmp_path / "train.log").read_text()


def test_a_schedule_that_is_out_of_date(monkeypatch, capsys):
    monkeypatch.chdir(REPOSITORY)
    table = runner.resolve_metrics_path("results/runs/mini/muse/branches/muse/seed1/metrics.json")
    assert table["study"] == "muse"
    path = "results/runs/mini/muse/branches/muse/seed1/metrics.json"
    assert runner.main([path, "--data", "nowhere", "--spec", "0" * 16]) == 2
    assert "experiments/ changed" in capsys.readouterr().err


def test_nothing_goes_on_from_before_another_pre_training(monkeypatch, tmp_path, capsys):
    monkeypatch.chdir(REPOSITORY)
    start = tmp_path / "metrics.json"
    spec = runner.resolve_metrics_path("results/runs/mini/coatnet/transfer/C-C-T-T/seed1/metrics.json")
    assert spec["pretrained"] == "results/runs/mini/coatnet/pretraining/C-C-T-T/seed1/metrics.json"
    spec["pretrained"] = str(start)
    with pytest.raises(UserError, match="metrics.json: missing; this run starts from the weights of that one"):
        runner._claim_checkpoints(spec, "data", tmp_path)
    checkpoint = tmp_path / "checkpoints" / "update_00000050.pth"
    checkpoint.parent.mkdir()
    for content, stays in (("first", True), ("first", True), ("second", False)):
        checkpoint.touch()
        start.write_text(content)
        runner._claim_checkpoints(spec, "data", tmp_path)
        assert checkpoint.exists() == stays
        checkpoint.parent.mkdir(exist_ok=True)
    assert "pre-training changed since the last checkpoint" in capsys.readouterr().out


def test_cuda_that_is_not_there(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    with pytest.raises(UserError, match="no GPU is visible"), device.take("cuda"):
        pass
    with device.take("auto") as kind:
        assert kind == "cpu"


def test_a_run_takes_the_device_that_is_free(monkeypatch, tmp_path):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    monkeypatch.setattr(device.tempfile, "gettempdir", lambda: str(tmp_path))
    with (tmp_path / f"convattn-gpu-0.{os.getuid()}.lock").open("a") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with device.take("auto") as kind:
            assert (kind, os.environ["CUDA_VISIBLE_DEVICES"]) == ("cuda", "1")


def test_a_run_on_several_gpus_holds_all_or_none(monkeypatch, tmp_path):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1,2")
    monkeypatch.setattr(device.tempfile, "gettempdir", lambda: str(tmp_path))
    waits = []

    def free_the_first(seconds):
        waits.append(seconds)
        with contextlib.ExitStack() as stack:
            assert device._free("1", stack), "a device is held while the run waits for others"
        held.close()

    monkeypatch.setattr(device.time, "sleep", free_the_first)
    with contextlib.ExitStack() as others, contextlib.ExitStack() as held:
        assert device._free("0", held) and device._free("2", others)
        with device.take("auto", 2) as kind:
            assert (kind, os.environ["CUDA_VISIBLE_DEVICES"], len(waits)) == ("cuda", "0,1", 1)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    for wanted in ("cuda", "auto", "cpu"):
        with pytest.raises(UserError, match="trains on 4 GPUs and [01] can be had"), device.take(wanted, 4):
            pass


class Spoken(nn.Module):
    """A product that claims seven multiply-adds, whatever it does."""

    def forward(self, x):
        return x @ x

    def macs(self, x):
        return 7


def test_macs_of_known_layers():
    linear = nn.Sequential(nn.Linear(8, 4), Spoken())
    x = torch.ones(4, 8)
    assert measure.count_macs(linear, lambda: linear(x)) == 4 * 8 * 4 + 7
    convolution = nn.Conv2d(3, 5, 3, padding=1)
    assert measure.count_macs(convolution, lambda: convolution(torch.ones(2, 3, 6, 7))) == 2 * 6 * 7 * 5 * 27
    assert measure.count_parameters(linear) == 36


def test_macs_of_fused_attention():
    q = torch.ones(2, 4, 6, 8)
    attend = nn.functional.scaled_dot_product_attention
    assert measure.count_macs(nn.Identity(), lambda: attend(q, q, q)) == 2 * (2 * 4 * 6 * 6 * 8)


def test_peak_memory_of_a_known_allocation():
    peak = measure.peak_megabytes(lambda: torch.ones(1_000_000) + 1, "cpu")
    assert 8.0 <= peak <= 8.1


def test_cost_has_every_figure():
    model = nn.Linear(8, 8)
    x = torch.ones(2, 8)
    cost = measure.measure(model, lambda: model(x), lambda: model(x).sum().backward(), "cpu", repeats=2)
    assert {"params", "macs", "latency_ms", "train_step_ms", "inference_peak_mb", "train_peak_mb"} <= set(cost)
    assert cost["train_step_ms"] > 0


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (lambda m: m.setattr(doctor.sys, "version_info", (3, 9, 1)), "must be 3.11 or 3.12"),
        (lambda m: m.setattr(doctor.shutil, "which", lambda name: None), "no C++ compiler"),
        (lambda m: m.setattr(doctor, "FREE_GB_INSTALL", 1e9), "free some space"),
    ],
)
def test_the_doctor_before_installing(monkeypatch, capsys, fault, words):
    fault(monkeypatch)
    assert doctor.main(["--before-install"]) == 1
    line = capsys.readouterr().err
    assert words in line and line.count("\n") == 1


def test_the_doctor_on_other_versions(monkeypatch, capsys):
    pinned = doctor.pinned()
    monkeypatch.setattr(doctor, "pinned", lambda: pinned | {"onedl-mmcv": "9.9.9"})
    assert doctor.main([]) == 1
    assert "requirements.lock says 9.9.9" in capsys.readouterr().err
    monkeypatch.setattr(doctor, "pinned", lambda: pinned)
    assert doctor.main([]) == 0


def test_the_doctor_needs_only_a_bare_python():
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", "import sys; sys.path.insert(0, '.'); import plugins.runner.doctor"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_sources_follow_module_level_imports_only():
    files = sources.closure(frozenset({"plugins.runner.device"}))
    assert files == (
        "plugins/__init__.py",
        "plugins/runner/__init__.py",
        "plugins/runner/device.py",
        "plugins/suite/errors.py",
    )


def test_conda_and_make_agree():
    conda = yaml.safe_load((REPOSITORY / "environment.yml").read_text())["dependencies"]
    assert {re.split("[=<>]", package)[0] for package in conda} == {"python", "cxx-compiler", "make", "git", "uv"}
    pinned = doctor.pinned()
    assert f"uv={pinned['uv']}" in conda
    version = next(p.split("=")[1] for p in conda if p.startswith("python="))
    text = (REPOSITORY / "pyproject.toml").read_text()
    assert version in ("3.11", "3.12") and 'requires-python = ">=3.11,<3.13"' in text
    for name, wanted in re.findall(r'"([a-zA-Z0-9-]+)==([^"]+)"', text):
        assert pinned[name] == wanted


def test_no_registry_host_is_named():
    tracked = subprocess.run(
        ["git", "ls-files"], cwd=REPOSITORY, capture_output=True, text=True, check=False
    ).stdout.split()
    host = "py" + "pi.org"
    for name in tracked:
        path = REPOSITORY / name
        if path.suffix in {".py", ".md", ".toml", ".lock", ".yml", ".yaml", ".smk"} or path.name == "Makefile":
            assert host not in path.read_text(errors="replace"), name


def test_macs_of_an_operator_that_is_called_with_keywords():
    from plugins.operators.muse import MuseAttention

    branch = MuseAttention(8, 2, kernels=[3])
    x, padding = torch.ones(5, 2, 8), torch.zeros(2, 5, dtype=torch.bool)
    assert measure.count_macs(branch, lambda: branch(x, key_padding_mask=padding)) == branch.macs(x) > 0
