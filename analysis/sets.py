"""A set of results: the finished runs of one scale, from a folder or a file, wherever it came from.

results/published/mini     metrics.jsonl with items.parquet beside it
results/mini               the runs of this scale below results/runs/mini, and its ledger
FILE.jsonl                 the same lines as a published folder's
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pandas as pd

from analysis import arms, ledger, runs, scores, studies
from analysis.arms import ArmSummary
from analysis.commands import collect
from analysis.commands.collect import Collected
from plugins.suite.errors import UserError

LINES, LEDGER = "metrics.jsonl", "ledger.csv"


@dataclass(frozen=True, eq=False)
class ResultSet:
    """`path`: as it was given; `source`: the metrics.jsonl, or the folder of runs, that it stands for."""

    path: Path
    source: Path

    @cached_property
    def collected(self) -> Collected:
        """Rows for runs.csv (sharers of a run too), and metrics, details and items of every run once. UserError."""
        known = studies.ablations()
        if self.source.suffix == ".jsonl":
            return collect.published(self.source, None, known)
        return collect.present(collect.entries_in(self.source, known))

    @property
    def values(self) -> list[dict]:
        """The metrics.json of every finished run."""
        return self.collected.values

    @property
    def scale(self) -> str:
        return self.values[0]["scale"] if self.values else self.source.name

    @cached_property
    def frame(self) -> pd.DataFrame:
        """runs.csv of all studies."""
        return runs.tidy(collect.in_order(self.collected.rows, studies.ablations()))

    def place(self, run: str) -> str:
        """The file that holds a run."""
        if self.source.suffix == ".jsonl":
            return str(self.source)
        return str(self.source / run / "metrics.json")

    def arms(self, study: str) -> list[ArmSummary]:
        """The arms of a study that have runs here, summarised as in arms.csv."""
        rows = self.frame[self.frame["study"] == study]
        if rows.empty:
            return []
        items = [frame[["item", "score"]].assign(run=run) for run, frame in self.collected.items.items()]
        frame = pd.concat(items, ignore_index=True) if items else pd.DataFrame(columns=list(scores.COLUMNS))
        return arms.summarise(_as_written(rows), studies.ablations(study).values(), frame)

    @cached_property
    def verdicts(self) -> pd.DataFrame:
        """The trained rows of the ledger at this scale: the set's own ledger.csv, else judged now by its runs."""
        table = self.ledger[0]
        return table[(table["level"] == self.scale) & (table["scale"] == self.scale)].reset_index(drop=True)

    @cached_property
    def ledger(self) -> tuple[pd.DataFrame, str]:
        """(ledger, where it stands, or "judged now")."""
        for folder in (self.path, self.path.parent):
            written = folder / LEDGER
            if self.path.is_dir() and written.is_file():
                table = ledger.read(written)
                if self.scale in set(table.loc[table["runs"] != "", "scale"]):
                    return table, str(written)
        with tempfile.TemporaryDirectory() as folder:
            self.write_tables(Path(folder))
            return ledger.build(ledger.Sources(results=[Path(folder)])), "judged now"

    def write_tables(self, folder: Path) -> None:
        """tables/<study>/runs.csv of every study into a folder that the ledger can read."""
        for study, rows in self.frame.groupby("study", sort=False):
            runs.write_csv(folder / "tables" / str(study) / "runs.csv", rows)
        if self.source.suffix == ".jsonl":
            (folder / LINES).symlink_to(self.source.absolute())
            items = self.source.with_name(scores.NAME)
            if items.is_file():
                (folder / scores.NAME).symlink_to(items.absolute())


def _as_written(rows: pd.DataFrame) -> pd.DataFrame:
    """The frame as `runs.read_runs` would give it back: text columns without gaps."""
    words = [name for name in rows if name in runs.TEXT]
    return rows.fillna(dict.fromkeys(words, ""))


def load(path: Path) -> ResultSet:
    """The set that a path stands for. UserError where there is none, where it is empty, or of several scales."""
    result = ResultSet(path, _source(path))
    if not result.values:
        raise UserError(f"{path}: holds no finished run; run snakemake, or give another set")
    scales = sorted({value["scale"] for value in result.values})
    if len(scales) > 1:
        raise UserError(f"{path}: holds runs of the scales {', '.join(scales)}; compare each by itself")
    return result


def _source(path: Path) -> Path:
    if path.is_file():
        return path
    if not path.is_dir():
        raise UserError(f"{path}: no such set; give results/published/<scale>, results/<scale> or a metrics.jsonl")
    candidates = (path / LINES, path.parent / "runs" / path.name)
    source = next((candidate for candidate in candidates if candidate.exists()), None)
    if source is None:
        raise UserError(f"{path}: no results: neither {candidates[0]} nor {candidates[1]} is there")
    return source


def present(results: Path = Path("results"), scales: Sequence[str] = ledger.SCALES) -> list[ResultSet]:
    """The sets that are there: published ones first, then this checkout's own runs, by scale."""
    chosen = []
    for scale in scales:
        for path, source in (
            (results / "published" / scale, results / "published" / scale / LINES),
            (results / scale, results / "runs" / scale),
        ):
            if source.exists():
                chosen.append(ResultSet(path, source))
    return [result for result in chosen if result.values]
