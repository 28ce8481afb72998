"""Probe *two paths*: each pixel needs a value chosen by its content and the parity of its two neighbours.

Mechanism: both paths of ACmix. A 15 x 15 image is cut into 25 cells of 3 x 3 pixels, each with one beacon at a
random place. Types of beacons, 0 and 1, alternate like a chequerboard, so that every 7 x 7 window holds both; all
beacons of one type have one state, drawn for each image. Every other pixel has a type and a bit. Its label is 2 x
the state of the beacons of its own type + (bit of the left neighbour XOR bit of the right one); a beacon counts as 0
in the parity. Pixels of the outermost columns and beacons have no label.

The state needs attention by content: which place to read depends on the query's type, and beacons stand at random
places. The parity is no function of a weighted mean with weights chosen by content: it needs taps of fixed place.
Without either a network guesses: 25 %. Attention alone knows the state but not the parity: 50 %. Taps of fixed place
know the parity, and of the state what a mean over both types tells: it is right where the two states are equal and
in half of the other cases, 75 %.
"""

from functools import partial
from pathlib import Path

import numpy as np

from plugins.datasets import probe
from plugins.datasets.prepare import Source

DEFAULTS = {"seed": 1, "train": 3200, "val": 400, "test": 4000, "noise": 42}
DRAWN_FOR_EACH_RUN = True
CELLS, CELL = 5, 3
SIDE = CELLS * CELL
TYPES = 2
CODES = np.array([(110, -110), (-110, 110)], np.int16)
TASK = probe.Task(
    classes=4,
    parts={"parity": (1, 2), "state": (2, 2)},
    bounds={
        "attention alone": 50.0,
        "taps of fixed place alone": 75.0,
        "the mean of the states": 37.5,
        "no interaction": 25.0,
    },
)


def build(folder: Path, params: dict, source: Source) -> dict:
    """Writes the folder; returns the facts of its manifest."""
    return probe.build(folder, params, TASK, partial(draw, noise=params["noise"]))


def draw(generator: np.random.Generator, count: int, noise: int) -> probe.Batch:
    """`count` images with their labels."""
    batch = probe.blank(count, SIDE, SIDE)
    kinds = generator.integers(0, TYPES, size=(count, SIDE, SIDE))
    bits = generator.integers(0, 2, size=(count, SIDE, SIDE))
    states = generator.integers(0, 2, size=(count, TYPES))
    cell = np.arange(CELLS)
    types = ((cell[:, None] + cell) % TYPES).ravel()
    place = generator.integers(0, CELL, size=(2, count, CELLS**2))
    rows = np.repeat(cell, CELLS) * CELL + place[0]
    columns = np.tile(cell, CELLS) * CELL + place[1]
    image = np.arange(count)[:, None]
    at = (image, rows, columns)
    kinds[at], bits[at] = types, 0
    beacon = np.zeros((count, SIDE, SIDE), bool)
    beacon[at] = True
    # A beacon shows its type twice as strongly as a pixel, which tells it from one.
    batch.images[..., :2] = CODES[kinds] // np.where(beacon, 1, 2)[..., None]
    # The third channel: -40 or 40, a pixel's bit; -100 or 100, a beacon's state.
    batch.images[..., 2] = 80 * bits - 40
    batch.images[(*at, np.full_like(rows, 2))] = (200 * states - 100)[:, types]
    parity = np.zeros_like(bits)
    parity[:, :, 1:-1] = bits[:, :, :-2] ^ bits[:, :, 2:]
    labels = 2 * np.take_along_axis(states, kinds.reshape(count, -1), 1).reshape(kinds.shape) + parity
    labels[beacon] = probe.UNLABELLED
    labels[:, :, [0, -1]] = probe.UNLABELLED
    batch.labels = labels.astype(np.uint8)
    return probe.noisy(batch, generator, noise)
