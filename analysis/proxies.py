"""How far a small scale can be trusted: do our arms order as the published ones do?

For each ablation with published numbers, Kendall's tau-b between our arms' differences to the baseline and the
published ones, in the table that has the most of its arms (the paper's before the official code's); the baseline is an
arm like others, at zero. A probe has no published numbers of its own: study.yaml says which ablations it stands for,
and its arms are theirs of the same name. Over all ablations of a scale, pairs of arms count inside an ablation alone.
Ours are estimates: what noise takes from the order is part of the number. Ablations that share arms are not
independent. Fewer than four pairs that print tells apart give no number.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import pandas as pd

from analysis import reference, runs, statistics, text
from analysis.arms import ArmSummary
from analysis.reference import Reference
from analysis.results import StudyResults
from analysis.statistics import RankCorrelation
from analysis.studies import Ablation
from plugins.suite import catalog
from plugins.suite.claims import PRIMARY
from plugins.suite.schema import ProxyEntry

KINDS = ("paper", "official")
COLUMNS = "scale study ablation stands_for metric arms pairs seeds source table tau low high p".split()
TEXTS = "scale study ablation stands_for metric source table".split()
LEAST = 2  # arms: one pair
LEAST_PAIRS = 4
OVERALL = "all"
NO_NUMBER = RankCorrelation(math.nan, math.nan, math.nan, math.nan)


@dataclass(frozen=True)
class Proxy:
    """One ablation at one scale: effects of the same arms, ours and the published. `seeds`: the fewest of an arm;
    `stands_for`: the published ablations of a probe."""

    scale: str
    study: str
    ablation: str
    metric: str
    kind: str
    table: str
    arms: tuple[str, ...]
    seeds: int
    ours: tuple[float, ...]
    published: tuple[float, ...]
    stands_for: str = ""

    @property
    def pairs(self) -> int:
        """Pairs of arms that print tells apart."""
        return sum(one != other for one, other in combinations(self.published, 2))

    @property
    def correlation(self) -> RankCorrelation:
        """tau-b with its interval; NaN of fewer pairs than LEAST_PAIRS."""
        return overall([self])

    @property
    def name(self) -> str:
        """The ablation, and what it stands for."""
        return named(self.ablation, self.stands_for)


def named(ablation: str, stands_for: str) -> str:
    """An ablation, and the published ones that it stands for, if it is a probe."""
    return f"{ablation} for {stands_for}" if stands_for else ablation


def of_ablation(ablation: Ablation, arms: Sequence[ArmSummary], references: list[Reference]) -> Proxy | None:
    """The proxy of one ablation; None where print and runs have no two arms in common that print tells apart."""
    known = {arm.arm: arm for arm in arms if arm.baseline or arm.has_difference}
    if ablation.baseline not in known or not known[ablation.baseline].n:
        return None
    metric = known[ablation.baseline].metric
    tables: dict[tuple[str, str], dict[str, float]] = {}
    for kind in KINDS:
        for name in known:
            for line in reference.published(references, ablation, name, metric, kind):
                if not math.isnan(line.difference):
                    tables.setdefault((kind, line.table), {})[name] = line.difference
    ours = {name: 0.0 if arm.baseline else arm.difference for name, arm in known.items()}
    return _largest(ablation, metric, known, ours, tables)


def of_probe(
    entry: ProxyEntry,
    ablations: Mapping[str, Ablation],
    arms: Sequence[ArmSummary],
    references: list[Reference],
) -> Proxy | None:
    """The proxy of a probe for published ablations, of whose arms it has some under the same name or a stated one."""
    known = {arm.arm: arm for arm in arms if arm.n and (arm.baseline or arm.has_difference)}
    known = {name: arm for name, arm in known.items() if entry.metric in arm.metrics}
    tables: dict[tuple[str, str, str], dict[str, float]] = {}
    for kind in KINDS:
        for ablation in (ablations[name] for name in entry.stands_for):
            for arm in ablation.arms:
                ours = entry.arms.get(arm, arm)
                for row in reference.of_arm(references, ablation, arm) if ours in known else []:
                    if row.kind == kind and row.metric == PRIMARY[ablation.task] and not row.unread:
                        tables.setdefault((kind, row.table, row.dataset), {}).setdefault(ours, row.value)
    means = {name: arm.metrics[entry.metric] for name, arm in known.items()}
    return _largest(ablations[entry.probe], entry.metric, known, means, tables, ", ".join(entry.stands_for))


def _largest(
    ablation: Ablation,
    metric: str,
    known: Mapping[str, ArmSummary],
    ours: Mapping[str, float],
    tables: Mapping[tuple[str, ...], Mapping[str, float]],
    stands_for: str = "",
) -> Proxy | None:
    """The proxy by the published table with the most arms: the paper's before the official code's.

    `tables`: keyed (kind, table, ..).
    """
    tables = {key: effects for key, effects in tables.items() if len(set(effects.values())) >= LEAST}
    if not tables:
        return None
    (kind, table, *_), effects = min(tables.items(), key=lambda item: (-len(item[1]), KINDS.index(item[0][0])))
    return Proxy(
        scale=next(iter(known.values())).scale,
        study=ablation.study,
        ablation=ablation.name,
        metric=metric,
        kind=kind,
        table=table,
        arms=tuple(effects),
        seeds=min(known[name].n for name in effects),
        ours=tuple(ours[name] for name in effects),
        published=tuple(effects.values()),
        stands_for=stands_for,
    )


def of_results(study: StudyResults) -> list[Proxy]:
    """The proxies of a study: of its ablations in their order, then of its probes."""
    measured = [of_ablation(each, study.of(each), study.references) for each in study.ablations]
    known = {ablation.name: ablation for ablation in study.ablations}
    for entry in catalog.study(study.study).proxy:
        measured.append(of_probe(entry, known, study.of(known[entry.probe]), study.references))
    return [proxy for proxy in measured if proxy is not None]


def overall(proxies: Sequence[Proxy]) -> RankCorrelation:
    """One number for all of them; NaN where they have fewer than LEAST_PAIRS pairs together."""
    if pairs_of(proxies) < LEAST_PAIRS:
        return NO_NUMBER
    return statistics.pooled_rank_correlation([(proxy.ours, proxy.published) for proxy in proxies])


def pairs_of(proxies: Iterable[Proxy]) -> int:
    """Pairs of arms, each inside its ablation."""
    return sum(proxy.pairs for proxy in proxies)


def read(path: Path) -> pd.DataFrame:
    """A proxy.csv; without rows where there is no such file. UserError where it is none."""
    if not path.is_file():
        return pd.DataFrame(columns=COLUMNS)
    return runs.read_table(path, COLUMNS, TEXTS)


def table(proxies: Sequence[Proxy]) -> pd.DataFrame:
    """A row an ablation, then one a scale with `study` = all."""
    rows = [_row(proxy) for proxy in proxies]
    for scale in dict.fromkeys(proxy.scale for proxy in proxies):
        group = [proxy for proxy in proxies if proxy.scale == scale]
        whole = {"scale": scale, "study": OVERALL, "ablation": _count(len(group)), "stands_for": "", "metric": ""}
        sizes = {"arms": sum(len(proxy.arms) for proxy in group), "seeds": min(proxy.seeds for proxy in group)}
        sizes |= {"pairs": pairs_of(group), "source": "", "table": ""}
        rows.append(whole | sizes | _numbers(overall(group)))
    return pd.DataFrame(rows, columns=COLUMNS)


def _count(ablations: int) -> str:
    return f"{ablations} ablation{'s' * (ablations > 1)}"


def _row(proxy: Proxy) -> dict:
    names = ("scale", "study", "ablation", "stands_for", "metric", "pairs", "seeds", "table")
    kept = {key: getattr(proxy, key) for key in names}
    return kept | {"arms": len(proxy.arms), "source": proxy.kind} | _numbers(proxy.correlation)


def _numbers(correlation: RankCorrelation) -> dict[str, float]:
    return {"tau": correlation.tau, "low": correlation.low, "high": correlation.high, "p": correlation.p}


def markdown(frame: pd.DataFrame) -> str:
    """The overall numbers in words, then the table."""
    lines = ["# Do our arms order as the published ones do?\n", *(f"- {line}" for line in in_words(frame))]
    lines.append("\n" + HOW_TO_READ)
    header = ["scale", "study", "ablation", "published in", "metric", "arms", "pairs", "tau [95 %]"]
    rows = [_cells(row) for row in frame[frame["study"] != OVERALL].to_dict("records")]
    lines.append(text.markdown_table(header, rows, left=4))
    return "\n".join(lines)


HOW_TO_READ = (
    "Kendall's tau-b of our effects and the published ones: 1 the same order, 0 none, −1 the reverse. The baseline "
    "counts as an arm. Noise of our estimates is part of it. A probe is held against the ablations that it stands for, "
    "arms of the same name. Ablations that share arms are not independent. An arm counts "
    "whether or not each of its runs passed the ledger's gate *trained*.\n"
)


def _cells(row: Mapping) -> list[str]:
    names = [row["scale"], row["study"], named(row["ablation"], row["stands_for"]), f"{row['source']}, {row['table']}"]
    return [*names, text.metric_name(row["metric"]), str(row["arms"]), str(row["pairs"]), shown(row)]


def shown(row: Mapping) -> str:
    """ "0.60 [0.10, 0.90]", or that there are too few pairs."""
    if math.isnan(row["tau"]):
        return f"fewer than {LEAST_PAIRS} pairs"
    return f"{text.number(row['tau'])} [{text.number(row['low'])}, {text.number(row['high'])}]"


def in_words(frame: pd.DataFrame) -> list[str]:
    """One line a scale; that nothing is known where there is none."""
    rows = frame[frame["study"] == OVERALL].to_dict("records")
    return [_sentence(row) for row in rows] or ["our order of arms beside the published one: no runs to tell it from"]


def _sentence(row: Mapping) -> str:
    over = f"{row['pairs']} pairs of arms in {row['ablation']}"
    if math.isnan(row["tau"]):
        return f"our order of arms beside the published one, at `{row['scale']}`: {over}, too few to tell"
    return f"our order of arms beside the published one, at `{row['scale']}`: Kendall's tau {shown(row)} over {over}"
