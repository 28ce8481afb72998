"""Commands and figures are found by scanning their folders; what a module says of itself is read, not imported."""

from __future__ import annotations

import ast
import importlib
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from plugins.suite.errors import UserError
from plugins.suite.files import nearest

COMMANDS = "analysis.commands"
FIGURES = "analysis.figures"
ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class Entry:
    """One module of a scanned package and its text constants (NAME, HELP, CAPTION)."""

    module: str
    constants: dict[str, str]

    def load(self) -> ModuleType:
        """The module itself."""
        return importlib.import_module(self.module)


def entries(package: str) -> dict[str, Entry]:
    """{NAME: entry} of the modules of a package that have a NAME, in alphabetical order."""
    modules = {}
    for path in sorted(ROOT.joinpath(*package.split(".")).glob("*.py")):
        constants = _constants(path)
        if "NAME" in constants:
            modules[constants["NAME"]] = Entry(f"{package}.{path.stem}", constants)
    return dict(sorted(modules.items()))


def one(package: str, name: str, kind: str) -> Entry:
    """The entry of that NAME. Raises UserError with the nearest one."""
    known = entries(package)
    if name not in known:
        raise UserError(f"no {kind} '{name}'{nearest(name, known)}")
    return known[name]


def _constants(path: Path) -> dict[str, str]:
    """{name: value} of the module-level assignments of a plain text."""
    constants = {}
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            if isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
                constants[node.targets[0].id] = node.value.value
    return constants
