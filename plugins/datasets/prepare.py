"""Finds the module of a data set, checks the parameters against its DEFAULTS and writes the folder.

A data set is one module with `DEFAULTS` (parameter: default value, whose type is the rule) and
`build(folder, params, source) -> facts`, where `source` is a `Source` and `facts` goes into the manifest.
"""

import difflib
import importlib
from dataclasses import dataclass
from pathlib import Path

from plugins.suite.data import building, seal
from plugins.suite.errors import UserError

NAMES = (
    "mini_translation",
    "mini_shapes",
    "multi30k",
    "iwslt14",
    "iwslt15",
    "wmt14",
    "bccd",
    "cifar10",
    "cifar100",
    "imagenet",
    "imagenet21k",
    "camvid",
    "coco",
    "cityscapes",
    "ade20k",
)


@dataclass(frozen=True)
class Source:
    """Where original files come from: a folder of the user, or none, and whether they may be downloaded."""

    data_root: Path | None = None
    fetch: bool = False


def prepare(
    name: str, out: Path, params: dict | None = None, data_root: Path | None = None, fetch: bool = False
) -> dict:
    """Writes data set `name` to folder `out` and returns its manifest; UserError for all that a user can mend."""
    if name not in NAMES:
        raise UserError(f"data set {name!r} is unknown;{_nearest(name, NAMES)} known are {', '.join(NAMES)}")
    module = importlib.import_module(f"plugins.datasets.{name}")
    params = checked(name, params or {}, module.DEFAULTS)
    if data_root is not None and not Path(data_root).is_dir():
        raise UserError(f"data_root {data_root}: no such folder; set data_root to the folder of the original data sets")
    source = Source(Path(data_root) if data_root is not None else None, fetch)
    with building(Path(out)) as folder:
        facts = module.build(folder, params, source)
        return seal(folder, name, params, facts)


def checked(name: str, params: dict, defaults: dict) -> dict:
    """`defaults` overlaid with `params`; UserError for a key that has no default or a value of another type."""
    for key, value in params.items():
        if key not in defaults:
            raise UserError(
                f"data set {name}: unknown parameter {key!r};{_nearest(key, defaults)} known are {', '.join(defaults)}"
            )
        kind = type(defaults[key])
        if kind is float and type(value) is int:
            continue
        if type(value) is not kind:
            raise UserError(f"data set {name}: {key}={value!r} must be of type {kind.__name__}, like {defaults[key]!r}")
    return {**defaults, **params}


def check_range(name: str, params: dict, key: str, low, high) -> None:
    """UserError unless low <= params[key] <= high."""
    if not low <= params[key] <= high:
        raise UserError(f"data set {name}: {key}={params[key]} must lie between {low} and {high}")


def _nearest(word, words) -> str:
    close = difflib.get_close_matches(str(word), list(words), 1)
    return f" did you mean {close[0]!r}?" if close else ""
