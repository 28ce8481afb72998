"""Figures of the ACmix study that need more than one number a run.

path_scales    |alpha| (attention) and |beta| (convolution) by depth, learnt, from details.json beside the table
shift_timing   time of the forms of the shift, from shift_timing.json beside the table (benchmarks/shifts.py)
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from analysis import details, loading, style
from analysis.loading import Ablation
from analysis.summary import ArmSummary

KINDS = ("path_scales", "shift_timing")
Finished = list[tuple[Ablation, ArmSummary]]
TIMING = "shift_timing.json"
MOST_ARMS = 4
FORMS = {"tensor": "tensor shift", "fixed": "fixed group convolution", "learnable": "learnable group convolution"}


def draw(kind: str, finished: Finished, runs_csv: Path, base: Path, source: str) -> None:
    """One kind of figure to base.{svg,pdf,png}, from the files beside runs.csv."""
    if kind == "path_scales":
        path_scales(finished, details.beside(runs_csv), base, source)
    else:
        shift_timing(timings(runs_csv), base)


def path_scales(finished: Finished, found: Mapping[str, dict], base: Path, source: str) -> None:
    """One panel an arm, two lines: means over seeds, single seeds as dots."""
    arms = []
    for _, arm in finished:
        runs = [f"{run}/seed{seed}" for run in sorted(arm.runs) for seed in arm.seeds]
        learnt = [scales for run in runs if len(scales := details.path_scales(found.get(run, {})))]
        if learnt:
            arms.append((arm, np.stack(learnt)))
    arms = arms[:MOST_ARMS]
    with style.figure(max(1, len(arms)), width=3.6, height=3.4, legend=1) as (made, axes, key):
        style.footer(made, f"{source} · lines: mean over seeds, dots: single seeds; dashed: where both start")
        for panel, (arm, scales) in zip(axes, arms, strict=False):
            at = np.arange(1, scales.shape[1] + 1)
            for index, (name, look) in enumerate((("|α|, attention", "o-"), ("|β|, convolution", "s-"))):
                colour = style.PALETTE[index]
                panel.plot(at, scales[:, :, index].mean(0), look, ms=4, color=colour, label=name)
                panel.plot(np.tile(at, len(scales)), scales[:, :, index].ravel(), look[0], ms=2, color=colour)
            panel.axhline(0.5, color=style.FRONTIER, linewidth=0.8, linestyle=style.DASHES[0], zorder=1)
            panel.set_title(arm.label)
            panel.set_xlabel("layer, first to last")
            panel.set_ylabel("learnt scale")
            panel.xaxis.get_major_locator().set_params(integer=True)
        if arms:
            style.legend(key, axes[0].get_legend_handles_labels()[0], 2)
        else:
            style.empty(axes[0], "no finished run with learnt scales")
        style.save(made, base)


def timings(runs_csv: Path) -> dict | None:
    """What benchmarks/shifts.py measured for this table; None where it was not run."""
    path = runs_csv.with_name(TIMING)
    return loading.read_json(path) if path.is_file() else None


def shift_timing(measured: Mapping | None, base: Path) -> None:
    """Bars a map size: milliseconds of each form, forward and training step in two panels."""
    with style.figure(2 if measured else 1, width=4.6, legend=1) as (made, axes, key):
        if not measured:
            style.empty(axes[0], "not measured: snakemake time_shifts")
            style.save(made, base)
            return
        style.footer(made, f"{measured['machine']} · median of {measured['turns']} turns, the forms taking turns")
        cases = list(dict.fromkeys(row["case"] for row in measured["rows"]))
        forms = [form for form in FORMS if any(row["form"] == form for row in measured["rows"])]
        for panel, part in zip(axes, ("forward", "training step"), strict=True):
            times = {(r["case"], r["form"]): r["ms"] for r in measured["rows"] if r["part"] == part}
            for index, form in enumerate(forms):
                at = np.arange(len(cases)) + (index - (len(forms) - 1) / 2) * 0.27
                heights = [times.get((case, form), np.nan) for case in cases]
                panel.bar(at, heights, width=0.25, color=style.PALETTE[index], label=FORMS[form])
            panel.set_xticks(range(len(cases)), cases, rotation=20, ha="right")
            panel.set_title(part.capitalize())
            panel.set_ylabel("milliseconds")
        style.legend(key, axes[0].get_legend_handles_labels()[0], len(forms))
        style.save(made, base)
