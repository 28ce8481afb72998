"""Reading what runs left behind: metrics.json, expected.json, metrics.jsonl, and the tables made of them.

Whatever is wrong with a file that a run left behind becomes a row with a status and a reason; whatever is wrong with a
file that a person named becomes a `UserError` of one line.
"""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Iterable, Mapping
from pathlib import Path

import pandas as pd

from plugins.suite import catalog, schema
from plugins.suite.errors import UserError
from plugins.suite.files import is_locked, one_line, read_json, read_text, write_text

IDENTITY = ("scale", "study", "ablation", "arm", "seed")
SECTIONS = ("metrics", "losses", "cost", "wall_s", "settings", "data", "provenance")
HEAD = (*IDENTITY, "label", "status", "error", "stale", "run", "task", "engine", "primary")
TEXT = (*(name for name in HEAD if name != "seed"), "path")
STATES = ("done", "running", "failed", "missing")


def write_csv(path: Path, frame: pd.DataFrame) -> None:
    """Writes a frame as CSV, atomically, in its own column order."""
    buffer = io.StringIO()
    frame.to_csv(buffer, index=False, lineterminator="\n")
    write_text(path, buffer.getvalue())


def metrics_problem(value: object) -> str:
    """Why `value` is no usable metrics.json, in one line; "" if it is one."""
    try:
        schema.parse(schema.Metrics, value, "metrics.json")
    except UserError as problem:
        return one_line(problem)
    return ""


def run_state(metrics_path: Path) -> tuple[str, str, dict | None]:
    """(status, one-line error, metrics) of the run whose result is `metrics_path`; never raises for what a run left."""
    folder = metrics_path.parent
    if metrics_path.exists():
        try:
            value = read_json(metrics_path)
        except UserError as problem:
            return "failed", one_line(problem), None
        problem = metrics_problem(value)
        return ("failed", problem, None) if problem else ("done", "", value)
    if is_locked(folder / "run.lock"):
        return "running", "", None
    if (folder / "error.json").exists():
        return "failed", _stored_error(folder / "error.json"), None
    return "missing", "", None


def _stored_error(path: Path) -> str:
    try:
        value = read_json(path)
    except UserError as problem:
        return one_line(problem)
    reason = value.get("error") if isinstance(value, Mapping) else None
    return one_line(reason or "failed without a reason; see train.log")


def read_expected(path: Path) -> list[dict]:
    """The list of runs that the DAG asked for. Raises UserError when the file or an entry is unusable."""
    entries = read_json(path)
    if not isinstance(entries, list):
        raise UserError(f"{path}: must be a list of runs; let snakemake write it again")
    for index, entry in enumerate(entries):
        lacking = [key for key in (*IDENTITY, "path") if not isinstance(entry, Mapping) or key not in entry]
        if lacking:
            raise UserError(f"{path}: entry {index} lacks '{lacking[0]}'; let snakemake write it again")
        if isinstance(entry["seed"], bool) or not isinstance(entry["seed"], int):
            raise UserError(f"{path}: entry {index}: seed {entry['seed']!r} is not a whole number")
    return entries


def read_metrics_lines(path: Path) -> list[dict]:
    """The runs of a metrics.jsonl. Raises UserError with the line number for a line that is no metrics.json."""
    runs = []
    for number, line in enumerate(read_text(path).splitlines(), 1):
        if not line.strip():
            continue
        try:
            value = json.loads(line)
        except (ValueError, RecursionError) as problem:
            raise UserError(f"{path}:{number}: not valid JSON: {one_line(problem)}") from problem
        problem = metrics_problem(value)
        if problem:
            raise UserError(f"{path}:{number}: {problem}")
        runs.append(value)
    return runs


def identity(value: Mapping) -> tuple:
    """(scale, study, ablation, arm, seed)."""
    return tuple(value[key] for key in IDENTITY)


def run_name(study: str, ablation: str, arm: str, seed: int) -> str:
    """Name of the folder in which a run stands, below results/runs/<scale>; equal for arms that share their runs."""
    return f"{study}/{ablation}/{catalog.slug(arm)}/seed{seed}"


def name_of(value: Mapping) -> str:
    """`run_name` of a metrics.json or of an entry of expected.json."""
    return run_name(*(value[key] for key in IDENTITY[1:]))


def flatten(value: Mapping, prefix: str) -> dict[str, object]:
    """Nested mappings as dotted keys; lists as JSON text."""
    flat = {}
    for key, item in value.items():
        name = f"{prefix}.{key}"
        if isinstance(item, Mapping):
            flat |= flatten(item, name)
        else:
            flat[name] = json.dumps(item) if isinstance(item, list) else item
    return flat


def tidy(rows: Iterable[dict]) -> pd.DataFrame:
    """Rows with the columns of HEAD first, then one section after another (names sorted inside), `path` last."""
    rows = list(rows)
    names = {name for row in rows for name in row}
    body = [name for section in SECTIONS for name in sorted(n for n in names if n.startswith(section + "."))]
    return pd.DataFrame(rows, columns=[*HEAD, *body, "path"])


def read_table(path: Path, needed: Iterable[str], text: Iterable[str]) -> pd.DataFrame:
    """A CSV with the columns `text` as text ("0010" keeps its zeros, "none" stays a word), NaN for empty numbers.

    `text` holds names, or prefixes that end in a point. Raises UserError for a table that lacks a needed column.
    """
    try:
        with path.open(encoding="utf-8", newline="") as stream:
            header = next(csv.reader(stream), [])
        lacking = [name for name in needed if name not in header]
        if lacking:
            raise UserError(f"{path}: column '{lacking[0]}' is missing; let snakemake write it again")
        words = tuple(name for name in text if name.endswith("."))
        texts = [name for name in header if name in text or (words and name.startswith(words))]
        frame = pd.read_csv(
            path,
            dtype=dict.fromkeys(texts, str),
            keep_default_na=False,
            na_values=[""],
            float_precision="round_trip",
        )
    except (OSError, UnicodeDecodeError) as problem:
        raise UserError(f"{path}: cannot be read: {one_line(problem)}") from problem
    except (ValueError, pd.errors.ParserError) as problem:
        raise UserError(f"{path}: not such a table: {one_line(problem)}") from problem
    plain = [name for name in texts if name in text]
    frame[plain] = frame[plain].fillna("")
    if frame["scale"].nunique() > 1:
        raise UserError(f"{path}: holds the scales {', '.join(sorted(set(frame['scale'])))}; collect each by itself")
    return frame


def read_runs(path: Path) -> pd.DataFrame:
    """runs.csv (see `read_table`)."""
    return read_table(path, HEAD, (*TEXT, "settings.", "provenance.", "data.", "cost.macs_"))


def columns_of(frame: pd.DataFrame, section: str) -> list[str]:
    """Column names of one section, e.g. "metrics"."""
    return [name for name in frame.columns if name.startswith(section + ".")]


def per_seed(rows: pd.DataFrame, column: str) -> dict[int, float]:
    """{seed: value} of the finished runs that have a number in `column`. Raises UserError if text is there."""
    if column not in rows:
        return {}
    done = rows[rows["status"] == "done"]
    try:
        values = pd.to_numeric(done[column])
    except (ValueError, TypeError) as problem:
        raise UserError(f"column {column}: not numbers: {one_line(problem)}") from problem
    return {int(seed): float(value) for seed, value in zip(done["seed"], values, strict=True) if not math.isnan(value)}


def column_of(metric: str) -> str:
    """Column of runs.csv for a metric name: "bleu" is "metrics.bleu"; dotted names stand for themselves."""
    return metric if "." in metric else f"metrics.{metric}"


def commits(frame: pd.DataFrame) -> str:
    """The commits behind finished runs, shortened; "+" marks uncommitted changes: "1a2b3c4d5e, 6f7e8d9c0b+"."""
    done = frame[frame["status"] == "done"]
    if "provenance.commit" not in done:
        return "unknown"
    dirty = done.get("provenance.dirty", pd.Series("", done.index)).astype(str).str.lower().isin(("true", "1", "1.0"))
    known = done["provenance.commit"].dropna()
    short = known[known != ""].str.slice(0, 10) + dirty.map({True: "+", False: ""})[known.index]
    return ", ".join(sorted(set(short))) or "unknown"


def data_line(frame: pd.DataFrame) -> str:
    """Data of the finished runs with the start of its checksum, e.g. "mini_translation (0f3a9c21)"."""
    done = frame[frame["status"] == "done"]
    if done.empty or "data.name" not in done:
        return "none"
    return ", ".join(sorted(set(done["data.name"] + " (" + done["data.checksum"].str.slice(0, 8) + ")")))
