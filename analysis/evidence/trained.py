"""What trained networks show, by the statistics of analysis.statistics: one number a run, items where they are kept.

A contrast is judged by the spread of its own arms, or by the one pooled over all arms of its recipe where a registered
plan says so beforehand; a contrast over two recipes (a gain from pre-training to transfer) is the sum of two estimates
that are independent. A part needs every arm of three seeds or more, and every gate; then the 95 % interval decides, or
two one-sided tests at 5 % for an equality.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from scipy import special

from analysis import gates, statistics
from analysis.evidence import NOT_TESTED, REVERSED, SUPPORTED, UNDECIDED, Outcome, not_tested
from analysis.evidence.scored import Run, Study, item_frame, value_frame
from analysis.gates import Gate
from analysis.statistics import Estimate
from plugins.suite.claims import (
    COMMON_LOSS,
    Best,
    Equal,
    Layers,
    NotTested,
    NoWorse,
    Part,
    Peak,
    Retains,
    Spread,
    Trend,
    Value,
)

MIN_SEEDS = 3
ALPHA = 0.025  # one-sided: what a 95 % interval on one side of the bound says
TOST_ALPHA = 0.05  # of each of the two one-sided tests


@dataclass(frozen=True)
class Contrast:
    """What has to be shown above zero: weights of arms, and a number that is added (a bound that stands in a check).

    `alpha`: two-sided; what a 95 % interval on one side of a bound comes to, or two one-sided tests.
    """

    weights: dict[str, float]
    constant: float = 0.0
    alpha: float = 2 * ALPHA


@dataclass(frozen=True)
class Finding:
    """What the statistics say, before the gates. `against`: one-sided p of the opposite of the part."""

    supported: bool
    against: float
    estimate: Estimate | None
    value: float
    low: float
    high: float
    unit: str
    margin: float = math.nan
    share: float = math.nan


class Bench:
    """One trained part at one scale: its runs by arm, and estimates of contrasts of them in the part's favour."""

    def __init__(self, part: Part, study: Study, rename: Callable[[str], str], spread: str = "own") -> None:
        self.part, self.study, self.rename, self.sign, self.spread = part, study, rename, part.sign, spread
        self.metric = part.metric
        self._kept: dict[tuple, tuple] = {}
        self.runs: dict[str, list[Run]] = {}
        for name in part.arms():
            self.runs[name] = [replace(run, arm=name) for run in study.runs(rename(name))]
        if self.metric == COMMON_LOSS:
            self._at_common_loss()

    def gap(self) -> str:
        """Why some arm cannot be judged at all; "" where each has its seeds and the metric."""
        for name, runs in self.runs.items():
            if not runs:
                return self.study.gap(self.rename(name))
            metric = runs[0].primary if name in (self.part.starts or []) else self.metric
            having = [run for run in runs if self._has(run, metric)]
            if not having:
                return f"{name} has no {self.part.check.detail if isinstance(self.part.check, Layers) else metric}"
            if len(having) < MIN_SEEDS:
                return f"{len(having)} seed{'s' * (len(having) > 1)} of {name}; {MIN_SEEDS} are needed"
        return ""

    def _has(self, run: Run, metric: str) -> bool:
        if isinstance(self.part.check, Layers):
            return len(layer_values(run.details, self.part.check.detail)) >= 3
        return not math.isnan(run.value(metric))

    def _at_common_loss(self) -> None:
        """Gives every run of the check its accuracy at the larger of the least losses that the runs reach."""
        chosen = [run for name in self.part.check.arms() for run in self.runs[name]]
        least = [min(losses) for run in chosen if (losses := (run.details.get("curve") or {}).get("train_loss"))]
        if len(least) < len(chosen) or not chosen:
            return
        for name, runs in self.runs.items():
            at = [score_at_loss(run.details.get("curve") or {}, "top1", max(least)) for run in runs]
            self.runs[name] = [
                replace(run, row={**run.row, f"metrics.{COMMON_LOSS}": value})
                for run, value in zip(runs, at, strict=True)
            ]

    def values(self, arm: str) -> list[float]:
        """The metric of an arm's runs that have it."""
        return [value for run in self.runs[arm] if not math.isnan(value := run.value(self.metric))]

    def involved(self) -> list[Run]:
        """Every run that the part rests on."""
        return [run for runs in self.runs.values() for run in runs]

    def groups(self) -> list[list[Run]]:
        """Runs that must be alike: those that the check subtracts, the reference, the starts."""
        names = [*self.part.check.unlike(), self.part.effect_of_reference() or [], self.part.starts or []]
        return [[run for name in group for run in self.runs[name]] for group in names if group]

    def estimate(self, coefficients: Mapping[str, float], metric: str | None = None) -> Estimate:
        """The contrast of arm means, positive in favour; judged inside each recipe and added up over recipes."""
        metric, sign = metric or self.metric, 1 if metric else self.sign
        by_recipe: dict[tuple, dict[str, float]] = {}
        for name, weight in coefficients.items():
            if weight:
                by_recipe.setdefault(self.recipe_of(self.runs[name][0], self.rename(name)), {})[name] = sign * weight
        return _sum([self._within(recipe, weights, metric) for recipe, weights in by_recipe.items()])

    def recipe_of(self, run: Run, arm: str) -> tuple:
        """What runs of one recipe share: its name, task, data set, and the settings that no arm and no seed changes."""
        settings = sorted(name for name in run.row if name.startswith("settings.") and name not in gates.OWN_SETTINGS)
        names = [name for name in settings if not name.startswith(gates.OF_THE_DATA)]
        settings = [f"{name}={run.row[name]}" for name in names if run.row[name] == run.row[name]]
        return (self.study.recipe(arm), run.row["task"], str(run.row.get("data.name")), *settings)

    def _within(self, recipe: tuple, weights: Mapping[str, float], metric: str) -> Estimate:
        table, items, shared = self.tables(recipe, metric)
        return statistics.contrast(table, weights, items, shared, self.spread)

    def tables(self, recipe: tuple, metric: str) -> tuple[statistics.Runs, statistics.Items | None, bool]:
        """(runs, items, whether all seeds share one test set) of the part's arms of a recipe, and of its others that
        trained, which tell whether seeds matter and how arms spread together."""
        key = (recipe, metric)
        if key not in self._kept:
            self._kept[key] = self._tables(recipe, metric)
        return self._kept[key]

    def _tables(self, recipe: tuple, metric: str) -> tuple[statistics.Runs, statistics.Items | None, bool]:
        own = [
            run for name, runs in self.runs.items() for run in runs if self.recipe_of(run, self.rename(name)) == recipe
        ]
        homes = {self.study.homes.get(self.rename(name), self.rename(name)) for name in self.runs}
        others: dict[str, list[Run]] = {}
        for run in self.study.finished():
            if run.arm not in homes and not run.stale and self.recipe_of(run, run.arm) == recipe:
                others.setdefault(run.arm, []).append(run)
        trained = [run for runs in others.values() if gates.trained(runs).passed for run in runs]
        runs = [run for run in (*own, *trained) if not math.isnan(run.value(metric))]
        table = statistics.as_runs(value_frame(runs, metric))
        items = item_frame(runs, metric)
        shared = len({run.row.get("data.checksum") for run in own}) == 1
        return table, None if items is None else statistics.as_items(items, table), shared


def _sum(estimates: Sequence[Estimate]) -> Estimate:
    """The sum of independent estimates, degrees of freedom by Satterthwaite."""
    if len(estimates) == 1:
        return estimates[0]
    variance = sum(e.se**2 for e in estimates)
    below = sum(e.se**4 / e.df for e in estimates if e.df > 0)
    items = [e.se_item**2 for e in estimates]
    return Estimate(
        value=sum(e.value for e in estimates),
        se=math.sqrt(variance),
        df=variance**2 / below if below > 0 and all(e.df > 0 for e in estimates) else 0.0,
        n_seeds=min(e.n_seeds for e in estimates),
        n_items=min(e.n_items for e in estimates),
        se_seed=math.sqrt(sum(e.se_seed**2 for e in estimates)),
        se_item=math.sqrt(sum(items)),
        method=" + ".join(dict.fromkeys(e.method for e in estimates)),
    )


def score_at_loss(curve: Mapping, metric: str, loss: float) -> float:
    """The score where the training loss first falls to `loss`, linear between two points; NaN where it never does."""
    losses, scores = curve.get("train_loss") or [], curve.get(metric) or []
    if len(losses) != len(scores):
        return math.nan
    for index in range(1, len(losses)):
        if losses[index] <= loss < losses[index - 1]:
            share = (losses[index - 1] - loss) / (losses[index - 1] - losses[index])
            return scores[index - 1] + share * (scores[index] - scores[index - 1])
    return math.nan


def layer_values(details: Mapping, detail: str) -> list[float]:
    """A number of every layer, first layer first: of `gates`, the smallest kernel's weight in the encoder; of any other
    detail, the numbers of its [layer, number] pairs."""
    kept = details.get(detail) or []
    if isinstance(kept, Mapping):
        layers = sorted(
            (int(name.split(".")[1]), weights) for name, weights in kept.items() if name.startswith("encoder")
        )
        return [float(weights[0]) for _, weights in layers]
    return [float(number) for _, number in kept]


# --- what is compared ------------------------------------------------------------------------------------------------
def contrasts(bench: Bench) -> list[Contrast]:
    """Everything that has to be above zero for the part to be supported; of a spread and of layers, nothing."""
    part, check = bench.part, bench.part.check
    share = part.margin.share if part.margin and part.margin.share and part.reference else 0.0
    margin = {part.reference[0]: share, part.reference[1]: -share} if share else {}
    reference = part.effect_of_reference()
    assay = [Contrast({reference[0]: 1.0, reference[1]: -1.0})] if reference else []
    if isinstance(check, Spread | Layers):
        return []
    if isinstance(check, Value):
        low = [Contrast({check.value: 1.0}, -check.above)] if check.above is not None else []
        return low + ([Contrast({check.value: -1.0}, check.below)] if check.below is not None else [])
    if isinstance(check, Equal):
        weights = check.contrast()
        both = (_plus(margin, weights, +1.0), _plus(margin, weights, -1.0))
        return [*(Contrast(one, alpha=2 * TOST_ALPHA) for one in both), *assay]
    if isinstance(check, NoWorse):
        return [Contrast(_plus({check.no_worse: 1.0, one: -1.0}, margin, +1.0)) for one in check.rivals()] + assay
    if isinstance(check, Best):
        return [Contrast({check.best: 1.0, one: -1.0}) for one in check.of] + assay
    if isinstance(check, Peak):
        over = [Contrast({one: 1.0, check.over: -1.0}) for one in check.peak]
        return [max(over, key=lambda one: value_of(bench, one)), *assay]
    return [Contrast(_plus(check.contrast(), margin, -1.0)), *assay]


def value_of(bench: Bench, contrast: Contrast) -> float:
    """The contrast of the means at hand, in the part's favour."""
    sign = 1 if isinstance(bench.part.check, Value) else bench.sign
    return contrast.constant + sign * sum(w * float(np.mean(bench.values(a))) for a, w in contrast.weights.items())


def _plus(a: Mapping[str, float], b: Mapping[str, float], sign: float) -> dict[str, float]:
    weights = {name: a.get(name, 0.0) + sign * b.get(name, 0.0) for name in dict.fromkeys([*a, *b])}
    return {name: weight for name, weight in weights.items() if weight}


def checks(bench: Bench) -> str:
    """What the estimate takes for granted, for readers: whether a sign hangs on one seed, whether arms of the recipe
    spread alike (Levene) and residuals are normal (Shapiro and Wilk). No verdict rests on it."""
    tested = [contrast.weights for contrast in contrasts(bench) if not contrast.constant]
    if not tested:
        return ""
    names = dict.fromkeys(name for weights in tested for name in weights)
    table = value_frame([run for name in names for run in bench.runs[name]], bench.metric)
    same = all(statistics.leave_one_seed_out(table, weights) for weights in tested)
    said = ["signs without any one seed: " + ("the same" if same else "one changes")]
    first = next(iter(names))
    spread = statistics.pooled(
        bench.tables(bench.recipe_of(bench.runs[first][0], bench.rename(first)), bench.metric)[0]
    )
    for test, p in (("Levene", spread.levene_p), ("Shapiro-Wilk", spread.shapiro_p)):
        said += [] if math.isnan(p) else [f"{test} p {p:.2g}"]
    return "; ".join(said)


# --- findings ---------------------------------------------------------------------------------------------------------
def find(bench: Bench) -> Finding:
    """What the statistics say of the part's check."""
    check = bench.part.check
    special_forms = {Spread: _spread, Layers: _layers, Value: _value, Trend: _trend, Retains: _retains, Equal: _equal}
    many = {Best: _best, Peak: _peak}
    if type(check) in special_forms:
        return special_forms[type(check)](bench, check)
    if type(check) in many:
        return many[type(check)](bench, check)
    if isinstance(check, NoWorse):
        return _worst_of([_shifted(bench, {check.no_worse: 1.0, rival: -1.0}, +1) for rival in check.rivals()])
    return _shifted(bench, check.contrast(), -1)


def _interval(estimate: Estimate) -> tuple[float, float]:
    return estimate.interval()


def _margin(bench: Bench) -> tuple[dict[str, float], float]:
    """(the margin as a contrast of arms, its value): a share of the reference effect; ({}, NaN) without one."""
    part = bench.part
    if not (part.margin and part.margin.share and part.reference):
        return {}, math.nan
    first, second = part.reference
    weights = {first: part.margin.share, second: -part.margin.share}
    return weights, bench.estimate(weights).value


def _shifted(bench: Bench, contrast: Mapping[str, float], side: int) -> Finding:
    """A contrast against its margin: above it (side -1) or above its negative (side +1)."""
    margin, width = _margin(bench)
    estimate = bench.estimate(contrast)
    tested = bench.estimate(_plus(contrast, margin, side)) if margin else estimate
    low, high = _interval(estimate)
    return Finding(
        tested.p_above(0) < ALPHA, tested.p_below(0), estimate, estimate.value, low, high, bench.metric, width
    )


def _worst_of(findings: Sequence[Finding]) -> Finding:
    """All of several comparisons: supported where each is; against it the clearest, corrected for their number."""
    worst = min(findings, key=lambda finding: finding.value)
    against = min(statistics.holm([finding.against for finding in findings]))
    return replace(worst, supported=all(finding.supported for finding in findings), against=against)


def _equal(bench: Bench, check: Equal) -> Finding:
    margin, width = _margin(bench)
    contrast = check.contrast()
    above, below = bench.estimate(_plus(contrast, margin, +1)), bench.estimate(_plus(contrast, margin, -1))
    estimate = bench.estimate(contrast)
    low, high = estimate.interval(0.9)  # what two one-sided tests at 5 % come to
    p = max(above.p_above(0), below.p_below(0))
    against = min(1.0, 2 * min(below.p_above(0), above.p_below(0)))
    return Finding(
        p < TOST_ALPHA, against, estimate, estimate.value, low, high, f"{bench.metric}, 90 % interval", width
    )


def _retains(bench: Bench, check: Retains) -> Finding:
    tested = bench.estimate(check.contrast())
    table, items, shared = bench.tables(bench.recipe_of(bench.runs[check.of][0], bench.rename(check.of)), bench.metric)
    kept = statistics.retention(table, check.retains, check.of, check.over, items, shared, bench.spread)
    return Finding(
        tested.p_above(0) < ALPHA, tested.p_below(0), tested, kept.value, kept.low, kept.high,
        "share of the reference effect", check.at_least, kept.value,
    )  # fmt: skip


def _value(bench: Bench, check: Value) -> Finding:
    estimate = bench.estimate({check.value: 1.0}, bench.metric)
    low, high = _interval(estimate)
    above, below = (
        (-math.inf if check.above is None else check.above),
        (math.inf if check.below is None else check.below),
    )
    against = [estimate.p_below(check.above)] if check.above is not None else []
    against += [estimate.p_above(check.below)] if check.below is not None else []
    margin = check.above if check.above is not None else check.below
    return Finding(
        low > above and high < below, min(against), estimate, estimate.value, low, high, bench.metric, margin
    )


def _trend(bench: Bench, check: Trend) -> Finding:
    """Page's test over the seeds and the linear contrast, which knows the items, have to agree."""
    estimate = bench.estimate(check.contrast())
    table = value_frame([run for name in check.trend for run in bench.runs[name]], bench.metric)
    rising = (check.order == "rises") == (bench.sign > 0)
    direction = ("increasing", "decreasing") if rising else ("decreasing", "increasing")
    p, against = (statistics.page(table, check.trend, way) for way in direction)
    low, high = _interval(estimate)
    supported = p < 0.05 and estimate.p_above(0) < ALPHA
    unit = f"{bench.metric} end to end; Page p {p:.3g}"
    return Finding(supported, max(against, estimate.p_below(0)), estimate, estimate.value, low, high, unit)


def _best(bench: Bench, check: Best) -> Finding:
    """Above each of many."""
    result = _worst_of([_shifted(bench, {check.best: 1.0, rival: -1.0}, -1) for rival in check.of])
    ps = _dunnett(bench, check.best, check.of, "less")
    return result if ps is None else replace(result, supported=max(ps) < ALPHA)


def _peak(bench: Bench, check: Peak) -> Finding:
    """The best of many above one: some of them is, corrected for their number."""
    findings = [_shifted(bench, {name: 1.0, check.over: -1.0}, -1) for name in check.peak]
    best = max(findings, key=lambda finding: finding.value)
    ps = _dunnett(bench, check.over, check.peak, "greater")
    if ps is None:
        ps = statistics.holm([finding.estimate.p_above(0) for finding in findings])
    return replace(best, supported=min(ps) < ALPHA, against=max(finding.against for finding in findings))


def _dunnett(bench: Bench, control: str, others: Sequence[str], alternative: str) -> list[float] | None:
    """Dunnett's p values where a plan pools the spread; None otherwise, and on one test set, which it does not know."""
    runs = [run for name in (control, *others) for run in bench.runs[name]]
    if bench.spread != "pooled" or len({run.row.get("data.checksum") for run in runs}) == 1:
        return None
    table = value_frame(runs, bench.metric)
    table["value"] *= bench.sign
    return list(statistics.many_to_one(table, control, others, alternative, spread="pooled").values())


def _spread(bench: Bench, check: Spread) -> Finding:
    values = [run.value(bench.metric) for run in bench.runs[check.spread]]
    sd, df = float(np.std(values, ddof=1)), len(values) - 1
    low, high = statistics.spread(values)
    below = float(special.chdtrc(df, df * (sd / check.below) ** 2))  # P(chi2 > observed) where the sd is the bound
    estimate = Estimate(sd, sd / math.sqrt(2 * df), df, len(values), 0, sd / math.sqrt(2 * df), math.nan, "chi-square")
    return Finding(high < check.below, below, estimate, sd, low, high, f"sd of {bench.metric} over seeds", check.below)


def _layers(bench: Bench, check: Layers) -> Finding:
    """Page's test over the seeds and the slope over the layers, positive in favour, have to agree."""
    rows = [
        (f"{index:03}", run.seed, value)
        for run in bench.runs[check.layers]
        for index, value in enumerate(layer_values(run.details, check.detail))
    ]
    table = pd.DataFrame(rows, columns=["arm", "seed", "value"])
    order = sorted(set(table["arm"]))
    way, back = ("increasing", "decreasing") if check.order == "rises" else ("decreasing", "increasing")
    p, against = statistics.page(table, order, way), statistics.page(table, order, back)
    slope = statistics.trend(table, order)
    slope = slope if check.order == "rises" else replace(slope, value=-slope.value)
    low, high = _interval(slope)
    supported = p < ALPHA and slope.p_above(0) < ALPHA
    unit = f"{check.detail} a layer over {len(order)} layers, {check.order}; Page p {p:.3g}"
    return Finding(supported, max(against, slope.p_below(0)), slope, slope.value, low, high, unit)


# --- verdict ----------------------------------------------------------------------------------------------------------
def judge(part: Part, study: Study, rename: Callable[[str], str] = lambda arm: arm, spread: str = "own") -> Outcome:
    """The verdict on a trained part at the scale of `study`, before Holm.

    rename: an arm's name at that scale. spread: "own", or "pooled" where a registered plan says so.
    """
    if isinstance(part.check, NotTested):
        return not_tested(part.check.not_tested)
    bench = Bench(part, study, rename, spread)
    problem = bench.gap()
    if problem:
        return not_tested(problem, **_provenance(bench))
    passed = [gates.fresh(bench.involved()), gates.alike(bench.groups())]
    if gates.failed(passed):
        return not_tested(gates.failed(passed), gates=gates.text(passed), **_provenance(bench))
    finding = find(bench)
    passed += _gates(bench, finding)
    reason = gates.failed(passed)
    verdict = (
        NOT_TESTED if reason else SUPPORTED if finding.supported else REVERSED if finding.against < ALPHA else UNDECIDED
    )
    estimate = finding.estimate
    return Outcome(
        verdict,
        reason,
        finding.value,
        finding.low,
        finding.high,
        finding.unit,
        share_of_reference=_share(bench, finding),
        margin=finding.margin,
        n_seeds=estimate.n_seeds,
        n_items=estimate.n_items,
        se_seed=estimate.se_seed,
        se_item=estimate.se_item,
        df=estimate.df,
        p=finding.against,
        mde=estimate.mde(),
        gates=gates.text(passed),
        checks=checks(bench),
        **_provenance(bench),
    )


def _gates(bench: Bench, finding: Finding) -> list[Gate]:
    part, check = bench.part, bench.part.check
    runs = bench.involved()
    reference = part.effect_of_reference()
    effect = finding.value
    passed = [gates.trained(runs)]
    names = [name for name in bench.runs if name not in (part.starts or [])]
    if not isinstance(check, Layers):
        means = {name: float(np.mean([run.value(bench.metric) for run in bench.runs[name]])) for name in names}
        passed.append(gates.ceiling(means, bench.metric, runs))
    if reference:
        shown = bench.estimate({reference[0]: 1.0, reference[1]: -1.0})
        effect = shown.value
        passed.append(gates.assay(shown))
    passed.append(
        gates.tie(
            finding.estimate.se,
            finding.margin if part.margin and part.margin.share else math.nan,
            bench.metric,
            finding.estimate.n_items,
        )
    )
    if bench.metric != COMMON_LOSS:  # a comparison on the way does not ask for the end
        judged = [run for name in names for run in bench.runs[name]]
        comparable = bench.metric == runs[0].primary and not isinstance(check, Spread | Layers | Value)
        passed.append(gates.plateau(judged, runs[0].primary, effect if comparable else math.nan, bench.sign))
    if part.starts:
        first, second = part.starts
        metric = bench.runs[first][0].primary
        passed.append(gates.start(bench.estimate({first: 1.0, second: -1.0}, metric).value, finding.value, part.starts))
    return passed


def _share(bench: Bench, finding: Finding) -> float:
    """The estimate as a share of the reference effect."""
    if not math.isnan(finding.share):
        return finding.share
    reference = bench.part.effect_of_reference()
    if not reference:
        return math.nan
    effect = bench.estimate({reference[0]: 1.0, reference[1]: -1.0}).value
    return finding.value / effect if effect else math.nan


def _provenance(bench: Bench) -> dict[str, str]:
    """Data, commits and runs of the part, as text."""
    runs = bench.involved()
    data = sorted({f"{run.row.get('data.name')} ({str(run.row.get('data.checksum'))[:8]})" for run in runs})
    commits = sorted({str(run.row.get("provenance.commit", ""))[:10] for run in runs} - {"", "nan"})
    return {
        "data": ", ".join(data),
        "commit": ", ".join(commits),
        "runs": " ".join(dict.fromkeys(str(run.row["run"]) for run in runs)),
    }
