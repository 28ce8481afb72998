"""Which files of `plugins` a run imports, told from its resolved spec without importing anything.

The DAG declares them as inputs, so that editing one of them reruns exactly the runs that use it. Roots are the runner,
the engine, the extension package, and the operators that the model's words ask for; from there the module-level imports
are followed. Extension modules import an operator inside the builder that needs it, which is why operators are roots of
their own. `tests/end_to_end` compares the list with `sys.modules` of real runs.
"""

from __future__ import annotations

import ast
import hashlib
import os
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def module_file(name: str) -> Path | None:
    """The file of a module of this project, or None for anything else."""
    if name.split(".")[0] != "plugins":
        return None
    base = ROOT.joinpath(*name.split("."))
    for path in (base.with_suffix(".py"), base / "__init__.py"):
        if path.is_file():
            return path
    return None


def _imports(path: Path) -> set[str]:
    """The project modules that a file imports when it is itself imported (function bodies do not count)."""
    names = set()
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
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


@cache
def closure(roots: frozenset[str]) -> tuple[str, ...]:
    """The files, relative to the repository, that importing the modules `roots` brings in, in sorted order."""
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


# What every run imports beyond the runner's own module-level imports.
COMMON = {"plugins.runner.__main__", "plugins.runner.measure", "plugins.suite.data"}
FAIRSEQ = {"plugins.fairseq_ext.engine"}
# fairseq imports every file of `models` with the user-dir.
USER_DIR = {"plugins.fairseq_ext.models.muse", "plugins.fairseq_ext.models.spatial_attention"}
MUSE = USER_DIR | {"plugins.fairseq_ext.muse_layers", "plugins.operators.muse"}
ATTENTION = USER_DIR | {"plugins.fairseq_ext.attention_layers"}
# The words of a translation model that exchange attention, and the operator that each may bring.
ATTENTION_OPERATORS = {
    "attention": "generalized_attention_1d",
    "encoder_attention": "generalized_attention_1d",
    "deformable": "deform_conv",
    "dynamic_convolution": "dynamic_conv",
}
ATTENTION_WORDS = {*ATTENTION_OPERATORS, "stacks"}
OPENMM = {"plugins.openmm_ext.engine", "plugins.openmm_ext.hooks", "plugins.openmm_ext.loading"}
GLUE = {
    "mmdet": {"plugins.openmm_ext.tasks.detection", "plugins.openmm_ext.pictures"},
    "mmseg": {"plugins.openmm_ext.tasks.segmentation", "plugins.openmm_ext.pictures"},
    "mmpretrain": {"plugins.openmm_ext.tasks.classification", "plugins.openmm_ext.class_folders"},
}
# The modules of plugins/openmm_ext that register what a word of a model asks for.
REGISTRATIONS = {
    "attention": "layers.generalized_attention",
    "deformable": "layers.deform_conv",
    "dynamic_convolution": "layers.dynamic_conv",
    "aaconv": "families.aaconv",
    "acmix": "families.acmix",
    "coatnet": "families.coatnet",
}


def engine_modules(spec: dict) -> set[str]:
    """The modules that the engine imports for this run, by the words of its model."""
    model = spec["model"]
    if spec["engine"] == "fairseq":
        return FAIRSEQ | fairseq_modules(model)
    registrations = {f"plugins.openmm_ext.{module}" for word, module in REGISTRATIONS.items() if model.get(word)}
    if spec["engine"] == "mmseg" and (model.get("attention") or model.get("dynamic_convolution")):
        registrations.add("plugins.openmm_ext.layers.attended_head")
    return OPENMM | GLUE[spec["engine"]] | registrations


def fairseq_modules(model: dict) -> set[str]:
    """The modules outside fairseq of which a translation model is made; none for the plain Transformer."""
    if model.get("parallel"):
        return MUSE | ({"plugins.operators.dynamic_conv"} if model.get("ffn") == "shared" else set())
    operators = {f"plugins.operators.{file}" for word, file in ATTENTION_OPERATORS.items() if model.get(word)}
    return ATTENTION | operators if ATTENTION_WORDS & model.keys() else set()


def training_sources(spec: dict) -> list[str]:
    """Those of `run_sources` that decide the course of a training; a checkpoint made by others is of no use."""
    rooms = ("plugins/operators/", "plugins/fairseq_ext/", "plugins/openmm_ext/", "experiments/")
    return [path for path in run_sources(spec) if path.startswith(rooms)]


def run_sources(spec: dict) -> list[str]:
    """The files that a run reads of this project: the modules it imports, and the mmengine configs it starts from."""
    files = list(closure(frozenset(COMMON | engine_modules(spec))))
    if "config" in spec["train"]:
        files += config_files(Path("experiments", spec["study"], "configs", spec["train"]["config"]))
    return files


def config_files(path: Path) -> list[str]:
    """An mmengine config and those of this project that it inherits from (`_base_`), relative to the repository."""
    found = [os.path.normpath(path)]
    if not (ROOT / path).is_file():
        return found
    for node in ast.parse((ROOT / path).read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", None) == "_base_":
            bases = ast.literal_eval(node.value)
            for base in [bases] if isinstance(bases, str) else bases:
                # mmdet::... is the installed package's.
                found += [] if "::" in base else config_files(path.parent / base)
    return found


# What decides the numbers of a run, beyond the mmengine configs: not the suite's look-ups, not the rest of the runner.
RESULT_ROOMS = ("plugins/operators/", "plugins/fairseq_ext/", "plugins/openmm_ext/", "experiments/")
SEEDING = "plugins/runner/seeding.py"


def result_sources(spec: dict) -> list[str]:
    """Those of `run_sources` that decide the numbers of a run, relative to the repository."""
    return [path for path in run_sources(spec) if path.startswith(RESULT_ROOMS) or path == SEEDING]


def code_digest(paths: list[str]) -> str:
    """SHA-256 (first 16 hexadecimal digits) over names and content of files, relative to the repository.

    Of a Python file the syntax tree counts, without docstrings, comments and positions; of another its bytes.
    """
    total = hashlib.sha256()
    for path in sorted(paths):
        total.update(path.encode() + b"\0" + _meaning(ROOT / path, (ROOT / path).stat().st_mtime_ns))
    return total.hexdigest()[:16]


@cache
def _meaning(path: Path, changed: int) -> bytes:
    """SHA-256 of what a file says; `changed`, its time, makes a new version of a file another one."""
    content = path.read_bytes()
    if path.suffix != ".py":
        return hashlib.sha256(content).digest()
    tree = ast.parse(content)
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and node.body:
            first = node.body[0]
            if (
                isinstance(first, ast.Expr)
                and isinstance(first.value, ast.Constant)
                and isinstance(first.value.value, str)
            ):
                node.body = node.body[1:]
    return hashlib.sha256(ast.dump(tree).encode()).digest()
