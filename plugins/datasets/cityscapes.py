"""Cityscapes, fine annotations: 2,975 images to train, 500 to validate, 19 classes.

`DATA_ROOT/cityscapes` must hold the two published archives unpacked, `leftImg8bit/{train,val}/CITY/*_leftImg8bit.png`
and `gtFine/{train,val}/CITY/*_gtFine_labelIds.png`; they need a registration, so nothing is fetched. Images are linked;
label ids become the 19 training classes, all others are ignored. The test split has no public labels: runs are scored
on the validation split, as is usual.
"""

from pathlib import Path

from plugins.datasets.masks import label_table, paired, write_pairs
from plugins.datasets.originals import folder_of
from plugins.datasets.prepare import Source

DEFAULTS: dict = {}
COUNTS = {"train": 2975, "val": 500}
SIZE = (2048, 1024)  # width, height, pixels
# Label ids of the training classes in their order, road to bicycle; ids run from 0 to 33.
LABEL_IDS = (7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33)
ORIGIN = "leftImg8bit and gtFine of Cityscapes (cityscapes-dataset.com)"


def build(folder: Path, params: dict, source: Source) -> dict:
    """Writes images/ (links) and masks/ into `folder`; returns the facts of the manifest."""
    from mmseg.utils import cityscapes_classes, cityscapes_palette

    original = folder_of(source, "cityscapes", ORIGIN)
    table = label_table({label: number for number, label in enumerate(LABEL_IDS)}, [*range(34), 255])
    ignored = 0
    for split, count in COUNTS.items():
        images, labels = original / "leftImg8bit" / split, original / "gtFine" / split
        pairs = paired(images, "_leftImg8bit.png", labels, "_gtFine_labelIds.png", count, ORIGIN)
        ignored += write_pairs(folder, split, pairs, table, ORIGIN, link=True)
    return {
        "task": "segmentation",
        "splits": list(COUNTS),
        "mask_classes": cityscapes_classes(),
        "palette": cityscapes_palette(),
        "image_suffix": ".png",
        "size": list(SIZE),
        "counts": dict(COUNTS),
        "skipped": {"ignored_pixels": ignored},
    }
