"""A data folder is whole or absent: it is built beside its place, sealed by manifest.json, then renamed.

`manifest.json` holds the SHA-256 of every file, and `checksum`, the SHA-256 over the lines "hash  path" sorted by path.
A folder that was cut short, altered or added to is told from a whole one by `verify`.
"""

import errno
import hashlib
import json
import os
import re
import shutil
import tempfile
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from plugins.suite.errors import UserError

MANIFEST = "manifest.json"
# What a data folder may hold. A folder with anything else at its top is somebody's own and is not replaced.
OWN_NAMES = {MANIFEST, "text", "bin", "subword.codes", "subword.model", "subword.vocab"}
OWN_NAMES |= {"images", "annotations", "masks", "classes"}


def file_sha256(path: Path) -> str:
    """Hexadecimal SHA-256 of one file; raises OSError."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def hash_files(folder: Path) -> dict[str, str]:
    """{relative path: SHA-256} of all files under `folder` but its manifest, sorted by path."""
    paths = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if not path.is_dir())
    return {path: file_sha256(folder / path) for path in paths if path != MANIFEST}


def checksum_of(files: dict[str, str]) -> str:
    """One SHA-256 for a whole folder, from {relative path: SHA-256}."""
    lines = "".join(f"{files[path]}  {path}\n" for path in sorted(files))
    return hashlib.sha256(lines.encode()).hexdigest()


@contextmanager
def building(out: Path):
    """Yields an empty folder beside `out` that takes the place of `out` when the block ends without an error.

    UserError where `out` cannot be replaced or the disk is full; whatever stood at `out` before stays whole then.
    """
    out = Path(out).absolute()
    _check_replaceable(out)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix=f".{out.name}.", suffix=".tmp", dir=out.parent))
    except OSError as error:
        raise UserError(f"{out}: cannot write there ({error.strerror}); choose another output folder") from error
    try:
        folder.chmod(0o755)
        yield folder
        _sync(folder)
        _replace(folder, out)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise UserError(f"{out}: no space left on the disk; free some and start again") from error
        raise
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def seal(folder: Path, name: str, params: dict, facts: dict) -> dict:
    """Writes the manifest of a finished folder and returns it. `facts` has `counts`, `skipped` and the task's own
    keys.
    """
    files = hash_files(folder)
    manifest = {"name": name, "params": params, "checksum": checksum_of(files), **facts, "files": files}
    (folder / MANIFEST).write_text(json.dumps(manifest, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return manifest


def verify(manifest_path: Path) -> dict:
    """The manifest, once every file that it lists was found unchanged and no other was found; UserError names the first
    file that is missing, altered or not listed."""
    manifest_path = Path(manifest_path)
    manifest = read_manifest(manifest_path)
    folder = manifest_path.parent
    for path, expected in sorted(manifest["files"].items()):
        if not (folder / path).is_file():
            raise UserError(f"{folder / path}: listed in {MANIFEST} but missing; prepare the data again")
        if file_sha256(folder / path) != expected:
            raise UserError(f"{folder / path}: SHA-256 differs from {MANIFEST}; prepare the data again")
    for path in sorted(folder.rglob("*")):
        relative = path.relative_to(folder).as_posix()
        if not path.is_dir() and relative != MANIFEST and relative not in manifest["files"]:
            raise UserError(f"{path}: not listed in {MANIFEST}; move it out of the data folder")
    return manifest


def read_manifest(path: Path) -> dict:
    """The parsed manifest; UserError where it is missing, not JSON, or lacks what `verify` relies on."""
    try:
        manifest = json.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise UserError(f"{path}: no manifest, the data set was not prepared to its end; prepare it again") from error
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{path}: not a readable JSON manifest; prepare the data again") from error
    problem = _problem(manifest)
    if problem:
        raise UserError(f"{path}: {problem}; prepare the data again")
    return manifest


def _problem(manifest) -> str | None:
    if not isinstance(manifest, dict):
        return "not a JSON object"
    kinds = {"name": str, "params": dict, "checksum": str, "files": dict, "counts": dict, "skipped": dict}
    for key, kind in kinds.items():
        if not isinstance(manifest.get(key), kind):
            return f"key '{key}' is missing or not of type {kind.__name__}"
    for path, digest in manifest["files"].items():
        if not path or "\0" in path or path.startswith("/") or ".." in path.split("/"):
            return f"file name {path!r} leaves the folder"
        if not isinstance(digest, str) or not re.fullmatch("[0-9a-f]{64}", digest):
            return f"file {path!r} has no SHA-256"
    if manifest["checksum"] != checksum_of(manifest["files"]):
        return "key 'checksum' does not fit the listed files"
    return None


def _check_replaceable(out: Path) -> None:
    if not os.path.lexists(out):
        return
    if not out.is_dir() or out.is_symlink():
        raise UserError(f"{out}: exists and is not a plain folder; choose another output folder")
    foreign = sorted(entry.name for entry in out.iterdir() if entry.name not in OWN_NAMES)
    if foreign:
        raise UserError(f"{out}: holds {foreign[0]!r}, which no data set writes; choose an empty output folder")


def _sync(folder: Path) -> None:
    # Side by side: the disk then commits many files at once.
    with ThreadPoolExecutor(16) as pool:
        list(pool.map(_fsync, [*folder.rglob("*"), folder]))


def _fsync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _replace(folder: Path, out: Path) -> None:
    """Puts `folder` at `out`. An older data set is moved aside first: a crash in between leaves no folder, never a
    mixed one.
    """
    aside = folder.with_suffix(".old")
    if out.exists():
        os.rename(out, aside)
    os.rename(folder, out)
    _fsync(out.parent)
    shutil.rmtree(aside, ignore_errors=True)
