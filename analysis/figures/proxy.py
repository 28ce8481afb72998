"""Rank correlation of our effects with the published ones: a row an ablation, the whole study below."""

from __future__ import annotations

import math
from pathlib import Path

from matplotlib.axes import Axes

from analysis import proxies, style
from analysis.figures.marks import source
from analysis.results import StudyResults
from analysis.statistics import RankCorrelation

NAME = "proxy"
CAPTION = (
    "Do our arms order as the published ones do? Kendall's tau between our effects and those of one published table, "
    "with its 95 % interval: 1 is the same order, 0 none, -1 the reverse. A probe is held against the ablations that "
    "it stands for. Few arms leave the interval wide; fewer than four pairs give no number. The last row holds all "
    "ablations, pairs counted inside each; it says how far this scale stands for the paper's."
)
LINE = 0.3  # inches a row


def APPLIES(study: StudyResults) -> bool:
    """Whether there are pairs enough for a number."""
    return proxies.pairs_of(proxies.of_results(study)) >= proxies.LEAST_PAIRS


def draw(study: StudyResults, base: Path) -> None:
    """A forest of correlations."""
    shown = proxies.of_results(study)
    rows = [(f"{proxy.name} ({len(proxy.arms)} arms, {proxy.table})", proxy.correlation) for proxy in shown]
    whole = proxies.overall(shown)
    rows.append((f"all {len(shown)} ablations" if len(shown) > 1 else "all", whole))
    with style.figure(1, width=8.4, height=1.2 + LINE * len(rows)) as (sheet, (axes,), _):
        for at, (_, tau) in enumerate(rows):
            _row(axes, at, tau, last=at == len(rows) - 1)
        axes.axvline(0, color=style.FRONTIER, linewidth=0.8)
        axes.set_yticks(range(len(rows)), [label for label, _ in rows])
        axes.set_ylim(len(rows) - 0.5, -0.5)
        axes.set_xlim(-1.05, 1.05)
        axes.set_xlabel("Kendall's tau with the published order")
        axes.set_title(_finding(whole))
        names = {(proxy.ablation, arm) for proxy in shown for arm in proxy.arms}
        style.footer(sheet, source(study, [arm for arm in study.arms if (arm.ablation, arm.arm) in names]))
        style.save(sheet, base)


def _row(axes: Axes, at: int, tau: RankCorrelation, last: bool) -> None:
    if math.isnan(tau.tau):
        axes.text(0, at, f"fewer than {proxies.LEAST_PAIRS} pairs", ha="center", va="center", backgroundcolor="white")
        return
    colour = style.PALETTE[int(last)]
    axes.plot([tau.low, tau.high], [at, at], color=colour, linewidth=1.4)
    axes.plot(tau.tau, at, "D" if last else "o", color=colour, ms=6, clip_on=False)


def _finding(tau: RankCorrelation) -> str:
    """The title: what the last row says."""
    if tau.low > 0:
        return f"The published order is seen here: tau {tau.tau:.2f}"
    if tau.high < 0:
        return f"The published order is reversed here: tau {tau.tau:.2f}"
    return f"Whether the published order is seen here is open: tau {tau.tau:.2f}"
