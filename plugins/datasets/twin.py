"""Probe *twin*: objects must learn the texture of the one other object that carries their code.

Mechanism: what a query is decides which key it needs (E1 alone, or E2 with E3). Four objects stand in nine slots of
8 x 8 pixels, two pairs of equal code. The code is a colour, a direction in the plane of the second and third channel
that is drawn anew for every image, the two pairs of opposite directions; the texture of an object, one of two, is in
the first channel. The label is its own texture + 2 x its twin's. No term that is alike for all queries (E3, E4) can
choose for both pairs, and no offset does by itself, for places are random. A key that is fixed in training can tell
two halves of the circle apart, though, and E2 can send the queries of one half to themselves, so that 0110 and 0111
can do it without E1. The head is linear: it can add what it is told of each half, and not choose among it by the code.

Textures are drawn independently, so the mean over all objects tells of a twin only what one of three others can: a
network that knows how many of the three others are of one kind guesses the kind that is in the majority and is right
in 1/2 + C(2, 1) / 2^3 = 75 % of the remote bits. Without an interaction between places it knows the own texture
alone: 50 % (chance 25).
Control: `twins: near` writes the twin's texture into a corner of the object itself.
"""

from functools import partial
from pathlib import Path

import numpy as np

from plugins.datasets import probe
from plugins.datasets.bright import ITEM, SIDE, SLOT, STRIDE, mark
from plugins.datasets.prepare import Source

DEFAULTS = {"seed": 1, "train": 9600, "val": 800, "test": 4000, "noise": 70, "twins": "far"}
LIMITS = {"twins": ["far", "near"]}
DRAWN_FOR_EACH_RUN = True
PAIRS = 2
# Colours around a circle: no key that is fixed in training is the code of a pair in every image.
ANGLES = 16
TURN = 2 * np.pi * np.arange(ANGLES) / ANGLES
# Rounded numbers, none of which lies near a half, are the same on every processor.
CODES = np.rint(100 * np.stack([np.cos(TURN), np.sin(TURN)], 1)).astype(np.int16)
TASK = probe.Task(
    classes=4, parts={"own": (1, 2), "remote": (2, 2)}, bounds={"no interaction": 50.0, "the mean of the others": 75.0}
)


def build(folder: Path, params: dict, source: Source) -> dict:
    """Writes the folder; returns the facts of its manifest."""
    return probe.build(folder, params, TASK, partial(draw, noise=params["noise"], near=params["twins"] == "near"))


def draw(generator: np.random.Generator, count: int, noise: int, near: bool = False) -> probe.Batch:
    """`count` images with their labels."""
    batch = probe.blank(count, SIDE, SIDE // STRIDE)
    slots = probe.permutations(generator, count, 9)[:, : 2 * PAIRS]
    inside = 2 * generator.integers(0, (SLOT - ITEM) // 2 + 1, size=(2, count, 2 * PAIRS))
    rows, columns = slots // 3 * SLOT + inside[0], slots % 3 * SLOT + inside[1]
    # Pair p has code p and stands at 2 p and 2 p + 1 of the (random) order of slots.
    textures = generator.integers(0, 2, size=(count, 2 * PAIRS))
    twins = textures.reshape(count, PAIRS, 2)[:, :, ::-1].reshape(count, 2 * PAIRS)
    patches = np.zeros((count, 2 * PAIRS, ITEM, ITEM, 3), np.int16)
    patches[..., 0] = probe.TEXTURES[textures]
    patches[..., 1:] = CODES[codes(generator, count)].repeat(2, axis=1)[:, :, None, None]
    if near:
        patches[..., :2, :2, 0] = (120 * twins - 60)[..., None, None]
    probe.stamp(batch.images, rows, columns, patches)
    mark(batch, rows, columns, textures + 2 * twins)
    return probe.noisy(batch, generator, noise)


def codes(generator: np.random.Generator, count: int) -> np.ndarray:
    """count x PAIRS: the colours of each image, opposite ones."""
    first = generator.integers(0, ANGLES, size=(count, 1))
    return (first + [0, ANGLES // PAIRS]) % ANGLES
