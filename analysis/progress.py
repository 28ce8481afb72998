"""A line for each run that finishes while snakemake works: its metric, its seconds, and the time left.

A thread of snakemake's own process looks for new metrics.json; no result depends on it.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterable
from pathlib import Path

EVERY = 2.0  # seconds between two looks


def start(paths: Iterable[str]) -> None:
    """Watches the metrics.json that are going to be written, until the process ends."""
    watch = Watch(paths, time.monotonic())
    threading.Thread(target=_loop, args=(watch,), daemon=True).start()


def _loop(watch: Watch) -> None:
    while watch.pending:
        time.sleep(EVERY)
        for line in watch.look(time.monotonic()):
            print(line, flush=True)


class Watch:
    """The runs that are still to come, and what those that came took. `began`: a time in seconds."""

    def __init__(self, paths: Iterable[str], began: float) -> None:
        # Of a run that is made again, the file of the last time is still there.
        self.pending = {path: _changed(path) for path in paths}
        self.count, self.began = len(self.pending), began
        self.took: dict[str, list[float]] = {}  # by study/ablation

    def look(self, now: float) -> list[str]:
        """A line for each run that was finished since the last look."""
        new = [path for path, before in self.pending.items() if _changed(path) not in (None, before)]
        lines = []
        for path in new:
            del self.pending[path]
            value = json.loads(Path(path).read_text(encoding="utf-8"))
            seconds = float(value["wall_s"].get("total") or 0)
            self.took.setdefault(_family(path), []).append(seconds)
            score = f"{value['primary']} {value['metrics'][value['primary']]:.2f}"
            name = "/".join(Path(path).parts[-5:-1])
            done = self.count - len(self.pending)
            left = duration(self.left(now)) if self.pending else "0 s"
            lines.append(f"done  {name}  {score}  {duration(seconds)}  | {done} of {self.count}, about {left} left")
        return lines

    def left(self, now: float) -> float:
        """Seconds until the last run: those of its ablation, or of all, over as many at a time as there have been."""
        every = [seconds for family in self.took.values() for seconds in family]
        means = {family: sum(seconds) / len(seconds) for family, seconds in self.took.items()}
        work = sum(means.get(_family(path), sum(every) / len(every)) for path in self.pending)
        at_once = max(1.0, sum(every) / max(now - self.began, 1e-3))
        return work / at_once


def _changed(path: str) -> int | None:
    """When a file was written; None where there is none."""
    try:
        return Path(path).stat().st_mtime_ns
    except OSError:
        return None


def _family(path: str) -> str:
    return "/".join(Path(path).parts[-5:-3])


def duration(seconds: float | None) -> str:
    """ "1 h 05 min", "12 min", "40 s", "unknown"."""
    if seconds is None:
        return "unknown"
    minutes = round(seconds / 60)
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"
