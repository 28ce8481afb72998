"""How far the runs are: per study and arm how many are done, running, failed, missing, and what time is left.

Reads the lists that the DAG wrote (results/<scale>/expected.json) and the run folders; needs no snakemake.
"""

from __future__ import annotations

import json
import os
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from analysis import options, runs
from analysis.progress import duration
from analysis.runs import STATES
from plugins.suite.errors import UserError
from plugins.suite.files import read_yaml

NAME = "status"
HELP = "show what is done, running, failed and missing, and the time left"
TOTAL_KEYS = ("updates", "iterations", "max_update", "epochs")
TAIL_BYTES = 64 * 1024


def add_arguments(parser) -> None:
    parser.add_argument(
        "--expected", type=Path, action="append", help="list of runs (default: results/*/expected.json)"
    )
    options.study(parser)
    parser.add_argument(
        "--watch",
        type=float,
        nargs="?",
        const=10.0,
        metavar="SECONDS",
        help="then look every SECONDS (10) and print a line for each run that finishes, until none is left",
    )


def run(args) -> int:
    report = status(args.expected, args.study)
    print(report.text, flush=True)
    if args.watch and report.unfinished:
        watch(report, args)
    return 0


def watch(report: Report, args) -> None:
    """A line for each run that ends, with its metric, seconds and what is left; the whole state when nothing is."""
    while report.unfinished:
        time.sleep(args.watch)
        before, report = report, status(args.expected, args.study)
        ended = {path: record for path, record in report.records.items() if record["state"] in ("done", "failed")}
        for path, record in ended.items():
            if before.records.get(path, {}).get("state") not in ("done", "failed"):
                print(ending(record, report), flush=True)
    print(report.text)


def ending(record: dict, report: Report) -> str:
    """ "done    muse/branches/muse/seed1  bleu 35.31  72 s  | 34 of 120 done, left: about 12 min"."""
    name = f"{record['state']:<8}{runs.name_of(record['entry'])}"
    value = record["value"]
    said = f"{value['primary']} {value['metrics'][value['primary']]:.2f}" if value else record["error"]
    took = f"  {duration(record['seconds'])}" if value else ""
    every = list(report.records.values())
    finished = sum(each["state"] == "done" for each in every)
    return f"{name}  {said}{took}  | {finished} of {len(every)} done, left: {left_of(every)}"


class Report:
    """The text of all scales; the record of every physical run by its path."""

    def __init__(self, text: str, records: dict[str, dict]):
        self.text, self.records = text, records

    @property
    def unfinished(self) -> int:
        """How many runs are neither done nor failed."""
        return sum(record["state"] in ("running", "missing") for record in self.records.values())


def status(expected: Sequence[Path] | None, study: str | None) -> Report:
    """The state of all runs that are expected. Raises UserError where none are."""
    paths = expected or sorted(Path("results").glob("*/expected.json"))
    if not paths:
        raise UserError(
            "results/*/expected.json: none there; run snakemake once (snakemake -n is not enough) or give --expected"
        )
    lines, records = [], {}
    for path in paths:
        entries = [entry for entry in runs.read_expected(path) if study in (None, entry["study"])]
        for scale in dict.fromkeys(entry["scale"] for entry in entries):
            surveyed = survey([entry for entry in entries if entry["scale"] == scale])
            lines += lines_of(scale, surveyed)
            records |= {str(record["folder"]): record for record in surveyed}
    return Report("\n".join(lines), records)


def last_line(path: Path) -> dict:
    """The last whole JSON object of a curves.jsonl; {} without one. Reads the end of the file only."""
    try:
        with path.open("rb") as stream:
            stream.seek(0, os.SEEK_END)
            stream.seek(max(0, stream.tell() - TAIL_BYTES))
            lines = stream.read().decode("utf-8", errors="replace").splitlines()
    except OSError:
        return {}
    for line in reversed(lines):
        try:
            value = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(value, dict):
            return value
    return {}


def planned_updates(folder: Path) -> float:
    """How many updates the run in `folder` is to make, from its spec.yaml; 0 if unknown."""
    try:
        train = read_yaml(folder / "spec.yaml")["train"]
        return float(next(train[key] for key in TOTAL_KEYS if key in train))
    except (UserError, KeyError, TypeError, ValueError, StopIteration):
        return 0.0


def progress(folder: Path) -> float:
    """Fraction of the training of an unfinished run that is behind it, in 0..1."""
    line = last_line(folder / "curves.jsonl")
    try:
        total = float(line.get("total") or 0) or planned_updates(folder)
        return min(1.0, max(0.0, float(line.get("update", 0)) / total)) if total else 0.0
    except (TypeError, ValueError):
        return 0.0


def elapsed(folder: Path) -> float:
    """Seconds since the run in `folder` took its lock."""
    try:
        return max(0.0, time.time() - (folder / "run.lock").stat().st_mtime)
    except OSError:
        return 0.0


def survey(entries: Sequence[dict]) -> list[dict]:
    """One record a physical run (arms that share one count once): study, arms, state, fraction, seconds."""
    sharers: dict[str, list[dict]] = {}
    for entry in entries:
        sharers.setdefault(entry["path"], []).append(entry)
    return [_record(Path(path), group[0]) for path, group in sharers.items()]


def _record(path: Path, entry: dict) -> dict:
    state, error, value = runs.run_state(path)
    fraction = 1.0 if state == "done" else progress(path.parent) if state == "running" else 0.0
    seconds = float((value or {}).get("wall_s", {}).get("total") or 0)
    return {
        "entry": entry,
        "state": state,
        "error": error,
        "value": value,
        "fraction": fraction,
        "seconds": seconds,
        "folder": path.parent,
    }


def remaining(records: Sequence[dict]) -> float | None:
    """Seconds of work left; None if nothing tells how long a run takes.

    A run is taken to last as long as the finished seeds of its arm do on average, else those of its ablation, else
    those of its study; where none has finished, as long as the running ones will at their pace.
    """
    todo = [record for record in records if record["state"] != "done"]
    pace = [elapsed(r["folder"]) / r["fraction"] for r in todo if r["fraction"] > 0.02]
    means = {key: _means(records, key) for key in (3, 2, 1)}
    total = 0.0
    for record in todo:
        lasts = next((means[k][_place(record, k)] for k in means if _place(record, k) in means[k]), None)
        lasts = lasts or (sum(pace) / len(pace) if pace else None)
        if lasts is None:
            return None
        total += lasts * (1 - record["fraction"])
    return total


def _place(record: dict, length: int) -> tuple:
    return tuple(record["entry"][key] for key in ("study", "ablation", "arm")[:length])


def _means(records: Iterable[dict], length: int) -> dict[tuple, float]:
    """{(study, ablation, arm)[:length]: mean seconds of its finished runs}."""
    known: dict[tuple, list[float]] = {}
    for record in records:
        if record["seconds"] > 0:
            known.setdefault(_place(record, length), []).append(record["seconds"])
    return {place: sum(seconds) / len(seconds) for place, seconds in known.items()}


def lines_of(scale: str, records: Sequence[dict]) -> list[str]:
    """The plain-text report of one scale."""
    lines = [
        f"scale {scale}",
        f"  {'study / ablation / arm':<52}{''.join(f'{state:>9}' for state in STATES)}   progress",
    ]
    groups: dict[tuple, list[dict]] = {}
    for record in records:
        groups.setdefault(_place(record, 3), []).append(record)
    for study in dict.fromkeys(key[0] for key in groups):
        mine = [record for key, group in groups.items() if key[0] == study for record in group]
        lines.append(_line(study, mine, indent=2))
        lines += [_line(f"{key[1]} / {key[2]}", group, indent=4) for key, group in groups.items() if key[0] == study]
    if remaining(records) != 0:
        lines.append(f"  left: {left_of(records)}")
    return lines + [f"  failed: {runs.name_of(r['entry'])}: {r['error']}" for r in records if r["state"] == "failed"]


def left_of(records: Sequence[dict]) -> str:
    """ "about 12 min with 2 runs at a time"."""
    left = remaining(records)
    at_once = max(1, sum(record["state"] == "running" for record in records))
    pace = f"{at_once} runs" if at_once > 1 else "one run"
    return f"about {duration(left if left is None else left / at_once)} with {pace} at a time"


def _line(name: str, records: Sequence[dict], indent: int) -> str:
    count = Counter(record["state"] for record in records)
    share = sum(record["fraction"] for record in records) / len(records)
    cells = "".join(f"{count[state] or '.':>9}" for state in STATES)
    return f"{' ' * indent}{name:<{54 - indent}}{cells}   {100 * share:5.1f} %"
