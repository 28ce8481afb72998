"""Rank correlation of our effects with the published ones: a row an ablation, the whole study below."""

from __future__ import annotations

from pathlib import Path

from analysis import proxies, style
from analysis.figures.marks import source
from analysis.results import StudyResults

NAME = "proxy"
CAPTION = (
    "Do our arms order as the published ones do? Kendall's tau between our differences to the baseline and those of "
    "one published table, with its 95 % interval: 1 is the same order, 0 none, -1 the reverse. Few arms leave the "
    "interval wide. The last row holds all ablations, pairs counted inside each; it says how far this scale stands for "
    "the paper's."
)
LINE = 0.3  # inches a row


def APPLIES(study: StudyResults) -> bool:
    """Whether some ablation has three arms or more in print."""
    return any(len(proxy.arms) > 2 for proxy in _of(study))


def _of(study: StudyResults) -> list[proxies.Proxy]:
    return proxies.of_study(study.ablations, study.arms, study.references)


def draw(study: StudyResults, base: Path) -> None:
    """A forest of correlations."""
    shown = _of(study)
    rows = [(f"{proxy.ablation} ({len(proxy.arms)} arms, {proxy.table})", proxy.correlation) for proxy in shown]
    whole = proxies.overall(shown)
    rows.append((f"all {len(shown)} ablations" if len(shown) > 1 else "all", whole))
    with style.figure(1, width=7.2, height=1.2 + LINE * len(rows)) as (made, (axes,), _):
        for at, (_, tau) in enumerate(rows):
            colour = style.PALETTE[1] if at == len(rows) - 1 else style.PALETTE[0]
            axes.plot([tau.low, tau.high], [at, at], color=colour, linewidth=1.4)
            axes.plot(tau.tau, at, "D" if at == len(rows) - 1 else "o", color=colour, ms=6, clip_on=False)
        axes.axvline(0, color=style.FRONTIER, linewidth=0.8)
        axes.set_yticks(range(len(rows)), [label for label, _ in rows])
        axes.set_ylim(len(rows) - 0.5, -0.5)
        axes.set_xlim(-1.05, 1.05)
        axes.set_xlabel("Kendall's tau with the published order")
        axes.set_title(_finding(whole))
        arms = [
            arm for proxy in shown for arm in study.arms if arm.ablation == proxy.ablation and arm.arm in proxy.arms
        ]
        style.footer(made, source(study, arms))
        style.save(made, base)


def _finding(tau) -> str:
    """The title: what the last row says."""
    if tau.low > 0:
        return f"The published order is seen here: tau {tau.tau:.2f}"
    if tau.high < 0:
        return f"The published order is reversed here: tau {tau.tau:.2f}"
    return f"Whether the published order is seen here is open: tau {tau.tau:.2f}"
