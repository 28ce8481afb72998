"""Checkpoints of a training: `checkpoints/update_<n>.pth`, each with its SHA-256 beside it, and safe loading of any.

Importing this module makes every way in which mmengine loads weights (`load_from`, `resume`, `init_cfg`,
`model.pretrained`, from a file, an address or a model zoo) read tensors and plain values alone. mmengine's own loader
tries that first, and then unpickles, so runs, whatever else a file holds.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from pickle import UnpicklingError

import torch
from mmengine.runner import checkpoint

from plugins.suite.errors import UserError
from plugins.suite.files import is_sealed, one_line, remove_sealed

# What reading a damaged file raises.
UNREADABLE = (OSError, RuntimeError, EOFError, KeyError, ValueError, UnpicklingError)


def load_weights(file, map_location=None, weights_only: bool = True) -> dict:
    """The content of a checkpoint. UserError, one line, for a file that is damaged or holds more than weights.

    Plain values are those of torch's own list and of mmengine's (numpy arrays, its log's history).
    """
    try:
        with torch.serialization.safe_globals(checkpoint.get_torch_safe_globals()):
            return torch.load(file, map_location=map_location, weights_only=True)
    except UNREADABLE as error:
        raise UserError(
            f"{file}: cannot be read as weights alone ({one_line(error, 120)}); name a whole checkpoint of weights"
        ) from error


checkpoint._safe_torch_load = load_weights
checkpoint.load_url = partial(torch.hub.load_state_dict_from_url, weights_only=True)


def newest_checkpoint(folder: Path) -> Path | None:
    """The newest whole checkpoint of a folder, or None; damaged ones are named in the log and removed."""
    for path in sorted(folder.glob("update_*.pth"), reverse=True):
        if is_sealed(path):
            return path
        print(f"{path}: damaged checkpoint (its SHA-256 is another), taking the one before", flush=True)
        remove_sealed(path)
    return None


def last_checkpoint(run_dir: Path) -> Path:
    """The weights with which the training of a run ended; UserError where they are missing or damaged."""
    folder = Path(run_dir).resolve() / "checkpoints"
    paths = sorted(folder.glob("update_*.pth"))
    if not paths:
        raise UserError(f"{folder}: holds no checkpoint; remove metrics.json beside it and train that run again")
    if not is_sealed(paths[-1]):
        raise UserError(
            f"{paths[-1]}: damaged checkpoint (its SHA-256 is another); remove that run's folder and train it again"
        )
    return paths[-1]


def keep_newest(folder: Path, count: int) -> None:
    """Removes all checkpoints of a folder but the newest `count`."""
    for path in sorted(folder.glob("update_*.pth"))[:-count]:
        remove_sealed(path)
