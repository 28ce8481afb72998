"""The figure of attention channels: accuracy against their share, one line a position encoding, beside the published.

Arms are told by their words, not by their names: `aaconv` with kind augmented and kappa = nu, that name no other
network; the share 0 is the arm that only says kind plain. Published: the curves of Figure 4.
"""

import math
from operator import itemgetter
from pathlib import Path

from matplotlib.axes import Axes

from analysis import reference, stats, style, text
from analysis.loading import Ablation
from analysis.reference import Reference
from analysis.summary import ArmSummary

KINDS = ("fractions",)
Finished = list[tuple[Ablation, ArmSummary]]
POSITIONS = ("none", "sine", "coordconv", "relative")
TABLE = "Figure 4"


def place_of(ablation: Ablation, arm: str) -> tuple[float, str] | None:
    """(share, position encoding) of an arm; position "" for the plain network; None for arms of other kinds."""
    words = ablation.arms[arm].set.get("aaconv") if arm in ablation.arms else None
    if words == {"kind": "plain"}:
        return 0.0, ""
    if not words or words.get("kind") != "augmented" or "network" in words or words.get("kappa") != words.get("nu"):
        return None
    return float(words["nu"]), words["position"]


def draw(finished: Finished, base: Path, references: list[Reference], source: str) -> None:
    """Two panels, ours and the paper's, to base.{svg,pdf,png}."""
    ours = our_curves(finished)
    published = published_curves(finished, references)
    with style.figure(1 + bool(published), width=4.6, legend=1) as (made, axes, key):
        style.footer(made, f"{source} · bars: 95 % t interval, {stats.MIN_SEEDS} seeds or more")
        if ours:
            _draw_ours(axes[0], ours)
        else:
            style.empty(axes[0], "no finished run with attention channels")
        if published:
            _draw_published(axes[1], published)
        positions = [p for p in POSITIONS if p in ours or p in published]
        handles = [key.plot([], [], label=LABELS[p], **_look(p))[0] for p in positions]
        if handles:
            style.legend(key, handles, len(handles))
        style.save(made, base)


def our_curves(finished: Finished) -> dict[str, list[tuple[float, ArmSummary]]]:
    """{position: [(share, arm)]} of the ablations that give several shares; other recipes have plain networks of their
    own."""
    placed = [(ablation, place_of(ablation, arm.arm), arm) for ablation, arm in finished]
    sharing = {ablation.name for ablation, place, _ in placed if place and place[0]}
    placed = [(place, arm) for ablation, place, arm in placed if place and ablation.name in sharing]
    return _by_position(placed)


def _by_position(placed: list[tuple[tuple[float, str], object]]) -> dict[str, list[tuple[float, object]]]:
    """{position: [(share, what stands there)]}, ascending; the plain network begins every curve, and is none alone."""
    curves = {p: sorted(((s, found) for (s, q), found in placed if q in (p, "")), key=itemgetter(0)) for p in POSITIONS}
    return {p: points for p, points in curves.items() if any(share for share, _ in points)}


LABELS = {"none": "no position", "sine": "2-D sine", "coordconv": "CoordConv", "relative": "relative"}


def _look(position: str) -> dict:
    index = POSITIONS.index(position)
    return {"color": style.PALETTE[index], "marker": style.MARKERS[index], "ms": 5}


def _draw_ours(axes: Axes, curves: dict[str, list[tuple[float, ArmSummary]]]) -> None:
    for position, points in curves.items():
        bars = [0 if math.isnan(arm.half_width) else arm.half_width for _, arm in points]
        aside = 1.2 * (POSITIONS.index(position) - 1.5)  # so that no bar hides another
        axes.errorbar(
            [100 * s + aside * (s > 0) for s, _ in points],
            [arm.mean for _, arm in points],
            bars,
            capsize=2,
            **_look(position),
        )
    metric = next(iter(curves.values()))[0][1].metric
    _finish(axes, "Ours", text.metric_label(metric))


def published_curves(finished: Finished, references: list[Reference]) -> dict[str, list[tuple[float, float]]]:
    """{position: [(share, accuracy)]} of Figure 4, ascending; the plain network begins every curve."""
    found = {}
    for ablation in {id(a): a for a, _ in finished}.values():
        for name in ablation.arms:
            place = place_of(ablation, name)
            rows = [r for r in reference.of_arm(references, ablation, name) if r.table == TABLE and r.metric == "top1"]
            if place and rows and not rows[0].unread:
                found[place] = rows[0].value
    return _by_position(list(found.items()))


def _draw_published(axes: Axes, curves: dict[str, list[tuple[float, float]]]) -> None:
    for position, points in curves.items():
        axes.plot([100 * s for s, _ in points], [v for _, v in points], mfc="none", linestyle=":", **_look(position))
    _finish(axes, "Published: ResNet-50, ImageNet", text.metric_label("top1"))


def _finish(axes: Axes, title: str, label: str) -> None:
    axes.set_title(title)
    axes.set_xticks([0, 25, 50, 75, 100])
    axes.set_xlabel("attention channels, κ = ν (% of the layer's)")
    axes.set_ylabel(label)
