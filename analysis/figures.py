"""Figures of a study as SVG, PDF and PNG: <out>/<study>/<kind>.{svg,pdf,png}.

tradeoff     metric against multiply-adds, one panel a task (or `panel:` of the ablation file), Pareto frontier drawn
differences  paired differences to each ablation's baseline, ours beside the published ones
kernels      metric against the size of a single convolution kernel, for studies that have such arms
curves       training curves from the run folders, when --runs is given
"""

import json
import math
import re
from collections.abc import Iterable
from pathlib import Path

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator
from matplotlib.transforms import Transform

from analysis import kernels, loading, reference, stats, style, summary, text
from analysis.loading import Ablation, AnalysisError
from analysis.summary import ArmSummary

KINDS = ("tradeoff", "differences", "kernels", "curves")
PUBLISHED = {
    "paper": ("D", style.PALETTE[1], "paper"),
    "official": ("s", style.PALETTE[2], "official code or toolbox"),
}
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


def draw_tradeoff(axes: Axes, frame: pd.DataFrame, ablations: list[Ablation]) -> None:
    """One panel: a point per arm, labelled; baselines as stars; the frontier through the arms that no other beats."""
    pairs = [(a, arm) for a, arm in finished(frame, ablations) if not math.isnan(arm.costs["macs"])]
    axes.set_title(ablations[0].panel[:1].upper() + ablations[0].panel[1:])
    if not pairs:
        style.empty(axes, "no finished run")
        return
    divisor, unit = text.scaled([arm.costs["macs"] for _, arm in pairs], "MACs")
    at = [(arm.costs["macs"] / divisor, arm.mean) for _, arm in pairs]
    baselines = _baseline_runs(frame, ablations)
    series = list(dict.fromkeys(series_name(*pair) for pair in pairs))
    for (ablation, arm), (x, y) in zip(pairs, at, strict=True):
        index = series.index(series_name(ablation, arm))
        star = bool(arm.runs & baselines)
        if not math.isnan(arm.half_width):
            axes.errorbar(x, y, arm.half_width, color=style.PALETTE[index % 7], elinewidth=0.9, capsize=2, zorder=2)
        axes.scatter(
            x, y, s=120 if star else 36, marker="*" if star else style.MARKERS[index % 7], zorder=3,
            color=style.PALETTE[index % 7], edgecolors="white", linewidths=0.7,
        )  # fmt: skip
    best = [at[i] for i in stats.frontier([x for x, _ in at], [y for _, y in at])]
    axes.plot(*zip(*best, strict=True), color=style.FRONTIER, linewidth=1, linestyle=style.DASHES[0], zorder=1)
    axes.set_xlabel(f"multiply-adds of one forward pass ({unit})")
    axes.set_ylabel(text.metric_label(pairs[0][1].metric))
    axes.margins(x=0.14, y=0.14)
    _tradeoff_legend(axes, series)
    bars = [
        ((x, y - arm.half_width), (x, y + arm.half_width))
        for (_, arm), (x, y) in zip(pairs, at, strict=True)
        if not math.isnan(arm.half_width)
    ]
    labels = [(x, y, arm.label) for (_, arm), (x, y) in zip(pairs, at, strict=True)]
    style.place_labels(axes, labels, [*zip(best, best[1:], strict=False), *bars])


def _baseline_runs(frame: pd.DataFrame, ablations: list[Ablation]) -> set[str]:
    """Runs of the baselines of ablations whose baseline is their own: a shared one is the baseline of a part only."""
    own = [a for a in ablations if a.baseline in a.arms and a.arms[a.baseline].same_as is None]
    arms = [arm for a in own for arm in summary.summarise(frame, a) if arm.is_baseline]
    return {run for arm in arms for run in arm.runs}


def _tradeoff_legend(axes: Axes, series: list[str]) -> None:
    handles = [
        axes.scatter([], [], s=36, marker=style.MARKERS[i % 7], color=style.PALETTE[i % 7], label=name)
        for i, name in enumerate(series)
    ]
    handles.append(axes.scatter([], [], s=90, marker="*", color="#7F7F7F", label="baseline"))
    handles += axes.plot([], [], color=style.FRONTIER, linewidth=1, linestyle=style.DASHES[0], label="Pareto frontier")
    axes.legend(handles=handles, loc="upper left", bbox_to_anchor=(0, -0.16), ncols=2, borderaxespad=0)


def tradeoff(frame: pd.DataFrame, ablations: list[Ablation], base: Path) -> None:
    """The accuracy-efficiency figure of a study."""
    panels = {}
    for ablation in ablations:
        if not summary.ablation_rows(frame, ablation).empty:
            panels.setdefault(ablation.panel, []).append(ablation)
    groups = list(panels.values()) or [ablations[:1]]
    with style.figure(len(groups), height=4.4) as (made, axes):
        style.footer(made, f"{source_line(frame, ablations)} · {BARS}{_geometry(frame, ablations)}")
        for panel, group in zip(axes, groups, strict=True):
            draw_tradeoff(panel, frame, group)
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
    lines = sum(len(arms) + 1 for _, arms in groups)
    with style.figure(1, width=6.4, height=1.5 + 0.23 * max(lines, 4)) as (made, (axes,)):
        style.footer(made, f"{source_line(frame, ablations)} · published differences are of their own scale")
        if not groups:
            style.empty(axes, "no finished run")
        else:
            _draw_differences(axes, groups, references)
        style.save(made, base)


def _draw_differences(axes: Axes, groups: list, references: list) -> None:
    ticks, names, drawn, y = [], [], set(), 0
    for ablation, arms in groups:
        header = f"{ablation.title}, against {_baseline_label(ablation)}"
        plain = {"facecolor": "white", "edgecolor": "none", "pad": 1.5}
        axes.text(0.01, -y, header, fontsize=8, fontweight="bold", va="center", transform=_row(axes), bbox=plain)
        y += 1
        for arm in arms:
            ticks.append(-y)
            names.append(arm.label)
            drawn |= _draw_difference(axes, ablation, arm, references, -y)
            y += 1
    axes.axvline(0, color=style.FRONTIER, linewidth=0.8, zorder=1)
    axes.set_yticks(ticks, names)
    axes.set_ylim(-y + 0.3, 0.7)
    axes.grid(axis="y", visible=False)
    axes.tick_params(axis="y", length=0)
    metrics = dict.fromkeys(text.metric_label(arm.metric) for _, arms in groups for arm in arms if arm.metric)
    axes.set_xlabel(f"difference to the baseline, {', '.join(metrics) or 'metric'}")
    axes.margins(x=0.08)
    ours = ("o", style.PALETTE[0], style.PALETTE[0], "ours, 95 % interval of the paired difference")
    theirs = [(marker, "none", colour, name) for kind, (marker, colour, name) in PUBLISHED.items() if kind in drawn]
    handles = [
        axes.scatter([], [], s=30, marker=marker, facecolors=face, edgecolors=edge, label=label)
        for marker, face, edge, label in (ours, *theirs)
    ]
    below = -0.55 / (1.5 + 0.23 * y) - 0.06
    axes.legend(handles=handles, loc="upper left", bbox_to_anchor=(0, below), ncols=3, borderaxespad=0)


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
    with style.figure(1, width=6.4, height=4.4) as (made, (axes,)):
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
            axes.legend(ncols=2)
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
            draw(kind, frame, group, args.out / study / kind, args.experiments, args.runs)
    return 0


def applicable(ablations: list[Ablation], runs: Path | None) -> list[str]:
    """Kinds of figure that make sense for a study."""
    sizes = {found[0] for a in ablations for arm in a.arms if (found := kernels.single_kernel(a, arm))}
    return ["tradeoff", "differences"] + ["kernels"] * (len(sizes) > 1) + ["curves"] * (runs is not None)


def draw(
    kind: str, frame: pd.DataFrame, ablations: list[Ablation], base: Path, experiments: Path, runs: Path | None
) -> None:
    """Draws one kind of figure of one study."""
    if kind == "tradeoff":
        tradeoff(frame, ablations, base)
    elif kind == "differences":
        differences(frame, ablations, base, experiments)
    elif kind == "kernels":
        kernels.draw(frame, finished(frame, ablations), ablations, base, experiments, source_line(frame, ablations))
    elif kind == "curves":
        curves(frame, ablations, base, runs)
    else:
        raise AnalysisError(f"--kind: no figure '{kind}'; there are: {', '.join(KINDS)}")


if __name__ == "__main__":
    loading.cli(main)
