"""ImageNet from made-up archives of three classes: unpacking, linking, going on, and what a user can get wrong."""

import hashlib
import io
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat

from plugins.datasets import imagenet
from plugins.datasets.prepare import prepare
from plugins.suite.data import building, seal, verify
from plugins.suite.errors import UserError

CLASSES = ["n00000003", "n00000001", "n00000002"]  # in the order of their numbers, as in the devkit not sorted
LABELS = [2, 1, 3, 3]  # of validation images 1 to 4
DEVKIT = "ILSVRC2012_devkit_t12/data"


def jpeg(number: int) -> bytes:
    stream = io.BytesIO()
    pixels = np.random.default_rng(number).integers(0, 255, (8, 12, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(stream, "JPEG")
    return stream.getvalue()


def tar(members: dict[str, bytes | tarfile.TarInfo], mode: str = "w") -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode=mode) as archive:
        for name, content in members.items():
            if isinstance(content, tarfile.TarInfo):
                archive.addfile(content)
                continue
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return stream.getvalue()


def class_tar(wnid: str) -> bytes:
    return tar({f"{wnid}_{number}.JPEG": jpeg(number) for number in range(2)})


def train_members() -> dict[str, bytes]:
    return {f"{wnid}.tar": class_tar(wnid) for wnid in sorted(CLASSES)}


def val_members() -> dict[str, bytes]:
    return {f"ILSVRC2012_val_{number:08d}.JPEG": jpeg(100 + number) for number in range(1, 5)}


def devkit_members() -> dict[str, bytes]:
    synsets = np.zeros(4, [("ILSVRC2012_ID", float), ("WNID", object), ("num_children", float)])
    for row, (number, wnid) in enumerate(zip(range(1, 5), [*CLASSES, "n00000009"], strict=True)):
        synsets[row] = (number, wnid, number == 4)
    stream = io.BytesIO()
    savemat(stream, {"synsets": synsets})
    labels = "".join(f"{label}\n" for label in LABELS).encode()
    return {f"{DEVKIT}/meta.mat": stream.getvalue(), f"{DEVKIT}/ILSVRC2012_validation_ground_truth.txt": labels}


def link(name: str, target: str = "/etc/passwd", kind: bytes = tarfile.SYMTYPE) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


class Fake:
    """A data root with the three archives; `put` replaces one and takes its MD5 for the published one."""

    def __init__(self, root: Path):
        self.root, self.sums = root, {}
        self.root.mkdir()
        self.put("train", tar(train_members()))
        self.put("val", tar(val_members()))
        self.put("devkit", tar(devkit_members(), "w:gz"))

    def path(self, part: str) -> Path:
        return self.root / imagenet.OFFICIAL.archives[part][0]

    def put(self, part: str, content: bytes) -> None:
        self.path(part).write_bytes(content)
        self.sums[part] = hashlib.md5(content).hexdigest()

    def write(self, out: Path) -> dict:
        archives = {part: (self.path(part).name, digest) for part, digest in self.sums.items()}
        release = imagenet.Release(archives, {"train": 6, "val": 4}, 3)
        with building(out) as folder:
            return seal(folder, "imagenet", {}, imagenet.write(folder, self.root, release))


@pytest.fixture
def fake(tmp_path) -> Fake:
    return Fake(tmp_path / "imagenet")


def refused(fake: Fake, out: Path, message: str) -> None:
    with pytest.raises(UserError, match=message) as error:
        fake.write(out)
    assert "\n" not in str(error.value) and not out.exists()


def test_archives_become_linked_class_folders(fake, tmp_path):
    manifest = fake.write(tmp_path / "out")
    assert manifest["counts"] == {"train": 6, "val": 4} and manifest["classes"] == sorted(CLASSES)
    assert verify(tmp_path / "out/manifest.json")["checksum"] == manifest["checksum"]
    present = {path.relative_to(tmp_path / "out/classes").as_posix() for path in tmp_path.glob("out/classes/*/*/*")}
    kept = {f"train/{wnid}/{wnid}_{number}.JPEG" for wnid in CLASSES for number in range(2)}
    kept |= {f"val/{CLASSES[label - 1]}/ILSVRC2012_val_{n:08d}.JPEG" for n, label in enumerate(LABELS, 1)}
    assert present == kept
    image = tmp_path / "out/classes/val/n00000001/ILSVRC2012_val_00000001.JPEG"
    assert image.is_symlink() and image.read_bytes() == val_members()[image.name]
    assert not list(fake.root.rglob("*.tmp"))


def test_unpacked_folders_need_no_archives(fake, tmp_path):
    first = fake.write(tmp_path / "first")
    for part in fake.sums:
        fake.path(part).unlink()
    assert fake.write(tmp_path / "second")["checksum"] == first["checksum"]


def test_unpacking_goes_on_where_it_was_stopped(fake, tmp_path):
    whole = train_members()
    fake.put("train", tar(whole | {"n00000002.tar": class_tar("n00000002")[:700]}))
    refused(fake, tmp_path / "out", "n00000002.tar: not a whole tar archive")
    assert [path.name for path in (fake.root / "train").iterdir()] == ["n00000001"]
    kept = fake.root / "train/n00000001"
    before = kept.stat().st_mtime_ns
    fake.put("train", tar(whole))
    assert fake.write(tmp_path / "out")["counts"] == {"train": 6, "val": 4}
    assert kept.stat().st_mtime_ns == before


@pytest.mark.parametrize("part", ["train", "val", "devkit"])
def test_a_missing_or_another_archive_is_named(part, fake, tmp_path):
    path = fake.path(part)
    path.write_bytes(path.read_bytes() + b"more")
    refused(fake, tmp_path / "out", f"{path.name}: MD5 is [0-9a-f]+, not the published {fake.sums[part]}; get the")
    path.unlink()
    refused(fake, tmp_path / "out", f"{path.name}: missing; put the archives of ILSVRC 2012 .image-net.org, where an")


@pytest.mark.parametrize(
    "hostile",
    [
        {"../../n00000001.tar": b""},
        {"/tmp/n00000001.tar": b""},
        {"n00000001.tar": link("n00000001.tar")},
        {"n00000001.tar": link("n00000001.tar", kind=tarfile.LNKTYPE)},
        {"n00000001.tar": tar({"../n00000001_0.JPEG": jpeg(0)})},
        {"n00000001.tar": tar({"n00000001_0.JPEG": link("n00000001_0.JPEG")})},
        {"n00000001.tar": tar({"n00000002_0.JPEG": jpeg(0)})},
    ],
)
def test_a_hostile_archive_writes_nothing(hostile, fake, tmp_path):
    fake.put("train", tar(hostile))
    before = sorted(tmp_path.rglob("*"))
    refused(fake, tmp_path / "out", "does not belong there; get the original again")
    assert sorted({*tmp_path.rglob("*")} - {fake.root / "train"}) == before


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"ILSVRC2012_val_00000004.JPEG": None}, "img_val.tar: holds 3 images, must hold 4"),
        ({"ILSVRC2012_val_00000005.JPEG": jpeg(0)}, "ILSVRC2012_val_00000005.JPEG has no label, they end with 4"),
        ({"ILSVRC2012_val_00000002.JPEG": b"no image"}, "ILSVRC2012_val_00000002.JPEG: not a whole image"),
        ({"readme": b""}, "img_val.tar: 'readme' does not belong there"),
    ],
)
def test_a_spoilt_validation_archive_is_one_line(change, message, fake, tmp_path):
    fake.put("val", tar({name: content for name, content in (val_members() | change).items() if content is not None}))
    refused(fake, tmp_path / "out", message)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"no archive", "not a readable devkit"),
        (tar({}, "w:gz"), "not a readable devkit"),
        (tar(devkit_members() | {f"{DEVKIT}/meta.mat": b"no matrix"}, "w:gz"), "not a readable devkit"),
        (tar(devkit_members() | {f"{DEVKIT}/ILSVRC2012_validation_ground_truth.txt": b"1\n1 x\n"}, "w:gz"),
         "not a readable devkit"),
        (tar(devkit_members() | {f"{DEVKIT}/ILSVRC2012_validation_ground_truth.txt": b"1\n2\n3\n"}, "w:gz"),
         "does not label 4 images"),
        (tar(devkit_members() | {f"{DEVKIT}/ILSVRC2012_validation_ground_truth.txt": b"1\n2\n3\n4\n"}, "w:gz"),
         "does not label 4 images"),
    ],
)  # fmt: skip
def test_an_unreadable_devkit_is_one_line(content, message, fake, tmp_path):
    fake.put("devkit", content)
    refused(fake, tmp_path / "out", f"devkit_t12.tar.gz: {message}")


def test_spoilt_class_folders_are_named(fake, tmp_path):
    fake.write(tmp_path / "first")
    folder = fake.root / "train/n00000002"
    images = sorted(folder.iterdir())
    images[0].unlink()
    refused(fake, tmp_path / "out", "imagenet: holds 5 images in train, must hold 6; unpack the archives")
    images[1].unlink()
    refused(fake, tmp_path / "out", "train/n00000002: class folder without an image")
    folder.rmdir()
    fake.path("train").unlink()
    refused(fake, tmp_path / "out", "img_train.tar: missing")


def test_imagenet21k_takes_folders_as_they_are(fake, tmp_path):
    fake.write(tmp_path / "first")
    fake.root.rename(tmp_path / "imagenet21k")
    manifest = prepare("imagenet21k", tmp_path / "out", {}, tmp_path)
    assert manifest["counts"] == {"train": 6, "val": 4} and manifest["classes"] == sorted(CLASSES)
    for image in (tmp_path / "imagenet21k/val/n00000001").iterdir():
        image.unlink()
    (tmp_path / "imagenet21k/val/n00000001").rmdir()
    with pytest.raises(UserError, match="train/n00000001 and val/n00000001 must both be there"):
        prepare("imagenet21k", tmp_path / "out", {}, tmp_path)


@pytest.mark.parametrize("name", ["imagenet", "imagenet21k"])
def test_no_originals_at_all_is_one_line(name, tmp_path):
    with pytest.raises(UserError, match="data_root is not set; .*an account is needed; it cannot be fetched"):
        prepare(name, tmp_path / "out")
    with pytest.raises(UserError, match="missing; put|holds no class folder"):
        prepare(name, tmp_path / "out", {}, tmp_path)
