"""What the image probes share: dense labels on tokens, noise, canvases of slots, and how a probe is written.

A probe is a generated task that isolates one mechanism. Images are small; labels stand on *tokens*, squares of
`stride` pixels, so that no pooling over the image can stand in for an interaction between places. 255 is "no label
here". A label may be a joint of parts, e.g. own bit + 2 x remote bit: a network without the mechanism gets the own
bit right and guesses the rest, so that its score has a known bound and "trained" can be told from "chance".

All numbers are drawn as integers and all arithmetic on images is integer, so that a seed gives the same bytes on
every processor. `seed` is the run's seed: each seed has its own training and test items.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

UNLABELLED = 255
SPLITS = ("train", "val", "test")


@dataclass
class Batch:
    """`images` N x H x W x 3, `labels` N x h x w, `groups` N x h x w (which stratum a label is of), all of uint8."""

    images: np.ndarray
    labels: np.ndarray
    groups: np.ndarray


@dataclass(frozen=True)
class Task:
    """What the scorer must know of a probe.

    classes: number of labels. parts: {name: (divisor, modulus)}, the part of a label being label // divisor % modulus.
    groups: names of the strata, in the order of their numbers. bounds: {what a network lacks: the accuracy (%) that it
    can reach}, as the docstring of the probe derives them. chance: accuracy (%) of guessing.
    """

    classes: int
    parts: dict[str, tuple[int, int]] = field(default_factory=dict)
    groups: tuple[str, ...] = ()
    bounds: dict[str, float] = field(default_factory=dict)

    @property
    def chance(self) -> float:
        return 100 / self.classes


def build(folder: Path, params: dict, task: Task, draw: Callable[[np.random.Generator, int], Batch]) -> dict:
    """Writes arrays/<split>_{images,labels,groups}.npy and returns the facts of the manifest.

    `draw(generator, count)` makes `count` items. Splits come from generators of their own, so that a larger training
    set leaves the test set as it is.
    """
    (folder / "arrays").mkdir()
    counts = {}
    for index, split in enumerate(SPLITS):
        count = params[split]
        batch = draw(np.random.default_rng([params["seed"], index]), count)
        for name in ("images", "labels", "groups"):
            np.save(folder / "arrays" / f"{split}_{name}.npy", getattr(batch, name), allow_pickle=False)
        counts[split] = {"images": count, "labels": int((batch.labels != UNLABELLED).sum())}
    return {
        "task": "probe",
        "counts": counts,
        "skipped": {},
        "splits": list(SPLITS),
        "mask_classes": [str(label) for label in range(task.classes)],
        "parts": {name: list(rule) for name, rule in task.parts.items()},
        "groups": list(task.groups),
        "bounds": task.bounds,
        "chance": task.chance,
    }


def blank(count: int, side: int, tokens: int) -> Batch:
    """`count` black images without labels; images are int16 while they are drawn."""
    return Batch(
        np.zeros((count, side, side, 3), np.int16),
        np.full((count, tokens, tokens), UNLABELLED, np.uint8),
        np.zeros((count, tokens, tokens), np.uint8),
    )


def noisy(batch: Batch, generator: np.random.Generator, noise: int) -> Batch:
    """The batch as uint8 around 128, with uniform integer noise of -noise .. noise on every pixel and channel."""
    drawn = generator.integers(-noise, noise, size=batch.images.shape, dtype=np.int16, endpoint=True)
    batch.images = np.clip(128 + batch.images + drawn, 0, 255).astype(np.uint8)
    return batch


def permutations(generator: np.random.Generator, count: int, length: int) -> np.ndarray:
    """count x length: a random order of 0 .. length - 1 in each row."""
    return generator.permuted(np.tile(np.arange(length), (count, 1)), axis=1)


def stamp(images: np.ndarray, rows: np.ndarray, columns: np.ndarray, patches: np.ndarray) -> None:
    """Adds patches (N x k x s x s x 3) to images with their upper left corners at (rows, columns), both N x k."""
    count, several, side = patches.shape[:3]
    span = np.arange(side)
    image = np.arange(count)[:, None, None, None]
    y = rows[:, :, None, None] + span[:, None]
    x = columns[:, :, None, None] + span
    np.add.at(images, (image, y, x), patches)


# Two textures of 4 x 4 pixels, alike in mean and in energy: stripes across and stripes along.
ACROSS = np.tile(np.array([[60], [-60], [60], [-60]], np.int16), (1, 4))
TEXTURES = np.stack([ACROSS, ACROSS.T])
