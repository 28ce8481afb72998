"""Which files of this project a run imports, read off its resolved spec without importing anything.

The DAG declares them as inputs, so that editing one of them reruns exactly the runs that use it. Roots are the runner,
the engine, its task, the bindings of the options that the model names, and what the mmengine config imports; from
there the module-level imports are followed. A *binding* ties an operator to a framework and says so itself, by two
constants that are read off its syntax tree:

    OPTION = "attention"  # the model's option that asks for it, or a tuple of options
    TASKS = ("detection", "segmentation")

`tests/end_to_end` compares the list with `sys.modules` of real runs.
"""

from __future__ import annotations

import ast
import hashlib
import os
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from plugins.suite.errors import UserError

ROOT = Path(__file__).resolve().parents[2]
# What every run imports beyond the runner's own module-level imports.
COMMON = frozenset({"plugins.runner.__main__", "plugins.runner.measure", "plugins.suite.data"})
# Of what a run imports, this decides its numbers: neither look-ups of the suite nor the rest of the runner do.
DECISIVE = ("plugins/operators/", "plugins/fairseq_ext/", "plugins/openmm_ext/", "plugins/runner/seeding.py")
OPENMM = ("mmdet", "mmseg", "mmpretrain")
# fairseq imports every file of this folder with the user-dir.
USER_DIR = "plugins/fairseq_ext/models"


@dataclass(frozen=True)
class Binding:
    """A module that ties an operator to a framework: the options of a model that ask for it, in which tasks."""

    module: str
    options: tuple[str, ...]
    tasks: tuple[str, ...]


def module_file(name: str) -> Path | None:
    """The file of a module of this project, or None for anything else."""
    if name.split(".")[0] != "plugins":
        return None
    base = ROOT.joinpath(*name.split("."))
    for path in (base.with_suffix(".py"), base / "__init__.py"):
        if path.is_file():
            return path
    return None


def closure(roots: Iterable[str]) -> list[str]:
    """The files, relative to the repository and sorted, that importing the modules `roots` brings in.

    Function bodies do not count. FileNotFoundError for a root that is no module of this project.
    """
    return list(_closure(frozenset(roots)))


@cache
def _closure(roots: frozenset[str]) -> tuple[str, ...]:
    todo, seen = set(roots), set()
    while todo:
        name = todo.pop()
        if name in seen:
            continue
        path = module_file(name)
        if path is None:
            raise FileNotFoundError(f"no module {name} in this project")
        seen.add(name)
        todo |= _imports(path) | _parents(name)
    return tuple(sorted({str(module_file(name).relative_to(ROOT)) for name in seen}))


def _imports(path: Path) -> set[str]:
    """The project modules that a file imports when it is itself imported."""
    names = set()
    for node in _tree(path).body:
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                package = path.relative_to(ROOT).parts[: -node.level]
                base = ".".join([*package, *filter(None, [base])])
            names |= {base} | {f"{base}.{alias.name}" for alias in node.names}
    return {name for name in names if module_file(name)}


def _parents(name: str) -> set[str]:
    parts = name.split(".")
    return {".".join(parts[:i]) for i in range(1, len(parts))}


def _tree(path: Path) -> ast.Module:
    try:
        return ast.parse(path.read_bytes())
    except (SyntaxError, ValueError) as error:
        raise UserError(f"{path}: line {getattr(error, 'lineno', None) or 1}: not valid Python; mend it") from None


def _constants(path: Path) -> dict:
    """{name: value} of the module-level assignments of a file whose values are plain literals."""
    values = {}
    for node in _tree(path).body:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            try:
                values[node.targets[0].id] = ast.literal_eval(node.value)
            except ValueError:
                continue
    return values


@cache
def bindings(package: str) -> tuple[Binding, ...]:
    """The bindings of plugins/<package>, sorted by module: its files that declare OPTION and TASKS."""
    declared = []
    for path in sorted((ROOT / "plugins" / package).rglob("*.py")):
        constants = _constants(path)
        if "OPTION" in constants and "TASKS" in constants:
            options, tasks = constants["OPTION"], constants["TASKS"]
            module = ".".join(path.relative_to(ROOT).with_suffix("").parts)
            options = (options,) if isinstance(options, str) else tuple(options)
            declared.append(Binding(module, options, tuple(tasks)))
    return tuple(declared)


def bindings_of(package: str, task: str, model: dict) -> dict[str, str]:
    """{option: module} of the bindings that a model's options ask for in a task; null and false ask for nothing."""
    return {
        option: binding.module
        for binding in bindings(package)
        for option in binding.options
        if task in binding.tasks and model.get(option) not in (None, False)
    }


def engine_modules(spec: dict) -> set[str]:
    """The modules that the engine imports for this run, by its task and the options of its model."""
    model, task = spec["model"], spec["task"]
    if spec["engine"] in OPENMM:
        roots = {"plugins.openmm_ext.engine", f"plugins.openmm_ext.tasks.{task}", *config_imports(spec)}
        return roots | set(bindings_of("openmm_ext", task, model).values())
    return {"plugins.fairseq_ext.engine", *_user_dir(model), *bindings_of("fairseq_ext", task, model).values()}


def _user_dir(model: dict) -> set[str]:
    """The modules that come with the user-dir; none for the plain Transformer, which is fairseq's own.

    An option of ours that is null takes a block out of the network, which fairseq's own model cannot do.
    """
    options = {option for binding in bindings("fairseq_ext") for option in binding.options}
    if all(value is False for option, value in model.items() if option in options):
        return set()
    return {".".join(path.relative_to(ROOT).with_suffix("").parts) for path in (ROOT / USER_DIR).glob("[!_]*.py")}


def run_sources(spec: dict) -> list[str]:
    """The files that a run reads of this project: the modules it imports, and the mmengine configs it starts from."""
    return closure(COMMON | engine_modules(spec)) + config_files(spec)


def result_sources(spec: dict) -> list[str]:
    """Those of `run_sources` that decide the numbers; a result or checkpoint that others made is another one."""
    return [path for path in run_sources(spec) if path.startswith(DECISIVE)] + config_files(spec)


def config_files(spec: dict) -> list[str]:
    """The mmengine config of a recipe and those of this project that it inherits from, relative to the repository."""
    if "config" not in spec["train"]:
        return []
    return _inherited(Path("experiments", spec["study"], "configs", spec["train"]["config"]))


def _inherited(path: Path) -> list[str]:
    files = [os.path.normpath(path)]
    if not (ROOT / path).is_file():
        return files
    bases = _constants(ROOT / path).get("_base_", [])
    for base in [bases] if isinstance(bases, str) else bases:
        # mmdet::... is the installed package's.
        files += [] if "::" in base else _inherited(path.parent / base)
    return files


def config_imports(spec: dict) -> set[str]:
    """The modules of this project that the config of a recipe, or one that it inherits from, names to be imported."""
    words = set()
    for path in config_files(spec):
        for node in _tree(ROOT / path).body if (ROOT / path).is_file() else ():
            if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", None) == "custom_imports":
                words |= {leaf.value for leaf in ast.walk(node.value) if isinstance(leaf, ast.Constant)}
    return {word for word in words if isinstance(word, str) and module_file(word)}


def code_digest(paths: Iterable[str]) -> str:
    """SHA-256 (first 16 hexadecimal digits) over the names and contents of files, relative to the repository.

    Of a Python file, the syntax tree without docstrings, comments and positions counts, so that wording and layout do
    not make a result stale; of any other file its bytes. UserError for a file that is missing or not valid Python.
    """
    total = hashlib.sha256()
    for path in sorted({str(path) for path in paths}):
        try:
            changed = (ROOT / path).stat().st_mtime_ns
        except OSError:
            raise UserError(f"{path}: missing, but a run needs it; restore the file or mend what names it") from None
        total.update(path.encode() + b"\0" + _content_digest(ROOT / path, changed))
    return total.hexdigest()[:16]


@cache
def _content_digest(path: Path, changed: int) -> bytes:
    """`changed`, the file's time, makes the cache forget an edited one: many runs ask for the same files."""
    content = repr(_shape(_tree(path))).encode() if path.suffix == ".py" else path.read_bytes()
    return hashlib.sha256(content).digest()


def _shape(node: object) -> object:
    """A syntax tree as nested tuples. Empty fields are left out: each version of Python adds its own to the nodes."""
    if isinstance(node, list):
        return tuple(map(_shape, node))
    if not isinstance(node, ast.AST):
        return node
    fields = dict(ast.iter_fields(node))
    if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and _has_docstring(node):
        fields["body"] = node.body[1:]
    return type(node).__name__, *((name, _shape(value)) for name, value in fields.items() if value not in (None, []))


def _has_docstring(node: ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    first = node.body[0] if node.body else None
    return isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) and isinstance(first.value.value, str)
