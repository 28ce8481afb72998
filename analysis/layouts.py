"""Figures of studies that compare layouts of a network: what a training loss is worth, and how data change that.

generalisation   validation score against training loss along the training, a line a layout; the scores at one loss
capacity         test score and training loss against the share of the training set, a line a layout

Layouts are the arms of an ablation that differ in `layout` alone; shares are those of one with `train_fraction`.
"""

from collections.abc import Mapping
from pathlib import Path

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import NullLocator

from analysis import details, stats, style, summary, text
from analysis.loading import Ablation
from analysis.summary import ArmSummary

KINDS = ("generalisation", "capacity")
MATCHED = "_at_matched_loss"


def draw(kind: str, frame: pd.DataFrame, ablations: list[Ablation], runs_csv: Path, base: Path, source: str) -> None:
    """One kind of figure to base.{svg,pdf,png}."""
    if kind == "generalisation":
        generalisation(frame, ablations, details.beside(runs_csv), base, source)
    else:
        capacity(frame, ablations, base, source)


def of_layouts(ablation: Ablation) -> bool:
    """Whether the arms differ in the layout and in nothing else; not those of another setting, with their own panel."""
    words = [arm.set for arm in ablation.arms.values() if arm.same_as is None]
    return (
        bool(words)
        and ablation.panel == ablation.task
        and all(
            len(word) == 1 and all(isinstance(value, Mapping) and set(value) == {"layout"} for value in word.values())
            for word in words
        )
    )


def share(ablation: Ablation, arm: str) -> float:
    """The share of the training set that an arm trains on; 1 where it names none."""
    return float(ablation.arms[arm].set.get("train_fraction", 1)) if arm in ablation.arms else 1.0


def grows(ablation: Ablation) -> bool:
    """Whether arms train on different shares."""
    return len({share(ablation, arm) for arm in ablation.arms}) > 1


def generalisation(
    frame: pd.DataFrame, ablations: list[Ablation], found: Mapping[str, dict], base: Path, source: str
) -> None:
    """Left the course of the trainings, right the scores where they pass one loss."""
    pairs = [(a, arm) for a in ablations if of_layouts(a) for arm in summary.summarise(frame, a) if arm.n]
    drawn = [(ablation, arm, points) for ablation, arm in pairs if (points := course(arm, found))]
    with style.figure(2, width=4.4, height=3.8, legend=-(-max(len(drawn), 1) // 5)) as (made, axes, key):
        style.footer(
            made,
            f"{source} · validation split, mean of seeds at equal updates · training loss: mean since the point before"
            f" · bars: 95 % t interval, {stats.MIN_SEEDS} seeds or more",
        )
        if drawn:
            _draw_courses(axes[0], drawn)
            _draw_matched(axes[1], frame, drawn)
            style.legend(key, axes[0].get_legend_handles_labels()[0], 5)
        else:
            for panel in axes:
                style.empty(panel, "no finished run that was scored along its training")
        style.save(made, base)


def course(arm: ArmSummary, found: Mapping[str, dict]) -> list[tuple[float, float]]:
    """[(training loss, score)] of the scored points, the mean over an arm's finished seeds; [] where none is kept."""
    runs = [f"{run}/seed{seed}" for run in sorted(arm.runs) for seed in arm.seeds]
    curves = [found[run]["curve"] for run in runs if found.get(run, {}).get("curve")]
    curves = [curve for curve in curves if arm.metric in curve]
    common = min((len(curve["update"]) for curve in curves), default=0)
    return [
        tuple(sum(curve[key][i] for curve in curves) / len(curves) for key in ("train_loss", arm.metric))
        for i in range(common)
    ]


def _look(index: int) -> dict:
    return {"color": style.PALETTE[index % 7], "marker": style.MARKERS[index % 7]}


def _draw_courses(axes: Axes, drawn: list) -> None:
    for index, (_, arm, points) in enumerate(drawn):
        axes.plot(*zip(*points, strict=True), ms=3, linewidth=1, label=arm.label, **_look(index))
    axes.invert_xaxis()
    axes.set_xlabel("training loss (falling to the right)")
    axes.set_ylabel(f"validation {text.metric_label(drawn[0][1].metric)}")
    axes.set_title("Along the training")


def _draw_matched(axes: Axes, frame: pd.DataFrame, drawn: list) -> None:
    labels = []
    for index, (ablation, arm, _) in enumerate(drawn):
        rows = summary.arm_rows(frame, ablation.study, ablation.name, arm.arm)
        values = list(summary.per_seed(rows, summary.column_of(arm.metric + MATCHED)).values())
        labels.append(arm.label if values else f"{arm.label}\n(not reached)")
        if values:
            mean, half = stats.mean_and_half_width(values)
            axes.errorbar(index, mean, half if half == half else None, ms=6, capsize=3, linestyle="", **_look(index))
    axes.set_xticks(range(len(labels)), labels, rotation=20, ha="right")
    axes.set_xlim(-0.5, len(labels) - 0.5)
    axes.set_ylabel(f"validation {text.metric_label(drawn[0][1].metric)}")
    axes.set_title("At the matched training loss")


def capacity(frame: pd.DataFrame, ablations: list[Ablation], base: Path, source: str) -> None:
    """Left the test score, right the training loss."""
    pairs = [(a, arm) for a in ablations if grows(a) for arm in summary.summarise(frame, a) if arm.n]
    lines: dict[str, list[tuple[float, Ablation, ArmSummary]]] = {}
    for ablation, arm in pairs:
        lines.setdefault(arm.arm.partition(",")[0], []).append((share(ablation, arm.arm), ablation, arm))
    with style.figure(2, width=4.4, height=3.6, legend=-(-max(len(lines), 1) // 5)) as (made, axes, key):
        style.footer(
            made, f"{source} · equal numbers of updates · bars: 95 % t interval, {stats.MIN_SEEDS} seeds or more"
        )
        if lines:
            for panel, column in zip(axes, ("", "losses.train"), strict=True):
                _draw_shares(panel, frame, lines, column)
            axes[0].set_ylabel(f"test {text.metric_label(pairs[0][1].metric)}")
            axes[1].set_ylabel("training loss at the end")
            style.legend(key, axes[0].get_legend_handles_labels()[0], 5)
        else:
            for panel in axes:
                style.empty(panel, "no finished run")
        style.save(made, base)


def _draw_shares(axes: Axes, frame: pd.DataFrame, lines: Mapping[str, list], column: str) -> None:
    """`column` against the share; "" is each arm's own metric."""
    ticks = set()
    for index, (name, members) in enumerate(lines.items()):
        points = []
        for at, ablation, arm in sorted(members, key=lambda member: member[0]):
            rows = summary.arm_rows(frame, ablation.study, ablation.name, arm.arm)
            values = list(summary.per_seed(rows, column or summary.column_of(arm.metric)).values())
            points.append((100 * at, *stats.mean_and_half_width(values)))
        ticks |= {at for at, _, _ in points}
        shares, means, halves = zip(*points, strict=True)
        bars = [half if half == half else 0 for half in halves]
        axes.errorbar(shares, means, bars, ms=5, capsize=2, linewidth=1, label=name, **_look(index))
    axes.set_xscale("log")
    axes.set_xticks(sorted(ticks), [f"{tick:g} %" for tick in sorted(ticks)])
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xlabel("share of the training set")
    axes.margins(x=0.08, y=0.1)
