"""How far a small scale can be trusted: do our arms order as the published ones do?

For each ablation with published numbers, Kendall's tau-b between our arms' differences to the baseline and the
published ones, in the table that has the most of its arms (the paper's before the official code's); the baseline is an
arm like others, at zero. Over all ablations of a scale, pairs of arms count inside an ablation alone. Ours are
estimates: what noise takes from the order is part of the number. Ablations that share arms are not independent.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import pandas as pd

from analysis import reference, statistics, text
from analysis.arms import ArmSummary
from analysis.reference import Reference
from analysis.statistics import RankCorrelation
from analysis.studies import Ablation

KINDS = ("paper", "official")
COLUMNS = "scale study ablation metric arms seeds source table tau low high p".split()
LEAST = 2  # arms, the baseline among them: one pair
OVERALL = "all"


@dataclass(frozen=True)
class Proxy:
    """One ablation at one scale: effects of the same arms, ours and the published. `seeds`: the fewest of an arm."""

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

    @property
    def correlation(self) -> RankCorrelation:
        """tau-b with its interval; of two arms, the sign of the one pair."""
        return statistics.pooled_rank_correlation([(self.ours, self.published)])


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
    tables = {key: effects for key, effects in tables.items() if len(set(effects.values())) >= LEAST}
    if not tables:
        return None
    # The first of the largest: paper before official, in the order of the file.
    (kind, table), effects = max(tables.items(), key=lambda item: len(item[1]))
    chosen = [known[name] for name in effects]
    return Proxy(
        scale=chosen[0].scale,
        study=ablation.study,
        ablation=ablation.name,
        metric=metric,
        kind=kind,
        table=table,
        arms=tuple(effects),
        seeds=min(arm.n for arm in chosen),
        ours=tuple(0.0 if arm.baseline else arm.difference for arm in chosen),
        published=tuple(effects.values()),
    )


def of_study(ablations: Iterable[Ablation], arms: Sequence[ArmSummary], references: list[Reference]) -> list[Proxy]:
    """The proxies of the ablations of one study, in their order."""
    made = [of_ablation(each, [arm for arm in arms if arm.ablation == each.name], references) for each in ablations]
    return [proxy for proxy in made if proxy is not None]


def overall(proxies: Sequence[Proxy]) -> RankCorrelation:
    """One number for all of them."""
    return statistics.pooled_rank_correlation([(proxy.ours, proxy.published) for proxy in proxies])


def table(proxies: Sequence[Proxy]) -> pd.DataFrame:
    """A row an ablation, then one a scale with `study` = all."""
    rows = [_row(proxy) for proxy in proxies]
    for scale in dict.fromkeys(proxy.scale for proxy in proxies):
        group = [proxy for proxy in proxies if proxy.scale == scale]
        whole = {"scale": scale, "study": OVERALL, "ablation": f"{len(group)} ablations", "metric": "", "source": ""}
        sizes = {"arms": sum(len(proxy.arms) for proxy in group), "seeds": min(proxy.seeds for proxy in group)}
        rows.append(whole | sizes | {"table": ""} | _numbers(overall(group)))
    return pd.DataFrame(rows, columns=COLUMNS)


def _row(proxy: Proxy) -> dict:
    names = {key: getattr(proxy, key) for key in ("scale", "study", "ablation", "metric", "seeds", "table")}
    return names | {"arms": len(proxy.arms), "source": proxy.kind} | _numbers(proxy.correlation)


def _numbers(correlation: RankCorrelation) -> dict[str, float]:
    return {"tau": correlation.tau, "low": correlation.low, "high": correlation.high, "p": correlation.p}


def markdown(proxies: Sequence[Proxy]) -> str:
    """The overall numbers in words, then the table."""
    lines = ["# Do our arms order as the published ones do?\n"]
    for scale in dict.fromkeys(proxy.scale for proxy in proxies):
        group = [proxy for proxy in proxies if proxy.scale == scale]
        lines.append(f"- {scale}: {in_words(overall(group), len(group))}")
    lines.append("\n" + HOW_TO_READ)
    header = ["scale", "study", "ablation", "published in", "metric", "arms", "tau [95 %]"]
    lines.append(text.markdown_table(header, [_cells(proxy) for proxy in proxies], left=4))
    return "\n".join(lines)


HOW_TO_READ = (
    "Kendall's tau-b of our differences to the baseline and the published ones: 1 the same order, 0 none, −1 the "
    "reverse. The baseline counts as an arm. Noise of our estimates is part of it.\n"
)


def _cells(proxy: Proxy) -> list[str]:
    names = [proxy.scale, proxy.study, proxy.ablation, f"{proxy.kind}, {proxy.table}"]
    return [*names, text.metric_name(proxy.metric), str(len(proxy.arms)), shown(proxy.correlation)]


def shown(correlation: RankCorrelation) -> str:
    """ "0.60 [0.10, 0.90]"."""
    return f"{text.number(correlation.tau)} [{text.number(correlation.low)}, {text.number(correlation.high)}]"


def in_words(correlation: RankCorrelation, count: int) -> str:
    """The number of a scale in one line."""
    over = f"over {count} ablation{'s' * (count > 1)}"
    return f"Kendall's tau {shown(correlation)} between our effects and the published ones, {over}"
