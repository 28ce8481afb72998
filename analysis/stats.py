"""Statistics of paired seeds: means with t intervals, paired differences with bootstrap and t intervals.

Arms are compared on the seeds that both finished, since a seed fixes the order of the data and the common part of the
initialisation. Intervals are 95 %.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import stdtrit

LEVEL = 0.95
RESAMPLES = 10_000
MIN_SEEDS = 3
TINY = 10


@dataclass(frozen=True)
class Difference:
    """Mean paired difference over `n` shared seeds; `low`, `high` are NaN with fewer than MIN_SEEDS of them."""

    n: int
    mean: float
    low: float
    high: float

    @property
    def has_interval(self) -> bool:
        return not math.isnan(self.low)


def mean_and_half_width(values: Sequence[float]) -> tuple[float, float]:
    """(mean, half-width of the t interval); the half-width is NaN below MIN_SEEDS values, the mean NaN without any."""
    values = np.asarray(values, dtype=float)
    if len(values) == 0:
        return math.nan, math.nan
    if len(values) < MIN_SEEDS:
        return float(values.mean()), math.nan
    return float(values.mean()), _t_half_width(values)


def _t_half_width(values: np.ndarray) -> float:
    return float(stdtrit(len(values) - 1, (1 + LEVEL) / 2) * values.std(ddof=1) / math.sqrt(len(values)))


def interval_of_mean(values: Sequence[float], seed: int = 0) -> tuple[float, float]:
    """(low, high) of the mean of `values` (n >= MIN_SEEDS).

    Percentile bootstrap of RESAMPLES seeded resamples. With n < TINY values it is too narrow (three values have only
    ten distinct resamples, and the true mean falls inside about three times in four), so there the t interval is
    computed as well and the outer bounds of both are taken: coverage is then at least nominal for near-normal
    differences, at the price of verdicts that say "undecided" more often.
    """
    values = np.asarray(values, dtype=float)
    picks = np.random.default_rng(seed).integers(0, len(values), size=(RESAMPLES, len(values)))
    low, high = np.quantile(values[picks].mean(axis=1), [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    if len(values) < TINY:
        half = _t_half_width(values)
        low, high = min(low, values.mean() - half), max(high, values.mean() + half)
    return float(low), float(high)


def difference_of(values: Sequence[float]) -> Difference:
    """Difference from per-seed differences."""
    n = len(values)
    if n == 0:
        return Difference(0, math.nan, math.nan, math.nan)
    low, high = interval_of_mean(values) if n >= MIN_SEEDS else (math.nan, math.nan)
    return Difference(n, float(np.mean(values)), low, high)


def paired_difference(ours: Mapping[int, float], other: Mapping[int, float]) -> Difference:
    """Mean of `ours - other` over the seeds (keys) that both have."""
    return difference_of([ours[seed] - other[seed] for seed in sorted(ours.keys() & other.keys())])


def frontier(cost: Sequence[float], gain: Sequence[float]) -> list[int]:
    """Indices of the points that no other beats (cost no higher, gain no lower, one of them strictly), by rising cost.

    Of points equal in both, the first stands for all.
    """
    order = sorted(range(len(cost)), key=lambda i: (cost[i], -gain[i], i))
    kept, best = [], -math.inf
    for index in order:
        if gain[index] > best:
            kept.append(index)
            best = gain[index]
    return kept
