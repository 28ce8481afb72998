"""What trained networks predict, to look at: the first images of the scored split, predictions_<task>.png."""

from __future__ import annotations

from pathlib import Path

from analysis import text
from analysis.arms import ArmSummary
from analysis.figures import grids
from analysis.figures.grids import Cell
from analysis.figures.marks import source
from analysis.results import StudyResults

NAME = "predictions"
CAPTION = (
    "What do the networks see? The truth and the predictions of up to four arms (the baseline, and the best by "
    "score) on the first images of the scored split; lowest finished seed of each arm."
)
IMAGES, MOST_ARMS = 3, 4


def APPLIES(study: StudyResults) -> bool:
    """Whether runs left pictures."""
    return any(chosen(study, task) for task in grids.TASKS)


def chosen(study: StudyResults, task: str) -> list[tuple[ArmSummary, Path]]:
    """The baseline and the arms of the highest means, in the order of the files."""
    arms = grids.folders(study, task, "prediction_0.png")
    ranked = sorted(arms, key=lambda pair: (not pair[0].baseline, -pair[0].mean))[:MOST_ARMS]
    return [pair for pair in arms if pair in ranked]


def draw(study: StudyResults, base: Path) -> None:
    """One PNG a task."""
    for task in grids.TASKS:
        arms = chosen(study, task)
        if arms:
            first = arms[0][1]
            rows = {"truth": [Cell(f"image {n + 1}", first / f"truth_{n}.png") for n in range(IMAGES)]}
            for arm, folder in arms:
                score = f"{arm.label}: {text.metric_name(arm.metric)} {text.number(arm.mean, 1)}"
                rows[score] = [Cell("", folder / f"prediction_{n}.png") for n in range(IMAGES)]
            rows = {label: [cell for cell in cells if cell.picture.is_file()] for label, cells in rows.items()}
            line = source(study, [arm for arm, _ in arms])
            grids.save(base.with_name(f"{base.name}_{task}.png"), rows, 2.6, line, first / "pictures.json")
