"""What each item contributes to a metric that is no mean over items: the jackknife's pseudo-values.

    p_i = n theta - (n - 1) theta_{-i}

theta is the metric of all n items, theta_{-i} that of all but item i. The mean of the p_i estimates the metric and
their spread its variance over items (Tukey 1958), as the per-item scores of an accuracy do.
"""

from __future__ import annotations

import numpy as np


def pseudo_values(whole: float, without: np.ndarray) -> np.ndarray:
    """whole: the metric of all n items. without [n]: of all but item i, nan where nothing is left to be scored (as 0).

    A single item is the metric.
    """
    if len(without) == 1:
        return np.array([whole])
    return len(without) * whole - (len(without) - 1) * np.nan_to_num(without)


def mean_iou(intersect: np.ndarray, union: np.ndarray) -> np.ndarray:
    """Mean over the classes that occur, in 0..1; [..., classes] -> [...]; nan where none occurs."""
    occurs = union > 0
    shares = np.divide(intersect, union, out=np.zeros(np.shape(union)), where=occurs)
    classes = occurs.sum(-1)
    return np.divide(shares.sum(-1), classes, out=np.full(np.shape(classes), np.nan), where=classes > 0)


def mean_iou_without(intersect: np.ndarray, union: np.ndarray) -> np.ndarray:
    """[images, classes] of pixels -> [images]: the mean IoU with that image left out."""
    return mean_iou(intersect.sum(0) - intersect, union.sum(0) - union)


def box_ap_without(evaluation) -> np.ndarray:
    """[images]: COCO's box AP (0..1) with that image left out, nan where no box is left to be found.

    evaluation: pycocotools' `COCOeval` after `evaluate()`; images in the order of its sorted ids. Its matches of boxes
    are kept: they are made image by image, so only the precision-recall curves of the classes of an image change.
    """
    params = evaluation.params
    images, areas = len(params.imgIds), len(params.areaRng)
    thresholds = len(params.iouThrs)
    total, classes = np.zeros(images), np.zeros(images)
    for number in range(len(params.catIds)):
        start = number * areas * images  # the first area range is all sizes
        precision, counted = _class_ap_without(evaluation.evalImgs[start : start + images], params)
        total += np.where(counted, precision, 0)
        classes += counted
    return np.divide(total, classes * thresholds, out=np.full(images, np.nan), where=classes > 0)


def _class_ap_without(entries: list[dict | None], params) -> tuple[np.ndarray, np.ndarray]:
    """Of one class, by left-out image: the sum of AP over the IoU thresholds, and whether any true box remains."""
    boxes = np.array([0 if entry is None else int(np.sum(np.logical_not(entry["gtIgnore"]))) for entry in entries])
    remaining = boxes.sum() - boxes
    if not boxes.sum():
        return np.zeros(len(entries)), remaining > 0
    most = params.maxDets[0]
    there = [image for image, entry in enumerate(entries) if entry is not None]
    scores = np.concatenate([np.asarray(entries[image]["dtScores"][:most], float) for image in there])
    of_image = np.concatenate([np.full(len(entries[image]["dtScores"][:most]), image) for image in there])
    order = np.argsort(-scores, kind="mergesort")  # COCO's: equal scores stay in the order of images
    matched = np.concatenate([entries[image]["dtMatches"][:, :most] for image in there], axis=1)[:, order] != 0
    ignored = np.concatenate([entries[image]["dtIgnore"][:, :most] for image in there], axis=1)[:, order] != 0
    of_image = of_image[order]
    total = np.zeros(len(entries))
    for hits, skipped in zip(matched, ignored, strict=True):
        total += _threshold_ap_without(hits & ~skipped, ~hits & ~skipped, of_image, boxes, params.recThrs)
    return total, remaining > 0


def _threshold_ap_without(
    true: np.ndarray, false: np.ndarray, of_image: np.ndarray, boxes: np.ndarray, levels: np.ndarray
) -> np.ndarray:
    """AP by left-out image, of one class at one IoU threshold.

    true, false [detections]: right and wrong ones, by falling score. of_image: their image. boxes [images]: true boxes.
    Precision falls between right detections and peaks at them, so that these alone carry the curve.
    """
    hits, misses = np.flatnonzero(true), np.flatnonzero(false)
    hit_image, miss_image = of_image[hits], of_image[misses]
    false_before = np.searchsorted(misses, hits).astype(float)
    whole = _average_precision(false_before, boxes.sum(), levels)
    without = np.full(len(boxes), whole)
    for image in np.union1d(np.flatnonzero(boxes), of_image):
        kept = hit_image != image
        left = false_before[kept] - np.searchsorted(misses[miss_image == image], hits[kept])
        without[image] = _average_precision(left, boxes.sum() - boxes[image], levels)
    return without


def _average_precision(false_before: np.ndarray, boxes: int, levels: np.ndarray) -> float:
    """Mean interpolated precision over the recall `levels`. false_before: [right detections], by falling score."""
    if not boxes:
        return 0.0
    right = np.arange(1, len(false_before) + 1)
    precision = right / (false_before + right + np.spacing(1))
    envelope = np.maximum.accumulate(precision[::-1])[::-1]
    places = np.searchsorted(right / boxes, levels, side="left")
    return float(envelope[places[places < len(right)]].sum() / len(levels))
