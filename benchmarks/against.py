"""``python -m benchmarks.operators --against DIR``: the operators of this checkout and of another, in turns.

Both checkouts register the same operator names with torch, so each has a process of its own; both run the cases of this
one. A turn is one pass of either, new first in one turn and old first in the next, so that a busy moment of the machine
hits them alike. What counts is the median of the turns' ratios new / old, not the ratio of two medians. With
`--clock processor` time is what the process spends on its cores: with one thread, others on the machine then cost it
caches at most. Memory is counted from the allocator's events and does not depend on the machine's load.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path

import torch

ROOT = Path(__file__).resolve().parents[1]
# A ratio above this is a loss.
LIMIT = 1.05
# glibc keeps the memory of one block of logits for the next. By default it may hand it back to the system after each
# block or not, as the heap happens to lie, which makes two processes with the same code differ by up to a fifth.
ALLOCATOR = {
    "MALLOC_MMAP_THRESHOLD_": str(1 << 30),
    "MALLOC_TRIM_THRESHOLD_": str(1 << 34),
    "MALLOC_TOP_PAD_": str(1 << 28),
}
# Idle threads of a process wait in a loop for about a millisecond before they let go of their core.
PAUSE = 0.005


class Side:
    """The operators of one checkout in a process of its own, which runs what it is asked for."""

    def __init__(self, root: Path, quick: bool, device: str, threads: int, clock: str) -> None:
        context = multiprocessing.get_context("spawn")
        self.pipe, other_end = context.Pipe()
        options = (root, quick, device, threads, clock)
        self.process = context.Process(target=_serve, args=(other_end, *options), daemon=True)
        os.environ.update(ALLOCATOR)  # read when a process starts
        self.process.start()
        other_end.close()

    def ask(self, *request: str):
        """The answer to one request: ("family", name), ("case",), ("time", pass) or ("peak", pass)."""
        self.pipe.send(request)
        try:
            return self.pipe.recv()
        except EOFError:
            raise SystemExit(f"one checkout's process died at {' '.join(request)}: see its traceback above") from None

    def close(self) -> None:
        self.pipe.close()
        self.process.join(timeout=10)


def _serve(pipe, root: Path, quick: bool, device: str, threads: int, clock: str) -> None:
    """Answer requests until the pipe closes."""
    sys.path.insert(0, str(root))
    benchmark = import_module("benchmarks.operators")
    operators = Path(import_module("plugins.operators").__file__)
    if not operators.is_relative_to(root):
        raise RuntimeError(f"operators of {root} wanted, {operators} imported")
    torch.set_num_threads(threads)
    place, measure = torch.device(device), benchmark.seconds if clock == "wall" else _processor_seconds
    calls: dict = {}
    while True:
        try:
            kind, *what = pipe.recv()
        except EOFError:
            return
        if kind == "family":
            torch.manual_seed(0)
            cases, answer = benchmark.FAMILIES[what[0]](quick), None
        elif kind == "case":
            case = next(cases, None)
            answer = None if case is None else (case.operator, case.name)
            calls = {} if case is None else benchmark.our_passes(case, place)
        elif kind == "time":
            answer = 1e3 * measure(calls[what[0]], place)
        else:
            answer = import_module("plugins.runner.measure").peak_megabytes(calls[what[0]], device)
        pipe.send(answer)


def _processor_seconds(call: Callable[[], object], device: torch.device) -> float:
    """Processor time of all threads of this process for one call."""
    start = time.process_time()
    call()
    return time.process_time() - start


def compare(options, families: list[str], passes: tuple[str, ...]) -> int:
    """Every case of the families on both sides: print a line a pass, write the records; 1 where a ratio is a loss."""
    settings = (options.quick, options.device, options.threads, options.clock)
    new, old = (Side(root, *settings) for root in (ROOT, options.against.resolve()))
    records = []
    for family in families:
        for operator, case in _cases(new, old, family):
            for name in passes:
                record = {"operator": operator, "case": case, "pass": name, "device": options.device}
                record |= {"threads": options.threads, "clock": options.clock}
                record |= _ratios(new, old, name, options.seconds)
                records.append(record)
                _show(record)
            if options.json:  # after every case, so that an interrupted run leaves what it has
                options.json.write_text(json.dumps(records, indent=1) + "\n")
    new.close()
    old.close()
    return _conclude(records)


def _cases(new: Side, old: Side, family: str) -> Iterator[tuple[str, str]]:
    for side in (new, old):
        side.ask("family", family)
    while True:
        ours, theirs = new.ask("case"), old.ask("case")
        if ours != theirs:
            raise SystemExit(f"the two checkouts differ in their cases: {ours} and {theirs}")
        if ours is None:
            return
        yield ours


def _ratios(new: Side, old: Side, name: str, seconds: float) -> dict:
    """Times in turns for about this long, at least 5 turns and at most 101, and the peaks."""
    for side in (new, old):
        side.ask("time", name)
    times: list[tuple[float, float]] = []
    start = time.perf_counter()
    while len(times) < 5 or (time.perf_counter() - start < seconds and len(times) < 101):
        first, second = (new, old) if len(times) % 2 else (old, new)
        one = first.ask("time", name)
        time.sleep(PAUSE)
        two = second.ask("time", name)
        time.sleep(PAUSE)
        times.append((one, two) if first is new else (two, one))
    ratios = [ours / theirs for ours, theirs in times]
    peaks = [statistics.median(side.ask("peak", name) for _ in range(3)) for side in (new, old)]
    return {
        "turns": len(times),
        "new_ms": statistics.median(ours for ours, _ in times),
        "old_ms": statistics.median(theirs for _, theirs in times),
        "time_ratio": statistics.median(ratios),
        "time_ratio_quartiles": statistics.quantiles(ratios, n=4)[::2],
        "new_peak_mb": peaks[0],
        "old_peak_mb": peaks[1],
        "memory_ratio": peaks[0] / peaks[1],
    }


def _show(record: dict) -> None:
    low, high = record["time_ratio_quartiles"]
    print(
        f"{record['operator']:22} {record['case']:44} {record['pass']:8} {record['old_ms']:8.1f} -> "
        f"{record['new_ms']:8.1f} ms, ratio {record['time_ratio']:.3f} (quartiles {low:.3f} to {high:.3f}, "
        f"{record['turns']} turns); {record['old_peak_mb']:7.1f} -> {record['new_peak_mb']:7.1f} MB, "
        f"ratio {record['memory_ratio']:.3f}",
        flush=True,
    )


def _conclude(records: list[dict]) -> int:
    """One line on the worst ratios, one on each loss."""
    losses = [r for r in records if max(r["time_ratio"], r["memory_ratio"]) > LIMIT]
    for record in losses:
        print(
            f"LOSS {record['operator']} {record['case']} {record['pass']}: "
            f"time {record['time_ratio']:.3f}, memory {record['memory_ratio']:.3f}"
        )
    worst = {kind: max(r[f"{kind}_ratio"] for r in records) for kind in ("time", "memory")}
    print(f"{len(records)} passes, worst ratio new / old: time {worst['time']:.3f}, memory {worst['memory']:.3f}")
    return 1 if losses else 0
