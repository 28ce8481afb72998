"""What has to hold before a trained part gets a verdict. Each gate has its measured value; a failed one is the reason.

fresh     the runs are what this checkout would make
alike     arms that are subtracted share settings, data (one checksum a seed) and, over its seeds, an arm its sources
trained   every run is above chance by its interval over items, and its training or validation loss below 0.9 of that of
          guessing
ceiling   the best arm stays below 98 % of what is possible, the worst above what guessing gives (the best, in the words
          of one rule: an arm without the means for it guesses)
assay     the effect that a margin is a share of, or that is asked to be kept, is shown itself
tie       there is a spread, and a margin of at least two items
plateau   over the last fifth of the training the arms gain less than a tenth of the effect
start     the arms that a comparison starts from are equal to a tenth of the effect
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import special

from analysis.evidence.scored import SHARES, Run, is_percent, is_rule
from analysis.statistics import ASSAY_P, Estimate

LOSS_SHARE = 0.9  # of the loss of guessing, that a trained run stays below
CEILING = 98.0
LEAST_ITEMS = 2
PLATEAU_SHARE = START_SHARE = 0.1
Z = float(special.ndtri(0.975))
# Settings that an arm may change on purpose; all others, and the data, must be alike for two arms to be compared.
OWN_SETTINGS = ("settings.dropout", "settings.train_fraction")
# Settings that are counted in the data: where a seed draws its own, they differ between seeds, as a checksum does.
OF_THE_DATA = ("settings.batch_target_tokens", "settings.dictionary_types.")


@dataclass(frozen=True)
class Gate:
    """One gate: its name, whether it is passed, the measured value, and (failed) the reason in words."""

    name: str
    passed: bool
    value: str
    reason: str = ""

    def __str__(self) -> str:
        return f"{self.name}={'pass' if self.passed else 'fail'}({self.value})"


def text(gates: Sequence[Gate]) -> str:
    """The gates as the ledger writes them."""
    return "; ".join(map(str, gates))


def failed(gates: Sequence[Gate]) -> str:
    """The reason of the first gate that is not passed; "" where all are."""
    return next((gate.reason for gate in gates if not gate.passed), "")


def fresh(runs: Sequence[Run]) -> Gate:
    """No run is stale."""
    old = [run for run in runs if run.stale]
    if not old:
        return Gate("fresh", True, f"{len(runs)} runs")
    return Gate("fresh", False, f"{len(old)} of {len(runs)} runs stale", f"stale: {old[0].name}: {old[0].stale}")


def alike(groups: Sequence[Sequence[Run]]) -> Gate:
    """`groups`: the runs of arms that are subtracted from each other."""
    for runs in groups:
        problem = _unlike(runs)
        if problem:
            return Gate("alike", False, problem, f"unlike: {problem}")
    return Gate("alike", True, f"{sum(map(len, groups))} runs")


def _unlike(runs: Sequence[Run]) -> str:
    """The first thing in which runs that must be alike differ; "" if none does."""
    names = sorted(
        {name for run in runs for name in run.row if name.startswith("settings.") and name not in OWN_SETTINGS}
    )
    counted = [name for name in names if name.startswith(OF_THE_DATA)]
    for name in [*(name for name in names if name not in counted), "data.name"]:
        values = {_shown(run.row.get(name)): run.arm for run in runs}
        if len(values) > 1:
            return f"{name} is {' and '.join(f'{value} ({arm})' for value, arm in sorted(values.items())[:2])}"
    for name in ("data.checksum", "data.generator", *counted):
        for seed in sorted({run.seed for run in runs}):
            values = {_shown(run.row.get(name)): run.arm for run in runs if run.seed == seed}
            if len(values) > 1:
                first, second = ((value[:8], arm) for value, arm in sorted(values.items())[:2])
                return f"{name} of seed {seed} is {first[0]} ({first[1]}) and {second[0]} ({second[1]})"
    for arm in dict.fromkeys(run.arm for run in runs):
        values = sorted({_shown(run.row.get("provenance.sources_sha256")) for run in runs if run.arm == arm})
        if len(values) > 1:
            return f"the sources of {arm} are {' and '.join(values[:2])}"
    return ""


def _shown(value: object) -> str:
    return "" if value is None or value != value else str(value)


def trained(runs: Sequence[Run]) -> Gate:
    """Every run is above chance by its interval over items, and its loss below that of guessing.

    Judged by the primary metric; where rules decide words, by the accuracy of all of these: an arm may have no means
    for one rule, and yet be trained. Of the losses, the smaller of training and validation: a network that learns few
    images by heart is trained, and is wrong with such confidence on others that its validation loss exceeds that of
    guessing while its accuracy is far above it; what it has learnt beyond its training items, the accuracy tells.
    """
    margins = [_above_chance(run) for run in runs]
    bad = [(run, problem) for run, (_, problem) in zip(runs, margins, strict=True) if problem]
    if bad:
        shown = ", ".join(f"{run.name}: {problem}" for run, problem in bad[:3]) + (" ..." if len(bad) > 3 else "")
        return Gate("trained", False, f"{len(bad)} of {len(runs)} runs not", f"arm did not train: {shown}")
    least = min((low for low, _ in margins), default=math.nan)
    return Gate("trained", True, f"at least {least:.3g} above chance")


def _above_chance(run: Run) -> tuple[float, str]:
    """(lower bound of the primary metric less chance, why the run does not count as trained or "")."""
    chance = run.details.get("chance") or {}
    if "metric" not in chance:
        return math.nan, "chance was not recorded"
    metric = "accuracy" if "accuracy" in chance.get("metrics", {}) else run.primary
    guessing = chance_of(run, metric)
    scores = run.scores(metric)
    if scores is None:
        return math.nan, "no per-item scores"
    value, low = run.value(metric), lower_bound(metric, run.value(metric), scores)
    losses = [run.value("losses.train"), run.value("losses.valid")]
    loss = min((value for value in losses if not math.isnan(value)), default=math.nan)
    if not low > guessing:
        return low - guessing, f"{metric} {value:.1f}, chance {guessing:.1f}"
    if "loss" in chance and not loss < LOSS_SHARE * chance["loss"]:
        return low - guessing, f"loss {loss:.3f}, guessing {chance['loss']:.3f}"
    return low - guessing, ""


def chance_of(run: Run, metric: str) -> float:
    """What guessing gives in a metric; 0 where it was not recorded. The accuracy of a rule in one stratum is guessed as
    that of the rule."""
    chance = run.details.get("chance") or {}
    known = chance.get("metrics", {}) | {run.primary: chance.get("metric", 0.0)}
    names = [name for name in known if metric == name or (is_rule(metric) and metric.startswith(f"{name}_"))]
    return float(known[max(names, key=len)]) if names else 0.0


def lower_bound(metric: str, value: float, scores: np.ndarray) -> float:
    """Lower 97.5 % bound over items: Wilson's for shares of items, the normal one otherwise."""
    n = len(scores)
    if metric in SHARES:
        p = value / 100
        centre, half = p + Z * Z / (2 * n), Z * math.sqrt(p * (1 - p) / n + Z * Z / (4 * n * n))
        return 100 * (centre - half) / (1 + Z * Z / n)
    return value - Z * float(scores.std(ddof=1)) / math.sqrt(n) if n > 1 else math.nan


def ceiling(means: Mapping[str, float], metric: str, runs: Sequence[Run]) -> Gate:
    """`means`: of the arms, in the metric that is judged."""
    best, worst = max(means, key=means.get), min(means, key=means.get)
    shown = f"{means[worst]:.4g} to {means[best]:.4g}"
    if not is_percent(metric):
        return Gate("ceiling", True, f"{shown}, no bound")
    floor = max(chance_of(run, metric) for run in runs)
    bottom = best if is_rule(metric) else worst
    if means[best] >= CEILING:
        return Gate("ceiling", False, shown, f"at the ceiling: {metric} of {best} is {means[best]:.1f} of 100")
    if means[bottom] <= floor:
        return Gate(
            "ceiling", False, shown, f"at the floor: {metric} of {bottom} is {means[bottom]:.1f}, guessing {floor:.1f}"
        )
    return Gate("ceiling", True, shown)


def tie(spread: float, margin: float, metric: str, n_items: int) -> Gate:
    """`spread`: standard error of what is judged; `margin`: its absolute margin, NaN without one."""
    if not spread > 0:
        return Gate("tie", False, f"se {spread:.3g}", "tie: the runs agree to the last digit, or there is one of each")
    step = 100 / n_items if metric in SHARES and n_items else 0.0
    if not math.isnan(margin) and margin < LEAST_ITEMS * step:
        value = f"margin {margin:.3g}, an item {step:.3g}"
        return Gate("tie", False, value, f"tie: a margin of {margin:.3g} is less than two items of {n_items}")
    return Gate("tie", True, f"se {spread:.3g}")


def plateau(runs: Sequence[Run], metric: str, effect: float, sign: int) -> Gate:
    """How much the arms still gain over the last fifth of the training, in the metric where the curve has it.

    A curve without it, and an effect that is not of the primary metric, are judged by the training loss: the last fifth
    gains less than a tenth of the whole fall.
    """
    gains: dict[str, list[float]] = {}
    by_metric = not math.isnan(effect) and all(metric in (run.details.get("curve") or {}) for run in runs)
    for run in runs:
        curve = run.details.get("curve") or {}
        gain = gain_of(curve, metric, sign) if by_metric else share_of_fall(curve)
        if math.isnan(gain):
            return Gate(
                "plateau", False, f"{run.name} has no curve", f"plateau: {run.name} has no curve of enough points"
            )
        gains.setdefault(run.arm, []).append(gain)
    arm, gain = max(((arm, float(np.mean(values))) for arm, values in gains.items()), key=lambda pair: pair[1])
    limit = PLATEAU_SHARE * (abs(effect) if by_metric else 1.0)
    unit = metric if by_metric else "of the loss's fall"
    shown = f"{gain:.3g} {unit}, limit {limit:.3g}"
    if gain < limit:
        return Gate("plateau", True, shown)
    return Gate(
        "plateau", False, shown, f"no plateau: {arm} still gains {gain:.3g} {unit} in the last fifth, limit {limit:.3g}"
    )


def gain_of(curve: Mapping, name: str, sign: int) -> float:
    """Mean over the last fifth of the updates less that over the fifth before; NaN with no point in one of them.

    Updates at which only other values were taken down do not count.
    """
    updates, values = np.array(curve.get("update", []), float), np.array(curve.get(name, []), float)
    if not len(updates) or len(updates) != len(values):
        return math.nan
    share, known = updates / updates[-1], np.isfinite(values)
    share, values = share[known], values[known]
    late, before = values[share > 0.8], values[(share > 0.6) & (share <= 0.8)]
    return sign * float(late.mean() - before.mean()) if len(late) and len(before) else math.nan


def share_of_fall(curve: Mapping) -> float:
    """What the training loss still gains in the last fifth, as a share of its whole fall; NaN where it never fell."""
    losses = [loss for loss in curve.get("train_loss") or [] if loss is not None]
    gain = gain_of(curve, "train_loss", -1)
    fall = max(losses) - min(losses) if losses else 0.0
    return gain / fall if fall > 0 else math.nan


def assay(reference: Estimate) -> Gate:
    """The reference effect is above zero."""
    low, high = reference.interval()
    shown = f"{reference.value:.3g} [{low:.3g}, {high:.3g}]"
    if reference.decidable and reference.p_above(0.0) < ASSAY_P:
        return Gate("assay", True, shown)
    return Gate("assay", False, shown, f"assay: the effect that it is held against is not shown, {shown}")


def start(difference: float, effect: float, names: Sequence[str]) -> Gate:
    """The arms that a comparison starts from are equal to a tenth of the effect."""
    limit = START_SHARE * abs(effect)
    shown = f"{difference:.3g}, limit {limit:.3g}"
    if abs(difference) <= limit:
        return Gate("start", True, shown)
    return Gate(
        "start", False, shown, f"unlike starts: {names[0]} and {names[1]} differ by {difference:.3g}, limit {limit:.3g}"
    )
