"""Time of the forms of ACmix's shift, from the timing records of benchmarks.shift_forms."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes

from analysis import style
from analysis.evidence import timing
from analysis.results import StudyResults

NAME = "shift_timing"
CAPTION = (
    "Which form of the shift is fastest? Time of each form, all forms in turns in one process; bars end at the "
    "median, lines are its 95 % interval. It is a property of the machine named below, not of a scale."
)
PARTS = {"shift": "Shift and sum alone", "shift with FC": "Projection, shift and sum"}
FORMS = {
    "tensor": "slices added in place",
    "tensor_stacked": "slices stacked",
    "fixed": "fixed group convolution",
    "learnable": "learnable group convolution",
    "fixed_fused": "fixed, fused with the projection",
    "learnable_fused": "learnable, fused with the projection",
}


def APPLIES(study: StudyResults) -> bool:
    """Whether the forms were timed."""
    return bool(parts_of(timing.load()))


def parts_of(records: list[dict]) -> dict[str, dict[str, dict[str, Mapping]]]:
    """{part: {map size: {form: times}}} of the newest records."""
    parts: dict[str, dict[str, dict[str, Mapping]]] = {}
    for record in records:
        part, _, case = record["name"].partition(", ")
        if part in PARTS and case:
            parts.setdefault(part, {}).setdefault(case, {}).update(record["arms"])
    return parts


def draw(study: StudyResults, base: Path) -> None:
    """A panel with the projection, one without."""
    records = [record for record in timing.load() if record["name"].partition(", ")[0] in PARTS]
    parts = parts_of(records)
    forms = [form for form in FORMS if any(form in times for cases in parts.values() for times in cases.values())]
    with style.figure(len(parts), width=4.8, legend=-(-len(forms) // 3)) as (sheet, axes, key):
        style.footer(sheet, records[-1]["machine"])
        for panel, (part, cases) in zip(axes, parts.items(), strict=True):
            _draw_part(panel, cases, [form for form in forms if any(form in times for times in cases.values())])
            panel.set_title(PARTS[part])
        handles = [
            key.bar([0], [0], color=style.PALETTE[index], label=FORMS[form])
            for index, form in enumerate(FORMS)
            if form in forms
        ]
        style.legend(key, handles, 3)
        style.save(sheet, base)


def _draw_part(axes: Axes, cases: Mapping[str, Mapping[str, Mapping]], forms: list[str]) -> None:
    width = 0.8 / len(forms)
    for place, form in enumerate(forms):
        at = np.arange(len(cases)) + (place - (len(forms) - 1) / 2) * width
        times = [case.get(form) for case in cases.values()]
        heights = [1e3 * row["median_s"] if row else np.nan for row in times]
        axes.bar(at, heights, width=0.9 * width, color=style.PALETTE[list(FORMS).index(form)])
        for x, row in zip(at, times, strict=True):
            if row:
                axes.plot([x, x], [1e3 * row["low"], 1e3 * row["high"]], color="#222222", linewidth=1)
    axes.set_xticks(range(len(cases)), list(cases), rotation=20, ha="right")
    axes.set_xlabel("channels x height x width of the map")
    axes.set_ylabel("milliseconds")
