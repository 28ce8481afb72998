"""The state of a run on disk: a lock while it runs, `identity.json` for what its checkpoints belong to, `error.json`
when it failed, `metrics.json` when it is done."""

from __future__ import annotations

import contextlib
import datetime
import shutil
from collections.abc import Mapping
from pathlib import Path

from plugins.suite import files
from plugins.suite.errors import UserError
from plugins.suite.freshness import IDENTITY, staleness


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


def drop_outdated(run_dir: Path, spec: Mapping) -> None:
    """Removes an earlier failure, and metrics that are not those of this run by this checkout.

    Good metrics stay until better ones replace them: a run that is repeated and killed on the way has lost nothing.
    """
    (run_dir / "error.json").unlink(missing_ok=True)
    path = run_dir / "metrics.json"
    if path.is_file() and not _is_good(path, spec):
        path.unlink()


def _is_good(path: Path, spec: Mapping) -> bool:
    try:
        value = files.read_json(path)
    except UserError:  # cut short
        return False
    if not isinstance(value, dict) or any(value.get(key) != spec[key] for key in IDENTITY):
        return False
    return not staleness(value)


def claim(run_dir: Path, identity: Mapping) -> None:
    """Drops what another recipe, data, sources, versions or pre-training left in this folder: nothing resumes from it.

    What cannot be told to be this run's (no `identity.json`, or one that was cut short) is dropped too.
    """
    stamp = run_dir / "identity.json"
    changed = sorted(key for key, value in identity.items() if _identity_of(stamp).get(key) != value)
    if changed and (run_dir / "checkpoints").exists():
        print(f"{', '.join(changed)}: not those of the last checkpoint, training anew", flush=True)
    if changed:
        shutil.rmtree(run_dir / "checkpoints", ignore_errors=True)
        for name in ("curves.jsonl", "metrics.json"):
            (run_dir / name).unlink(missing_ok=True)
    files.write_json(stamp, dict(identity))


def _identity_of(stamp: Path) -> dict:
    try:
        content = files.read_json(stamp)
    except UserError:
        return {}
    return content if isinstance(content, dict) else {}
