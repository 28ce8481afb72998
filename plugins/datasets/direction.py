"""Probe *direction*: objects must tell on which side of them the marker stands.

Mechanism: relative position (E2 or E4). A canvas of 22 x 22 pixels has a blank margin of 2; inside stand one marker
and four objects of 4 x 4 pixels on a grid of 3 x 3 places 6 pixels apart, objects never in the diagonal directions
of the marker. The label of an object is its own texture (0 or 1) + 2 x where the marker lies (0 left, 1 right, 2
above, 3 below, by the larger of the two offsets). It stands on the object's four tokens, whose 5 pixels of sight
(two 3 x 3 convolutions, the second with stride 2) hold nothing but the object.

What an object looks like says nothing of the side, nor does the presence of a marker: content alone (E1, E3, uniform
attention) knows the texture alone, 25 % (chance 12.5). The margin is wider than the trunk's reach, so that no object
sees the edge of the canvas, where zero padding would betray absolute positions and, with them, on which side most of
the canvas lies.
Control: `margin: 0` lets the padding tell; content alone then does better.
"""

from functools import partial
from pathlib import Path

import numpy as np

from plugins.datasets import probe
from plugins.datasets.bright import ITEM, STRIDE, mark
from plugins.datasets.prepare import Source

DEFAULTS = {"seed": 1, "train": 5120, "val": 800, "test": 4000, "noise": 40, "margin": 2}
# Whole tokens.
LIMITS = {"margin": [0, 2, 4, 6, 8, 10, 12, 14, 16]}
DRAWN_FOR_EACH_RUN = True
SLOTS, PITCH = 3, 6
OBJECTS = 4
TASK = probe.Task(
    classes=8, parts={"own": (1, 2), "side": (2, 4)}, groups=("near", "far"), bounds={"no position": 25.0}
)


def build(folder: Path, params: dict, source: Source) -> dict:
    """Writes the folder; returns the facts of its manifest."""
    return probe.build(folder, params, TASK, partial(draw, noise=params["noise"], margin=params["margin"]))


def draw(generator: np.random.Generator, count: int, noise: int, margin: int = 2) -> probe.Batch:
    """`count` images with their labels. Strata: near, a larger offset of one place; far, of two."""
    side = SLOTS * PITCH + 2 * margin
    batch = probe.blank(count, side, side // STRIDE)
    slots = probe.permutations(generator, count, SLOTS**2)
    marker, rest = slots[:, :1], slots[:, 1:]
    dy, dx = marker // SLOTS - rest // SLOTS, marker % SLOTS - rest % SLOTS
    # The first OBJECTS of the (random) order that are in no diagonal of the marker: of nine places at least four are.
    order = np.argsort(abs(dy) == abs(dx), axis=1, kind="stable")[:, :OBJECTS]
    objects, dy, dx = (np.take_along_axis(values, order, 1) for values in (rest, dy, dx))
    sides = np.where(abs(dx) > abs(dy), np.where(dx < 0, 0, 1), np.where(dy < 0, 2, 3))
    rows, columns = margin + objects // SLOTS * PITCH, margin + objects % SLOTS * PITCH
    patches = np.zeros((count, OBJECTS, ITEM, ITEM, 3), np.int16)
    textures = generator.integers(0, 2, size=(count, OBJECTS))
    # A quarter of the contrast, so that a perfect sense of direction alone does not reach 100 %.
    patches[..., 0] = probe.TEXTURES[textures] // 4
    probe.stamp(batch.images, rows, columns, patches)
    flag = np.zeros((count, 1, ITEM, ITEM, 3), np.int16)
    flag[..., 1:] = 120
    probe.stamp(batch.images, margin + marker // SLOTS * PITCH, margin + marker % SLOTS * PITCH, flag)
    mark(batch, rows, columns, textures + 2 * sides, np.maximum(abs(dy), abs(dx)) - 1)
    return probe.noisy(batch, generator, noise)
