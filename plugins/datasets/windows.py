"""Probe *windows*: every pixel points at a bit that lies 1 to 3 pixels off, in one of eight directions.

Mechanism: a window whose weights depend on the query (dynamic convolution, E2 with a limit). Each pixel of a 12 x 12
image has a direction (8) and a radius (1, 2, 3), told by three channels together, and a bit of its own in the same
channels: the label is the bit of the pixel at which it points. All four are drawn for each pixel by itself (`field:
iid`), or directions and radii are constant in blocks of 4 x 4 pixels (`field: smooth`). Pixels whose target lies
outside the image have no label.

Without an interaction between places the label is a coin: 50 %, which is chance. A window of half-width R that is
used perfectly knows the bits at radius up to R and guesses the others: 69.1, 85.7, 100 % for R = 1, 2, 3 (windows of
3, 5 and 7), where a radius r has a label with probability (s + s^2) / 2, s = (12 - r) / 12. A kernel that does not
depend on the query can but average, so a static convolution stays near the bound of the best linear guess. Noise of 22
hides some radii and bits of small amplitude, so that no network reaches 100 %. Strata: the radii.
"""

from functools import partial
from pathlib import Path

import numpy as np

from plugins.datasets import probe
from plugins.datasets.prepare import Source

DEFAULTS = {"seed": 1, "train": 4800, "val": 400, "test": 4000, "noise": 22, "field": "iid"}
LIMITS = {"field": ["iid", "smooth"]}
DRAWN_FOR_EACH_RUN = True
SIDE, BLOCK = 12, 4
STEPS = np.array([(0, 1), (1, 1), (1, 0), (1, -1), (0, -1), (-1, -1), (-1, 0), (-1, 1)])
# cos and sin of the eight directions, in integers.
COMPASS = np.array([(110, 0), (78, 78), (0, 110), (-78, 78), (-110, 0), (-78, -78), (0, -110), (78, -78)], np.int16)
RADII = 3

# How often a pixel of radius r has its target inside the image: straight or diagonal, half of the directions each.
_INSIDE = [((SIDE - r) / SIDE + ((SIDE - r) / SIDE) ** 2) / 2 for r in range(1, RADII + 1)]
TASK = probe.Task(
    classes=2,
    groups=("radius 1", "radius 2", "radius 3"),
    bounds={"no interaction": 50.0}
    | {f"window of {2 * r + 1}": 50 + 50 * sum(_INSIDE[:r]) / sum(_INSIDE) for r in (1, 2)},
)


def build(folder: Path, params: dict, source: Source) -> dict:
    """Writes the folder; returns the facts of its manifest."""
    return probe.build(folder, params, TASK, partial(draw, noise=params["noise"], smooth=params["field"] == "smooth"))


def draw(generator: np.random.Generator, count: int, noise: int, smooth: bool = False) -> probe.Batch:
    """`count` images with their labels."""
    batch = probe.blank(count, SIDE, SIDE)
    coarse = SIDE // BLOCK if smooth else SIDE
    directions = generator.integers(0, 8, size=(count, coarse, coarse))
    radii = generator.integers(1, RADII + 1, size=(count, coarse, coarse))
    if smooth:
        directions, radii = (np.repeat(np.repeat(f, BLOCK, 1), BLOCK, 2) for f in (directions, radii))
    bits = generator.integers(0, 2, size=(count, SIDE, SIDE))
    batch.images[..., :2] = COMPASS[directions]
    # Radius and bit share a channel: -100, -60, -20 or 20, 60, 100.
    batch.images[..., 2] = (2 * bits - 1) * (40 * radii - 20)
    y, x = np.mgrid[:SIDE, :SIDE]
    rows, columns = y + STEPS[directions, 0] * radii, x + STEPS[directions, 1] * radii
    inside = (rows >= 0) & (rows < SIDE) & (columns >= 0) & (columns < SIDE)
    image = np.arange(count)[:, None, None]
    target = bits[image, rows.clip(0, SIDE - 1), columns.clip(0, SIDE - 1)]
    batch.labels = np.where(inside, target, probe.UNLABELLED).astype(np.uint8)
    batch.groups = (radii - 1).astype(np.uint8)
    return probe.noisy(batch, generator, noise)
