"""Small drawings of the page of the ledger as plain geometry; the template draws them as inline SVG.

Coordinates are pixels of a view box of WIDTH; numbers keep one digit, so that hundreds of drawings stay small.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from matplotlib.ticker import MaxNLocator

from analysis.ledger import SCALES
from plugins.suite.claims import Check, Equal, NoWorse

WIDTH, LEFT, RIGHT = 360, 14, 346
POINTS = 48  # of a curve


@dataclass(frozen=True)
class Lane:
    """One axis: ticks (x, text), reference lines (x, name), an interval (x0, x1) or None, and marks."""

    title: str
    ticks: list[tuple[float, str]]
    lines: list[tuple[float, str]]
    bar: tuple[float, float] | None = None
    ours: float | None = None
    published: float | None = None
    text: str = field(default="")


def lanes(row: Mapping, check: Check | None = None) -> list[Lane]:
    """The forest row of one line of the ledger: ours, and the published effect.

    Counts are of the papers' own networks: both stand on one axis. What was trained at a scale of ours has its own
    axis, because sizes of effects are not compared across scales.
    """
    estimate, effect = row["estimate"], row["published_effect"]
    unit = row["unit"] or row["metric"]
    bounds = _bounds(row, check)
    together = row["level"] not in SCALES
    drawn = []
    if not math.isnan(estimate):
        beside = effect if together else math.nan
        title = f"ours{', published' if not math.isnan(beside) else ''}: {unit}"
        drawn.append(_lane(title, bounds, estimate, row["low"], row["high"], beside))
    if not math.isnan(effect) and (not together or math.isnan(estimate)):
        lines = [(0.0, "0")] if not together else bounds
        drawn.append(_lane("published, its own scale", lines, published=effect))
    return drawn


def _bounds(row: Mapping, check: Check | None) -> list[tuple[float, str]]:
    """Where the verdict turns: the margin of the check, and no effect."""
    margin, lines = row["margin"], []
    if row["level"] in SCALES:
        lines.append((0.0, "0"))
    if not math.isnan(margin) and margin:
        if isinstance(check, Equal):
            return [*lines, (-margin, "−margin"), (margin, "margin")]
        lines.append((-margin, "−margin") if isinstance(check, NoWorse) else (margin, "margin"))
    return lines


def _lane(
    title: str,
    lines: Sequence[tuple[float, str]],
    ours: float = math.nan,
    low: float = math.nan,
    high: float = math.nan,
    published: float = math.nan,
) -> Lane:
    values = [value for value in (ours, low, high, published, *(at for at, _ in lines)) if math.isfinite(value)]
    start, end = min(values), max(values)
    room = 0.08 * (end - start) or 0.1 * abs(end) or 1.0
    start, end = start - room, end + room

    def place(value: float) -> float:
        return round(LEFT + (RIGHT - LEFT) * (value - start) / (end - start), 1)

    ticks = [(place(at), f"{at:.3g}") for at in MaxNLocator(3).tick_values(start, end) if start <= at <= end]
    bar = (place(low), place(high)) if math.isfinite(low) and math.isfinite(high) and high > low else None
    numbers = [f"{value:.4g}" for value in (ours, published) if math.isfinite(value)]
    return Lane(
        title,
        ticks,
        [(place(at), name) for at, name in lines],
        bar,
        place(ours) if math.isfinite(ours) else None,
        place(published) if math.isfinite(published) else None,
        f"{title}; {' and '.join(numbers)}" + (f"; 95 % interval {low:.4g} to {high:.4g}" if bar else ""),
    )


@dataclass(frozen=True)
class Curve:
    """A line of a training: SVG points, and what its ends are."""

    name: str
    points: str
    first: str
    last: str
    updates: str


def curves(curve: Mapping[str, Sequence] | None) -> list[Curve]:
    """One small drawing a quantity of details.curve (update, train_loss, metrics), thinned to POINTS points."""
    if not curve or not curve.get("update"):
        return []
    drawn = []
    for name, values in curve.items():
        pairs = [
            (float(x), float(y))
            for x, y in zip(curve["update"], values, strict=False)
            if isinstance(y, int | float) and math.isfinite(y)
        ]
        if name == "update" or len(pairs) < 2:
            continue
        step = -(-len(pairs) // POINTS)
        kept = [*pairs[:-1:step], pairs[-1]]
        xs, ys = zip(*kept, strict=True)
        width, height = (max(xs) - min(xs)) or 1.0, (max(ys) - min(ys)) or 1.0
        points = " ".join(
            f"{4 + 172 * (x - min(xs)) / width:.1f},{56 - 50 * (y - min(ys)) / height:.1f}" for x, y in kept
        )
        drawn.append(Curve(name, points, f"{ys[0]:.3g}", f"{ys[-1]:.3g}", f"{xs[-1]:g}"))
    return drawn
