"""Forest figures of the ledger: every part that was decided, ours beside the published effect, in panels by level.

Parts of unlike units share no axis. What was counted, timed or printed is shown as a ratio to the bound that its claim
sets, in the claim's favour: right of 1 the claim holds, left of 1 it does not, and the published quantity stands on the
same axis, as it is of the same network. Identities are errors as a share of what rounding allows. What was trained is
shown by scale: differences in points of the metric, positive in the claim's favour; shares of an effect and quantities
with a bound as their distance from that bound. Published effects of trained parts have an axis of their own.
"""

from __future__ import annotations

import hashlib
import io
import math
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullFormatter

from analysis import headline, ledger, style
from analysis.commands.report import Figure
from analysis.evidence import SUPPORTED
from analysis.evidence.scored import is_percent
from plugins.suite.claims import (
    COMMON_LOSS,
    Check,
    Claims,
    Counts,
    Equal,
    Identity,
    Layers,
    NoWorse,
    Retains,
    Spread,
    Value,
)
from plugins.suite.errors import UserError
from plugins.suite.files import write_bytes

NAME = "forest"
CAPTION = (
    "Every part that was decided. Filled: ours, with its 95 % interval where it has one; circles hold, squares do not; "
    "hollow diamonds: the published effect. What was counted or timed is a ratio to the bound of its claim, right of 1 "
    "in the claim's favour; what was trained is a difference in the claim's favour, published ones have their own axis."
)
OURS, AGAINST, PUBLISHED = style.PALETTE[0], style.PALETTE[1], style.FRONTIER
GAP = 0.8  # lines between claims
COUNTED = ("exact", "timing", "printed")
TITLES = {
    "exact": "Counted at the papers' sizes",
    "identities": "Identities",
    "timing": "Timed",
    "printed": "Printed",
    "mini": "Trained at mini",
    "small": "Trained at small",
    "paper": "Trained at paper",
}
KINDS = {"share": ", shares kept", "other": ", other quantities"}
AXES = {
    "exact": "ratio to the bound of the claim (1: just at it)",
    "timing": "ratio to the bound of the claim (1: just at it)",
    "printed": "ratio to the bound of the claim (1: just at it)",
    "identities": "error as a share of what rounding allows",
    "points": "difference in the claim's favour (points)",
    "share": "share of the reference effect, less the bound",
    "other": "distance from the bound, in half-widths of the interval",
}


@dataclass(frozen=True)
class Mark:
    """One decided part on the axis of its panel; NaN where there is nothing to draw."""

    row: Mapping
    value: float
    low: float
    high: float
    published: float
    margins: tuple[float, ...] = ()


@dataclass(frozen=True)
class Panel:
    """Marks of one level and one kind of quantity."""

    level: str
    kind: str
    marks: list[Mark]

    @property
    def together(self) -> bool:
        """Whether ours and the published effect are the same quantity, and share the axis."""
        return self.level in (*COUNTED, "identities")

    @property
    def title(self) -> str:
        """What the panel shows, counted from the ledger."""
        verdicts = headline.verdicts(pd.DataFrame([mark.row for mark in self.marks]))
        return f"{TITLES[self.level]}{KINDS.get(self.kind, '')}\n{headline.numbers(verdicts)}"


# --- what is drawn ----------------------------------------------------------------------------------------------------
def panels(table: pd.DataFrame, known: Mapping[str, Claims]) -> list[Panel]:
    """The decided rows of a ledger by level and kind. UserError for a row whose part the claims do not have."""
    checks = {
        (study, claim.id, part.id): part.check for study, content in known.items() for claim, part in content.parts()
    }
    chosen: dict[tuple[str, str], list[Mark]] = {}
    for row in ledger.decided(table).to_dict("records"):
        check = checks.get((row["study"], row["claim"], row["part"]))
        if check is None:
            name = f"{row['study']} {row['claim']}{row['part']}"
            raise UserError(
                f"ledger.csv: {name} is no part of claims.yaml; write it again with python -m analysis ledger"
            )
        level, kind = _place(row, check)
        chosen.setdefault((level, kind), []).append(_mark(row, check, kind))
    order = [(level, kind) for level in TITLES for kind in AXES if (level, kind) in chosen]
    return [Panel(level, kind, chosen[level, kind]) for level, kind in order]


def _place(row: Mapping, check: Check) -> tuple[str, str]:
    """(level, kind) of the panel of a row."""
    if isinstance(check, Identity):
        return "identities", "identities"
    if row["level"] in COUNTED:
        return row["level"], row["level"]
    if isinstance(check, Retains):
        return row["level"], "share"
    points = is_percent(row["metric"]) or row["metric"] == COMMON_LOSS
    return row["level"], "points" if points and not isinstance(check, Value | Spread | Layers) else "other"


def _mark(row: Mapping, check: Check, kind: str) -> Mark:
    values = [row[name] for name in ("estimate", "low", "high", "published_effect")]
    if kind in COUNTED:
        value, low, high, published = (inside(check, value) for value in values)
        return Mark(row, value, min(low, high), max(low, high), math.nan if kind == "printed" else published)
    if kind == "identities":
        return Mark(row, row["estimate"] / row["margin"], math.nan, math.nan, math.nan)
    if kind == "share":
        return Mark(row, *(value - check.at_least for value in values))
    if kind == "points":
        margin = row["margin"]
        margins = (
            (-margin, margin) if isinstance(check, Equal) else (-margin,) if isinstance(check, NoWorse) else (margin,)
        )
        return Mark(row, *values, () if math.isnan(margin) or not margin else margins)
    return _in_half_widths(row, check)


def _in_half_widths(row: Mapping, check: Check) -> Mark:
    """Distance of the estimate from what the part turns on, over half of its interval; positive in favour."""
    bounds = [getattr(check, name, None) for name in ("above", "below")]
    bound = next((value for value in bounds if value is not None), 0.0)
    half = (row["high"] - row["low"]) / 2
    falls = isinstance(check, Spread) or (isinstance(check, Value) and check.above is None)
    sign = -1.0 if falls else 1.0
    ends = sorted(sign * (row[name] - bound) / half for name in ("low", "high")) if half > 0 else (math.nan, math.nan)
    return Mark(row, sign * (row["estimate"] - bound) / half if half > 0 else math.nan, *ends, math.nan)


def inside(check: Check, value: float) -> float:
    """A counted, timed or printed quantity as a ratio to the bound of its check, above 1 where the bound is kept."""
    if math.isnan(value):
        return math.nan
    if isinstance(check, Counts):
        return value if check.order == "rises" else 1 / value
    ratios = []
    if getattr(check, "at_least", None) is not None:
        ratios.append(value / check.at_least)
    if getattr(check, "at_most", None) is not None:
        ratios.append(check.at_most / value)
    return min(ratios)


# --- drawing ----------------------------------------------------------------------------------------------------------
def draw(table: pd.DataFrame, known: Mapping[str, Claims], base: Path, study: str = "") -> bool:
    """base.png (for one study: base_<study>.png, if any of its parts was decided); returns whether it was drawn.

    All studies: a thin line a part, named by claim. One study: a line a part, with what it says. The PNG holds the
    digest of the rows that it shows (see `digest_of`).
    """
    shown = table[table["study"] == study] if study else table
    path = base.with_name(f"{base.name}_{study}.png" if study else f"{base.name}.png")
    chosen = panels(shown, known)
    if not chosen and study:
        path.unlink(missing_ok=True)
        return False
    columns = [chosen] if study else _balanced(chosen)
    heights = [[_height(panel, bool(study)) for panel in column] or [0.6] for column in columns]
    with style.sheet(width=9.2, columns=heights, legend=1) as (sheet, axes, key):
        sheet.suptitle(_finding(shown, study), x=0.01, ha="left", fontsize=11, fontweight="bold")
        if not chosen:
            _join(axes[0][0])
            style.empty(axes[0][0][0], "Nothing is decided yet.")
        for pairs, column in zip(axes, columns, strict=True):
            for pair, panel in zip(pairs, column, strict=False):
                _draw_panel(pair, panel, bool(study))
        handles = _handles(key, chosen)
        if handles:
            style.legend(key, handles, len(handles))
        style.footer(sheet, f"{headline.summary(shown)} Not shown: what is undecided or not tested.")
        buffer = io.BytesIO()
        metadata = {**style.METADATA["png"], "Source": digest_of(shown)}
        sheet.savefig(buffer, format="png", dpi=150, metadata=metadata)
    write_bytes(path, buffer.getvalue())
    return True


def digest_of(table: pd.DataFrame) -> str:
    """SHA-256 of the decided rows, by which a test holds a committed picture against the committed ledger."""
    columns = ["study", "claim", "part", "level", "verdict", "estimate", "low", "high", "margin", "published_effect"]
    return hashlib.sha256(ledger.decided(table)[columns].to_csv(index=False).encode()).hexdigest()


def _finding(table: pd.DataFrame, study: str) -> str:
    """The title: what came out of what was decided."""
    decided = ledger.decided(table)
    held = int((decided["verdict"] == SUPPORTED).sum())
    where = f"{study}: " if study else ""
    return f"{where}{held} of {len(decided)} verdicts are in the claim's favour, {len(decided) - held} against it"


def _height(panel: Panel, named: bool) -> float:
    """Inches of a panel with its title and axis."""
    lines = len(panel.marks) + (0 if named else GAP * len(_groups(panel)))
    return 0.85 + (0.2 if named else 0.065) * lines


def _balanced(chosen: Sequence[Panel]) -> list[list[Panel]]:
    """The panels in two columns, in their order, of heights as equal as can be."""
    heights = [_height(panel, False) for panel in chosen]
    cuts = range(1, len(chosen))
    best = min(cuts, key=lambda cut: max(sum(heights[:cut]), sum(heights[cut:])), default=0)
    return [list(chosen[:best]), list(chosen[best:])] if best else [list(chosen)]


def _groups(panel: Panel) -> dict[tuple[str, int], list[Mark]]:
    """The marks of each claim."""
    groups: dict[tuple[str, int], list[Mark]] = {}
    for mark in panel.marks:
        groups.setdefault((mark.row["study"], mark.row["claim"]), []).append(mark)
    return groups


def _draw_panel(pair: Sequence[Axes], panel: Panel, named: bool) -> None:
    ours, theirs = pair
    if panel.together or all(math.isnan(mark.published) for mark in panel.marks):
        _join(pair)
        theirs = ours
    ticks, names, y = [], [], 0.0
    for (study, claim), marks in _groups(panel).items():
        top = y
        for mark in marks:
            y -= 1
            _draw_mark(ours, theirs, mark, y, 5 if named else 3.2)
            if named:
                ticks.append(y)
                says = f"{claim}{mark.row['part']}. {mark.row['says']}"
                names.append(textwrap.shorten(says, 78, placeholder=" …"))
        if not named:
            ticks.append((top + y - 1) / 2)
            names.append(f"{study} {claim}")
            y -= GAP
    for axes in dict.fromkeys((ours, theirs)):
        axes.set_ylim(y - 0.4, 0.2)
        axes.grid(axis="y", visible=False)
        axes.spines["left"].set_visible(False)
        axes.tick_params(axis="y", length=0, labelsize=7 if named else 6)
        axes.set_yticks(ticks, names if axes is ours else [])
        axes.tick_params(axis="x", labelsize=7)
        if panel.kind in COUNTED:
            _ratios(axes)
        elif panel.kind == "identities":
            axes.set_xlim(-0.02, 1.06)
            axes.axvline(1, color=style.FRONTIER, linewidth=0.8, zorder=1)
        else:
            axes.axvline(0, color=style.FRONTIER, linewidth=0.8, zorder=1)
    ours.set_title(panel.title, fontsize=8.5)
    ours.set_xlabel(AXES[panel.kind], fontsize=7.5)
    if theirs is not ours:
        theirs.set_title("Published", fontsize=8.5)
        theirs.set_xlabel("on its own scale", fontsize=7.5)


def _join(pair: Sequence[Axes]) -> None:
    """Gives the first of two panels the room of both."""
    first, second = pair
    grid = first.get_gridspec()
    row = first.get_subplotspec().rowspan.start
    first.set_subplotspec(grid[row, :])
    second.remove()


def _ratios(axes: Axes) -> None:
    """A logarithmic axis of ratios with plain numbers."""
    low, high = axes.get_xlim()
    axes.set_xscale("log")
    low, high = min(low, 0.99), max(high, 1.01)
    axes.set_xlim(low, high)
    wide = [0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100]
    ticks = wide if high / low > 4 else MaxNLocator(6).tick_values(low, high)
    axes.set_xticks([tick for tick in ticks if low <= tick <= high])
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.axvline(1, color=style.FRONTIER, linewidth=0.8, zorder=1)


def _draw_mark(ours: Axes, theirs: Axes, mark: Mark, y: float, size: float) -> None:
    holds = mark.row["verdict"] == SUPPORTED
    colour = OURS if holds else AGAINST
    if mark.low < mark.high:
        ours.plot([mark.low, mark.high], [y, y], color=colour, linewidth=1.1, zorder=2)
    for margin in mark.margins:
        ours.plot(margin, y, "|", ms=size + 1, color="#999999", zorder=1)
    if not math.isnan(mark.published):
        theirs.plot(mark.published, y, "D", ms=size, mfc="none", mew=0.8, color=PUBLISHED, zorder=2.5)
    ours.plot(mark.value, y, "o" if holds else "s", ms=size, mew=0, color=colour, zorder=3)


def _handles(key: Axes, chosen: Sequence[Panel]) -> list:
    """Legend entries of what was drawn."""
    marks = [mark for panel in chosen for mark in panel.marks]
    held = any(mark.row["verdict"] == SUPPORTED for mark in marks)
    lost = any(mark.row["verdict"] != SUPPORTED for mark in marks)
    looks = [
        (held, {"marker": "o", "color": OURS, "label": "ours, holds"}),
        (lost, {"marker": "s", "color": AGAINST, "label": "ours, the other way"}),
        (any(not math.isnan(mark.published) for mark in marks),
         {"marker": "D", "color": PUBLISHED, "mfc": "none", "label": "published"}),
        (any(mark.margins for mark in marks), {"marker": "|", "color": "#999999", "label": "margin"}),
    ]  # fmt: skip
    return [key.plot([], [], linestyle="", **look)[0] for there, look in looks if there]


def pictures(folder: Path, table: pd.DataFrame) -> list[Figure]:
    """The forest figures that are in a folder, the one of all studies first."""
    names = ["forest", *(f"forest_{study}" for study in dict.fromkeys(table["study"]))]
    return [
        Figure(name.replace("_", ", "), folder / f"{name}.png", CAPTION)
        for name in names
        if (folder / f"{name}.png").is_file()
    ]
