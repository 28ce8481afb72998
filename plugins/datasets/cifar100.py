"""CIFAR-100 (Krizhevsky 2009), the authors' binary version: cifar-100-binary.tar.gz -> class folders of PNG.

The binary version holds no pickles. An image is a byte for its superclass, one for its class, and 3 x 32 x 32 bytes. Of
the 500 training images of a class, the last `val` in the order of the file are the validation split.
"""

import tarfile
import zlib
from pathlib import Path

import numpy as np

from plugins.datasets.originals import check_md5, download, folder_of, missing
from plugins.datasets.prepare import Source, check_range
from plugins.suite.errors import UserError

DEFAULTS = {"val": 50}
ORIGIN = "CIFAR-100, binary version, cifar-100-binary.tar.gz,"
URL = "https://www.cs.toronto.edu/~kriz/cifar-100-binary.tar.gz"
MD5 = "03b5dce01913d631647c71ecec9e9cb8"  # the sum that the authors publish
CLASSES, PER_CLASS = 100, {"train": 500, "test": 100}
RECORD = 2 + 3 * 32 * 32


def build(folder: Path, params: dict, source: Source) -> dict:
    """Writes classes/<split>/<class>/<number>.png into `folder`; returns the facts of the manifest."""
    check_range("cifar100", params, "val", 1, PER_CLASS["train"] - 1)
    path = folder_of(source, "cifar100", ORIGIN, fetchable=True) / "cifar-100-binary.tar.gz"
    if not path.is_file():
        if not source.fetch:
            raise missing(path, ORIGIN, fetchable=True)
        download(URL, path)
    check_md5(path, MD5)
    members = _members(path)
    names = members["fine_label_names.txt"].decode("ascii", "replace").split()
    if len(set(names)) != CLASSES or not all(name.replace("_", "").isalpha() for name in names):
        raise UserError(f"{path}: fine_label_names.txt does not hold {CLASSES} names; fetch the original again")
    counts = {"train": 0, "val": 0, "test": 0}
    for part, per_class in PER_CLASS.items():
        labels, pixels = records(members[f"{part}.bin"], f"{path}: {part}.bin", per_class)
        for label, name in enumerate(names):
            for number, index in enumerate(np.flatnonzero(labels == label)):
                split = "val" if part == "train" and number >= per_class - params["val"] else part
                _save(folder / "classes" / split / name / f"{number:04d}.png", pixels[index])
                counts[split] += 1
    return {
        "task": "classification",
        "classes": names,
        "class_size": [32, 32],
        "counts": counts,
        "skipped": {},
    }


def records(content: bytes, name: str, per_class: int) -> tuple[np.ndarray, np.ndarray]:
    """(labels N, pixels N 32 32 3 uint8) of a binary file; UserError, with `name`, where it is not one of 100 classes
    with `per_class` images each."""
    if len(content) != CLASSES * per_class * RECORD:
        raise UserError(f"{name}: {len(content)} bytes, not {CLASSES * per_class * RECORD}; fetch the original again")
    rows = np.frombuffer(content, np.uint8).reshape(-1, RECORD)
    labels = rows[:, 1]
    if not np.array_equal(np.bincount(labels), np.full(CLASSES, per_class)):
        raise UserError(f"{name}: not {per_class} images of each of {CLASSES} classes; fetch the original again")
    return labels, rows[:, 2:].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)


def _members(path: Path) -> dict[str, bytes]:
    wanted = {"train.bin", "test.bin", "fine_label_names.txt"}
    try:
        with tarfile.open(path) as archive:
            classes = {
                member.name.removeprefix("cifar-100-binary/"): archive.extractfile(member).read()
                for member in archive
                if member.isfile() and member.name.removeprefix("cifar-100-binary/") in wanted
            }
    except (tarfile.TarError, EOFError, OSError, zlib.error) as error:
        raise UserError(f"{path}: not a whole tar.gz archive ({error}); fetch the original again") from error
    if lacking := sorted(wanted - classes.keys()):
        raise UserError(f"{path}: {lacking[0]} is not in it; fetch the original again")
    return classes


def _save(path: Path, pixels: np.ndarray) -> None:
    from PIL import Image

    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, compress_level=1)
