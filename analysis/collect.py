"""Collects runs into one tidy table: a row per expected run, whatever became of it.

Three sources: the runs that the DAG expects (--expected), all that stands in a folder (--runs), or published lines
(--metrics). What runs keep beside single numbers goes to details.json beside the table. Arms that share their runs
(`same_as` of an ablation file) get a row each, with the same `run`.
"""

import json
from collections.abc import Iterable
from pathlib import Path

from analysis import details, loading
from analysis.loading import AnalysisError


def row_of(entry: dict, run: str, status: str, error: str, value: dict | None) -> dict:
    """One row of runs.csv: the identity that was asked for, and what the run holds."""
    row = {key: entry.get(key, "") for key in (*loading.IDENTITY, "label")}
    row["label"] = row["label"] or entry["arm"]
    row |= {"status": status, "error": error, "run": run, "path": entry.get("path", "")}
    if value is not None:
        row |= {key: value[key] for key in ("task", "engine", "primary")}
        for section in loading.SECTIONS:
            row |= loading.flatten(value.get(section, {}), section)  # `curve` is not of every run
        row |= loading.flatten(details.derived(value), "metrics")
        row.pop("provenance.sources", None)  # a long list; its digest stays
    return row


def expected_row(entry: dict) -> tuple[dict, dict | None]:
    """(row, metrics) of one entry of expected.json."""
    path = Path(entry["path"])
    status, error, value = loading.run_state(path)
    for key in ("scale", "study", "seed"):
        if value is not None and value[key] != entry[key]:
            status, error, value = (
                "failed",
                f"metrics.json is of another run: {key} {value[key]}, not {entry[key]}",
                None,
            )
    return row_of(entry, "/".join(path.parent.parts[-4:]), status, error, value), value


def entries_in(runs: Path, ablations: dict) -> list[dict]:
    """Entries like those of expected.json for every seed folder below results/runs/<scale> and its sharers."""
    if not runs.is_dir():
        raise AnalysisError(f"{runs}: no such folder; run snakemake first or give another --runs")
    entries = []
    for folder in sorted(runs.glob("*/*/*/seed*")):
        study, ablation, arm_slug, seed = folder.relative_to(runs).parts
        if not seed[4:].isdecimal():
            continue
        names = ablations[study, ablation].arms if (study, ablation) in ablations else {}
        arm = next((name for name in names if loading.slug(name) == arm_slug), arm_slug)
        owner = {"scale": runs.name, "study": study, "ablation": ablation, "arm": arm, "seed": int(seed[4:])}
        entries += [entry | {"path": str(folder / "metrics.json")} for entry in with_sharers(owner, ablations)]
    return entries


def with_sharers(owner: dict, ablations: dict) -> list[dict]:
    """The entry of a run and one for each arm of the study that names it in `same_as`, labelled."""
    shared = [owner]
    for (study, name), ablation in ablations.items():
        for arm in ablation.arms.values():
            if study == owner["study"] and arm.same_as == f"{owner['ablation']}/{owner['arm']}":
                shared.append(owner | {"ablation": name, "arm": arm.name})
    for entry in shared:
        known = ablations.get((entry["study"], entry["ablation"]))
        if known and entry["arm"] in known.arms:
            entry["label"] = known.arms[entry["arm"]].label
    return shared


def sort_rows(rows: Iterable[dict], ablations: dict) -> list[dict]:
    """Rows in the order of the ablation files (ablations by name, arms as written), then by seed."""

    def place(row: dict) -> tuple:
        known = ablations.get((row["study"], row["ablation"]))
        names = list(known.arms) if known else []
        return (
            row["study"],
            row["ablation"],
            names.index(row["arm"]) if row["arm"] in names else len(names),
            row["seed"],
        )

    return sorted(rows, key=place)


def collect(
    sources: dict[str, Path | None], experiments: Path, study: str | None = None
) -> tuple[list[dict], list[dict]]:
    """(rows of runs.csv, the metrics of the finished runs, each once) from one of `expected`, `runs`, `metrics`."""
    ablations = loading.load_ablations(experiments)
    if sources["metrics"]:
        values = [v for v in loading.read_metrics_lines(sources["metrics"]) if study in (None, v["study"])]
        pairs = [(entry, value) for value in values for entry in with_sharers(_owner(value), ablations)]
        rows = [row_of(entry, _run_name(value), "done", "", value) for entry, value in pairs]
        return sort_rows(rows, ablations), values
    expected = sources["expected"]
    entries = loading.read_expected(expected) if expected else entries_in(sources["runs"], ablations)
    rows, values = [], {}
    for entry in entries:
        if study not in (None, entry["study"]):
            continue
        row, value = expected_row(entry)
        rows.append(row)
        if value is not None:
            values[loading.identity(value)] = value
    return sort_rows(rows, ablations), [values[key] for key in sorted(values)]


def _owner(value: dict) -> dict:
    return {key: value[key] for key in loading.IDENTITY}


def _run_name(value: dict) -> str:
    return loading.run_name(value["study"], value["ablation"], value["arm"], value["seed"])


def metrics_lines(values: Iterable[dict]) -> str:
    """Sorted lines of a metrics.jsonl."""
    ordered = sorted(values, key=loading.identity)
    return "".join(json.dumps(value, sort_keys=True, ensure_ascii=False) + "\n" for value in ordered)


def main(argv: list[str] | None = None) -> int:
    parser = loading.parser(__doc__, runs=False)
    parser.add_argument("--expected", type=Path, help="list of runs written by the DAG")
    parser.add_argument("--runs", type=Path, help="folder results/runs/<scale>; read whole when there is no --expected")
    parser.add_argument("--metrics", type=Path, help="metrics.jsonl of published runs, instead of the two above")
    parser.add_argument("--study", help="this study only")
    parser.add_argument("--out", type=Path, required=True, help="runs.csv to write")
    parser.add_argument("--metrics-out", type=Path, help="also write the finished runs as metrics.jsonl")
    args = parser.parse_args(argv)
    sources = {"expected": args.expected, "runs": args.runs, "metrics": args.metrics}
    if not any(sources.values()):
        raise AnalysisError("one of --expected, --runs, --metrics is needed")
    if args.metrics and (args.expected or args.runs):
        raise AnalysisError("--metrics: stands alone; leave out --expected and --runs")
    rows, values = collect(sources, args.experiments, args.study)
    loading.write_csv(args.out, loading.tidy(rows))
    details.write(args.out.with_name(details.NAME), values)
    if args.metrics_out:
        loading.write_text(args.metrics_out, metrics_lines(values))
    counts = {state: sum(row["status"] == state for row in rows) for state in loading.STATES}
    print(
        f"{args.out}: " + ", ".join(f"{count} {state}" for state, count in counts.items() if count or state == "done")
    )
    return 0


if __name__ == "__main__":
    loading.cli(main)
