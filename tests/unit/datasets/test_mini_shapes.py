"""The made-up shapes: files that agree with each other, and classes that no pixel statistic gives away."""

import json

import numpy as np
import pytest
from PIL import Image
from scipy.stats import binomtest

from plugins.datasets import mini_shapes as mini
from plugins.datasets.prepare import prepare
from plugins.suite.data import verify

SMALL = {"train": 12, "val": 3, "test": 3, "per_class": 4}


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    out = tmp_path_factory.mktemp("data") / "mini_shapes"
    return out, prepare("mini_shapes", out, SMALL)


def test_counts_and_checksum(prepared, tmp_path):
    out, manifest = prepared
    assert verify(out / "manifest.json") == manifest
    assert manifest["classes"] == ["striped", "checked", "serrated", "day", "night"]
    assert len(list((out / "images" / "train").iterdir())) == 12 == manifest["counts"]["train"]
    assert len(list((out / "classes").glob("*/*/*.png"))) == 5 * (4 + 1 + 1)
    assert prepare("mini_shapes", tmp_path / "again", SMALL)["checksum"] == manifest["checksum"]
    assert prepare("mini_shapes", tmp_path / "other", SMALL | {"seed": 2})["checksum"] != manifest["checksum"]


def test_boxes_and_masks_agree(prepared):
    out, manifest = prepared
    for split in ("train", "val", "test"):
        coco = json.loads((out / "annotations" / f"{split}.json").read_text())
        assert [c["name"] for c in coco["categories"]] == manifest["classes"]
        assert [c["id"] for c in coco["categories"]] == [1, 2, 3, 4, 5]
        for image in coco["images"]:
            pixels = np.array(Image.open(out / "images" / split / image["file_name"]))
            mask = np.array(Image.open(out / "masks" / split / image["file_name"]))
            assert pixels.shape == (96, 96, 3) and mask.shape == (96, 96) and mask.max() <= 5
            boxes = [a for a in coco["annotations"] if a["image_id"] == image["id"]]
            assert boxes and not {4, 5} <= {a["category_id"] for a in boxes}, "day and night never meet"
            for a in boxes:
                x, y, width, height = a["bbox"]
                inside = mask[y : y + height, x : x + width] == a["category_id"]
                assert inside.sum() == a["area"]
                assert inside.any(0).all() or inside.any(0)[[0, -1]].all()
                mask[y : y + height, x : x + width][inside] = 0
            assert not mask.any(), "every object pixel has its box"


def test_objects_have_the_promised_sizes():
    rng = np.random.default_rng(1)
    areas = {kind: [mini._shape(rng, kind, 30.0).sum() for _ in range(5)] for kind in mini.CLASSES}
    assert {int(area) for kind in areas for area in areas[kind]} == {round(np.pi / 4 * 900)}


def test_the_values_of_a_texture_are_spread_alike():
    rng = np.random.default_rng(1)
    shape = mini._shape(rng, "day", 30.0)
    evenly = np.linspace(-1, 1, shape.sum())
    expected = np.sign(evenly) * abs(2 * evenly) ** 0.5
    for kind in mini.CLASSES:
        colours = mini._paint(rng, kind, shape)
        channel = np.sort((colours[:, 0] - colours[:, 0].mean()) / colours[:, 0].std())
        assert np.allclose(channel, expected, atol=0.02)


def test_both_markers_have_the_same_pixels():
    counts = []
    for night in (False, True):
        image = np.full((40, 40, 3), 128.0)
        mini._mark(np.random.default_rng(3), image, np.zeros((40, 40), bool), night)
        counts.append([(image[..., 0] == value).sum() for value in (25, 235)])
    assert counts[0] == counts[1] and counts[0][1] == mini.MARKER_PIXELS


def images(number: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """`number` classification images a class, 64 x 64, and their class numbers."""
    rng = np.random.default_rng(seed)
    scenes = []
    labels = np.repeat(np.arange(5), number)
    for kind in labels:
        night = kind == 4 or (kind < 3 and rng.random() < 0.5)
        scenes.append(mini.scene(rng, 64, [int(kind)], bool(night), 22.0, 40.0).image)
    return np.array(scenes), labels


def histogram(batch: np.ndarray) -> np.ndarray:
    """16 bins a channel and 32 of the mean over channels."""
    channels = [*np.moveaxis(batch, 3, 0), batch.mean(3)]
    bins = [16, 16, 16, 32]
    return np.array(
        [
            np.concatenate(
                [np.histogram(channel[i], n, (0, 256))[0] for channel, n in zip(channels, bins, strict=True)]
            )
            for i in range(len(batch))
        ]
    )


def pixels(batch: np.ndarray) -> np.ndarray:
    """All pixels, averaged over 2 x 2."""
    return batch.reshape(len(batch), 32, 2, 32, 2, 3).mean((2, 4)).reshape(len(batch), -1)


def linear_probe(train, labels, test) -> np.ndarray:
    """Class numbers that a linear model gives to `test`: ridge regression on the classes, in its dual form, on features
    of mean 0 and deviation 1."""
    mean, deviation = train.mean(0), train.std(0) + 1e-9
    train, test = (train - mean) / deviation, (test - mean) / deviation
    kernel = train @ train.T / train.shape[1] + np.eye(len(train))
    weights = np.linalg.solve(kernel, np.eye(5)[labels] - 0.2)
    return (test @ train.T / train.shape[1] @ weights).argmax(1)


def chance_bound(number: int) -> float:
    """The share of right answers that guessing one of five classes exceeds in one of 1,000 tests of `number` images."""
    return binomtest(round(0.2 * number), number, 0.2).proportion_ci(0.998, "wilson").high


def test_no_pixel_statistic_gives_a_class_away():
    """Chance is 0.2 of five classes; with 400 test images the bound is 0.268."""
    (train, labels), (test, truth) = images(150, 1), images(80, 2)
    assert 0.26 < chance_bound(len(truth)) < 0.27
    for features in (histogram, pixels):
        right = (linear_probe(features(train), labels, features(test)) == truth).mean()
        assert right < chance_bound(len(truth)), f"{features.__name__}: {right:.3f}"


def test_the_probe_would_see_a_class_that_differs_in_colour():
    """The bound is no empty promise: 40 grey levels of red on one class in five are found."""
    (train, labels), (test, truth) = images(60, 1), images(40, 2)
    for batch, kinds in ((train, labels), (test, truth)):
        batch[kinds == 0] = (batch[kinds == 0].astype(int) + [40, 0, 0]).clip(0, 255)
    assert (linear_probe(pixels(train), labels, pixels(test)) == truth).mean() > chance_bound(len(truth))
