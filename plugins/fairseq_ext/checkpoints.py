"""The checkpoints of a training: sealed when fairseq writes them, checked before they are read, averaged at the end.

A checkpoint is whole where its SHA-256 is the one that stands beside it. One that is not, by a flipped bit or by a kill
between the two, is named in the log and never read: training goes on from the one before, or begins anew.
"""

from __future__ import annotations

import os
import re
from contextlib import contextmanager
from pathlib import Path

import torch
from fairseq.tasks.translation import TranslationTask

from plugins.fairseq_ext import safe_load as safe_load
from plugins.suite import files
from plugins.suite.errors import UserError

AVERAGED = "averaged.pt"
TRAINED = "trained.json"


def kept(spec: dict) -> int:
    """How many checkpoints stay: those to average, and at least two, so that a damaged one has one before it."""
    return max(2, spec["evaluate"]["averaged_checkpoints"])


@contextmanager
def sealing(spec: dict):
    """Within it fairseq seals each checkpoint that it writes, through its own hook, a task's `post_save`."""
    TranslationTask.post_save = staticmethod(lambda path, updates: _seal(Path(path), updates, spec))
    try:
        yield
    finally:
        del TranslationTask.post_save


def _seal(path: Path, updates: int, spec: dict) -> None:
    epoch = re.fullmatch(r"checkpoint(\d+)\.pt", path.name)
    if epoch and updates % spec["train"]["save_every"] == 0:
        # Where an epoch ends, fairseq names a checkpoint after it alone, and would remove it with those of epochs.
        path = path.rename(path.with_name(f"checkpoint_{epoch[1]}_{updates}.pt"))
    files.seal(path)
    by_updates = sorted(path.parent.glob("checkpoint_*_*.pt"), key=lambda file: int(file.stem.split("_")[2]))
    for old in by_updates[: -kept(spec)]:
        old.unlink()
    for seal in path.parent.glob("checkpoint*.pt.sha256"):
        if not seal.with_suffix("").exists():
            seal.unlink()


def load(path: Path) -> dict:
    """A checkpoint's state on the CPU. Plain data and allowed classes only; anything else in it is an error."""
    return torch.load(path, map_location="cpu", weights_only=True, mmap=True)


def whole(folder: Path) -> dict[int, Path]:
    """{updates: file} of the whole checkpoints of a training, oldest first; names the damaged ones."""
    checkpoints = {}
    for path in sorted(folder.glob("checkpoint*.pt")):
        if not re.fullmatch(r"checkpoint(\d+|_\d+_\d+)\.pt", path.name):
            continue
        if files.is_sealed(path):
            checkpoints[load(path)["optimizer_history"][-1]["num_updates"]] = path
        else:
            print(f"{path}: damaged (its SHA-256 is not the one beside it), an earlier checkpoint is used", flush=True)
    return dict(sorted(checkpoints.items()))


def to_average(spec: dict) -> list[int]:
    """The updates whose checkpoints are averaged at the end: the last ones that are multiples of `save_every`."""
    train = spec["train"]
    saved = range(train["save_every"], train["updates"] + 1, train["save_every"])
    return list(saved)[-spec["evaluate"]["averaged_checkpoints"] :]


def finished(folder: Path, spec: dict) -> dict | None:
    """What a training left in trained.json when it ended; None unless all that its evaluation needs is whole too."""
    try:
        result = files.read_json(folder / TRAINED)
    except UserError:
        return None
    ready = files.is_sealed(folder / AVERAGED) or set(to_average(spec)) <= whole(folder).keys()
    return result if ready and isinstance(result, dict) else None


def resume_point(folder: Path, spec: dict) -> tuple[int, Path | None]:
    """(updates, checkpoint) where an unfinished training goes on; (0, None) for a beginning.

    It is the newest whole checkpoint up to which none of those to be averaged is missing; all other files are removed.
    """
    checkpoints, needed = whole(folder), to_average(spec)
    usable = {}
    for updates, path in checkpoints.items():
        if all(update in checkpoints for update in needed if update <= updates):
            usable = {update: path for update, path in checkpoints.items() if update <= updates}
    kept = {name for path in usable.values() for name in (path.name, f"{path.name}.sha256")}
    for path in folder.iterdir():
        if path.name not in kept:
            path.unlink()
    return max(usable.items(), default=(0, None))


def average(folder: Path, spec: dict) -> Path:
    """The mean of the parameters of the last checkpoints, as one checkpoint file; made once."""
    path, needed = folder / AVERAGED, to_average(spec)
    if files.is_sealed(path):
        return path
    checkpoints = whole(folder)
    missing = [update for update in needed if update not in checkpoints]
    if missing:
        raise UserError(f"{folder}: no whole checkpoint of update {missing[0]}; run again to train it")
    states = [load(checkpoints[update]) for update in needed]
    merged = {key: value for key, value in states[-1].items() if key != "last_optimizer_state"}
    merged["model"] = {name: _mean([state["model"][name] for state in states]) for name in merged["model"]}
    temporary = path.with_suffix(".tmp")
    torch.save(merged, temporary)
    os.replace(temporary, path)
    files.seal(path)
    return path


def _mean(values: list[torch.Tensor]) -> torch.Tensor:
    """In double precision; of whole numbers, which count something, the last."""
    last = values[-1]
    if not last.is_floating_point():
        return last.clone()
    return (sum(value.double() for value in values) / len(values)).to(last.dtype)


def remove(folder: Path) -> None:
    """Removes all checkpoints but the averaged one."""
    for path in folder.glob("checkpoint*"):
        path.unlink()
