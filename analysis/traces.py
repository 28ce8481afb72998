"""From a published number back to what made it: a row of a table -> runs -> specs -> commands -> commit and data.

The row of FILE:ROW is a line of the file as an editor counts (the header is line 1), or a name: study:5a in a ledger,
<ablation>/<arm> or <study>/<ablation>/<arm> in a table of arms or runs.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Mapping
from pathlib import Path

from analysis import lookup, runs, sets
from analysis.sets import ResultSet
from plugins.suite.errors import UserError
from plugins.suite.files import nearest, one_line, read_text

PUBLISHED = "published"
NAMING = ("study", "claim", "part", "says", "ablation", "arm", "label", "level", "scale", "verdict", "metric")


def trace(place: str) -> str:
    """Everything behind a row, as text. UserError, one line, for a file, row or run that is not there."""
    path, row = split(place)
    if path.suffix == ".jsonl":
        return _of_line(path, row)
    blocks = []
    for number, record in chosen(path, row):
        shown = ", ".join(f"{key} {record[key]}" for key in NAMING if record.get(key))
        blocks.append(f"{path}:{number}: {shown}")
        blocks += behind(path, record)
    return "\n".join(blocks)


def split(place: str) -> tuple[Path, str]:
    """(file, row) of FILE:ROW; the row may hold colons itself."""
    parts = place.split(":")
    for cut in range(len(parts) - 1, 0, -1):
        path = Path(":".join(parts[:cut]))
        if path.is_file():
            return path, ":".join(parts[cut:])
    if Path(place).is_file():
        raise UserError(f"{place}: names no row; add :LINE, or :study:5a for a ledger, or :<ablation>/<arm>")
    raise UserError(f"{parts[0]}: no such file; give FILE:ROW, e.g. results/published/ledger.csv:muse:5a")


def chosen(path: Path, row: str) -> list[tuple[int, dict]]:
    """(line of the file, record) of the rows that ROW names. UserError with the nearest name."""
    table = _records(path)
    if row.isdecimal():
        if int(row) not in table:
            raise UserError(f"{path}: no row at line {row}; its rows are lines {min(table)} to {max(table)}")
        return [(int(row), table[int(row)])]
    named = [(number, record) for number, record in table.items() if row in _names(record)]
    if not named:
        known = dict.fromkeys(name for record in table.values() for name in _names(record))
        raise UserError(f"{path}: no row '{row}'{nearest(row, known)}")
    return named


def _records(path: Path) -> dict[int, dict]:
    """{line: record} of a CSV with a header. UserError for one that is none or has no rows."""
    try:
        reader = csv.DictReader(read_text(path).splitlines(keepends=True))
        table, before = {}, 1
        for record in reader:
            if None in record or None in record.values():
                raise UserError(f"{path}:{reader.line_num}: has not as many fields as the header; write it again")
            table[before + 1], before = record, reader.line_num
    except csv.Error as problem:
        raise UserError(f"{path}: not a CSV table ({one_line(problem)})") from None
    if not table:
        raise UserError(f"{path}: has no rows")
    return table


def _names(record: Mapping) -> list[str]:
    """The names by which a row may be called."""
    names = []
    if record.get("claim"):
        names += [f"{record['study']}:{record['claim']}{part}" for part in ("", record["part"])]
    if record.get("arm") and record.get("ablation"):
        arm = f"{record['ablation']}/{record['arm']}"
        names += [arm, f"{record.get('study', '')}/{arm}"]
        if record.get("seed"):
            names += [f"{name}/seed{record['seed']}" for name in names[-2:]]
    return names


def behind(path: Path, record: Mapping) -> list[str]:
    """The lines on every run, or file, that a row rests on."""
    names = run_names(record)
    files = [name for name in names if "/seed" not in name]
    lines = [f"  rests on {name}" + ("" if Path(name).is_file() else " (not there)") for name in files]
    wanted = [name for name in names if name not in files]
    if not wanted and not files:
        return [f"  rests on no run: {record.get('reason') or nothing(record)}"]
    if wanted:
        results = _sets(path, record.get("scale", ""))
        for run in wanted:
            lines += _run(run, results)
    return lines


def nothing(record: Mapping) -> str:
    """Why a row names no run."""
    if record.get("level") == "printed":
        return f"the published numbers in experiments/{record['study']}/reference.csv"
    return "it names none"


def run_names(record: Mapping) -> list[str]:
    """Runs, study/ablation/arm/seed<k>, or the files of evidence that a row of any of the tables names.

    ledger.csv has `runs`; runs.csv has `run`; arms.csv and the tables of ablations have `run` and `seeds`.
    """
    if "runs" in record:
        return record["runs"].split()
    run = record.get("run") or ""
    if re.search(r"/seed[0-9]+$", run):
        return [run]
    if run:
        return [f"{run}/seed{seed}" for seed in (record.get("seeds") or "").split()]
    if record.get("study") and record.get("ablation") and record.get("arm"):  # comparison.csv
        name = lookup.arm_named(f"{record['study']}/{record['ablation']}/{record['arm']}")
        return [f"{name.folder}/seed"]
    raise UserError("this table names no runs; trace a row of ledger.csv, arms.csv, runs.csv or an ablation's table")


def _sets(path: Path, scale: str) -> list[ResultSet]:
    """The sets in which the runs of a table may stand, the table's own kind first."""
    root = next((parent for parent in path.parents if parent.name == "results"), Path("results"))
    scales = [scale] if scale in ("mini", "small", "paper") else ["mini", "small", "paper"]
    present = sets.present(root, scales)
    return sorted(present, key=lambda result: (PUBLISHED in result.path.parts) != (PUBLISHED in path.parts))


def _run(run: str, results: list[ResultSet]) -> list[str]:
    """One run (all seeds of an arm where it ends in /seed) in the first set that has it."""
    for result in results:
        names = [runs.name_of(value) for value in result.values]
        hits = [name for name in names if name == run or (run.endswith("/seed") and name.startswith(run))]
        if hits:
            return [line for name in hits for line in _block(name, result)]
    searched = ", ".join(str(result.path) for result in results) or "no results of its scale"
    return [f"  {run}: not in {searched}"]


def _block(run: str, result: ResultSet) -> list[str]:
    value = lookup.value_of(result, run)
    return [f"  {run}   ({result.place(run)})", *(f"  {line}" for line in lookup.run_lines(value))]


def _of_line(path: Path, row: str) -> str:
    """The run of one line of a metrics.jsonl, by its number or its name."""
    values = runs.read_metrics_lines(path)
    if row.isdecimal() and not 1 <= int(row) <= len(values):
        raise UserError(f"{path}: no line {row}; it has {len(values)}")
    named = [values[int(row) - 1]] if row.isdecimal() else [v for v in values if runs.name_of(v) == row]
    if not named:
        raise UserError(f"{path}: no run '{row}'{nearest(row, [runs.name_of(value) for value in values])}")
    return "\n".join([f"{runs.name_of(named[0])}   ({path})", *lookup.run_lines(named[0])])
