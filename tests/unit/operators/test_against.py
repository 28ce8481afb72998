"""Operators of two checkouts in turns: what counts as a ratio, what as a loss, and a folder that is no checkout."""

from __future__ import annotations

import pytest

from benchmarks import against, operators


class Scripted:
    """A side that answers times from a list and remembers with whom it shared the turns."""

    def __init__(self, name: str, times: list[float], peak: float, log: list[str]) -> None:
        self.name, self.times, self.peak, self.log = name, iter(times), peak, log

    def ask(self, kind: str, what: str) -> float:
        if kind == "peak":
            return self.peak
        self.log.append(self.name)
        return next(self.times)


def test_the_ratio_is_the_median_of_the_turns(monkeypatch):
    """A slow moment that hits both sides of a turn leaves its ratio alone; first calls are not counted."""
    monkeypatch.setattr(against, "PAUSE", 0)
    log: list[str] = []
    new = Scripted("new", [99, 1.1, 11, 2.2, 1.1, 4.4], 30.0, log)
    old = Scripted("old", [99, 1, 10, 2, 1, 8], 20.0, log)
    result = against._ratios(new, old, "fwd", seconds=0)
    assert result["turns"] == 5 and result["time_ratio"] == pytest.approx(1.1)
    assert result["memory_ratio"] == 1.5 and result["new_ms"] == 2.2 and result["old_ms"] == 2
    assert log[2:] == ["old", "new", "new", "old"] * 2 + ["old", "new"]


@pytest.mark.parametrize(("time", "memory", "status"), [(1.04, 0.9, 0), (1.06, 1.0, 1), (0.5, 1.2, 1)])
def test_a_ratio_above_the_limit_is_a_loss(time, memory, status, capsys):
    record = {"operator": "O", "case": "c", "pass": "fwd", "time_ratio": time, "memory_ratio": memory}
    assert against._conclude([record]) == status
    output = capsys.readouterr().out
    assert ("LOSS O c fwd" in output) == bool(status)
    assert f"time {time:.3f}, memory {memory:.3f}" in output


def test_a_folder_without_operators_is_no_checkout(tmp_path, capsys):
    with pytest.raises(SystemExit) as stopped:
        operators.main(["--against", str(tmp_path)])
    assert stopped.value.code == 2 and "no checkout of this project" in capsys.readouterr().err
