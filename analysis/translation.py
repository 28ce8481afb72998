"""Figures of translation studies that need more than one number a run.

lengths      BLEU by source length, with bootstrap intervals over sentences, beside the published curves
gates        learnt weight of the smallest kernel by layer, beside the published ratio
dispersion   how widely the encoder's self-attention spreads, by layer, for the shortest and the longest sentences
"""

import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes

from analysis import details, sentences, style
from analysis.loading import Ablation
from analysis.reference import Reference
from analysis.summary import ArmSummary

KINDS = ("lengths", "gates", "dispersion")
Finished = list[tuple[Ablation, ArmSummary]]
WORDS = re.compile(r"source length (?:(\d+)-(\d+)|>(\d+))")
LAYER = re.compile(r"layer (\d+)")
MOST_ARMS = 7


def draw(
    kind: str, finished: Finished, found: Mapping[str, dict], base: Path, references: list[Reference], source: str
) -> None:
    """One kind of figure to base.{svg,pdf,png}."""
    {"lengths": lengths, "gates": gates, "dispersion": dispersion}[kind](finished, found, base, references, source)


def seeds_of(arm: ArmSummary, found: Mapping[str, dict]) -> list[dict]:
    """The details of an arm's finished seeds."""
    runs = [f"{run}/seed{seed}" for run in sorted(arm.runs) for seed in arm.seeds]
    return [found[run] for run in runs if run in found]


def pooled(runs: list[dict]) -> tuple[list[int], np.ndarray]:
    """Lengths and statistics of one test set, those of several seeds summed sentence by sentence."""
    return details.lengths_of(runs[0]), sum(details.statistics_of(run) for run in runs)


def _with(finished: Finished, found: Mapping[str, dict], key: str) -> list[tuple[ArmSummary, list[dict]]]:
    """Arms whose runs keep `key`, the first MOST_ARMS; one task's alone, since lengths must be of one test set."""
    arms = [(arm, [run for run in seeds_of(arm, found) if run.get(key)]) for _, arm in finished]
    return [(arm, runs) for arm, runs in arms if runs][:MOST_ARMS]


def lengths(
    finished: Finished, found: Mapping[str, dict], base: Path, references: list[Reference], source: str
) -> None:
    """Ours by quarters of the test set; the paper's by steps of 15 words."""
    arms = _with(finished, found, "sentences")
    published = _published_lengths(references)
    rows = -(-(len(arms) + len(published)) // 3)
    with style.figure(1 + bool(published), width=4.8, legend=rows) as (made, axes, key):
        style.footer(made, f"{source} · bars: 95 % bootstrap over sentences, statistics of all seeds summed")
        if arms:
            _draw_lengths(axes[0], arms)
        else:
            style.empty(axes[0], "no finished run with sentence statistics")
        if published:
            _draw_published_lengths(axes[1], published, [arm.label for arm, _ in arms])
        handles = [h for panel in axes for h in panel.get_legend_handles_labels()[0]]
        if handles:
            style.legend(key, handles, 3)
        style.save(made, base)


def _draw_lengths(axes: Axes, arms: list[tuple[ArmSummary, list[dict]]]) -> None:
    buckets = sentences.quantile_buckets(details.lengths_of(arms[0][1][0]))
    for index, (arm, runs) in enumerate(arms):
        words, statistics = pooled(runs)
        points = [sentences.bleu(statistics[sentences.inside(words, bucket)]) for bucket in buckets]
        values = np.array([(p.value, p.value - p.low, p.high - p.value) for p in points]).T
        at = np.arange(len(buckets)) + (index - (len(arms) - 1) / 2) * 0.6 / max(len(arms), 1)
        look = {"color": style.PALETTE[index % 7], "marker": style.MARKERS[index % 7]}
        axes.errorbar(at, values[0], values[1:], ms=4, capsize=2, linewidth=1, elinewidth=0.8, label=arm.label, **look)
    axes.set_xticks(range(len(buckets)), [f"{low} to {high}" for low, high in buckets])
    axes.set_xlabel("source words (quarters of the test set)")
    axes.set_ylabel("BLEU")
    axes.set_title("Ours")


def _published_lengths(references: list[Reference]) -> dict[str, list[tuple[float, float]]]:
    """{label: [(middle of the bucket, BLEU)]} of figure 7, ascending; the open last bucket stands a step further."""
    curves = {}
    for row in references:
        match = WORDS.fullmatch(row.variant)
        if match and row.table == "Figure 7" and row.metric == "bleu" and not row.unread:
            low, high, above = match.groups()
            middle = (int(low) + int(high)) / 2 if low else int(above) + 8
            curves.setdefault(f"{row.model}, printed (IWSLT14)", []).append((middle, row.value))
    return {label: sorted(points) for label, points in curves.items()}


def _draw_published_lengths(axes: Axes, curves: dict[str, list[tuple[float, float]]], ours: list[str]) -> None:
    """Each curve in the colour of our arm of that name ("MUSE {3,15}" is a MUSE), if there is one."""
    names = [label.split(" ")[0] for label in ours]
    for index, (label, points) in enumerate(curves.items()):
        model = label.split(",")[0]
        colour = style.PALETTE[(names.index(model) if model in names else -1 - index) % 7]
        axes.plot(*zip(*points, strict=True), "o:", ms=4, mfc="none", color=colour, label=label)
    middles = [x for x, _ in next(iter(curves.values()))]
    axes.set_xticks(
        middles, [*(f"{int(x - 7)} to {int(x + 7)}" for x in middles[:-1]), "more"], rotation=30, ha="right"
    )
    axes.set_xlabel("source words (the last two buckets hold 6 and 2 sentences)")
    axes.set_ylabel("BLEU")
    axes.set_title("Published, its own scale")


def gates(finished: Finished, found: Mapping[str, dict], base: Path, references: list[Reference], source: str) -> None:
    """Both stacks of ours; the paper's ratio r of the small kernel to the large one, as r / (1 + r)."""
    arms = [(arm, runs) for arm, runs in _with(finished, found, "gates") if details.encoder_gates(runs[0])]
    published = _published_gates(references)
    with style.figure(2, width=4.4, legend=-(-(2 * len(arms) + 1) // 3)) as (made, axes, key):
        style.footer(made, f"{source} · lines: mean over seeds, dots: single seeds; 0.5 is where the weights start")
        for index, (arm, runs) in enumerate(arms):
            for stack, dashes in (("encoder", "-"), ("decoder", "--")):
                weights = np.array([_layers(run, stack) for run in runs])
                at = np.arange(1, weights.shape[1] + 1)
                colour = style.PALETTE[index % 7]
                axes[0].plot(at, weights.mean(0), dashes, color=colour, label=f"{arm.label}, {stack}")
                axes[0].plot(np.tile(at, len(weights)), weights.ravel(), "o", color=colour, ms=3)
        if arms:
            axes[0].xaxis.get_major_locator().set_params(integer=True)
        else:
            style.empty(axes[0], "no finished run with learnt gates")
        if published:
            axes[1].plot(*zip(*published, strict=True), "o:", mfc="none", ms=4, color=style.PALETTE[1], label="printed")
        else:
            style.empty(axes[1], "nothing published")
        for panel, title in zip(axes, ("Ours", "Published, 12 layers, IWSLT14"), strict=True):
            panel.set_title(title)
            panel.set_xlabel("layer")
            panel.set_ylabel("weight of the smaller kernel")
            if panel.axison:
                panel.axhline(0.5, color=style.FRONTIER, linewidth=0.8, zorder=1)
        style.legend(key, [h for panel in axes for h in panel.get_legend_handles_labels()[0]], 3)
        style.save(made, base)


def _layers(run: Mapping, stack: str) -> list[float]:
    found = {int(name.split(".")[1]): weights[0] for name, weights in run["gates"].items() if name.startswith(stack)}
    return [found[layer] for layer in sorted(found)]


def _published_gates(references: list[Reference]) -> list[tuple[int, float]]:
    points = []
    for row in references:
        match = LAYER.fullmatch(row.variant)
        if match and row.table == "Figure 8" and not row.unread:
            points.append((int(match.group(1)), row.value / (1 + row.value)))
    return sorted(points)


def dispersion(
    finished: Finished, found: Mapping[str, dict], base: Path, references: list[Reference], source: str
) -> None:
    """Entropy and share of the last token by layer; solid the longest sentences, dashed the shortest. Unpublished."""
    arms = _with(finished, found, "dispersion")
    with style.figure(2, width=4.4, legend=-(-2 * len(arms) // 3)) as (made, axes, key):
        style.footer(made, f"{source} · mean over seeds; the paper shows one map and prints no such number")
        for panel, name, label in zip(
            axes,
            ("entropy", "last_token"),
            ("entropy / log(length)", "attention to the last token"),
            strict=True,
        ):
            for index, (arm, runs) in enumerate(arms):
                _draw_dispersion(panel, [run["dispersion"] for run in runs], name, arm.label, style.PALETTE[index % 7])
            panel.set_xlabel("encoder layer")
            panel.set_ylabel(label)
            if arms:
                panel.xaxis.get_major_locator().set_params(integer=True)
            else:
                style.empty(panel, "no finished run with attention maps")
        if arms:
            style.legend(key, axes[0].get_legend_handles_labels()[0], 3)
        style.save(made, base)


def _draw_dispersion(axes: Axes, runs: list[Mapping], name: str, label: str, colour: str) -> None:
    layers = sorted(runs[0]["layers"], key=lambda layer: int(layer.split(".")[1]))
    values = np.array([[run["layers"][layer][name] for layer in layers] for run in runs]).mean(0)
    at = range(1, len(layers) + 1)
    for bucket, line in ((-1, "-"), (0, "--")):
        low, high = runs[0]["source_tokens"][bucket]
        axes.plot(at, values[:, bucket], f"o{line}", ms=3, color=colour, label=f"{label}, {low} to {high} tokens")


def paired_table(arms: list[ArmSummary], found: Mapping[str, dict]) -> list[list[str]]:
    """Rows [arm, seed, BLEU, difference to the baseline] with bootstrap intervals over sentences, seed by seed."""
    base = next((arm for arm in arms if arm.is_baseline), None)
    rows = []
    for arm in arms:
        for seed in arm.seeds:
            ours = _one(arm, seed, found)
            other = _one(base, seed, found) if base else None
            if ours is None:
                continue
            score = sentences.bleu(ours)
            row = [arm.label, str(seed), f"{score.value:.2f} [{score.low:.2f}, {score.high:.2f}]"]
            if arm.is_baseline or other is None:
                rows.append([*row, "—"])
            else:
                gap = sentences.paired(ours, other)
                rows.append([*row, f"{gap.value:+.2f} [{gap.low:+.2f}, {gap.high:+.2f}]"])
    return rows


def _one(arm: ArmSummary, seed: int, found: Mapping[str, dict]) -> np.ndarray | None:
    run = next((f"{run}/seed{seed}" for run in sorted(arm.runs) if f"{run}/seed{seed}" in found), None)
    return details.statistics_of(found[run]) if run and found[run].get("sentences") else None
