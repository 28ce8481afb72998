"""The lines that a run of the DAG shows: each finished run once, with the time left."""

import json
import os
from pathlib import Path

import pytest

from analysis import progress
from tests.unit.analysis import samples


def finish(arm: str, seed: int, seconds: float) -> None:
    value = samples.metrics("muse", "branches", arm, seed, 35.3) | {"wall_s": {"total": seconds}}
    samples.write_run(value)


def path(arm: str, seed: int) -> str:
    return str(samples.run_folder("muse", "branches", arm, seed) / "metrics.json")


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def test_each_run_has_one_line_with_its_metric_seconds_and_the_time_left():
    watch = progress.Watch([path("muse", seed) for seed in (1, 2, 3, 4)], began=0.0)
    assert watch.look(10.0) == []
    finish("muse", 1, 20.0)
    finish("muse", 2, 20.0)
    lines = watch.look(20.0)  # two at a time
    assert lines[0].startswith("done  muse/branches/muse/seed1  bleu 35.30  20 s  | 1 of 4, about ")
    assert lines[1].endswith("| 2 of 4, about 20 s left")
    assert watch.look(21.0) == []
    finish("muse", 3, 20.0)
    finish("muse", 4, 20.0)
    assert watch.look(40.0)[-1].endswith("| 4 of 4, about 0 s left") and not watch.pending


def test_a_run_that_is_made_again_is_finished_when_its_file_is_new():
    finish("muse", 1, 20.0)
    watch = progress.Watch([path("muse", 1)], began=0.0)
    assert watch.look(1.0) == []
    Path(path("muse", 1)).unlink()
    assert watch.look(2.0) == []
    finish("muse", 1, 30.0)
    os.utime(path("muse", 1), ns=(1, 1))
    (line,) = watch.look(3.0)
    assert "  30 s  | 1 of 1" in line


def test_runs_of_unlike_length_are_reckoned_by_their_ablation():
    other = str(samples.run_folder("muse", "kernels", "kernel_3", 1) / "metrics.json")
    watch = progress.Watch([path("muse", 1), path("muse", 2), other], began=0.0)
    finish("muse", 1, 10.0)
    watch.look(10.0)
    assert watch.left(10.0) == pytest.approx(20.0)  # kernels: as all others
    value = json.loads(Path(path("muse", 1)).read_text())
    Path(other).parent.mkdir(parents=True)
    Path(other).write_text(json.dumps(value | {"wall_s": {"total": 100.0}}))
    watch.look(110.0)
    assert watch.left(110.0) == pytest.approx(10.0)
