"""Test score and training loss of the layouts of a network against the share of the training set."""

from __future__ import annotations

from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.ticker import NullLocator

from analysis import results, style, text
from analysis.arms import ArmSummary
from analysis.figures import layouts
from analysis.figures.marks import Marks, look, source
from analysis.results import StudyResults

NAME = "capacity"
CAPTION = (
    "Which layout gains most from data? Test score and final training loss against the share of the training set,"
    " at equal updates, a line a layout. Dotted: a network that guesses."
)
FEWEST = 2  # shares of a line, and lines
Lines = dict[str, list[tuple[float, ArmSummary]]]


def APPLIES(study: StudyResults) -> bool:
    """Whether two layouts were trained on several shares, and these are three or more."""
    lines = lines_of(study)
    return len(lines) >= FEWEST and len({share for points in lines.values() for share, _ in points}) > FEWEST


def lines_of(study: StudyResults) -> Lines:
    """{layout: [(share, arm)]}, ascending, of the layouts with several shares of one data set, that of most arms."""
    arms = [arm for a in study.ablations if layouts.grows(study, a) for arm in study.of(a) if arm.n]
    data = [arm.data for arm in arms]
    lines: Lines = {}
    for arm in arms:
        if arm.data == max(dict.fromkeys(data), key=data.count):
            lines.setdefault(arm.arm.partition(",")[0], []).append((arm.sample, arm))
    return {name: sorted(points, key=lambda p: p[0]) for name, points in lines.items() if len(points) >= FEWEST}


def draw(study: StudyResults, base: Path) -> None:
    """Left the test score, right the training loss."""
    lines = lines_of(study)
    arms = [arm for points in lines.values() for _, arm in points]
    with style.figure(2, width=4.6, height=3.8, legend=-(-(len(lines) + 2) // 5)) as (sheet, axes, key):
        style.footer(sheet, source(study, arms))
        marks = Marks()
        for panel, metric in zip(axes, ("", "losses.train"), strict=True):
            _draw_shares(panel, study, lines, metric, marks)
        axes[0].set_title("Test score")
        axes[1].set_title("Training loss")
        axes[0].set_ylabel(f"test {text.metric_label(arms[0].metric)}")
        axes[1].set_ylabel("training loss at the end")
        guess = layouts.chance(study, arms[0])
        if guess == guess:
            axes[0].axhline(guess, color=style.FRONTIER, linewidth=0.9, linestyle=style.DASHES[1], zorder=1)
        handles = []
        for index, name in enumerate(lines):
            own = look(index)
            handles += key.plot([], [], marker=own["marker"], color=own["colour"], label=name)
        style.legend(key, handles + marks.handles(key), 5)
        style.save(sheet, base)


def _draw_shares(axes: Axes, study: StudyResults, lines: Lines, metric: str, marks: Marks) -> None:
    """`metric` against the share; "" is each arm's own."""
    ticks = sorted({100 * share for points in lines.values() for share, _ in points})
    for index, points in enumerate(lines.values()):
        own = look(index)
        at = [100 * share * (1 + 0.02 * (index - len(lines) / 2)) for share, _ in points]  # beside each other
        means = []
        for x, (_, arm) in zip(at, points, strict=True):
            values = study.values(arm, metric)
            means.append(results.mean(values))
            marks.seeds(axes, x, values.values(), own["colour"])
            marks.point(axes, x, means[-1], len(values), own["colour"], own["marker"], size=5)
        axes.plot(at, means, color=own["colour"], linewidth=1)
    axes.set_xscale("log")
    axes.set_xticks(ticks, [f"{tick:g} %" for tick in ticks])
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xlabel("share of the training set")
    axes.margins(x=0.08, y=0.1)
