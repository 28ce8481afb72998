"""Runs into one tidy table: a row per expected run, whatever became of it.

Three sources: the runs that the DAG expects (--expected), all that stands in a folder (--runs), or published lines
(--metrics, with items.parquet beside it). What runs keep beside single numbers goes to details.json beside the table,
the scores of their test items (run, item, score) to items.parquet. Arms that share their runs (`same_as` of an ablation
file) get a row each, with the same `run`. `stale` says why a finished run is not what this checkout would make; it is
empty for a fresh one.
"""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from analysis import details, options, runs, scores
from analysis.studies import Ablation, ablations
from plugins.suite import catalog, freshness, items
from plugins.suite.errors import UserError
from plugins.suite.files import write_text

NAME = "collect"
HELP = "gather runs into one tidy table"
ITEMS = "items.parquet"
Ablations = Mapping[tuple[str, str], Ablation]


class Collected(NamedTuple):
    """Rows of runs.csv, then of the finished runs, each once: details by run, metrics, items by run."""

    rows: list[dict]
    details: dict[str, dict]
    values: list[dict]
    items: dict[str, pd.DataFrame]


def add_arguments(parser) -> None:
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--expected", type=Path, help="list of runs written by the DAG")
    source.add_argument("--runs", type=Path, help="folder results/runs/<scale>, read whole")
    source.add_argument("--metrics", type=Path, help="metrics.jsonl of published runs")
    options.study(parser)
    parser.add_argument("--out", type=Path, required=True, help="runs.csv to write")
    parser.add_argument("--metrics-out", type=Path, help="also write the finished runs as metrics.jsonl")


def run(args) -> int:
    known = ablations(args.study)
    if args.metrics:
        rows, kept, values, scored = published(args.metrics, args.study, known)
    else:
        entries = runs.read_expected(args.expected) if args.expected else entries_in(args.runs, known)
        rows, kept, values, scored = present([e for e in entries if args.study in (None, e["study"])])
    runs.write_csv(args.out, runs.tidy(in_order(rows, known)))
    details.write(args.out.with_name(details.NAME), kept)
    scores.write(args.out.with_name(scores.NAME), scored)
    if args.metrics_out:
        write_text(args.metrics_out, metrics_lines(values))
    counts = {state: sum(row["status"] == state for row in rows) for state in runs.STATES}
    counts["stale"] = sum(bool(row["stale"]) for row in rows)
    shown = ", ".join(f"{count} {state}" for state, count in counts.items() if count or state == "done")
    print(f"{args.out}: {shown}")
    return 0


def row_of(entry: Mapping, run: str, state: tuple[str, str, dict | None], kept: Mapping) -> dict:
    """One row of runs.csv: the identity that was asked for, and what the run holds; `kept` are its details."""
    status, error, value = state
    row = {key: entry.get(key, "") for key in (*runs.IDENTITY, "label")}
    row["label"] = row["label"] or entry["arm"]
    row |= {"status": status, "error": error, "stale": "", "run": run, "path": entry.get("path", "")}
    if value is not None:
        row["stale"] = freshness.staleness(value)
        row |= {key: value[key] for key in ("task", "engine", "primary")}
        for section in runs.SECTIONS:
            row |= runs.flatten(value.get(section) or {}, section)
        row |= runs.flatten(details.derived(kept), "metrics")
        row.pop("provenance.sources", None)  # a long list; its digest stays
    return row


def present(entries: list[dict]) -> Collected:
    """Runs in their folders."""
    rows, kept, values, scored = [], {}, {}, {}
    for entry in entries:
        path = Path(entry["path"])
        name = "/".join(path.parent.parts[-4:])
        state = state_of(entry, path)
        if state[2] is not None and name not in kept:
            frame = items.read(path.with_name(ITEMS)) if path.with_name(ITEMS).is_file() else None
            kept[name] = details_of(state[2], frame)
            values[runs.identity(state[2])] = state[2]
            if frame is not None:
                scored[name] = frame
        rows.append(row_of(entry, name, state, kept.get(name, {})))
    return Collected(rows, kept, [values[key] for key in sorted(values)], scored)


def state_of(entry: Mapping, path: Path) -> tuple[str, str, dict | None]:
    """(status, error, metrics) of one expected run; metrics of another run than its folder says count as failed.

    The folder decides, not the row: arms that share their runs (`same_as`) look into the folder of one of them.
    """
    status, error, value = runs.run_state(path)
    if value is None:
        return status, error, value
    folder = "/".join(path.parent.parts[-4:])
    if runs.name_of(value) != folder or value["scale"] != entry["scale"]:
        return "failed", f"metrics.json is of another run: {value['scale']}/{runs.name_of(value)}", None
    return status, error, value


def details_of(value: Mapping, frame: pd.DataFrame | None) -> dict:
    """The details of a run, those of a translation with what its sentences score."""
    kept = value.get("details") or {}
    return details.with_sentences(kept, frame if value["task"] == "translation" else None)


def published(metrics: Path, study: str | None, known: Ablations) -> Collected:
    """The lines of a metrics.jsonl and the items beside it."""
    values = [value for value in runs.read_metrics_lines(metrics) if study in (None, value["study"])]
    names = {runs.name_of(value) for value in values}
    by_run = scores.by_run(metrics.with_name(ITEMS), study)
    scored = {name: frame for name, frame in by_run.items() if name in names}
    rows, kept = [], {}
    for value in values:
        name = runs.name_of(value)
        kept[name] = details_of(value, scored.get(name))
        owner = {key: value[key] for key in runs.IDENTITY}
        rows += [row_of(entry, name, ("done", "", value), kept[name]) for entry in with_sharers(owner, known)]
    return Collected(rows, kept, values, scored)


def entries_in(folder: Path, known: Ablations) -> list[dict]:
    """Entries like those of expected.json for every seed folder below results/runs/<scale> and its sharers."""
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder; run snakemake first or give another --runs")
    entries = []
    for seed_folder in sorted(folder.glob("*/*/*/seed*")):
        study, ablation, arm_slug, seed = seed_folder.relative_to(folder).parts
        if not seed[4:].isdecimal():
            continue
        names = known[study, ablation].arms if (study, ablation) in known else {}
        arm = next((name for name in names if catalog.slug(name) == arm_slug), arm_slug)
        owner = {"scale": folder.name, "study": study, "ablation": ablation, "arm": arm, "seed": int(seed[4:])}
        entries += [entry | {"path": str(seed_folder / "metrics.json")} for entry in with_sharers(owner, known)]
    return entries


def with_sharers(owner: dict, known: Ablations) -> list[dict]:
    """The entry of a run and one for each arm of the study that names it in `same_as`, labelled."""
    shared = [owner]
    for (study, name), ablation in known.items():
        for arm in ablation.arms.values():
            if study == owner["study"] and arm.same_as == f"{owner['ablation']}/{owner['arm']}":
                shared.append(owner | {"ablation": name, "arm": arm.name})
    for entry in shared:
        ablation = known.get((entry["study"], entry["ablation"]))
        if ablation and entry["arm"] in ablation.arms:
            entry["label"] = ablation.label(entry["arm"])
    return shared


def in_order(rows: Iterable[dict], known: Ablations) -> list[dict]:
    """Rows in the order of the ablation files (ablations by name, arms as written), then by seed."""

    def place(row: dict) -> tuple:
        ablation = known.get((row["study"], row["ablation"]))
        names = list(ablation.arms) if ablation else []
        at = names.index(row["arm"]) if row["arm"] in names else len(names)
        return row["study"], row["ablation"], at, row["seed"]

    return sorted(rows, key=place)


def metrics_lines(values: Iterable[dict]) -> str:
    """Sorted lines of a metrics.jsonl."""
    ordered = sorted(values, key=runs.identity)
    return "".join(json.dumps(value, sort_keys=True, ensure_ascii=False) + "\n" for value in ordered)
