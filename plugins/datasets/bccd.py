"""BCCD blood cells (GitHub Shenggan/BCCD_Dataset, MIT): Pascal VOC XML boxes -> COCO, split as ImageSets/Main says.

`width` scales images and boxes (the originals are 640 x 480; 0 keeps them as they are). A box is
[xmin, ymin, xmax - xmin, ymax - ymin] of the XML, cut to the image; one that has no area, or none inside the image, is
left out and counted.
"""

import json
import os
import shutil
import tarfile
import tempfile
import xml.etree.ElementTree as ElementTree
from pathlib import Path

from plugins.datasets.originals import combined_sha256, download, folder_of, missing
from plugins.datasets.prepare import Source, check_range
from plugins.suite.errors import UserError

DEFAULTS = {"width": 320}
CLASSES = ("RBC", "WBC", "Platelets")
SPLITS = ("train", "val", "test")
ORIGIN = "GitHub Shenggan/BCCD_Dataset, folder BCCD"
URL = "https://codeload.github.com/Shenggan/BCCD_Dataset/tar.gz/refs/heads/master"
SHA256 = "b1b1485eb70abd519278b17e4f908cc1032bb4b603ba21e5e220629137ad4473"
LARGEST_XML = 1 << 20  # bytes; the largest original has about 10 kB


def build(folder: Path, params: dict, source: Source) -> dict:
    """Writes images/ and annotations/ into `folder`; returns the facts of the manifest."""
    if params["width"] != 0:
        check_range("bccd", params, "width", 32, 640)
    original = folder_of(source, "bccd/BCCD", ORIGIN, fetchable=True)
    if not original.is_dir():
        if not source.fetch:
            raise UserError(f"{original}: no such folder; put {ORIGIN} there, or add --fetch to download it")
        _fetch(original)
    names = _split_names(original)
    counts, skipped, size = {}, {"no_area": 0, "outside": 0}, None
    (folder / "annotations").mkdir()
    for split in SPLITS:
        (folder / "images" / split).mkdir(parents=True)
        images, annotations = [], []
        for name in names[split]:
            image = original / "JPEGImages" / f"{name}.jpg"
            xml = original / "Annotations" / f"{name}.xml"
            full, size = _image(image, folder / "images" / split / image.name, params["width"])
            images.append({"id": len(images) + 1, "file_name": image.name, "width": size[0], "height": size[1]})
            scale = size[0] / full[0], size[1] / full[1]
            for kind, box in boxes(_read(xml), str(xml), full, skipped):
                scaled = [round(value * scale[i % 2], 2) for i, value in enumerate(box)]
                annotations.append({"id": len(annotations) + 1, "image_id": len(images), "category_id": kind + 1,
                                    "bbox": scaled, "area": round(scaled[2] * scaled[3], 2), "iscrowd": 0})  # fmt: skip
        categories = [{"id": number + 1, "name": name} for number, name in enumerate(CLASSES)]
        content = {"images": images, "annotations": annotations, "categories": categories}
        (folder / "annotations" / f"{split}.json").write_text(json.dumps(content), encoding="utf-8")
        counts |= {split: len(images), f"{split}_boxes": len(annotations)}
    _check_sha256(original, names)
    return {"task": "detection", "classes": list(CLASSES), "size": list(size), "counts": counts, "skipped": skipped}


def boxes(xml: bytes, name: str, size: tuple[int, int], skipped: dict[str, int]) -> list[tuple[int, list[float]]]:
    """[(class number, [x, y, width, height])] of one VOC annotation, cut to the image of `size` (width, height), in
    pixels.

    Boxes left out are counted into `skipped`. UserError, with `name`, where the XML is broken, holds a document type
    (it could declare entities), says another image size, or an object lacks its class or corners.
    """
    root = _parse(xml, name)
    said = tuple(_number(root, f"size/{side}", name) for side in ("width", "height"))
    if said != size:
        raise UserError(f"{name}: size is {said} but that of the image is {size}; fetch the original again")
    kept = []
    for thing in root.findall("object"):
        kind = (thing.findtext("name") or "").strip()
        if kind not in CLASSES:
            raise UserError(f"{name}: class {kind!r} is none of {', '.join(CLASSES)}; fetch the original again")
        left, top, right, bottom = (_number(thing, f"bndbox/{key}", name) for key in ("xmin", "ymin", "xmax", "ymax"))
        if right <= left or bottom <= top:
            skipped["no_area"] += 1
            continue
        left, right = (min(max(value, 0.0), size[0]) for value in (left, right))
        top, bottom = (min(max(value, 0.0), size[1]) for value in (top, bottom))
        if right <= left or bottom <= top:
            skipped["outside"] += 1
            continue
        kept.append((CLASSES.index(kind), [left, top, right - left, bottom - top]))
    return kept


def _parse(xml: bytes, name: str) -> ElementTree.Element:
    # Entities can be declared in a document type only. As text is handed on, no other encoding can hide one.
    try:
        text = xml.decode("utf-8-sig")
        if len(xml) > LARGEST_XML or "<!DOCTYPE" in text or "<!ENTITY" in text:
            raise UserError(f"{name}: over {LARGEST_XML} bytes, or has a document type; fetch the original again")
        return ElementTree.fromstring(text)
    except (ElementTree.ParseError, ValueError) as error:
        raise UserError(f"{name}: broken XML ({error}); fetch the original again") from error


def _number(element: ElementTree.Element, path: str, name: str) -> float:
    text = element.findtext(path)
    try:
        value = float(text)
    except (TypeError, ValueError):
        value = float("nan")
    if not abs(value) < 1e6:
        raise UserError(f"{name}: {path} is {text!r}, not a number of pixels; fetch the original again")
    return value


def _read(path: Path) -> bytes:
    if not path.is_file():
        raise missing(path, ORIGIN, fetchable=True)
    return path.read_bytes()


def _split_names(original: Path) -> dict[str, list[str]]:
    """{split: image names without suffix}; UserError where a name is no plain name or stands twice."""
    names, seen = {}, set()
    for split in SPLITS:
        path = original / "ImageSets" / "Main" / f"{split}.txt"
        names[split] = _read(path).decode("utf-8", "replace").split()
        for name in names[split]:
            if not name.replace("_", "").isalnum():
                raise UserError(f"{path}: {name!r} is no image name; fetch the original again")
            if name in seen:
                raise UserError(f"{path}: {name} stands twice in the split files; an image belongs to one split")
            seen.add(name)
        if not names[split]:
            raise UserError(f"{path}: names no image; fetch the original again")
    return names


def _image(path: Path, out: Path, width: int) -> tuple[tuple[int, int], tuple[int, int]]:
    """Writes the image to `out`, scaled to `width` unless that is 0; returns the (width, height) it had and has."""
    from PIL import Image

    if not path.is_file():
        raise missing(path, ORIGIN, fetchable=True)
    try:
        with Image.open(path) as image:
            full = image.size
            size = (width, round(full[1] * width / full[0])) if width else full
            pixels = image.convert("RGB")
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise UserError(f"{path}: not a whole image ({error}); fetch the original again") from error
    if size == full:
        shutil.copyfile(path, out)
    else:
        pixels.resize(size, Image.Resampling.BOX).save(out, quality=95)
    return full, size


def _check_sha256(original: Path, names: dict[str, list[str]]) -> None:
    stems = [name for split in SPLITS for name in names[split]]
    paths = [original / "ImageSets" / "Main" / f"{split}.txt" for split in SPLITS]
    paths += [original / "JPEGImages" / f"{stem}.jpg" for stem in stems]
    paths += [original / "Annotations" / f"{stem}.xml" for stem in stems]
    digest = combined_sha256(paths)
    if digest != SHA256:
        raise UserError(f"{original}: SHA-256 over its files is {digest}, not the pinned {SHA256}; fetch it again")


def _fetch(original: Path) -> None:
    """Downloads the repository and puts its folder BCCD at `original` once its checksum is the pinned one."""
    try:
        original.parent.mkdir(parents=True, exist_ok=True)
        work = Path(tempfile.mkdtemp(prefix=".BCCD.", dir=original.parent))
    except OSError as error:
        raise UserError(
            f"{original.parent}: cannot write there ({error.strerror}); choose a data_root of yours"
        ) from error
    try:
        download(URL, work / "archive.tar.gz")
        with tarfile.open(work / "archive.tar.gz") as archive:
            members = [member for member in archive.getmembers() if "/BCCD/" in member.name and member.isfile()]
            archive.extractall(work, members, filter="data")
        unpacked = next(work.glob("*/BCCD"))
        _check_sha256(unpacked, _split_names(unpacked))
        os.rename(unpacked, original)
    except (tarfile.TarError, EOFError, StopIteration, OSError) as error:
        raise UserError(f"{URL}: not the expected archive ({error}); put {ORIGIN} at {original} yourself") from error
    finally:
        shutil.rmtree(work, ignore_errors=True)
