"""Where one query of generalized attention looks, by its terms: attention_<task>.png."""

from __future__ import annotations

from pathlib import Path

from analysis.figures import grids
from analysis.figures.grids import Cell
from analysis.figures.marks import source
from analysis.results import StudyResults

NAME = "attention"
CAPTION = (
    "Where does one query (the cross) look? Weights of all keys, mean over heads: of the sum of the terms, and of"
    " each term that the arm has. Each map is scaled to its own largest weight: compare shapes, not strengths. "
    "Lowest finished seed."
)
TERMS = ("all", "E1", "E2", "E3", "E4")
ALONE = "one term alone"


def APPLIES(study: StudyResults) -> bool:
    """Whether runs left maps."""
    return any(grids.folders(study, task, "attention_0_all.png") for task in grids.TASKS)


def draw(study: StudyResults, base: Path) -> None:
    """One PNG a task: a row an arm of several terms, then the arms of one term, whose sum is that term."""
    for task in grids.TASKS:
        arms = grids.folders(study, task, "attention_0_all.png")
        rows: dict[str, list[Cell]] = {}
        alone = []
        for arm, folder in arms:
            cells = [Cell(term, folder / f"attention_0_{term}.png") for term in TERMS]
            cells = [cell for cell in cells if cell.picture.is_file()]
            if len(cells) > 2:
                rows[arm.label] = cells
            else:
                alone.append(Cell(f"{arm.label} ({cells[-1].title})", cells[-1].picture))
        for start in range(0, len(alone), len(TERMS)):
            rows[ALONE + " " * (start // len(TERMS))] = alone[start : start + len(TERMS)]
        if rows:
            path = base.with_name(f"{base.name}_{task}.png")
            grids.save(path, rows, 1.8, source(study, [arm for arm, _ in arms]))
