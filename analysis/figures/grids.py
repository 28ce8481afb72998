"""Grids of the pictures that runs leave in pictures/ of their folders (`plugins.openmm_ext` writes them)."""

from __future__ import annotations

import io
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from matplotlib import image as bitmaps
from matplotlib import pyplot as plt
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.patches import Patch

from analysis import style
from analysis.arms import ArmSummary
from analysis.results import StudyResults
from plugins.suite.files import read_json, write_bytes

TASKS = ("detection", "segmentation")
WEIGHTS = ("#808080", "#D05030")  # grey picture to red, as the runs paint their maps


@dataclass(frozen=True)
class Cell:
    """One picture with a title above it."""

    title: str
    picture: Path


def folders(study: StudyResults, task: str, needed: str) -> list[tuple[ArmSummary, Path]]:
    """(arm, folder of pictures) of the arms of a task whose lowest finished seed left the picture `needed`."""
    runs = study.folder.parents[2] / "runs" / study.scale
    arms = [(arm, runs / arm.run / f"seed{arm.seeds[0]}" / "pictures") for arm in study.finished(task)]
    return [(arm, folder) for arm, folder in arms if (folder / needed).is_file()]


def save(
    path: Path,
    rows: Mapping[str, Sequence[Cell]],
    side: float,
    line: str,
    classes: Path | None = None,
    weights: bool = False,
) -> None:
    """Rows of cells, each with its label at the left, to a PNG.

    `side`: inches of a picture. `classes`: a pictures.json whose classes and colours make a key below. `weights`: a
    colour bar of attention weights stands below.
    """
    wide = max(len(cells) for cells in rows.values())
    shape = bitmaps.imread(next(iter(rows.values()))[0].picture).shape
    aspect = shape[0] / shape[1]
    size = (side * wide + 0.4, (side * aspect + 0.2) * len(rows) + 0.6)
    with plt.rc_context({"font.family": "DejaVu Sans", "font.size": 8}):
        sheet, axes = plt.subplots(len(rows), wide, squeeze=False, layout="constrained", figsize=size)
        for panel in axes.flat:
            panel.set_axis_off()
            panel.set_box_aspect(aspect)
        for strip, (label, cells) in zip(axes, rows.items(), strict=True):
            look = {"rotation": 90, "ha": "right", "va": "center", "fontsize": 8, "transform": strip[0].transAxes}
            strip[0].text(-0.03, 0.5, textwrap.fill(label, 18), **look)
            for panel, cell in zip(strip, cells, strict=False):
                panel.imshow(bitmaps.imread(cell.picture))
                panel.set_title(cell.title, fontsize=8)
        _key(sheet, classes)
        if weights:
            colours = LinearSegmentedColormap.from_list("weights", WEIGHTS)
            bar = sheet.colorbar(ScalarMappable(cmap=colours), ax=axes, location="bottom", fraction=0.02, aspect=40)
            bar.set_ticks([0, 1], labels=["no weight", "the map's largest weight"])
        style.footer(sheet, line)
        buffer = io.BytesIO()
        sheet.savefig(buffer, format="png", dpi=150, metadata=style.METADATA["png"])
        plt.close(sheet)
    write_bytes(path, buffer.getvalue())


def _key(sheet: plt.Figure, classes: Path | None) -> None:
    """A legend of the classes, where the run says their colours."""
    facts = read_json(classes) if classes and classes.is_file() else {}
    colours = facts.get("colours")
    if colours:
        patches = [
            Patch(color=[c / 255 for c in colour], label=name)
            for name, colour in zip(facts["classes"], colours, strict=True)
        ]
        sheet.legend(handles=patches, loc="outside lower center", ncols=min(8, len(patches)), fontsize=7, frameon=False)
