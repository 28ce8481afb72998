"""The state of the runs and the time that is left."""

import fcntl
import json
from pathlib import Path

import pytest

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


def test_watching_prints_a_line_a_finished_run_and_ends_when_nothing_is_left(suite, capsys, monkeypatch):
    last, other = (run_folder("muse", "kernels", "kernel_31", seed) / "metrics.json" for seed in (3, 2))
    content = {path: path.read_text() for path in (last, other)}
    for path in content:
        path.unlink()
    ends = iter(
        [
            lambda: other.write_text(content[other]),
            lambda: None,
            lambda: last.with_name("error.json").write_text('{"error": "out of memory"}'),
        ]
    )
    monkeypatch.setattr(status.time, "sleep", lambda seconds: next(ends)())
    assert main(["status", "--watch", "1"]) == 0
    lines = [line for line in capsys.readouterr().out.splitlines() if " | " in line]
    bleu = json.loads(content[other])["metrics"]["bleu"]
    assert lines == [
        f"done    muse/kernels/kernel_31/seed2  bleu {bleu:.2f}  72 s  | 41 of 42 done, "
        "left: about 72 s with one run at a time",
        "failed  muse/kernels/kernel_31/seed3  out of memory  | 41 of 42 done, left: about 72 s with one run at a time",
    ]


def test_watching_what_is_finished_says_so_once(suite, capsys, monkeypatch):
    monkeypatch.setattr(status.time, "sleep", lambda seconds: pytest.fail("nothing is left to wait for"))
    assert main(["status", "--watch"]) == 0
    assert capsys.readouterr().out.count("scale mini") == 1


def test_one_study_alone(suite, capsys):
    assert main(["status", "--study", "muse"]) == 0
    assert "spatial_attention" not in capsys.readouterr().out
    assert len(samples.entries()) == 45
