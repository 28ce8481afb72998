"""Says in one line what is wrong with this machine or environment, and how to mend it: python -m plugins.runner.doctor.

--before-install checks what `make` needs before anything is installed (this file then runs on a bare Python).
Without it, the installed versions are held against requirements.lock, without importing them (a second).
--deep imports the frameworks and calls one compiled operator of mmcv; `make` does that once, after installing.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Callable, Iterator
from pathlib import Path

LOCK = Path(__file__).resolve().parents[2] / "requirements.lock"
FREE_GB_INSTALL, FREE_GB_RUN = 12, 1
CHECKED = (
    "torch",
    "torchvision",
    "numpy",
    "fairseq-fixed",
    "onedl-mmcv",
    "onedl-mmengine",
    "onedl-mmdetection",
    "onedl-mmsegmentation",
    "onedl-mmpretrain",
    "snakemake",
)
REBUILD = "run `.venv/bin/uv cache clean onedl-mmcv && make clean && make`"


def python_version() -> str | None:
    """Wrong Python."""
    if (3, 11) <= sys.version_info[:2] <= (3, 12):
        return None
    installed = ".".join(map(str, sys.version_info[:3]))
    return f"Python is {installed}, must be 3.11 or 3.12: install one and run `make PYTHON=/path/to/python3.11`"


def compiler() -> str | None:
    """No C++ compiler, or no Python headers to compile against."""
    wanted = os.environ.get("CXX", "c++").split()[0]
    if not any(shutil.which(name) for name in (wanted, "c++", "g++", "clang++")):
        return "no C++ compiler: install one (Debian: apt-get install g++; conda: cxx-compiler) or set CXX"
    header = Path(sysconfig.get_paths()["include"]) / "Python.h"
    if not header.is_file():
        return f"{header} is missing: install Python's headers (Debian: apt-get install python3-dev)"
    return None


def venv_module() -> str | None:
    """A Python without venv or pip to put into it."""
    done = subprocess.run([sys.executable, "-c", "import venv, ensurepip"], capture_output=True, check=False)
    if done.returncode:
        return "this Python cannot make environments: install venv (Debian: apt-get install python3-venv)"
    return None


def disk(gigabytes: float, folder: str = ".") -> str | None:
    """Too little disk."""
    free = shutil.disk_usage(folder).free / 1e9
    if free >= gigabytes:
        return None
    return f"{free:.1f} GB free in {Path(folder).resolve()}, needs {gigabytes}: free some space or move the checkout"


def pinned() -> dict[str, str]:
    """name -> version of requirements.lock."""
    return dict(re.findall(r"^([A-Za-z0-9_.-]+)==([^ ;\\]+)", LOCK.read_text(), re.MULTILINE))


def versions() -> str | None:
    """An environment that is not the one of requirements.lock."""
    from importlib import metadata

    lock = pinned()
    for name in CHECKED:
        try:
            installed = metadata.version(name)
        except metadata.PackageNotFoundError:
            return f"{name} {lock[name]} is not installed in {sys.prefix}: run `make clean && make`"
        if installed.split("+")[0] != lock[name]:
            return f"{name} is {installed}, requirements.lock says {lock[name]}: run `make clean && make`"
    return None


def gpu() -> str | None:
    """A GPU that is there but that torch cannot use, or that mmcv was built without."""
    if not any(Path("/dev").glob("nvidia[0-9]*")):
        return None
    import torch

    if not torch.cuda.is_available():
        return (
            f"a GPU is present but torch {torch.__version__} cannot use it: update the driver, or run with device=cpu"
        )
    try:
        torch.ones(8, device="cuda").sum().item()
    except RuntimeError as error:
        return (
            f"a GPU is present but fails ({str(error).splitlines()[0]}): choose another one with CUDA_VISIBLE_DEVICES"
        )
    from mmcv.ops import get_compiling_cuda_version

    if get_compiling_cuda_version() == "not available":
        return f"mmcv was built without CUDA operators: put nvcc on PATH, then {REBUILD}"
    return None


def frameworks() -> str | None:
    """torch, mmcv, mmdet and fairseq that do not fit each other."""
    try:
        import torch
        from mmcv.ops import nms

        nms(torch.tensor([[0.0, 0.0, 1.0, 1.0]]), torch.tensor([0.5]), 0.5)
    except (ImportError, RuntimeError, OSError) as error:
        return f"mmcv does not fit torch ({_first_line(error)}): {REBUILD}"
    for name in ("mmdet", "mmseg", "mmpretrain", "fairseq"):
        try:
            __import__(name)
        except Exception as error:  # noqa: BLE001 - version checks of these packages raise AssertionError and others
            return f"{name} cannot be imported ({_first_line(error)}): run `make clean && make`"
    return None


def _first_line(error: BaseException) -> str:
    return f"{type(error).__name__}: {(str(error).splitlines() or ['no message'])[0]}"


def checks(before_install: bool, deep: bool) -> Iterator[Callable[[], str | None]]:
    """The checks to make, in order; a later one may rely on the earlier ones."""
    yield python_version
    if before_install:
        yield from (compiler, venv_module, lambda: disk(FREE_GB_INSTALL))
        return
    yield lambda: disk(FREE_GB_RUN)
    yield versions
    if deep:
        yield frameworks
    yield gpu


def main(argv: list[str] | None = None) -> int:
    """Prints nothing and returns 0, or prints the first fault and returns 1."""
    parser = argparse.ArgumentParser(prog="python -m plugins.runner.doctor", description=__doc__.split("\n")[0])
    parser.add_argument("--before-install", action="store_true", help="only what installing needs")
    parser.add_argument("--deep", action="store_true", help="also import the frameworks (10 seconds)")
    args = parser.parse_args(argv)
    for check in checks(args.before_install, args.deep):
        fault = check()
        if fault:
            print(f"doctor: {fault}", file=sys.stderr)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
