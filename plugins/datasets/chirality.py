"""Probe *chirality*: objects must know their own handedness and on which side of them the marker stands.

Mechanism: convolution beside attention with relative positions (AAConv). On a canvas of 12 x 12 pixels stand one
marker and four objects of 3 x 3 pixels on a grid of 3 x 3 places 4 pixels apart. An object is an L of five pixels in
one of four turns, or its mirror image in one of four turns; objects never stand in the diagonal directions of the
marker. The label of the object's middle pixel is its handedness + 2 x where the marker lies (0 left, 1 right, 2
above, 3 below).

A mirror image has the same pixels as a turned one up to their order, so handedness needs taps of fixed place, or
attention to positions sharp to one pixel; the side needs reach and position. A network of one 3 x 3 convolution
after a pointwise stem knows the handedness alone: 25 % (chance 12.5). One that knows the side alone is at 50 %. A
middle pixel's 3 x 3 neighbourhood is the object alone, so that zero padding tells it nothing. It would tell a
network of several convolutions, which this probe is not for, in which outer row or column the marker stands.
Control: `side: none`, where the label is the handedness alone.
"""

from functools import partial
from pathlib import Path

import numpy as np

from plugins.datasets import probe
from plugins.datasets.prepare import Source

DEFAULTS = {"seed": 1, "train": 6400, "val": 800, "test": 4000, "noise": 24, "side": "marker"}
LIMITS = {"side": ["marker", "none"]}
DRAWN_FOR_EACH_RUN = True
PLACES, PITCH, ITEM = 3, 4, 3
SIDE = PLACES * PITCH
OBJECTS = 4
# An L with a foot: no turn of it is its mirror image.
MOTIF = np.array([[1, 0, 0], [1, 0, 0], [1, 1, 0]], np.int16)
SHAPES = np.stack([np.rot90(m, k) for m in (MOTIF, MOTIF[:, ::-1]) for k in range(4)]).astype(np.int16)
TASK = probe.Task(
    classes=8,
    parts={"handedness": (1, 2), "side": (2, 4)},
    bounds={"convolution alone": 25.0, "attention alone": 50.0},
)
ALONE = probe.Task(classes=2, parts={"handedness": (1, 2)}, bounds={"attention alone": 50.0})


def build(folder: Path, params: dict, source: Source) -> dict:
    """Writes the folder; returns the facts of its manifest."""
    alone = params["side"] == "none"
    return probe.build(folder, params, ALONE if alone else TASK, partial(draw, noise=params["noise"], alone=alone))


def draw(generator: np.random.Generator, count: int, noise: int, alone: bool = False) -> probe.Batch:
    """`count` images with their labels."""
    batch = probe.blank(count, SIDE, SIDE)
    places = probe.permutations(generator, count, PLACES**2)
    marker, rest = places[:, :1], places[:, 1:]
    dy, dx = marker // PLACES - rest // PLACES, marker % PLACES - rest % PLACES
    order = np.argsort(abs(dy) == abs(dx), axis=1, kind="stable")[:, :OBJECTS]
    objects, dy, dx = (np.take_along_axis(values, order, 1) for values in (rest, dy, dx))
    sides = np.where(abs(dx) > abs(dy), np.where(dx < 0, 0, 1), np.where(dy < 0, 2, 3))
    shapes = generator.integers(0, len(SHAPES), size=(count, OBJECTS))
    rows, columns = objects // PLACES * PITCH, objects % PLACES * PITCH
    patches = np.zeros((count, OBJECTS, ITEM, ITEM, 3), np.int16)
    patches[..., 0] = 100 * SHAPES[shapes]
    probe.stamp(batch.images, rows, columns, patches)
    flag = np.zeros((count, 1, ITEM, ITEM, 3), np.int16)
    flag[..., 1] = 80
    probe.stamp(batch.images, marker // PLACES * PITCH, marker % PLACES * PITCH, flag)
    handedness = shapes // 4
    labels = handedness if alone else handedness + 2 * sides
    image = np.arange(count)[:, None]
    # Places in a diagonal of the marker are taken where nothing else is left; they have no label.
    batch.labels[image, rows + 1, columns + 1] = np.where(abs(dy) == abs(dx), probe.UNLABELLED, labels)
    return probe.noisy(batch, generator, noise)
