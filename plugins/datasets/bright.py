"""Probe *bright*: objects must learn the state of the brightest of four markers, wherever it stands.

Mechanism: key content (E3). Every object asks for the same key, the one that stands out; what the query is does not
matter, nor does where anything stands. Nine slots of 8 x 8 pixels hold, in random order, four markers and five
objects of 4 x 4 pixels at random places inside their slots. A marker has a state (its texture) and a brightness (its
level in the second channel; the four levels of an image are equally spaced, in random order, and shifted together at
random, so that no level says by itself whether it is the brightest). The label of an object is its own texture + 2 x
the state of the brightest marker.

Without any interaction between places a network knows the texture alone: 50 % (chance 25). Uniform attention (0000)
sees the mean of the four markers. The states of the markers are independent, so the mean says little of the
brightest: a network that reads off how many states are set is right in the remote bit in at most 11/16 (of 0 to 4
set states 1, 4, 6, 4, 1 of 16; right with 1, 3/4, 1/2, 3/4, 1), 68.75 %. It may weigh markers by level before it
averages, which is selection by key content too, in the trunk.
Controls: `marker: near` puts the deciding marker's state into the object itself (third channel), inside every
trunk's sight; there all networks must reach the ceiling.
"""

from functools import partial
from pathlib import Path

import numpy as np

from plugins.datasets import probe
from plugins.datasets.prepare import Source

DEFAULTS = {"seed": 1, "train": 6400, "val": 800, "test": 4000, "noise": 40, "spacing": 12, "marker": "far"}
LIMITS = {"marker": ["far", "near"]}
DRAWN_FOR_EACH_RUN = True
SIDE, SLOT, ITEM, STRIDE = 24, 8, 4, 2
MARKERS = 4
SHIFT = 24
TASK = probe.Task(
    classes=4,
    parts={"own": (1, 2), "remote": (2, 2)},
    bounds={"no interaction": 50.0, "the number of set states": 68.75},
)


def build(folder: Path, params: dict, source: Source) -> dict:
    """Writes the folder; returns the facts of its manifest."""
    return probe.build(
        folder,
        params,
        TASK,
        partial(draw, noise=params["noise"], spacing=params["spacing"], near=params["marker"] == "near"),
    )


def draw(generator: np.random.Generator, count: int, noise: int, spacing: int = 12, near: bool = False) -> probe.Batch:
    """`count` images with their labels."""
    batch = probe.blank(count, SIDE, SIDE // STRIDE)
    slots = probe.permutations(generator, count, 9)
    # Even offsets, so that an object covers whole tokens.
    inside = 2 * generator.integers(0, (SLOT - ITEM) // 2 + 1, size=(2, count, 9))
    rows, columns = slots // 3 * SLOT + inside[0], slots % 3 * SLOT + inside[1]
    textures = generator.integers(0, 2, size=(count, 9))
    levels = spacing * probe.permutations(generator, count, MARKERS)
    shift = generator.integers(0, SHIFT, size=(count, 1), endpoint=True)
    brightest = levels.argmax(1)
    state = textures[np.arange(count), brightest]
    patches = np.zeros((count, 9, ITEM, ITEM, 3), np.int16)
    patches[..., 0] = probe.TEXTURES[textures]
    patches[:, :MARKERS, ..., 1] = (20 + shift + levels)[:, :, None, None]
    if near:
        patches[:, MARKERS:, ..., 2] = (80 * state - 40)[:, None, None, None]
    probe.stamp(batch.images, rows, columns, patches)
    label = (textures + 2 * state[:, None])[:, MARKERS:]
    mark(batch, rows[:, MARKERS:], columns[:, MARKERS:], label)
    return probe.noisy(batch, generator, noise)


def mark(
    batch: probe.Batch, rows: np.ndarray, columns: np.ndarray, labels: np.ndarray, groups: np.ndarray | int = 0
) -> None:
    """Writes labels and strata (N x k) on the tokens of objects whose upper left corners are at (rows, columns)."""
    image = np.arange(len(labels))[:, None]
    for dy in range(ITEM // STRIDE):
        for dx in range(ITEM // STRIDE):
            at = (image, rows // STRIDE + dy, columns // STRIDE + dx)
            batch.labels[at], batch.groups[at] = labels, groups
