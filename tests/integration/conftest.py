"""What the tests of whole runs share: tiny data sets, specs cut down to seconds, a run from start to end.

The data stand for `mini_shapes`, whose name their manifests have.
"""

import copy
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from plugins.suite import catalog
from plugins.suite.data import seal

SPLITS = ("train", "val", "test")


@pytest.fixture(scope="module")
def one_thread():
    """torch on one thread while a module's tests run: numbers are then the same on every machine with its kernels."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def completed(spec: dict) -> dict:
    """A hand-written spec with the defaults of the keys that it leaves out."""
    return catalog.completed(spec)


def recipe_of(study: str, recipe: str) -> dict:
    """The recipe `<name>-<scale>` of a study, a copy to be changed."""
    name, _, scale = recipe.rpartition("-")
    return copy.deepcopy(catalog.recipe(study, name, scale))


def make_spec(study: str, recipe: str, model: dict, seed: int = 1, measure: dict | None = None, **training) -> dict:
    """The recipe `<task>-<scale>` of a study with the options `model`, cut down to a few updates of two images.

    measure: the fixed input; training: keys of the recipe's `train`.
    """
    task, scale = recipe.split("-")
    content = recipe_of(study, recipe)
    content["model"] = content.get("model", {}) | model
    short = {"updates": 8, "batch": 2, "gpus": 1, "warmup": 2, "log_every": 1, "checkpoint_every": 2}
    content["train"] |= short | training
    content["measure"] = {"height": 40, "width": 48, "batch": 2} | (measure or {})
    identity = {"scale": scale, "study": study, "ablation": "tiny", "arm": "tiny", "seed": seed}
    return completed({**identity, "task": task, **content})


def make_boxes(folder: Path, classes: tuple[str, ...] = ("box", "disc"), images: int = 6) -> Path:
    """COCO folders of noise images with two bright rectangles each, 64 x 64."""
    rng = np.random.default_rng(0)
    categories = [{"id": number, "name": name} for number, name in enumerate(classes, 1)]
    for split in SPLITS:
        (folder / "images" / split).mkdir(parents=True)
        content = {"images": [], "annotations": [], "categories": categories}
        for number in range(1, images + 1):
            pixels = rng.integers(0, 120, (64, 64, 3), dtype=np.uint8)
            for kind in (0, 1):
                x, y = (int(v) for v in rng.integers(2, 30, 2))
                pixels[y : y + 24, x : x + 24, kind] = 250
                box = {"id": len(content["annotations"]) + 1, "image_id": number, "category_id": kind + 1, "iscrowd": 0}
                content["annotations"].append(box | {"bbox": [x, y, 24, 24], "area": 576})
            Image.fromarray(pixels).save(folder / "images" / split / f"{number}.png")
            content["images"].append({"id": number, "file_name": f"{number}.png", "width": 64, "height": 64})
        (folder / "annotations").mkdir(exist_ok=True)
        (folder / "annotations" / f"{split}.json").write_text(json.dumps(content))
    seal(folder, "mini_shapes", {}, {"classes": list(classes), "size": [64, 64], "counts": {}, "skipped": {}})
    return folder


def make_masks(folder: Path, classes: tuple[str, ...], images: int = 4) -> Path:
    """Noise images of 48 x 40 with two bright rectangles; a strip of each mask is ignored."""
    rng = np.random.default_rng(0)
    for split in SPLITS:
        (folder / "images" / split).mkdir(parents=True)
        (folder / "masks" / split).mkdir(parents=True)
        for number in range(images):
            pixels, mask = rng.integers(0, 120, (40, 48, 3), dtype=np.uint8), np.zeros((40, 48), np.uint8)
            for kind in (0, 1):
                x, y = (int(v) for v in rng.integers(2, 20, 2))
                pixels[y : y + 16, x : x + 16, kind] = 250
                mask[y : y + 16, x : x + 16] = kind + 1
            mask[:, :4] = 255
            Image.fromarray(pixels).save(folder / "images" / split / f"{number}.png")
            Image.fromarray(mask).save(folder / "masks" / split / f"{number}.png")
    seal(folder, "mini_shapes", {}, {"mask_classes": list(classes), "size": [48, 40], "counts": {}, "skipped": {}})
    return folder


def make_classes(folder: Path, classes: tuple[str, ...], images: int = 4, **facts) -> Path:
    """Class folders of noise images of 32 x 32, each class brighter than the last or in its own channel.

    facts: further keys of the manifest.
    """
    rng = np.random.default_rng(0)
    for split in SPLITS:
        for kind, name in enumerate(classes):
            (folder / "classes" / split / name).mkdir(parents=True)
            for number in range(images):
                pixels = rng.integers(60, 160, (32, 32, 3), dtype=np.uint8)
                pixels[..., slice(kind, kind + 1) if kind < 3 else slice(None)] += np.uint8(90 if kind != 3 else 0)
                Image.fromarray(pixels).save(folder / "classes" / split / name / f"{number}.png")
    counts = {"test": images * len(classes)}
    seal(
        folder,
        "mini_shapes",
        {},
        {"classes": list(classes), "class_size": [32, 32], "counts": counts, "skipped": {}} | facts,
    )
    return folder


def finished(engine, spec: dict, data: Path, folder: Path) -> dict:
    """Train and score: what must not depend on interruptions, and the seconds of training."""
    trained = engine.train(spec, data, folder)
    scored = engine.evaluate(spec, data, folder)
    return {"losses": trained["losses"], "scored": scored, "seconds": trained["seconds"]} | left_by(folder)


def left_by(folder: Path) -> dict:
    """Curves, pictures and weights of a finished run, and its folder."""
    (checkpoint,) = (folder / "checkpoints").glob("*.pth")
    weights = torch.load(checkpoint, map_location="cpu", weights_only=True)["state_dict"]
    lines = [json.loads(line) for line in (folder / "curves.jsonl").read_text().splitlines()]
    curves = [{key: value for key, value in line.items() if key != "seconds"} for line in lines]
    pictures = {path.name: path.read_bytes() for path in (folder / "pictures").glob("*.png")}
    return {"curves": curves, "pictures": pictures, "weights": weights, "folder": folder}


def assert_same(first: dict, second: dict) -> None:
    """Two finished runs agree bit for bit."""
    for key in ("losses", "scored", "curves", "pictures"):
        assert first[key] == second[key], key
    assert first["weights"].keys() == second["weights"].keys()
    for name, value in first["weights"].items():
        assert torch.equal(value, second["weights"][name]), name


def killed_before_its_end(engine, spec: dict, data: Path, folder: Path, monkeypatch) -> list[Path]:
    """A run whose updates are all done and that dies before anything is made of them; its checkpoints, oldest first."""
    with monkeypatch.context() as patch:
        patch.setattr(engine, "validation_loss", _die)
        with pytest.raises(KeyboardInterrupt):
            engine.train(spec, data, folder)
    return sorted((folder / "checkpoints").glob("update_*.pth"))


def _die(*arguments) -> None:
    raise KeyboardInterrupt


def flip_bit(path: Path, share: float) -> None:
    """Flips one bit of a file, that far into it (0..1)."""
    content = bytearray(path.read_bytes())
    content[int(share * len(content))] ^= 1
    path.write_bytes(content)
