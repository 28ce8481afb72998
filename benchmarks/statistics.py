"""Do the statistics keep what they promise? Simulated runs with known truth: python -m benchmarks.statistics [--quick].

Every study draws runs (and scored test items) from a model whose truth is known, calls the functions that the ledger
calls, and counts how often they err. Writes the tables (benchmarks/statistics.md) and the figure (statistics.png).
The same seed gives the same numbers.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd

from analysis import statistics as st

HERE = Path(__file__).parent
DRAWS, QUICK_DRAWS = 2000, 200  # simulated experiments a setting: a rate of 5 % is known to 0.5 points, to 1.5 if quick
SEEDS = (3, 5, 8)
ARMS = (3, 4, 7)
ITEMS = 200
NAMES = tuple("abcdefg")
PAIR = {"b": 1.0, "a": -1.0}  # the contrast of the two arms that the spreads below name first


@dataclass(frozen=True)
class Setting:
    """One simulated experiment: seeds and arms, spread of the arms' runs, sd of what a seed does to all arms.

    lost: seeds that the second arm lacks.
    """

    seeds: int
    arms: int
    spread: str = "equal"
    block: float = 0.0
    lost: int = 0

    @property
    def sds(self) -> np.ndarray:
        """[arms]: "wide" and "narrow" are the spreads of the two compared arms beside the others'."""
        pair = {"equal": (1, 1, 1), "wide": (3, 3, 1), "narrow": (1, 1, 3), "mixed": (1, 3, 2)}[self.spread]
        return np.array([*pair[:2], *[pair[2]] * (self.arms - 2)], dtype=float)

    def noise(self, rng: np.random.Generator) -> np.ndarray:
        """[arms, seeds] of mean zero."""
        own = rng.standard_normal((self.arms, self.seeds)) * self.sds[:, None]
        return own + self.block * rng.standard_normal(self.seeds)

    def runs(self, y: np.ndarray) -> st.Runs:
        """The table of [arms, seeds]."""
        y[1, self.seeds - self.lost :] = math.nan
        return st.Runs(NAMES[: self.arms], tuple(range(self.seeds)), y)


def rates(draws: int, errors: Callable[[], dict[str, bool]]) -> Iterator[dict]:
    """One row a method: how often it erred (in %), with the Monte Carlo standard error."""
    counts: dict[str, int] = {}
    for _ in range(draws):
        for method, error in errors().items():
            counts[method] = counts.get(method, 0) + bool(error)
    for method, count in counts.items():
        share = count / draws
        yield {"method": method, "rate": 100 * share, "mc": 100 * math.sqrt(share * (1 - share) / draws)}


# --- studies: (setting, rng, draws) -> rows ---------------------------------------------------------------------------
def no_effect(setting: Setting, rng: np.random.Generator, draws: int) -> Iterator[dict]:
    """False decisions of a two-sided test at 5 % where the arms do not differ (100 - rate is the coverage)."""

    widths: dict[str, list[float]] = {}

    def errors() -> dict[str, bool]:
        runs = setting.runs(setting.noise(rng))
        estimates = {
            "own spread": st.contrast(runs, PAIR),
            "pooled": st.contrast(runs, PAIR, spread="pooled"),
            "pooled unless Levene": levene_rule(runs),
        }
        for method, estimate in estimates.items():
            widths.setdefault(method, []).append(np.ptp(estimate.interval()))
        return {method: estimate.p_two_sided() < 0.05 for method, estimate in estimates.items()}

    rows = list(rates(draws, errors))
    usual = np.mean(widths["pooled"])
    return iter([row | {"width": float(np.mean(widths[row["method"]]) / usual)} for row in rows])


def levene_rule(runs: st.Runs) -> st.Estimate:
    """The rule that `own spread` replaced: pooled, but Welch where the spreads are shown to be unlike."""
    own = runs.present.sum(1).min() > 1 and st.pooled(runs).unequal
    return st.welch(runs, PAIR) if own else st.contrast(runs, PAIR, spread="pooled")


def scored(setting: Setting, persist: float, shared: bool, rng: np.random.Generator) -> tuple[st.Runs, st.Items]:
    """Runs scored right (100) or wrong (0) on ITEMS items; no arm is better over the population of items.

    An item is right where 0.5 + difficulty + what an arm does to it + a fresh part + 0.1 * run's noise > 0; `persist`
    is the share of the variance of the last two that an arm keeps over its seeds. `shared`: one test set for all seeds.
    """
    a, s, n = setting.arms, setting.seeds, ITEMS
    sets = 1 if shared else s
    difficulty = rng.standard_normal((1, sets, n))
    kept = math.sqrt(persist) * rng.standard_normal((a, sets, n))
    fresh = math.sqrt(1 - persist) * rng.standard_normal((a, s, n))
    x = 100.0 * (0.5 + difficulty + kept + fresh + 0.1 * setting.noise(rng)[..., None] > 0)
    return setting.runs(x.mean(2)), st.Items(x)


def with_items(case: tuple[Setting, float, bool], rng: np.random.Generator, draws: int) -> Iterator[dict]:
    """False decisions where runs are scored on a finite test set and no arm is better over all possible items."""
    setting, persist, shared = case

    def errors() -> dict[str, bool]:
        runs, items = scored(setting, persist, shared, rng)
        return {
            "items crossed" if shared else "items nested": st.contrast(runs, PAIR, items, shared).p_two_sided() < 0.05,
            "pooled": st.contrast(runs, PAIR, items, shared, spread="pooled").p_two_sided() < 0.05,
            "seeds alone": st.contrast(runs, PAIR).p_two_sided() < 0.05,
        }

    return rates(draws, errors)


def bootstrap(case: tuple[Setting, float], rng: np.random.Generator, draws: int) -> Iterator[dict]:
    """The formula beside Owen's two-way bootstrap (400 resamples): errors, and mean width over the formula's."""
    setting, persist = case
    widths = []

    def errors() -> dict[str, bool]:
        runs, items = scored(setting, persist, True, rng)
        low, high = st.contrast(runs, PAIR, items, True).interval()
        check = st.two_way_bootstrap(runs, PAIR, items, draws=400, seed=int(rng.integers(2**31)))
        widths.append((check.high - check.low) / (high - low))
        return {"items crossed": not low <= 0 <= high, "two-way bootstrap": not check.low <= 0 <= check.high}

    rows = list(rates(max(draws // 10, 100), errors))
    return iter([row | {"width": float(np.mean(widths)) if "boot" in row["method"] else 1.0} for row in rows])


def equivalence(setting: Setting, rng: np.random.Generator, draws: int) -> Iterator[dict]:
    """An effect of exactly the margin (four standard errors) is called equivalent."""
    margin = 4 * float(np.hypot(*setting.sds[:2])) / math.sqrt(setting.seeds)

    def errors() -> dict[str, bool]:
        y = setting.noise(rng)
        y[1] += margin
        return {"two one-sided tests": st.equivalence(st.contrast(setting.runs(y), PAIR), margin) < 0.05}

    return rates(draws, errors)


def fieller(setting: Setting, rng: np.random.Generator, draws: int) -> Iterator[dict]:
    """The interval of a retained share of 0.8 misses it; reference effect: five standard errors."""
    effect = 5 * float(np.hypot(*setting.sds[:2])) / math.sqrt(setting.seeds)
    bounded = []

    def errors() -> dict[str, bool]:
        y = setting.noise(rng)
        y[1] += effect  # the reference
        y[2] += 0.8 * effect
        kept = st.retention(setting.runs(y), "c", "b", "a")
        bounded.append(kept.bounded)
        return {"Fieller": not kept.low <= 0.8 <= kept.high}

    rows = list(rates(max(draws // 4, 100), errors))
    return iter([row | {"bounded": 100 * float(np.mean(bounded))} for row in rows])


def prediction(setting: Setting, rng: np.random.Generator, draws: int) -> Iterator[dict]:
    """A new run of an arm, or the mean of five, lies outside its prediction interval."""

    def errors() -> dict[str, bool]:
        spread = st.pooled(setting.runs(setting.noise(rng)))
        total = math.hypot(setting.sds[0], setting.block)
        one = rng.standard_normal() * total
        five = rng.standard_normal() * total / math.sqrt(5)
        inside = st.prediction_interval(spread, "a")
        mean_inside = st.prediction_interval(spread, "a", m=5)
        return {"one run": not inside[0] <= one <= inside[1], "five": not mean_inside[0] <= five <= mean_inside[1]}

    return rates(draws, errors)


def power(effect: float, rng: np.random.Generator, draws: int) -> Iterator[dict]:
    """Share of decisions at the number of seeds that `seeds_needed` names for 80 %, beside its promise (not errors)."""
    n = int(st.seeds_needed(effect, 1.0))
    setting = Setting(n, 4)

    def shown() -> dict[str, bool]:
        y = setting.noise(rng)
        y[1] += effect
        return {"shown": st.contrast(setting.runs(y), PAIR).p_above() < 0.025}

    promise = 100 * st.power_of(effect, 1.0, n)
    return iter([row | {"seeds": n, "promised": promise} for row in rates(draws, shown)])


def family(setting: Setting, rng: np.random.Generator, draws: int) -> Iterator[dict]:
    """Any false decision in the family of all arms against the first one (arms alike)."""

    others = NAMES[1 : setting.arms]

    def errors(spread: str) -> bool:
        runs = setting.runs(setting.noise(rng))
        return min(st.many_to_one(runs, "a", others, spread=spread).values()) < 0.05

    yield from rates(max(draws // 4, 100), lambda: {"Holm over own spreads": errors("own")})
    yield from rates(max(draws // 20, 50), lambda: {"Dunnett": errors("pooled")})


def order(setting: Setting, rng: np.random.Generator, draws: int) -> Iterator[dict]:
    """A trend over the arms is claimed where there is none."""

    def errors() -> dict[str, bool]:
        runs, names = setting.runs(setting.noise(rng)), NAMES[: setting.arms]
        return {"Page": st.page(runs, names) < 0.05, "slope": st.trend(runs, names).p_above() < 0.05}

    return rates(max(draws // 4, 100), errors)


def tau(case: tuple[int, float], rng: np.random.Generator, draws: int) -> Iterator[dict]:
    """The interval of Kendall's tau misses the truth; pairs from a normal and from a heavy-tailed (t, 3 df) copula."""
    pairs, truth = case
    rho = math.sin(math.pi * truth / 2)

    def errors() -> dict[str, bool]:
        u, v = rng.standard_normal((2, pairs))
        v = rho * u + math.sqrt(1 - rho * rho) * v
        heavy = np.sqrt(3 / rng.chisquare(3, pairs))
        kept = {"normal": st.rank_correlation(u, v), "heavy tails": st.rank_correlation(u * heavy, v * heavy)}
        return {name: not result.low <= truth <= result.high for name, result in kept.items()}

    return rates(max(draws // 4, 100), errors)


GRID = [Setting(*case) for case in product(SEEDS, ARMS, ("equal", "wide", "narrow", "mixed"), (0.0, 1.0))]
SMALL_GRID = [Setting(*case) for case in product(SEEDS, (3, 7), ("equal", "wide"))]
STUDIES: dict[str, tuple[Callable, list]] = {
    "no effect": (no_effect, GRID),
    "seeds lost": (
        no_effect,
        [
            Setting(s, 4, v, b, lost)
            for s, v, b in product((5, 8), ("equal", "wide"), (0.0, 1.0))
            for lost in (2, s - 1)
        ],
    ),
    "shared test set": (
        with_items,
        [
            (Setting(s, a, spread), p, True)
            for s, a, spread, p in product(SEEDS, (3, 7), ("equal", "wide"), (0, 0.5, 0.8))
        ],
    ),
    "fresh test sets": (with_items, [(Setting(s, a, "equal"), p, False) for s, a, p in product(SEEDS, (3, 7), (0.5,))]),
    "bootstrap": (bootstrap, [(Setting(s, 3), p) for s, p in product(SEEDS, (0, 0.8))]),
    "equivalence": (equivalence, SMALL_GRID),
    "retained share": (fieller, SMALL_GRID),
    "prediction": (
        prediction,
        [Setting(*case) for case in product(SEEDS, (4,), ("equal", "wide", "narrow"), (0.0, 1.0))],
    ),
    "power": (power, [0.6, 0.8, 1.0, 1.5, 2.0, 3.0]),
    "many to one": (family, SMALL_GRID),
    "order": (order, SMALL_GRID),
    "rank correlation": (tau, list(product((4, 6, 10), (0.0, 0.4, 0.8)))),
}


def columns(case) -> dict:
    """What names a setting, as columns of the table."""
    match case:
        case Setting():
            return vars(case).copy()
        case (Setting() as setting, *rest):
            return vars(setting) | dict(zip(("persist", "shared"), rest, strict=False))
        case (pairs, truth):
            return {"pairs": pairs, "tau": truth}
        case effect:
            return {"effect": effect}


def simulate(job: tuple[str, int], draws: int) -> list[dict]:
    """All rows of one setting of one study; its random numbers depend on nothing else."""
    name, index = job
    study, cases = STUDIES[name]
    rng = np.random.default_rng([list(STUDIES).index(name), index])
    return [{"study": name} | columns(cases[index]) | row for row in study(cases[index], rng, draws)]


def run(draws: int, jobs: int = 1, names: tuple[str, ...] = tuple(STUDIES)) -> pd.DataFrame:
    """One row a study, setting and method: `rate` in %, `mc` its Monte Carlo standard error."""
    work = [(name, index) for name in names for index in range(len(STUDIES[name][1]))]
    if jobs == 1:
        rows = [row for job in work for row in simulate(job, draws)]
    else:
        with ProcessPoolExecutor(jobs) as pool:
            rows = [row for part in pool.map(partial(simulate, draws=draws), work) for row in part]
    return pd.DataFrame(rows)


# --- report -----------------------------------------------------------------------------------------------------------
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help=f"{QUICK_DRAWS} draws a setting in place of {DRAWS}")
    parser.add_argument("--jobs", type=int, default=1, help="processes")
    parser.add_argument("--out", type=Path, default=HERE, help="folder of statistics.md and statistics.png")
    args = parser.parse_args()
    draws, since = QUICK_DRAWS if args.quick else DRAWS, time.perf_counter()
    frame = run(draws, args.jobs)
    print(f"{len(frame)} rates in {time.perf_counter() - since:.0f} s")
    frame.to_pickle("/tmp/stat_frame.pkl")


if __name__ == "__main__":
    main()
