"""Metric against multiply-adds of one example, a panel for arms of one recipe on the same data.

An arm is better than another only where their intervals are apart: the dashed line joins arms of which each is better
than every cheaper one. Without intervals (one seed an arm) no line is drawn.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from analysis import style, text
from analysis.arms import ArmSummary
from analysis.figures.marks import Marks, source
from analysis.results import StudyResults

NAME = "tradeoff"
CAPTION = (
    "What does a better score cost? Metric against the multiply-adds of one example, a panel for each recipe. "
    "Star: baseline. Ring: what the paper recommends. Dashed: arms whose interval lies above those of all cheaper"
    " arms."
)
FEWEST = 3  # costs of a panel
SPREAD = 1.05  # ratio of the largest to the smallest cost of a panel
NAMED = 14  # with more arms only the baseline, the dashed line's and the recommended are named
TOLD = 5  # arms on the dashed line; more are counted in the title
FAR = 3  # ratio of costs from which their axis is logarithmic
PLAIN, BEST = style.PALETTE[0], style.PALETTE[1]
RING = {"marker": "o", "ms": 13, "mfc": "none", "color": "#222222", "mew": 1.1, "linestyle": "", "zorder": 4}


def APPLIES(study: StudyResults) -> bool:
    """Whether arms of one recipe have three costs, and their intervals, if any, do not all overlap."""
    return bool(panels(study))


def panels(study: StudyResults) -> dict[str, list[ArmSummary]]:
    """{title: arms} of the recipes that have something to show."""
    groups: dict[tuple[str, str], list[ArmSummary]] = {}
    for arm in study.finished():
        if arm.macs == arm.macs:
            groups.setdefault((study.ablation(arm).panel, arm.conditions), []).append(arm)
    shown = {key: arms for key, arms in groups.items() if tells(arms)}
    judged = {key: arms for key, arms in shown.items() if any(arm.has_interval for arm in arms)}
    shown = judged or shown  # beside arms with intervals, single seeds say nothing
    return {title(key, shown): arms for key, arms in shown.items()}


def title(key: tuple[str, str], shown: Mapping[tuple[str, str], Sequence[ArmSummary]]) -> str:
    """Name of a panel; of several with one name, with what tells them apart: recipe, training set, data."""
    same = [traits(other[1], arms[0]) for other, arms in shown.items() if other[0] == key[0]]
    own = traits(key[1], shown[key][0])
    apart = [trait for place, trait in enumerate(own) if len({traits[place] for traits in same}) > 1]
    name = key[0].replace("_", " ")
    return ", ".join([name[:1].upper() + name[1:], *apart])


def traits(conditions: str, arm: ArmSummary) -> tuple[str, str, str]:
    """What may tell two panels apart, in words."""
    return f"recipe {conditions.rpartition(' ')[0]}", f"{100 * arm.sample:g} % of the training set", arm.data


def tells(arms: Sequence[ArmSummary]) -> bool:
    """Whether arms differ in cost, and in score as far as their intervals say."""
    costs = {float(f"{arm.macs:.3g}") for arm in arms}
    return len(costs) >= FEWEST and max(costs) >= SPREAD * min(costs) and apart(arms)


def apart(arms: Sequence[ArmSummary]) -> bool:
    """Whether two intervals do not overlap; true where there are no intervals to say so."""
    known = [arm for arm in arms if arm.has_interval]
    return not known or max(arm.low for arm in known) > min(arm.high for arm in known)


def frontier(arms: Sequence[ArmSummary]) -> list[ArmSummary]:
    """Arms by rising cost of which each has its interval above those of all before; empty where none is better."""
    kept: list[ArmSummary] = []
    by_cost = sorted((arm for arm in arms if arm.has_interval), key=lambda arm: (arm.macs, -arm.mean))
    for place, arm in enumerate(by_cost):
        if place == 0 or all(arm.low > cheaper.high for cheaper in by_cost[:place]):
            kept.append(arm)
    return kept if len(kept) > 1 else []


def draw(study: StudyResults, base: Path) -> None:
    """One panel a recipe."""
    shown = panels(study)
    with style.figure(len(shown), width=5.4 if len(shown) > 1 else 6.4, height=4.2, legend=1) as (sheet, axes, key):
        style.footer(sheet, source(study, [arm for arms in shown.values() for arm in arms]))
        marks, extra = Marks(), {}
        for panel, (name, arms) in zip(axes, shown.items(), strict=True):
            extra |= draw_panel(panel, name, arms, study, marks)
        handles = marks.handles(key)
        handles += [key.plot([], [], label=label, **look)[0] for label, look in extra.items()]
        style.legend(key, handles, len(handles))
        style.save(sheet, base)


def draw_panel(axes: Axes, name: str, arms: list[ArmSummary], study: StudyResults, marks: Marks) -> dict[str, dict]:
    """A labelled mark an arm; returns {label: look} of what else the legend must explain."""
    divisor, unit = text.scaled([arm.macs for arm in arms], "MACs")
    best = frontier(arms)
    baseline = main_baseline(study, arms)
    extra = {}
    for arm in arms:
        at, colour = arm.macs / divisor, BEST if arm in best else PLAIN
        star = arm.run == baseline
        marks.bar(axes, at, arm.low, arm.high, colour)
        marks.point(axes, at, arm.mean, arm.n, colour, "*" if star else "o", 11 if star else 6)
        if star:
            extra["baseline"] = {"marker": "*", "ms": 11, "color": PLAIN, "linestyle": ""}
        if is_recommended(study, arm):
            axes.plot(at, arm.mean, **RING)
            extra["recommended by the paper"] = RING
    line = [(arm.macs / divisor, arm.mean) for arm in best]
    if line:
        look = {"color": style.FRONTIER, "linewidth": 1, "linestyle": style.DASHES[0], "zorder": 1}
        axes.plot(*zip(*line, strict=True), **look)
        extra["better than all cheaper arms"] = look
    axes.set_title(f"{name}\n{finding(arms, best)}", fontsize=9)
    axes.set_xlabel(f"multiply-adds of one example ({unit})")
    axes.set_ylabel(text.metric_label(arms[0].metric))
    if max(arm.macs for arm in arms) > FAR * min(arm.macs for arm in arms):
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 3, 5)))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.xaxis.set_minor_locator(NullLocator())
    axes.margins(x=0.14, y=0.14)
    named = [arm for arm in arms if len(arms) <= NAMED or arm in best or arm.run == baseline]
    bars = [((arm.macs / divisor, arm.low), (arm.macs / divisor, arm.high)) for arm in arms if arm.has_interval]
    labels = [(arm.macs / divisor, arm.mean, arm.label) for arm in named]
    style.place_labels(axes, labels, [*zip(line, line[1:], strict=False), *bars])
    return extra


def finding(arms: Sequence[ArmSummary], best: Sequence[ArmSummary]) -> str:
    """What the panel shows, in words."""
    if not any(arm.has_interval for arm in arms):
        return "one seed an arm: no order is shown"
    if not best:
        return "no arm is shown to be better than all cheaper ones"
    names = ", ".join(arm.label for arm in best[1:]) if len(best) <= TOLD else f"{len(best) - 1} of {len(arms)} arms"
    return f"better than all cheaper arms: {names}"


def main_baseline(study: StudyResults, arms: Sequence[ArmSummary]) -> str:
    """The run that the first ablation of these arms takes as its baseline."""
    runs = {arm.run for arm in arms}
    return next((arm.run for arm in study.arms if arm.baseline and arm.run in runs), "")


def is_recommended(study: StudyResults, arm: ArmSummary) -> bool:
    """Whether an ablation that knows these runs recommends them."""
    return any(a.run == arm.run and a.arm == study.ablation(a).recommended for a in study.arms)
