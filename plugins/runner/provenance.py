"""Where a number comes from: commit, sources, versions, processor. Written into every metrics.json."""

from __future__ import annotations

import ctypes
import os
import platform
import re
import subprocess
import sys
import tempfile
from functools import lru_cache
from importlib import metadata
from pathlib import Path

from plugins.suite.data import file_sha256
from plugins.suite.errors import UserError
from plugins.suite.sources import ROOT, run_sources

# What decides the course of a training: name in the record -> distribution.
TRAINING = {
    "torch": "torch",
    "torchvision": "torchvision",
    "numpy": "numpy",
    "fairseq": "fairseq-fixed",
    "mmcv": "onedl-mmcv",
    "mmengine": "onedl-mmengine",
    "mmdet": "onedl-mmdetection",
    "mmseg": "onedl-mmsegmentation",
    "mmpretrain": "onedl-mmpretrain",
    "pillow": "pillow",
    "opencv": "opencv-python-headless",
}
SCORING = {"sacrebleu": "sacrebleu", "pycocotools": "pycocotools", "pyarrow": "pyarrow", "scipy": "scipy"}
# Beginnings of the processor flags by which libraries choose their kernels (x86, then Arm).
KERNEL_FLAGS = ("sse", "ssse", "avx", "fma", "f16c", "amx", "asimd", "sve", "bf16", "i8mm")


def git(*args: str, given: str = "") -> str | None:
    """What git prints in the repository, or None where it fails."""
    try:
        done = subprocess.run(
            ["git", *args], input=given, capture_output=True, text=True, timeout=60, check=False, cwd=ROOT
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def commit() -> str:
    """The commit of the working tree; "unknown" outside a repository."""
    return git("rev-parse", "HEAD") or "unknown"


def is_dirty(commit: str, paths: list[str]) -> bool:
    """Whether a file, relative to the repository, has other content than in `commit`, or is not in it at all.

    Contents are compared: neither .gitignore nor `git update-index --assume-unchanged` hides a file.
    """
    names = "".join(f"{path}\n" for path in paths)
    tree = git("ls-tree", "-r", "--full-tree", commit)
    blobs = git("hash-object", "--no-filters", "--stdin-paths", given=names)
    if tree is None or blobs is None:
        return True
    rows = (line.split("\t", 1) for line in tree.splitlines())
    committed = {path: fields.split()[2] for fields, path in rows}
    return any(committed.get(path) != blob for path, blob in zip(paths, blobs.split(), strict=True))


def recipe_files(study: str) -> list[str]:
    """The files of experiments/ that say what the runs of a study do, relative to the repository."""
    folders = [f"experiments/{study}/ablations", f"experiments/{study}/configs", "experiments/bases"]
    paths = [path for folder in folders for path in (ROOT / folder).rglob("*") if path.suffix in (".yaml", ".py")]
    paths += [path for path in [ROOT / "experiments" / study / "study.yaml"] if path.is_file()]
    return sorted(path.relative_to(ROOT).as_posix() for path in paths)


def imported_sources() -> list[str]:
    """The files of this project's `plugins` that this process has imported, relative to the repository."""
    # fairseq imports its user-dir under a name of its own, so that paths decide; frameworks' thousands are left out
    # before links are followed.
    paths = {getattr(module, "__file__", None) for module in list(sys.modules.values())}
    inside = {Path(path).resolve() for path in paths if path and "/plugins/" in path}
    return sorted(str(f.relative_to(ROOT)) for f in inside if f.is_relative_to(ROOT / "plugins") and f.suffix == ".py")


def source_hashes(spec: dict) -> dict[str, str]:
    """{path: SHA-256} of every module of `plugins` and of the configs that a run starts from, relative to the
    repository."""
    modules = {path.relative_to(ROOT).as_posix() for path in (ROOT / "plugins").rglob("*.py")}
    return {path: file_sha256(ROOT / path) for path in sorted(modules | set(run_sources(spec)))}


def check_unchanged(spec: dict, before: dict[str, str]) -> list[str]:
    """The files of this project that the run used; UserError for one that is not what it was `before`."""
    used = sorted({*imported_sources(), *run_sources(spec)})
    for path in used:
        if not (ROOT / path).is_file() or file_sha256(ROOT / path) != before.get(path):
            raise UserError(f"{path}: changed while the run used it, so its numbers have no source; run again")
    return used


def machine(kind: str, threads: int) -> dict:
    """What computed: versions, device ("cpu" or "cuda" as `kind`), processor, instruction sets, BLAS, threads."""
    import torch

    return {
        "versions": versions(),
        "device": processor() if kind == "cpu" else torch.cuda.get_device_name(),
        "cpu_flags": cpu_flags(),
        "instruction_sets": instruction_sets(),
        "blas": blas(),
        "threads": threads,
    }


def versions(packages: dict[str, str] | None = None) -> dict[str, str]:
    """Python's version and those of the packages that a result may hang on, as far as they are installed."""
    installed = {"python": platform.python_version()}
    for name, distribution in (packages or TRAINING | SCORING).items():
        try:
            installed[name] = metadata.version(distribution)
        except metadata.PackageNotFoundError:
            continue
    return installed


def processor() -> str:
    """The processor's name, as the kernel tells it."""
    return _cpuinfo("model name") or platform.processor() or platform.machine()


def cpu_flags() -> list[str]:
    """The instruction sets that the processor offers and libraries choose by, sorted."""
    flags = (_cpuinfo("flags") or _cpuinfo("Features")).split()
    return sorted(flag for flag in flags if flag.startswith(KERNEL_FLAGS))


def _cpuinfo(key: str) -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return ""
    return next((line.split(":", 1)[1].strip() for line in lines if line.split(":")[0].strip() == key), "")


def instruction_sets() -> dict[str, str]:
    """The instruction sets that torch's own kernels and oneDNN's use in this process.

    ATEN_CPU_CAPABILITY and ONEDNN_MAX_CPU_ISA change them, and with them the last digits of results.
    """
    import torch

    return {"torch": torch.backends.cpu.get_cpu_capability(), "onednn": _onednn()}


@lru_cache
def _onednn() -> str:
    """oneDNN names its instruction set nowhere but in the head of its log, written once by its first logged call."""
    import torch
    from torch.backends import mkldnn

    if not mkldnn.is_available():
        return "none"
    flush = ctypes.CDLL(None).fflush
    with tempfile.TemporaryFile() as log:
        flush(None)
        kept = os.dup(1)
        try:
            os.dup2(log.fileno(), 1)
            with mkldnn.verbose(mkldnn.VERBOSE_ON):
                torch.relu(torch.ones(1, 16, 8, 8).to_mkldnn())
            flush(None)
        finally:
            os.dup2(kept, 1)
            os.close(kept)
        log.seek(0)
        match = re.search(r"cpu,isa:(.+)", log.read().decode(errors="replace"))
    return match[1].strip() if match else "unknown"


def blas() -> str:
    """The library of torch's matrix products and its version, as torch was built."""
    import torch

    text = torch.__config__.show()
    name = re.search(r"BLAS_INFO=(\w+)", text)
    version = re.search(r"Math Kernel Library Version (\S+)", text)
    return " ".join([name[1] if name else "unknown", *([version[1]] if version else [])])
