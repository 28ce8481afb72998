"""Time of the forms of ACmix's shift, from shift_timing.json beside the table (benchmarks/shifts.py writes it)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes

from analysis import style
from analysis.results import StudyResults
from plugins.suite.files import read_json

NAME = "shift_timing"
CAPTION = (
    "Which form of the shift is fastest on this machine? Median time of one forward and one training pass, the forms "
    "taking turns in one process. It is a property of the machine, not of a scale."
)
TIMING = "shift_timing.json"
FORMS = {"tensor": "tensor shift", "fixed": "fixed group convolution", "learnable": "learnable group convolution"}
PARTS = ("forward", "training step")


def APPLIES(study: StudyResults) -> bool:
    """Whether the times were measured."""
    return (study.folder / TIMING).is_file()


def draw(study: StudyResults, base: Path) -> None:
    """Bars a map size, forward and training step in two panels."""
    measured = read_json(study.folder / TIMING)
    forms = [form for form in FORMS if any(row["form"] == form for row in measured["rows"])]
    with style.figure(2, width=4.6, legend=1) as (made, axes, key):
        style.footer(made, f"{measured['machine']} · median of {measured['turns']} turns")
        for panel, part in zip(axes, PARTS, strict=True):
            _draw_part(panel, [row for row in measured["rows"] if row["part"] == part], forms)
            panel.set_title(part.capitalize())
        style.legend(key, axes[0].get_legend_handles_labels()[0], len(forms))
        style.save(made, base)


def _draw_part(axes: Axes, rows: list[Mapping], forms: list[str]) -> None:
    cases = list(dict.fromkeys(row["case"] for row in rows))
    times = {(row["case"], row["form"]): row for row in rows}
    for index, form in enumerate(forms):
        at = np.arange(len(cases)) + (index - (len(forms) - 1) / 2) * 0.27
        measured = [times.get((case, form)) for case in cases]
        axes.bar(
            at,
            [row["ms"] if row else np.nan for row in measured],
            width=0.25,
            color=style.PALETTE[index],
            label=FORMS[form],
        )
        for x, row in zip(at, measured, strict=True):
            if row and "low" in row:
                axes.plot([x, x], [row["low"], row["high"]], color="#222222", linewidth=1)
    axes.set_xticks(range(len(cases)), cases, rotation=20, ha="right")
    axes.set_xlabel("channels x height x width of the map")
    axes.set_ylabel("milliseconds")
