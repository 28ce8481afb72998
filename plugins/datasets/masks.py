"""Data sets for segmentation: pairs of an image and a mask, checked, and written as images/<split> and masks/<split>.

A written mask is an 8-bit PNG of one channel: class numbers from 0, and 255 for pixels that do not count.
"""

import os
import shutil
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np

from plugins.datasets.originals import image_size, missing
from plugins.suite.errors import UserError

IGNORED = 255
# In a table of label values: a value that no mask may hold.
FORBIDDEN = -1
THREADS = 8


def label_table(classes: dict[int, int], ignored: Sequence[int]) -> np.ndarray:
    """What each of the 256 values of a published label image becomes, int16: `classes` maps those that count."""
    table = np.full(256, FORBIDDEN, np.int16)
    table[list(ignored)] = IGNORED
    table[list(classes)] = list(classes.values())
    return table


def write_pairs(
    folder: Path, split: str, pairs: list[tuple[str, Path, Path]], table: np.ndarray, origin: str, link: bool
) -> int:
    """Writes a split from (name, image, label image) triples; returns the number of ignored pixels.

    Images are copied, or linked (`link`) where they are large; they keep their suffix. UserError names the first file
    that is missing, cut short, not of one channel, of another size than its image, or holds a forbidden value.
    """
    for sub in ("images", "masks"):
        (folder / sub / split).mkdir(parents=True)
    with ThreadPoolExecutor(THREADS) as pool:
        write = partial(_write_pair, folder, split, table, origin, link)
        return sum(pool.map(write, pairs))


def _write_pair(folder: Path, split: str, table: np.ndarray, origin: str, link: bool, pair: tuple) -> int:
    from PIL import Image

    name, image, label = pair
    size = image_size(image, origin)
    if not label.is_file():
        raise missing(label, origin)
    try:
        with Image.open(label) as opened:
            mode, values = opened.mode, np.asarray(opened)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise UserError(f"{label}: not a whole label image ({error}); put the original there again") from error
    if mode not in ("L", "P"):
        raise UserError(f"{label}: is a {mode} picture, must hold one class number a pixel; put the original there")
    if values.shape[::-1] != size:
        raise UserError(f"{label}: its size differs from that of {image}; put the originals there again")
    mask = table[values]
    if (mask == FORBIDDEN).any():
        wrong = int(values[mask == FORBIDDEN][0])
        raise UserError(f"{label}: label {wrong} is out of range; put the original there again")
    target = folder / "images" / split / f"{name}{image.suffix}"
    if link:
        os.symlink(image.absolute(), target)
    else:
        shutil.copyfile(image, target)
    Image.fromarray(mask.astype(np.uint8)).save(folder / "masks" / split / f"{name}.png")
    return int((mask == IGNORED).sum())


def paired(images: Path, image_end: str, labels: Path, label_end: str, expected: int, origin: str) -> list[tuple]:
    """(name, image, label image) of all files below `images` ending in `image_end`, in sorted order.

    `labels` has the same folders, with `label_end`. UserError where a partner is missing or there are not `expected`.
    """
    pictures = sorted(images.rglob(f"*{image_end}"))
    pairs = []
    for image in pictures:
        stem = image.name.removesuffix(image_end)
        pairs.append((stem, image, labels / image.relative_to(images).parent / f"{stem}{label_end}"))
    lacking = [label for _, _, label in pairs if not label.is_file()]
    if lacking:
        raise missing(lacking[0], origin)
    if len(pairs) != expected:
        raise UserError(f"{images}: holds {len(pairs)} images *{image_end}, must hold {expected}; put {origin} there")
    return pairs
