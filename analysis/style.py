"""Looks of all figures: palette, fonts, label placement, and files whose bytes depend on the data alone."""

import io
import itertools
import textwrap
import warnings
from collections.abc import Sequence
from contextlib import contextmanager
from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from plugins.suite.files import write_bytes

# Okabe and Ito's palette, told apart with any colour vision; black is kept for text and the frontier.
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#7F7F7F")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
FRONTIER = "#444444"
DASHES = ((0, (4, 2)), (0, (1, 2)), (0, (6, 2, 1, 2)))
FORMATS = ("svg", "pdf", "png")
METADATA = {
    "svg": {"Date": None, "Creator": "convattn"},
    "pdf": {"CreationDate": None, "ModDate": None, "Creator": "convattn", "Producer": "convattn"},
    "png": {"Software": "convattn"},
}
RC = {
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.labelsize": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#E6E6E6",
    "grid.linewidth": 0.6,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "legend.fontsize": 8,
    "legend.frameon": False,
    "lines.linewidth": 1.4,
    "svg.hashsalt": "convattn",
    "svg.fonttype": "path",
    "pdf.fonttype": 42,
    "figure.dpi": 100,
    "savefig.dpi": 200,
}


def columns(panels: int) -> int:
    """Panels side by side: three at most, more of them in balanced rows."""
    return -(-panels // -(-panels // 3))


@contextmanager
def figure(count: int, width: float = 5.4, height: float = 4.0, legend: int = 0):
    """(figure, panels, key) in the house style, closed afterwards; sizes in inches, `width` and `height` per panel.

    `key` is an empty strip below the panels for a legend of `legend` lines, so that its width cannot squeeze them.
    """
    strip = 0.2 * legend + 0.05
    across = columns(count)
    rows = -(-count // across)
    with plt.rc_context({**matplotlib.rcParamsDefault, "backend": "agg", **RC}):
        sheet = plt.figure(figsize=(width * across, height * rows + strip), layout="constrained")
        grid = sheet.add_gridspec(rows + 1, across, height_ratios=[*[height] * (rows - 1), height - 0.3, strip])
        panels = [sheet.add_subplot(grid[divmod(index, across)]) for index in range(count)]
        key = sheet.add_subplot(grid[rows, :])
        key.set_axis_off()
        try:
            yield sheet, panels, key
        finally:
            plt.close(sheet)


@contextmanager
def page(width: float, heights: Sequence[float], columns: int, legend: int = 0):
    """(figure, rows of panels, key) as `figure`, in rows of unlike height, the first column twice as wide as others."""
    strip = 0.2 * legend + 0.05
    with plt.rc_context({**matplotlib.rcParamsDefault, "backend": "agg", **RC}):
        sheet = plt.figure(figsize=(width, sum(heights) + strip), layout="constrained")
        ratios = {"height_ratios": [*heights, strip], "width_ratios": [2, *[1] * (columns - 1)]}
        grid = sheet.add_gridspec(len(heights) + 1, columns, **ratios)
        panels = [[sheet.add_subplot(grid[row, at]) for at in range(columns)] for row in range(len(heights))]
        key = sheet.add_subplot(grid[len(heights), :])
        key.set_axis_off()
        try:
            yield sheet, panels, key
        finally:
            plt.close(sheet)


@contextmanager
def sheet(width: float, columns: Sequence[Sequence[float]], legend: int = 0):
    """(figure, pairs of panels by column, key) as `figure`: columns side by side, each of rows of its own heights.

    The first panel of a pair is twice as wide as the second.
    """
    strip, tallest = 0.2 * legend + 0.05, max(map(sum, columns))
    with plt.rc_context({**matplotlib.rcParamsDefault, "backend": "agg", **RC}):
        sheet = plt.figure(figsize=(width, tallest + strip + 0.3), layout="constrained")
        grid = sheet.add_gridspec(2, len(columns), height_ratios=[tallest, strip])
        panels = []
        for at, heights in enumerate(columns):
            rest = tallest - sum(heights)  # room below a shorter column
            ratios = [*heights, *([rest] if rest > 0.01 else [])]
            inner = grid[0, at].subgridspec(len(ratios), 2, height_ratios=ratios, width_ratios=[2, 1])
            panels.append([[sheet.add_subplot(inner[row, side]) for side in (0, 1)] for row in range(len(heights))])
        key = sheet.add_subplot(grid[1, :])
        key.set_axis_off()
        try:
            yield sheet, panels, key
        finally:
            plt.close(sheet)


def legend(key: Axes, handles: Sequence, columns: int) -> None:
    """Puts a legend into the strip below the panels, filled row by row."""
    rows = -(-len(handles) // columns)
    by_row = [handles[row * columns + column] for column in range(columns) for row in range(rows)
              if row * columns + column < len(handles)]  # fmt: skip
    box = key.legend(handles=by_row, loc="upper left", bbox_to_anchor=(0, 1), ncols=columns, borderaxespad=0)
    box.set_in_layout(False)


def footer(sheet: Figure, line: str) -> None:
    """Small lines below the axes: what the numbers are and where they come from."""
    wrapped = textwrap.fill(line, int(sheet.get_size_inches()[0] * 19))
    sheet.supxlabel(wrapped, fontsize=6.5, color="#666666", x=0.01, ha="left")


def save(sheet: Figure, base: Path) -> None:
    """Writes base.svg, base.pdf and base.png; the same figure gives the same bytes."""
    for suffix in FORMATS:
        buffer = io.BytesIO()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            sheet.savefig(buffer, format=suffix, metadata=METADATA[suffix])
        write_bytes(base.with_name(f"{base.name}.{suffix}"), buffer.getvalue())


def empty(axes: Axes, line: str) -> None:
    """Says in the middle of the axes why nothing is drawn."""
    axes.set_axis_off()
    axes.text(0.5, 0.5, line, ha="center", va="center", color="#666666", transform=axes.transAxes)


def place_labels(
    axes: Axes, points: Sequence[tuple[float, float, str]], busy: Sequence[tuple] = (), size: float = 7.5
) -> None:
    """Writes the label of each (x, y, label) where it overlaps least with points, other labels, lines and the frame.

    `busy` holds line segments ((x0, y0), (x1, y1)) in data units to keep free. Labels that had to move away from their
    point get a thin leader. Greedy, the most crowded point first; call it after all limits are set.
    """
    sheet = axes.figure
    sheet.draw_without_rendering()
    renderer = sheet.canvas.get_renderer()
    unit = sheet.dpi / 72
    pixels = axes.transData.transform(np.array([(x, y) for x, y, _ in points], dtype=float).reshape(-1, 2))
    # Boxes are rows (x0, y0, x1, y1) in pixels.
    taken = np.vstack([_around(pixels, 4 * unit), *(_along(axes, segment, 2 * unit) for segment in busy)])
    frame = axes.get_window_extent(renderer).extents[None, :]
    for index in _most_crowded_first(pixels):
        x, y, label = points[index]
        note = axes.annotate(
            label, (x, y), xytext=(0, 0), textcoords="offset points", fontsize=size, annotation_clip=False
        )
        extent = note.get_window_extent(renderer)
        moves = _moves(extent.width / unit, extent.height / unit)
        corners = pixels[index] + moves[:, :2] * unit
        boxes = np.hstack([corners, corners + (extent.width, extent.height)])
        outside = extent.width * extent.height - _overlap(boxes, frame)[:, 0]
        # An overlap costs its area in square points, running over the frame five times that, distance a little.
        cost = (_overlap(boxes, taken).sum(axis=1) + 5 * outside) / unit**2 + 0.35 * moves[:, 2]
        best = int(np.argmin(cost.round(6)))
        note.set_position(moves[best, :2])
        taken = np.vstack([taken, boxes[best]])
        if moves[best, 2] > 7:
            taken = np.vstack([taken, _along(axes, _leader(axes, (x, y), boxes[best]), unit)])


def _moves(width: float, height: float) -> np.ndarray:
    """Rows (dx, dy, distance) in points: where the lower left corner of a label may stand, near its point first."""
    moves = []
    for distance, (right, up) in itertools.product(
        (6, 10, 15, 21, 28, 38, 50), itertools.product((1, 0, -1), (0, 1, -1))
    ):
        if right == up == 0:
            continue
        reach = distance * (0.7 if right and up else 1.0)
        dx = reach if right > 0 else -width - reach if right < 0 else -width / 2
        dy = reach if up > 0 else -height - reach if up < 0 else -height / 2
        moves.append((dx, dy, distance))
    return np.array(moves)


def _around(pixels: np.ndarray, half: float) -> np.ndarray:
    return np.hstack([pixels - half, pixels + half])


def _along(axes: Axes, segment: tuple, half: float) -> np.ndarray:
    start, end = axes.transData.transform(np.array(segment, dtype=float))
    steps = min(400, max(2, int(np.hypot(*(end - start)) / (2 * half))))
    return _around(np.linspace(start, end, steps), half)


def _overlap(ones: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Area that each of `ones` shares with each of `others`."""
    low = np.maximum(ones[:, None, :2], others[None, :, :2])
    high = np.minimum(ones[:, None, 2:], others[None, :, 2:])
    return np.clip(high - low, 0, None).prod(axis=2)


def _most_crowded_first(pixels: np.ndarray) -> list[int]:
    if len(pixels) < 2:
        return list(range(len(pixels)))
    apart = np.hypot(*(pixels[:, None, :] - pixels[None, :, :]).transpose(2, 0, 1))
    return sorted(range(len(pixels)), key=lambda i: (np.sort(apart[i])[1], i))


def _leader(axes: Axes, point: tuple[float, float], box: np.ndarray) -> tuple:
    near = np.clip(axes.transData.transform(point), box[:2], box[2:])
    end = axes.transData.inverted().transform(near)
    axes.plot(*zip(point, end, strict=True), color="#999999", linewidth=0.6, zorder=1.5, scalex=False, scaley=False)
    return point, end
