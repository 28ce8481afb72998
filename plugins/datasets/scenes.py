"""Probe *scenes*: objects must know their own stripes and the state of the one marker of the image.

Mechanism: local texture first, then exchange between places: the order of convolutions and attention (CoAtNet's
layouts). Sixteen slots of 8 x 8 pixels make an image of 32 x 32; six objects and one marker of 4 x 4 pixels stand in
slots of their own, at random offsets of 0 to 3 pixels, so that they straddle the patches of a network that begins
with patches. The label of the token (4 pixels) that holds an object's centre is its stripes (across or along) + 2 x
the marker's state (its stripes).

A network whose sight ends before the marker knows the stripes alone: 50 % (chance 25). Stripes are drawn
independently, so one that pools the stripes of all others, six of which the marker is one, guesses their majority
and is right in 1/2 + C(5, 3) / 2^6 = 65.6 % of the marker's states.
`train` fixed images seen many times ask for generalisation; as many as the training draws, seen once (a stream), for
capacity: what a network can fit when nothing can be learnt by heart.
Control: `marker: none`, where the label is the stripes alone.
"""

from functools import partial
from pathlib import Path

import numpy as np

from plugins.datasets import probe
from plugins.datasets.prepare import Source

DEFAULTS = {"seed": 1, "train": 9600, "val": 400, "test": 4000, "noise": 64, "marker": "one"}
LIMITS = {"marker": ["one", "none"]}
DRAWN_FOR_EACH_RUN = True
SIDE, SLOT, ITEM, STRIDE, OBJECTS = 32, 8, 4, 4, 6
TASK = probe.Task(
    classes=4,
    parts={"own": (1, 2), "remote": (2, 2)},
    bounds={"no reach": 50.0, "the mean of the others": 65.625},
)
ALONE = probe.Task(classes=2, parts={"own": (1, 2)})


def build(folder: Path, params: dict, source: Source) -> dict:
    """Writes the folder; returns the facts of its manifest."""
    alone = params["marker"] == "none"
    return probe.build(folder, params, ALONE if alone else TASK, partial(draw, noise=params["noise"], alone=alone))


def draw(generator: np.random.Generator, count: int, noise: int, alone: bool = False) -> probe.Batch:
    """`count` images with their labels."""
    batch = probe.blank(count, SIDE, SIDE // STRIDE)
    slots = probe.permutations(generator, count, (SIDE // SLOT) ** 2)[:, : OBJECTS + 1]
    inside = generator.integers(0, SLOT - ITEM, size=(2, count, OBJECTS + 1))
    rows, columns = slots // 4 * SLOT + inside[0], slots % 4 * SLOT + inside[1]
    stripes = generator.integers(0, 2, size=(count, OBJECTS + 1))
    patches = np.zeros((count, OBJECTS + 1, ITEM, ITEM, 3), np.int16)
    patches[..., 0] = probe.TEXTURES[stripes]
    patches[:, 0, ..., 1] = 80
    probe.stamp(batch.images, rows, columns, patches)
    own, remote = stripes[:, 1:], stripes[:, :1]
    image = np.arange(count)[:, None]
    at = (image, (rows[:, 1:] + ITEM // 2) // STRIDE, (columns[:, 1:] + ITEM // 2) // STRIDE)
    batch.labels[at] = own if alone else own + 2 * remote
    return probe.noisy(batch, generator, noise)
