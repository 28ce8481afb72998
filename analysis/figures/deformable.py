"""Regular convolution, deformable convolution and E2 at their costs, a panel a task."""

from __future__ import annotations

from pathlib import Path

from analysis import style
from analysis.arms import ArmSummary
from analysis.figures import tradeoff
from analysis.figures.marks import Marks, source
from analysis.results import StudyResults

NAME = "deformable"
CAPTION = (
    "Is attention by query content and relative position (E2) worth its cost beside deformable convolution? "
    "Metric against multiply-adds of one example."
)


def APPLIES(study: StudyResults) -> bool:
    """Whether E2 was run beside both convolutions."""
    return bool(panels(study))


def panels(study: StudyResults) -> dict[str, list[ArmSummary]]:
    """{title: arms} of the ablations named deformable_* with attention beside both convolutions, where they differ."""
    shown = {}
    for ablation in study.ablations:
        arms = [arm for arm in study.of(ablation) if arm.n and arm.macs == arm.macs]
        attends = any(study.options(arm).get("attention") for arm in arms)
        alike = len({arm.conditions for arm in arms}) == 1
        if ablation.name.startswith("deformable_") and attends and len(arms) > 2 and alike and tradeoff.apart(arms):
            shown[ablation.task.capitalize()] = arms
    return shown


def draw(study: StudyResults, base: Path) -> None:
    """The arms of each ablation."""
    shown = panels(study)
    with style.figure(len(shown), width=4.8, height=3.8, legend=1) as (sheet, axes, key):
        style.footer(sheet, source(study, [arm for arms in shown.values() for arm in arms]))
        marks, extra = Marks(), {}
        for panel, (name, arms) in zip(axes, shown.items(), strict=True):
            extra |= tradeoff.draw_panel(panel, name, arms, study, marks)
        handles = marks.handles(key)
        handles += [key.plot([], [], label=label, **look)[0] for label, look in extra.items()]
        style.legend(key, handles, len(handles))
        style.save(sheet, base)
