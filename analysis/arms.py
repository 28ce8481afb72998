"""The arms of a study, each summarised once: runs.csv -> arms.csv, which tables, figures and the ledger read.

A row holds one arm of one ablation. Its `mean` and `sd` are over the seeds of its finished fresh runs (over the stale
ones where it has no others; `stale` then says why). `low` and `high` bound the mean, `difference_low` and
`difference_high` the difference to the baseline of the ablation, at 95 %, as `analysis.statistics` has it over all arms
of one recipe that were run alike; where runs keep the scores of their test items, those count as a sample as well
(`method` says how the mean was judged). A difference is given only between arms that are
alike in settings, data and freshness; otherwise it is empty and `reason` says why.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path

import pandas as pd

from analysis import runs, statistics
from analysis.studies import Ablation
from plugins.suite.errors import UserError
from plugins.suite.files import one_line

# The share of the training set decides a score like no other setting: arms that differ in it are never subtracted.
SIZE = "settings.train_fraction"
DATA = "data.checksum"
METRICS = "metrics."


@dataclass(frozen=True)
class ArmSummary:
    """One row of arms.csv; NaN and "" where there is nothing to say.

    `run` is the folder of its runs (study/ablation/arm), equal for arms that share them; `sample` is the share of the
    training set, `conditions` a short name for what its runs share with all arms they may be held against. `macs` are
    the multiply-adds of one example. `metrics` holds the means of all metrics by name.
    """

    study: str
    ablation: str
    arm: str
    label: str
    scale: str
    task: str
    baseline: bool
    done: int
    failed: int
    running: int
    missing: int
    stale: str
    seeds: tuple[int, ...]
    n: int
    metric: str
    mean: float
    sd: float
    low: float
    high: float
    difference: float
    difference_low: float
    difference_high: float
    reason: str
    params: float
    macs: float
    method: str
    data: str
    commit: str
    run: str
    conditions: str
    sample: float
    errors: tuple[str, ...] = ()
    metrics: Mapping[str, float] = field(default_factory=dict)

    @property
    def has_interval(self) -> bool:
        """Whether the mean has an interval."""
        return not math.isnan(self.low)

    @property
    def has_difference(self) -> bool:
        """Whether there is a difference to the baseline, with or without an interval."""
        return not math.isnan(self.difference)

    @property
    def gap(self) -> str:
        """What stands in the cells of an arm without a finished run: the most telling state of its runs."""
        return next((state for state in ("failed", "running") if getattr(self, state)), "missing")


@dataclass(eq=False)
class _Arm:
    """The runs of one arm while the table is made."""

    ablation: Ablation
    name: str
    rows: pd.DataFrame  # of runs.csv, all states
    used: pd.DataFrame  # the finished runs that count: the fresh ones if there are any
    metric: str
    values: dict[int, float]  # of the metric, by seed
    conditions: dict[int, dict[str, str]]  # by seed

    @property
    def run(self) -> str:
        return self.rows["run"].iloc[0].rsplit("/", 1)[0]

    @property
    def stale(self) -> str:
        return next((reason for reason in self.used["stale"] if reason), "")


@dataclass(frozen=True, eq=False)
class _Family:
    """The model of arms that were run alike. `name` tells it from the others of its study."""

    name: str
    table: statistics.Runs
    items: statistics.Items | None
    shared_items: bool

    def estimate(self, coefficients: Mapping[str, float]) -> statistics.Estimate:
        """A contrast of arms, by their `run`."""
        return statistics.contrast(self.table, coefficients, self.items, self.shared_items)


def summarise(frame: pd.DataFrame, ablations: Iterable[Ablation], items: pd.DataFrame) -> list[ArmSummary]:
    """The arms of the ablations of one study that are in runs.csv, in the order of the files; unknown arms come last.

    `items`: see `analysis.scores`. Raises UserError where runs of one ablation name different primary metrics.
    """
    arms = [arm for ablation in ablations for arm in _arms_of(frame, ablation)]
    of = {}
    for number, members in enumerate(_alike([arm for arm in arms if arm.values]), 1):
        family = _family(f"{members[0].ablation.recipe} {number}", members, items)
        of |= {id(arm): family for arm in members}
    at = {(arm.ablation.name, arm.name): arm for arm in arms}
    return [_summary(arm, at.get((arm.ablation.name, arm.ablation.baseline)), of.get(id(arm))) for arm in arms]


def _family(name: str, members: Sequence[_Arm], items: pd.DataFrame) -> _Family:
    """The model of some arms, every physical run once; with items if all of their runs have them."""
    once = {arm.run: arm for arm in members}
    rows = [(run, seed, value) for run, arm in once.items() for seed, value in sorted(arm.values.items())]
    observations = pd.DataFrame(rows, columns=["arm", "seed", "value"])
    table = statistics.as_runs(observations)
    folders = observations["arm"] + "/seed" + observations["seed"].astype(str)
    mine = items[items["run"].isin(set(folders))]
    if mine["run"].nunique() < len(folders):
        return _Family(name, table, None, False)
    place = mine["run"].str.rpartition("/seed")
    scored = mine.assign(arm=place[0], seed=place[2].astype(int))[["arm", "seed", "item", "score"]]
    data = {conditions.get(DATA) for arm in members for conditions in arm.conditions.values()}
    return _Family(name, table, statistics.as_items(scored, table), len(data) == 1)


def _arms_of(frame: pd.DataFrame, ablation: Ablation) -> list[_Arm]:
    rows = frame[(frame["study"] == ablation.study) & (frame["ablation"] == ablation.name)]
    metric = _primary(rows, ablation)
    names = [name for name in ablation.arms if name in set(rows["arm"])]
    names += [name for name in dict.fromkeys(rows["arm"]) if name not in ablation.arms]
    return [_arm(rows[rows["arm"] == name], name, ablation, metric) for name in names]


def _primary(rows: pd.DataFrame, ablation: Ablation) -> str:
    names = sorted(set(rows.loc[rows["status"] == "done", "primary"]))
    if len(names) > 1:
        raise UserError(f"{ablation.study}/{ablation.name}: runs name the primary metrics {names}; delete the outdated")
    return names[0] if names else ""


def _arm(rows: pd.DataFrame, name: str, ablation: Ablation, metric: str) -> _Arm:
    done = rows[rows["status"] == "done"]
    fresh = done[done["stale"] == ""]
    used = done if fresh.empty else fresh
    conditions = {int(row["seed"]): _conditions(row) for _, row in used.iterrows()}
    return _Arm(ablation, name, rows, used, metric, runs.per_seed(used, runs.column_of(metric)), conditions)


def _conditions(row: pd.Series) -> dict[str, str]:
    """What must be equal for two runs of a seed to be subtracted: freshness, the data, and the settings."""
    names = [name for name in row.index if name.startswith("settings.") or name == DATA]
    kept = {name: str(row[name]) for name in names if not _empty(row[name])}
    return {"stale": "yes" if row["stale"] else "no", SIZE: str(float(kept.pop(SIZE, 1)))} | kept


def _empty(value: object) -> bool:
    return value is None or value == "" or (isinstance(value, float) and math.isnan(value))


def unlike(one: _Arm, other: _Arm) -> str:
    """The first condition that differs between two arms, over the seeds that both have; "" where they are alike.

    A setting that only one of them records says nothing, and one that the arms are about may differ.
    """
    own = (_own(one) | _own(other)) - {SIZE}
    shared = sorted(one.conditions.keys() & other.conditions.keys())
    pairs = [(one.conditions[seed], other.conditions[seed]) for seed in shared]
    pairs = pairs or [(next(iter(one.conditions.values())), next(iter(other.conditions.values())))]
    for ours, theirs in pairs:
        for name in sorted(ours.keys() & theirs.keys() - own):
            if ours[name] != theirs[name]:
                return f"{name} is {ours[name][:12]}, the baseline's {theirs[name][:12]}"
    return ""


def _own(arm: _Arm) -> set[str]:
    """The settings that an arm is about: those that its `set` names, and the start where it is pretrained."""
    known = arm.ablation.arms.get(arm.name)
    if known is None:
        return set()
    start = {"settings.backbone"} if known.pretrained else set()
    return start | {f"settings.{key}" for key in known.set}


def _alike(arms: Sequence[_Arm]) -> list[list[_Arm]]:
    """Arms of one recipe and metric that are all alike; each holds every ablation's name of a shared run."""
    families: list[list[_Arm]] = []
    for arm in arms:
        for family in families:
            first = family[0]
            if (first.ablation.recipe, first.metric) == (arm.ablation.recipe, arm.metric):
                if not any(unlike(arm, member) for member in family):
                    family.append(arm)
                    break
        else:
            families.append([arm])
    return families


def _summary(arm: _Arm, baseline: _Arm | None, family: _Family | None) -> ArmSummary:
    values = list(arm.values.values())
    mean = family.estimate({arm.run: 1.0}) if family else None
    low, high = mean.interval() if mean else (math.nan, math.nan)
    states = {state: int((arm.rows["status"] == state).sum()) for state in runs.STATES}
    errors = zip(arm.rows["seed"], arm.rows["error"], strict=True)
    return ArmSummary(
        study=arm.ablation.study,
        ablation=arm.ablation.name,
        arm=arm.name,
        label=arm.ablation.label(arm.name),
        scale=arm.rows["scale"].iloc[0],
        task=arm.ablation.task,
        baseline=arm.name == arm.ablation.baseline,
        **states,
        stale=arm.stale,
        seeds=tuple(sorted(arm.values)),
        n=len(values),
        metric=arm.metric,
        mean=_mean(values),
        sd=float(pd.Series(values, dtype=float).std(ddof=1)),
        low=low,
        high=high,
        **_difference(arm, baseline, family),
        params=_mean(runs.per_seed(arm.used, "cost.params").values()),
        macs=_mean(runs.per_seed(arm.used, "cost.macs").values()),
        method=mean.method if mean else "",
        data=runs.data_line(arm.used),
        commit=runs.commits(arm.used),
        run=arm.run,
        conditions=family.name if family else "",
        sample=next((float(conditions[SIZE]) for conditions in arm.conditions.values()), math.nan),
        errors=tuple(f"seed {seed}: {error}" for seed, error in errors if error),
        metrics={
            column.removeprefix(METRICS): _mean(runs.per_seed(arm.used, column).values())
            for column in runs.columns_of(arm.used, "metrics")
        },
    )


def _mean(values: Iterable[float]) -> float:
    values = list(values)
    return sum(values) / len(values) if values else math.nan


def _difference(arm: _Arm, baseline: _Arm | None, family: _Family | None) -> dict:
    """The columns difference, difference_low, difference_high and reason."""
    reason = _why_not(arm, baseline)
    value = low = high = math.nan
    if not reason and arm is not baseline:
        estimate = family.estimate({arm.run: 1.0, baseline.run: -1.0})
        value, (low, high) = estimate.value, estimate.interval()
    return {"difference": value, "difference_low": low, "difference_high": high, "reason": reason}


def _why_not(arm: _Arm, baseline: _Arm | None) -> str:
    """Why an arm has no difference to its baseline; "" if it has one, or is the baseline."""
    if arm is baseline:
        return ""
    if not arm.values:
        return "no finished run"
    if baseline is None or not baseline.values:
        return "the baseline has no finished run"
    if arm.stale or baseline.stale:
        return f"stale: {arm.stale or 'the baseline: ' + baseline.stale}"
    return unlike(arm, baseline)


def to_frame(summaries: Sequence[ArmSummary]) -> pd.DataFrame:
    """The table that is written."""
    names = [item.name for item in fields(ArmSummary) if item.name != "metrics"]
    metrics = sorted({name for summary in summaries for name in summary.metrics})
    records = []
    for summary in summaries:
        record = {name: value for name, value in asdict(summary).items() if name != "metrics"}
        record |= {"seeds": " ".join(map(str, summary.seeds)), "errors": "; ".join(summary.errors)}
        records.append(record | {f"{METRICS}{name}": summary.metrics.get(name, math.nan) for name in metrics})
    return pd.DataFrame(records, columns=[*names, *(f"{METRICS}{name}" for name in metrics)])


TEXTS = ("study", "ablation", "arm", "label", "scale", "task", "stale", "seeds", "metric", "reason", "data", "commit")
TEXTS += ("method", "run", "conditions", "errors")


def read(path: Path) -> list[ArmSummary]:
    """The rows of an arms.csv. Raises UserError when it is missing or no such table."""
    names = [item.name for item in fields(ArmSummary) if item.name != "metrics"]
    frame = runs.read_table(path, names, TEXTS)
    metrics = runs.columns_of(frame, "metrics")
    summaries = []
    try:
        for record in frame.to_dict("records"):
            kept = {name: record[name] for name in names}
            kept["seeds"] = tuple(map(int, record["seeds"].split()))
            kept["errors"] = tuple(filter(None, record["errors"].split("; ")))
            kept["metrics"] = {
                name.removeprefix(METRICS): record[name] for name in metrics if record[name] == record[name]
            }
            summaries.append(ArmSummary(**kept))
    except (TypeError, ValueError, csv.Error) as problem:
        raise UserError(f"{path}: not an arms.csv: {one_line(problem)}; let snakemake write it again") from problem
    return summaries
