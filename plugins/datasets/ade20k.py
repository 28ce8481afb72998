"""ADE20K scene parsing (the challenge data of 2016): 20,210 images to train, 2,000 to validate, 150 classes.

`DATA_ROOT/ade20k/ADEChallengeData2016` must hold the published archive unpacked, `images/{training,validation}/*.jpg`
and `annotations/{training,validation}/*.png`; it is not fetched. Images are linked; labels 1..150 become classes
0..149, and 0, which is no class, is ignored. Runs are scored on the validation split: the test split has no labels.
"""

from pathlib import Path

from plugins.datasets.masks import label_table, paired, write_pairs
from plugins.datasets.originals import folder_of
from plugins.datasets.prepare import Source

DEFAULTS: dict = {}
COUNTS = {"train": 20210, "val": 2000}
PUBLISHED = {"train": "training", "val": "validation"}
ORIGIN = "ADEChallengeData2016 (ADE20K, sceneparsing.csail.mit.edu)"


def build(folder: Path, params: dict, source: Source) -> dict:
    """Writes images/ (links) and masks/ into `folder`; returns the facts of the manifest."""
    from mmseg.utils import ade_classes, ade_palette

    original = folder_of(source, "ade20k/ADEChallengeData2016", ORIGIN)
    table = label_table({number + 1: number for number in range(150)}, [0])
    ignored = 0
    for split, count in COUNTS.items():
        images, labels = (original / sub / PUBLISHED[split] for sub in ("images", "annotations"))
        pairs = paired(images, ".jpg", labels, ".png", count, ORIGIN)
        ignored += write_pairs(folder, split, pairs, table, ORIGIN, link=True)
    return {
        "task": "segmentation",
        "splits": list(COUNTS),
        "mask_classes": ade_classes(),
        "palette": ade_palette(),
        "image_suffix": ".jpg",
        "counts": dict(COUNTS),
        "skipped": {"ignored_pixels": ignored},
    }
