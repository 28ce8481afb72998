"""Classification's part of an mmpretrain config: its backbone, where the data lie, what a fixed input looks like.

A model's words name one family of backbones by its key, such as `coatnet: {...}`. The family's registration module is
`plugins/openmm_ext/<family>.py`. It registers its backbone in `mmengine.registry.MODELS` and offers

    place(model: dict, words: dict) -> None

where `model` is the mmengine config of an `ImageClassifier` and `words` is what stands under the family's key.
`place` sets `model["backbone"]`, `model["neck"]` (None where the backbone returns N x D vectors) and
`model["head"]["in_channels"]`; the loss of the head is the recipe's, its number of classes the data's. A word that
cannot be served is a `UserError` that starts with `model.<family>.<word>=value:`.
A new family is its module, its words in workflow/schemas/model.schema.yaml, and a line in FAMILIES and in
plugins/suite/sources.py.
"""

import copy
from importlib import import_module
from pathlib import Path

from plugins.suite.errors import UserError

FAMILIES = (
    "aaconv",
    "acmix",
    "coatnet",
)
WORDS = {*FAMILIES, "train_fraction"}
# What mmpretrain reads as an image.
SUFFIXES = (".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif")


def place_operators(model: dict, words: dict) -> list[str]:
    """Let the family that the words name write its backbone into the model config; returns the modules to import."""
    named = [family for family in FAMILIES if words.get(family) is not None]
    if len(named) != 1:
        raise UserError(
            f"model: names {' and '.join(named) or 'no family of backbones'}; give exactly one of {', '.join(FAMILIES)}"
        )
    module = f"plugins.openmm_ext.families.{named[0]}"
    import_module(module).place(model, words[named[0]])
    return [module]


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
        found = sorted(entry.name for entry in path.iterdir() if entry.is_dir())
        if found != classes:
            return f"{path}: class folders {found} are not the manifest's classes {classes}"
        for name in classes:
            if not any(entry.suffix.lower() in SUFFIXES for entry in (path / name).iterdir()):
                return f"{path / name}: class folder without an image"
    return None


def fixed_work(model, measure: dict):
    """Two functions of no argument on a fixed batch of noise: an inference and the losses.

    `measure`: height, width (pixels), batch. Inference is the scores of the classes; the losses are the package's own,
    on fixed labels.
    """
    import torch
    from mmpretrain.structures import DataSample

    generator = torch.Generator().manual_seed(0)
    device = next(model.parameters()).device
    shape = (measure["batch"], 3, measure["height"], measure["width"])
    images = torch.randn(shape, generator=generator).to(device)
    labels = torch.arange(len(images)) % model.head.num_classes
    samples = [DataSample().set_gt_label(label.view(1)).to(device) for label in labels]
    return lambda: model(images, mode="tensor"), lambda: model.loss(images, samples)


def cost_forward(model, measure: dict):
    """One forward of the whole network on a meta input of measure["height"] x measure["width"], batch 1 or as given."""
    import torch

    images = torch.empty(measure.get("batch", 1), 3, measure["height"], measure["width"], device="meta")
    return lambda: model(images, mode="tensor")
