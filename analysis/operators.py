"""Figures that hold two operators against each other, a panel a task.

deformable  metric against multiply-adds of the ablations named deformable_*: regular and deformable convolution, E2
windows     metric against the side of the window, for dynamic convolution and for E2 limited to the same reach
"""

import math
from pathlib import Path

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import NullLocator

from analysis import stats, style, summary, text
from analysis.loading import Ablation
from analysis.summary import ArmSummary

BARS = f"bars: 95 % t interval, {stats.MIN_SEEDS} seeds or more"
E2 = "0100"


def windows_of(words: dict) -> tuple[int, str] | None:
    """(side of the window, series) of an arm's words; None for an arm without a window."""
    dynamic, attention = words.get("dynamic_convolution"), words.get("attention") or {}
    if dynamic:
        return int(dynamic["kernel"]), "dynamic convolution"
    if attention.get("terms") == E2 and attention.get("spatial_range", -1) >= 0:
        return 2 * int(attention["spatial_range"]) + 1, "E2 in the window"
    return None


def with_windows(ablations: list[Ablation]) -> list[Ablation]:
    """The ablations that have arms of both series."""
    return [a for a in ablations if len({found[1] for arm in a.arms.values() if (found := windows_of(arm.set))}) == 2]


def deformable(ablations: list[Ablation]) -> list[Ablation]:
    return [a for a in ablations if a.name.startswith("deformable_")]


def comparable(kind: str, frame: pd.DataFrame, ablations: list[Ablation]) -> list[tuple[Ablation, list[ArmSummary]]]:
    """(ablation, arms with results) of the ablations of this kind that have two points to compare."""
    found = []
    for ablation in deformable(ablations) if kind == "deformable" else with_windows(ablations):
        arms = [arm for arm in summary.summarise(frame, ablation) if arm.n]
        points = [a for a in arms if kind == "deformable" or windows_of(ablation.arms[a.arm].set)]
        if len(points) > 1:
            found.append((ablation, arms))
    return found


def draw(kind: str, frame: pd.DataFrame, ablations: list[Ablation], base: Path, source: str) -> None:
    """Draw one of the two figures of a study as base.svg, base.pdf and base.png, with a panel for every ablation of
    which two operators, or two windows, have finished runs."""
    panel = {"deformable": _draw_deformable, "windows": _draw_windows}[kind]
    chosen = comparable(kind, frame, ablations)
    with style.figure(max(len(chosen), 1), width=4.6, height=3.6, legend=2) as (made, axes, key):
        style.footer(made, f"{source} · {BARS}")
        if not chosen:
            style.empty(axes[0], "no two finished runs to compare")
        handles = {}
        for axis, (ablation, arms) in zip(axes, chosen, strict=False):
            axis.set_title(ablation.task[:1].upper() + ablation.task[1:])
            panel(axis, ablation, arms)
            handles |= {h.get_label(): h for h in axis.get_legend_handles_labels()[0]}
        if handles:
            style.legend(key, list(handles.values()), 2)
        style.save(made, base)


def _draw_deformable(axes: Axes, ablation: Ablation, arms: list[ArmSummary]) -> None:
    divisor, unit = text.scaled([arm.costs["macs"] for arm in arms], "MACs")
    points = []
    for index, arm in enumerate(arms):
        x = arm.costs["macs"] / divisor
        _point(axes, x, arm, index, arm.label)
        points.append((x, arm.mean, arm.label))
    axes.set_xlabel(f"multiply-adds of one forward pass ({unit})")
    axes.set_ylabel(text.metric_label(arms[0].metric))
    axes.margins(x=0.2, y=0.2)
    style.place_labels(axes, points)


def _draw_windows(axes: Axes, ablation: Ablation, arms: list[ArmSummary]) -> None:
    series: dict[str, list[tuple[int, ArmSummary]]] = {}
    lines = []
    for arm in arms:
        found = windows_of(ablation.arms[arm.arm].set)
        if found:
            series.setdefault(found[1], []).append((found[0], arm))
        else:
            lines.append(arm)
    for index, (name, members) in enumerate(sorted(series.items())):
        members.sort(key=lambda member: member[0])
        colour = style.PALETTE[index]
        axes.plot([x for x, _ in members], [arm.mean for _, arm in members], color=colour, linewidth=1)
        for x, arm in members:
            _point(axes, x, arm, index, name)
    for index, arm in enumerate(lines):
        name = f"{arm.label}, no window"
        axes.axhline(arm.mean, color=style.FRONTIER, linewidth=1, linestyle=style.DASHES[index % 3], label=name)
    sizes = sorted({x for members in series.values() for x, _ in members})
    axes.set_xticks(sizes, [str(size) for size in sizes])
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xlabel("side of the window")
    axes.set_ylabel(text.metric_label(arms[0].metric))
    axes.margins(x=0.1, y=0.15)


def _point(axes: Axes, x: float, arm: ArmSummary, index: int, name: str) -> None:
    colour = style.PALETTE[index % 7]
    look = {"s": 36, "marker": style.MARKERS[index % 7], "color": colour, "zorder": 3}
    axes.scatter(x, arm.mean, edgecolors="white", linewidths=0.7, label=name, **look)
    if not math.isnan(arm.half_width):
        axes.errorbar(x, arm.mean, arm.half_width, color=colour, elinewidth=0.9, capsize=2, zorder=2)
