"""ImageNet-1K (ILSVRC 2012): 1,281,167 images to train, 50,000 to validate, 1,000 classes named by their WordNet ids.

`DATA_ROOT/imagenet` must hold the three official archives, ILSVRC2012_img_train.tar, ILSVRC2012_img_val.tar and
ILSVRC2012_devkit_t12.tar.gz, or their images unpacked, `{train,val}/<wnid>/*.JPEG`. The origin wants an account, so
nothing is fetched. Archives are checked against the published MD5 and unpacked beside themselves, once; the training
classes one by one, so that what was stopped goes on where it was. Images are linked: an unpacked archive may be
removed. The test split has no public labels: runs are scored on the validation split, as is usual.
"""

import io
import os
import re
import tarfile
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from scipy.io import loadmat
from scipy.io.matlab import MatReadError

from plugins.datasets.originals import check_md5, folder_of, image_size
from plugins.datasets.prepare import Source
from plugins.suite.data import building
from plugins.suite.errors import UserError

DEFAULTS: dict = {}
ORIGIN = "ILSVRC 2012 (image-net.org, where an account is needed; it cannot be fetched)"
WNID = re.compile(r"n[0-9]{8}")
THREADS = 8
# What reading a damaged devkit raises.
UNREADABLE = (tarfile.TarError, MatReadError, OSError, EOFError, zlib.error, AttributeError, LookupError, TypeError,
              ValueError)  # fmt: skip


@dataclass(frozen=True)
class Release:
    """What the originals are: name and published MD5 of each archive, images a split, number of classes."""

    archives: dict[str, tuple[str, str]]
    counts: dict[str, int]
    classes: int


OFFICIAL = Release(
    archives={
        "train": ("ILSVRC2012_img_train.tar", "1d675b47d978889d74fa0da5fadfb00e"),
        "val": ("ILSVRC2012_img_val.tar", "29b22e2961454d5413ddabcf34fc5622"),
        "devkit": ("ILSVRC2012_devkit_t12.tar.gz", "fa75699e90414af021442c21a62c3abf"),
    },
    counts={"train": 1281167, "val": 50000},
    classes=1000,
)


def build(folder: Path, params: dict, source: Source) -> dict:
    """Writes classes/<split>/<wnid>/ (links) into `folder`; returns the facts of the manifest."""
    return write(folder, folder_of(source, "imagenet", f"the archives of {ORIGIN}"), OFFICIAL)


def write(folder: Path, root: Path, release: Release) -> dict:
    """`build` for a release whose originals lie in `root`."""
    unpack_train(root, release)
    unpack_val(root, release)
    facts = link_splits(root, folder, ORIGIN)
    for what, count, expected in [
        ("classes", len(facts["classes"]), release.classes),
        *((f"images in {split}", facts["counts"][split], expected) for split, expected in release.counts.items()),
    ]:
        if count != expected:
            raise UserError(f"{root}: holds {count} {what}, must hold {expected}; unpack the archives of {ORIGIN} anew")
    return facts


def link_splits(root: Path, folder: Path, origin: str) -> dict:
    """Links root/{train,val}/<wnid>/*.JPEG into folder/classes; returns the facts of the manifest.

    UserError for a class that only one split has, one without an image, or an image that is not whole.
    """
    folders = {split: class_folders(root / split) for split in ("train", "val")}
    names = {split: {path.name for path in paths} for split, paths in folders.items()}
    if not names["train"]:
        raise UserError(f"{root / 'train'}: holds no class folder such as n01440764; put {origin} there")
    if lonely := sorted(names["train"] ^ names["val"]):
        raise UserError(f"{root}: train/{lonely[0]} and val/{lonely[0]} must both be there; put {origin} there")
    counts = dict.fromkeys(folders, 0)
    with ThreadPoolExecutor(THREADS) as pool:
        for split, paths in folders.items():
            for path in paths:
                counts[split] += _link_class(path, folder / "classes" / split / path.name, origin, pool)
    return {"task": "classification", "classes": sorted(names["train"]), "counts": counts, "skipped": {}}


def class_folders(split: Path) -> list[Path]:
    """The folders of a split that are named by a WordNet id, sorted; none where the split is not there."""
    if not split.is_dir():
        return []
    return sorted(path for path in split.iterdir() if WNID.fullmatch(path.name) and path.is_dir())


def _link_class(original: Path, target: Path, origin: str, pool: ThreadPoolExecutor) -> int:
    """Links the images of a class, once decoded, and returns their number."""
    images = sorted(original.glob("*.JPEG"))
    if not images:
        raise UserError(f"{original}: class folder without an image *.JPEG; put the images of {origin} there")
    target.mkdir(parents=True)

    def link(path: Path) -> None:
        image_size(path, origin)
        os.symlink(path.absolute(), target / path.name)

    return len(list(pool.map(link, images)))


def unpack_train(root: Path, release: Release) -> None:
    """Unpacks the classes that root/train lacks from the archive of archives, each whole or not at all."""
    done = {path.name for path in class_folders(root / "train")}
    if len(done) >= release.classes:
        return
    archive = _archive(root, "train", release)
    with archive.open("rb") as file:
        for name, content in members(file, WNID.pattern + r"\.tar", archive):
            wnid = name.removesuffix(".tar")
            if wnid not in done:
                with building(root / "train" / wnid, sync=False) as folder:
                    for image, pixels in members(io.BytesIO(content), rf"{wnid}_[0-9]+\.JPEG", f"{archive}: {name}"):
                        (folder / image).write_bytes(pixels)


def unpack_val(root: Path, release: Release) -> None:
    """Unpacks the validation images, all or none, into the folders of the classes that the devkit gives them."""
    if (root / "val").is_dir():
        return
    archive = _archive(root, "val", release)
    classes = validation_classes(_archive(root, "devkit", release), release)
    with building(root / "val", sync=False) as folder, archive.open("rb") as file:
        count = 0
        for name, pixels in members(file, r"ILSVRC2012_val_[0-9]{8}\.JPEG", archive):
            number = int(name[15:23])
            if not 1 <= number <= len(classes):
                raise UserError(f"{archive}: {name} has no label, they end with {len(classes)}; get the original again")
            (folder / classes[number - 1]).mkdir(exist_ok=True)
            (folder / classes[number - 1] / name).write_bytes(pixels)
            count += 1
        if count != len(classes):
            raise UserError(f"{archive}: holds {count} images, must hold {len(classes)}; get the original again")


def validation_classes(devkit: Path, release: Release) -> list[str]:
    """The WordNet id of each validation image, in the order of their numbers; UserError where the devkit has others."""
    try:
        with tarfile.open(devkit, "r:gz") as archive:
            data = f"{devkit.name.removesuffix('.tar.gz')}/data"
            labels = archive.extractfile(f"{data}/ILSVRC2012_validation_ground_truth.txt").read().split()
            synsets = loadmat(io.BytesIO(archive.extractfile(f"{data}/meta.mat").read()), squeeze_me=True)["synsets"]
        names = {int(row["ILSVRC2012_ID"]): str(row["WNID"]) for row in synsets}
        # Synsets numbered above the classes stand higher up in WordNet.
        classes = [names[int(label)] for label in labels if int(label) <= release.classes]
    except UNREADABLE as error:
        raise UserError(f"{devkit}: not a readable devkit ({error}); get the original again") from error
    if len(classes) != release.counts["val"] or not all(map(WNID.fullmatch, classes)):
        raise UserError(f"{devkit}: does not label {release.counts['val']} images; get the original again")
    return classes


def _archive(root: Path, part: str, release: Release) -> Path:
    """An official archive, its MD5 checked; UserError where it is missing or another."""
    name, expected = release.archives[part]
    path = root / name
    if not path.is_file():
        raise UserError(f"{path}: missing; put the archives of {ORIGIN} in {root}/, or their images in train/ and val/")
    check_md5(path, expected)
    return path


def members(file: BinaryIO, pattern: str, shown: Path | str) -> Iterator[tuple[str, bytes]]:
    """(name, content) of each member of a tar; UserError, with `shown`, for a damaged archive, or a member that is no
    plain file or whose name is not all of `pattern`, so that no path of the archive's own reaches the disk.
    """
    try:
        with tarfile.open(fileobj=file, mode="r:") as archive:
            for member in archive:
                if not re.fullmatch(pattern, member.name) or not member.isreg():
                    raise UserError(f"{shown}: {member.name!r} does not belong there; get the original again")
                yield member.name, archive.extractfile(member).read()
    except (tarfile.TarError, EOFError) as error:
        raise UserError(f"{shown}: not a whole tar archive ({error}); get the original again") from error
