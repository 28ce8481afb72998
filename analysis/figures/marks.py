"""The marks of arms in all figures, and a legend of those that were drawn: a filled mark is a mean over seeds, a hollow
one a single seed, small dots are the seeds themselves, a bar is the 95 % interval of arms.csv."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from analysis import style
from analysis.arms import ArmSummary
from analysis.results import StudyResults

GREY = "#7F7F7F"
SEVERAL, SINGLE, DOTS, BAR = "mean over seeds", "one seed", "single seeds", "95 % interval"
PROXIES = {
    SEVERAL: {"marker": "o", "ms": 6, "linestyle": "", "color": GREY},
    SINGLE: {"marker": "o", "ms": 6, "linestyle": "", "color": GREY, "mfc": "white"},
    DOTS: {"marker": "o", "ms": 3, "linestyle": "", "color": GREY, "alpha": 0.6},
    BAR: {"color": GREY, "linewidth": 1.2},
}


@dataclass
class Marks:
    """Draws marks and remembers which kinds there are."""

    drawn: dict[str, None] = field(default_factory=dict)

    def point(self, axes: Axes, x: float, y: float, n: int, colour: str, marker: str = "o", size: float = 6) -> None:
        """The mean of `n` seeds."""
        kind = SINGLE if n == 1 else SEVERAL
        self.drawn[kind] = None
        face = "white" if n == 1 else colour
        axes.plot(x, y, marker=marker, ms=size, color=colour, mfc=face, linestyle="", zorder=3, clip_on=False)

    def seeds(self, axes: Axes, x: float, values: Iterable[float], colour: str) -> None:
        """The single seeds, where there are several."""
        values = list(values)
        if len(values) > 1:
            self.drawn[DOTS] = None
            axes.plot([x] * len(values), values, "o", ms=3, color=colour, alpha=0.6, mew=0, zorder=2)

    def bar(self, axes: Axes, x: float, low: float, high: float, colour: str, upright: bool = True) -> None:
        """An interval, at `x` if upright, else at that height; nothing for NaN."""
        if low == low and high == high:
            self.drawn[BAR] = None
            at, ends = [x, x], [low, high]
            axes.plot(*((at, ends) if upright else (ends, at)), color=colour, linewidth=1.2, zorder=2)

    def handles(self, key: Axes) -> list[Line2D]:
        """One handle a kind that was drawn, in a fixed order."""
        return [key.plot([], [], label=kind, **look)[0] for kind, look in PROXIES.items() if kind in self.drawn]


def look(index: int) -> Mapping[str, str]:
    """Colour and marker of the arm, or series, at `index`."""
    return {"colour": style.PALETTE[index % len(style.PALETTE)], "marker": style.MARKERS[index % len(style.MARKERS)]}


def source(study: StudyResults, arms: Iterable[ArmSummary]) -> str:
    """Scale, seeds and data of what is drawn, for the footer: "scale mini, 3 seeds an arm, data shapes (72dc5065)"."""
    arms = [arm for arm in arms if arm.n]
    few, many = min((arm.n for arm in arms), default=0), max((arm.n for arm in arms), default=0)
    seeds = f"{few} to {many} seeds" if few != many else f"{many} seed{'s' if many > 1 else ''} an arm"
    data = ", ".join(data_sets(arms))
    stale = " · from runs that this checkout would make anew (stale)" if any(arm.stale for arm in arms) else ""
    return f"scale {study.scale}, {seeds}, data {data}{stale}"


def data_sets(arms: Iterable[ArmSummary]) -> list[str]:
    """The data of arms: "shapes (72dc5065)"; "bright (3 draws)" where seeds have items of their own."""
    draws: dict[str, list[str]] = {}
    for name in sorted({name for arm in arms for name in arm.data.split(", ")}):
        draws.setdefault(name.partition(" (")[0], []).append(name)
    return [names[0] if len(names) == 1 else f"{name} ({len(names)} draws)" for name, names in draws.items()]
