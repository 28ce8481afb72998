"""The state of the runs and the time that is left."""

import fcntl
from pathlib import Path

from analysis.__main__ import main
from analysis.commands import status
from tests.unit.analysis import samples
from tests.unit.analysis.samples import run_folder


def test_status_counts_and_estimates(suite, capsys):
    folder = run_folder("muse", "kernels", "kernel_31", 3)
    (folder / "metrics.json").unlink()
    (folder / "spec.yaml").write_text("train: {updates: 300}\n")
    (folder / "curves.jsonl").write_text('{"update": 150, "train_loss": 1}\n{"upda')
    with (folder / "run.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert main(["status"]) == 0
    shown = capsys.readouterr().out
    muse = next(line for line in shown.splitlines() if line.strip().startswith("muse "))
    assert muse.split()[1:5] == ["20", "1", ".", "."]  # the shared baseline counts once
    assert "left: about 36 s with one run at a time" in shown


def record(arm: str, state: str, seconds: float = 0.0) -> dict:
    entry = {"study": "muse", "ablation": "kernels", "arm": arm, "seed": 1}
    return {"entry": entry, "state": state, "seconds": seconds, "fraction": float(state == "done"), "folder": Path()}


def test_a_run_lasts_as_long_as_those_of_its_arm_then_of_its_ablation():
    done = [record("a", "done", 10.0), record("b", "done", 30.0)]
    assert status.remaining([*done, record("a", "missing")]) == 10.0
    assert status.remaining([*done, record("c", "missing")]) == 20.0
    assert status.remaining([record("c", "missing")]) is None and status.remaining(done) == 0.0


def test_watching_ends_when_nothing_is_left(suite, capsys, monkeypatch):
    path = run_folder("muse", "kernels", "kernel_31", 3) / "metrics.json"
    content = path.read_text()
    path.unlink()
    monkeypatch.setattr(status.time, "sleep", lambda seconds: path.write_text(content))
    assert main(["status", "--watch", "1"]) == 0
    assert capsys.readouterr().out.count("scale mini") == 2


def test_one_study_alone(suite, capsys):
    assert main(["status", "--study", "muse"]) == 0
    assert "spatial_attention" not in capsys.readouterr().out
    assert len(samples.entries()) == 45
