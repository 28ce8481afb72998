"""Learnt weight of the smallest convolution kernel by depth, ours beside the published ratio."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes

from analysis import details, style
from analysis.arms import ArmSummary
from analysis.figures.marks import DOTS, PROXIES, source
from analysis.reference import Reference
from analysis.results import StudyResults

NAME = "gates"
CAPTION = (
    "Do lower layers prefer the small kernel? Learnt weight of the smallest convolution kernel by depth in the "
    "stack, beside the paper's ratio r of the small to the large kernel, as r / (1 + r). Lines: mean over seeds."
)
LAYER = re.compile(r"layer (\d+)")
STACKS = {"encoder": ("o", "-"), "decoder": ("s", "--")}
MOST_ARMS = 4


def APPLIES(study: StudyResults) -> bool:
    """Whether an arm weighs kernels in two layers or more."""
    return bool(chosen(study))


def chosen(study: StudyResults) -> list[tuple[ArmSummary, list[dict]]]:
    """Arms that weigh their kernels, with the details of their runs."""
    arms = [(arm, study.details_of(arm, "gates")) for arm in study.finished("translation")]
    return [(arm, runs) for arm, runs in arms if runs and len(details.encoder_gates(runs[0])) > 1][:MOST_ARMS]


def draw(study: StudyResults, base: Path) -> None:
    """Both stacks of ours, and the published curve on the same axes' range."""
    arms, theirs = chosen(study), published(study.references)
    entries = 2 * len(arms) + 2
    with style.figure(1 + bool(theirs), width=4.4, legend=-(-entries // 3)) as (sheet, axes, key):
        style.footer(sheet, source(study, [arm for arm, _ in arms]))
        dots = False
        for index, (arm, runs) in enumerate(arms):
            dots |= _draw_arm(axes[0], arm, runs, style.PALETTE[(0, 2, 3, 5)[index]])
        axes[0].set_title(f"Ours: {len(details.encoder_gates(arms[0][1][0]))} layers")
        if theirs:
            axes[1].plot(depths(len(theirs)), theirs, "D:", mfc="none", ms=4, color="#222222", label="MUSE, published")
            axes[1].set_title(f"Published: {len(theirs)} layers, IWSLT14 De-En")
            axes[1].sharey(axes[0])
        for panel in axes:
            panel.axhline(0.5, color=style.FRONTIER, linewidth=0.8, zorder=1)
            panel.text(1.0, 0.5, "equal weights", fontsize=7, ha="right", va="bottom", color="#666666")
            panel.set_xlim(0, 1)
            panel.set_xlabel("depth in the stack (0 first layer, 1 last)")
            panel.set_ylabel("weight of the smaller kernel")
        handles = [handle for panel in axes for handle in panel.get_legend_handles_labels()[0]]
        handles += [key.plot([], [], label=DOTS, **PROXIES[DOTS])[0]] * dots
        style.legend(key, handles, 3)
        style.save(sheet, base)


def depths(layers: int) -> np.ndarray:
    """Where the middles of layers stand between the first layer's foot, 0, and the last one's head, 1."""
    return (np.arange(layers) + 0.5) / layers


def _draw_arm(axes: Axes, arm: ArmSummary, runs: Sequence[dict], colour: str) -> bool:
    """Draws both stacks; returns whether single seeds were drawn beside the mean."""
    for stack, (marker, dashes) in STACKS.items():
        weights = np.array([details.gates_of(run, stack) for run in runs])
        if not weights.size:
            continue
        at = depths(weights.shape[1])
        face = "white" if len(runs) == 1 else colour
        label = f"{arm.label}, {stack}" + (" (one seed)" if len(runs) == 1 else "")
        axes.plot(at, weights.mean(0), dashes, marker=marker, mfc=face, ms=5, color=colour, label=label)
        if len(runs) > 1:
            axes.plot(np.tile(at, len(weights)), weights.ravel(), marker, color=colour, ms=3, alpha=0.6, linestyle="")
    return len(runs) > 1


def published(references: Sequence[Reference]) -> list[float]:
    """Weight of the small kernel by layer, from the ratios of figure 8."""
    points = []
    for row in references:
        match = LAYER.fullmatch(row.variant)
        if match and row.table == "Figure 8" and not row.unread:
            points.append((int(match.group(1)), row.value / (1 + row.value)))
    return [weight for _, weight in sorted(points)]
