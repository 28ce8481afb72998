"""Published numbers of a study: experiments/<study>/reference.csv.

A row is one number of one source. `arm` names the arm of ours that repeats it (empty: none does). An empty `value`
means that the source is known to print the number and nobody could read it; it is shown as `unread` and never filled.
Differences are taken between rows of one table, since releases and recipes differ in their absolute numbers.
"""

import csv
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from analysis.studies import Ablation
from plugins.suite.errors import UserError
from plugins.suite.files import one_line

COLUMNS = tuple("task ablation arm table dataset model variant metric value unit source confidence note".split())
KINDS = {
    "read-in-paper-text": "paper",
    "unread-in-paper": "paper",
    "official-repo": "official",
    "official-log": "official",
    "secondary-source": "official",
}


@dataclass(frozen=True)
class Reference:
    """One published number; `value` is NaN when unread. `kind` is "paper" or "official" (code, toolbox, copies)."""

    ablation: str
    arm: str
    table: str
    dataset: str
    model: str
    variant: str
    metric: str
    value: float
    unit: str
    kind: str
    source: str

    @property
    def unread(self) -> bool:
        return math.isnan(self.value)


@dataclass(frozen=True)
class Published:
    """What one table says of an arm: its number and its difference to the baseline of the ablation (NaN: not given)."""

    table: str
    value: float
    difference: float

    @property
    def unread(self) -> bool:
        return math.isnan(self.value)


def load(experiments: Path, study: str) -> list[Reference]:
    """All rows of a study; none when it has no reference.csv. Raises UserError with the line of a bad row."""
    path = experiments / study / "reference.csv"
    if not path.exists():
        return []
    try:
        with path.open(encoding="utf-8", newline="") as stream:
            reader = csv.DictReader(stream)
            if tuple(reader.fieldnames or ()) != COLUMNS:
                raise UserError(f"{path}: the columns must be {','.join(COLUMNS)}")
            return [_reference(path, reader.line_num, row) for row in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as problem:
        raise UserError(f"{path}: cannot be read: {one_line(problem)}") from problem


def _reference(path: Path, line: int, row: Mapping[str, str]) -> Reference:
    if None in row or None in row.values():
        raise UserError(f"{path}:{line}: must have {len(COLUMNS)} fields; quote the ones that hold commas")
    if row["confidence"] not in KINDS:
        raise UserError(f"{path}:{line}: confidence '{row['confidence']}' is none of {', '.join(KINDS)}")
    try:
        value = float(row["value"]) if row["value"] else math.nan
    except ValueError as problem:
        raise UserError(f"{path}:{line}: value '{row['value']}' is no number; leave it empty if unread") from problem
    kept = {
        key: row[key] for key in ("ablation", "arm", "table", "dataset", "model", "variant", "metric", "unit", "source")
    }
    return Reference(**kept, value=value, kind=KINDS[row["confidence"]])


def of_arm(references: list[Reference], ablation: Ablation, arm: str) -> list[Reference]:
    """Rows of an arm under any of its names, those of this ablation first."""
    names = ablation.names.get(arm, {(ablation.name, arm)})
    rows = [reference for reference in references if (reference.ablation, reference.arm) in names]
    return sorted(rows, key=lambda row: row.ablation != ablation.name)


def published(references: list[Reference], ablation: Ablation, arm: str, metric: str, kind: str) -> list[Published]:
    """What each table of a kind says of an arm in `metric`, one entry a table, in the order of the file."""
    base = [r for r in of_arm(references, ablation, ablation.baseline) if r.metric == metric and r.kind == kind]
    tables = {}
    for row in of_arm(references, ablation, arm):
        if row.metric != metric or row.kind != kind or row.table in tables:
            continue
        like = next((b for b in base if b.table == row.table and b.dataset == row.dataset), None)
        tables[row.table] = Published(row.table, row.value, row.value - like.value if like else math.nan)
    return list(tables.values())
