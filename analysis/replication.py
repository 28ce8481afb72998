"""Two result sets held against each other: does B lie where A says that a new run would, and do A's verdicts stand?

Per arm and metric that both sets have: the mean of B's m runs, and A's 95 % prediction interval for the mean of m new
runs (m = 1: for one run), by the arm's own spread where A has three seeds or more, else by that of its recipe. An arm
without any spread in A predicts nothing and is counted apart. `share_inside` counts the arms' primary metric alone.

A verdict is turned round where A and B decide the same trained part in opposite ways; one that B leaves undecided or
untested is not turned round, and is counted.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass

import pandas as pd

from analysis import ledger, runs, statistics, studies, text
from analysis.evidence import CONTRADICTED, DECIDED, REVERSED, SUPPORTED
from analysis.sets import ResultSet
from plugins.suite.errors import UserError

AGAINST = (CONTRADICTED, REVERSED)
PART = ["study", "claim", "part"]
KEPT, TURNED, OPEN, GONE = "stands", "turned round", "left open", "not in B"


@dataclass(frozen=True)
class Comparison:
    """One metric of an arm in both sets; `low` and `high` are A's prediction interval for the mean of `m` runs.

    `inside`: whether B's mean lies in it; None where A has no spread to predict by.
    """

    arm: str
    metric: str
    primary: bool
    n: int
    mean: float
    sd: float
    m: int
    other: float
    low: float
    high: float
    inside: bool | None

    @property
    def predicted(self) -> str:
        """What the interval is for."""
        return "one run" if self.m == 1 else f"mean of {self.m} runs"


@dataclass(frozen=True)
class Verdict:
    """One trained part that A decides, and what B says of it."""

    part: str
    a: str
    b: str
    outcome: str


@dataclass(frozen=True)
class Replication:
    """All of it. `environment`: {what: (A's, B's)}; `only_a`, `only_b`: arms that one set alone has."""

    a: str
    b: str
    scale: str
    comparisons: list[Comparison]
    verdicts: list[Verdict]
    environment: dict[str, tuple[str, str]]
    only_a: list[str]
    only_b: list[str]

    @property
    def counted(self) -> list[Comparison]:
        """The comparisons that `share_inside` is of."""
        return [one for one in self.comparisons if one.primary and one.inside is not None]

    @property
    def share_inside(self) -> float:
        """Share of B's values inside A's prediction intervals; NaN where none can be held against one."""
        return _share([bool(one.inside) for one in self.counted])

    @property
    def outside(self) -> list[Comparison]:
        return [one for one in self.counted if not one.inside]

    @property
    def verdict_agreement(self) -> float:
        """Share of A's decided parts, of those that B lists, that B does not turn round; NaN without any."""
        return _share([one.outcome != TURNED for one in self.verdicts if one.outcome != GONE])

    def counts(self) -> dict[str, int]:
        """What the shares are made of."""
        outcomes = [one.outcome for one in self.verdicts]
        return {
            "arms": len({one.arm for one in self.comparisons}),
            "values": len(self.counted),
            "inside": len(self.counted) - len(self.outside),
            "without_spread": sum(one.primary and one.inside is None for one in self.comparisons),
            "decided": len(outcomes),
            "stand": outcomes.count(KEPT),
            "turned_round": outcomes.count(TURNED),
            "left_open": outcomes.count(OPEN),
            "not_in_b": outcomes.count(GONE),
        }

    def content(self) -> dict:
        """For JSON: NaN as null."""
        return _plain(
            {
                "a": self.a,
                "b": self.b,
                "scale": self.scale,
                "share_inside": self.share_inside,
                "verdict_agreement": self.verdict_agreement,
                "counts": self.counts(),
                "outside": [one.arm for one in self.outside],
                "turned_round": [one.part for one in self.verdicts if one.outcome == TURNED],
                "only_a": self.only_a,
                "only_b": self.only_b,
                "arms": [{**asdict(one), "predicted": one.predicted} for one in self.comparisons],
                "verdicts": [asdict(one) for one in self.verdicts],
                "environment": {key: {"a": a, "b": b} for key, (a, b) in self.environment.items()},
            }
        )


def _share(flags: Sequence[bool]) -> float:
    return sum(flags) / len(flags) if flags else math.nan


def _plain(value: object) -> object:
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return None if isinstance(value, float) and math.isnan(value) else value


def compare(a: ResultSet, b: ResultSet) -> Replication:
    """Holds B against A. UserError where they are of two scales or have no arm in common."""
    if a.scale != b.scale:
        raise UserError(f"{a.path} is of scale {a.scale}, {b.path} of {b.scale}; numbers of two scales do not compare")
    ours, theirs = values_of(a.values), values_of(b.values)
    arms_a, arms_b = (list(dict.fromkeys(arm for arm, _ in known)) for known in (ours, theirs))
    comparisons = comparisons_of(ours, theirs, primaries(a.values), recipes(a.values))
    if not comparisons:
        raise UserError(f"{a.path} and {b.path} have no arm in common")
    return Replication(
        a=str(a.path),
        b=str(b.path),
        scale=a.scale,
        comparisons=comparisons,
        verdicts=verdicts_of(a.verdicts, b.verdicts),
        environment=environment(a.values, b.values),
        only_a=[arm for arm in arms_a if arm not in arms_b],
        only_b=[arm for arm in arms_b if arm not in arms_a],
    )


Values = dict[tuple[str, str], dict[int, float]]


def values_of(values: Iterable[Mapping]) -> Values:
    """{(study/ablation/arm, metric): {seed: value}}."""
    known: Values = {}
    for value in values:
        for metric, number in value["metrics"].items():
            known.setdefault((arm_of(value), metric), {})[value["seed"]] = float(number)
    return known


def arm_of(value: Mapping) -> str:
    """study/ablation/arm, the arm as a folder."""
    return runs.name_of(value).rpartition("/")[0]


def primaries(values: Iterable[Mapping]) -> dict[str, str]:
    """{arm: primary metric}."""
    return {arm_of(value): value["primary"] for value in values}


def recipes(values: Iterable[Mapping]) -> dict[str, tuple]:
    """{arm: what arms must share for their spreads to be pooled}: study, recipe, data set."""
    known = studies.ablations()
    named = {}
    for value in values:
        ablation = known.get((value["study"], value["ablation"]))
        recipe = ablation.recipe if ablation else value["ablation"]
        named[arm_of(value)] = (value["study"], recipe, value["data"]["name"])
    return named


def comparisons_of(
    ours: Values, theirs: Values, primary: Mapping[str, str], recipe: Mapping[str, tuple]
) -> list[Comparison]:
    """Every metric of every arm that both have; the primary one of an arm first."""
    pools: dict[tuple, statistics.Pooled] = {}
    for group in dict.fromkeys((recipe[arm], metric) for arm, metric in ours):
        rows = [
            (arm, seed, value)
            for (arm, metric), by_seed in ours.items()
            if (recipe[arm], metric) == group
            for seed, value in by_seed.items()
        ]
        pools[group] = statistics.pooled(pd.DataFrame(rows, columns=["arm", "seed", "value"]))
    keys = [key for key in ours if key in theirs]
    keys.sort(key=lambda key: (key[0], primary[key[0]] != key[1], key[1]))
    return [
        _comparison(arm, metric, metric == primary[arm], pools[recipe[arm], metric], theirs[arm, metric])
        for arm, metric in keys
    ]


def _comparison(
    arm: str, metric: str, primary: bool, pool: statistics.Pooled, other: Mapping[int, float]
) -> Comparison:
    m, mean = len(other), sum(other.values()) / len(other)
    low, high = statistics.prediction_interval(pool, arm, m)
    inside = low <= mean <= high if high > low else None  # no width, or NaN: no spread to predict by
    return Comparison(arm, metric, primary, pool.seeds[arm], pool.means[arm], pool.sds[arm], m, mean, low, high, inside)


def verdicts_of(a: pd.DataFrame, b: pd.DataFrame) -> list[Verdict]:
    """The parts that A decides, by the trained rows of two ledgers of one scale."""
    theirs = {tuple(row[key] for key in PART): row["verdict"] for row in b.to_dict("records")}
    rows = []
    for row in ledger.decided(a).to_dict("records"):
        key = tuple(row[name] for name in PART)
        verdict = theirs.get(key)
        rows.append(
            Verdict(f"{key[0]}:{key[1]}{key[2]}", row["verdict"], verdict or "", _outcome(row["verdict"], verdict))
        )
    return rows


def _outcome(ours: str, theirs: str | None) -> str:
    if theirs is None:
        return GONE
    if theirs not in DECIDED:
        return OPEN
    return KEPT if (ours == SUPPORTED) == (theirs == SUPPORTED) else TURNED


FACTS = ("commit", "device", "threads", "blas")


def environment(a: Sequence[Mapping], b: Sequence[Mapping]) -> dict[str, tuple[str, str]]:
    """What runs recorded of the machine and the software, the distinct values of each set joined by "; "."""
    ours, theirs = (_facts(values) for values in (a, b))
    return {key: (ours.get(key, ""), theirs.get(key, "")) for key in dict.fromkeys([*ours, *theirs])}


def _facts(values: Sequence[Mapping]) -> dict[str, str]:
    known: dict[str, dict[str, None]] = {}
    for value in values:
        provenance = value["provenance"]
        facts = {key: str(provenance.get(key, ""))[:60] for key in FACTS}
        facts["processor flags"] = " ".join(sorted(provenance.get("cpu_flags") or []))
        facts |= {f"instruction set, {name}": str(x) for name, x in (provenance.get("instruction_sets") or {}).items()}
        facts |= {f"version of {name}": str(x) for name, x in sorted((provenance.get("versions") or {}).items())}
        for key, fact in facts.items():
            known.setdefault(key, {})[fact] = None
    return {key: "; ".join(sorted(facts)) for key, facts in known.items()}


# --- text -------------------------------------------------------------------------------------------------------------
def markdown(result: Replication) -> str:
    """The comparison for readers: the two shares, what lies outside, then all arms, verdicts, and the environment."""
    counts = result.counts()
    lines = [
        f"# {result.b} held against {result.a} (scale {result.scale})\n",
        f"{counts['inside']} of {counts['values']} values inside the 95 % prediction intervals"
        f" (share {text.number(result.share_inside)}); {counts['without_spread']} arms without a spread to predict by.",
        f"{counts['turned_round']} of {counts['decided']} decided trained parts turned round"
        f" (agreement {text.number(result.verdict_agreement)}); {counts['stand']} stand, {counts['left_open']} B leaves"
        f" open, {counts['not_in_b']} are not in B.",
    ]
    for name, arms in (("A", result.only_a), ("B", result.only_b)):
        if arms:
            lines.append(f"In {name} alone: {', '.join(arms)}.")
    primary = [one for one in result.comparisons if one.primary]
    header = ["arm", "metric", "A: mean (n)", "A: sd", "B: mean (m)", "interval for", "95 % prediction", "inside"]
    lines.append("\n## Arms\n\n" + text.markdown_table(header, [_cells(one) for one in primary], left=2))
    if result.verdicts:
        rows = [[one.part, one.a, one.b, one.outcome] for one in result.verdicts]
        lines.append("## Verdicts\n\n" + text.markdown_table(["part", "A", "B", "outcome"], rows, left=4))
    rows = [[key, _short(a), _short(b), "" if a == b else "differs"] for key, (a, b) in result.environment.items()]
    lines.append("## Environment\n\n" + text.markdown_table(["", "A", "B", ""], rows, left=4))
    return "\n".join(lines)


def _cells(one: Comparison) -> list[str]:
    inside = {True: "yes", False: "**no**", None: "no spread"}[one.inside]
    interval = "n/a" if math.isnan(one.low) else f"{text.number(one.low)} to {text.number(one.high)}"
    values = [f"{text.number(one.mean)} ({one.n})", text.number(one.sd), f"{text.number(one.other)} ({one.m})"]
    return [one.arm, one.metric, *values, one.predicted, interval, inside]


def _short(fact: str, limit: int = 80) -> str:
    return fact if len(fact) <= limit else f"{fact[: limit - 4]} ..."


def as_json(result: Replication) -> str:
    """`content` as text."""
    return json.dumps(result.content(), indent=1, allow_nan=False) + "\n"
