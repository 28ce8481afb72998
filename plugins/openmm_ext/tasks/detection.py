"""Detection by mmdet: where the operators go, where the data lie, scores image by image, a fixed input.

Places are those of the paper's released settings: attention behind the 3x3 convolution of every bottleneck of conv4 and
conv5, deformable convolution (without modulation, one offset group) in place of that convolution in conv3 to conv5.
Dynamic convolution takes attention's place; where the paper has it is not known.
"""

import contextlib
import copy
import io
import json
from functools import partial
from pathlib import Path

import numpy as np
import torch

from plugins.openmm_ext import pictures
from plugins.openmm_ext.families.pyramid import place_backbone as place_backbone
from plugins.openmm_ext.jackknife import box_ap_without, pseudo_values
from plugins.suite.errors import UserError

NAME = "detection"
SCOPE = "mmdet"
OPTIONS = ()
METRICS = {
    "box_ap": ("coco/bbox_mAP", 100),
    "box_ap50": ("coco/bbox_mAP_50", 100),
    "box_ap75": ("coco/bbox_mAP_75", 100),
}
PRIMARY = "box_ap"
IMPORTS = ()
write_pictures = partial(pictures.write_pictures, kind="boxes")


def place_layer(model: dict, option: str, layer: dict) -> None:
    """Put a layer behind the 3x3 convolutions of conv4 and conv5; UserError where another option's layer stands."""
    other = model["backbone"].get("plugins")
    if other:
        raise UserError(f"model.{option}: takes the place of {other[0]['cfg']['type']}; set one of the two to null")
    model["backbone"]["plugins"] = [
        {"cfg": layer, "stages": (False, False, True, True), "position": "after_conv2"},
    ]


def place_data(cfg: dict, folder: str, manifest: dict, split: str) -> None:
    """Point loaders and evaluator at a prepared folder (images/<split>, annotations/<split>.json).

    A `Resize` without a scale takes the manifest's `size` (width, height).
    `split` is the one to score; the validation set joins as `valid_dataset`, read as in training but for random steps.
    """
    classes = tuple(manifest["classes"])
    box_head(cfg["model"])["num_classes"] = len(classes)
    valid = copy.deepcopy(cfg["train_dataloader"]["dataset"])
    valid["pipeline"] = [step for step in valid["pipeline"] if not step["type"].startswith("Random")]
    train, test = cfg["train_dataloader"]["dataset"], cfg["test_dataloader"]["dataset"]
    for dataset, part in ((train, "train"), (valid, "val"), (test, split)):
        dataset["data_root"] = folder
        dataset["ann_file"] = f"annotations/{part}.json"
        dataset["data_prefix"] = {"img": f"images/{part}/"}
        dataset["metainfo"] = {"classes": classes}
        for step in dataset["pipeline"]:
            if step["type"] == "Resize" and step["scale"] is None:
                step["scale"] = tuple(manifest["size"])
    cfg["valid_dataset"] = valid  # a copy is kept, so it comes last
    cfg["test_evaluator"]["ann_file"] = f"{folder}/annotations/{split}.json"


def box_head(model):
    """The head that scores classes, of a two-stage detector or of a one-stage one, in its config."""
    return model["roi_head"]["bbox_head"] if "roi_head" in model else model["bbox_head"]


def annotation_error(folder: Path, manifest: dict) -> str | None:
    """The first thing wrong with the annotations, as "file: what"; None where all is well."""
    for split in manifest.get("splits", ("train", "val", "test")):
        path = folder / "annotations" / f"{split}.json"
        try:
            content = json.loads(path.read_text())
            images = {image["id"]: image for image in content["images"]}
            names = [category["name"] for category in content["categories"]]
            categories = {category["id"] for category in content["categories"]}
            annotations = content["annotations"]
        except FileNotFoundError:
            return f"{path}: missing"
        except (ValueError, KeyError, TypeError) as error:
            return f"{path}: not COCO annotations ({type(error).__name__}: {error})"
        if names != list(manifest["classes"]):
            return f"{path}: categories {names} are not the manifest's classes {list(manifest['classes'])}"
        if not images or not annotations:
            return f"{path}: no images or no boxes"
        for image in images.values():
            if not (folder / "images" / split / image["file_name"]).is_file():
                return f"{folder / 'images' / split / image['file_name']}: missing, but listed in {path}"
        for annotation in annotations:
            problem = _box_error(annotation, images, categories)
            if problem:
                return f"{path}: annotation {annotation.get('id')}: {problem}"
    return None


def _box_error(annotation: dict, images: dict, categories: set) -> str | None:
    image = images.get(annotation.get("image_id"))
    if image is None:
        return f"image_id {annotation.get('image_id')} is not among the images"
    if annotation.get("category_id") not in categories:
        return f"category_id {annotation.get('category_id')} is not among the categories"
    box = annotation.get("bbox")
    if not isinstance(box, list) or len(box) != 4 or not all(isinstance(side, int | float) for side in box):
        return f"bbox {box} is not [x, y, width, height]"
    x, y, width, height = box
    if width <= 0 or height <= 0:
        return f"bbox {box} is degenerate (no width or no height)"
    if x >= image["width"] or y >= image["height"] or x + width <= 0 or y + height <= 0:
        return f"bbox {box} lies outside its {image['width']}x{image['height']} image"
    return None


def scored(scores: dict, results: list[tuple[dict, dict]], metric) -> tuple[dict, dict]:
    """(metrics, items) of a split. results: what mmdet's `CocoMetric` kept of each image.

    `CocoMetric` rounds to a tenth of a point: the metrics are those of pycocotools' same evaluation, held against it.
    Without a single detection, which it does not score, all are 0.
    Items: boxes ([x, y, width, height] in pixels of the image), scores, labels (numbers of classes) of the detections,
    score (the image's jackknife pseudo-value of box AP, in percent).
    """
    detections = [prediction for _, prediction in results]
    if [prediction["img_id"] for prediction in detections] != metric.img_ids:
        raise RuntimeError("the scored images are not those of the annotation file in its order")
    items = {
        "boxes": [[_box(box) for box in prediction["bboxes"]] for prediction in detections],
        "scores": [prediction["scores"].tolist() for prediction in detections],
        "labels": [prediction["labels"].tolist() for prediction in detections],
    }
    if not any(items["scores"]):
        return dict.fromkeys(METRICS, 0.0), {"score": [0.0] * len(results), **items}
    evaluation = _evaluation(items, metric)
    metrics = {ours: round(100 * float(evaluation.stats[place]), 4) for place, ours in enumerate(METRICS)}
    for ours, (theirs, factor) in METRICS.items():
        if abs(metrics[ours] - factor * scores[theirs]) > 0.06:
            raise RuntimeError(f"{ours}: {metrics[ours]} by pycocotools, but mmdet says {factor * scores[theirs]}")
    values = pseudo_values(100 * float(evaluation.stats[0]), 100 * box_ap_without(evaluation))
    by_id = dict(zip(evaluation.params.imgIds, values.tolist(), strict=True))
    return metrics, {"score": [by_id[image] for image in metric.img_ids], **items}


def _box(corners: np.ndarray) -> list[float]:
    x0, y0, x1, y1 = corners.tolist()
    return [x0, y0, x1 - x0, y1 - y0]


def _evaluation(items: dict, metric):
    """pycocotools' evaluation as `CocoMetric` sets it up."""
    from pycocotools.cocoeval import COCOeval

    rows = zip(metric.img_ids, items["boxes"], items["scores"], items["labels"], strict=True)
    detections = [
        {"image_id": image, "bbox": box, "score": score, "category_id": metric.cat_ids[label]}
        for image, *row in rows
        for box, score, label in zip(*row, strict=True)
    ]
    with contextlib.redirect_stdout(io.StringIO()):
        evaluation = COCOeval(metric._coco_api, metric._coco_api.loadRes(detections), "bbox")
        evaluation.params.catIds, evaluation.params.imgIds = metric.cat_ids, metric.img_ids
        evaluation.params.maxDets = list(metric.proposal_nums)
        evaluation.params.iouThrs = metric.iou_thrs
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return evaluation


def chance(results: list, model: dict) -> dict[str, float]:
    """metric: 0, a box that is guessed is found nowhere; the loss of a detector that knows nothing is not known."""
    return {"metric": 0.0}


def cost_forward(model, measure: dict):
    """A function of no argument: one inference of one image on the meta device, `measure` as in `fixed_work`.

    The region features are made up: cutting them out of the maps costs no counted multiply-add.
    """
    image = torch.empty(1, 3, measure["height"], measure["width"], device="meta")
    if not hasattr(model, "roi_head"):
        return lambda: model.bbox_head(model.extract_feat(image))
    head = model.roi_head
    size = head.bbox_roi_extractor.roi_layers[0].output_size
    regions = torch.empty(measure["proposals"], head.bbox_roi_extractor.out_channels, *size, device="meta")
    return lambda: (model.rpn_head(model.extract_feat(image)), head.bbox_head(regions))


def fixed_work(model, measure: dict):
    """Two functions of no argument on a fixed batch of noise: an inference of one image, and the losses of the batch.

    `measure`: height, width (pixels), batch, proposals (regions an image, for two stages). Inference is backbone, neck,
    and the heads up to their maps, or the region head and the box head on fixed proposals; the losses are the package's
    own, on four fixed boxes an image.
    """
    from mmdet.structures import DetDataSample
    from mmengine.structures import InstanceData

    height, width, batch = measure["height"], measure["width"], measure["batch"]
    generator = torch.Generator().manual_seed(0)
    device = next(model.parameters()).device
    images = torch.randn(batch, 3, height, width, generator=generator).to(device)
    size = torch.tensor([width, height, width, height], dtype=torch.float32)
    corner, extent = torch.rand(2, measure.get("proposals", 1), 2, generator=generator)
    regions = torch.cat([corner * 0.6, corner * 0.6 + 0.1 + extent * 0.3], dim=1) * size
    boxes = (
        torch.tensor([[0.1, 0.1, 0.4, 0.4], [0.5, 0.1, 0.9, 0.5], [0.2, 0.5, 0.5, 0.9], [0.6, 0.6, 0.8, 0.8]]) * size
    )
    truth = InstanceData(bboxes=boxes.to(device), labels=torch.zeros(len(boxes), dtype=torch.long, device=device))
    shape = (height, width)
    facts = {"img_shape": shape, "ori_shape": shape, "pad_shape": shape, "batch_input_shape": shape}
    sample = DetDataSample(metainfo={**facts, "scale_factor": (1.0, 1.0)})
    sample.gt_instances, sample.ignored_instances = truth, truth[:0]
    proposals = [InstanceData(bboxes=regions.to(device))]

    def inference():
        features = model.extract_feat(images[:1])
        if not hasattr(model, "roi_head"):
            return model.bbox_head(features)
        return model.rpn_head(features), model.roi_head.forward(features, proposals)

    return inference, lambda: model.loss(images, [sample] * batch)
