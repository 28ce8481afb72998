"""How far the runs are: per study and arm how many are done, running, failed, missing, and what time is left.

Reads the lists that the DAG wrote (results/<scale>/expected.json) and the run folders; needs no snakemake.
"""

import json
import os
import time
from collections import Counter
from pathlib import Path

from analysis import loading
from analysis.loading import STATES, AnalysisError

TOTAL_KEYS = ("updates", "iterations", "max_update", "epochs")
TAIL_BYTES = 64 * 1024


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
        spec = loading.read_yaml(folder / "spec.yaml")
        train = spec["train"]
        return float(next(train[key] for key in TOTAL_KEYS if key in train))
    except (AnalysisError, KeyError, TypeError, ValueError, StopIteration):
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


def survey(entries: list[dict]) -> list[dict]:
    """One record a physical run (arms that share one count once): study, arms, state, fraction, seconds."""
    runs = {}
    for entry in entries:
        runs.setdefault(entry["path"], []).append(entry)
    records = []
    for path, sharers in runs.items():
        folder = Path(path).parent
        state, error, value = loading.run_state(Path(path))
        fraction = 1.0 if state == "done" else progress(folder) if state == "running" else 0.0
        seconds = float((value or {}).get("wall_s", {}).get("total") or 0)
        records.append(
            {
                "entry": sharers[0],
                "state": state,
                "error": error,
                "fraction": fraction,
                "seconds": seconds,
                "folder": folder,
            }
        )
    return records


def remaining(records: list[dict]) -> float | None:
    """Seconds of work left, from the mean time of the finished runs, else from the running ones; None if unknown."""
    todo = [record for record in records if record["state"] != "done"]
    if not todo:
        return 0.0
    known = [record["seconds"] for record in records if record["seconds"] > 0]
    known = known or [elapsed(r["folder"]) / r["fraction"] for r in todo if r["fraction"] > 0.02]
    return sum(known) / len(known) * sum(1 - record["fraction"] for record in todo) if known else None


def duration(seconds: float | None) -> str:
    """ "1 h 05 min", "12 min", "40 s", "unknown"."""
    if seconds is None:
        return "unknown"
    minutes = round(seconds / 60)
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"


def lines_of(scale: str, records: list[dict]) -> list[str]:
    """The plain-text report of one scale."""
    lines = [
        f"scale {scale}",
        f"  {'study / ablation / arm':<52}{''.join(f'{state:>9}' for state in STATES)}   progress",
    ]
    groups = {}
    for record in records:
        entry = record["entry"]
        groups.setdefault((entry["study"], entry["ablation"], entry["arm"]), []).append(record)
    for study in dict.fromkeys(key[0] for key in groups):
        mine = [record for key, group in groups.items() if key[0] == study for record in group]
        lines.append(_line(study, mine, indent=2))
        lines += [_line(f"{key[1]} / {key[2]}", group, indent=4) for key, group in groups.items() if key[0] == study]
        left = remaining(mine)
        at_once = max(1, sum(record["state"] == "running" for record in mine))
        if left != 0:
            plural = f"{at_once} runs" if at_once > 1 else "one run"
            lines.append(
                f"    left: about {duration(left if left is None else left / at_once)} with {plural} at a time"
            )
    lines += [f"  failed: {_name(r['entry'])}: {r['error']}" for r in records if r["state"] == "failed"]
    return lines


def _name(entry: dict) -> str:
    return loading.run_name(entry["study"], entry["ablation"], entry["arm"], entry["seed"])


def _line(name: str, records: list[dict], indent: int) -> str:
    count = Counter(record["state"] for record in records)
    share = sum(record["fraction"] for record in records) / len(records)
    cells = "".join(f"{count[state] or '.':>9}" for state in STATES)
    return f"{' ' * indent}{name:<{54 - indent}}{cells}   {100 * share:5.1f} %"


def main(argv: list[str] | None = None) -> int:
    parser = loading.parser(__doc__, runs=False)
    parser.add_argument(
        "--expected", type=Path, action="append", help="list of runs (default: results/*/expected.json)"
    )
    parser.add_argument("--study", help="this study only")
    args = parser.parse_args(argv)
    paths = args.expected or sorted(Path("results").glob("*/expected.json"))
    if not paths:
        raise AnalysisError(
            "results/*/expected.json: none there; run snakemake once (snakemake -n is not enough) or give --expected"
        )
    for path in paths:
        entries = [e for e in loading.read_expected(path) if args.study in (None, e["study"])]
        for scale in dict.fromkeys(e["scale"] for e in entries):
            print("\n".join(lines_of(scale, survey([e for e in entries if e["scale"] == scale]))))
    return 0


if __name__ == "__main__":
    loading.cli(main)
