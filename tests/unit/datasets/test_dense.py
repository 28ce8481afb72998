"""CamVid, COCO, Cityscapes and ADE20K on folders of a few images: what is written, counted, and refused."""

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from plugins.datasets import ade20k, cityscapes, coco
from plugins.datasets.prepare import prepare
from plugins.suite.data import verify
from plugins.suite.errors import UserError

ROOT = Path(os.environ.get("CONVATTN_DATA_ROOT", Path(__file__).resolve().parents[3].parent / "shared" / "data"))


def save(path: Path, pixels: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    return path


def noise(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 255, (height, width, 3), dtype=np.uint8)


@pytest.fixture
def street(tmp_path, monkeypatch) -> Path:
    """A data root with a Cityscapes of two training images and one to validate."""
    monkeypatch.setattr(cityscapes, "COUNTS", {"train": 2, "val": 1})
    label = np.tile(np.array([0, 7, 33, 26], np.uint8), (8, 2))
    for split, names in (("train", ["a_0", "a_1"]), ("val", ["b_0"])):
        for name in names:
            town = name.split("_")[0]
            save(tmp_path / f"cityscapes/leftImg8bit/{split}/{town}/{name}_leftImg8bit.png", noise(8, 8))
            save(tmp_path / f"cityscapes/gtFine/{split}/{town}/{name}_gtFine_labelIds.png", label)
    return tmp_path


def test_cityscapes_maps_label_ids_to_training_classes(street, tmp_path):
    manifest = prepare("cityscapes", tmp_path / "out", {}, street)
    mask = np.asarray(Image.open(tmp_path / "out/masks/train/a_1.png"))
    assert mask[0].tolist() == [255, 0, 18, 13] * 2
    assert manifest["counts"] == {"train": 2, "val": 1} and manifest["skipped"] == {"ignored_pixels": 3 * 16}
    assert len(manifest["mask_classes"]) == len(manifest["palette"]) == 19 and manifest["mask_classes"][13] == "car"
    image = tmp_path / "out/images/val/b_0.png"
    assert image.is_symlink() and image.resolve().name == "b_0_leftImg8bit.png"
    verify(tmp_path / "out/manifest.json")
    image.resolve().write_bytes(b"other")
    with pytest.raises(UserError, match="images/val/b_0.png: SHA-256 differs"):
        verify(tmp_path / "out/manifest.json")


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda path: save(path, np.full((8, 8), 77, np.uint8)), "label 77 is out of range"),
        (
            lambda path: save(path, np.zeros((8, 8, 3), np.uint8)),
            "is a RGB picture, must hold one class number a pixel",
        ),
        (lambda path: save(path, np.zeros((4, 8), np.uint8)), "its size differs from that of .*a_0_leftImg8bit.png"),
        (lambda path: path.write_bytes(path.read_bytes()[:40]), "not a whole label image"),
        (lambda path: path.unlink(), "missing; put the files of"),
    ],
)
def test_a_bad_label_image_is_named(spoil, message, street, tmp_path):
    spoil(street / "cityscapes/gtFine/train/a/a_0_gtFine_labelIds.png")
    with pytest.raises(UserError, match=f"a_0_gtFine_labelIds.png: {message}") as error:
        prepare("cityscapes", tmp_path / "out", {}, street)
    assert "\n" not in str(error.value) and not (tmp_path / "out").exists()


def test_a_bad_image_and_a_wrong_number_are_named(street, tmp_path):
    image = street / "cityscapes/leftImg8bit/train/a/a_1_leftImg8bit.png"
    whole = image.read_bytes()
    image.write_bytes(whole[:100])
    with pytest.raises(UserError, match="a_1_leftImg8bit.png: not a whole image"):
        prepare("cityscapes", tmp_path / "out", {}, street)
    image.unlink()
    with pytest.raises(UserError, match="leftImg8bit/train: holds 1 images .*, must hold 2"):
        prepare("cityscapes", tmp_path / "out", {}, street)
    with pytest.raises(UserError, match="data_root is not set"):
        prepare("cityscapes", tmp_path / "out")


def test_ade20k_shifts_its_labels(tmp_path, monkeypatch):
    monkeypatch.setattr(ade20k, "COUNTS", {"train": 1, "val": 1})
    root = tmp_path / "ade20k/ADEChallengeData2016"
    for sub in ("training", "validation"):
        save(root / f"images/{sub}/x.jpg", noise(6, 9))
        save(root / f"annotations/{sub}/x.png", np.array([[0, 1, 150]] * 6, np.uint8).repeat(3, 1))
    manifest = prepare("ade20k", tmp_path / "out", {}, tmp_path)
    mask = np.asarray(Image.open(tmp_path / "out/masks/val/x.png"))
    assert mask[0].tolist() == [255] * 3 + [0] * 3 + [149] * 3 and "size" not in manifest
    assert len(manifest["mask_classes"]) == len(manifest["palette"]) == 150
    save(root / "annotations/training/x.png", np.full((6, 9), 151, np.uint8))
    with pytest.raises(UserError, match="training/x.png: label 151 is out of range"):
        prepare("ade20k", tmp_path / "out", {}, tmp_path)


def coco_content(boxes: list) -> dict:
    return {
        "images": [{"id": 5, "file_name": "five.jpg", "width": 12, "height": 10, "license": 1}],
        "categories": [{"id": 1, "name": "cat"}, {"id": 7, "name": "dog"}],
        "annotations": [
            {"id": n, "image_id": 5, "category_id": 7, "bbox": box, "area": 4, "iscrowd": 0, "segmentation": [[1, 2]]}
            for n, box in enumerate(boxes, 1)
        ],
    }


@pytest.fixture
def objects(tmp_path, monkeypatch) -> Path:
    """A data root with a COCO of one image a split, and two classes."""
    monkeypatch.setattr(coco, "COUNTS", {"train": 1, "val": 1})
    monkeypatch.setattr(coco, "CLASSES", 2)
    for split in ("train", "val"):
        save(tmp_path / f"coco/{split}2017/five.jpg", noise(10, 12))
        boxes = [[1, 2, 3, 4], [1, 2, 0, 4], [13, 0, 2, 2]]
        path = tmp_path / f"coco/annotations/instances_{split}2017.json"
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(coco_content(boxes)))
    return tmp_path


def test_coco_links_images_and_counts_boxes_left_out(objects, tmp_path):
    manifest = prepare("coco", tmp_path / "out", {}, objects)
    assert manifest["counts"] == {"train": 1, "train_boxes": 1, "val": 1, "val_boxes": 1}
    assert manifest["skipped"] == {"no_area": 2, "outside": 2} and manifest["classes"] == ["cat", "dog"]
    written = json.loads((tmp_path / "out/annotations/val.json").read_text())
    assert [box["bbox"] for box in written["annotations"]] == [[1, 2, 3, 4]]
    assert set(written["annotations"][0]) == set(coco.KEPT)
    assert (tmp_path / "out/images/train/five.jpg").is_symlink()
    from plugins.openmm_ext.tasks.detection import annotation_error

    assert annotation_error(tmp_path / "out", manifest) is None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c["annotations"][0].update(category_id=3), "annotation 1: no image 5 or no category 3"),
        (lambda c: c["annotations"][0].update(image_id=6), "annotation 1: no image 6"),
        (lambda c: c["images"].append(c["images"][0] | {"id": 6}), "has 2 images and 2 categories, must have 1 and 2"),
        (lambda c: c.pop("images"), r"not COCO annotations \('images'\)"),
    ],
)
def test_bad_coco_annotations_are_named(change, message, objects, tmp_path):
    path = objects / "coco/annotations/instances_val2017.json"
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))
    with pytest.raises(UserError, match=f"instances_val2017.json: {message}"):
        prepare("coco", tmp_path / "out", {}, objects)


def test_bad_coco_images_are_named(objects, tmp_path):
    image = objects / "coco/val2017/five.jpg"
    save(image, noise(10, 13))
    with pytest.raises(UserError, match="five.jpg: is 13x10, the annotations say 12x10"):
        prepare("coco", tmp_path / "out", {}, objects)
    image.write_bytes(image.read_bytes()[:200])
    with pytest.raises(UserError, match="five.jpg: not a whole image"):
        prepare("coco", tmp_path / "out", {}, objects)
    image.unlink()
    with pytest.raises(UserError, match="five.jpg: missing"):
        prepare("coco", tmp_path / "out", {}, objects)


def test_a_coco_file_name_may_not_leave_the_folder(objects, tmp_path):
    path = objects / "coco/annotations/instances_train2017.json"
    path.write_text(path.read_text().replace("five.jpg", "../val2017/five.jpg"))
    with pytest.raises(UserError, match="name a file twice or outside the folder"):
        prepare("coco", tmp_path / "out", {}, objects)


@pytest.mark.skipif(not (ROOT / "camvid").is_dir(), reason="the public CamVid is not here")
def test_the_real_camvid(tmp_path):
    manifest = prepare("camvid", tmp_path / "out", {}, ROOT)
    assert manifest["counts"] == {"train": 367, "val": 101, "test": 233}
    assert manifest["skipped"] == {"ignored_pixels": 1080867}
    values = np.unique(np.asarray(Image.open(next((tmp_path / "out/masks/test").iterdir()))))
    assert set(values) <= {*range(11), 255}


@pytest.mark.skipif(not (ROOT / "camvid").is_dir(), reason="the public CamVid is not here")
def test_an_altered_camvid_is_refused(tmp_path):
    shutil.copytree(ROOT / "camvid", tmp_path / "camvid")
    (tmp_path / "camvid").chmod(0o755)
    for path in (tmp_path / "camvid").rglob("*"):
        path.chmod(0o755)
    label = next((tmp_path / "camvid/labels/val").iterdir())
    save(label, np.zeros((180, 240), np.uint8))
    with pytest.raises(UserError, match="SHA-256 over its files is .*, not the pinned"):
        prepare("camvid", tmp_path / "out", {}, tmp_path)
    label.unlink()
    with pytest.raises(UserError, match=f"{label.name}: missing"):
        prepare("camvid", tmp_path / "out", {}, tmp_path)
