"""Accelerators: a run takes the first that is free, all that it needs or none, and says so when it waits."""

import contextlib
import fcntl
import os

import pytest

from plugins.runner import device
from plugins.suite import sources
from plugins.suite.errors import UserError


def test_cuda_that_is_not_there(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    with pytest.raises(UserError, match="no GPU is visible"), device.take("cuda"):
        pass
    with device.take("auto") as kind:
        assert kind == "cpu"


def test_a_run_takes_the_device_that_is_free(monkeypatch, tmp_path):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    monkeypatch.setattr(device.tempfile, "gettempdir", lambda: str(tmp_path))
    with (tmp_path / "convattn-gpu-0.lock").open("a") as held:
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


def test_a_wait_for_somebody_elses_lock_is_announced_once(monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    monkeypatch.setattr(device.tempfile, "gettempdir", lambda: str(tmp_path))
    waits = []

    def sleep(seconds):
        waits.append(seconds)
        if len(waits) == 3:
            fcntl.flock(held, fcntl.LOCK_UN)

    monkeypatch.setattr(device.time, "sleep", sleep)
    with (tmp_path / "convattn-gpu-0.lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with device.take("cuda"):
            pass
    shown = capsys.readouterr().err
    assert shown.count("\n") == 1 and len(waits) == 3
    assert shown.startswith("waiting for 1 GPU(s): the locks of 0 (made by ") and str(tmp_path) in shown


def test_a_lock_file_that_is_read_only_serves_and_a_link_does_not(monkeypatch, tmp_path):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    monkeypatch.setattr(device.tempfile, "gettempdir", lambda: str(tmp_path))
    path = device.lock_file("0")
    path.touch(0o444)
    with device.take("cuda") as kind:
        assert kind == "cuda"
    path.unlink()
    path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(UserError, match="cannot be opened as the lock of GPU 0"), device.take("cuda"):
        pass
    assert not (tmp_path / "elsewhere").exists()


def test_sources_follow_module_level_imports_only():
    assert list(sources.closure(frozenset({"plugins.runner.device"}))) == [
        "plugins/__init__.py",
        "plugins/runner/__init__.py",
        "plugins/runner/device.py",
        "plugins/suite/__init__.py",
        "plugins/suite/errors.py",
    ]
