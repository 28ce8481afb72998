"""Figures of a study as SVG, PDF and PNG: <out>/<study>/<kind>.{svg,pdf,png}.

tradeoff     metric against multiply-adds, one panel a task (or `panel:` of the ablation file), Pareto frontier drawn
differences  paired differences to each ablation's baseline, ours beside the published ones
kernels      metric against the size of a single convolution kernel, for studies that have such arms
deformable   deformable convolution against E2, for studies that have such ablations
windows      dynamic convolution against E2 by the side of the window, likewise
curves       training curves from the run folders, when --runs is given
lengths, gates, dispersion   of translation studies, from details.json beside the table (analysis/translation.py)
fractions    metric against the share of attention channels, by position encoding (analysis/fractions.py)
path_scales, shift_timing    of ACmix, from files beside the table (analysis/paths.py)
generalisation, capacity   layouts of a network against training loss and training set (analysis/layouts.py)
"""

import argparse
import json
import math
import re
import textwrap
from collections.abc import Iterable
from pathlib import Path

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator
from matplotlib.transforms import Transform

from analysis import (
    details,
    fractions,
    kernels,
    layouts,
    loading,
    operators,
    paths,
    reference,
    stats,
    style,
    summary,
    text,
    translation,
)
from analysis.loading import Ablation, AnalysisError
from analysis.summary import ArmSummary

KINDS = (
    "tradeoff",
    "differences",
    "kernels",
    "deformable",
    "windows",
    "curves",
    *translation.KINDS,
    *fractions.KINDS,
    *paths.KINDS,
    *layouts.KINDS,
)
PUBLISHED = {
    "paper": ("D", style.PALETTE[1], "paper"),
    "official": ("s", style.PALETTE[2], "official code or toolbox"),
}
HEADER_WIDTH = 76  # characters
RING = {"s": 150, "facecolors": "none", "edgecolors": "#222222", "linewidths": 1.1, "zorder": 4}
BARS = f"bars: 95 % t interval, {stats.MIN_SEEDS} seeds or more"


def finished(frame: pd.DataFrame, ablations: Iterable[Ablation]) -> list[tuple[Ablation, ArmSummary]]:
    """Arms with results, each shared run once, under the ablation that owns it when that is among `ablations`."""
    pairs = [(a, arm) for a in ablations for arm in summary.summarise(frame, a) if arm.n]
    pairs.sort(key=lambda pair: pair[0].arms[pair[1].arm].same_as is not None if pair[1].arm in pair[0].arms else False)
    seen, kept = set(), []
    for ablation, arm in pairs:
        if not arm.runs & seen:
            seen |= arm.runs
            kept.append((ablation, arm))
    return kept


def series_name(ablation: Ablation, arm: ArmSummary) -> str:
    """Arms of one colour: those of an ablation, apart by what follows "+" in their name ("0010+dcn")."""
    suffix = arm.arm.partition("+")[2]
    return f"{ablation.title}, + {suffix}" if suffix else ablation.title


def draw_tradeoff(
    axes: Axes, found: list[tuple[Ablation, ArmSummary]], ablations: list[Ablation], series: list[str]
) -> None:
    """One panel: a labelled point per arm, the baseline as a star, the frontier through the arms that none beats."""
    pairs = [(a, arm) for a, arm in found if not math.isnan(arm.costs["macs"])]
    axes.set_title(ablations[0].panel[:1].upper() + ablations[0].panel[1:])
    if not pairs:
        style.empty(axes, "no finished run")
        return
    divisor, unit = text.scaled([arm.costs["macs"] for _, arm in pairs], "MACs")
    at = [(arm.costs["macs"] / divisor, arm.mean) for _, arm in pairs]
    baseline = main_baseline(ablations)
    bars = []
    for (ablation, arm), (x, y) in zip(pairs, at, strict=True):
        look = _look(series.index(series_name(ablation, arm)), ablation.home(arm.arm) == baseline)
        axes.scatter(x, y, zorder=3, edgecolors="white", linewidths=0.7, **look)
        if arm.arm == ablation.recommended:
            axes.scatter(x, y, **RING)
        if not math.isnan(arm.half_width):
            axes.errorbar(x, y, arm.half_width, color=look["color"], elinewidth=0.9, capsize=2, zorder=2)
            bars.append(((x, y - arm.half_width), (x, y + arm.half_width)))
    best = [at[i] for i in stats.frontier([x for x, _ in at], [y for _, y in at])]
    axes.plot(*zip(*best, strict=True), color=style.FRONTIER, linewidth=1, linestyle=style.DASHES[0], zorder=1)
    axes.set_xlabel(f"multiply-adds of one forward pass ({unit})")
    axes.set_ylabel(text.metric_label(pairs[0][1].metric))
    axes.margins(x=0.14, y=0.14)
    labels = [(x, y, arm.label) for (_, arm), (x, y) in zip(pairs, at, strict=True)]
    style.place_labels(axes, labels, [*zip(best, best[1:], strict=False), *bars])


def main_baseline(ablations: list[Ablation]) -> tuple[str, str]:
    """(ablation, arm) that most of these ablations, the first of them in a tie, take as their baseline."""
    homes = [a.home(a.baseline) for a in ablations if a.baseline in a.arms]
    return max(dict.fromkeys(homes), key=homes.count, default=("", ""))


def _look(index: int, is_baseline: bool) -> dict:
    colour = style.PALETTE[index % 7]
    return {"s": 130, "marker": "*", "color": colour} if is_baseline else {
        "s": 36, "marker": style.MARKERS[(index + index // 7) % 7], "color": colour
    }  # fmt: skip


def tradeoff(frame: pd.DataFrame, ablations: list[Ablation], base: Path) -> None:
    """The accuracy-efficiency figure of a study."""
    panels = {}
    for ablation in ablations:
        if not summary.ablation_rows(frame, ablation).empty:
            panels.setdefault(ablation.panel, []).append(ablation)
    groups = list(panels.values()) or [ablations[:1]]
    found = [finished(frame, group) for group in groups]
    everything = [pair for pairs in found for pair in pairs]
    series = list(dict.fromkeys(series_name(*pair) for pair in everything))
    width = 5.4 if len(groups) > 1 else 6.4
    columns = max(1, int(width * style.columns(len(groups)) / (0.5 + 0.065 * max(map(len, series), default=1))))
    ringed = any(arm.arm == ablation.recommended for ablation, arm in everything)
    with style.figure(len(groups), width, 4.2, legend=-(-(len(series) + 2 + ringed) // columns)) as (made, axes, key):
        style.footer(made, f"{source_line(frame, ablations)} · {BARS}{_geometry(frame, ablations)}")
        for panel, pairs, group in zip(axes, found, groups, strict=True):
            draw_tradeoff(panel, pairs, group, series)
        handles = [key.scatter([], [], label=name, **_look(index, False)) for index, name in enumerate(series)]
        handles.append(key.scatter([], [], s=100, marker="*", color="#7F7F7F", label="baseline"))
        handles += [key.scatter([], [], label="recommended by the paper", **RING)] * ringed
        handles += key.plot([], [], color=style.FRONTIER, lw=1, linestyle=style.DASHES[0], label="Pareto frontier")
        style.legend(key, handles, columns)
        style.save(made, base)


def source_line(frame: pd.DataFrame, ablations: list[Ablation]) -> str:
    return summary.provenance_line(_rows(frame, ablations))


def _rows(frame: pd.DataFrame, ablations: list[Ablation]) -> pd.DataFrame:
    return frame[frame["study"].isin({a.study for a in ablations})]


def _geometry(frame: pd.DataFrame, ablations: list[Ablation]) -> str:
    rows = _rows(frame, ablations)
    inputs = sorted(set(rows.get("cost.macs_input", pd.Series(dtype=str)).dropna().astype(str)) - {""})
    plain = [" ".join(re.sub(r'[{}"\[\]:]', "", found).split()) for found in inputs]
    return f" · MACs at {'; '.join(plain)}" if plain else ""


def differences(frame: pd.DataFrame, ablations: list[Ablation], base: Path, experiments: Path) -> None:
    """Differences to the baseline, one row an arm: ours with interval, the published ones as hollow marks."""
    references = reference.load(experiments, ablations[0].study)
    groups = [(a, [arm for arm in summary.summarise(frame, a) if not arm.is_baseline]) for a in ablations]
    groups = [(a, arms) for a, arms in groups if arms]
    lines = sum(len(arms) + 2 for _, arms in groups)
    with style.figure(1, width=6.4, height=1.1 + 0.22 * max(lines, 4), legend=1) as (made, (axes,), key):
        style.footer(made, f"{source_line(frame, ablations)} · published differences are of their own scale")
        if groups:
            drawn = _draw_differences(axes, groups, references)
            ours = ("o", style.PALETTE[0], style.PALETTE[0], "ours, 95 % interval of the paired difference")
            theirs = [(mark, "none", colour, name) for kind, (mark, colour, name) in PUBLISHED.items() if kind in drawn]
            handles = [
                key.scatter([], [], s=30, marker=mark, facecolors=face, edgecolors=edge, label=name)
                for mark, face, edge, name in (ours, *theirs)
            ]
            style.legend(key, handles, len(handles))
        else:
            style.empty(axes, "no finished run")
        style.save(made, base)


def _draw_differences(axes: Axes, groups: list, references: list) -> set[str]:
    """Draws all rows below the headers of their ablations; returns the kinds of published differences among them."""
    ticks, names, drawn, y = [], [], set(), 0.0
    for ablation, arms in groups:
        header = textwrap.wrap(f"{ablation.title} (against {_baseline_label(ablation)})", HEADER_WIDTH)
        extra = 0.7 * (len(header) - 1)
        look = {"fontsize": 7.5, "fontweight": "bold", "va": "center", "transform": _row(axes)}
        axes.text(0.005, -y - extra / 2, "\n".join(header), **look).set_in_layout(False)
        axes.axhspan(-y - extra - 0.5, -y + 0.5, color="#F2F2F2", linewidth=0, zorder=0)
        y += extra
        for arm in arms:
            y += 1
            ticks.append(-y)
            names.append(arm.label)
            drawn |= _draw_difference(axes, ablation, arm, references, -y)
        y += 1.4
    axes.axvline(0, color=style.FRONTIER, linewidth=0.8, zorder=1)
    axes.set_yticks(ticks, names)
    axes.set_ylim(-y + 0.7, 0.6)
    axes.grid(axis="y", visible=False)
    axes.spines["left"].set_visible(False)
    axes.tick_params(axis="y", length=0)
    metrics = dict.fromkeys(text.metric_label(arm.metric) for _, arms in groups for arm in arms if arm.metric)
    axes.set_xlabel(f"difference to the baseline, {', '.join(metrics) or 'metric'}")
    axes.margins(x=0.08)
    return drawn


def _baseline_label(ablation: Ablation) -> str:
    return ablation.arms[ablation.baseline].label if ablation.baseline in ablation.arms else ablation.baseline


def _draw_difference(axes: Axes, ablation: Ablation, arm: ArmSummary, references: list, y: float) -> set[str]:
    """Draws one row; returns the kinds of published differences in it."""
    gap = arm.difference
    if gap.n:
        if gap.has_interval:
            axes.plot([gap.low, gap.high], [y, y], color=style.PALETTE[0], linewidth=1.4, zorder=2)
        axes.scatter(gap.mean, y, s=26, color=style.PALETTE[0], zorder=3)
    else:
        why = arm.gap if arm.n == 0 else "no seed shared with the baseline"
        axes.text(0.99, y, why, fontsize=7, color="#777777", ha="right", va="center", transform=_row(axes))
    drawn = set()
    for kind, (marker, colour, _) in PUBLISHED.items() if arm.metric else ():
        for found in reference.published(references, ablation, arm.arm, arm.metric, kind):
            if not math.isnan(found.difference):
                axes.scatter(found.difference, y, s=28, marker=marker, facecolors="none", edgecolors=colour, zorder=4)
                drawn.add(kind)
    return drawn


def _row(axes: Axes) -> Transform:
    """x in 0..1 across the axes, y in data units."""
    return axes.get_yaxis_transform()


def read_curve(path: Path, key: str) -> list[tuple[float, float]]:
    """(update, value) of the lines of a curves.jsonl that hold `key`; lines that cannot be read are passed over."""
    points = []
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return points
    for line in lines:
        try:
            value = json.loads(line)
            points.append((float(value["update"]), float(value[key])))
        except (ValueError, KeyError, TypeError, RecursionError):
            continue
    return points


def curves(frame: pd.DataFrame, ablations: list[Ablation], base: Path, runs: Path | None) -> None:
    """Training loss against updates of each arm's lowest finished seed, from the run folders below `runs`."""
    pairs = finished(frame, ablations)
    drawn = 0
    with style.figure(1, width=6.4, height=4.4, legend=-(-len(pairs) // 4)) as (made, (axes,), key):
        style.footer(made, f"{source_line(frame, ablations)} · lowest finished seed of each arm")
        for _, arm in pairs:
            folder = runs / sorted(arm.runs)[0] / f"seed{arm.seeds[0]}" if runs else None
            points = read_curve(folder / "curves.jsonl", "train_loss") if folder else []
            if points:
                colour, dashes = style.PALETTE[drawn % 7], ("-", *style.DASHES)[drawn // 7 % 4]
                axes.plot(*zip(*points, strict=True), color=colour, linestyle=dashes, linewidth=1, label=arm.label)
                drawn += 1
        if drawn:
            axes.set_xlabel("update")
            axes.set_ylabel("training loss")
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
            style.legend(key, axes.get_legend_handles_labels()[0], 4)
        else:
            style.empty(axes, "no training curves")
        style.save(made, base)


def main(argv: list[str] | None = None) -> int:
    parser = loading.parser("Figures of a study as SVG, PDF and PNG: <out>/<study>/<kind>.{svg,pdf,png}.")
    parser.add_argument("--study", help="this study only")
    parser.add_argument(
        "--kind", choices=KINDS, action="append", help="this kind only; may be repeated (default: all that apply)"
    )
    parser.add_argument("--runs", type=Path, help="folder results/runs/<scale> for training curves")
    parser.add_argument("--out", type=Path, required=True, help="folder of the figures")
    args = parser.parse_args(argv)
    frame = loading.read_runs(args.runs_csv)
    ablations = loading.load_ablations(args.experiments)
    for study in dict.fromkeys(a.study for a in summary.select(ablations, args.study)):
        group = [a for a in ablations.values() if a.study == study]
        for kind in args.kind or applicable(group, args.runs):
            draw(kind, frame, group, args.out / study / kind, args)
    return 0


def applicable(ablations: list[Ablation], runs: Path | None) -> list[str]:
    """Kinds of figure that make sense for a study."""
    sizes = {found[0] for a in ablations for arm in a.arms if (found := kernels.single_kernel(a, arm))}
    kinds = {
        "kernels": len(sizes) > 1,
        "deformable": operators.deformable(ablations),
        "windows": operators.with_windows(ablations),
        "curves": runs is not None,
    }
    return ["tradeoff", "differences", *(kind for kind, wanted in kinds.items() if wanted)]


def draw(kind: str, frame: pd.DataFrame, ablations: list[Ablation], base: Path, args: argparse.Namespace) -> None:
    """Draws one kind of figure of one study; `args` as `main` has them."""
    study, line = ablations[0].study, source_line(frame, ablations)
    if kind == "tradeoff":
        tradeoff(frame, ablations, base)
    elif kind == "differences":
        differences(frame, ablations, base, args.experiments)
    elif kind == "kernels":
        kernels.draw(frame, finished(frame, ablations), ablations, base, args.experiments, line)
    elif kind in translation.KINDS:
        spoken = [a for a in ablations if a.task == "translation"]
        pairs = [pair for pair in finished(frame, ablations) if pair[0].task == "translation"]
        references = reference.load(args.experiments, study)
        translation.draw(kind, pairs, details.beside(args.runs_csv), base, references, source_line(frame, spoken))
    elif kind in fractions.KINDS:
        fractions.draw(finished(frame, ablations), base, reference.load(args.experiments, study), line)
    elif kind in paths.KINDS:
        paths.draw(kind, finished(frame, ablations), args.runs_csv, base, line)
    elif kind in layouts.KINDS:
        layouts.draw(kind, frame, ablations, args.runs_csv, base, line)
    elif kind in ("deformable", "windows"):
        operators.draw(kind, frame, ablations, base, line)
    elif kind == "curves":
        curves(frame, ablations, base, args.runs)
    else:
        raise AnalysisError(f"--kind: no figure '{kind}'; there are: {', '.join(KINDS)}")


if __name__ == "__main__":
    loading.cli(main)
