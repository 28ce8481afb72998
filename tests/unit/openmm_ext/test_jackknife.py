"""Pseudo-values of mean IoU and box AP, held against scoring anew without each image."""

import contextlib
import io
import time

import numpy as np
import pytest
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from plugins.openmm_ext.jackknife import box_ap_without, mean_iou, mean_iou_without, pseudo_values


def test_pseudo_values_of_a_mean_are_the_values():
    values = np.array([3.0, 1.0, 7.0, 5.0])
    without = (values.sum() - values) / 3
    assert pseudo_values(values.mean(), without) == pytest.approx(values)


def test_one_item_and_nothing_left():
    assert pseudo_values(40.0, np.array([np.nan])).tolist() == [40.0]
    assert pseudo_values(40.0, np.array([np.nan, 40.0])).tolist() == [80.0, 40.0]


def test_mean_iou_leaves_out_classes_that_do_not_occur():
    assert mean_iou(np.array([1, 0, 0]), np.array([2, 4, 0])) == 0.25
    assert np.isnan(mean_iou(np.zeros(2), np.zeros(2)))


def test_mean_iou_without_is_that_of_the_others():
    rng = np.random.default_rng(0)
    union = rng.integers(0, 50, (7, 4)) * (rng.random((7, 4)) < 0.5)
    union[:, 3] = 0
    union[2, 3] = 9  # a class of one image alone
    intersect = (union * rng.random((7, 4))).astype(int)
    for image, value in enumerate(mean_iou_without(intersect, union)):
        others = np.arange(7) != image
        assert value == pytest.approx(mean_iou(intersect[others].sum(0), union[others].sum(0)))


def boxes_of(rng, images: int, classes: int, detections: int) -> tuple[dict, list[dict]]:
    """COCO annotations, some of them crowds, and detections near and far from them, many of equal score."""
    content = {
        "info": {},
        "images": [{"id": 3 * number + 1, "width": 100, "height": 100} for number in range(images)],
        "categories": [{"id": number + 1, "name": str(number)} for number in range(classes)],
        "annotations": [],
    }
    detected = []
    for image in content["images"]:
        for _ in range(rng.integers(0, 4)):
            x, y, width, height = (float(v) for v in (*rng.uniform(0, 60, 2), *rng.uniform(5, 40, 2)))
            kind = int(rng.integers(1, classes + 1))
            box = {"id": len(content["annotations"]) + 1, "image_id": image["id"], "category_id": kind}
            crowd = int(rng.random() < 0.1)
            content["annotations"].append(
                box | {"bbox": [x, y, width, height], "area": width * height, "iscrowd": crowd}
            )
            near = [x + rng.normal(0, 3), y + rng.normal(0, 3), width, height]
            detected.append({"image_id": image["id"], "category_id": kind, "bbox": [float(v) for v in near]})
        for _ in range(rng.integers(0, detections)):
            box = [float(v) for v in (*rng.uniform(0, 60, 2), *rng.uniform(5, 40, 2))]
            kind = int(rng.integers(1, classes + 1))
            detected.append({"image_id": image["id"], "category_id": kind, "bbox": box})
    return content, [detection | {"score": round(float(rng.random()), 1)} for detection in detected]


def evaluated(content: dict, detections: list[dict], images: list[int]) -> COCOeval:
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO()
        truth.dataset = content
        truth.createIndex()
        evaluation = COCOeval(truth, truth.loadRes(detections), "bbox")
        evaluation.params.imgIds = images
        evaluation.params.maxDets = [100, 300, 1000]
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return evaluation


@pytest.mark.parametrize("seed", range(4))
def test_box_ap_without_is_that_of_the_others(seed):
    content, detections = boxes_of(np.random.default_rng(seed), images=8, classes=3, detections=5)
    images = [image["id"] for image in content["images"]]
    without = box_ap_without(evaluated(content, detections, images))
    assert len(set(np.round(without, 6))) > 4
    for image, value in zip(images, without, strict=True):
        others = [other for other in images if other != image]
        assert value == pytest.approx(evaluated(content, detections, others).stats[0], abs=1e-12)


def test_without_the_only_image_that_has_boxes_nothing_is_left_to_be_found():
    content, detections = boxes_of(np.random.default_rng(0), images=3, classes=2, detections=5)
    images = [image["id"] for image in content["images"]]
    only = content["annotations"][0]["image_id"]
    content["annotations"] = [box for box in content["annotations"] if box["image_id"] == only]
    without = box_ap_without(evaluated(content, detections, images))
    assert np.isnan(without).tolist() == [image == only for image in images]


def test_five_hundred_images_take_seconds():
    content, detections = boxes_of(np.random.default_rng(0), images=500, classes=5, detections=60)
    evaluation = evaluated(content, detections, [image["id"] for image in content["images"]])
    start = time.perf_counter()
    box_ap_without(evaluation)
    assert time.perf_counter() - start < 30
