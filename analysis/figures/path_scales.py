"""ACmix's learnt path weights by depth: |alpha| of the attention and |beta| of the convolution, from details.json."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.axes import Axes

from analysis import details, style
from analysis.arms import ArmSummary
from analysis.figures.marks import DOTS, PROXIES, source
from analysis.results import StudyResults

NAME = "path_scales"
CAPTION = (
    "Which path does a layer trust? Learnt weights of the attention path (alpha) and of the convolution path "
    "(beta) by depth. Lines: mean over seeds. Where beta = 1 - alpha, alpha alone is drawn."
)
MOST_ARMS = 4
MARGIN = 0.05  # of a weight, above and below the outermost
PATHS = (("|α|, attention", "o"), ("|β|, convolution", "s"))


def APPLIES(study: StudyResults) -> bool:
    """Whether an arm learns its path weights."""
    return bool(chosen(study))


def chosen(study: StudyResults) -> list[tuple[ArmSummary, np.ndarray]]:
    """Arms with learnt weights: seeds x layers x (|alpha|, |beta|)."""
    arms = []
    for arm in study.finished():
        learnt = [details.path_scales(run) for run in study.details_of(arm, "path_scales")]
        if learnt:
            arms.append((arm, np.stack(learnt)))
    return arms[:MOST_ARMS]


def draw(study: StudyResults, base: Path) -> None:
    """One panel an arm, all of one range."""
    arms = chosen(study)
    with style.figure(len(arms), width=3.8, height=3.4, legend=1) as (sheet, axes, key):
        style.footer(sheet, source(study, [arm for arm, _ in arms]))
        lowest, highest = (bound([bound(scales) for _, scales in arms]) for bound in (np.min, np.max))
        for panel, (arm, scales) in zip(axes, arms, strict=True):
            _draw_arm(panel, arm, scales)
            panel.set_ylim(lowest - MARGIN, highest + MARGIN)
        handles = [
            key.plot([], [], marker=marker, color=style.PALETTE[index], ms=5, label=name)[0]
            for index, (name, marker) in enumerate(PATHS)
        ]
        if any(len(scales) > 1 for _, scales in arms):
            handles += key.plot([], [], label=DOTS, **PROXIES[DOTS])
        style.legend(key, handles, len(handles))
        style.save(sheet, base)


def _draw_arm(axes: Axes, arm: ArmSummary, scales: np.ndarray) -> None:
    at = np.arange(1, scales.shape[1] + 1)
    mirrored = np.allclose(scales.sum(axis=2), 1, atol=1e-3)
    for index, (_, marker) in enumerate(PATHS[:1] if mirrored else PATHS):
        colour, single = style.PALETTE[index], len(scales) == 1
        axes.plot(at, scales[:, :, index].mean(0), marker=marker, ms=5, color=colour, mfc="white" if single else colour)
        if not single:
            axes.plot(np.tile(at, len(scales)), scales[:, :, index].ravel(), marker, ms=3, color=colour, alpha=0.6)
    axes.axhline(0.5, color=style.FRONTIER, linewidth=0.8, linestyle=style.DASHES[0], zorder=1)
    notes = ["β = 1 − α" if mirrored else "", "one seed" if len(scales) == 1 else f"{len(scales)} seeds"]
    axes.set_title(f"{arm.label}\n{', '.join(filter(None, notes))}", fontsize=9)
    axes.set_xlabel("layer, first to last (dashed: where both start)")
    axes.set_ylabel("learnt weight")
    axes.xaxis.get_major_locator().set_params(integer=True)
