"""What a handful of seeds and a finite test set allow one to say: estimates, intervals and tests on frames.

Frames. `runs` has the columns arm, seed, value: one number a run, the arms of ONE recipe (one data set, one schedule).
`items` has arm, seed, item, score: one row a test item of a run; the mean of a run's scores is its value. All take
a frame or the `Runs` / `Items` table that `as_runs` / `as_items` make of it (make it once where many calls follow).

Model. y[a, s] = mu_a + b_s + e[a, s]: an arm's mean, what a seed does to all arms alike, and the rest. The test set is
a sample as well: where all seeds are scored on one test set, the items are crossed with the seeds, and their variance
enters every estimate (Cornfield and Tukey 1956); where each seed draws its own items it is in the variance between the
runs already.

Whose spread judges. Pooling the residual over a recipe's arms gives three seeds of four arms 8 degrees of freedom, but
it is right only where all arms spread alike, which three seeds cannot show: by simulation (benchmarks/statistics.md)
the pooled interval of two arms that spread three times as much as the others errs up to one time in four instead of
one in twenty, and Levene's test with few seeds hardly ever sees it. So an estimate rests on the spread of its own
arms: the contrast within seeds (paired) where the seeds' block has p < 0.05 over all arms of the recipe, Welch's
elsewhere; an arm of one seed cannot be judged. Who knows beforehand that the spreads are alike may ask for the pooled
one (spread="pooled"). `Estimate.method` says which it was.

An estimate that cannot be judged (no residual degree of freedom, or a spread of exactly zero) has a standard error of
NaN or 0: its intervals and p values are NaN, and it decides nothing.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy import optimize, special, stats

from plugins.suite.errors import UserError

BLOCK_P = 0.05  # the seed block stays where its F test has a smaller p (a laxer one picks intervals narrow by chance)
OWN_SEEDS = 3  # fewer seeds in common are not compared within seeds, and do not predict a new run by their own spread
UNEQUAL_P = 0.05  # spreads are unlike where Levene's p is smaller ...
UNEQUAL_RATIO = 3.0  # ... and the largest sd of an arm is more than this times the smallest
ASSAY_P = 0.025  # one-sided level at which a reference effect counts as shown
MOST_SEEDS = 10_000  # a plan that needs more is out of reach


# --- tables -----------------------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Runs:
    """One number a run: `y` [arms, seeds], NaN where an arm lacks a seed."""

    arms: tuple[str, ...]
    seeds: tuple
    y: np.ndarray

    @cached_property
    def present(self) -> np.ndarray:
        """[arms, seeds] bool."""
        return ~np.isnan(self.y)

    def vector(self, coefficients: Mapping[str, float]) -> np.ndarray:
        """Coefficients in the order of `arms`; UserError on an arm that has no run."""
        for arm in coefficients:
            if arm not in self.arms:
                raise UserError(f"contrast: arm {arm!r} has no run (arms with runs: {', '.join(self.arms)})")
        return np.array([float(coefficients.get(arm, 0.0)) for arm in self.arms])


@dataclass(frozen=True)
class Items:
    """Scores `x` [arms, seeds, items] in the order of the runs' table; NaN where a run or an item is missing."""

    x: np.ndarray


def _check_columns(frame: pd.DataFrame, columns: Sequence[str], name: str) -> None:
    missing = [column for column in columns if column not in frame]
    if missing:
        raise UserError(f"{name}: no column {missing[0]!r} (it needs {', '.join(columns)})")
    if frame.empty:
        raise UserError(f"{name}: no rows; nothing can be estimated from nothing")
    doubled = frame.duplicated(list(columns[:-1]))
    if doubled.any():
        row = frame[doubled].iloc[0]
        raise UserError(f"{name}: two rows for {', '.join(f'{c}={row[c]}' for c in columns[:-1])}; keep one")
    if not np.isfinite(frame[columns[-1]].to_numpy(dtype=float)).all():
        row = frame[~np.isfinite(frame[columns[-1]].astype(float))].iloc[0]
        raise UserError(f"{name}: {columns[-1]} of arm={row['arm']}, seed={row['seed']} is not a finite number")


def as_runs(runs: pd.DataFrame | Runs) -> Runs:
    """The table of a frame [arm, seed, value]; UserError on doubled rows and values that are not finite."""
    if isinstance(runs, Runs):
        return runs
    _check_columns(runs, ("arm", "seed", "value"), "runs")
    wide = runs.pivot(index="arm", columns="seed", values="value").sort_index()
    return Runs(tuple(wide.index), tuple(wide.columns), wide.to_numpy(dtype=float))


def as_items(items: pd.DataFrame | Items, runs: Runs) -> Items:
    """The table of a frame [arm, seed, item, score] on the arms and seeds of `runs`."""
    if isinstance(items, Items):
        return items
    _check_columns(items, ("arm", "seed", "item", "score"), "items")
    order = pd.Index(np.sort(items["item"].unique()))
    x = np.full((len(runs.arms), len(runs.seeds), len(order)), math.nan)
    rows = pd.Index(runs.arms).get_indexer(items["arm"])
    columns = pd.Index(runs.seeds).get_indexer(items["seed"])
    known = (rows >= 0) & (columns >= 0)
    x[rows[known], columns[known], order.get_indexer(items["item"])[known]] = items["score"].to_numpy(float)[known]
    return Items(x)


# --- least squares ----------------------------------------------------------------------------------------------------
class _Design(NamedTuple):
    """Least squares of one pattern of runs, flat over the runs that are present."""

    solve: np.ndarray  # [arms or arms + seeds, runs]: coefficients from values
    residual: np.ndarray  # [runs, runs]: projection on the residuals
    df: int
    model: np.ndarray  # [runs, coefficients]


@lru_cache(maxsize=256)
def _design(pattern: bytes, shape: tuple[int, int], blocks: bool) -> _Design:
    """`value ~ C(arm)`, or `value ~ C(arm) + C(seed)`, by the pseudo-inverse (as statsmodels' OLS does)."""
    present = np.frombuffer(pattern, dtype=bool).reshape(shape)
    arm, seed = np.nonzero(present)
    model = np.eye(shape[0])[arm]
    if blocks:
        model = np.hstack([model, np.eye(shape[1])[seed]])
    solve = np.linalg.pinv(model)
    residual = np.eye(len(arm)) - model @ solve
    return _Design(solve, residual, len(arm) - int(np.linalg.matrix_rank(model)), model)


def _designs(table: Runs) -> tuple[_Design, _Design]:
    """Without and with the seed blocks."""
    pattern = table.present.tobytes()
    return _design(pattern, table.y.shape, False), _design(pattern, table.y.shape, True)


@dataclass(frozen=True)
class Pooled:
    """The residual spread that the arms of a recipe share.

    `sd` and `df` are of the kept model: with seed blocks where their F test has p < 0.05 (`blocks`, `block_p`).
    `total_sd`, `total_df`: of one run of an arm, the seed's part included (the same numbers without blocks).
    `means`, `seeds`, `sds`: by arm (sd NaN for an arm of one seed). `table`: the runs.
    """

    sd: float
    df: int
    blocks: bool
    block_p: float
    total_sd: float
    total_df: float
    means: dict[str, float]
    seeds: dict[str, int]
    sds: dict[str, float]
    table: Runs

    @property
    def tied(self) -> bool:
        """No spread at all: runs that agree to the last digit say nothing about the noise, so no verdict is drawn."""
        return self.df > 0 and self.sd == 0

    @property
    def unequal(self) -> bool:
        """Spreads that are shown to be unlike (with few seeds they may be so and not show it)."""
        return self.sd_ratio > UNEQUAL_RATIO and self.levene_p < UNEQUAL_P

    @cached_property
    def residuals(self) -> pd.Series:
        """Of the kept model, over (arm, seed)."""
        table = self.table
        arm, seed = np.nonzero(table.present)
        index = pd.MultiIndex.from_arrays(
            [[table.arms[a] for a in arm], [table.seeds[s] for s in seed]], names=["arm", "seed"]
        )
        return pd.Series(self._residuals, index=index)

    @property
    def _residuals(self) -> np.ndarray:
        return _designs(self.table)[int(self.blocks)].residual @ self.table.y[self.table.present]

    def _groups(self) -> list[np.ndarray]:
        """Residuals of every arm that has two or more."""
        arm, residuals = np.nonzero(self.table.present)[0], self._residuals
        return [residuals[arm == a] for a, n in enumerate(self.seeds.values()) if n > 1]

    @cached_property
    def sd_ratio(self) -> float:
        """Largest over smallest sd of an arm's residuals (infinite where one has none); NaN below two arms."""
        spreads = [group.std() for group in self._groups()]
        if len(spreads) < 2 or not self.sd > 0:
            return math.nan
        return float(max(spreads) / min(spreads)) if min(spreads) > 0 else math.inf

    @cached_property
    def levene_p(self) -> float:
        """Levene's test about the medians of the arms' residuals; NaN with fewer than two arms of two seeds."""
        groups = self._groups()
        if len(groups) < 2 or self.df == 0 or self.sd == 0:
            return math.nan
        with np.errstate(divide="ignore", invalid="ignore"):
            return float(stats.levene(*groups, center="median").pvalue)

    @cached_property
    def shapiro_p(self) -> float:
        """Shapiro-Wilk over the residuals; NaN below three or without spread."""
        if self.df < 3 or self.sd == 0:
            return math.nan
        return float(stats.shapiro(self._residuals).pvalue)


class _Fit(NamedTuple):
    """Mean squares of a table: of the residual with and without blocks, and of the blocks."""

    blocks: bool
    block_p: float
    error: float  # mean square of the kept model
    error_df: int
    block: float  # mean square of the seeds, arms taken out
    block_df: int
    block_weight: float  # E[block] = variance of e + block_weight * variance of b


def _fit(table: Runs) -> _Fit:
    plain, blocked = _designs(table)
    y = table.y[table.present]
    centred = y - y.mean()
    plain_ss, blocked_ss = (float(np.square(design.residual @ centred).sum()) for design in (plain, blocked))
    smallest = np.square(np.finfo(float).eps * max(np.abs(y).max(), 1e-300)) * len(y) * 16  # rounding, not spread
    plain_ss, blocked_ss = (0.0 if ss < smallest else ss for ss in (plain_ss, blocked_ss))
    block_df = plain.df - blocked.df
    if plain.df == 0:
        return _Fit(False, math.nan, math.nan, 0, math.nan, 0, math.nan)
    if blocked.df == 0 or block_df == 0 or blocked_ss == 0:
        return _Fit(False, math.nan, plain_ss / plain.df, plain.df, math.nan, 0, math.nan)
    error, block = blocked_ss / blocked.df, max(plain_ss - blocked_ss, 0.0) / block_df
    p = float(special.fdtrc(block_df, blocked.df, block / error))
    if p >= BLOCK_P:
        return _Fit(False, p, plain_ss / plain.df, plain.df, math.nan, 0, math.nan)
    seeds = blocked.model[:, len(table.arms) :]
    weight = float(np.trace(seeds.T @ plain.residual @ seeds)) / block_df
    return _Fit(True, p, error, blocked.df, block, block_df, weight)


def _satterthwaite(parts: Sequence[tuple[float, float]]) -> tuple[float, float]:
    """(variance, degrees of freedom) of a sum of independent mean squares, given as (weighted mean square, df)."""
    variance = sum(part for part, _ in parts)
    below = sum(part * part / df for part, df in parts if part)
    return variance, (variance * variance / below if below > 0 else min(df for _, df in parts))


def _seed_and_error(fit: _Fit, seed_weight: float, error_weight: float) -> list[tuple[float, float]]:
    """Parts of seed_weight * Var(b) + error_weight * Var(e)."""
    if not fit.blocks or seed_weight < 1e-12:
        return [(error_weight * fit.error, fit.error_df)]
    share = seed_weight / fit.block_weight
    return [(share * fit.block, fit.block_df), ((error_weight - share) * fit.error, fit.error_df)]


def _own(table: Runs) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(means, variances, numbers of seeds) by arm; the variance of an arm with one seed is NaN."""
    n = table.present.sum(1)
    y = np.where(table.present, table.y, 0.0)
    mean = y.sum(1) / n
    square = np.where(table.present, np.square(table.y - mean[:, None]), 0.0).sum(1)
    with np.errstate(divide="ignore", invalid="ignore"):
        return mean, np.where(n > 1, square / (n - 1), math.nan), n


def pooled(runs: pd.DataFrame | Runs) -> Pooled:
    """Residual spread over the arms of one recipe, from `value ~ C(arm) + C(seed)` (blocks kept where p < 0.05)."""
    table = as_runs(runs)
    fit = _fit(table)
    mean, variance, n = _own(table)
    total, total_df = (math.nan, 0) if fit.error_df == 0 else _satterthwaite(_seed_and_error(fit, 1.0, 1.0))
    return Pooled(
        sd=math.sqrt(fit.error) if fit.error_df else math.nan,
        df=fit.error_df,
        blocks=fit.blocks,
        block_p=fit.block_p,
        total_sd=math.sqrt(total),
        total_df=total_df,
        means=dict(zip(table.arms, mean.tolist(), strict=True)),
        seeds=dict(zip(table.arms, n.tolist(), strict=True)),
        sds=dict(zip(table.arms, np.sqrt(variance).tolist(), strict=True)),
        table=table,
    )


# --- estimates --------------------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Estimate:
    """A linear contrast of arm means with its standard error and degrees of freedom.

    n_seeds: the fewest seeds of an arm in it; n_items: of the shared test set, or of one seed's (0 without items).
    se_seed: what the seeds alone would give, se_item: what the items alone would give (NaN without items).
    method: in words, for the reader.
    """

    value: float
    se: float
    df: float
    n_seeds: int
    n_items: int
    se_seed: float
    se_item: float
    method: str

    @property
    def decidable(self) -> bool:
        """There is a spread to judge by."""
        return self.df > 0 and self.se > 0

    def _t(self, bound: float) -> float:
        return (self.value - bound) / self.se if self.decidable else math.nan

    def interval(self, level: float = 0.95) -> tuple[float, float]:
        """(low, high), two-sided."""
        half = special.stdtrit(self.df, (1 + level) / 2) * self.se if self.decidable else math.nan
        return float(self.value - half), float(self.value + half)

    def p_above(self, bound: float = 0.0) -> float:
        """One-sided p of theta > bound: small where the estimate lies well above it."""
        return float(special.stdtr(self.df, -self._t(bound)))

    def p_below(self, bound: float = 0.0) -> float:
        """One-sided p of theta < bound."""
        return float(special.stdtr(self.df, self._t(bound)))

    def p_two_sided(self, bound: float = 0.0) -> float:
        """Two-sided p of theta != bound."""
        return 2 * min(self.p_above(bound), self.p_below(bound))

    def mde(self, power: float = 0.8, alpha: float = 0.05) -> float:
        """The smallest effect that a two-sided test at `alpha` would show with probability `power`."""
        if not self.decidable:
            return math.nan
        target = optimize.brentq(lambda ratio: _power(ratio, self.df, alpha) - power, 0.0, 1e4, xtol=1e-6)
        return float(target * self.se)


def _power(ratio: float, df: float, alpha: float) -> float:
    """Of a two-sided t test where theta / se = ratio (noncentral t; the wrong tail is left out)."""
    df = min(df, 1e6)
    bound = special.stdtrit(df, 1 - alpha / 2)
    power = 1 - special.nctdtr(df, ratio, bound)
    return 1.0 if math.isnan(power) and ratio > bound else float(power)


class _Model(NamedTuple):
    """How a contrast is taken and judged: weights of the runs, mean squares of its variance, and their item part."""

    weights: np.ndarray  # [arms, seeds], sum = the estimate
    parts: list[tuple[float, float]]  # (weighted mean square between runs, df)
    interaction: Callable[[np.ndarray], list[tuple[float, float]]]  # the same of runs x items, from x [arms, seeds, n]
    method: str


def _interaction_square(x: np.ndarray, residual: np.ndarray) -> float:
    """Sum of squares of the interaction of runs and items: x [runs, items], the model's residual of every item."""
    return float(np.square(residual @ (x - x.mean(1, keepdims=True))).sum())


def _paired(table: Runs, c: np.ndarray) -> _Model | None:
    """The contrast within seeds, one number a seed that all its arms have; None with fewer than three such seeds."""
    used = c != 0
    common = table.present[used].all(0)
    count = int(common.sum())
    if count < OWN_SEEDS:
        return None
    weights = np.outer(c, common / count)
    difference = c[used] @ table.y[used][:, common]

    def interaction(x: np.ndarray) -> list[tuple[float, float]]:
        n = x.shape[2]
        d = np.einsum("a,asi->si", c[used], x[used][:, common])
        df = (count - 1) * (n - 1)
        return [(_interaction_square(d, np.eye(count) - 1 / count) / df / count / n, df)]

    return _Model(weights, [(difference.var(ddof=1) / count, count - 1)], interaction, "paired within seeds")


def _welch(table: Runs, c: np.ndarray) -> _Model:
    """Every arm by its own variance; degrees of freedom by Satterthwaite, but 1 where an arm has two seeds."""
    _, variance, n_seeds = _own(table)
    arms = np.nonzero(c)[0]
    weights = np.where(table.present, (c / n_seeds)[:, None], 0.0)
    parts = [(c[a] ** 2 * variance[a] / n_seeds[a], n_seeds[a] - 1) for a in arms]
    if n_seeds[arms].min() == 2:
        # Two seeds that happen to agree would borrow the other arm's degrees of freedom (9 % errors by simulation).
        parts = [(sum(part for part, _ in parts), 1)]

    def interaction(x: np.ndarray) -> list[tuple[float, float]]:
        n, terms = x.shape[2], []
        for a in arms:
            count = n_seeds[a]
            df = (count - 1) * (n - 1)
            square = _interaction_square(x[a][table.present[a]], np.eye(count) - 1 / count)
            terms.append((c[a] ** 2 * square / df / count / n, df))
        return terms

    return _Model(weights, parts, interaction, "Welch, arms by their own spreads")


def _pool(table: Runs, c: np.ndarray, fit: _Fit) -> _Model:
    """The residual pooled over all arms of the table, within the seed blocks where they were kept."""
    plain, blocked = _designs(table)
    flat, blocks = c @ plain.solve, fit.blocks and _is_difference(c)
    if blocks:
        within = np.concatenate([c, np.zeros(len(table.seeds))]) @ blocked.solve
        # Arms that share no seed cannot be compared within seeds.
        blocks = bool(np.abs(within @ blocked.model[:, : len(c)] - c).max() < 1e-8)
        flat = within if blocks else flat
    flat = np.where(np.abs(flat) < 1e-12 * np.abs(flat).max(), 0.0, flat)  # rounding, not a run that takes part
    weights = np.zeros(table.y.shape)
    weights[table.present] = flat
    square = float(np.square(weights).sum())
    parts = _seed_and_error(fit, float(np.square(weights.sum(0)).sum()), square)

    def interaction(x: np.ndarray) -> list[tuple[float, float]]:
        scored = table.present & ~np.isnan(x).any(2)
        design = _design(scored.tobytes(), scored.shape, blocks)
        if design.df == 0:
            return []  # nothing is taken off, which errs on the wide side
        n = x.shape[2]
        df = design.df * (n - 1)
        return [(square * _interaction_square(x[scored], design.residual) / df / n, df)]

    method = f"variance pooled over {len(table.arms)} arms" + (", seeds as blocks" if fit.blocks else "")
    return _Model(weights, parts, interaction, method)


def _is_difference(c: np.ndarray) -> bool:
    """The coefficients sum to zero, so that what a seed does to all arms cancels."""
    return bool(abs(c.sum()) < 1e-9 * np.abs(c).sum())


def _chooser(table: Runs, spread: str) -> Callable[[np.ndarray], _Model]:
    """The model of any contrast of the table."""
    if spread not in ("own", "pooled"):
        raise UserError(f"contrast: spread is 'own' or 'pooled', not {spread!r}")
    fit = _fit(table)

    def choose(c: np.ndarray) -> _Model:
        if spread == "pooled":
            return _pool(table, c, fit)
        within = fit.blocks if _is_difference(c) else np.count_nonzero(c) > 1
        return (within and _paired(table, c)) or _welch(table, c)

    return choose


def _estimate(table: Runs, c: np.ndarray, model: _Model, items: Items | None, shared_items: bool) -> Estimate:
    """The contrast `c` judged by `model`."""
    w, parts, method = model.weights, model.parts, model.method
    value = float(w[table.present] @ table.y[table.present])
    n_seeds = int((w != 0).sum(1)[c != 0].min())
    if any(not df for _, df in parts):
        return Estimate(value, math.nan, 0.0, n_seeds, 0, math.nan, math.nan, method + "; no degree of freedom")
    variance, df = _satterthwaite(parts)
    if variance < np.square(np.finfo(float).eps * np.abs(table.y[w != 0]).max()) * 16:  # rounding, not spread
        return Estimate(value, 0.0, float(df), n_seeds, 0, 0.0, math.nan, method + "; no spread")
    se_seed, se_item, count = math.sqrt(variance), math.nan, 0
    if items is not None:
        x = _scores_of(table, items, w != 0, shared_items)
        if shared_items:
            variance, df, item = _crossed(x, model)
            count, se_item = x.shape[2], math.sqrt(item)
            method += "; items crossed with seeds"
        else:
            item, count = _nested_item_variance(x, w)
            se_item = math.sqrt(item)
            method += "; items drawn anew for every seed"
    return Estimate(value, math.sqrt(variance), float(df), n_seeds, count, se_seed, se_item, method)


def _scores_of(table: Runs, items: Items, used: np.ndarray, shared_items: bool) -> np.ndarray:
    """Scores [arms, seeds, items], checked: every run `used` [arms, seeds] has them, of the same items where shared."""
    x = items.x
    if x.shape[2] < 2:
        raise UserError("items: one item has no variance; two are the least")
    gaps = np.isnan(x)
    for a, s in zip(*np.nonzero(used), strict=True):
        if gaps[a, s].all() or (shared_items and gaps[a, s].any()):
            rule = "has no per-item scores" if gaps[a, s].all() else "lacks items that other runs have"
            raise UserError(f"items: arm {table.arms[a]!r}, seed {table.seeds[s]} {rule}; score the run again")
    return x


def _nested_item_variance(x: np.ndarray, w: np.ndarray) -> tuple[float, int]:
    """(variance that the items of each seed give the contrast, fewest items of a seed)."""
    total, count = 0.0, x.shape[2]
    for s in np.nonzero(np.any(w != 0, axis=0))[0]:
        rows = w[:, s] != 0
        difference = w[rows, s] @ x[rows, s]
        difference = difference[~np.isnan(difference)]
        if len(difference) < 2:
            return math.nan, len(difference)
        total += difference.var(ddof=1) / len(difference)
        count = min(count, len(difference))
    return total, count


def _crossed(x: np.ndarray, model: _Model) -> tuple[float, float, float]:
    """(variance, df, item part) of the contrast with weights w over runs [arms, seeds] and one set of n items.

    With V the variance from the spread between runs, D_i = sum w x_i the contrast on item i, E its interaction part:
        Var = V + Var_i(D) / n - E,
    which for balanced arms is the two-way random-effects form (MS_seed + MS_item - MS_error) / (S n): the interaction
    of runs and items is counted in both other terms. A component that would be negative counts as zero.
    """
    n = x.shape[2]
    used = model.weights != 0
    item = float((model.weights[used] @ x[used]).var(ddof=1)) / n
    seed, seed_df = _satterthwaite(model.parts)
    subtract = [(-part, df) for part, df in model.interaction(x)]
    variance, df = _satterthwaite([*model.parts, (item, n - 1), *subtract])
    if variance < max(seed, item):
        variance, df = (seed, seed_df) if seed >= item else (item, n - 1)
    return variance, df, item


def contrast(
    runs: pd.DataFrame | Runs,
    coefficients: Mapping[str, float],
    items: pd.DataFrame | Items | None = None,
    shared_items: bool = False,
    spread: str = "own",
) -> Estimate:
    """theta = sum of coefficients times arm means.

    items, shared_items=True: one fixed test set for all seeds; its sampling error is part of the standard error.
    items, shared_items=False: every seed draws its own test items (data seed = run seed); their error is part of the
    spread between runs already and is reported as se_item only.
    spread: "own" (paired within seeds or Welch, see the head of this module; an arm of one seed leaves no degree of
    freedom) or "pooled" over all arms of `runs`, which takes for granted that their spreads are alike.
    Coefficients that do not sum to zero (the mean of an arm) carry the seeds' common part as well.
    """
    table = as_runs(runs)
    c = table.vector(coefficients)
    if not c.any():
        raise UserError("contrast: all coefficients are zero; name at least one arm with another")
    scores = None if items is None else as_items(items, table)
    return _estimate(table, c, _chooser(table, spread)(c), scores, shared_items)


def welch(
    runs: pd.DataFrame | Runs,
    coefficients: Mapping[str, float],
    items: pd.DataFrame | Items | None = None,
    shared_items: bool = False,
) -> Estimate:
    """The contrast with every arm's own variance, degrees of freedom by Welch and Satterthwaite, seeds unpaired.

    An arm of two seeds leaves 1 degree of freedom, one of one seed none.
    """
    table = as_runs(runs)
    c = table.vector(coefficients)
    scores = None if items is None else as_items(items, table)
    return _estimate(table, c, _welch(table, c), scores, shared_items)


# --- ratios and equivalence -------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Retention:
    """Share of the reference effect that the test arm keeps, with its 95 % interval (infinite where unbounded).

    assay_p: one-sided p of the reference effect; a share means nothing unless it is below 0.025 (`assay`).
    """

    value: float
    low: float
    high: float
    assay_p: float
    bounded: bool

    @property
    def assay(self) -> bool:
        return self.assay_p < ASSAY_P


def retention(
    runs: pd.DataFrame | Runs,
    test: str,
    reference: str,
    none: str,
    items: pd.DataFrame | Items | None = None,
    shared_items: bool = False,
    spread: str = "own",
    level: float = 0.95,
) -> Retention:
    """(mu_test - mu_none) / (mu_reference - mu_none) with Fieller's interval.

    The interval is the set of shares r for which the contrast (test - none) - r (reference - none) does not differ from
    zero, by the same estimate as everything else here; it is bounded where the reference effect differs from zero (and
    every arm can be judged).
    """
    table = as_runs(runs)
    scores = None if items is None else as_items(items, table)
    upper = table.vector({test: 1.0}) - table.vector({none: 1.0})
    lower = table.vector({reference: 1.0}) - table.vector({none: 1.0})
    choose = _chooser(table, spread)

    def judged(c: np.ndarray) -> Estimate:
        return _estimate(table, c, choose(c), scores, shared_items)

    def excess(angle: float) -> float:
        estimate = judged(math.cos(angle) * upper - math.sin(angle) * lower)
        return abs(estimate.value) - special.stdtrit(estimate.df, (1 + level) / 2) * estimate.se

    top, bottom = judged(upper), judged(lower)
    value = top.value / bottom.value if bottom.value else math.nan
    bounded = bool(top.decidable and bottom.decidable and bottom.p_two_sided() < 1 - level)
    low, high = -math.inf, math.inf
    if bounded:
        centre = math.atan(value)
        low = math.tan(optimize.brentq(excess, -math.pi / 2, centre, xtol=1e-10))
        high = math.tan(optimize.brentq(excess, centre, math.pi / 2, xtol=1e-10))
    return Retention(value, low, high, bottom.p_above(0.0), bounded)


def equivalence(estimate: Estimate, margin: float) -> float:
    """p of |theta| < margin by two one-sided tests (Schuirmann 1987)."""
    if not margin > 0:
        raise UserError(f"equivalence: the margin must be positive, not {margin:g}")
    return max(estimate.p_above(-margin), estimate.p_below(margin))


# --- orders and families ----------------------------------------------------------------------------------------------
def linear_coefficients(order: Sequence[str]) -> dict[str, float]:
    """Coefficients of the least-squares slope of the arm means over the steps of `order`."""
    steps = np.arange(len(order)) - (len(order) - 1) / 2
    return dict(zip(order, (steps / np.square(steps).sum()).tolist(), strict=True))


def trend(
    runs: pd.DataFrame | Runs,
    order: Sequence[str],
    items: pd.DataFrame | Items | None = None,
    shared_items: bool = False,
) -> Estimate:
    """The effect that stands beside `page`: the change of the mean from one arm of `order` to the next."""
    return contrast(runs, linear_coefficients(order), items, shared_items)


def page(runs: pd.DataFrame | Runs, order: Sequence[str], direction: str = "increasing") -> float:
    """p of Page's L: the arms rise (or fall: direction="decreasing") along `order`, seeds as blocks.

    Seeds that lack an arm of the order are left out; NaN with fewer than two complete seeds. It sees the ranks within
    seeds alone and is exact for arms that spread alike: on a shared test set, or with unlike spreads, the p of
    `trend(..., items, shared_items=True)` is the one to trust.
    """
    if direction not in ("increasing", "decreasing"):
        raise UserError(f"page: direction is 'increasing' or 'decreasing', not {direction!r}")
    if len(order) < 3:
        raise UserError(f"page: an order has three arms or more, not {len(order)}; use a contrast for two")
    table = as_runs(runs)
    for arm in order:
        table.vector({arm: 1.0})
    y = table.y[[table.arms.index(arm) for arm in order]].T
    y = y[~np.isnan(y).any(1)]
    if len(y) < 2 or np.ptp(y) == 0:
        return math.nan
    return float(stats.page_trend_test(y if direction == "increasing" else y[:, ::-1]).pvalue)


def many_to_one(
    runs: pd.DataFrame | Runs,
    control: str,
    others: Sequence[str],
    alternative: str = "two-sided",
    items: pd.DataFrame | Items | None = None,
    shared_items: bool = False,
    spread: str = "own",
) -> dict[str, float]:
    """p of every other arm against the control, right for all together ("greater": other > control, or "less").

    spread="pooled" is Dunnett's test (scipy), which asks for equal spreads and knows no items; spread="own" is Holm's
    correction of the contrasts, which asks for neither and loses little. NaN where an arm cannot be judged.
    """
    if spread == "pooled":
        result = _dunnett(runs, control, others, alternative, items)
        values = [math.nan] * len(others) if result is None else result.pvalue.tolist()
        return dict(zip(others, values, strict=True))
    sides = {"two-sided": Estimate.p_two_sided, "greater": Estimate.p_above, "less": Estimate.p_below}
    if alternative not in sides:
        raise UserError(f"many_to_one: alternative is one of {', '.join(sides)}, not {alternative!r}")
    estimates = _against(runs, control, others, items, shared_items)
    return holm({arm: sides[alternative](estimate) for arm, estimate in estimates.items()})


def _against(runs, control: str, others: Sequence[str], items, shared_items: bool) -> dict[str, Estimate]:
    table = as_runs(runs)
    scores = None if items is None else as_items(items, table)
    return {arm: contrast(table, {arm: 1.0, control: -1.0}, scores, shared_items) for arm in others}


def _dunnett(runs: pd.DataFrame | Runs, control: str, others: Sequence[str], alternative: str, items):
    """scipy's result, or None where no arm has a spread."""
    if items is not None:
        raise UserError("many_to_one: Dunnett's test (spread='pooled') knows no items; take spread='own'")
    table = as_runs(runs)
    for arm in (control, *others):
        table.vector({arm: 1.0})
    samples = [row[~np.isnan(row)] for row in table.y[[table.arms.index(arm) for arm in (*others, control)]]]
    if all(np.ptp(sample) == 0 for sample in samples):
        return None
    return stats.dunnett(*samples[:-1], control=samples[-1], alternative=alternative, rng=np.random.default_rng(0))


def holm(ps: Mapping[str, float] | Sequence[float]) -> dict[str, float] | list[float]:
    """Holm's adjusted p values in the shape they came in; NaN (not tested) stays NaN and is not counted."""
    from statsmodels.stats.multitest import multipletests

    values = np.array(list(ps.values()) if isinstance(ps, Mapping) else list(ps), dtype=float)
    tested = ~np.isnan(values)
    if tested.any():
        values[tested] = multipletests(values[tested], method="holm")[1]
    return dict(zip(ps, values.tolist(), strict=True)) if isinstance(ps, Mapping) else values.tolist()


# --- spreads, predictions, plans --------------------------------------------------------------------------------------
def spread(values: Sequence[float], level: float = 0.95) -> tuple[float, float]:
    """(low, high) of the standard deviation of normal values, by chi-square; NaN below two values."""
    values = np.asarray(values, dtype=float)
    df = len(values) - 1
    if df < 1:
        return math.nan, math.nan
    square = values.var(ddof=1) * df
    return (
        math.sqrt(square / special.chdtri(df, (1 - level) / 2)),
        math.sqrt(square / special.chdtri(df, (1 + level) / 2)),
    )


def prediction_interval(
    source: Pooled | Sequence[float], arm: str | None = None, m: int = 1, level: float = 0.95
) -> tuple[float, float]:
    """(low, high) that holds the mean of `m` new runs of an arm on the same test set (or tests drawn as before).

    `source`: values of one arm, or the pooled spread of its recipe and the arm's name. An arm of three or more seeds is
    judged by its own spread, one of fewer by the pooled. NaN where there is no degree of freedom.
    """
    if isinstance(source, Pooled):
        if arm not in source.means:
            raise UserError(f"prediction interval: arm {arm!r} has no run (arms: {', '.join(source.means)})")
        mean, n, sd, df = source.means[arm], source.seeds[arm], source.total_sd, source.total_df
        if n >= OWN_SEEDS:
            sd, df = source.sds[arm], n - 1
    else:
        values = np.asarray(source, dtype=float)
        mean, n, df = float(values.mean()), len(values), len(values) - 1
        sd = float(values.std(ddof=1)) if df else math.nan
    if not df:
        return math.nan, math.nan
    half = float(special.stdtrit(df, (1 + level) / 2)) * sd * math.sqrt(1 / n + 1 / m)
    return mean - half, mean + half


def _df_at(df_of_pool: float | Callable[[int], float] | None, contrast: Sequence[float], n: int) -> float:
    if df_of_pool is None:
        second, fourth = (sum(c**power for c in contrast) for power in (2, 4))
        return ((n - 1) * second**2 / fourth + 2) * (n - 1) / (n + 1)
    return df_of_pool(n) if callable(df_of_pool) else df_of_pool


def power_of(
    effect: float,
    sd: float,
    n: int,
    df_of_pool: float | Callable[[int], float] | None = None,
    alpha: float = 0.05,
    contrast: Sequence[float] = (1.0, -1.0),
    se_item: float = 0.0,
) -> float:
    """Power of the two-sided test of a contrast of `n` seeds an arm.

    sd: of one run (the pooled residual's). df_of_pool: degrees of freedom of the pooled variance, a number or a
    function of n (`lambda n: arms * (n - 1)`); without it, what Welch's test has on average where spreads are equal.
    se_item: standard error that the shared test set gives the contrast, which no seed takes away.
    """
    df = _df_at(df_of_pool, contrast, n)
    if not df > 0:
        return 0.0
    se = math.sqrt(sd * sd * sum(c * c for c in contrast) / n + se_item * se_item)
    return _power(abs(effect) / se, df, alpha) if se else math.nan


def seeds_needed(
    effect: float,
    sd: float,
    df_of_pool: float | Callable[[int], float] | None = None,
    power: float = 0.8,
    alpha: float = 0.05,
    contrast: Sequence[float] = (1.0, -1.0),
    se_item: float = 0.0,
) -> float:
    """Fewest seeds an arm (2 or more) with `power_of` at least `power`; inf where no number up to 10,000 is enough."""
    if not (effect and sd > 0):
        raise UserError(f"seeds_needed: effect and sd must not be zero (effect {effect:g}, sd {sd:g})")

    def enough(n: int) -> bool:
        return power_of(effect, sd, n, df_of_pool, alpha, contrast, se_item) >= power

    if not enough(MOST_SEEDS):
        return math.inf
    low, high = 1, 2
    while not enough(high):
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high


# --- checks -----------------------------------------------------------------------------------------------------------
def leave_one_seed_out(runs: pd.DataFrame | Runs, coefficients: Mapping[str, float]) -> bool:
    """Whether the sign of the contrast of means is the same without any one seed; False where an arm has one seed."""
    table = as_runs(runs)
    c = table.vector(coefficients)
    signs = {float(np.sign(c @ _own(table)[0]))}
    for s in range(len(table.seeds)):
        rest = np.delete(table.y, s, axis=1)
        if np.isnan(rest).all(1)[c != 0].any():
            return False
        signs.add(float(np.sign(c[c != 0] @ np.nanmean(rest[c != 0], axis=1))))
    return len(signs) == 1 and 0.0 not in signs


class Bootstrap(NamedTuple):
    """Percentile interval and standard error."""

    low: float
    high: float
    se: float


def two_way_bootstrap(
    runs: pd.DataFrame | Runs,
    coefficients: Mapping[str, float],
    items: pd.DataFrame | Items,
    draws: int = 2000,
    level: float = 0.95,
    seed: int = 0,
) -> Bootstrap:
    """Owen's pigeonhole bootstrap (2007): the seeds of every arm and the shared items are resampled independently.

    A check of `contrast(..., shared_items=True)`, not a verdict: with few seeds S its seed part is (S - 1) / S of what
    it should be, and the interaction is counted up to three times.
    """
    table = as_runs(runs)
    c = table.vector(coefficients)
    x = _scores_of(table, as_items(items, table), table.present & (c != 0)[:, None], shared_items=True)
    rng = np.random.default_rng(seed)
    n = x.shape[2]
    item_weights = _resampled(rng, draws, n)
    theta = np.zeros(draws)
    for a in np.nonzero(c)[0]:
        rows = x[a][table.present[a]]
        count = len(rows)
        theta += c[a] * np.einsum("bs,bs->b", _resampled(rng, draws, count), item_weights @ rows.T)
    low, high = np.quantile(theta, [(1 - level) / 2, (1 + level) / 2])
    return Bootstrap(float(low), float(high), float(theta.std(ddof=1)))


def _resampled(rng: np.random.Generator, draws: int, n: int) -> np.ndarray:
    """Shares [draws, n] of n things in resamples with replacement."""
    picks = rng.integers(0, n, size=(draws, n)) + n * np.arange(draws)[:, None]
    return np.bincount(picks.ravel(), minlength=draws * n).reshape(draws, n) / n


def logit(runs: pd.DataFrame, items: pd.DataFrame | None = None, top: float = 100.0, n: int | None = None):
    """Runs (and items, then a pair) on the logit scale of their value in [0, top], where spreads near the ends agree.

    n: items of the test set, for the empirical logit log((k + 1/2) / (n - k + 1/2)); without it a value at an end is a
    UserError. An item's score becomes its linearised share: logit(p) + (score - value) / (top p (1 - p)).
    """
    p = runs["value"].to_numpy(dtype=float) / top
    if n is None:
        if ((p <= 0) | (p >= 1)).any():
            raise UserError(f"logit: a value stands at 0 or {top:g}; give n, the number of test items")
    else:
        p = (p * n + 0.5) / (n + 1)
    if ((p <= 0) | (p >= 1)).any():
        raise UserError(f"logit: a value lies outside 0 to {top:g}")
    changed = runs.assign(value=np.log(p / (1 - p)))
    if items is None:
        return changed
    by_run = pd.DataFrame(
        {"arm": runs["arm"], "seed": runs["seed"], "mean": runs["value"], "logit": changed["value"], "p": p}
    )
    joined = items.merge(by_run, on=["arm", "seed"], how="inner")
    slope = top * joined["p"] * (1 - joined["p"])
    score = joined["logit"] + (joined["score"] - joined["mean"]) / slope
    return changed, joined.assign(score=score)[["arm", "seed", "item", "score"]]


# --- rank correlation -------------------------------------------------------------------------------------------------
class RankCorrelation(NamedTuple):
    """Kendall's tau-b, its 95 % interval, and the exact two-sided p of no association."""

    tau: float
    low: float
    high: float
    p: float


GRID = 81  # values of tau at which the interval's test is tabulated
TABLE_DRAWS = 4000


@lru_cache(maxsize=64)
def _tau_tails(n: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(taus [GRID], possible sample taus [k], P(sample <= k | tau) [GRID, k]) of n pairs from a normal copula."""
    rng = np.random.default_rng(n)
    taus = np.linspace(-1, 1, GRID)
    i, j = np.triu_indices(n, 1)
    u, v = rng.standard_normal((2, TABLE_DRAWS, n))
    counts = len(i) + 1
    below = np.empty((GRID, counts))
    for row, tau in enumerate(taus):
        rho = math.sin(math.pi * tau / 2)
        other = rho * u + math.sqrt(max(1 - rho * rho, 0.0)) * v
        concordant = ((u[:, i] > u[:, j]) == (other[:, i] > other[:, j])).sum(1)
        below[row] = np.cumsum(np.bincount(concordant, minlength=counts)) / TABLE_DRAWS
    return taus, 2 * np.arange(counts) / len(i) - 1, below


def rank_correlation(ours: Sequence[float], published: Sequence[float], level: float = 0.95) -> RankCorrelation:
    """Kendall's tau-b of two lists of effects, arm by arm.

    The interval inverts the test of tau under a normal copula (tabulated by simulation for every n): a bootstrap of
    four arms in the same order would say [1, 1]. NaN below three pairs.
    """
    ours, published = np.asarray(ours, dtype=float), np.asarray(published, dtype=float)
    if ours.shape != published.shape:
        raise UserError(f"rank correlation: {len(ours)} effects of ours against {len(published)} published")
    if len(ours) < 3 or np.ptp(ours) == 0 or np.ptp(published) == 0:
        return RankCorrelation(math.nan, math.nan, math.nan, math.nan)
    result = stats.kendalltau(ours, published)
    tau = float(result.statistic)
    low, high = _tau_interval(tau, *_tau_tails(len(ours)), level)
    return RankCorrelation(tau, low, high, float(result.pvalue))


def _tau_interval(
    tau: float, taus: np.ndarray, sample: np.ndarray, below: np.ndarray, level: float
) -> tuple[float, float]:
    """(low, high): the taus whose test keeps the sample's, from the tables of `_tau_tails`."""
    tail = (1 - level) / 2
    at_most = np.array([row[sample <= tau + 1e-9].max(initial=0.0) for row in below])
    at_least = np.array([1 - row[sample < tau - 1e-9].max(initial=0.0) for row in below])
    kept = taus[(at_most > tail) & (at_least > tail)]
    low, high = (kept.min(), kept.max()) if len(kept) else (tau, tau)
    return float(min(low, tau)), float(max(high, tau))


def pooled_rank_correlation(
    tables: Sequence[tuple[Sequence[float], Sequence[float]]], level: float = 0.95
) -> RankCorrelation:
    """Kendall's tau-b over several tables (ours, published): pairs count inside a table, never across two.

    The interval is the wider of two: one tau common to all tables (the test of `rank_correlation`, the counts of the
    tables added up), and tables as a sample of all tables that might be (t interval of the ratio of sums). `p`:
    two-sided, of no association, by the same tables. NaN where no table orders two arms.
    """
    shares = [_tau_share(np.asarray(ours, float), np.asarray(published, float)) for ours, published in tables]
    shares = [share for share in shares if share[1] > 0]
    if not shares:
        return RankCorrelation(math.nan, math.nan, math.nan, math.nan)
    score, weight, sizes = (np.array(column) for column in zip(*shares, strict=True))
    tau, below = float(score.sum() / weight.sum()), np.ones((GRID, 1))
    for n in sizes:
        taus, _, single = _tau_tails(int(n))
        steps = np.diff(single, axis=1, prepend=0.0)
        below = np.array([np.convolve(one, other) for one, other in zip(below, steps, strict=True)])
    below = below.cumsum(axis=1)
    sample = 2 * np.arange(below.shape[1]) / (below.shape[1] - 1) - 1
    low, high = _tau_interval(tau, taus, sample, below, level)
    if (count := len(shares)) > 1:
        variance = count / (count - 1) * np.square(score - tau * weight).sum() / weight.sum() ** 2
        half = float(special.stdtrit(count - 1, (1 + level) / 2)) * math.sqrt(variance)
        low, high = max(-1.0, min(low, tau - half)), min(1.0, max(high, tau + half))
    none = below[GRID // 2]
    tails = none[sample <= tau + 1e-9].max(initial=0.0), 1 - none[sample < tau - 1e-9].max(initial=0.0)
    return RankCorrelation(tau, low, high, min(1.0, 2 * min(tails)))


def _tau_share(ours: np.ndarray, published: np.ndarray) -> tuple[float, float, int]:
    """(concordant less discordant pairs, pairs that both sides order as tau-b weighs them, arms) of one table."""
    if ours.shape != published.shape:
        raise UserError(f"rank correlation: {len(ours)} effects of ours against {len(published)} published")
    i, j = np.triu_indices(len(ours), 1)
    one, other = np.sign(ours[i] - ours[j]), np.sign(published[i] - published[j])
    return float(one @ other), math.sqrt(np.count_nonzero(one) * np.count_nonzero(other)), len(ours)
