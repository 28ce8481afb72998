"""Finished runs of one study at one scale with what they scored, item by item, for the judging of trained parts.

A study is read from runs.csv, and metrics.json with its items.parquet beside it (or metrics.jsonl and items.parquet of
a published folder). Numbers that cannot be are refused with one line, and nothing is judged.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd

from analysis import runs, scores, sentences
from plugins.suite import files
from plugins.suite.claims import Ablation
from plugins.suite.errors import UserError
from plugins.suite.files import one_line
from plugins.suite.items import has_rules, logit_weights, odds

PERCENT = ("bleu", "chrf", "top1", "top5", "miou", "box_ap", "box_ap50", "box_ap75", "class_accuracy", "accuracy")
SHARES = ("top1", "top5")  # means of items that are right or wrong
STATISTICS = "bleu"  # column of sentence statistics
SLOPE = "logit_length_slope"
ROUNDING = 1e-6


def is_percent(metric: str) -> bool:
    """Whether a metric lies between 0 and 100."""
    return (
        metric in PERCENT
        or is_rule(metric)
        or (metric.startswith("bleu_length_") and metric.rsplit("_", 1)[1].isdigit())
    )


def is_rule(metric: str) -> bool:
    """Whether a metric is the accuracy of the words that a rule decides (or any rule)."""
    return metric == "accuracy" or metric.startswith("accuracy_")


@dataclass(frozen=True, eq=False)
class Run:
    """One finished run. `row` is its line of runs.csv, `details` and `items` are what it kept beside the numbers."""

    arm: str
    seed: int
    row: Mapping
    details: Mapping = field(default_factory=dict)
    items: pd.DataFrame | None = None

    @property
    def name(self) -> str:
        return f"{self.arm} seed {self.seed}"

    @property
    def primary(self) -> str:
        return str(self.row["primary"])

    def value(self, metric: str) -> float:
        """A metric by its name, or a dotted one; NaN where the run has none."""
        value = self.row.get(metric if "." in metric else f"metrics.{metric}")
        return math.nan if value is None or value == "" else float(value)

    @property
    def stale(self) -> str:
        """Why this is not what this checkout would make; "" where it is."""
        value = self.row.get("stale")
        return "staleness was not recorded" if value is None else "" if value != value else str(value)

    def scores(self, metric: str) -> np.ndarray | None:
        """A score an item whose mean stands for the metric; None where the items do not say."""
        if self.items is None:
            return None
        if metric == self.primary:
            return self.items["score"].to_numpy(dtype=float)
        if metric == "top5" and "top5" in self.items:
            return 100.0 * self.items["top5"].to_numpy(dtype=float)
        if metric.startswith("accuracy_") and "part" in self.items:
            return _by_part(self.items, metric.removeprefix("accuracy_"))
        if metric.startswith("bleu_length_") and STATISTICS in self.items:
            return _by_length(self.items, metric.removeprefix("bleu_length_"))
        if has_rules(self.items):
            return _by_rule(self.items, metric) if is_rule(metric) else _slope(self.items) if metric == SLOPE else None
        return None

    @property
    def n_items(self) -> int:
        return 0 if self.items is None else len(self.items)


def _by_part(items: pd.DataFrame, name: str) -> np.ndarray | None:
    """Accuracy of a part of the label, or of a stratum, by image; NaN where an image has no such token."""
    names = list(items["part"].iloc[0])
    if name not in names:
        return None
    right, total = (np.stack(items[key].to_numpy())[:, names.index(name)].astype(float) for key in ("right", "total"))
    return np.divide(100 * right, total, out=np.full(len(items), np.nan), where=total > 0)


def _by_length(items: pd.DataFrame, quarter: str) -> np.ndarray | None:
    """Scores of all sentences whose mean is the BLEU of a quarter, or (span) of the last less the first."""
    words = items["source_words"].to_numpy()
    buckets = sentences.quantile_buckets(words.tolist())
    wanted = {len(buckets) - 1: 1.0, 0: -1.0} if quarter == "span" else {int(quarter) - 1: 1.0}
    statistics = np.stack(items[STATISTICS].to_numpy()).astype(np.int64)
    scores = np.zeros(len(items))
    for index, sign in wanted.items():
        if not 0 <= index < len(buckets):
            return None
        inside = (words >= buckets[index][0]) & (words <= buckets[index][1])
        total, count = statistics[inside].sum(0), int(inside.sum())
        whole = sentences.corpus_bleu(total)
        # Jackknife values of the quarter's sentences; a sentence outside it says nothing.
        values = np.array(
            [count * whole - (count - 1) * sentences.corpus_bleu(total - row) for row in statistics[inside]]
        )
        scores += sign * whole
        scores[inside] += sign * len(items) / count * (values - whole)
    return scores


def _by_rule(items: pd.DataFrame, metric: str) -> np.ndarray | None:
    """Scores of all sentences whose mean is an accuracy: of all words, of a rule's, or of a rule's in a stratum.

    Sentences have unlike numbers of such words, so that each scores what the ratio of sums changes by it (linearised).
    """
    right, total = _words(items)
    strata = items["stratum"].to_numpy()
    for column, rule in enumerate(items["rules"].iloc[0]):
        for stratum in ("", *sorted(set(strata))):
            if metric == "_".join(filter(None, ("accuracy", rule, stratum))):
                inside = (strata == stratum) | (stratum == "")
                return _ratio(right[:, column] * inside, total[:, column] * inside)
    return _ratio(right.sum(1), total.sum(1)) if metric == "accuracy" else None


def _words(items: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """Right and all target words, sentences x rules."""
    return np.stack(items["right"].to_numpy()).astype(float), np.stack(items["total"].to_numpy()).astype(float)


def _ratio(right: np.ndarray, total: np.ndarray) -> np.ndarray | None:
    if not total.sum():
        return None
    share = right.sum() / total.sum()
    return 100 * (share + len(total) * (right - share * total) / total.sum())


def _slope(items: pd.DataFrame) -> np.ndarray | None:
    """Scores of all sentences whose mean is the slope of the logit of accuracy over lengths, linearised."""
    right, total = _words(items)
    rules, strata = list(items["rules"].iloc[0]), items["stratum"].to_numpy()
    sums = {}
    for column, rule in enumerate(rules):
        for stratum in set(strata):
            inside = strata == stratum
            hits, words = right[inside, column].sum(), total[inside, column].sum()
            sums[rule, stratum, True], sums[rule, stratum, False] = hits, words - hits
    weights = logit_weights(sums)
    if not weights:
        return None
    scores = np.zeros(len(items))
    for (rule, stratum), weight in weights.items():
        hits, misses = sums[rule, stratum, True], sums[rule, stratum, False]
        column, inside = rules.index(rule), strata == stratum
        gain = right[:, column] / (hits + 0.5) - (total[:, column] - right[:, column]) / (misses + 0.5)
        change = hits / (hits + 0.5) - misses / (misses + 0.5)
        scores += weight * (math.log(odds(hits, misses)) + len(items) * gain * inside - change)
    return scores


@dataclass(frozen=True, eq=False)
class Study:
    """The runs of one study at one scale. `homes`: {arm: the arm that holds its runs}; `recipes`: by ablation."""

    name: str
    scale: str
    frame: pd.DataFrame
    homes: Mapping[str, str]
    recipes: Mapping[str, str] = field(default_factory=dict)
    details: Callable[[Mapping], Mapping] = lambda row: {}
    items: Callable[[Mapping], pd.DataFrame | None] = lambda row: None

    def runs(self, arm: str) -> list[Run]:
        """The finished runs of an arm under any of its names, by seed."""
        home = self.homes.get(arm, arm)
        names = [name for name, other in self.homes.items() if other == home] or [arm]
        rows = self._rows(set(names))
        done = [row for row in rows if row["status"] == "done"]
        by_seed = {int(row["seed"]): row for row in done}
        return [
            Run(arm, seed, by_seed[seed], self._details(by_seed[seed]), self._items(by_seed[seed]))
            for seed in sorted(by_seed)
        ]

    def recipe(self, arm: str) -> str:
        """The recipe by which an arm is trained."""
        return self.recipes.get(self.homes.get(arm, arm).partition("/")[0], "")

    def gap(self, arm: str) -> str:
        """Why an arm has no finished run."""
        home = self.homes.get(arm, arm)
        rows = self._rows({name for name, other in self.homes.items() if other == home} | {arm})
        states = sorted({row["status"] for row in rows})
        return f"{arm}: {', '.join(states)}" if states else f"{arm} was not run at this scale"

    def _rows(self, names: set[str]) -> list[dict]:
        return [row for name in sorted(names) for row in self._by_arm.get(name, [])]

    @cached_property
    def _by_arm(self) -> dict[str, list[dict]]:
        grouped: dict[str, list[dict]] = {}
        for row in self.frame.to_dict("records"):
            grouped.setdefault(f"{row['ablation']}/{row['arm']}", []).append(row)
        return grouped

    @cached_property
    def _kept(self) -> dict[str, tuple]:
        return {}

    def _details(self, row: Mapping) -> Mapping:
        key = f"details {row['run']}"
        if key not in self._kept:
            self._kept[key] = self.details(row)
        return self._kept[key]

    def _items(self, row: Mapping) -> pd.DataFrame | None:
        key = f"items {row['run']}"
        if key not in self._kept:
            self._kept[key] = self.items(row)
        return self._kept[key]

    def finished(self) -> list[Run]:
        """Every finished run once, under the arm that holds it."""
        return [run for arm in dict.fromkeys(self.homes.values()) for run in self.runs(arm)]


# --- reading ----------------------------------------------------------------------------------------------------------
def read(folder: Path, study: str, known: Mapping[str, Ablation]) -> Study | None:
    """A study of results/<scale> or results/published/<scale>; None where the folder has no table of it. UserError."""
    path = folder / "tables" / study / "runs.csv"
    if not path.is_file():
        return None
    frame = runs.read_runs(path)
    check(frame, path)
    scale = frame["scale"].iloc[0] if len(frame) else folder.name
    homes = {f"{name}/{arm}": home for name, ablation in known.items() for arm, home in ablation.homes.items()}
    recipes = {name: ablation.recipe for name, ablation in known.items()}
    published = folder / "metrics.jsonl"
    if published.is_file():
        values, items = _published(published), _published_items(folder, study)
        return Study(study, scale, frame, homes, recipes, lambda row: _details(values.get(_key(row))), items)
    return Study(study, scale, frame, homes, recipes, lambda row: _details(_metrics(row)), _items_beside)


def check(frame: pd.DataFrame, path: Path) -> None:
    """UserError for two finished rows of one run, and for numbers that cannot be."""
    done = frame[frame["status"] == "done"]
    names = ["ablation", "arm", "seed"]
    doubled = done[done.duplicated(names)]
    if len(doubled):
        row = doubled.iloc[0]
        raise UserError(f"{path}: two rows for {row['ablation']}/{row['arm']} seed {row['seed']}; keep one")
    for column in [name for name in done if name.startswith("metrics.")]:
        values = pd.to_numeric(done[column], errors="coerce")
        bad = np.isinf(values) | (done[column].notna() & values.isna())
        rule = "is not a finite number"
        if not bad.any() and is_percent(column.removeprefix("metrics.")):
            bad, rule = (values < -ROUNDING) | (values > 100 + ROUNDING), "is outside 0 to 100"
        if bad.any():
            _refuse(path, done[bad].iloc[0], column, rule)
    for _, row in done.iterrows():
        column = f"metrics.{row['primary']}"
        if column not in row or pd.isna(row[column]):
            _refuse(path, row, column, "is not a finite number")


def _refuse(path: Path, row: Mapping, column: str, rule: str) -> None:
    value = row.get(column, "missing")
    raise UserError(
        f"{path}: {column} of {row['ablation']}/{row['arm']} seed {row['seed']} {rule} ({value}); "
        "delete the run and repeat it"
    )


def _key(value: Mapping) -> tuple:
    """Study and run: what a published line and a row of runs.csv share."""
    return (
        str(value["run"])
        if "run" in value
        else runs.run_name(*(value[key] for key in ("study", "ablation", "arm", "seed")))
    )


def _details(value: Mapping | None) -> Mapping:
    return (value or {}).get("details") or {}


def _published(path: Path) -> dict[str, Mapping]:
    values: dict[str, Mapping] = {}
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        try:
            value = json.loads(line)
            name = _key(value)
        except (ValueError, KeyError, TypeError) as problem:
            raise UserError(f"{path}:{number}: no run ({one_line(problem)}); publish again") from None
        if name in values:
            raise UserError(f"{path}:{number}: {name} stands there twice; publish again")
        values[name] = value
    return values


def _published_items(folder: Path, study: str) -> Callable[[Mapping], pd.DataFrame | None]:
    """Items by run from the one file of a published folder."""
    frames = scores.by_run(folder / "items.parquet", study)
    by_run = {run: frame.sort_values("item").reset_index(drop=True) for run, frame in frames.items()}
    return lambda row: by_run.get(str(row["run"]))


def _metrics(row: Mapping) -> Mapping | None:
    path = Path(str(row.get("path") or ""))
    return files.read_json(path) if path.name == "metrics.json" and path.is_file() else None


def _items_beside(row: Mapping) -> pd.DataFrame | None:
    path = Path(str(row.get("path") or "")).with_name("items.parquet")
    return _parquet(path) if path.is_file() else None


def _parquet(path: Path) -> pd.DataFrame:
    try:
        return pd.read_parquet(path)
    except Exception as problem:  # pyarrow raises many kinds for a file that is cut short
        raise UserError(f"{path}: not a whole Parquet file ({one_line(problem, 120)}); make it again") from None


# --- tables for the statistics ----------------------------------------------------------------------------------------
def value_frame(runs: Sequence[Run], metric: str) -> pd.DataFrame:
    """arm, seed, value of the runs that have the metric."""
    rows = [(run.arm, run.seed, run.value(metric)) for run in runs]
    return pd.DataFrame([row for row in rows if not math.isnan(row[2])], columns=["arm", "seed", "value"])


def item_frame(runs: Sequence[Run], metric: str) -> pd.DataFrame | None:
    """arm, seed, item, score of the runs; None unless each has them."""
    parts = []
    for run in runs:
        scores = run.scores(metric)
        if scores is None:
            return None
        parts.append(pd.DataFrame({"arm": run.arm, "seed": run.seed, "item": np.arange(len(scores)), "score": scores}))
    return pd.concat(parts, ignore_index=True) if parts else None
