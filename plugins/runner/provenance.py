"""Where a number comes from: commit, versions, device. Written into every metrics.json."""

from __future__ import annotations

import hashlib
import platform
import subprocess
from importlib import metadata
from pathlib import Path

PACKAGES = {
    "torch": "torch",
    "torchvision": "torchvision",
    "numpy": "numpy",
    "fairseq": "fairseq-fixed",
    "mmcv": "onedl-mmcv",
    "mmengine": "onedl-mmengine",
    "mmdet": "onedl-mmdetection",
    "mmseg": "onedl-mmsegmentation",
    "mmpretrain": "onedl-mmpretrain",
    "sacrebleu": "sacrebleu",
}


def _git(*args: str) -> str | None:
    try:
        done = subprocess.run(["git", *args], capture_output=True, text=True, timeout=30, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def commit() -> tuple[str, bool]:
    """The commit of the working tree and whether files that git tracks differ from it."""
    head = _git("rev-parse", "HEAD")
    changes = _git(
        "status", "--porcelain", "--untracked-files=no", "--", "plugins", "experiments", "workflow", "Snakefile"
    )
    return head or "unknown", head is None or changes is None or bool(changes)


def versions() -> dict[str, str]:
    """Python's version and those of the packages that a result may hang on."""
    found = {"python": platform.python_version()}
    for name, distribution in PACKAGES.items():
        try:
            found[name] = metadata.version(distribution)
        except metadata.PackageNotFoundError:
            continue
    return found


def digest_files(paths: list[str] | tuple[str, ...]) -> str:
    """One SHA-256 (first 16 hexadecimal digits) over the names and contents of files."""
    total = hashlib.sha256()
    for path in sorted(paths):
        total.update(path.encode() + b"\0" + hashlib.sha256(Path(path).read_bytes()).digest())
    return total.hexdigest()[:16]


def processor() -> str:
    """The processor's name, as the kernel tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()
