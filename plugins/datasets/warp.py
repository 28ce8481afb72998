"""Probe *warp*: places read a smooth field where a smooth vector points, and must know a distant marker's state.

Mechanism: sampling at offsets that depend on the query (deformable convolution), beside the choice of one place by
key content (E3). A canvas of 24 x 24 pixels holds a field of two values in blobs and, in two more channels, a smooth
field of directions. The label of a pixel in the middle 8 x 8 is the field's value (0 or 1) 4 pixels off in the
direction that it shows, + 2 x the state of the marker: a square of 3 x 3 pixels at a random place in the outermost
three rows or columns, at least 6 pixels from every labelled one.
`marker: none` leaves the marker out: labels are the field's value alone.

A network without reach knows neither; blobs are larger than a pixel, so the value next by helps a little. Sampled at
the right place, the field is known: 50 % with the marker guessed (chance 25).
"""

from functools import partial
from pathlib import Path

import numpy as np

from plugins.datasets import probe
from plugins.datasets.prepare import Source

DEFAULTS = {"seed": 1, "train": 6400, "val": 400, "test": 4000, "noise": 12, "marker": "one"}
LIMITS = {"marker": ["one", "none"]}
DRAWN_FOR_EACH_RUN = True
SIDE, INNER, REACH, COARSE, RING = 24, 8, 4, 6, 3
# round(4 sin) and round(60 sin) of 24 directions, 15 degrees apart: integers, so that every processor agrees.
QUARTER_STEP = (0, 1, 2, 3, 3, 4, 4)
QUARTER_SHOWN = (0, 16, 30, 42, 52, 58, 60)
TASK = probe.Task(classes=4, parts={"field": (1, 2), "marker": (2, 2)}, bounds={"the field alone": 50.0})
ALONE = probe.Task(classes=2, parts={"field": (1, 2)}, bounds={"no reach": 50.0})


def _wave(quarter: tuple[int, ...]) -> np.ndarray:
    """The sine over 24 steps from its first quarter."""
    half = [*quarter, *quarter[-2:0:-1]]
    return np.array([*half, *(-value for value in half)], np.int16)


STEP, SHOWN = _wave(QUARTER_STEP), _wave(QUARTER_SHOWN)


def build(folder: Path, params: dict, source: Source) -> dict:
    """Writes the folder; returns the facts of its manifest."""
    alone = params["marker"] == "none"
    return probe.build(folder, params, ALONE if alone else TASK, partial(draw, noise=params["noise"], alone=alone))


def _smooth(generator: np.random.Generator, count: int) -> np.ndarray:
    """count x SIDE x SIDE integers that vary smoothly: a coarse grid, blown up bilinearly in integer arithmetic."""
    scale = SIDE // COARSE
    coarse = generator.integers(-64, 65, size=(count, COARSE + 2, COARSE + 2))
    at = np.arange(SIDE) + scale // 2
    low, share = at // scale, at % scale
    rows = coarse[:, low] * (scale - share)[:, None] + coarse[:, low + 1] * share[:, None]
    return rows[:, :, low] * (scale - share) + rows[:, :, low + 1] * share


def draw(generator: np.random.Generator, count: int, noise: int, alone: bool = False) -> probe.Batch:
    """`count` images with their labels."""
    batch = probe.blank(count, SIDE, SIDE)
    field = (_smooth(generator, count) > 0).astype(np.int16)
    # A direction for the image, turned by up to a quarter either way from place to place.
    turn = _smooth(generator, count) * 6 // (64 * 16)
    heading = (generator.integers(0, 24, size=(count, 1, 1)) + turn) % 24
    batch.images[..., 0] = 120 * field - 60
    batch.images[..., 1], batch.images[..., 2] = SHOWN[heading], SHOWN[(heading + 6) % 24]
    state = generator.integers(0, 2, size=count)
    if not alone:
        _place_marker(batch.images, generator, state)
    first = (SIDE - INNER) // 2
    y, x = np.mgrid[first : first + INNER, first : first + INNER]
    inner = heading[:, first : first + INNER, first : first + INNER]
    rows, columns = y + STEP[inner], x + STEP[(inner + 6) % 24]
    value = field[np.arange(count)[:, None, None], rows, columns]
    labels = value if alone else value + 2 * state[:, None, None]
    batch.labels[:, first : first + INNER, first : first + INNER] = labels
    return probe.noisy(batch, generator, noise)


def _place_marker(images: np.ndarray, generator: np.random.Generator, state: np.ndarray) -> None:
    """Writes a square of RING x RING extreme pixels along a random edge."""
    count = len(state)
    along = generator.integers(0, SIDE - RING + 1, size=count)
    edge = generator.integers(0, 4, size=count)
    across = np.where(edge % 2, SIDE - RING, 0)
    rows, columns = np.where(edge < 2, along, across), np.where(edge < 2, across, along)
    image, shown = np.arange(count), np.stack([200 * state - 100, 0 * state + 120, 0 * state + 120], 1)
    for dy in range(RING):
        for dx in range(RING):
            images[image, rows + dy, columns + dx] = shown
