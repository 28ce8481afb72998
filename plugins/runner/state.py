"""The state of a run on disk: a lock while it runs, `error.json` when it failed, `metrics.json` when it is done."""

from __future__ import annotations

import contextlib
import datetime
import fcntl
import json
import os
from pathlib import Path

from plugins.runner.errors import UserError


def write_json(path: Path, content: dict | list) -> None:
    """Writes JSON under a temporary name and renames it, so that `path` is either whole or absent."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("w", encoding="utf-8") as handle:
            json.dump(content, handle, indent=1, sort_keys=False, allow_nan=False)
            handle.write("\n")
            handle.flush()
            os.fsync(handle.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def now() -> str:
    """The time in UTC, to the second."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


@contextlib.contextmanager
def alone(run_dir: Path):
    """Holds the run's folder for one process; the lock goes with the process, even after kill -9."""
    run_dir.mkdir(parents=True, exist_ok=True)
    with (run_dir / "run.lock").open("a+") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            handle.seek(0)
            holder = handle.read().strip() or "unknown"
            raise UserError(f"{run_dir}: another process ({holder}) is running here; wait for it or end it") from None
        handle.truncate(0)
        handle.write(f"pid {os.getpid()}")
        handle.flush()
        yield


def record_failure(run_dir: Path, message: str) -> None:
    """Leaves `error.json`, which `analysis` shows as `failed`. On a full disk there is only the log."""
    with contextlib.suppress(OSError):
        write_json(run_dir / "error.json", {"error": message, "when": now()})
