"""What runs will cost and what they can decide: seeds and core hours from the variances and times of runs at hand.

A trained part asks for one or several contrasts of arms to be shown, its margin taken off, and for the effect that the
margin is a share of. With the means at hand as the effects, the spread of every arm (its own of three seeds or more,
else its recipe's), and the error of a test set that all seeds share, `statistics.seeds_needed` says how many seeds an
arm give a power of 80 %. An effect that is estimated from few seeds is itself uncertain: the power is of just that one.

A plan has one number of seeds for all of its arms. Of every such number, parts are taken in the order of what they add
to the hours (arms that parts share are paid once) until the budget is spent; the number that fits most parts stays.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from analysis import ledger, plans, runs, sets, statistics, text
from analysis.evidence import scored, trained
from analysis.plans import Plan
from analysis.sets import ResultSet
from plugins.suite import catalog, claims
from plugins.suite.claims import Claims, Layers, Part, Spread
from plugins.suite.errors import UserError
from plugins.suite.files import read_yaml

POWER = 0.8
MOST = 100  # seeds; a part that needs more is out of reach of a plan


@dataclass(frozen=True)
class Need:
    """What one trained part takes at a scale.

    `seeds`: for a power of 80 %, inf where no number is enough, NaN where nothing tells (`why` says so). `arms`: the
    <ablation>/<arm> whose runs it needs, with those that they start from; `lacking`: those of them without a usable
    run. `effect`: what is to be shown, margin off, at its hardest contrast; `sd`: of one seed of that contrast.
    """

    study: str
    claim: int
    part: Part
    arms: tuple[str, ...]
    named: tuple[str, ...]
    seeds: float
    effect: float = math.nan
    sd: float = math.nan
    why: str = ""
    lacking: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        return f"{self.study}:{self.claim}{self.part.id}"

    @property
    def reachable(self) -> bool:
        """Whether a plan can hold it."""
        return not math.isnan(self.seeds) and self.seeds <= MOST


# --- what is at hand --------------------------------------------------------------------------------------------------
def at_hand(scale: str, results: Path = Path("results")) -> list[ResultSet]:
    """Published and own runs of a scale."""
    return sets.present(results, [scale])


def study_of(results: Sequence[ResultSet], study: str, scale: str, known: Mapping) -> scored.Study:
    """The finished fresh runs of a study as the ledger judges them; of a run in two sets, this checkout's own."""
    frames = [result.frame[result.frame["study"] == study] for result in results]
    frame = pd.concat(frames, ignore_index=True) if frames else runs.tidy([])
    frame = frame[(frame["status"] == "done") & (frame["stale"] == "")]
    frame = frame.drop_duplicates(["ablation", "arm", "seed"], keep="last")
    details = {run: kept for result in results for run, kept in result.collected.details.items()}
    items = {run: kept for result in results for run, kept in result.collected.items.items()}
    homes = {f"{name}/{arm}": home for name, ablation in known.items() for arm, home in ablation.homes.items()}
    recipes = {name: ablation.recipe for name, ablation in known.items()}
    return scored.Study(
        study, scale, frame, homes, recipes, lambda row: details.get(row["run"], {}), lambda row: items.get(row["run"])
    )


def seconds_by_arm(results: Iterable[ResultSet]) -> dict[str, float]:
    """{study/ablation/arm of the folder: mean core seconds of a run}."""
    known: dict[str, list[float]] = {}
    for result in results:
        for value in result.values:
            took = float(value["wall_s"].get("total") or 0) * int(value["provenance"].get("threads") or 1)
            if took > 0:
                known.setdefault(runs.name_of(value).rpartition("/")[0], []).append(took)
    return {arm: float(np.mean(values)) for arm, values in known.items()}


def tuned_seconds(experiments: Path = catalog.EXPERIMENTS) -> dict[str, float]:
    """The same of trainings on which recipes were chosen: column `seconds` of experiments/<study>/tuning.csv."""
    known: dict[str, list[float]] = {}
    for path in sorted(experiments.glob("*/tuning.csv")):
        with path.open(encoding="utf-8", newline="") as stream:
            for row in csv.DictReader(stream):
                if row.get("seconds"):
                    folder = folder_of(path.parent.name, f"{row['ablation']}/{row['arm']}")
                    known.setdefault(folder, []).append(float(row["seconds"]))
    return {arm: float(np.mean(values)) for arm, values in known.items()}


def seconds_of(folder: str, known: Mapping[str, float]) -> float:
    """Core seconds of a run of an arm, study/ablation/arm: its own mean, else its ablation's, its study's; or NaN."""
    for place in (folder, folder.rpartition("/")[0], folder.partition("/")[0]):
        values = [seconds for arm, seconds in known.items() if arm == place or arm.startswith(f"{place}/")]
        if values:
            return float(np.mean(values))
    return math.nan


# --- parts ------------------------------------------------------------------------------------------------------------
def needs(scale: str, results: Sequence[ResultSet], experiments: Path = catalog.EXPERIMENTS) -> list[Need]:
    """What every trained part that is meant for a scale takes."""
    rows = []
    for study, content in claims.check_all(experiments).items():
        known = claims.ablations(study, experiments)
        shown = study_of(results, study, scale, known)
        rows += [need_of(claim.id, part, content, shown) for claim, part in ledger.parts_at(content, known, scale)]
    return rows


def need_of(claim: int, part: Part, content: Claims, study: scored.Study) -> Need:
    """What one part takes."""
    bench = trained.Bench(part, study, lambda arm: content.at(arm, study.scale))
    named = tuple(dict.fromkeys(content.at(arm, study.scale) for arm in part.arms()))
    homes = [study.homes.get(arm, arm) for arm in named]
    arms = tuple(dict.fromkeys([*homes, *filter(None, (start_of(study.name, home) for home in homes))]))
    make = {"study": study.name, "claim": claim, "part": part, "arms": arms, "named": named}
    lacking = tuple(content.at(arm, study.scale) for arm in bench.runs if not _usable(bench, arm))
    if lacking:
        return Need(**make, seeds=math.nan, lacking=lacking, why=f"no run with {part.metric} of {', '.join(lacking)}")
    if isinstance(part.check, Layers):
        return Need(**make, seeds=trained.MIN_SEEDS, why="order over layers: the least seeds")
    if isinstance(part.check, Spread):
        return Need(**make, **_for_spread(bench, part.check))
    return Need(**make, **_for_contrasts(bench))


def start_of(study: str, home: str) -> str | None:
    """The <ablation>/<arm> whose weights an arm starts from."""
    ablation, _, arm = home.partition("/")
    known = catalog.ablations(study)
    return known[ablation].arms[arm].pretrained if ablation in known and arm in known[ablation].arms else None


def _usable(bench: trained.Bench, arm: str) -> bool:
    metric = _metric(bench, arm)
    return any(not math.isnan(run.value(metric)) for run in bench.runs[arm]) or (
        isinstance(bench.part.check, Layers) and bool(bench.runs[arm])
    )


def _metric(bench: trained.Bench, arm: str) -> str:
    """The metric in which an arm is judged: a start by its primary one."""
    is_start = arm in (bench.part.starts or []) and arm not in bench.part.check.arms()
    return bench.runs[arm][0].primary if is_start and bench.runs[arm] else bench.metric


def _for_contrasts(bench: trained.Bench) -> dict:
    """`seeds`, `effect`, `sd`, `why` of a part: all contrasts where all are in favour, else the clearest against it."""
    sizes = []
    for contrast in trained.contrasts(bench):
        effect, sd, item = trained.value_of(bench, contrast), *_spreads(bench, contrast)
        if math.isnan(sd):
            return {
                "seeds": math.nan,
                "effect": effect,
                "why": "no variance: its arms have one seed, alone in a recipe",
            }
        if not sd > 0:
            return {"seeds": math.nan, "effect": effect, "why": "no spread: its runs agree to the last digit"}
        sizes.append((_seeds(bench, contrast, effect, item), effect, sd))
    against = [size for size in sizes if size[1] < 0]
    seeds, effect, sd = min(against) if against else max(sizes)
    why = "" if seeds <= MOST else "out of reach: the effect at hand is too small"
    return {"seeds": max(seeds, trained.MIN_SEEDS), "effect": effect, "sd": sd, "why": why}


def _seeds(bench: trained.Bench, contrast: trained.Contrast, effect: float, item: float) -> float:
    if effect == 0:
        return math.inf
    scaled = [weight * arm_sd(bench, arm) for arm, weight in contrast.weights.items()]
    # With the weights in units of each arm's own sd, Welch's degrees of freedom are those of unlike spreads.
    return statistics.seeds_needed(effect, 1.0, None, POWER, contrast.alpha, [w for w in scaled if w], item)


def _spreads(bench: trained.Bench, contrast: trained.Contrast) -> tuple[float, float]:
    """(standard deviation of the contrast for one seed an arm, standard error that a shared test set gives it)."""
    variance = sum((weight * arm_sd(bench, arm)) ** 2 for arm, weight in contrast.weights.items())
    chosen = [run for arm in contrast.weights for run in bench.runs[arm]]
    shared = len({str(run.row.get("data.checksum")) for run in chosen}) == 1
    item = 0.0
    if shared and len(chosen) > len(contrast.weights):
        estimate = bench.estimate(contrast.weights)
        item = 0.0 if math.isnan(estimate.se_item) else estimate.se_item
    return math.sqrt(variance), item


def arm_sd(bench: trained.Bench, arm: str) -> float:
    """Of one run: the arm's own of three seeds or more, else that of its recipe; NaN where neither is there."""
    values = bench.values(arm)
    if len(values) >= statistics.OWN_SEEDS:
        return float(np.std(values, ddof=1))
    table, _, _ = bench.tables(bench.recipe_of(bench.runs[arm][0], bench.rename(arm)), bench.metric)
    return statistics.pooled(table).total_sd


def _for_spread(bench: trained.Bench, check: Spread) -> dict:
    """Seeds at which the chi-square interval of the spread at hand is on one side of the bound."""
    sd = arm_sd(bench, check.spread)
    if not sd > 0:
        return {"seeds": math.nan, "why": "no variance: one seed, or no spread at all"}
    unit = {n: statistics.spread(list(range(n))) for n in range(trained.MIN_SEEDS, MOST + 1)}
    own = {n: float(np.std(range(n), ddof=1)) for n in unit}
    enough = (
        n for n, (low, high) in unit.items() if high / own[n] * sd < check.below or low / own[n] * sd > check.below
    )
    return {"seeds": next(enough, math.inf), "effect": check.below - sd, "sd": sd}


# --- a plan within a budget -------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Choice:
    """Parts that a budget pays for with one number of seeds, and the core hours that each adds."""

    seeds: int
    parts: tuple[Need, ...]
    added: tuple[float, ...]

    @property
    def hours(self) -> float:
        return sum(self.added)


def hours_of(arms: Iterable[tuple[str, str]], seeds: float, known: Mapping[str, float]) -> float:
    """Core hours of (study, <ablation>/<arm>) with so many seeds; NaN where no time is known."""
    folders = {folder_of(study, arm) for study, arm in arms}
    return seeds * sum(seconds_of(folder, known) for folder in folders) / 3600


def folder_of(study: str, arm: str) -> str:
    """study/ablation/arm of an arm's own folder."""
    ablation, _, name = arm.partition("/")
    return f"{study}/{ablation}/{catalog.slug(name)}"


def choose(rows: Sequence[Need], budget: float, known: Mapping[str, float]) -> Choice | None:
    """The number of seeds that decides most parts within `budget` core hours, the cheapest of equals; None for none."""
    reachable = [need for need in rows if need.reachable]
    choices = [_greedy(reachable, n, budget, known) for n in sorted({int(need.seeds) for need in reachable})]
    choices = [choice for choice in choices if choice.parts]
    return max(choices, key=lambda choice: (len(choice.parts), -choice.hours), default=None)


def _greedy(rows: Sequence[Need], seeds: int, budget: float, known: Mapping[str, float]) -> Choice:
    left, paid, taken, added = [need for need in rows if need.seeds <= seeds], set(), [], []
    while left:
        costs = [hours_of({(need.study, arm) for arm in need.arms} - paid, seeds, known) for need in left]
        at = min(range(len(left)), key=lambda index: (costs[index], left[index].name))
        if not sum(added) + costs[at] <= budget:  # NaN: no time is known
            break
        need = left.pop(at)
        paid |= {(need.study, arm) for arm in need.arms}
        taken.append(need)
        added.append(costs[at])
    return Choice(seeds, tuple(taken), tuple(added))


def plan_of(choice: Choice, name: str, scale: str, first_seed: int) -> Plan:
    """The plan of a choice, its seeds from `first_seed` on: none of those on which it rests."""
    arms = dict.fromkeys(arm for need in choice.parts for arm in (*need.named, *need.arms))
    tests = [plans.test_of(need.study, need.claim, need.part) for need in choice.parts]
    return Plan(
        name=name,
        scale=scale,
        studies=list(dict.fromkeys(need.study for need in choice.parts)),
        arms=list(arms),
        seeds=list(range(first_seed, first_seed + choice.seeds)),
        tests=tests,
    )


def first_fresh_seed(results: Iterable[ResultSet]) -> int:
    """One more than the largest seed at hand; 1 without any."""
    return 1 + max((value["seed"] for result in results for value in result.values), default=0)


def free_name(scale: str, folder: Path) -> str:
    """<scale>-<k> for the least k that is not registered."""
    return next(name for k in range(1, 10_000) if not (folder / f"{(name := f'{scale}-{k}')}.yaml").exists())


def table(rows: Sequence[Need], choice: Choice | None, known: Mapping[str, float]) -> pd.DataFrame:
    """A row a part, by decided parts an hour: what it takes alone, and whether the plan holds it."""
    planned = {need.name: hours for need, hours in zip(choice.parts, choice.added, strict=True)} if choice else {}
    records = []
    for need in rows:
        hours = hours_of({(need.study, arm) for arm in need.arms}, need.seeds, known) if need.reachable else math.nan
        records.append(
            {
                "part": need.name,
                "effect": need.effect,
                "sd": need.sd,
                "unit": need.part.metric,
                "seeds": need.seeds,
                "arms": " ".join(need.arms),
                "core_hours": hours,
                "parts_an_hour": POWER / hours if hours > 0 else math.nan,
                "plan_adds_hours": planned.get(need.name, math.nan),
                "why": need.why,
            }
        )
    frame = pd.DataFrame(records)
    return (
        frame.sort_values(["parts_an_hour", "part"], ascending=[False, True], ignore_index=True) if records else frame
    )


def markdown(frame: pd.DataFrame) -> str:
    """The parts that can be planned, for readers."""
    shown = frame[frame["seeds"].notna()] if len(frame) else frame
    rows = [
        [
            row["part"],
            f"{text.signed(row['effect'])} {row['unit']}" if not math.isnan(row["effect"]) else "",
            text.number(row["sd"]),
            "out of reach" if row["seeds"] > MOST else f"{row['seeds']:.0f}",
            str(len(row["arms"].split())),
            text.number(row["core_hours"]),
            text.number(row["parts_an_hour"], 1),
            "" if math.isnan(row["plan_adds_hours"]) else f"yes, {row['plan_adds_hours']:.2f} h more",
        ]
        for row in shown.to_dict("records")
    ]
    header = ["part", "effect at hand", "sd", "seeds", "arms", "core hours alone", "decided an hour", "in the plan"]
    return text.markdown_table(header, rows)


def pilots(rows: Sequence[Need], scale: str) -> list[str]:
    """A line a study: the parts without means or variance, and the runs that would give them."""
    lines = []
    for study in dict.fromkeys(need.study for need in rows):
        mine = [need for need in rows if need.study == study and math.isnan(need.seeds)]
        if not mine:
            continue
        arms = list(dict.fromkeys(arm for need in mine for arm in (need.lacking or need.named)))
        seeds = ",".join(str(seed) for seed in range(1, trained.MIN_SEEDS + 1))
        words = " ".join(f"'{key}={value}'" for key, value in (
            ("scale", scale), ("studies", f"[{study}]"), ("arms", f"[{','.join(arms)}]"), ("seeds", f"[{seeds}]")
        ))  # fmt: skip
        names = ", ".join(need.name.partition(":")[2] for need in mine)
        lines.append(
            f"no variance at hand for {study} {names}. A pilot of {trained.MIN_SEEDS} seeds gives each arm's mean and"
            f" spread: snakemake --cores all --config {words}"
        )
    return lines


# --- a plain configuration --------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class StudyForecast:
    """Runs of one study in a configuration: all, those still to do, and what those will take; NaN where unknown."""

    study: str
    runs: int
    todo: int
    core_hours: float
    gigabytes: float


def configuration(files: Sequence[Path], changes: Mapping[str, object]) -> dict:
    """experiments/config.yaml with files laid over it, then single keys."""
    content: dict = {}
    for path in (catalog.EXPERIMENTS / "config.yaml", *files):
        content |= read_yaml(path)
    return content | dict(changes)


def forecast(config: Mapping, results: Path = Path("results")) -> list[StudyForecast]:
    """What the runs of a configuration that are not done yet will take, by study."""
    table = {run.metrics: run for run in catalog.runs_table(dict(config))}
    scale = next(iter(table.values())).scale
    hand = at_hand(scale, results)
    seconds, sizes = seconds_by_arm(hand), sizes_by_arm(results / "runs" / scale)
    rows = []
    for study in dict.fromkeys(run.study for run in table.values()):
        mine = {path: run for path, run in table.items() if run.study == study}
        todo = [run for path, run in mine.items() if not Path(path).is_file()]
        folders = [folder_of(study, "/".join(run.home)) for run in todo]
        rows.append(
            StudyForecast(
                study,
                len(mine),
                len(todo),
                sum(seconds_of(folder, seconds) for folder in folders) / 3600,
                sum(seconds_of(folder, sizes) for folder in folders) / 1e9,
            )
        )
    return rows


def sizes_by_arm(folder: Path) -> dict[str, float]:
    """{study/ablation/arm: mean bytes that a finished run holds on disk}."""
    known: dict[str, list[int]] = {}
    for path in sorted(folder.glob("*/*/*/seed*/metrics.json")):
        arm = path.parent.parent.relative_to(folder).as_posix()
        known.setdefault(arm, []).append(sum(f.stat().st_size for f in path.parent.rglob("*") if f.is_file()))
    return {arm: float(np.mean(values)) for arm, values in known.items()}


def forecast_text(rows: Sequence[StudyForecast], scale: str) -> str:
    """The forecast for readers; a study without a single run at hand is `unknown` and makes the sum so."""
    cells = [
        [row.study, str(row.runs), str(row.todo), _or_unknown(row.core_hours), _or_unknown(row.gigabytes)]
        for row in rows
    ]
    whole = [sum(getattr(row, key) for row in rows) for key in ("runs", "todo", "core_hours", "gigabytes")]
    cells.append(["all", str(whole[0]), str(whole[1]), _or_unknown(whole[2]), _or_unknown(whole[3])])
    page = text.markdown_table(["study", "runs", "to do", "core hours", "GB in run folders"], cells)
    if any(math.isnan(value) for value in whole[2:]):
        page += (
            f"\nunknown: no run of the study at {scale} is at hand (for GB: none in results/runs). One run of it tells:"
            " snakemake --cores all results/runs/<scale>/<study>/<ablation>/<arm>/seed1/metrics.json.\n"
        )
    return page


def _or_unknown(value: float) -> str:
    return "unknown" if math.isnan(value) else f"{value:.2f}"


def check_budget(hours: float) -> float:
    """A budget above zero. UserError otherwise."""
    if not (math.isfinite(hours) and hours > 0):
        raise UserError(f"--budget {hours:g}: must be a number of core hours above 0")
    return hours
