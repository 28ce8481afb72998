"""Finds the module of a data set, checks the parameters against its DEFAULTS and writes the folder.

A data set is one module with `DEFAULTS` (parameter: default value, whose type is the rule), `LIMITS` where values have
any (see `plugins.suite.data.declared`) and
`build(folder, params, source) -> facts`, where `source` is a `Source` and `facts` goes into the manifest.
"""

import importlib
from dataclasses import dataclass
from pathlib import Path

from plugins.suite.data import building, fault, names, parameters, remember, seal, stamps
from plugins.suite.errors import UserError
from plugins.suite.files import nearest


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
    params = checked(name, params or {})
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


def checked(name: str, given: dict) -> dict:
    """`given` over the defaults of data set `name`; UserError for the first parameter that it cannot have."""
    problem = fault(name, given)
    if problem:
        raise UserError(f"data set {name}: {problem[0]}: {problem[1]}")
    return parameters(name, given)


def check_range(name: str, params: dict, key: str, low, high) -> None:
    """UserError unless low <= params[key] <= high."""
    if not low <= params[key] <= high:
        raise UserError(f"data set {name}: {key}={params[key]} must lie between {low} and {high}")
