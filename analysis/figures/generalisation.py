"""What a training loss is worth: validation score against training loss along the training, a line a layout."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.axes import Axes

from analysis import results, style, text
from analysis.arms import ArmSummary
from analysis.figures import layouts
from analysis.figures.marks import Marks, look, source
from analysis.results import StudyResults

NAME = "generalisation"
CAPTION = (
    "Which layout generalises best at equal training loss? Left: validation score against training loss along the"
    " training, points and their running mean over five (mean of seeds at equal updates). Right: the scores at "
    "one training loss, of the layouts that reached it."
)
MATCHED = "_at_matched_loss"
WINDOW = 5
Courses = list[tuple[ArmSummary, np.ndarray]]


def APPLIES(study: StudyResults) -> bool:
    """Whether two layouts were scored along their training."""
    return len(chosen(study)) > 1


def chosen(study: StudyResults) -> Courses:
    """Layouts with the course of their training."""
    arms = [arm for a in study.ablations if layouts.of_layouts(a) for arm in study.of(a) if arm.n]
    drawn = [(arm, course(study, arm)) for arm in arms]
    return [(arm, points) for arm, points in drawn if len(points) > 1]


def course(study: StudyResults, arm: ArmSummary) -> np.ndarray:
    """Rows (training loss, score) of the scored points, the mean over an arm's seeds; none where none is kept."""
    curves = [run["curve"] for run in study.details_of(arm, "curve")]
    curves = [_scored(curve, arm.metric) for curve in curves if arm.metric in curve]
    common = min((len(points) for points in curves), default=0)
    return np.mean([points[:common] for points in curves], axis=0) if common else np.empty((0, 2))


def _scored(curve: dict, metric: str) -> np.ndarray:
    pairs = zip(curve["train_loss"], curve[metric], strict=True)
    return np.array([pair for pair in pairs if None not in pair], dtype=float).reshape(-1, 2)


def draw(study: StudyResults, base: Path) -> None:
    """Left the course of the trainings; right the scores at one loss, where two layouts reach it."""
    drawn = chosen(study)
    matched = [(i, arm, v) for i, (arm, _) in enumerate(drawn) if (v := study.values(arm, arm.metric + MATCHED))]
    both = len(matched) > 1 and any(len(values) > 1 for *_, values in matched)
    with style.figure(1 + both, width=4.8, height=3.8, legend=2) as (sheet, axes, key):
        style.footer(sheet, source(study, [arm for arm, _ in drawn]))
        marks, handles = Marks(), []
        for index, (arm, points) in enumerate(drawn):
            own = look(index)
            _draw_course(axes[0], points, own["colour"])
            handles += key.plot([], [], marker=own["marker"], color=own["colour"], label=arm.label)
        _finish_courses(axes[0], drawn)
        if both:
            _draw_matched(axes[1], matched, len(drawn), marks)
        style.legend(key, handles + marks.handles(key), 5)
        style.save(sheet, base)


def _draw_course(axes: Axes, points: np.ndarray, colour: str) -> None:
    axes.plot(*points.T, ".", ms=5, color=colour, alpha=0.45, mew=0)
    if len(points) > WINDOW:
        kernel = np.ones(WINDOW) / WINDOW
        points = np.stack([np.convolve(column, kernel, mode="valid") for column in points.T], axis=1)
    axes.plot(*points.T, color=colour, linewidth=1.4)


def _finish_courses(axes: Axes, drawn: Courses) -> None:
    axes.invert_xaxis()
    axes.set_xlabel("training loss (falling to the right)")
    axes.set_ylabel(f"validation {text.metric_label(drawn[0][0].metric)}")
    axes.set_title("Along the training")


def _draw_matched(axes: Axes, matched: list, layouts_drawn: int, marks: Marks) -> None:
    for place, (index, _, values) in enumerate(matched):
        own = look(index)
        marks.seeds(axes, place, values.values(), own["colour"])
        marks.point(axes, place, results.mean(values), len(values), own["colour"], own["marker"])
    axes.set_xticks(range(len(matched)), [arm.label for _, arm, _ in matched], rotation=20, ha="right")
    axes.set_xlim(-0.5, len(matched) - 0.5)
    axes.set_ylabel(f"validation {text.metric_label(matched[0][1].metric)}")
    axes.set_title(f"At one training loss: {len(matched)} of {layouts_drawn} layouts reach it")
    axes.title.set_fontsize(9)
