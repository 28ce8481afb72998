"""Segmentation's part of an mmseg config: where the operators go, where the data lie, what a fixed input looks like.

The paper (arXiv 1904.05873) does not name its segmentation network in any reachable copy. Ours is a dilated ResNet-50
with mmseg's fully convolutional head; attention, or dynamic convolution, stands between the head's two 3x3 convolutions
(512 channels at stride 8), where CCNet has its criss-cross attention; deformable convolution takes the places that
it has in detection. `w/o` is mmseg's own FCN.
"""

import copy
from pathlib import Path

import numpy as np

from plugins.openmm_ext.families import FAMILIES, place_backbone
from plugins.openmm_ext.layers import layer_of, place_deformable

WORDS = {"attention", "deformable", "dynamic_convolution", *FAMILIES}
HEAD_MODULE = "plugins.openmm_ext.layers.attended_head"
IGNORED = 255
# Steps of a training pipeline that draw.
DRAWING = ("Random", "PhotoMetricDistortion")


def place_operators(model: dict, words: dict) -> list[str]:
    """Write the arm's operators into the model config; returns the modules to import."""
    backbone = place_backbone(model, words)
    if backbone:
        return backbone
    layer, modules = layer_of(words)
    if layer:
        model["decode_head"] |= {"type": "ConvattnAttendedHead", "between": layer}
        modules = [HEAD_MODULE, *modules]
    return modules + place_deformable(model["backbone"], words)


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


def fixed_work(model, measure: dict):
    """Two functions of no argument on a fixed batch of noise: an inference and the losses.

    `measure`: height, width (pixels), batch. Inference is backbone and head, without the resizing to the image; the
    losses are the package's own, on a fixed mask of two classes.
    """
    import torch
    from mmengine.structures import PixelData
    from mmseg.structures import SegDataSample

    height, width, batch = measure["height"], measure["width"], measure["batch"]
    generator = torch.Generator().manual_seed(0)
    device = next(model.parameters()).device
    images = torch.randn(batch, 3, height, width, generator=generator).to(device)
    mask = torch.randint(0, 2, (1, height, width), generator=generator).to(device)
    sample = SegDataSample(metainfo={"img_shape": (height, width), "ori_shape": (height, width)})
    sample.gt_sem_seg = PixelData(data=mask)
    return lambda: model._forward(images), lambda: model.loss(images, [sample] * batch)


def cost_forward(model, measure: dict):
    """One inference of backbone and head on a `meta` image, as a function of no argument."""
    import torch

    images = torch.empty(measure.get("batch", 1), 3, measure["height"], measure["width"], device="meta")
    return lambda: model._forward(images)
