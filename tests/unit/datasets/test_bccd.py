"""BCCD: VOC XML to COCO, bad files, and the real data where it lies."""

import io
import json
import os
import tarfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from plugins.datasets import bccd
from plugins.datasets.bccd import boxes
from plugins.datasets.prepare import prepare
from plugins.suite.data import verify
from plugins.suite.errors import UserError

ROOT = Path(os.environ.get("CONVATTN_DATA_ROOT", Path(__file__).resolve().parents[3].parent / "shared" / "data"))
VOC = """<annotation><size><width>64</width><height>48</height><depth>3</depth></size>{}</annotation>"""
OBJECT = (
    """<object><name>{}</name><bndbox><xmin>{}</xmin><ymin>{}</ymin><xmax>{}</xmax><ymax>{}</ymax></bndbox></object>"""
)


def voc(*objects) -> bytes:
    return VOC.format("".join(OBJECT.format(*thing) for thing in objects)).encode()


@pytest.fixture
def original(tmp_path, monkeypatch):
    """A data root with five images of 64 x 48, whose checksum is the pinned one."""
    folder = tmp_path / "root" / "bccd" / "BCCD"
    for sub in ("JPEGImages", "Annotations", "ImageSets/Main"):
        (folder / sub).mkdir(parents=True)
    names = {"train": ["A_0", "A_1", "A_2"], "val": ["A_3"], "test": ["A_4"]}
    for split, stems in names.items():
        (folder / "ImageSets" / "Main" / f"{split}.txt").write_text("\n".join(stems) + "\n")
        for stem in stems:
            Image.new("RGB", (64, 48), (200, 180, 190)).save(folder / "JPEGImages" / f"{stem}.jpg")
            (folder / "Annotations" / f"{stem}.xml").write_bytes(voc(("RBC", 4, 8, 24, 40), ("WBC", 9, 9, 9, 9)))
    pin(folder, monkeypatch)
    return folder


def pin(folder: Path, monkeypatch) -> None:
    """Makes the files of `folder` the original."""
    try:
        bccd._check_sha256(folder, bccd._split_names(folder))
    except UserError as error:
        monkeypatch.setattr(bccd, "SHA256", str(error).split(" is ")[1][:64])


def run(original: Path, out: Path, **params) -> dict:
    return prepare("bccd", out, params, original.parents[1])


def test_boxes_and_images_are_scaled_together(original, tmp_path):
    manifest = run(original, tmp_path / "out", width=32)
    assert manifest["counts"] == {"train": 3, "train_boxes": 3, "val": 1, "val_boxes": 1, "test": 1, "test_boxes": 1}
    assert manifest["skipped"] == {"no_area": 5, "outside": 0} and manifest["size"] == [32, 24]
    assert verify(tmp_path / "out" / "manifest.json") == manifest
    coco = json.loads((tmp_path / "out" / "annotations" / "train.json").read_text())
    assert [c["name"] for c in coco["categories"]] == ["RBC", "WBC", "Platelets"]
    assert [a["bbox"] for a in coco["annotations"]] == [[2, 4, 10, 16]] * 3
    assert {a["image_id"] for a in coco["annotations"]} == {i["id"] for i in coco["images"]} == {1, 2, 3}
    with Image.open(tmp_path / "out" / "images" / "train" / "A_0.jpg") as image:
        assert image.size == (32, 24)


def test_width_0_keeps_the_original_bytes(original, tmp_path):
    run(original, tmp_path / "out", width=0)
    copied = tmp_path / "out" / "images" / "test" / "A_4.jpg"
    assert copied.read_bytes() == (original / "JPEGImages" / "A_4.jpg").read_bytes() and not copied.is_symlink()


@pytest.mark.parametrize(
    ("victim", "content", "said"),
    [
        ("JPEGImages/A_1.jpg", None, "missing"),
        ("JPEGImages/A_1.jpg", "half", "not a whole image"),
        ("JPEGImages/A_1.jpg", b"", "not a whole image"),
        ("Annotations/A_2.xml", None, "missing"),
        ("Annotations/A_2.xml", "half", "broken XML"),
        ("Annotations/A_2.xml", b"\xff\xfe<", "broken XML"),
        ("Annotations/A_2.xml", voc(("RBC", 1, 1, 9, 9)).replace(b"64", b"65"), "size is"),
        ("Annotations/A_2.xml", voc(("dog", 1, 1, 9, 9)), "class 'dog'"),
        ("Annotations/A_2.xml", voc(("RBC", "x", 1, 9, 9)), "bndbox/xmin is 'x'"),
        ("Annotations/A_2.xml", voc(("RBC", 1, 1, 9, "nan")), "bndbox/ymax is 'nan'"),
        ("ImageSets/Main/val.txt", b"A_0\n", "stands twice"),
        ("ImageSets/Main/val.txt", b"../../x\n", "is no image name"),
        ("ImageSets/Main/val.txt", b"", "names no image"),
        ("ImageSets/Main/val.txt", None, "missing"),
    ],
)
def test_a_bad_file_is_named_in_one_line(original, tmp_path, victim, content, said):
    path = original / victim
    if content is None:
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2] if content == "half" else content)
    with pytest.raises(UserError) as caught:
        run(original, tmp_path / "out")
    assert str(path) in str(caught.value) and said in str(caught.value) and "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_other_data_than_the_original_is_refused(original, tmp_path):
    (original / "Annotations" / "A_0.xml").write_bytes(voc(("RBC", 5, 8, 24, 40)))
    with pytest.raises(UserError, match="not the pinned"):
        run(original, tmp_path / "out")


def test_entities_are_refused():
    for kind in ('<!DOCTYPE a [<!ENTITY b "c">]>', '<!DOCTYPE a [<!ENTITY b SYSTEM "file:///etc/passwd">]>'):
        for encoding in ("utf-8", "utf-16"):
            with pytest.raises(UserError, match="x.xml"):
                boxes((kind + voc(("&b;", 1, 1, 9, 9)).decode()).encode(encoding), "x.xml", (64, 48), {})


numbers = st.one_of(st.integers(-100, 200), st.floats(), st.text(max_size=4, alphabet="0123456789.-einfa "))


@settings(max_examples=200, deadline=None)
@given(things=st.lists(st.tuples(st.sampled_from([*bccd.CLASSES, "x"]), *[numbers] * 4), max_size=4))
def test_kept_boxes_lie_in_the_image_and_the_others_are_counted(things):
    skipped = {"no_area": 0, "outside": 0}
    try:
        kept = boxes(voc(*things), "x.xml", (64, 48), skipped)
    except UserError as error:
        assert str(error).startswith("x.xml: ") and "\n" not in str(error)
        return
    assert len(kept) + sum(skipped.values()) == len(things)
    for kind, (x, y, width, height) in kept:
        assert kind in (0, 1, 2) and width > 0 and height > 0
        assert x >= 0 and y >= 0 and x + width <= 64 + 1e-9 and y + height <= 48 + 1e-9


@settings(max_examples=200, deadline=None)
@given(
    xml=st.binary(max_size=300) | st.text(max_size=200, alphabet="<>/&;!abDOCTYPE[]\"'= \n").map(str.encode),
    cut=st.integers(0, 300),
)
def test_any_bytes_as_xml_fail_in_one_line(xml, cut):
    whole = voc(("RBC", 1, 1, 9, 9))
    for content in (xml, whole[:cut] + xml + whole[cut:], whole[:cut]):
        try:
            boxes(content, "x.xml", (64, 48), {"no_area": 0, "outside": 0})
        except UserError as error:
            assert str(error).startswith("x.xml: ")


def archive(folder: Path, path: Path) -> None:
    with tarfile.open(path, "w:gz") as tar:
        tar.add(folder, "BCCD_Dataset-master/BCCD")
        extra = tarfile.TarInfo("BCCD_Dataset-master/README.md")
        tar.addfile(extra, io.BytesIO())


def test_fetch_downloads_checks_and_keeps(original, tmp_path, monkeypatch):
    archive(original, tmp_path / "a.tar.gz")
    monkeypatch.setattr(bccd, "URL", (tmp_path / "a.tar.gz").as_uri())
    (tmp_path / "new").mkdir()
    manifest = prepare("bccd", tmp_path / "out", {}, tmp_path / "new", fetch=True)
    assert manifest["counts"]["train"] == 3
    assert sorted(path.name for path in (tmp_path / "new" / "bccd").iterdir()) == ["BCCD"]


def test_a_fetched_archive_of_other_data_is_not_kept(original, tmp_path, monkeypatch):
    (original / "Annotations" / "A_0.xml").write_bytes(voc(("RBC", 5, 8, 24, 40)))
    archive(original, tmp_path / "a.tar.gz")
    (tmp_path / "new").mkdir()
    for url, said in [("a.tar.gz", "not the pinned"), ("absent", "download failed")]:
        monkeypatch.setattr(bccd, "URL", (tmp_path / url).as_uri())
        with pytest.raises(UserError, match=said):
            prepare("bccd", tmp_path / "out", {}, tmp_path / "new", fetch=True)
        assert not list((tmp_path / "new" / "bccd").iterdir())


@pytest.mark.skipif(not (ROOT / "bccd" / "BCCD").is_dir(), reason="no BCCD: set CONVATTN_DATA_ROOT")
def test_the_real_data(tmp_path):
    manifest = prepare("bccd", tmp_path / "out", {"width": 0}, ROOT)
    assert [manifest["counts"][split] for split in bccd.SPLITS] == [205, 87, 72]
    assert sum(manifest["counts"][f"{split}_boxes"] for split in bccd.SPLITS) == 4886
    assert manifest["skipped"] == {"no_area": 2, "outside": 0}
