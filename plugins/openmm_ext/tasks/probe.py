"""Image probes by mmseg: where the operators go, where the arrays lie, scores image by image, a fixed input.

A probe's labels stand on tokens, and its network is a stem and one layer (`ConvattnProbeNet`) or a whole CoAtNet. The
primary metric is the share of labelled tokens that are right; parts of a label and strata have theirs.
"""

import copy
import math
from pathlib import Path

import numpy as np
import torch

from plugins.openmm_ext import arrays
from plugins.openmm_ext.families import probe_net
from plugins.openmm_ext.layers import token_head
from plugins.suite.errors import UserError

NAME = "probe"
SCOPE = "mmseg"
OPTIONS = ()
METRICS = {"accuracy": ("accuracy", 1), "miou": ("mIoU", 1)}
PRIMARY = "accuracy"
IMPORTS = (arrays.__name__, probe_net.__name__, token_head.__name__)
write_pictures = None


def place_layer(model: dict, option: str, layer: dict) -> None:
    """Put a layer behind the stem; UserError where another option's layer stands."""
    other = model["backbone"].get("layer")
    if other:
        raise UserError(f"model.{option}: takes the place of {other['type']}; set one of the two to null")
    model["backbone"]["layer"] = layer


def place_data(cfg: dict, folder: str, manifest: dict, split: str) -> None:
    """Point the loaders and the metric at a prepared probe; `split` is scored, the validation set is `valid_dataset`."""
    classes = list(manifest["mask_classes"])
    cfg["model"]["decode_head"]["num_classes"] = len(classes)
    shared = {"type": "ConvattnArrays", "folder": folder, "classes": classes}
    cfg["train_dataloader"]["dataset"] = {**shared, "split": "train"}
    cfg["test_dataloader"]["dataset"] = {**shared, "split": split}
    cfg["test_evaluator"] = {
        "type": "ConvattnProbeMetric",
        "parts": copy.deepcopy(manifest["parts"]),
        "groups": list(manifest["groups"]),
        "facts": {"bounds": dict(manifest["bounds"])},
    }
    cfg["valid_dataset"] = {**shared, "split": "val"}


def annotation_error(folder: Path, manifest: dict) -> str | None:
    """The first thing wrong with the arrays, as "file: what"; None where all is well."""
    if "parts" not in manifest or not manifest.get("mask_classes"):
        return f"{folder / 'manifest.json'}: is no image probe (no parts or mask_classes)"
    classes = len(manifest["mask_classes"])
    for split in manifest["splits"]:
        path = folder / "arrays" / f"{split}_labels.npy"
        try:
            part = arrays.load(folder, split)
        except (OSError, ValueError) as error:
            return f"{path}: arrays cannot be read ({error})"
        counts = np.bincount(part["labels"].ravel(), minlength=arrays.UNLABELLED + 1)
        wrong = np.flatnonzero(counts[classes : arrays.UNLABELLED])
        if len(wrong):
            return f"{path}: label {classes + wrong[0]} is out of range 0..{classes - 1}, and 255 for none"
        empty = np.flatnonzero((part["labels"] == arrays.UNLABELLED).all((1, 2)))
        if len(empty):
            return f"{path}: image {empty[0]} has no label"
        if len({len(values) for values in part.values()}) > 1 or part["labels"].shape != part["groups"].shape:
            return f"{path}: images, labels and groups differ in number or size"
    return None


def scored(scores: dict, results: list[tuple], metric) -> tuple[dict, dict]:
    """(metrics, items) of a split. scores: of `ConvattnProbeMetric`, results: what it kept of each image.

    Items: part (names: all, parts, strata), right and total (tokens of each), score (accuracy of the image's labelled
    tokens, in percent).
    """
    right, total = (torch.stack([image[place] for image in results]).tolist() for place in (4, 5))
    items = {
        "score": [100 * r[0] / t[0] for r, t in zip(right, total, strict=True)],
        "part": [metric.names] * len(results),
        "right": right,
        "total": total,
    }
    known = {ours: float(scores[key]) * factor for ours, (key, factor) in METRICS.items()}
    parts = {name: float(value) for name, value in scores.items() if name.startswith("accuracy_")}
    return {name: round(value, 4) for name, value in (known | parts).items()}, items


def chance(results: list[tuple], model: dict) -> dict[str, float]:
    """loss: of a network that gives every class the same probability, ln C; metric: of one that always says the split's
    most frequent class, in percent of the labelled tokens.
    """
    counts = torch.stack([image[3] for image in results]).sum(0)
    return {"loss": math.log(len(counts)), "metric": 100 * (counts.max() / counts.sum()).item()}


def fixed_work(model, measure: dict):
    """Two functions of no argument on a fixed batch of noise: an inference of one image, and the losses of the batch.

    `measure`: height, width (pixels), batch. The losses are the package's own, on a fixed mask of two classes.
    """
    from mmengine.structures import PixelData

    from plugins.openmm_ext.lean_mmseg import SegDataSample

    generator = torch.Generator().manual_seed(0)
    device = next(model.parameters()).device
    shape = (measure["batch"], 3, measure["height"], measure["width"])
    images = torch.randn(shape, generator=generator).to(device)
    with torch.no_grad():
        tokens = model._forward(images[:1]).shape[2:]
    sample = SegDataSample(metainfo={"img_shape": tuple(tokens), "ori_shape": tuple(tokens)})
    sample.gt_sem_seg = PixelData(data=torch.randint(0, 2, (1, *tokens), generator=generator).to(device))
    return lambda: model._forward(images[:1]), lambda: model.loss(images, [sample] * len(images))


def cost_forward(model, measure: dict):
    """One inference of backbone and head on one image on the meta device, as a function of no argument."""
    image = torch.empty(1, 3, measure["height"], measure["width"], device="meta")
    return lambda: model._forward(image)
