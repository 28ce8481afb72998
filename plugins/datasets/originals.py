"""Original public files: where they must lie, how they are fetched, and how a folder of them is told from another."""

import hashlib
import os
import tempfile
import urllib.request
from pathlib import Path

from plugins.datasets.prepare import Source
from plugins.suite.data import file_sha256
from plugins.suite.errors import UserError

TIMEOUT_S = 60


def folder_of(source: Source, sub: str, origin: str, fetchable: bool = False) -> Path:
    """data_root/sub; UserError where no data_root was given. `origin` tells the user where the files come from,
    `fetchable` whether --fetch gets them."""
    if source.data_root is None:
        other = " or let --fetch download it there" if fetchable else ""
        raise UserError(f"data_root is not set; name a folder, put {origin} in its {sub}/{other}")
    return source.data_root / sub


def missing(path: Path, origin: str, fetchable: bool = False) -> UserError:
    """The error for one original file that is not there."""
    other = ", or add --fetch to download them" if fetchable else ""
    return UserError(f"{path}: missing; put the files of {origin} in {path.parent}/{other}")


def check_md5(path: Path, published: str) -> None:
    """UserError for an original whose MD5 is not the published one."""
    with path.open("rb") as file:
        actual = hashlib.file_digest(file, "md5").hexdigest()
    if actual != published:
        raise UserError(f"{path}: MD5 is {actual}, not the published {published}; get the original again")


def download(url: str, path: Path, sha256: str | None = None) -> None:
    """Fetches `url` to `path` through a temporary name beside it; UserError where the network fails or the hash
    differs.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    except OSError as error:
        raise UserError(f"{path.parent}: cannot write there ({error.strerror}); choose a data_root of yours") from error
    part = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as file, urllib.request.urlopen(url, timeout=TIMEOUT_S) as answer:
            while block := answer.read(1 << 20):
                file.write(block)
        if sha256 and file_sha256(part) != sha256:
            raise UserError(f"{url}: SHA-256 is {file_sha256(part)}, not the pinned {sha256}; fetch it again")
        part.chmod(0o644)
        os.replace(part, path)
    except OSError as error:
        raise UserError(f"{url}: download failed ({error}); fetch it by other means and put it at {path}") from error
    finally:
        part.unlink(missing_ok=True)


def image_size(path: Path, origin: str) -> tuple[int, int]:
    """(width, height) of an image once all of it was decoded; UserError where it is missing, cut short or no image."""
    from PIL import Image

    if not path.is_file():
        raise missing(path, origin)
    try:
        with Image.open(path) as image:
            size = image.size
            # All of a JPEG is read, but an eighth of its pixels made.
            image.draft(None, (max(1, size[0] // 8), max(1, size[1] // 8)))
            image.load()
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise UserError(f"{path}: not a whole image ({error}); put the original there again") from error
    return size


def combined_sha256(paths: list[Path]) -> str:
    """One SHA-256 over the lines "hash  name" of the files, sorted by name."""
    lines = sorted((path.name, file_sha256(path)) for path in paths)
    return hashlib.sha256("".join(f"{digest}  {name}\n" for name, digest in lines).encode()).hexdigest()
