"""Differences to the baseline, one row an arm, ours and the published ones in panels of their own scale.

Metrics are never mixed: each has its own pair of panels, stacked. A pair of arms that several ablations share stands
once, in the one that owns the runs.
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from matplotlib.axes import Axes

from analysis import reference, style, text
from analysis.arms import ArmSummary
from analysis.figures.marks import Marks, source
from analysis.reference import Published
from analysis.results import StudyResults
from analysis.studies import Ablation

NAME = "differences"
CAPTION = (
    "How far is each arm from its baseline? Left: ours, with the 95 % interval of the difference; hollow: one of "
    "the two arms has a single seed, the interval then rests on the spread of the recipe's other arms. Right: "
    "published differences, each inside its own table and on its own scale: compare signs and orders, not sizes."
)
KINDS = {
    "paper": ("D", style.PALETTE[1], "paper"),
    "official": ("s", style.PALETTE[2], "official code or toolbox"),
}
FEWEST = 3  # rows; two are better told by the table
WRAP = 70  # characters of an ablation's title
LINE = 0.22  # inches a row
ROOM = 0.7  # rows between a title and the rows around it


@dataclass(frozen=True)
class Row:
    """One arm of ours beside what is published of it."""

    ablation: Ablation
    arm: ArmSummary
    baseline: ArmSummary
    published: dict[str, list[Published]]


def APPLIES(study: StudyResults) -> bool:
    """Whether there are several differences, one of them with an interval or a published counterpart."""
    rows = [row for group in groups(study).values() for row in group]
    known = [row for row in rows if not math.isnan(row.arm.difference_low) or any(row.published.values())]
    return len(rows) >= FEWEST and bool(known)


def groups(study: StudyResults) -> dict[str, list[Row]]:
    """{metric: rows} of all arms that have a difference, in the order of the files, each pair of runs once."""
    rows = []
    for ablation in study.ablations:
        arms = study.of(ablation)
        baseline = next((arm for arm in arms if arm.baseline), None)
        for arm in arms:
            if arm.has_difference:
                rows.append(Row(ablation, arm, baseline, _published(study, ablation, arm)))
    # Of two rows of one pair of runs the last that is put in stays: the one whose ablation owns the arm's runs.
    at_home = sorted(reversed(rows), key=lambda row: row.ablation.home(row.arm.arm) == (row.arm.ablation, row.arm.arm))
    owners = {(row.arm.run, row.baseline.run): row for row in at_home}
    return {
        metric: [row for row in rows if row.arm.metric == metric and owners[row.arm.run, row.baseline.run] is row]
        for metric in dict.fromkeys(row.arm.metric for row in rows)
    }


def _published(study: StudyResults, ablation: Ablation, arm: ArmSummary) -> dict[str, list[Published]]:
    tables = {kind: reference.published(study.references, ablation, arm.arm, arm.metric, kind) for kind in KINDS}
    return {kind: [p for p in numbers if not math.isnan(p.difference)] for kind, numbers in tables.items()}


def draw(study: StudyResults, base: Path) -> None:
    """A pair of panels a metric."""
    by_metric = groups(study)
    heights = [1.0 + LINE * _lines(rows) for rows in by_metric.values()]
    beside = any(any(row.published.values()) for rows in by_metric.values() for row in rows)
    with style.page(width=9.2 if beside else 6.6, heights=heights, columns=2 if beside else 1, legend=1) as (
        sheet,
        panels,
        key,
    ):
        style.footer(sheet, source(study, [row.arm for rows in by_metric.values() for row in rows]))
        marks, kinds = Marks(), {}
        for pair, (metric, rows) in zip(panels, by_metric.items(), strict=True):
            kinds |= _draw_metric(pair, metric, rows, marks)
        handles = marks.handles(key)
        for kind in (kind for kind in KINDS if kind in kinds):
            marker, colour, label = KINDS[kind]
            handles += key.plot([], [], marker=marker, linestyle="", color=colour, mfc="none", label=label)
        style.legend(key, handles, len(handles))
        style.save(sheet, base)


def _lines(rows: Sequence[Row]) -> float:
    titles = [textwrap.wrap(_title(row), WRAP) for row in _heads(rows)]
    return len(rows) + sum(2 * ROOM + 0.8 * (len(lines) - 1) for lines in titles)


def _heads(rows: Sequence[Row]) -> list[Row]:
    """The first row of each ablation."""
    return list({row.ablation.name: row for row in reversed(rows)}.values())[::-1]


def _title(row: Row) -> str:
    return f"{row.ablation.title} (against {row.baseline.label})"


def _draw_metric(pair: Sequence[Axes], metric: str, rows: Sequence[Row], marks: Marks) -> dict[str, None]:
    """Draws the rows of one metric; returns the kinds of published differences among them."""
    kinds = dict.fromkeys(kind for row in rows for kind, published in row.published.items() if published)
    if len(pair) > 1 and not kinds:
        style.empty(pair[1], "nothing published")
        pair = pair[:1]
    ours, theirs = pair[0], pair[1] if len(pair) > 1 else None
    ticks, names, y = [], [], -ROOM / 2
    heads = {row.ablation.name: row for row in _heads(rows)}
    for row in rows:
        if heads.get(row.ablation.name) is row:
            y = _head(pair, row, y)
        y += 1
        ticks.append(-y)
        names.append(row.arm.label)
        colour = style.PALETTE[0]
        marks.bar(ours, -y, row.arm.difference_low, row.arm.difference_high, colour, upright=False)
        marks.point(ours, row.arm.difference, -y, min(row.arm.n, row.baseline.n), colour, size=5)
        for kind, published in row.published.items() if theirs is not None else ():
            marker, colour, _ = KINDS[kind]
            for number in published:
                theirs.plot(number.difference, -y, marker, ms=5, color=colour, mfc="none", linestyle="", clip_on=False)
    for axes in pair:
        axes.axvline(0, color=style.FRONTIER, linewidth=0.8, zorder=1)
        axes.set_ylim(-y - ROOM, 0)
        axes.grid(axis="y", visible=False)
        axes.spines["left"].set_visible(False)
        axes.tick_params(axis="y", length=0)
        axes.margins(x=0.08)
        axes.set_yticks(ticks, names if axes is ours else [])
    ours.set_title(f"Ours: {finding(rows)}", fontsize=9)
    ours.set_xlabel(f"difference in {text.metric_label(metric)}")
    if theirs is not None:
        theirs.set_title("Published", fontsize=9)
        theirs.set_xlabel("difference, on its own scale")
    return kinds


def _head(pair: Sequence[Axes], row: Row, y: float) -> float:
    """The grey line with an ablation's title below the row at `y`; returns the y from which the next row counts."""
    lines = textwrap.wrap(_title(row), WRAP)
    top = y + ROOM
    bottom = top + 1 + 0.8 * (len(lines) - 1)
    for axes in pair:
        axes.axhspan(-bottom, -top, color="#F2F2F2", linewidth=0, zorder=1.5)
    head = {"fontsize": 7.5, "fontweight": "bold", "va": "center", "transform": pair[0].get_yaxis_transform()}
    pair[0].text(0.005, -(top + bottom) / 2, "\n".join(lines), zorder=2, **head).set_in_layout(False)
    return bottom - 1 + ROOM


def finding(rows: Sequence[Row]) -> str:
    """What the rows show, in words."""
    judged = [row.arm for row in rows if not math.isnan(row.arm.difference_low)]
    if not judged:
        return "single seeds, no interval"
    apart = sum(arm.difference_low > 0 or arm.difference_high < 0 for arm in judged)
    return f"{apart} of {len(judged)} intervals exclude 0"
