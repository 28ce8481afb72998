"""The kernel-size figure: metric against the size of a single convolution kernel, beside the published differences."""

import math
from pathlib import Path

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import NullLocator

from analysis import reference, stats, style, summary, text
from analysis.loading import Ablation
from analysis.reference import Reference
from analysis.summary import ArmSummary

Member = tuple[int, Ablation, ArmSummary]


def single_kernel(ablation: Ablation, arm: str) -> tuple[int, str] | None:
    """(kernel size, series name) of an arm whose `set` asks for one convolution kernel; None for the others."""
    words = ablation.arms[arm].set if arm in ablation.arms else {}
    convolution = words.get("convolution") if isinstance(words, dict) else None
    kernels = convolution.get("kernels") if isinstance(convolution, dict) else None
    if not isinstance(kernels, list) or len(kernels) != 1 or convolution.get("per_layer"):
        return None
    kind = {"standard": "standard convolution"}.get(convolution.get("kind"), "depthwise convolution")
    ffn = {"shared": ", FFN input shared", "none": ", no FFN"}.get(words.get("ffn"), "")
    return int(kernels[0]), f"{kind}, {convolution.get('projection', 'shared')} projection{ffn}"


def without_convolution(ablations: list[Ablation]) -> tuple[Ablation, str] | None:
    """The arm that differs from those with a convolution by having none, and nothing else."""
    for ablation in ablations:
        for name, arm in ablation.arms.items():
            if "convolution" in arm.set and arm.set["convolution"] is None and arm.set.get("parallel", True):
                return ablation, name
    return None


def draw(
    frame: pd.DataFrame,
    finished: list[tuple[Ablation, ArmSummary]],
    ablations: list[Ablation],
    base: Path,
    experiments: Path,
    source: str,
) -> None:
    """Two panels: the metric, with the arms of other kernels as lines; the paired difference to no convolution."""
    series: dict[str, list[Member]] = {}
    for ablation, arm in finished:
        found = single_kernel(ablation, arm.arm)
        if found:
            series.setdefault(found[1], []).append((found[0], ablation, arm))
    none = without_convolution(ablations)
    lines = _lines(finished, none)
    rows = -(-(len(series) + len(lines) + 2) // 2)
    with style.figure(2 if series else 1, width=4.4, height=3.8, legend=rows) as (made, axes, key):
        style.footer(made, f"{source} · bars: 95 % interval, {stats.MIN_SEEDS} seeds or more")
        if series:
            _draw_metric(axes[0], series, lines)
            _draw_differences(axes[1], frame, series, none, reference.load(experiments, ablations[0].study))
            _finish(axes, sorted({size for members in series.values() for size, _, _ in members}))
            style.legend(key, [h for panel in axes for h in panel.get_legend_handles_labels()[0]], 2)
        else:
            style.empty(axes[0], "no finished run with a single kernel")
        style.save(made, base)


def _lines(finished: list, none: tuple[Ablation, str] | None) -> list[ArmSummary]:
    """Arms drawn as lines: no convolution, then those with several kernels and an FFN of their own."""
    plain, several = [], []
    for ablation, arm in finished:
        words = ablation.arms[arm.arm].set if arm.arm in ablation.arms else {}
        if none and (ablation.name, arm.arm) in none[0].names[none[1]]:
            plain.append(arm)
        elif words.get("convolution") and "ffn" not in words and single_kernel(ablation, arm.arm) is None:
            several.append(arm)
    return plain + several


def _draw_metric(axes: Axes, series: dict[str, list[Member]], lines: list[ArmSummary]) -> None:
    for index, (name, members) in enumerate(series.items()):
        members.sort(key=lambda member: member[0])
        sizes, means = [m[0] for m in members], [m[2].mean for m in members]
        bars = [0 if math.isnan(m[2].half_width) else m[2].half_width for m in members]
        axes.errorbar(sizes, means, bars, capsize=2, ms=5, label=name, **_look(index))
    for number, arm in enumerate(lines):
        dashes = style.DASHES[number % len(style.DASHES)]
        colour = style.FRONTIER if number == 0 else style.PALETTE[-number % 7]
        axes.axhline(arm.mean, color=colour, linewidth=1.1, linestyle=dashes, label=arm.label, zorder=1)
    axes.set_ylabel(text.metric_label(next(iter(series.values()))[0][2].metric))
    axes.set_title("Metric")


def _look(index: int) -> dict:
    return {"color": style.PALETTE[index % 7], "marker": style.MARKERS[index % 7]}


def _draw_differences(
    axes: Axes,
    frame: pd.DataFrame,
    series: dict[str, list[Member]],
    none: tuple[Ablation, str] | None,
    references: list,
) -> None:
    """Ours filled, on shared seeds; the paper's hollow, from rows of one table."""
    axes.set_title("Difference to no convolution")
    if none is None:
        style.empty(axes, "no arm without convolution")
        return
    home, plain = none
    metric = next(iter(series.values()))[0][2].metric
    base = _values(frame, home, plain, metric)
    for index, members in enumerate(series.values()):
        ours = [(size, stats.paired_difference(_values(frame, a, arm.arm, metric), base)) for size, a, arm in members]
        ours = [(size, found) for size, found in ours if found.n]
        below = [found.mean - found.low if found.has_interval else 0 for _, found in ours]
        above = [found.high - found.mean if found.has_interval else 0 for _, found in ours]
        if ours:
            means = [found.mean for _, found in ours]
            axes.errorbar([size for size, _ in ours], means, (below, above), capsize=2, ms=5, **_look(index))
        theirs = [(size, _published(references, (a, arm.arm), none, metric)) for size, a, arm in members]
        theirs = [point for point in theirs if not math.isnan(point[1])]
        if theirs:
            axes.plot(*zip(*theirs, strict=True), ms=5, mfc="none", linestyle=":", **_look(index))
    axes.axhline(0, color=style.FRONTIER, linewidth=0.8, zorder=1)
    axes.plot([], [], color="#7F7F7F", marker="o", ms=5, label="ours")
    axes.plot([], [], color="#7F7F7F", marker="o", ms=5, mfc="none", linestyle=":", label="paper, its own scale")
    axes.set_ylabel(f"difference to {home.arms[plain].label}, {text.metric_label(metric)}")


def _values(frame: pd.DataFrame, ablation: Ablation, arm: str, metric: str) -> dict[int, float]:
    rows = summary.arm_rows(frame, ablation.study, ablation.name, arm)
    return summary.per_seed(rows, summary.column_of(metric))


def _published(
    references: list[Reference], arm: tuple[Ablation, str], none: tuple[Ablation, str], metric: str
) -> float:
    """The paper's difference between two arms; NaN unless one table prints both."""
    said, plain = (
        {r.table: r.value for r in reference.of_arm(references, *which) if r.kind == "paper" and r.metric == metric}
        for which in (arm, none)
    )
    return next((said[table] - plain[table] for table in said if table in plain), math.nan)


def _finish(axes: list[Axes], ticks: list[int]) -> None:
    for panel in axes:
        panel.set_xscale("log", base=2)
        panel.set_xticks(ticks, [str(tick) for tick in ticks])
        panel.xaxis.set_minor_locator(NullLocator())
        panel.set_xlabel("kernel size (positions)")
        panel.margins(x=0.1, y=0.12)
