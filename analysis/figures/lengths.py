"""BLEU by the length of the source sentence: ours by quarters of the test set, the paper's by steps of 15 words."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes

from analysis import details, sentences, style
from analysis.arms import ArmSummary
from analysis.figures.marks import look, source
from analysis.reference import Reference
from analysis.results import StudyResults

NAME = "lengths"
CAPTION = (
    "Where in the length of a sentence does an arm gain? BLEU by length of the source sentence. Bars: 95 % "
    "bootstrap over the sentences of this test set, all seeds summed; how models vary with the seed they do not "
    "show."
)
WORDS = re.compile(r"source length (?:(\d+)-(\d+)|>(\d+))")
MOST_ARMS = 3
Drawn = list[tuple[ArmSummary, list[dict]]]


def APPLIES(study: StudyResults) -> bool:
    """Whether two arms of one ablation keep what their sentences score."""
    return bool(chosen(study))


def chosen(study: StudyResults) -> Drawn:
    """The first arms of the first ablation of which two have sentences, with the details of their runs."""
    for ablation in study.ablations:
        arms = [(arm, study.details_of(arm, "sentences")) for arm in study.of(ablation) if arm.n]
        arms = [(arm, runs) for arm, runs in arms if runs]
        if len(arms) > 1:
            return arms[:MOST_ARMS]
    return []


def pooled(runs: Sequence[Mapping]) -> tuple[list[int], np.ndarray]:
    """Lengths and statistics of one test set, those of several seeds summed sentence by sentence."""
    return details.lengths_of(runs[0]), sum(details.statistics_of(run) for run in runs)


def draw(study: StudyResults, base: Path) -> None:
    """Ours, and the published curves beside them."""
    arms, curves = chosen(study), published(study.references)
    with style.figure(1 + bool(curves), width=4.8, legend=-(-(len(arms) + len(curves)) // 3)) as (sheet, axes, key):
        style.footer(sheet, source(study, [arm for arm, _ in arms]))
        _draw_ours(axes[0], arms)
        if curves:
            _draw_published(axes[1], curves, [arm.label for arm, _ in arms])
        style.legend(key, [handle for panel in axes for handle in panel.get_legend_handles_labels()[0]], 3)
        style.save(sheet, base)


def _draw_ours(axes: Axes, arms: Drawn) -> None:
    buckets = sentences.quantile_buckets(details.lengths_of(arms[0][1][0]))
    for index, (arm, runs) in enumerate(arms):
        words, statistics = pooled(runs)
        points = [sentences.bleu(statistics[sentences.inside(words, bucket)]) for bucket in buckets]
        values = np.array([(p.value, p.value - p.low, p.high - p.value) for p in points]).T
        at = np.arange(len(buckets)) + (index - (len(arms) - 1) / 2) * 0.12
        own = look(index)
        label = f"{arm.label} ({arm.n} seed{'s' if arm.n > 1 else ''})"
        axes.errorbar(
            at,
            values[0],
            values[1:],
            ms=5,
            capsize=0,
            linewidth=0.8,
            elinewidth=1.2,
            label=label,
            color=own["colour"],
            marker=own["marker"],
            mfc="white" if arm.n == 1 else None,
        )
    axes.set_xticks(range(len(buckets)), [f"{low} to {high}" for low, high in buckets])
    axes.set_xlabel("source words (quarters of the test set)")
    axes.set_ylabel("BLEU")
    axes.set_title("Ours")


def published(references: Sequence[Reference]) -> dict[str, list[tuple[float, float]]]:
    """{model: [(middle of the bucket, BLEU)]} of figure 7, ascending; the open last bucket stands a step further."""
    curves = {}
    for row in references:
        match = WORDS.fullmatch(row.variant)
        if match and row.table == "Figure 7" and row.metric == "bleu" and not row.unread:
            low, high, above = match.groups()
            middle = (int(low) + int(high)) / 2 if low else int(above) + 8
            curves.setdefault(row.model, []).append((middle, row.value))
    return {model: sorted(points) for model, points in curves.items()}


def _draw_published(axes: Axes, curves: Mapping[str, Sequence[tuple[float, float]]], ours: Sequence[str]) -> None:
    """Each curve in the colour and marker of our arm of that name ("MUSE {3,15}" is a MUSE), if there is one."""
    names = [label.split(" ")[0] for label in ours]
    for index, (model, points) in enumerate(curves.items()):
        own = look(names.index(model) if model in names else len(ours) + index)
        style_of = {"color": own["colour"], "marker": own["marker"], "mfc": "none", "linestyle": ":", "ms": 5}
        axes.plot(*zip(*points, strict=True), label=f"{model}, published", **style_of)
    middles = [x for x, _ in next(iter(curves.values()))]
    ticks = [*(f"{int(x - 7)} to {int(x + 7)}" for x in middles[:-1]), "more"]
    axes.set_xticks(middles, ticks, rotation=30, ha="right")
    axes.set_xlabel("source words (the last two buckets hold 6 and 2 sentences)")
    axes.set_ylabel("BLEU")
    axes.set_title("Published: IWSLT14 De-En, its own scale")
