"""Copies the results of finished runs into results/published/<scale>/metrics.jsonl, the file that is committed.

A command, not a rule: `python -m analysis.publish SCALE`. Runs from uncommitted sources are refused unless
--allow-dirty. What no stored number can give back goes along: the figures made of the runs' own pictures, and
measured times of the shift. Lines that were published earlier stay; a run of the same identity replaces its line.
"""

import sys
from pathlib import Path

from analysis import collect, loading, paths, pictures
from analysis.loading import AnalysisError


def refusal(value: dict, allow_dirty: bool) -> str:
    """Why a finished run may not be published; "" if it may."""
    provenance = value["provenance"]
    if provenance["commit"] in (None, "", "unknown"):
        return "no commit is recorded"
    if provenance["dirty"] is not False and not allow_dirty:
        return (
            f"made from uncommitted changes on {str(provenance['commit'])[:10]}; commit and run again, or --allow-dirty"
        )
    return ""


def gather(runs: Path, scale: str, study: str | None, allow_dirty: bool) -> tuple[list[dict], list[str]]:
    """(runs to publish, one line for each that is not) from results/runs/<scale>."""
    if not runs.is_dir():
        raise AnalysisError(f"{runs}: no such folder; run snakemake at scale {scale} first or give --runs")
    taken, refused = [], []
    for path in sorted(runs.glob("*/*/*/seed*/metrics.json")):
        name = path.parent.relative_to(runs)
        if study not in (None, name.parts[0]):
            continue
        state, error, value = loading.run_state(path)
        reason = error if state != "done" else refusal(value, allow_dirty)
        if not reason and value["scale"] != scale:
            reason = f"is of scale {value['scale']}, not {scale}"
        if reason:
            refused.append(f"{name}: {reason}")
        else:
            taken.append(value)
    return taken, refused


def copy_pictures(results: Path, published: Path, study: str | None) -> list[Path]:
    """Copies results/<scale>/figures/<study>/{predictions,attention}_*.png; returns the copies."""
    copies = []
    for path in sorted(results.glob(f"figures/{study or '*'}/*_*.png")):
        if path.stem.partition("_")[0] in pictures.KINDS:
            copies.append(published / path.relative_to(results))
            loading.write_bytes(copies[-1], path.read_bytes())
    return copies


def copy_timings(results: Path, published: Path, study: str | None) -> list[Path]:
    """Copies results/<scale>/tables/<study>/shift_timing.json; returns the copies."""
    copies = []
    for path in sorted(results.glob(f"tables/{study or '*'}/{paths.TIMING}")):
        copies.append(published / path.relative_to(results))
        loading.write_bytes(copies[-1], path.read_bytes())
    return copies


def main(argv: list[str] | None = None) -> int:
    parser = loading.parser(__doc__, runs=False)
    parser.add_argument("scale")
    parser.add_argument("--study", help="this study only")
    parser.add_argument(
        "--runs", type=Path, help="default: results/runs/SCALE; pictures and timings from results/SCALE beside"
    )
    parser.add_argument("--out", type=Path, help="default: results/published/SCALE/metrics.jsonl")
    parser.add_argument("--allow-dirty", action="store_true", help="also take runs made from uncommitted changes")
    args = parser.parse_args(argv)
    runs = args.runs or Path("results/runs") / args.scale
    out = args.out or Path("results/published") / args.scale / "metrics.jsonl"
    taken, refused = gather(runs, args.scale, args.study, args.allow_dirty)
    before = loading.read_metrics_lines(out) if out.exists() else []
    merged = {loading.identity(value): value for value in [*before, *taken]}
    for line in refused:
        print(f"refused {line}", file=sys.stderr)
    if taken:
        loading.write_text(out, collect.metrics_lines(merged.values()))
    results = runs.resolve().parents[1] / args.scale
    copies = copy_pictures(results, out.parent, args.study) + copy_timings(results, out.parent, args.study)
    for path in copies:
        print(f"{path}: copied")
    print(f"{out}: {len(taken)} taken, {len(refused)} refused, {len(merged)} published in all")
    return 1 if refused or not taken else 0


if __name__ == "__main__":
    loading.cli(main)
