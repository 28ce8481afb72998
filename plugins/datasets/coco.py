"""COCO 2017 boxes: 118,287 images to train, 5,000 to validate, 80 classes.

`DATA_ROOT/coco` must hold the published archives unpacked: `train2017/`, `val2017/` and
`annotations/instances_{train,val}2017.json`; 19 GB, so nothing is fetched. Images are linked; annotations are written
without their outlines. Boxes that have no area, or none inside their image, are left out and counted; a category that
does not exist, or an image that is missing, cut short or of another size than stated, is an error that names the file.
The test split has no public boxes: runs are scored on the validation split, as is usual.
"""

import json
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from plugins.datasets.originals import folder_of, image_size, missing
from plugins.datasets.prepare import Source
from plugins.suite.errors import UserError

DEFAULTS: dict = {}
COUNTS = {"train": 118287, "val": 5000}
CLASSES = 80
ORIGIN = "train2017, val2017 and their instances_*.json of COCO (cocodataset.org)"
KEPT = ("id", "image_id", "category_id", "bbox", "area", "iscrowd")
THREADS = 8


def build(folder: Path, params: dict, source: Source) -> dict:
    """Writes images/ (links) and annotations/ into `folder`; returns the facts of the manifest."""
    original = folder_of(source, "coco", ORIGIN)
    counts, skipped, classes = {}, {"no_area": 0, "outside": 0}, []
    (folder / "annotations").mkdir()
    for split, expected in COUNTS.items():
        path = original / "annotations" / f"instances_{split}2017.json"
        content = _read(path)
        if len(content["images"]) != expected or len(content["categories"]) != CLASSES:
            raise UserError(
                f"{path}: has {len(content['images'])} images and {len(content['categories'])} categories, must have "
                f"{expected} and {CLASSES}; put {ORIGIN} there"
            )
        classes = [category["name"] for category in content["categories"]]
        _link_images(original / f"{split}2017", content["images"], folder / "images" / split)
        boxes = kept_boxes(content, path, skipped)
        images = [{key: image[key] for key in ("id", "file_name", "width", "height")} for image in content["images"]]
        written = {"images": images, "annotations": boxes, "categories": content["categories"]}
        (folder / "annotations" / f"{split}.json").write_text(json.dumps(written), encoding="utf-8")
        counts |= {split: len(images), f"{split}_boxes": len(boxes)}
    return {"task": "detection", "splits": list(COUNTS), "classes": classes, "counts": counts, "skipped": skipped}


def _read(path: Path) -> dict:
    if not path.is_file():
        raise missing(path, ORIGIN)
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if not all(isinstance(content[key], list) for key in ("images", "annotations", "categories")):
            raise ValueError("images, annotations and categories must be lists")
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise UserError(f"{path}: not COCO annotations ({error}); put the original there again") from error
    return content


def kept_boxes(content: dict, path: Path, skipped: dict[str, int]) -> list[dict]:
    """The annotations that can be learnt from, without their outlines; those left out are counted into `skipped`.

    UserError for a category or an image that the file does not have.
    """
    images = {image["id"]: image for image in content["images"]}
    categories = {category["id"] for category in content["categories"]}
    kept = []
    for annotation in content["annotations"]:
        image = images.get(annotation["image_id"])
        if image is None or annotation["category_id"] not in categories:
            raise UserError(
                f"{path}: annotation {annotation['id']}: no image {annotation['image_id']} or no category "
                f"{annotation['category_id']}; put the original there again"
            )
        x, y, width, height = annotation["bbox"]
        if width <= 0 or height <= 0:
            skipped["no_area"] += 1
        elif x >= image["width"] or y >= image["height"] or x + width <= 0 or y + height <= 0:
            skipped["outside"] += 1
        else:
            kept.append({key: annotation[key] for key in KEPT})
    return kept


def _link_images(original: Path, images: list[dict], target: Path) -> None:
    target.mkdir(parents=True)
    names = {image["file_name"] for image in images}
    if any(name != os.path.basename(name) for name in names) or len(names) != len(images):
        raise UserError(f"{original}: the annotations name a file twice or outside the folder; put {ORIGIN} there")

    def link(image: dict) -> None:
        path = original / image["file_name"]
        size = image_size(path, ORIGIN)
        if size != (image["width"], image["height"]):
            raise UserError(
                f"{path}: is {size[0]}x{size[1]}, the annotations say {image['width']}x{image['height']}; "
                "put the original there again"
            )
        os.symlink(path.absolute(), target / path.name)

    with ThreadPoolExecutor(THREADS) as pool:
        list(pool.map(link, images))
