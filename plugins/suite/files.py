"""Reading and writing of the suite's own files: one YAML reader, one JSON reader, one atomic writer, one lock.

Every fault is a `UserError` of one line: the file, the place in it, the rule, the fix.
"""

from __future__ import annotations

import contextlib
import difflib
import fcntl
import hashlib
import json
import os
import stat
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import yaml

from plugins.suite.errors import UserError

LARGEST = 2**20  # bytes of a YAML file that a person wrote
DEEPEST = 40  # levels of a YAML file
BASE = yaml.CSafeLoader if hasattr(yaml, "CSafeLoader") else yaml.SafeLoader


class _Loader(BASE):
    """Safe YAML in which a key that is given twice is a fault and not a silent overwrite. A date stays text."""


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if not tag.endswith(":timestamp")]
    for first, resolvers in BASE.yaml_implicit_resolvers.items()
}


def _unique_mapping(loader: yaml.SafeLoader, node: yaml.MappingNode, deep: bool = False) -> dict:
    seen: dict[Any, int] = {}
    for key_node, _ in node.value:
        line = key_node.start_mark.line + 1
        if key_node.tag.endswith(":merge"):
            raise UserError(f"line {line}: merge keys (<<) are not read; write the keys out, or use `like`")
        key = loader.construct_object(key_node, deep=True)
        if not isinstance(key, str):
            raise UserError(f'line {line}: key {one_line(repr(key), 60)} is not text; write it in quotes, e.g. "0010"')
        if key in seen:
            shown = one_line(repr(key), 60)
            raise UserError(f"line {line}: {shown} is given twice (first in line {seen[key]}); rename or remove one")
        seen[key] = line
    return yaml.SafeLoader.construct_mapping(loader, node, deep)


_Loader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _unique_mapping)


def read_text(path: Path, largest: int | None = None) -> str:
    """The text of a UTF-8 file, of at most `largest` bytes. A pipe or device is refused: reading it may never end."""
    path = Path(path)
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise UserError(f"{path}: is no plain file; give a file with text")
        if largest is not None and status.st_size > largest:
            raise UserError(f"{path}: has {status.st_size} bytes; at most {largest} are read")
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise UserError(f"{path}: file not found") from None
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read as UTF-8 text ({one_line(error)})") from None


def read_yaml(path: Path) -> dict:
    """The mapping in a YAML file, which must be there, be valid YAML, and name no key twice.

    Aliases, merge keys and tags are refused: a line of a recipe means what it says, and no short file grows huge.
    """
    text = read_text(path, LARGEST)
    try:
        _check_events(text)
        content = yaml.load(text, Loader=_Loader)  # noqa: S506 - a subclass of the safe loader
    except UserError as error:
        raise UserError(f"{path}: {error}") from None
    except (yaml.YAMLError, ValueError) as error:
        mark = getattr(error, "problem_mark", None)
        where = f" line {mark.line + 1}" if mark else ""
        reason = getattr(error, "problem", None) or error
        raise UserError(f"{path}:{where} is not valid YAML ({one_line(reason)})") from None
    if not isinstance(content, dict):
        raise UserError(f"{path}: must be a mapping of keys to values, is {type(content).__name__}")
    return content


def _check_events(text: str) -> None:
    """UserError for what is not read, and for nesting that a recursive reader would not survive."""
    depth = 0
    for event in yaml.parse(text, Loader=BASE):
        line = event.start_mark.line + 1
        if isinstance(event, yaml.AliasEvent):
            raise UserError(f"line {line}: aliases (*{event.anchor}) are not read; write the value out, or use `like`")
        if getattr(event, "tag", None) is not None:
            raise UserError(f"line {line}: is not valid YAML here: tags ({one_line(event.tag, 60)}) are not read")
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > DEEPEST:
            raise UserError(f"line {line}: is nested more than {DEEPEST} levels deep")


def read_json(path: Path) -> Any:
    """The content of a JSON file, which must be there and whole."""
    text = read_text(path)
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path}: not valid JSON ({one_line(error)}); delete it and run again") from None


def write_bytes(path: Path, content: bytes) -> None:
    """Writes under a temporary name and renames: readers see the old file or the whole new one, also after a kill.

    A full disk leaves the old file as it was. OSError as the system raises it.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)


def write_text(path: Path, text: str) -> None:
    """Writes UTF-8 text atomically (see `write_bytes`)."""
    write_bytes(path, text.encode("utf-8"))


def write_json(path: Path, content: dict | list) -> None:
    """Writes JSON atomically (see `write_bytes`); ValueError for NaN and infinity, which JSON has not."""
    write_text(path, json.dumps(content, indent=1, sort_keys=False, allow_nan=False) + "\n")


def sha256(path: Path) -> str:
    """Hexadecimal SHA-256 of a file; OSError as the system raises it."""
    with Path(path).open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def seal(path: Path) -> None:
    """Writes `<name>.sha256` beside a finished file, in the form that `sha256sum --check` reads."""
    path = Path(path)
    write_text(_seal_of(path), f"{sha256(path)}  {path.name}\n")


def is_sealed(path: Path) -> bool:
    """Whether a file is, bit for bit, what was sealed; False without the file or without its seal."""
    path = Path(path)
    try:
        return _seal_of(path).read_text(encoding="utf-8").split()[:1] == [sha256(path)]
    except (OSError, UnicodeDecodeError):
        return False


def remove_sealed(path: Path) -> None:
    """Deletes a file and its seal, as far as they are there."""
    for each in (Path(path), _seal_of(Path(path))):
        each.unlink(missing_ok=True)


def _seal_of(path: Path) -> Path:
    return path.with_name(f"{path.name}.sha256")


@contextlib.contextmanager
def lock(path: Path) -> Iterator[bool]:
    """Holds `path` for one process, if it is free, and yields whether it is.

    The lock goes with the process, whatever ends it. The file's text names the holder: "pid 123".
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        handle.truncate(0)
        handle.write(f"pid {os.getpid()}")
        handle.flush()
        yield True


def is_locked(path: Path) -> bool:
    """Whether a living process holds the lock `path`. Looks without waiting and lets go at once."""
    try:
        with path.open("rb") as stream:
            fcntl.flock(stream, fcntl.LOCK_SH | fcntl.LOCK_NB)
        return False
    except BlockingIOError:
        return True
    except OSError:
        return False


def nearest(word: object, known: Iterable[str]) -> str:
    """What to add to a message about an unknown word: "; did you mean 'x'?", or the words that are known."""
    known = [str(name) for name in known]
    close = difflib.get_close_matches(str(word), known, n=1, cutoff=0.5)
    return f"; did you mean '{close[0]}'?" if close else f"; known: {', '.join(sorted(known)) or 'none'}"


def one_line(text: object, limit: int = 300) -> str:
    """`text` without line breaks, cut at `limit` characters."""
    line = " ".join(str(text).split())
    return line if len(line) <= limit else line[: limit - 3] + "..."
