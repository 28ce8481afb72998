"""Do the statistics keep what they promise? Simulated runs with known truth: python -m benchmarks.statistics [--quick].

Every study draws runs (and scored test items) from a model whose truth is known, calls the functions that the ledger
calls, and counts how often they err. Writes the tables (benchmarks/statistics.md) and the figure (statistics.png).
The same seed gives the same numbers.
"""

from __future__ import annotations

import argparse
import math
import textwrap
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
            for lost in sorted({2, s - 2})
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
SPREADS = {
    "equal": "all alike",
    "wide": "compared arms 3x wider",
    "narrow": "compared arms 3x narrower",
    "mixed": "1 : 3",
}
NOMINAL = 5.0
BLUE, ORANGE, GREY = "#0b6fa4", "#d1642b", "#8a8a8a"


def pick(frame: pd.DataFrame, study: str, **equal) -> pd.DataFrame:
    """Rows of a study, and of the given values in its columns."""
    rows = frame[frame["study"] == study]
    for column, value in equal.items():
        rows = rows[rows[column] == value]
    return rows


def summary(frame: pd.DataFrame, study: str, by: list[str]) -> pd.DataFrame:
    """Mean, lowest and highest rate over a study's settings."""
    groups = frame[frame["study"] == study].groupby(by, sort=False)["rate"]
    return groups.agg(["mean", "min", "max", "size"]).reset_index()


def table(head: list[str], rows: list[list]) -> str:
    cells = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(str(cell) for cell in row) + " |" for row in cells)


def span(row) -> str:
    return f"{row['mean']:.1f} ({row['min']:.1f} to {row['max']:.1f})"


def no_effect_table(frame: pd.DataFrame) -> str:
    """One row a spread, one column a method."""
    means = summary(frame, "no effect", ["spread", "method"]).set_index(["spread", "method"])
    methods = list(dict.fromkeys(means.index.get_level_values("method")))
    return table(
        ["spread of the arms", *methods],
        [[SPREADS[name], *(span(means.loc[(name, method)]) for method in methods)] for name in SPREADS],
    )


def width_table(frame: pd.DataFrame) -> str:
    """What the own spread costs where pooling would have been right."""
    rows = pick(frame, "no effect", method="own spread", spread="equal", block=0.0)
    return table(
        ["seeds", *(f"{arms} arms" for arms in ARMS)],
        [[n, *(f"{rows[(rows.seeds == n) & (rows.arms == a)]['width'].iloc[0]:.2f}" for a in ARMS)] for n in SEEDS],
    )


def shared_table(frame: pd.DataFrame) -> str:
    means = summary(frame, "shared test set", ["seeds", "persist", "method"]).set_index(["seeds", "persist", "method"])
    methods = ("items crossed", "seeds alone")
    return table(
        ["seeds", *(f"{method}, {100 * p:.0f} %" for method in methods for p in (0, 0.5, 0.8))],
        [[n, *(span(means.loc[(n, p, method)]) for method in methods for p in (0, 0.5, 0.8))] for n in SEEDS],
    )


def promises_table(frame: pd.DataFrame) -> str:
    """Every other test: mean and range of its error rate, by spread where it has one."""
    rows = []
    for study in (
        "seeds lost",
        "fresh test sets",
        "equivalence",
        "retained share",
        "prediction",
        "many to one",
        "order",
    ):
        for _, row in summary(frame, study, ["method", "spread"]).iterrows():
            rows.append([study, row["method"], SPREADS[row["spread"]], span(row)])
    for _, row in summary(frame, "rank correlation", ["method"]).iterrows():
        rows.append(["rank correlation", f"interval of tau, {row['method']}", "", span(row)])
    return table(["study", "method", "spread of the arms", "errors in %"], rows)


def power_table(frame: pd.DataFrame) -> str:
    return table(
        ["effect in sd of a run", "seeds an arm", "promised %", "shown %"],
        [
            [f"{row.effect:g}", f"{row.seeds:.0f}", f"{row.promised:.1f}", f"{row.rate:.1f} ± {row.mc:.1f}"]
            for row in pick(frame, "power").itertuples()
        ],
    )


def bootstrap_table(frame: pd.DataFrame) -> str:
    rows = []
    for (n, p), group in pick(frame, "bootstrap").groupby(["seeds", "persist"]):
        by = group.set_index("method")
        formula, check = by.loc["items crossed"], by.loc["two-way bootstrap"]
        rows.append([int(n), f"{100 * p:.0f} %", f"{formula.rate:.1f}", f"{check.rate:.1f}", f"{check.width:.2f}"])
    return table(["seeds", "persisting", "formula %", "bootstrap %", "width, bootstrap : formula"], rows)


def markdown(frame: pd.DataFrame, draws: int) -> str:
    """The page; every number in it comes from the frame."""
    mean = summary(frame, "no effect", ["method"]).set_index("method")
    inside = 100 * pick(frame, "no effect", method="own spread")["rate"].between(3, 7).mean()
    own, pool, levene = (mean.loc[name] for name in ("own spread", "pooled", "pooled unless Levene"))
    items = summary(frame, "shared test set", ["method"]).set_index("method")
    crossed, alone = items.loc["items crossed"], items.loc["seeds alone"]
    single = 100 * math.sqrt(0.05 * 0.95 / draws)
    parts = [
        "# Do the statistics keep what they promise?",
        f"Written by `python -m benchmarks.statistics`, {draws:,} simulated experiments a setting. Promised "
        "everywhere: 5 % errors, which is 95 % coverage. A cell is the mean over the settings, in brackets the "
        f"lowest and the highest; one setting is known to {single:.1f} points (standard error), so the highest of "
        "many lies above 5 by chance alone.",
        "![errors of every test](statistics.png)",
        "## Two arms that do not differ",
        f"{', '.join(map(str, SEEDS))} seeds; {', '.join(map(str, ARMS))} arms; with and without an effect of the "
        "seed on all arms. False decisions of a two-sided test, in %:",
        no_effect_table(frame),
        "*Own spread* is what `contrast` does: within seeds (paired) where the seeds' block has p < "
        f"{st.BLOCK_P:g}, else Welch's. It errs in {span(own)} %; its coverage lies in "
        f"93 to 97 % in {inside:.0f} % of the settings. *Pooled* takes one residual variance over all "
        "arms of a recipe; where the compared arms spread more than the others it errs in up to "
        f"{pool['max']:.0f} %. A switch to Welch where Levene's test has p < {st.UNEQUAL_P:g} and the sds differ "
        f"by more than {st.UNEQUAL_RATIO:g} does not mend that (up to {levene['max']:.0f} %): three seeds cannot "
        "show that spreads are unlike. So nothing is pooled unless the caller grants equal spreads. The lowest "
        "rates of the own spread belong to a seed effect that the noise of the other arms hides: there Welch's "
        "interval is wider than it need be.",
        "What this costs where all spreads are alike and pooling would have been right, as width of the interval "
        "over the pooled one:",
        width_table(frame),
        "## One test set for all seeds",
        f"{ITEMS} items, right or wrong. No arm is better over all possible items; of what an arm does to single "
        "items 0, 50 or 80 % persists over its seeds. False decisions, in %:",
        shared_table(frame),
        f"Crossed random effects err in {span(crossed)} %, the seeds alone in up to {alone['max']:.0f} %. Beside "
        f"Owen's two-way bootstrap ({max(draws // 10, 100)} experiments a row, 400 resamples each):",
        bootstrap_table(frame),
        "## Power",
        "At the number of seeds that `seeds_needed` names for 80 % power (two-sided 5 %, Welch, equal spreads):",
        power_table(frame),
        "## The other tests",
        promises_table(frame),
        "*Seeds lost*: the second of four arms lacks two seeds, or has only two, which leaves one degree of "
        "freedom and decides next to nothing. *Fresh test sets*: every seed draws its own items. *Equivalence*: "
        "the effect is exactly the margin. *Retained share*: 0.8 of an effect of five standard errors. *Many to "
        "one*: any false decision against one control. Dunnett's test asks for equal spreads (tried "
        f"{max(draws // 20, 50)} times a setting, it is slow), so `many_to_one` is Holm's correction of the "
        "contrasts unless the caller grants them. *Order*: Page's ranks are exact where arms spread alike; where "
        "they do not, and on a shared test set, the slope's own p is the one to trust. *Rank correlation*: 4, 6 "
        "or 10 arms; the interval is made for a normal copula and is held against a heavy-tailed one too.",
    ]
    return "\n\n".join(part if part[0] in "|!#" else textwrap.fill(part, 120) for part in parts) + "\n"


def figure(frame: pd.DataFrame, path: Path) -> None:
    """Errors at no effect by spread; on a shared test set; promised and shown power; the other tests."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    plt.rcParams.update({"font.size": 10, "axes.spines.top": False, "axes.spines.right": False})
    canvas = plt.figure(figsize=(11.5, 8.2), layout="constrained")
    axes = np.array([part.subplots(2, 1) for part in canvas.subfigures(1, 2)]).T
    colours = {"own spread": BLUE, "pooled": ORANGE, "pooled unless Levene": GREY}

    ax = axes[0, 0]
    for shift, (method, colour) in zip((-0.22, 0, 0.22), colours.items(), strict=True):
        for at, spread in enumerate(SPREADS):
            rates_ = pick(frame, "no effect", method=method, spread=spread)["rate"].to_numpy()
            jitter = np.linspace(-0.07, 0.07, len(rates_))
            ax.scatter(at + shift + jitter, rates_, s=9, color=colour, alpha=0.75, label=None if at else method)
    ax.set_xticks(range(len(SPREADS)), ["all alike", "3x the others'", "1/3 of the others'", "1 to 3"])
    ax.set_xlabel("spread of the two compared arms")
    ax.set_ylabel("false decisions at no effect, %")
    ax.set_title("Whose spread judges (a dot: a setting; band: 93 to 97 % coverage)", fontsize=10, loc="left")

    ax = axes[0, 1]
    for method, colour in (("seeds alone", ORANGE), ("items crossed", BLUE)):
        for n, style in zip(SEEDS, (":", "--", "-"), strict=True):
            rows = (
                pick(frame, "shared test set", method=method, seeds=n, spread="equal").groupby("persist")["rate"].mean()
            )
            ax.plot(100 * rows.index, rows, style, marker="o", ms=4, color=colour, label=f"{method}, {n} seeds")
    ax.set_xticks([0, 50, 80])
    ax.set_xlabel("share of the item differences that persists over seeds, %")
    ax.set_ylabel("false decisions at no effect, %")
    ax.set_title(f"One test set of {ITEMS} items for all seeds", fontsize=10, loc="left")

    ax = axes[1, 0]
    rows = pick(frame, "power")
    at = np.arange(len(rows))
    ax.plot(at, rows["promised"], color="black", marker="_", ms=18, lw=0, label="promised by seeds_needed")
    ax.errorbar(at, rows["rate"], 1.96 * rows["mc"], fmt="o", color=BLUE, capsize=3, label="simulated, 95 % interval")
    ax.axhline(80, color=GREY, lw=0.8)
    ax.set_xticks(at, [f"{row.effect:g} sd\n{row.seeds:.0f} seeds" for row in rows.itertuples()])
    ax.set_ylim(70, 100)
    ax.set_xlabel("effect, and seeds an arm that the plan names for 80 %")
    ax.set_ylabel("effects shown, %")
    ax.set_title("Power is what the plan promises", fontsize=10, loc="left")

    ax = axes[1, 1]
    lines = [
        ("equivalence", "equivalence", "two one-sided tests", BLUE),
        ("retained share", "retained share", "Fieller", BLUE),
        ("new run predicted", "prediction", "one run", BLUE),
        ("mean of five predicted", "prediction", "five", BLUE),
        ("fresh items a seed", "fresh test sets", "items nested", BLUE),
        ("seeds lost", "seeds lost", "own spread", BLUE),
        ("many to one, Holm", "many to one", "Holm over own spreads", BLUE),
        ("many to one, Dunnett", "many to one", "Dunnett", ORANGE),
        ("order, Page", "order", "Page", BLUE),
        ("order, slope", "order", "slope", BLUE),
        ("tau, normal copula", "rank correlation", "normal", BLUE),
        ("tau, heavy tails", "rank correlation", "heavy tails", BLUE),
    ]
    for at, (_, study, method, colour) in enumerate(reversed(lines)):
        values = pick(frame, study, method=method)["rate"].to_numpy()
        ax.scatter(values, np.full(len(values), at), s=12, color=colour, alpha=0.6)
        ax.scatter(values.mean(), at, s=70, marker="|", color="black")
    ax.set_yticks(range(len(lines)), [line[0] for line in reversed(lines)])
    ax.set_xlabel("errors, % (dot: a setting, bar: mean)")
    ax.set_title("The other tests", fontsize=10, loc="left")

    for ax in (axes[0, 0], axes[0, 1]):
        ax.axhspan(3, 7, color=BLUE, alpha=0.10, lw=0)
        ax.axhline(NOMINAL, color="black", lw=0.8)
        ax.set_ylim(0)
    axes[1, 1].axvspan(3, 7, color=BLUE, alpha=0.10, lw=0)
    axes[1, 1].axvline(NOMINAL, color="black", lw=0.8)
    axes[1, 1].set_xlim(0)
    for ax in axes.flat[:3]:
        ax.legend(frameon=False, fontsize=8.5)
    own = pick(frame, "no effect", method="own spread")["rate"].mean()
    crossed = pick(frame, "shared test set", method="items crossed")["rate"].mean()
    pool = pick(frame, "no effect", method="pooled")["rate"].max()
    alone = pick(frame, "shared test set", method="seeds alone")["rate"].max()
    canvas.suptitle(
        f"Judged by their own spread and with items crossed, arms that do not differ are told apart {own:.1f} and "
        f"{crossed:.1f} times in 100;\npooled over unlike arms up to {pool:.0f}, by the seeds alone up to {alone:.0f}",
        fontsize=12,
        x=0.02,
        ha="left",
    )
    canvas.savefig(path, dpi=130, metadata={"Software": None})
    plt.close(canvas)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help=f"{QUICK_DRAWS} draws a setting in place of {DRAWS}")
    parser.add_argument("--jobs", type=int, default=1, help="processes")
    parser.add_argument("--out", type=Path, default=HERE, help="folder of statistics.md and statistics.png")
    args = parser.parse_args()
    draws, since = QUICK_DRAWS if args.quick else DRAWS, time.perf_counter()
    frame = run(draws, args.jobs)
    args.out.mkdir(parents=True, exist_ok=True)
    (args.out / "statistics.md").write_text(markdown(frame, draws))
    figure(frame, args.out / "statistics.png")
    print(f"{len(frame)} rates in {time.perf_counter() - since:.0f} s: {args.out}/statistics.md and statistics.png")


if __name__ == "__main__":
    main()
