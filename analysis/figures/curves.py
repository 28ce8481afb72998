"""Learning curves: training loss of the core arms along their updates, a panel an ablation, the mean of the seeds."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from analysis import gates, style
from analysis.arms import ArmSummary
from analysis.figures.marks import source
from analysis.results import StudyResults
from analysis.studies import Ablation
from plugins.suite import catalog

NAME = "curves"
CAPTION = (
    "Have the arms learnt all they will within this budget? Training loss of the core arms along their updates, the "
    "mean of the seeds, on a logarithmic axis. Dotted: a network that guesses. Shaded: the last fifth of the updates; "
    "an arm whose loss still falls there by a tenth of its whole fall has not come to its plateau."
)
LAST = 0.8  # share of the updates from which the plateau is judged
FEWEST = 2  # arms of a panel
ROOM = 0.42  # for names, as a share of the updates
LINE = 0.047  # between two names, as a share of the panel's height
WIDTH = 62  # letters of a title's line
Curves = dict[str, tuple[ArmSummary, np.ndarray]]


def APPLIES(study: StudyResults) -> bool:
    """Whether an ablation has two core arms that kept their curve."""
    return bool(panels(study))


def panels(study: StudyResults) -> list[tuple[Ablation, Curves]]:
    """The ablations with the curves of their own core arms."""
    pairs = [(ablation, curves_of(study, ablation)) for ablation in study.ablations]
    return [(ablation, curves) for ablation, curves in pairs if len(curves) >= FEWEST]


def curves_of(study: StudyResults, ablation: Ablation) -> Curves:
    """{arm: (summary, rows of update and loss)} of the core arms whose runs the ablation holds."""
    written = catalog.ablations(study.study)[ablation.name].arms
    core = [arm for arm in study.of(ablation) if arm.n and arm.arm in written and written[arm.arm].priority == "core"]
    drawn = {arm.arm: (arm, course(study.details_of(arm, "curve"))) for arm in core}
    return {name: (arm, points) for name, (arm, points) in drawn.items() if len(points) > 1}


def course(details: Sequence[Mapping]) -> np.ndarray:
    """Rows (update, training loss), the mean over seeds; none where seeds were written at unlike updates."""
    curves = [run["curve"] for run in details if run["curve"].get("train_loss")]
    if not curves or any(curve["update"] != curves[0]["update"] for curve in curves):
        return np.empty((0, 2))
    losses = np.mean(np.array([curve["train_loss"] for curve in curves], float), axis=0)
    points = np.stack([curves[0]["update"], losses], axis=1)
    return points[np.isfinite(losses)]  # at some updates only other values were taken down


def draw(study: StudyResults, base: Path) -> None:
    """A panel an ablation."""
    shown = panels(study)
    with style.figure(len(shown), width=5.0, height=3.8) as (sheet, axes, _):
        style.footer(sheet, source(study, [arm for _, curves in shown for arm, _ in curves.values()]))
        for panel, (ablation, curves) in zip(axes, shown, strict=True):
            draw_panel(panel, study, ablation, curves)
        style.save(sheet, base)


def draw_panel(axes: Axes, study: StudyResults, ablation: Ablation, curves: Curves) -> None:
    """A line an arm, its name behind its end."""
    ends = []
    for index, (arm, points) in enumerate(curves.values()):
        colour = style.PALETTE[index % len(style.PALETTE)]
        turn = index // len(style.PALETTE)
        axes.plot(*points.T, color=colour, linewidth=1.2, linestyle="-" if not turn else style.DASHES[turn - 1])
        ends.append((points[-1, 1], arm.label, colour))
    last = max(points[-1, 0] for _, points in curves.values())
    axes.axvspan(LAST * last, last, color="#F2F2F2", zorder=0)
    guess = guessing(study, [arm for arm, _ in curves.values()])
    if guess:
        axes.axhline(guess, color=style.FRONTIER, linewidth=0.9, linestyle=style.DASHES[1])
    axes.set_title(textwrap.fill(ablation.title, WIDTH) + f"\n{finding(curves)}", fontsize=8)
    axes.set_xlabel("updates")
    axes.set_ylabel("training loss")
    axes.set_yscale("log")
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.set_xlim(0, (1 + ROOM) * last)
    name_ends(axes, ends, 1.02 * last)


def name_ends(axes: Axes, ends: Sequence[tuple[float, str, str]], at: float) -> None:
    """Writes (loss, label, colour) of every line behind its end, at the update `at`, one above the other."""
    by_loss = sorted(ends)
    low, high = np.log(axes.get_ylim())
    heights = [(np.log(loss) - low) / (high - low) for loss, _, _ in by_loss]
    for height, (_, label, colour) in zip(apart(heights), by_loss, strict=True):
        place = {"transform": axes.get_xaxis_transform(), "va": "center", "fontsize": 6.5}
        axes.text(at, height, label, color=colour, **place)


def apart(heights: Sequence[float]) -> list[float]:
    """Ascending heights, moved up until neighbours are LINE apart, and down together where they leave the panel."""
    moved: list[float] = []
    for height in heights:
        moved.append(max(height, moved[-1] + LINE) if moved else height)
    over = max(0.0, moved[-1] - 1) if moved else 0.0
    return [height - over for height in moved]


def guessing(study: StudyResults, arms: Sequence[ArmSummary]) -> float:
    """The loss of guessing; 0 where the runs do not say."""
    known = [run["chance"].get("loss") for arm in arms for run in study.details_of(arm, "chance")]
    return next((float(loss) for loss in known if loss), 0.0)


def finding(curves: Curves) -> str:
    """Which arms still learn at the end, as the gate `plateau` has it."""
    rising = [arm.label for arm, points in curves.values() if not level(points)]
    if not rising:
        return "all have come to a plateau"
    return f"still learning: {', '.join(rising)}" if len(rising) <= 3 else f"{len(rising)} of {len(curves)} still learn"


def level(points: np.ndarray) -> bool:
    """Whether a curve has come to its plateau."""
    curve = {"update": points[:, 0].tolist(), "train_loss": points[:, 1].tolist()}
    return gates.share_of_fall(curve) < gates.PLATEAU_SHARE
