"""Reading and writing of every file that `analysis` touches: metrics.json, expected.json, runs.csv, ablation files.

Whatever is wrong with a file that a run left behind becomes a row with a status and a reason; whatever is wrong with a
file that a person wrote becomes an `AnalysisError` of one line: file, key or value, the rule, the fix.
"""

import argparse
import csv
import difflib
import fcntl
import io
import json
import math
import os
import re
import sys
import tempfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import jsonschema
import pandas as pd
import yaml

SCHEMAS = Path(__file__).resolve().parent.parent / "workflow" / "schemas"
IDENTITY = ("scale", "study", "ablation", "arm", "seed")
SECTIONS = ("metrics", "losses", "cost", "wall_s", "settings", "data", "provenance")
HEAD = (*IDENTITY, "label", "status", "error", "run", "task", "engine", "primary")
TEXT = ("scale", "study", "ablation", "arm", "label", "status", "error", "run", "task", "engine", "primary", "path")
STATES = ("done", "running", "failed", "missing")


class AnalysisError(Exception):
    """A user's error, told in one line."""


@dataclass(frozen=True)
class Arm:
    """One row of an ablation file; `same_as` names the arm ("ablation/arm") whose runs this one shares."""

    name: str
    label: str
    priority: str = "core"
    set: Mapping = field(default_factory=dict)
    same_as: str | None = None


@dataclass(frozen=True, eq=False)
class Ablation:
    """One ablation file. `panel` is the title of its panel in the trade-off figure (default: the task), where the arm
    `recommended` is ringed.

    `scales`: the only ones at which it is run; empty for all. `names` gives, for each arm, all (ablation, arm) of the
    study that stand for the same runs (`same_as`).
    """

    study: str
    name: str
    title: str
    paper: str
    task: str
    baseline: str
    panel: str
    arms: Mapping[str, Arm]
    scales: tuple[str, ...] = ()
    recommended: str = ""
    names: dict[str, set[tuple[str, str]]] = field(default_factory=dict)

    def home(self, arm: str) -> tuple[str, str]:
        """(ablation, arm) whose folder holds the runs of an arm."""
        same_as = self.arms[arm].same_as
        return tuple(same_as.split("/", 1)) if same_as and "/" in same_as else (self.name, arm)


def slug(arm: str) -> str:
    """Folder name of an arm."""
    return arm.replace("/", "-")


def one_line(text: object, limit: int = 300) -> str:
    """`text` without line breaks, cut at `limit` characters."""
    line = " ".join(str(text).split())
    return line if len(line) <= limit else line[: limit - 3] + "..."


def read_yaml(path: Path) -> object:
    """Content of a YAML file. Raises AnalysisError when it is absent or no YAML."""
    try:
        return yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as problem:
        raise AnalysisError(f"{path}: cannot be read: {one_line(problem)}") from problem
    except yaml.YAMLError as problem:
        raise AnalysisError(f"{path}: not valid YAML: {one_line(problem)}") from problem


def read_json(path: Path) -> object:
    """Content of a JSON file. Raises AnalysisError when it is absent, half written or no JSON."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as problem:
        raise AnalysisError(f"{path}: cannot be read: {one_line(problem)}") from problem
    except (ValueError, RecursionError) as problem:
        raise AnalysisError(f"{path}: not valid JSON: {one_line(problem)}; delete it and run again") from problem


@cache
def _validator(name: str) -> jsonschema.Draft202012Validator:
    return jsonschema.Draft202012Validator(read_yaml(SCHEMAS / f"{name}.schema.yaml"))


def schema_problem(value: object, name: str) -> str | None:
    """First violation of workflow/schemas/<name>.schema.yaml in one line, with the nearest valid key; None if valid."""
    error = jsonschema.exceptions.best_match(_validator(name).iter_errors(value))
    if error is None:
        return None
    place = "/".join(str(part) for part in error.absolute_path) or "top level"
    if error.validator == "additionalProperties" and isinstance(error.instance, Mapping):
        known = list(error.schema.get("properties", {}))
        unknown = next((key for key in error.instance if key not in known), "?")
        near = difflib.get_close_matches(str(unknown), known, n=1, cutoff=0.0)
        return f"{place}: unknown key '{unknown}'; nearest valid key: '{near[0] if near else 'none'}'"
    if error.validator in ("oneOf", "anyOf"):
        return f"{place}: {error.schema.get('description') or 'has none of the allowed forms'}"
    return f"{place}: {one_line(error.message, 160)}"


def write_text(path: Path, text: str) -> None:
    """Writes `text` to `path` atomically: readers see the old file or the whole new one."""
    write_bytes(path, text.encode("utf-8"))


def write_bytes(path: Path, content: bytes) -> None:
    """Writes `content` to `path` atomically; a full disk leaves the old file as it was. Raises AnalysisError."""
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        with os.fdopen(handle, "wb") as stream:
            stream.write(content)
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except OSError as problem:
        if temporary and os.path.exists(temporary):
            os.unlink(temporary)
        raise AnalysisError(f"{path}: cannot be written: {problem.strerror}") from problem


def write_csv(path: Path, frame: pd.DataFrame) -> None:
    """Writes a frame as CSV, atomically, in its own column order."""
    buffer = io.StringIO()
    frame.to_csv(buffer, index=False, lineterminator="\n")
    write_text(path, buffer.getvalue())


def load_ablations(experiments: Path) -> dict[tuple[str, str], Ablation]:
    """All ablation files, keyed (study, name) and in order of their names. Raises AnalysisError for an unusable one."""
    if not experiments.is_dir():
        raise AnalysisError(f"{experiments}: no such folder; give --experiments the folder of the studies")
    found = {}
    for path in sorted(experiments.glob("*/ablations/*.yaml")):
        study, name = path.parent.parent.name, path.stem
        found[study, name] = _ablation(path, study, name, read_yaml(path))
    at_home = {}
    for ablation in found.values():
        for arm in ablation.arms:
            at_home.setdefault((ablation.study, *ablation.home(arm)), set()).add((ablation.name, arm))
    for ablation in found.values():
        ablation.names.update({arm: at_home[ablation.study, *ablation.home(arm)] for arm in ablation.arms})
    return found


def _ablation(path: Path, study: str, name: str, content: object) -> Ablation:
    arms = content.get("arms") if isinstance(content, Mapping) else None
    if not isinstance(arms, Mapping) or not arms:
        raise AnalysisError(f"{path}: arms: must name at least one arm")
    rows = {}
    for arm, row in arms.items():
        row = row if isinstance(row, Mapping) else {}
        rows[str(arm)] = Arm(
            name=str(arm),
            label=str(row.get("label") or arm),
            priority=str(row.get("priority", "core")),
            set=row.get("set") or {},
            same_as=str(row["same_as"]) if row.get("same_as") else None,
        )
    task = str(content.get("task", ""))
    return Ablation(
        study=study,
        name=name,
        title=str(content.get("title") or name),
        paper=str(content.get("paper") or ""),
        task=task,
        baseline=str(content.get("baseline", "")),
        panel=str(content.get("panel") or task or name),
        arms=rows,
        scales=tuple(content.get("scales") or ()),
        recommended=str(content.get("recommended") or ""),
    )


def metrics_problem(value: object) -> str | None:
    """Why `value` is no usable metrics.json, in one line; None if it is one."""
    problem = schema_problem(value, "metrics")
    if problem:
        return problem
    if value["primary"] not in value["metrics"]:
        return f"primary: '{value['primary']}' is not among metrics {sorted(value['metrics'])}"
    for section in ("metrics", "cost"):
        for key, number in value[section].items():
            if isinstance(number, float) and not math.isfinite(number):
                return f"{section}/{key}: {number} is not a finite number"
    return None


def is_locked(lock: Path) -> bool:
    """Whether a living process holds `lock` (flock). Looks without waiting and lets go at once."""
    try:
        with lock.open("rb") as stream:
            fcntl.flock(stream, fcntl.LOCK_SH | fcntl.LOCK_NB)
        return False
    except BlockingIOError:
        return True
    except OSError:
        return False


def run_state(metrics_path: Path) -> tuple[str, str, dict | None]:
    """(status, one-line error, metrics) of the run whose result is `metrics_path`; never raises for what a run left."""
    folder = metrics_path.parent
    if metrics_path.exists():
        try:
            value = read_json(metrics_path)
        except AnalysisError as problem:
            return "failed", one_line(problem), None
        problem = metrics_problem(value)
        return ("failed", f"{metrics_path.name}: {problem}", None) if problem else ("done", "", value)
    if is_locked(folder / "run.lock"):
        return "running", "", None
    if (folder / "error.json").exists():
        return "failed", _stored_error(folder / "error.json"), None
    return "missing", "", None


def _stored_error(path: Path) -> str:
    try:
        value = read_json(path)
    except AnalysisError as problem:
        return one_line(problem)
    reason = value.get("error") if isinstance(value, Mapping) else None
    return one_line(reason or "failed without a reason; see train.log")


def read_expected(path: Path) -> list[dict]:
    """The list of runs that the DAG asked for. Raises AnalysisError when the file or an entry is unusable."""
    entries = read_json(path)
    if not isinstance(entries, list):
        raise AnalysisError(f"{path}: must be a list of runs; let snakemake write it again")
    for index, entry in enumerate(entries):
        lacking = [key for key in (*IDENTITY, "path") if not isinstance(entry, Mapping) or key not in entry]
        if lacking:
            raise AnalysisError(f"{path}: entry {index} lacks '{lacking[0]}'; let snakemake write it again")
        if isinstance(entry["seed"], bool) or not isinstance(entry["seed"], int):
            raise AnalysisError(f"{path}: entry {index}: seed {entry['seed']!r} is not a whole number")
    return entries


def read_metrics_lines(path: Path) -> list[dict]:
    """The runs of a metrics.jsonl. Raises AnalysisError with the line number for a line that is no metrics.json."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as problem:
        raise AnalysisError(f"{path}: cannot be read: {one_line(problem)}") from problem
    runs = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            value = json.loads(line)
        except (ValueError, RecursionError) as problem:
            raise AnalysisError(f"{path}:{number}: not valid JSON: {one_line(problem)}") from problem
        problem = metrics_problem(value)
        if problem:
            raise AnalysisError(f"{path}:{number}: {problem}")
        runs.append(value)
    return runs


def identity(value: Mapping) -> tuple:
    """(scale, study, ablation, arm, seed)."""
    return tuple(value[key] for key in IDENTITY)


def run_name(study: str, ablation: str, arm: str, seed: int) -> str:
    """Name of the folder in which a run stands, below results/runs/<scale>; equal for arms that share their runs."""
    return f"{study}/{ablation}/{slug(arm)}/seed{seed}"


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


def read_runs(path: Path) -> pd.DataFrame:
    """runs.csv with the identities as text ("0010" keeps its zeros, "none" stays a word) and NaN for empty numbers."""
    try:
        with path.open(encoding="utf-8", newline="") as stream:
            header = next(csv.reader(stream), [])
        lacking = [name for name in HEAD if name not in header]
        if lacking:
            raise AnalysisError(f"{path}: column '{lacking[0]}' is missing; write it with python -m analysis.collect")
        frame = pd.read_csv(
            path,
            dtype={
                name: str for name in header if name in TEXT or name.startswith(("settings.", "provenance.", "data."))
            },
            keep_default_na=False,
            na_values=[""],
        )
    except (OSError, UnicodeDecodeError) as problem:
        raise AnalysisError(f"{path}: cannot be read: {one_line(problem)}") from problem
    except (ValueError, pd.errors.ParserError) as problem:
        raise AnalysisError(f"{path}: not a runs.csv: {one_line(problem)}") from problem
    text = [name for name in TEXT if name in frame]
    frame[text] = frame[text].fillna("")
    if frame["scale"].nunique() > 1:
        raise AnalysisError(
            f"{path}: holds the scales {', '.join(sorted(set(frame['scale'])))}; collect each by itself"
        )
    return frame


def columns_of(frame: pd.DataFrame, section: str) -> list[str]:
    """Column names of one section, e.g. "metrics"."""
    return [name for name in frame.columns if name.startswith(section + ".")]


def commits(frame: pd.DataFrame) -> str:
    """The commits behind finished runs, shortened; "+" marks uncommitted changes: "1a2b3c4d5e, 6f7e8d9c0b+"."""
    done = frame[frame["status"] == "done"]
    if "provenance.commit" not in done:
        return "unknown"
    seen = set()
    for commit, dirty in zip(
        done["provenance.commit"], done.get("provenance.dirty", pd.Series("", done.index)), strict=True
    ):
        if isinstance(commit, str) and commit:
            seen.add(commit[:10] + ("+" if str(dirty).lower() in ("true", "1", "1.0") else ""))
    return ", ".join(sorted(seen)) or "unknown"


def cli(main: Callable[[list[str] | None], int]) -> None:
    """Runs a command: its errors are one line on stderr and exit status 1."""
    try:
        sys.exit(main(None))
    except AnalysisError as problem:
        print(f"error: {one_line(problem, 600)}", file=sys.stderr)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except OSError as problem:
        print(f"error: {one_line(problem)}", file=sys.stderr)
    sys.exit(1)


def parser(doc: str, runs: bool = True) -> argparse.ArgumentParser:
    """Argument parser with the options that the commands share."""
    made = argparse.ArgumentParser(description=re.split(r"\n\s*\n", doc)[0])
    if runs:
        made.add_argument("--runs-csv", type=Path, required=True, help="table written by analysis.collect")
    made.add_argument("--experiments", type=Path, default=Path("experiments"), help="folder of the studies")
    return made
