"""AAConv: what the share of attention channels is worth, a line a position encoding, beside the published curves.

Arms are told by their options, not by their names: `aaconv` with kind augmented and kappa = nu, that name no other
network, and the share 0 is the arm that only says kind plain; a probe's `aaconv` gives the share as nu, 0 among them.
Published: the curves of Figure 4.
"""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path

from matplotlib.axes import Axes

from analysis import reference, style, text
from analysis.arms import ArmSummary
from analysis.figures.marks import Marks, source
from analysis.results import StudyResults

NAME = "fractions"
CAPTION = (
    "How much attention is best? Metric against the share of attention channels, a line a position encoding; the "
    "network without attention starts every line. Lines join means of several seeds only. Published curves on "
    "their own scale."
)
POSITIONS = {"none": "no position", "sine": "2-D sine", "coordconv": "CoordConv", "relative": "relative"}
TABLE = "Figure 4"
WIDTH = 44  # letters of a title's line
FEWEST = 4  # shares: fewer cannot show where between its ends a curve peaks
Curves = dict[str, dict[float, ArmSummary]]


def APPLIES(study: StudyResults) -> bool:
    """Whether one position encoding was run at enough shares."""
    return bool(our_curves(study))


def place_of(options: Mapping) -> tuple[float, str] | None:
    """(share, position encoding) of an arm's options; position "" for the plain network; None for other arms."""
    aaconv = options.get("aaconv")
    if aaconv == {"kind": "plain"}:
        return 0.0, ""
    if aaconv and set(aaconv) == {"nu", "kappa", "position"}:  # of a probe
        return float(aaconv["nu"]), aaconv["position"] if aaconv["nu"] else ""
    if not aaconv or aaconv.get("kind") != "augmented" or "network" in aaconv or "nu" not in aaconv:
        return None
    if aaconv.get("kappa") != aaconv["nu"]:
        return None
    return float(aaconv["nu"]), aaconv["position"]


def our_curves(study: StudyResults) -> dict[str, Curves]:
    """{title: {position: {share: arm}}} of the ablations with one position encoding at enough shares."""
    by_title = {ablation.title: curves_of(study, study.of(ablation)) for ablation in study.ablations}
    return {
        title: curves for title, curves in by_title.items() if any(len(points) >= FEWEST for points in curves.values())
    }


def curves_of(study: StudyResults, arms: Sequence[ArmSummary]) -> Curves:
    """{position: {share: arm}} of the arms of an ablation that were run alike."""
    placed = [(arm, place_of(study.options(arm))) for arm in arms if arm.n]
    sharing = {arm.conditions for arm, place in placed if place and place[0]}
    return _by_position({place: arm for arm, place in placed if place and arm.conditions in sharing})


def published_curves(study: StudyResults) -> dict[str, dict[float, float]]:
    """{position: {share: accuracy}} of Figure 4."""
    values = {}
    for ablation in study.ablations:
        for name, arm in ablation.arms.items():
            place = place_of(arm.set)
            rows = [r for r in reference.of_arm(study.references, ablation, name) if r.table == TABLE]
            rows = [row for row in rows if row.metric == "top1" and not row.unread]
            if place and rows:
                values[place] = rows[0].value
    return _by_position(values)


def _by_position(placed: Mapping[tuple[float, str], object]) -> dict[str, dict]:
    """{position: {share: what stands there}}, ascending; the plain network begins every curve, and is none alone."""
    curves = {p: {s: placed[s, q] for s, q in sorted(placed) if q in (p, "")} for p in POSITIONS}
    return {position: points for position, points in curves.items() if any(points)}


def draw(study: StudyResults, base: Path) -> None:
    """A panel an ablation of ours, and the paper's."""
    ours, theirs = our_curves(study), published_curves(study)
    arms = [arm for curves in ours.values() for points in curves.values() for arm in points.values()]
    with style.figure(len(ours) + bool(theirs), width=4.8, legend=2) as (sheet, axes, key):
        style.footer(sheet, source(study, arms))
        marks = Marks()
        for panel, (title, curves) in zip(axes, ours.items(), strict=False):
            for position, points in curves.items():
                _draw_ours(panel, study, position, points, marks)
            metric = next(iter(next(iter(curves.values())).values())).metric
            _finish(panel, textwrap.fill(title, WIDTH), text.metric_label(metric))
        for position, points in theirs.items():
            colour, marker = _look(position)
            axes[-1].plot([100 * s for s in points], points.values(), marker=marker, color=colour, mfc="none", ls=":")
        if theirs:
            _finish(axes[-1], "Published: ResNet-50, ImageNet", text.metric_label("top1"))
        drawn = {position for curves in (*ours.values(), theirs) for position in curves}
        handles = []
        for position in (p for p in POSITIONS if p in drawn):
            colour, marker = _look(position)
            handles += key.plot([], [], marker=marker, color=colour, label=POSITIONS[position])
        style.legend(key, handles + marks.handles(key), 4)
        style.save(sheet, base)


def _look(position: str) -> tuple[str, str]:
    index = list(POSITIONS).index(position)
    return style.PALETTE[index], style.MARKERS[index]


def _draw_ours(
    axes: Axes, study: StudyResults, position: str, points: Mapping[float, ArmSummary], marks: Marks
) -> None:
    colour, marker = _look(position)
    aside = 1.4 * (list(POSITIONS).index(position) - 1.5)  # so that no mark hides another
    line = []
    for share, arm in points.items():
        at = 100 * share + aside * (share > 0)
        marks.bar(axes, at, arm.low, arm.high, colour)
        marks.seeds(axes, at, study.values(arm).values(), colour)
        marks.point(axes, at, arm.mean, arm.n, colour, marker, size=5)
        if arm.n > 1:
            line.append((at, arm.mean))
    if len(line) > 1:
        axes.plot(*zip(*line, strict=True), color=colour, linewidth=1)


def _finish(axes: Axes, title: str, label: str) -> None:
    axes.set_title(title)
    axes.set_xticks([0, 25, 50, 75, 100])
    axes.set_xlabel("attention channels, ν (% of the layer's)")
    axes.set_ylabel(label)
