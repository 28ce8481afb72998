"""Shapes, textured, rotated and deformed, on clutter: one generator for detection, segmentation and classification.

Five classes. Three show in a small window: `striped`, `checked` (texture) and `serrated` (outline). Two do not: `day`
and `night` objects look alike, and the marker of the scene, a small disc somewhere else in the image, says which they
are (a ring: day, a cross: night). Every scene has one marker, so its presence tells nothing. Within an object the
values are ranked and spread by one law, its area and colours come from one distribution for all classes, and both
markers have the same number of bright pixels: no histogram, mean or size gives a class away.
"""

import json
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from plugins.datasets.prepare import Source

CLASSES = ("striped", "checked", "serrated", "day", "night")
SPLITS = ("train", "val", "test")
# Pixels: `size` and `crop` are the sides of scenes and of classification images, `smallest` to `largest` the diameters
# of discs that have the area of an object. A scene gets `objects` objects or one fewer, where they find room.
DEFAULTS = {
    "size": 96, "crop": 64, "train": 400, "val": 100, "test": 100, "per_class": 160,
    "objects": 3, "smallest": 22.0, "largest": 40.0, "seed": 1,
}  # fmt: skip
LIMITS = {
    "size": (48, 1024), "crop": (48, 1024), "objects": (1, 50), "per_class": (1, 100_000),
    "smallest": (12, "0.7 * min(size, crop)"), "largest": ("smallest", "0.7 * min(size, crop)"),
    "train": (1, 100_000), "val": (1, 100_000), "test": (1, 100_000),
}  # fmt: skip
PERIOD = 8.0  # of stripes and checks, pixels
MARKER_RADIUS = 6
MARKER_PIXELS = 40  # bright pixels of a marker, ring or cross


@dataclass(frozen=True)
class Scene:
    """image: H W 3 uint8; mask: H W uint8, 0 background, else 1 + class; boxes: [(class, x, y, w, h, area)], pixels."""

    image: np.ndarray
    mask: np.ndarray
    boxes: list


def scene(rng: np.random.Generator, size: int, kinds: list[int], night: bool, smallest: float, largest: float) -> Scene:
    """One image of side `size` with objects of the given class numbers, as far as they find room, and one marker."""
    image = _clutter(rng, size)
    mask = np.zeros((size, size), np.uint8)
    taken = np.zeros((size, size), bool)
    boxes = []
    for kind in kinds:
        shape = _shape(rng, CLASSES[kind], rng.uniform(smallest, largest))
        corner = _room(rng, taken, shape.shape)
        if corner is None:
            continue
        window = np.s_[corner[0] : corner[0] + shape.shape[0], corner[1] : corner[1] + shape.shape[1]]
        image[window][shape] = _paint(rng, CLASSES[kind], shape)
        mask[window][shape] = kind + 1
        taken[window] = True
        boxes.append((kind, corner[1], corner[0], shape.shape[1], shape.shape[0], int(shape.sum())))
    _mark(rng, image, taken, night)
    image += rng.normal(0, 6, image.shape)
    return Scene(image.clip(0, 255).astype(np.uint8), mask, boxes)


def _noise(rng, side: int, sigma: float) -> np.ndarray:
    """Noise, side x side, smooth over about `sigma` pixels, mean 0 and deviation 1: a coarse random grid, enlarged."""
    knots = max(2, round(side / (1.8 * sigma))) + 1
    field = cv2.resize(rng.standard_normal((knots, knots)), (side, side), interpolation=cv2.INTER_CUBIC)
    field -= field.mean()
    return field / max(np.sqrt(np.vdot(field, field) / field.size), 1e-9)


def _clutter(rng, size: int) -> np.ndarray:
    """Background, size x size x 3: noise of three scales, strokes, and scraps of the textures smaller than objects."""
    image = np.zeros((size, size, 3)) + rng.uniform(75, 180, 3)
    for sigma, weight in ((14, 12), (5, 7), (1.5, 5)):
        image += _noise(rng, size, sigma)[..., None] * rng.normal(0, weight, 3)
    for _ in range(size // 10):
        start, angle, length = rng.uniform(0, size, 2), rng.uniform(0, 2 * np.pi), rng.uniform(6, 30)
        end = start + length * np.array([np.cos(angle), np.sin(angle)])
        colour = rng.uniform(40, 215, 3).tolist()
        cv2.line(image, start.astype(int).tolist(), end.astype(int).tolist(), colour, int(rng.integers(1, 3)))
    for _ in range(size // 16):
        scrap = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, rng.integers(4, 11, 2).tolist()) > 0
        top, left = (rng.integers(0, size - side + 1) for side in scrap.shape)
        texture = str(rng.choice(["striped", "checked", "day"]))
        image[top : top + scrap.shape[0], left : left + scrap.shape[1]][scrap] = _paint(rng, texture, scrap)
    return image


def _shape(rng, kind: str, diameter: float) -> np.ndarray:
    """Boolean h x w, cut to its box: an ellipse or a polygon of 3 to 5 sides, rotated and deformed, `serrated` with
    teeth. Its area is that of a disc of `diameter`, exactly, whatever the form.
    """
    side = int(diameter * 1.9) + 3
    grid = (np.arange(side) - (side - 1) / 2) / (diameter / 2)
    x, y = np.meshgrid(grid, grid)
    x = x + 0.13 * _noise(rng, side, diameter / 5)
    y = y + 0.13 * _noise(rng, side, diameter / 5)
    angle, squeeze = rng.uniform(0, 2 * np.pi), rng.uniform(0.75, 1)
    x, y = (np.cos(angle) * x + np.sin(angle) * y) * squeeze, (np.cos(angle) * y - np.sin(angle) * x) / squeeze
    theta = np.arctan2(y, x) % (2 * np.pi)
    sides = int(rng.integers(2, 6))
    outline = np.ones_like(theta)
    if sides > 2:
        step = 2 * np.pi / sides
        outline = (np.cos(step / 2) / np.cos(theta % step - step / 2)) ** 0.7
    teeth = int(rng.integers(7, 10))
    if kind == "serrated":
        outline = outline * (1 + 0.28 * (2 * abs(theta * teeth / (2 * np.pi) % 1 * 2 - 1) - 1))
    depth = np.hypot(x, y) / outline
    area = round(np.pi / 4 * diameter**2)
    shape = depth <= np.partition(depth.ravel(), area - 1)[area - 1]
    rows, columns = np.flatnonzero(shape.any(1)), np.flatnonzero(shape.any(0))
    return shape[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]


def _paint(rng, kind: str, shape: np.ndarray) -> np.ndarray:
    """Colours, pixels x 3, of the pixels of `shape`: a texture whose values are spread alike between two colours."""
    side = max(shape.shape)
    angle, phase = rng.uniform(0, np.pi), rng.uniform(0, 2 * np.pi, 2)
    blotches = _noise(rng, side, PERIOD / 4)
    bend = 2.0 * _noise(rng, side, side / 4)
    rows, columns = np.mgrid[:side, :side] + bend
    across = 2 * np.pi / PERIOD * (columns * np.cos(angle) + rows * np.sin(angle)) + phase[0]
    along = 2 * np.pi / PERIOD * (rows * np.cos(angle) - columns * np.sin(angle)) + phase[1]
    field = {"striped": np.sin(across), "checked": np.sin(across) * np.sin(along)}.get(kind, blotches)
    values = field[: shape.shape[0], : shape.shape[1]][shape] + rng.normal(0, 0.02, shape.sum())
    evenly = values.argsort().argsort() / (len(values) - 1) * 2 - 1
    # Steeper than even and mostly in brightness, so that a texture shows in every channel.
    contrast = 48 * np.sign(evenly) * abs(evenly) ** 0.5
    return rng.uniform(95, 160, 3) + contrast[:, None] * rng.uniform(0.6, 1.4, 3)


def _room(rng, taken: np.ndarray, shape: tuple[int, int]) -> tuple[int, int] | None:
    """(top, left) of a free window of `shape`, two pixels from what is there; None after 40 tries."""
    height, width = shape
    if height > taken.shape[0] or width > taken.shape[1]:
        return None
    for _ in range(40):
        top, left = (int(rng.integers(0, side - length + 1)) for side, length in zip(taken.shape, shape, strict=True))
        if not taken[max(top - 2, 0) : top + height + 2, max(left - 2, 0) : left + width + 2].any():
            return top, left
    return None


def _mark(rng, image: np.ndarray, taken: np.ndarray, night: bool) -> None:
    """Draws the marker, a dark disc with a bright ring (day) or cross (night), where it is far from all objects."""
    radius, size = MARKER_RADIUS, len(image)
    tries = rng.integers(radius, size - radius, (40, 2))
    distance = cv2.distanceTransform((~taken).astype(np.uint8), cv2.DIST_L2, 3)[tuple(tries.T)]
    # The first that is far enough, not the farthest: the place of a marker must not tell where the objects are not.
    tries = tries[distance >= min(radius + 2, distance.max())]
    row, column = tries[0]
    y, x = np.mgrid[-radius : radius + 1, -radius : radius + 1]
    angle = rng.uniform(0, np.pi / 2)
    u, v = x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)
    disc = np.hypot(x, y) <= radius
    thickness = np.minimum(abs(u), abs(v)) if night else abs(np.hypot(x, y) - 3.5)
    thickness = np.where(disc, thickness + rng.uniform(0, 1e-3, disc.shape), np.inf)
    bright = thickness <= np.partition(thickness.ravel(), MARKER_PIXELS - 1)[MARKER_PIXELS - 1]
    window = image[row - radius : row + radius + 1, column - radius : column + radius + 1]
    window[disc] = 25
    window[bright] = 235


def draw(rng, number: int) -> tuple[list[int], bool]:
    """(class numbers of `number` objects, night): each class equally often; day and night never meet in one scene."""
    night = bool(rng.random() < 0.5)
    kinds = [int(kind) for kind in rng.choice(5, number)]
    return [kind if kind < 3 else 3 + night for kind in kinds], night


def build(folder: Path, params: dict, source: Source) -> dict:
    """Writes images/, masks/, annotations/ (COCO) and classes/ into `folder`; returns the facts of the manifest.

    A classification image is a scene of its own with one object and the marker. `source` is not used: nothing is read.
    """
    counts = {}
    for number, split in enumerate(SPLITS):
        rng = np.random.default_rng([params["seed"], number])
        counts[split] = params[split]
        counts[f"{split}_boxes"] = _write_scenes(folder, split, rng, params)
        per_class = params["per_class"] if split == "train" else max(1, params["per_class"] // 4)
        counts[f"{split}_per_class"] = per_class
        _write_classes(folder, split, rng, params, per_class)
    return {
        "task": "shapes",
        "classes": list(CLASSES),
        "mask_classes": ["background", *CLASSES],
        "size": [params["size"], params["size"]],
        "class_size": [params["crop"], params["crop"]],
        "counts": counts,
        "skipped": {},
    }


def _write_scenes(folder: Path, split: str, rng, params: dict) -> int:
    images, annotations = [], []
    for sub in ("images", "masks"):
        (folder / sub / split).mkdir(parents=True)
    for number in range(params[split]):
        kinds, night = draw(rng, int(rng.integers(max(1, params["objects"] - 1), params["objects"] + 1)))
        drawn = scene(rng, params["size"], kinds, night, params["smallest"], params["largest"])
        name = f"{number:05d}.png"
        _save(folder / "images" / split / name, drawn.image)
        _save(folder / "masks" / split / name, drawn.mask)
        images.append({"id": number + 1, "file_name": name, "width": params["size"], "height": params["size"]})
        for kind, *box, area in drawn.boxes:
            annotations.append({"id": len(annotations) + 1, "image_id": number + 1, "category_id": kind + 1,
                                "bbox": box, "area": area, "iscrowd": 0})  # fmt: skip
    categories = [{"id": number + 1, "name": name} for number, name in enumerate(CLASSES)]
    (folder / "annotations").mkdir(exist_ok=True)
    content = {"images": images, "annotations": annotations, "categories": categories}
    (folder / "annotations" / f"{split}.json").write_text(json.dumps(content), encoding="utf-8")
    return len(annotations)


def _write_classes(folder: Path, split: str, rng, params: dict, per_class: int) -> None:
    for kind, name in enumerate(CLASSES):
        (folder / "classes" / split / name).mkdir(parents=True)
        for number in range(per_class):
            night = name == "night" or (name != "day" and bool(rng.random() < 0.5))
            drawn = scene(rng, params["crop"], [kind], night, params["smallest"], params["largest"])
            while not drawn.boxes:  # a form too long for the crop
                drawn = scene(rng, params["crop"], [kind], night, params["smallest"], params["largest"])
            _save(folder / "classes" / split / name / f"{number:05d}.png", drawn.image)


def _save(path: Path, pixels: np.ndarray) -> None:
    from PIL import Image

    Image.fromarray(pixels).save(path, compress_level=1)
