"""What the figures of CoAtNet's layouts share: which ablations compare layouts, and on what share of the data."""

from __future__ import annotations

from collections.abc import Mapping

from analysis.arms import ArmSummary
from analysis.results import StudyResults
from analysis.studies import Ablation


def of_layouts(ablation: Ablation) -> bool:
    """Whether the arms differ in the layout and in nothing else; not those of another setting, with their own panel."""
    options = [arm.set for arm in ablation.arms.values() if arm.same_as is None]
    return bool(options) and ablation.panel == ablation.task and all(map(_only_a_layout, options))


def _only_a_layout(options: Mapping) -> bool:
    values = list(options.values())
    return len(values) == 1 and isinstance(values[0], Mapping) and set(values[0]) == {"layout"}


def grows(study: StudyResults, ablation: Ablation) -> bool:
    """Whether arms of an ablation train on different shares."""
    return len({arm.sample for arm in study.of(ablation) if arm.n}) > 1


def chance(study: StudyResults, arm: ArmSummary) -> float:
    """The metric of a network that guesses; NaN where the runs do not say."""
    known = study.details_of(arm, "chance")
    return float(known[0]["chance"]["metric"]) if known else float("nan")
