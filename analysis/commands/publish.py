"""Copies the results of finished runs to results/published/<scale>/, the files that are committed.

metrics.jsonl (a line a run), items.parquet (a row a run and test item), sets.json (which command and configuration made
what was published), and what no stored number can give back: the pictures made of the runs' own pictures, and timing
records (to results/published/timing/). Runs that were published earlier stay; a run of the same identity replaces its
older self.

A run is refused unless it stands in the folder of its identity, is what this checkout would make, comes from committed
sources, and holds the scores that its own items give.
"""

import contextlib
import math
import shlex
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

import pandas as pd

from analysis import options, runs, scores
from analysis.commands.collect import ITEMS, metrics_lines
from analysis.evidence.scored import SLOPE
from plugins.suite import catalog, freshness, items
from plugins.suite.data import file_sha256
from plugins.suite.errors import UserError
from plugins.suite.files import one_line, read_json, write_bytes, write_json, write_text

NAME = "publish"
HELP = "take finished runs over into results/published"
TOLERANCE = 0.01  # between a metric and what its items give
PICTURES = ("predictions_*.png", "attention_*.png")
CONFIGURATION, SETS = "configuration.json", "sets.json"


def add_arguments(parser) -> None:
    parser.add_argument("scale", help="mini, small or paper")
    options.study(parser)
    parser.add_argument("--results", type=Path, default=Path("results"), help="folder of runs/ and data/ (results)")
    parser.add_argument("--out", type=Path, help="folder to write (default: results/published/SCALE)")
    parser.add_argument("--allow-dirty", action="store_true", help="also take runs made from uncommitted changes")


def run(args) -> int:
    out = args.out or args.results / "published" / args.scale
    taken, refused = gather(args.results, args.scale, args.study, args.allow_dirty)
    for line in refused:
        print(f"refused {line}", file=sys.stderr)
    published = merge(out, taken)
    if taken:
        note_set(args.results / args.scale / CONFIGURATION, out / SETS, [value for value, _ in taken])
        for path in [*copied(args.results / args.scale, out, args.study)]:
            print(f"{path}: copied")
    print(f"{out}: {len(taken)} taken, {len(refused)} refused, {published} published in all")
    return 1 if refused or not taken else 0


def gather(results: Path, scale: str, study: str | None, allow_dirty: bool) -> tuple[list[tuple], list[str]]:
    """([(metrics, items)] to publish, one line for each run that is not) from results/runs/<scale>."""
    folder = results / "runs" / scale
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder; run snakemake at scale {scale} first or give --results")
    taken, refused = [], []
    for path in sorted(folder.glob("*/*/*/seed*/metrics.json")):
        name = path.parent.relative_to(folder).as_posix()
        if study not in (None, name.split("/")[0]):
            continue
        state, reason, value = runs.run_state(path)
        if state == "done":
            reason = refusal(value, f"{scale}/{name}", path, results / "data" / scale, allow_dirty)
        if reason:
            refused.append(f"{name}: {reason}")
        else:
            taken.append((value, items.read(path.with_name(ITEMS))))
    return taken, refused


def refusal(value: Mapping, place: str, path: Path, data: Path, allow_dirty: bool) -> str:
    """Why a finished run at `place` (scale/study/ablation/arm/seed<k>) may not be published; "" if it may."""
    provenance = value["provenance"]
    if f"{value['scale']}/{runs.name_of(value)}" != place:
        return f"is of another run: {value['scale']}/{runs.name_of(value)}; it was put here by hand"
    stale = freshness.staleness(value)
    if stale:
        return f"stale: {stale}"
    if provenance["commit"] in (None, "", "unknown"):
        return "no commit is recorded"
    if provenance["dirty"] is not False and not allow_dirty:
        return f"made from uncommitted changes on {str(provenance['commit'])[:10]}; commit and run again"
    return untrue(value, path, data)


def untrue(value: Mapping, path: Path, data: Path) -> str:
    """Why the metrics of a run are not what its items give; "" where they are."""
    for name, number in value["metrics"].items():
        if name != SLOPE and not 0 <= number <= 100:  # a slope has no bounds
            return f"metrics.{name}: {number} is outside 0..100"
    parquet = path.with_name(ITEMS)
    if not parquet.is_file():
        return f"{ITEMS} is missing; run the arm again"
    if file_sha256(parquet) != value["items"]["sha256"]:
        return f"{ITEMS} is not the file that metrics.json was written with"
    try:
        frame = items.read(parquet)
        again = items.scores(value["task"], frame, annotations_of(value, data))
    except UserError as problem:
        return one_line(problem)
    if not all(math.isfinite(score) for score in frame["score"]):
        return f"{ITEMS}: a score is not a finite number"
    for name, score in again.items():
        if name in value["metrics"] and abs(value["metrics"][name] - score) > TOLERANCE:
            return f"metrics.{name} is {value['metrics'][name]:g}, its items give {score:.4f}"
    return "" if value["primary"] in again else f"{ITEMS}: gives no {value['primary']}"


def annotations_of(value: Mapping, data: Path) -> Path | None:
    """The annotations that a detection is scored against. Raises UserError where they are not there."""
    if value["task"] != "detection":
        return None
    spec = catalog.resolve(*(value[key] for key in runs.IDENTITY))
    path = data / catalog.data_folder(spec["data"]) / "annotations" / f"{value['settings']['split']}.json"
    if not path.is_file():
        raise UserError(f"{path}: missing; without it the scores cannot be checked; prepare the data again")
    return path


def merge(out: Path, taken: Iterable[tuple[Mapping, pd.DataFrame]]) -> int:
    """Lays runs over those that are published; returns how many there are then. Raises UserError for a broken file."""
    lines, parquet = out / "metrics.jsonl", out / ITEMS
    before = runs.read_metrics_lines(lines) if lines.exists() else []
    values = {runs.identity(value): value for value in before}
    if len(values) < len(before):
        raise UserError(f"{lines}: holds a run twice; remove one of its lines")
    frames = scores.by_run(parquet)
    for value, frame in taken:
        values[runs.identity(value)] = without_sources(value)
        frames[runs.name_of(value)] = frame.assign(run=runs.name_of(value))
    if taken:
        # Items first: a line without its items would be worse than items without their line.
        write_bytes(parquet, scores.parquet_of([frames[name] for name in sorted(frames)]))
        write_text(lines, metrics_lines(values.values()))
    return len(values)


def without_sources(value: Mapping) -> Mapping:
    """A run without the long list of its sources: their digest and the commit say which they were."""
    own = {key: part for key, part in value["provenance"].items() if key != "sources"}
    return {**value, "provenance": own}


def note_set(configuration: Path, path: Path, values: list[Mapping]) -> None:
    """Adds what made these runs to sets.json: the configuration and command that snakemake noted, and this command."""
    noted = read_json(configuration) if configuration.is_file() else {}
    entry = {
        "command": noted.get("command", "unknown"),
        "configuration": noted.get("configuration", {}),
        "published_by": shlex.join(["convattn", *sys.argv[1:]]),
        "commits": sorted({value["provenance"]["commit"] for value in values}),
        "runs": len(values),
    }
    with contextlib.suppress(UserError):
        lacking = missing_of(configuration.with_name("expected.json"), values)
        entry["expected_but_lacking"] = lacking
    sets = read_json(path) if path.is_file() else []
    write_json(path, [*(known for known in sets if known != entry), entry])


def missing_of(expected: Path, values: list[Mapping]) -> list[str]:
    """The runs that the configuration asks for and that are not among those published now."""
    have = {runs.name_of(value) for value in values}
    wanted = {"/".join(Path(entry["path"]).parent.parts[-4:]) for entry in runs.read_expected(expected)}
    return sorted(wanted - have)


def copied(results: Path, out: Path, study: str | None) -> list[Path]:
    """Copies the figures made of run pictures to pictures/, and the timing records beside the scales; returns them."""
    copies = []
    for pattern in PICTURES:
        for path in sorted(results.glob(f"figures/{study or '*'}/{pattern}")):
            copies.append(out / "pictures" / path.parent.name / path.name)
            write_bytes(copies[-1], path.read_bytes())
    for path in sorted(results.glob(f"timing/{study or '*'}/*.json")):
        copies.append(out.parent / "timing" / out.name / path.relative_to(results / "timing"))
        write_bytes(copies[-1], path.read_bytes())
    return copies
