"""Scores, items and chance of each task on made-up results of the packages' metrics."""

import math

import numpy as np
import pytest
import torch
from mmdet.evaluation import CocoMetric

from plugins.openmm_ext.tasks import classification, detection, segmentation
from tests.integration.conftest import make_boxes


def classified(labels: list[int], likely: list[list[float]]) -> list[dict]:
    return [
        {"gt_label": torch.tensor([k]), "pred_score": torch.tensor(row)} for k, row in zip(labels, likely, strict=True)
    ]


def test_items_of_a_classifier_are_right_or_wrong():
    likely = torch.eye(7)[[0, 1, 2]] + 0.01 * torch.arange(7)
    results = classified([0, 3, 6], likely.tolist())
    metrics, items = classification.scored({"accuracy/top1": 33.33334, "accuracy/top5": 100}, results, None)
    assert items == {
        "score": [100, 0, 0], "label": [0, 3, 6], "predicted": [0, 1, 2], "top5": [True, True, True]
    }  # fmt: skip
    assert metrics == {"top1": 33.3333, "top5": 100}


def test_fewer_than_five_classes_are_all_among_the_likeliest():
    _, items = classification.scored(
        {"accuracy/top1": 0, "accuracy/top5": 0}, classified([1, 0], [[0.9, 0.1], [0.2, 0.8]]), None
    )
    assert items["top5"] == [True, True] and items["score"] == [0, 0]


@pytest.mark.parametrize(
    ("loss", "expected"),
    [
        ({"type": "CrossEntropyLoss", "loss_weight": 1.0}, math.log(4)),
        ({"type": "LabelSmoothLoss", "label_smooth_val": 0.1, "mode": "original"}, math.log(4)),
        ({"type": "LabelSmoothLoss", "mode": "multi_label", "use_sigmoid": True}, None),
    ],
)
def test_chance_of_a_classifier(loss, expected):
    results = classified([0, 1, 1, 2], [[1.0, 0, 0, 0]] * 4)
    known = classification.chance(results, {"head": {"num_classes": 4, "loss": loss}})
    assert known["metric"] == 50 and known.get("loss") == expected


def segmented(pixels: list[tuple]) -> list[tuple]:
    return [tuple(torch.tensor(part, dtype=torch.float32) for part in image) for image in pixels]


def test_items_of_a_segmentor_are_pixels_by_class():
    results = segmented([([3, 1], [4, 2], [4, 1], [3, 2]), ([0, 5], [1, 6], [0, 6], [1, 5])])
    scores = {"mIoU": 67.5, "aAcc": 81.82, "mAcc": 80.0}
    metrics, items = segmentation.scored(scores, results, None)
    assert metrics == {"miou": 67.5, "pixel_accuracy": 81.82, "class_accuracy": 80}
    assert items["intersect"] == [[3, 1], [0, 5]] and items["union"] == [[4, 2], [1, 6]]
    whole, without = 100 * (3 / 5 + 6 / 8) / 2, (100 * (0 + 5 / 6) / 2, 100 * (3 / 4 + 1 / 2) / 2)
    assert items["score"] == pytest.approx([2 * whole - other for other in without])


def test_chance_of_a_segmentor_is_no_100_over_classes():
    head = {"loss_decode": {"type": "CrossEntropyLoss", "loss_weight": 2.0, "class_weight": [0.25, 1, 1]}}
    results = segmented([([0] * 3, [0] * 3, [0] * 3, [80, 10, 10])])
    known = segmentation.chance(results, {"decode_head": head})
    often = (0.8 / 1.2 + 2 * 0.1 / 1.9) / 3  # each class as often as it occurs
    assert known["metric"] == pytest.approx(100 * max(0.8 / 3, often))
    assert known["loss"] == pytest.approx(2 * math.log(3))


def test_chance_of_even_classes_is_that_of_drawing():
    results = segmented([([0] * 2, [0] * 2, [0] * 2, [50, 50])])
    known = segmentation.chance(results, {"decode_head": {"loss_decode": {"type": "FocalLoss"}}})
    assert known == {"metric": pytest.approx(100 / 3)}  # 1 / (2 C - 1)


@pytest.fixture(scope="module")
def metric(tmp_path_factory) -> CocoMetric:
    folder = make_boxes(tmp_path_factory.mktemp("tiny") / "data")
    metric = CocoMetric(ann_file=str(folder / "annotations" / "test.json"), metric="bbox")
    metric.dataset_meta = {"classes": ("box", "disc")}
    return metric


def detected(metric: CocoMetric, spread: float, kept: int = 99) -> list[tuple[dict, dict]]:
    """The true boxes moved by some pixels, with random scores."""
    rng, api = np.random.default_rng(0), metric._coco_api
    results = []
    for image in api.getImgIds():
        truth = api.imgToAnns[image][:kept]
        corners = np.array([[x, y, x + w, y + h] for x, y, w, h in (box["bbox"] for box in truth)]).reshape(-1, 4)
        boxes = (corners + rng.normal(0, spread, corners.shape)).astype(np.float32)
        labels = np.array([box["category_id"] - 1 for box in truth], int)
        scores = rng.random(len(truth)).astype(np.float32)
        result = {"img_id": image, "bboxes": boxes, "scores": scores, "labels": labels}
        results.append(({"img_id": image, "width": 64, "height": 64}, result))
    return results


def test_items_of_a_detector_are_its_boxes_and_its_metrics_are_not_rounded(metric):
    results = detected(metric, spread=2)
    scores = {f"coco/{key}": value for key, value in metric.compute_metrics(results).items()}
    metrics, items = detection.scored(scores, results, metric)
    assert metrics["box_ap"] == pytest.approx(100 * scores["coco/bbox_mAP"], abs=0.051)
    assert metrics["box_ap"] != round(metrics["box_ap"], 1)
    assert np.mean(items["score"]) == pytest.approx(metrics["box_ap"], abs=15) and np.std(items["score"]) > 0
    x0, y0, x1, y1 = results[0][1]["bboxes"][0].tolist()
    assert items["boxes"][0][0] == [x0, y0, x1 - x0, y1 - y0] and items["labels"][0] == [0, 1]


def test_a_detector_that_finds_nothing_scores_nothing(metric):
    results = detected(metric, spread=2, kept=0)
    metrics, items = detection.scored(metric.compute_metrics(results), results, metric)
    assert set(metrics.values()) == {0} and items["score"] == [0] * 6 and items["boxes"] == [[]] * 6


def test_scores_that_do_not_agree_with_the_package_are_an_error(metric):
    results = detected(metric, spread=2)
    scores = {f"coco/{key}": value for key, value in metric.compute_metrics(results).items()}
    with pytest.raises(RuntimeError, match="box_ap: .* by pycocotools, but mmdet says"):
        detection.scored(scores | {"coco/bbox_mAP": 0.9}, results, metric)
    with pytest.raises(RuntimeError, match="not those of the annotation file in its order"):
        detection.scored(scores, results[::-1], metric)
