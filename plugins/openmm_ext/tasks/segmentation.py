"""Segmentation by mmseg: where the operators go, where the data lie, scores image by image, a fixed input.

The paper (arXiv 1904.05873) does not name its segmentation network in any reachable copy. Ours is a dilated ResNet-50
with mmseg's fully convolutional head; attention, or dynamic convolution, stands between the head's two 3x3 convolutions
(512 channels at stride 8), where CCNet has its criss-cross attention; deformable convolution takes the places that
it has in detection. `w/o` is mmseg's own FCN.
"""

import copy
import math
from functools import partial
from pathlib import Path

import numpy as np
import torch

from plugins.openmm_ext import pictures
from plugins.openmm_ext.families.pyramid import place_backbone as place_backbone
from plugins.openmm_ext.jackknife import mean_iou, mean_iou_without, pseudo_values
from plugins.openmm_ext.layers import attended_head
from plugins.suite.errors import UserError

NAME = "segmentation"
SCOPE = "mmseg"
OPTIONS = ()
METRICS = {"miou": ("mIoU", 1), "pixel_accuracy": ("aAcc", 1), "class_accuracy": ("mAcc", 1)}
PRIMARY = "miou"
IMPORTS = (attended_head.__name__,)
IGNORED = 255
# Steps of a training pipeline that draw.
DRAWING = ("Random", "PhotoMetricDistortion")
write_pictures = partial(pictures.write_pictures, kind="masks")


def place_layer(model: dict, option: str, layer: dict) -> None:
    """Put a layer between the head's two convolutions; UserError where another option's layer stands."""
    other = model["decode_head"].get("between")
    if other:
        raise UserError(f"model.{option}: takes the place of {other['type']}; set one of the two to null")
    model["decode_head"] |= {"type": attended_head.ConvattnAttendedHead.__name__, "between": layer}


def place_data(cfg: dict, folder: str, manifest: dict, split: str) -> None:
    """Point the loaders at a prepared folder (images/<split>/NAME.*, masks/<split>/NAME.png; 255 is ignored).

    `split` is the one to score; the validation set joins as `valid_dataset`, read as in training but for random steps;
    an image at a time where sizes differ without them, which is so for a manifest that states no `size`.
    """
    classes = tuple(manifest["mask_classes"])
    heads = [cfg["model"]["decode_head"], cfg["model"].get("auxiliary_head")]
    for head in filter(None, heads):
        head["num_classes"] = len(classes)
    valid = copy.deepcopy(cfg["train_dataloader"]["dataset"])
    valid["pipeline"] = [step for step in valid["pipeline"] if not step["type"].startswith(DRAWING)]
    if "size" not in manifest:
        cfg["valid_batch_size"] = 1
    train, test = cfg["train_dataloader"]["dataset"], cfg["test_dataloader"]["dataset"]
    metainfo = {"classes": classes}
    if "palette" in manifest:
        metainfo["palette"] = manifest["palette"]
    for dataset, part in ((train, "train"), (valid, "val"), (test, split)):
        dataset |= {
            "type": "BaseSegDataset",
            "data_root": folder,
            "data_prefix": {"img_path": f"images/{part}", "seg_map_path": f"masks/{part}"},
            "img_suffix": manifest.get("image_suffix", ".png"),
            "seg_map_suffix": ".png",
            "metainfo": metainfo,
        }
        for step in dataset["pipeline"]:
            if step["type"] == "LoadAnnotations":
                step.pop("reduce_zero_label", None)  # prepared masks start at class 0
    cfg["valid_dataset"] = valid  # a copy is kept, so it comes last


def annotation_error(folder: Path, manifest: dict) -> str | None:
    """The first thing wrong with images or masks, as "file: what"; None where all is well."""
    classes = manifest.get("mask_classes")
    if not classes:
        return f"{folder / 'manifest.json'}: has no mask_classes, so no masks to learn from"
    if "palette" in manifest and len(manifest["palette"]) != len(classes):
        return f"{folder / 'manifest.json'}: palette has {len(manifest['palette'])} colours for {len(classes)} classes"
    suffix = manifest.get("image_suffix", ".png")
    for split in manifest.get("splits", ("train", "val", "test")):
        images = {path.name.removesuffix(suffix) for path in (folder / "images" / split).glob(f"*{suffix}")}
        masks = {path.stem: path for path in (folder / "masks" / split).glob("*.png")}
        if not images:
            return f"{folder / 'images' / split}: holds no image {suffix}"
        if images - masks.keys():
            return f"{folder / 'masks' / split / min(images - masks.keys())}.png: missing, but there is such an image"
        if masks.keys() - images:
            return (
                f"{folder / 'images' / split / min(masks.keys() - images)}{suffix}: missing, but there is such a mask"
            )
        problems = (
            _mask_error(masks[name], folder / "images" / split / f"{name}{suffix}", len(classes))
            for name in sorted(masks)
        )
        problem = next(filter(None, problems), None)
        if problem:
            return problem
    return None


def _mask_error(path: Path, image: Path, classes: int) -> str | None:
    from PIL import Image

    try:
        with Image.open(image) as opened:
            size = opened.size
    except (OSError, ValueError, SyntaxError) as error:
        return f"{image}: not a readable image ({error})"
    try:
        with Image.open(path) as mask:
            if mask.mode not in ("L", "P"):
                return f"{path}: is a {mask.mode} picture, must hold one class number a pixel (8 bit, one channel)"
            if mask.size != size:
                return f"{path}: is {mask.size[0]}x{mask.size[1]} but its image {size[0]}x{size[1]}"
            counts = np.bincount(np.asarray(mask).ravel(), minlength=IGNORED + 1)
    except (OSError, ValueError, SyntaxError) as error:
        return f"{path}: not a readable mask ({error})"
    wrong = np.flatnonzero(counts[classes:IGNORED])
    if len(wrong):
        return f"{path}: label {classes + wrong[0]} is out of range 0..{classes - 1}, and {IGNORED} for ignored pixels"
    return None


def scored(scores: dict, results: list[tuple], metric) -> tuple[dict, dict]:
    """(metrics, items) of a split. scores: of mmseg's `IoUMetric`, results: what it kept of each image.

    Items: intersect, union (pixels by class, ignored ones left out), score (the image's jackknife pseudo-value of mean
    IoU, in percent).
    """
    intersect, union = (np.array([image[part].tolist() for image in results], np.int64) for part in (0, 1))
    values = pseudo_values(
        100 * float(mean_iou(intersect.sum(0), union.sum(0))), 100 * mean_iou_without(intersect, union)
    )
    items = {"score": values.tolist(), "intersect": intersect.tolist(), "union": union.tolist()}
    return {ours: round(float(scores[key]) * factor, 4) for ours, (key, factor) in METRICS.items()}, items


def chance(results: list[tuple], model: dict) -> dict[str, float]:
    """What a network that does not look at the image reaches on the split, by the share of each class in its pixels.

    metric: mean IoU in percent, the best of three ways to guess: the most frequent class everywhere, every class as
    often as it occurs, and every class equally often. 100/C is none of them.
    loss: of one that gives every class the same probability, ln C summed over the heads (class weights change nothing,
    mmseg divides by their sum); absent unless all have the cross-entropy of a softmax.
    """
    pixels = np.sum([image[3].tolist() for image in results], axis=0)
    shares = pixels / pixels.sum()
    classes = len(shares)
    guesses = (np.eye(classes)[shares.argmax()], shares, np.full(classes, 1 / classes))
    known = {"metric": 100 * max(float(mean_iou(shares * guess, shares + guess - shares * guess)) for guess in guesses)}
    loss = 0.0
    for head in filter(None, (model["decode_head"], model.get("auxiliary_head"))):
        part = head["loss_decode"]
        if part["type"] != "CrossEntropyLoss" or part.get("use_sigmoid"):
            return known
        loss += part.get("loss_weight", 1.0) * math.log(classes)
    return {"loss": loss, **known}


def fixed_work(model, measure: dict):
    """Two functions of no argument on a fixed batch of noise: an inference of one image, and the losses of the batch.

    `measure`: height, width (pixels), batch. Inference is backbone and head, without the resizing to the image; the
    losses are the package's own, on a fixed mask of two classes.
    """
    from mmengine.structures import PixelData
    from mmseg.structures import SegDataSample

    height, width, batch = measure["height"], measure["width"], measure["batch"]
    generator = torch.Generator().manual_seed(0)
    device = next(model.parameters()).device
    images = torch.randn(batch, 3, height, width, generator=generator).to(device)
    mask = torch.randint(0, 2, (1, height, width), generator=generator).to(device)
    sample = SegDataSample(metainfo={"img_shape": (height, width), "ori_shape": (height, width)})
    sample.gt_sem_seg = PixelData(data=mask)
    return lambda: model._forward(images[:1]), lambda: model.loss(images, [sample] * batch)


def cost_forward(model, measure: dict):
    """One inference of backbone and head on one image on the meta device, as a function of no argument."""
    image = torch.empty(1, 3, measure["height"], measure["width"], device="meta")
    return lambda: model._forward(image)
