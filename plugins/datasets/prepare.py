"""Finds the module of a data set, checks the parameters against its DEFAULTS and writes the folder.

A data set is one module with `DEFAULTS` (parameter: default value, whose type is the rule) and
`build(folder, params, source) -> facts`, where `source` is a `Source` and `facts` goes into the manifest.
"""

import importlib
from dataclasses import dataclass
from pathlib import Path

from plugins.suite.data import building, defaults, laid_over, remember, seal, stamps
from plugins.suite.errors import UserError
from plugins.suite.files import nearest


def names() -> list[str]:
    """The data sets: the modules beside this one that declare `DEFAULTS`."""
    return [path.stem for path in sorted(Path(__file__).parent.glob("*.py")) if _is_data_set(path.stem)]


def _is_data_set(name: str) -> bool:
    try:
        defaults(name)
    except UserError:
        return False
    return True


@dataclass(frozen=True)
class Source:
    """Where original files come from: a folder of the user, or none, and whether they may be downloaded."""

    data_root: Path | None = None
    fetch: bool = False


def prepare(
    name: str, out: Path, params: dict | None = None, data_root: Path | None = None, fetch: bool = False
) -> dict:
    """Writes data set `name` to folder `out` and returns its manifest; UserError for all that a user can mend."""
    check_name(name)
    module = importlib.import_module(f"plugins.datasets.{name}")
    params = checked(name, params or {}, module.DEFAULTS)
    if data_root is not None and not Path(data_root).is_dir():
        raise UserError(f"data_root {data_root}: no such folder; set data_root to the folder of the original data sets")
    source = Source(Path(data_root) if data_root is not None else None, fetch)
    with building(Path(out)) as folder:
        facts = module.build(folder, params, source)
        manifest = seal(folder, name, params, facts)
    remember(Path(out), manifest, stamps(Path(out)), {})
    return manifest


def check_name(name: str) -> None:
    """UserError for a data set that there is not."""
    if name not in names():
        raise UserError(f"data set {name!r} is unknown{nearest(name, names())}")


def checked(name: str, params: dict, known: dict) -> dict:
    """`params` over the defaults `known`; UserError for a key that has no default or a value of another type."""
    for key, value in params.items():
        if key not in known:
            raise UserError(f"data set {name}: unknown parameter {key!r}{nearest(key, known)}")
        kind = type(known[key])
        if type(value) is not kind and not (kind is float and type(value) is int):
            raise UserError(f"data set {name}: {key}={value!r} must be of type {kind.__name__}, like {known[key]!r}")
    return laid_over(known, params)


def check_range(name: str, params: dict, key: str, low, high) -> None:
    """UserError unless low <= params[key] <= high."""
    if not low <= params[key] <= high:
        raise UserError(f"data set {name}: {key}={params[key]} must lie between {low} and {high}")
