"""The state of a run on disk: a lock while it runs, `error.json` when it failed, `metrics.json` when it is done."""

from __future__ import annotations

import contextlib
import datetime
from pathlib import Path

from plugins.suite import files
from plugins.suite.errors import UserError


def now() -> str:
    """The time in UTC, to the second."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


@contextlib.contextmanager
def alone(run_dir: Path):
    """Holds the run's folder for one process; UserError, with its holder, where another has it."""
    path = run_dir / "run.lock"
    with files.lock(path) as free:
        if not free:
            holder = path.read_text().strip() or "unknown"
            raise UserError(f"{run_dir}: another process ({holder}) is running here; wait for it or end it")
        yield


def record_failure(run_dir: Path, message: str) -> None:
    """Leaves `error.json`, which `analysis` shows as `failed`. On a full disk there is only the log."""
    with contextlib.suppress(OSError):
        files.write_json(run_dir / "error.json", {"error": message, "when": now()})
