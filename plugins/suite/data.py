"""A data folder is whole or absent: it is built beside its place, sealed by manifest.json, then renamed.

`manifest.json` holds the SHA-256 of every file, `checksum`, the SHA-256 over the lines "hash  path" sorted by path, and
`generator`, the digest of what made the folder: the data set's sources, its parameters, the versions of what they use.
A folder that was cut short, altered, added to, or made by another generator is told from a whole one by `verify`.

What was hashed once is remembered beside the folder in `.<folder>.verified.json` (no part of the data): size and time
of every file, and which checks of the content it passed. Only files whose size or time differ are hashed again.
"""

from __future__ import annotations

import ast
import errno
import hashlib
import json
import math
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import lru_cache
from importlib import metadata
from pathlib import Path

from plugins.suite import sources
from plugins.suite.errors import UserError
from plugins.suite.files import nearest, read_json, write_json

MANIFEST = "manifest.json"
AGAIN = "prepare the data again (snakemake --forcerun prepare_data)"
# What a data folder may hold. A folder with anything else at its top is somebody's own and is not replaced.
OWN_NAMES = {MANIFEST, "text", "bin", "subword.codes", "subword.model", "subword.vocab"}
OWN_NAMES |= {"images", "annotations", "masks", "classes", "arrays", "tags", "strata"}
THREADS = 8
# Modules of plugins/datasets that check, fetch and hand on, but write no byte of a data set.
AROUND = {"__init__.py", "__main__.py", "prepare.py", "originals.py"}
# The least whole number of parameters with these names, where a data set sets no limits of its own: no split is empty.
LEAST = {"seed": 0, "sentences": 1, "train": 1, "val": 1, "valid": 1, "test": 1}
# Parameters that say how a data set is prepared, not what is in it.
NOT_CONTENT = {"workers"}


def file_sha256(path: Path) -> str:
    """Hexadecimal SHA-256 of one file; raises OSError."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def hash_files(folder: Path) -> dict[str, str]:
    """{relative path: SHA-256} of all files under `folder` but its manifest, sorted by path."""
    paths = [path for path in _listed(folder) if path != MANIFEST]
    with ThreadPoolExecutor(THREADS) as pool:
        return dict(zip(paths, pool.map(lambda path: file_sha256(folder / path), paths), strict=True))


def checksum_of(files: dict[str, str]) -> str:
    """One SHA-256 for a whole folder, from {relative path: SHA-256}."""
    lines = "".join(f"{files[path]}  {path}\n" for path in sorted(files))
    return hashlib.sha256(lines.encode()).hexdigest()


def _listed(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if not path.is_dir())


##### what made a data set #####


def declared(name: str) -> dict:
    """The literal constants of data set `name`, read from its module without importing it.

    DEFAULTS: the parameters and their default values, whose types are the rule. LIMITS, if any: {parameter: (least,
    most) or [one of these]}; a bound may be an expression of the other parameters. DRAWN_FOR_EACH_RUN, if any: whether
    the seed of its items must be that of the run.
    UserError where there is no such data set: no plugins/datasets/<name>.py with a literal `DEFAULTS`.
    """
    path = sources.module_file(f"plugins.datasets.{name}")
    constants = _literals(path, path.stat().st_mtime_ns) if path else {}
    if "DEFAULTS" not in constants:
        problem = f"no data set '{name}'; there must be a file plugins/datasets/{name}.py with DEFAULTS"
        raise UserError(f"data.name: {problem}")
    return {"LIMITS": {}, "DRAWN_FOR_EACH_RUN": False, **constants}


@lru_cache
def _literals(path: Path, _changed: int) -> dict:
    """What `declared` reads of a module, once for each state of the file: every recipe asks."""
    constants = {}
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        for key in {getattr(target, "id", "") for target in targets} & {"DEFAULTS", "LIMITS", "DRAWN_FOR_EACH_RUN"}:
            constants[key] = ast.literal_eval(node.value)
    return constants


def defaults(name: str) -> dict:
    """The parameters of data set `name` and their default values."""
    return declared(name)["DEFAULTS"]


def names() -> list[str]:
    """The data sets: the modules of plugins/datasets that declare `DEFAULTS`."""
    files = sorted((sources.ROOT / "plugins" / "datasets").glob("*.py"))
    return [path.stem for path in files if "\nDEFAULTS" in path.read_text(encoding="utf-8")]


def fault(name: str, given: Mapping) -> tuple[str, str] | None:
    """(parameter, what is wrong with it) of the first one that data set `name` has not, or whose value is of another
    type or out of its limits; None where all is well."""
    constants = declared(name)
    known, limits = constants["DEFAULTS"], constants["LIMITS"]
    for key, value in given.items():
        if key not in known:
            return key, f"'{name}' has no such parameter{nearest(key, known)}"
        kind = type(known[key])
        if type(value) is not kind and not (kind is float and type(value) is int):
            return key, f"{value!r} must be of type {kind.__name__}, like {known[key]!r}"
    values = laid_over(known, given)
    for key, value in values.items():
        allowed = limits.get(key, (LEAST[key], math.inf) if key in LEAST and type(known[key]) is int else None)
        if isinstance(allowed, list) and value not in allowed:
            return key, f"{value!r} must be one of {', '.join(map(str, allowed))}"
        if isinstance(allowed, tuple):
            low, high = (_bound(bound, values) for bound in allowed)
            if not low <= value <= high:
                rule = f"at least {low:.9g}" if high == math.inf else f"between {low:.9g} and {high:.9g}"
                return key, f"{value!r} must be {rule}"
    return None


def _bound(bound: float | str, values: Mapping) -> float:
    """A limit; text is an expression of the other parameters, of this project's own sources."""
    return eval(bound, {"__builtins__": {}, "min": min}, dict(values)) if isinstance(bound, str) else bound


def parameters(name: str, given: Mapping) -> dict:
    """`given` over the defaults of data set `name`."""
    return laid_over(defaults(name), given)


def laid_over(known: Mapping, given: Mapping) -> dict:
    """`given` over the defaults `known`; a whole number becomes a fraction where the default is one, so that equal
    parameters are equal text."""
    numbers = {key: float(value) for key, value in given.items() if isinstance(known.get(key), float)}
    return {**known, **given, **numbers}


def generator_digest(name: str, params: Mapping) -> str:
    """What decides the bytes of a data set: its sources, all its parameters, the versions of the packages that these
    sources import. 16 hexadecimal digits; parameters that are not given have their defaults."""
    content = {key: value for key, value in parameters(name, params).items() if key not in NOT_CONTENT}
    return _generator_digest(name, json.dumps(content, sort_keys=True))


@lru_cache
def _generator_digest(name: str, params: str) -> str:
    files = generator_sources(name)
    parts = [name, params, sources.code_digest(files), json.dumps(_versions(files), sort_keys=True)]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]


def generator_sources(name: str) -> list[str]:
    """The files of plugins/datasets that decide the bytes of a data set, relative to the repository."""
    files = sources.closure(frozenset({f"plugins.datasets.{name}"}))
    return [path for path in files if path.startswith("plugins/datasets/") and Path(path).name not in AROUND]


def _versions(files: list[str]) -> dict[str, str]:
    """{distribution: version} of the installed packages that the files import, at whatever depth."""
    names = {
        name.split(".")[0]
        for path in files
        for node in ast.walk(ast.parse((sources.ROOT / path).read_text(encoding="utf-8")))
        for name in _imported(node)
    }
    used = {name for name in names if name not in sys.stdlib_module_names and name != "plugins"}
    owners = set()
    for name in sorted(used):
        if not _owners(name):
            raise UserError(f"{files[-1]}: imports {name}, which is not installed; install requirements.lock")
        owners |= set(_owners(name))
    # What follows a plus sign names the build (cpu, cu130), which is not of another version.
    return {distribution: metadata.version(distribution).split("+")[0] for distribution in sorted(owners)}


def _owners(name: str) -> list[str]:
    """The distributions that hold the top-level module `name`: the one of that name, or else all that do, for which
    every installed one is read."""
    try:
        same = metadata.distribution(name)
    except metadata.PackageNotFoundError:
        return _distributions().get(name, [])
    own = any(file.parts[0] in (name, f"{name}.py") for file in same.files or [])
    return [same.metadata["Name"]] if own else _distributions().get(name, [])


@lru_cache
def _distributions() -> Mapping[str, list[str]]:
    return metadata.packages_distributions()


def _imported(node: ast.AST) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    return [node.module] if isinstance(node, ast.ImportFrom) and node.module and not node.level else []


def staleness(manifest: Mapping) -> str:
    """Why this checkout would not make the folder of a manifest; "" where it would."""
    if "generator" not in manifest:
        return f"data set {manifest['name']} was made before generators were recorded"
    if manifest["generator"] != generator_digest(manifest["name"], manifest["params"]):
        return f"data set {manifest['name']} was made by other sources, parameters or versions than these"
    return ""


##### building #####


@contextmanager
def building(out: Path, sync: bool = True):
    """Yields an empty folder beside `out` that takes the place of `out` when the block ends without an error.

    `sync`: wait until every file is on the disk; not for what is checked again when it is read.
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
        if sync:
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
    made_by = {"name": name, "params": params, "generator": generator_digest(name, params)}
    manifest = {**made_by, "checksum": checksum_of(files), **facts, "files": files}
    (folder / MANIFEST).write_text(json.dumps(manifest, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return manifest


##### verifying #####


def verify(manifest_path: Path, thorough: bool = False) -> dict:
    """The manifest, once every file that it lists was found unchanged and no other was found.

    A file is hashed unless its size and time are those with which it was hashed before; `thorough` hashes all.
    UserError names the first file that is missing, altered or not listed, or says that another generator made them.
    """
    manifest_path = Path(manifest_path)
    folder, manifest = manifest_path.parent, read_manifest(manifest_path)
    reason = staleness(manifest)
    if reason:
        raise UserError(f"{manifest_path}: {reason}; {AGAIN}")
    files, now = manifest["files"], stamps(folder)
    for path in sorted(files.keys() - now.keys()):
        raise UserError(f"{folder / path}: listed in {MANIFEST} but missing; {AGAIN}")
    for path in sorted(now.keys() - files.keys() - {MANIFEST}):
        raise UserError(f"{folder / path}: not listed in {MANIFEST}; move it out of the data folder")
    known = {} if thorough else _memory(folder, manifest)["files"]
    todo = sorted(path for path in files if known.get(path) != now[path])
    with ThreadPoolExecutor(THREADS) as pool:
        for path, digest in zip(todo, pool.map(lambda path: file_sha256(folder / path), todo), strict=True):
            if digest != files[path]:
                raise UserError(f"{folder / path}: SHA-256 differs from {MANIFEST}; {AGAIN}")
    if todo:
        remember(folder, manifest, now)
    return manifest


def stamps(folder: Path) -> dict[str, list[int]]:
    """{relative path: [size in bytes, time of the last change in ns]} of every file under `folder`, links followed.

    A link that leads nowhere is not listed.
    """
    stats = {}
    for path in _listed(folder):
        try:
            stat = os.stat(folder / path)
        except FileNotFoundError:
            continue
        stats[path] = [stat.st_size, stat.st_mtime_ns]
    return stats


def check_unchanged(folder: Path, before: Mapping[str, list[int]]) -> None:
    """UserError for the first file whose size or time is not that of `before` (`stamps`), or that came or went."""
    now = stamps(folder)
    for path in sorted(before.keys() | now.keys()):
        if before.get(path) != now.get(path):
            raise UserError(f"{folder / path}: changed while the run read the data; prepare the data and run again")


def check_once(folder: Path, manifest: Mapping, check: Callable[[Path, dict], str | None]) -> None:
    """Runs `check(folder, manifest)`, which returns what is wrong or None, unless this content passed it before.

    UserError with what it returned. The memory holds for the folder's checksum and the code of the check's module.
    """
    file = Path(sys.modules[check.__module__].__file__).resolve().relative_to(sources.ROOT)
    name, code = f"{check.__module__}.{check.__qualname__}", sources.code_digest([file.as_posix()])
    memory = _memory(folder, manifest)
    if memory["checks"].get(name) == code:
        return
    problem = check(folder, manifest)
    if problem:
        raise UserError(f"{problem}; {AGAIN}")
    remember(folder, manifest, memory["files"], memory["checks"] | {name: code})


def memory_file(folder: Path) -> Path:
    """Where it is remembered what was verified of a data folder."""
    folder = Path(folder).absolute()
    return folder.parent / f".{folder.name}.verified.json"


def remember(folder: Path, manifest: Mapping, files: Mapping, checks: Mapping | None = None) -> None:
    """Writes the memory of a folder. Where nothing can be written it says so, and all is checked each time."""
    checks = _memory(folder, manifest)["checks"] if checks is None else checks
    content = {"checksum": manifest["checksum"], "checks": dict(checks), "files": dict(files)}
    try:
        write_json(memory_file(folder), content)
    except OSError as error:
        print(f"{memory_file(folder)}: cannot be written ({error.strerror}); the data are hashed again each time")


def _memory(folder: Path, manifest: Mapping) -> dict:
    """{files, checks} as remembered for this content; both empty where nothing is, or of other content."""
    path = memory_file(folder)
    if path.is_file():
        try:
            memory = read_json(path)
        except UserError:  # cut short or spoilt: as if there were none, all is hashed again
            memory = None
        if isinstance(memory, dict) and memory.get("checksum") == manifest["checksum"]:
            return {key: memory[key] if isinstance(memory.get(key), dict) else {} for key in ("files", "checks")}
    return {"files": {}, "checks": {}}


def check_spec(manifest: Mapping, wanted: Mapping, where: Path) -> None:
    """UserError unless the data are those that a recipe's `data` section asks for: same name, same parameters."""
    name = wanted["name"]
    if manifest["name"] != name:
        raise UserError(f"{where}: is data set '{manifest['name']}', the recipe asks for '{name}'; prepare that")
    given = parameters(name, {key: value for key, value in wanted.items() if key != "name"})
    for key, value in given.items():
        if key not in NOT_CONTENT and manifest["params"].get(key) != value:
            raise UserError(
                f"{where}: data set '{name}' has {key}={manifest['params'].get(key)!r}, the recipe asks for {value!r}; "
                f"{AGAIN}"
            )


def read_manifest(path: Path) -> dict:
    """The parsed manifest; UserError where it is missing, not JSON, or lacks what `verify` relies on.

    It is parsed once a process and version of the file: callers share the dictionary and must not change it.
    """
    try:
        stat = os.stat(path)
    except OSError as error:
        raise UserError(f"{path}: no manifest, the data set was not prepared to its end; {AGAIN}") from error
    return _read_manifest(Path(path), stat.st_mtime_ns, stat.st_size, stat.st_ino)


@lru_cache(maxsize=4)
def _read_manifest(path: Path, *version: int) -> dict:
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{path}: not a readable JSON manifest; {AGAIN}") from error
    problem = _problem(manifest)
    if problem:
        raise UserError(f"{path}: {problem}; {AGAIN}")
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
