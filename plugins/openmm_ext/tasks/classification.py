"""Classification by mmpretrain: its backbone, where the data lie, scores image by image, a fixed input.

An option of the model names one family of backbones, such as `coatnet: {...}`. The loss of the head is the recipe's,
its number of classes the data's.
"""

import copy
import math
from pathlib import Path

import torch

NAME = "classification"
SCOPE = "mmpretrain"
OPTIONS = ("train_fraction",)
METRICS = {"top1": ("accuracy/top1", 1), "top5": ("accuracy/top5", 1)}
PRIMARY = "top1"
IMPORTS = ()
# What mmpretrain reads as an image.
SUFFIXES = (".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif")
write_pictures = None


def place_backbone(model: dict, option: str, config: dict, channels: list[int]) -> None:
    """Put a backbone and average pooling into an `ImageClassifier`'s config; the recipe's backbone options stay."""
    model["backbone"] = config | dict(model.get("backbone") or {})
    model["neck"] = {"type": "GlobalAveragePooling"}
    model["head"]["in_channels"] = channels[-1]


def place_data(cfg: dict, folder: str, manifest: dict, split: str) -> None:
    """Point loaders at the class folders classes/<split>/<class>/ of a prepared data set.

    `split` is the one to score; the validation set joins as `valid_dataset`, read as in testing. Classes are numbered
    in the order of their names. A `size` of `LoadCheckedImage` and a `crop_size` of `RandomCrop` that are None become
    the manifest's `class_size` (width, height); a `scale` that is None becomes the backbone's `image_size`.
    """
    classes = sorted(manifest["classes"])
    cfg["model"]["head"]["num_classes"] = len(classes)
    cfg["model"]["data_preprocessor"]["num_classes"] = len(classes)
    train, test = cfg["train_dataloader"]["dataset"], cfg["test_dataloader"]["dataset"]
    valid = copy.deepcopy(test)
    for dataset, part in ((train, "train"), (valid, "val"), (test, split)):
        dataset["data_root"] = f"{folder}/classes"
        dataset["data_prefix"] = part
        dataset["classes"] = classes
        for step in dataset["pipeline"]:
            if step["type"] == "LoadCheckedImage" and "size" in step:
                step["size"] = tuple(manifest["class_size"])
            if step["type"] == "RandomCrop" and step["crop_size"] is None:
                step["crop_size"] = tuple(reversed(manifest["class_size"]))
            if "scale" in step and step["scale"] is None:
                step["scale"] = tuple(cfg["model"]["backbone"]["image_size"])
    cfg["valid_dataset"] = valid  # a copy is kept, so it comes last


def annotation_error(folder: Path, manifest: dict) -> str | None:
    """The first thing wrong with the class folders, as "file: what"; None where all is well."""
    classes = sorted(manifest["classes"])
    # A data set whose test labels are not public is scored on its validation split.
    for split in ("train", "val", *({"test"} & manifest["counts"].keys())):
        path = folder / "classes" / split
        if not path.is_dir():
            return f"{path}: missing"
        folders = sorted(entry.name for entry in path.iterdir() if entry.is_dir())
        if folders != classes:
            return f"{path}: class folders {folders} are not the manifest's classes {classes}"
        for name in classes:
            if not any(entry.suffix.lower() in SUFFIXES for entry in (path / name).iterdir()):
                return f"{path / name}: class folder without an image"
    return None


def scored(scores: dict, results: list[dict], metric) -> tuple[dict, dict]:
    """(metrics, items) of a split. scores: of mmpretrain's `Accuracy`, results: what it kept of each image.

    Items: label, predicted (numbers of classes), top5 (whether the five likeliest hold the label), score (0 or 100).
    """
    labels = torch.cat([result["gt_label"] for result in results])
    likely = torch.stack([result["pred_score"] for result in results]).float()
    best = likely.topk(min(5, likely.shape[1]), dim=1).indices  # ties as `Accuracy` breaks them
    right = best == labels[:, None]
    items = {
        "score": (100.0 * right[:, 0]).tolist(),
        "label": labels.tolist(),
        "predicted": best[:, 0].tolist(),
        "top5": right.any(1).tolist(),
    }
    return {ours: round(float(scores[key]) * factor, 4) for ours, (key, factor) in METRICS.items()}, items


def chance(results: list[dict], model: dict) -> dict[str, float]:
    """loss: of a network that gives every class the same probability, ln C, where the loss is the cross-entropy of a
    softmax; metric: of one that always says the split's most frequent class, in percent.
    """
    counts = torch.bincount(torch.cat([result["gt_label"] for result in results]))
    known = {"metric": 100 * counts.max().item() / counts.sum().item()}
    loss = model["head"].get("loss", {"type": "CrossEntropyLoss"})
    softmax = not loss.get("use_sigmoid") and loss.get("mode", "original") == "original"
    if loss["type"] in ("CrossEntropyLoss", "LabelSmoothLoss") and softmax:
        known["loss"] = loss.get("loss_weight", 1.0) * math.log(model["head"]["num_classes"])
    return known


def fixed_work(model, measure: dict):
    """Two functions of no argument on a fixed batch of noise: an inference of one image, and the losses of the batch.

    `measure`: height, width (pixels), batch. Inference is the scores of the classes; the losses are the package's own,
    on fixed labels.
    """
    from mmpretrain.structures import DataSample

    generator = torch.Generator().manual_seed(0)
    device = next(model.parameters()).device
    shape = (measure["batch"], 3, measure["height"], measure["width"])
    images = torch.randn(shape, generator=generator).to(device)
    labels = torch.arange(len(images)) % model.head.num_classes
    samples = [DataSample().set_gt_label(label.view(1)).to(device) for label in labels]
    return lambda: model(images[:1], mode="tensor"), lambda: model.loss(images, samples)


def cost_forward(model, measure: dict):
    """One forward of the whole network on one image of measure["height"] x measure["width"] on the meta device."""
    images = torch.empty(1, 3, measure["height"], measure["width"], device="meta")
    return lambda: model(images, mode="tensor")
