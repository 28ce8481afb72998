"""The statistics behind every verdict: intervals cover, pairing helps, the frontier holds what nothing beats."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from analysis import stats


def test_the_t_half_width_is_the_textbook_one():
    mean, half = stats.mean_and_half_width([1.0, 2.0, 3.0])
    assert mean == 2.0 and half == pytest.approx(4.302653 * 1 / math.sqrt(3), rel=1e-6)


@pytest.mark.parametrize("values", [[], [1.0], [1.0, 2.0]])
def test_no_interval_below_three_values(values):
    assert math.isnan(stats.mean_and_half_width(values)[1])
    assert not stats.difference_of(values).has_interval


@pytest.mark.parametrize("n", [3, 5, 12])
def test_the_interval_covers_the_true_mean_at_least_nominally(n):
    generator = np.random.default_rng(7)
    trials = 300
    hits = 0
    for _ in range(trials):
        low, high = stats.interval_of_mean(generator.normal(1.0, 2.0, n))
        hits += low <= 1.0 <= high
    # Three standard deviations of a binomial below 95 %, and a little for the bootstrap alone at n = 12.
    assert hits / trials > 0.95 - 3 * math.sqrt(0.95 * 0.05 / trials) - (0.02 if n >= stats.TINY else 0)


def test_few_seeds_take_the_wider_of_both_intervals():
    values = [0.1, 0.5, 0.6]
    low, high = stats.interval_of_mean(values)
    mean, half = stats.mean_and_half_width(values)
    assert low == pytest.approx(mean - half) and high == pytest.approx(mean + half)


def test_the_interval_is_the_same_every_time():
    values = list(np.random.default_rng(3).normal(size=15))
    assert stats.interval_of_mean(values) == stats.interval_of_mean(values)


def test_pairing_removes_what_seeds_share():
    generator = np.random.default_rng(5)
    shared = generator.normal(0, 3.0, 6)
    ours = {seed: value + 0.5 + generator.normal(0, 0.1) for seed, value in enumerate(shared)}
    other = {seed: value + generator.normal(0, 0.1) for seed, value in enumerate(shared)}
    paired = stats.paired_difference(ours, other)
    assert paired.low > 0
    unpaired = math.hypot(*(stats.mean_and_half_width(list(side.values()))[1] for side in (ours, other)))
    assert paired.high - paired.low < unpaired / 3


def test_only_shared_seeds_are_paired():
    found = stats.paired_difference({1: 1.0, 2: 5.0, 4: 9.0}, {2: 4.0, 3: 0.0, 4: 6.0})
    assert found.n == 2 and found.mean == 2.0 and not found.has_interval
    assert stats.paired_difference({1: 1.0}, {2: 1.0}).n == 0


POINTS = st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), min_size=1, max_size=15)


@given(POINTS)
def test_the_frontier_is_what_no_point_beats(points):
    cost, gain = zip(*points, strict=True)
    kept = {points[i] for i in stats.frontier(cost, gain)}
    beaten = {p for p in points for q in points if q != p and q[0] <= p[0] and q[1] >= p[1]}
    assert kept == set(points) - beaten


def test_equal_points_stand_once_on_the_frontier():
    assert stats.frontier([1, 1, 2], [5, 5, 5]) == [0]
