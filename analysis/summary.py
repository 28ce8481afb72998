"""One ablation of runs.csv, arm by arm: metric, paired difference to the baseline, costs and gaps."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import pandas as pd

from analysis import loading, stats
from analysis.loading import Ablation, AnalysisError

COSTS = ("params", "macs", "latency_ms", "train_step_ms", "train_peak_mb")
LOWER_IS_BETTER = ("losses.", "cost.", "wall_s.")


@dataclass(frozen=True)
class ArmSummary:
    """Means over the finished seeds of one arm; NaN where there is nothing to average."""

    arm: str
    label: str
    is_baseline: bool
    states: Mapping[str, int]
    errors: tuple[str, ...]
    seeds: tuple[int, ...]
    runs: frozenset[str]
    metric: str
    mean: float
    half_width: float
    difference: stats.Difference
    costs: Mapping[str, float]

    @property
    def n(self) -> int:
        return len(self.seeds)

    @property
    def gap(self) -> str:
        """What stands in the cells of an arm without a finished run: the most telling state of its runs."""
        return next((state for state in ("failed", "running") if self.states[state]), "missing")


def column_of(metric: str) -> str:
    """Column of runs.csv for a metric name: "bleu" is "metrics.bleu"; dotted names stand for themselves."""
    return metric if "." in metric else f"metrics.{metric}"


def per_seed(rows: pd.DataFrame, column: str) -> dict[int, float]:
    """{seed: value} of the finished runs that have a number in `column`. Raises AnalysisError if text is there."""
    if column not in rows:
        return {}
    done = rows[rows["status"] == "done"]
    try:
        values = pd.to_numeric(done[column])
    except (ValueError, TypeError) as problem:
        raise AnalysisError(f"column {column}: not numbers: {loading.one_line(problem)}") from problem
    return {int(seed): float(value) for seed, value in zip(done["seed"], values, strict=True) if not math.isnan(value)}


def arm_rows(frame: pd.DataFrame, study: str, ablation: str, arm: str) -> pd.DataFrame:
    """The rows of one arm."""
    return frame[(frame["study"] == study) & (frame["ablation"] == ablation) & (frame["arm"] == arm)]


def ablation_rows(frame: pd.DataFrame, ablation: Ablation) -> pd.DataFrame:
    """The rows of one ablation."""
    return frame[(frame["study"] == ablation.study) & (frame["ablation"] == ablation.name)]


def primary_metric(rows: pd.DataFrame) -> str:
    """The metric that the finished runs call primary; "" without one. Raises AnalysisError when they disagree."""
    names = sorted(set(rows.loc[rows["status"] == "done", "primary"]))
    if len(names) > 1:
        raise AnalysisError(f"runs of one ablation name different primary metrics {names}; delete the outdated runs")
    return names[0] if names else ""


def summarise(frame: pd.DataFrame, ablation: Ablation) -> list[ArmSummary]:
    """The arms of `ablation` that are in runs.csv, in the order of the ablation file; unknown arms come last."""
    rows = ablation_rows(frame, ablation)
    metric = primary_metric(rows)
    column = column_of(metric)
    names = [name for name in ablation.arms if name in set(rows["arm"])]
    names += [name for name in dict.fromkeys(rows["arm"]) if name not in ablation.arms]
    baseline = per_seed(rows[rows["arm"] == ablation.baseline], column)
    return [_summarise_arm(rows[rows["arm"] == name], name, ablation, metric, baseline) for name in names]


def _summarise_arm(
    rows: pd.DataFrame, name: str, ablation: Ablation, metric: str, baseline: Mapping[int, float]
) -> ArmSummary:
    values = per_seed(rows, column_of(metric))
    mean, half_width = stats.mean_and_half_width(list(values.values()))
    costs = {key: per_seed(rows, f"cost.{key}") for key in COSTS}
    return ArmSummary(
        arm=name,
        label=ablation.arms[name].label if name in ablation.arms else name,
        is_baseline=name == ablation.baseline,
        states={state: int((rows["status"] == state).sum()) for state in loading.STATES},
        errors=tuple(f"seed {seed}: {text}" for seed, text in zip(rows["seed"], rows["error"], strict=True) if text),
        seeds=tuple(sorted(values)),
        runs=frozenset(rows["run"].str.rsplit("/", n=1).str[0]),
        metric=metric,
        mean=mean,
        half_width=half_width,
        difference=stats.paired_difference(values, baseline),
        costs={key: sum(found.values()) / len(found) if found else math.nan for key, found in costs.items()},
    )


def not_run(frame: pd.DataFrame, ablation: Ablation) -> list[str]:
    """Labels of the arms of the ablation file that runs.csv does not speak of."""
    present = set(ablation_rows(frame, ablation)["arm"])
    return [arm.label for name, arm in ablation.arms.items() if name not in present]


def provenance_line(rows: pd.DataFrame) -> str:
    """Scale, seeds, commit and data of the finished runs, e.g. "scale mini, 3 seeds, commit 1a2b3c4d5e"."""
    done = rows[rows["status"] == "done"]
    scales = ", ".join(sorted(set(rows["scale"]))) or "unknown"
    if done.empty:
        return f"scale {scales}, no finished runs"
    seeds = done.groupby("run")["seed"].first().groupby(lambda run: run.rsplit("/", 1)[0]).nunique()
    few, many = int(seeds.min()), int(seeds.max())
    count = f"{few} to {many} seeds" if few != many else f"{many} seed{'s' if many > 1 else ''}"
    return f"scale {scales}, {count}, commit {loading.commits(rows)}"


def data_line(rows: pd.DataFrame) -> str:
    """Data of the finished runs with the start of its checksum, e.g. "mini_translation (0f3a9c21)"."""
    done = rows[rows["status"] == "done"]
    if done.empty or "data.name" not in done:
        return "none"
    pairs = sorted(
        set(zip(done["data.name"].astype(str), done["data.checksum"].astype(str).str.slice(0, 8), strict=True))
    )
    return ", ".join(f"{name} ({checksum})" for name, checksum in pairs)


def select(ablations: Mapping, study: str | None) -> list[Ablation]:
    """The ablations of a study, or all. Raises AnalysisError for a study that does not exist."""
    chosen = [ablation for ablation in ablations.values() if study in (None, ablation.study)]
    if not chosen:
        known = ", ".join(dict.fromkeys(ablation.study for ablation in ablations.values())) or "none"
        raise AnalysisError(f"no ablation of study {study or '*'} under --experiments; studies: {known}")
    return chosen
