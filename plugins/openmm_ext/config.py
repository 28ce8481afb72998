"""Resolved spec -> mmengine config.

A recipe names a config (`train.config`, a file of `experiments/<study>/configs/`) that inherits from the installed
package. This module adds what the spec decides: operators, data, seed, length of the training, and `train.options`
(dotted keys, as in mmengine's `--cfg-options`). The learning rate follows the config's own schedule, stretched to the
length of the training. The result is written to `config.py` in the run's folder and is complete in itself: the
package's own tool trains it.
"""

from __future__ import annotations

import copy
import os
from importlib import import_module
from pathlib import Path
from types import ModuleType

from mmengine.config import Config
from mmengine.config.utils import MODULE2PACKAGE

from plugins.openmm_ext import checkpoints
from plugins.openmm_ext.placement import place_operators
from plugins.suite.data import read_manifest
from plugins.suite.errors import UserError
from plugins.suite.sources import ROOT

HOOKS = "plugins.openmm_ext.hooks"
# mmengine looks `mmseg::` up by the distribution's name, which is not that of the maintained fork; the module's is.
MODULE2PACKAGE["mmseg"] = "mmseg"


def task_of(spec: dict) -> ModuleType:
    """The module of a spec's task."""
    return import_module(f"plugins.openmm_ext.tasks.{spec['task']}")


def read_config(spec: dict) -> Config:
    """The recipe's config with its options and the operators that the spec's model asks for; no data are needed.

    UserError for an option that the task does not know.
    """
    cfg = Config.fromfile(base_config(spec))
    cfg.merge_from_dict(spec["train"]["options"])
    operators = place_operators(cfg.model, spec["model"], task_of(spec))
    imports = cfg.get("custom_imports", {}).get("imports", [])
    imports = [*imports, HOOKS, *task_of(spec).IMPORTS, *operators]
    cfg.custom_imports = {"imports": imports, "allow_failed_imports": False}
    return cfg


def base_config(spec: dict) -> Path:
    """The mmengine config that the recipe names."""
    path = ROOT / "experiments" / spec["study"] / "configs" / spec["train"]["config"]
    if not path.is_file():
        raise UserError(f"{path}: named by train.config but missing; name a file of that folder")
    return path


def build_config(spec: dict, data: Path) -> Config:
    """The whole config of a run but for its folder."""
    settings = spec["train"]
    cfg = read_config(spec)
    _point_at_data(cfg, spec, data)
    if settings["batch"] % settings["gpus"]:
        raise UserError(f"train.batch={settings['batch']}: must be a multiple of train.gpus={settings['gpus']}")
    cfg.train_dataloader.batch_size = settings["batch"] // settings["gpus"]
    cfg.train_dataloader.sampler = {"type": "InfiniteSampler", "shuffle": True, "seed": spec["seed"]}
    if "train_fraction" in spec["model"]:
        cfg.train_dataloader.dataset.fraction = spec["model"]["train_fraction"]
    updates = settings["updates"]
    cfg.param_scheduler = stretched(cfg.param_scheduler, cfg.train_cfg, updates, settings["warmup"])
    cfg.optim_wrapper.optimizer.lr = settings["lr"]
    cfg.train_cfg = {
        "type": "IterBasedTrainLoop",
        "max_iters": updates,
        "val_begin": updates + 1,  # CurvesHook validates
        # A batch sampler that sorts by shape cannot be wound forward without loading: such a run starts the data anew.
        "fast_forward_on_resume": "batch_sampler" in cfg.train_dataloader,
    }
    cfg.randomness = {"seed": spec["seed"]}
    # None takes a hook out: nothing is drawn, timed or logged twice.
    cfg.default_hooks = {"timer": None, "logger": None, "checkpoint": None, "sampler_seed": None}
    cfg.visualizer = {"type": "Visualizer", "vis_backends": None}
    cfg.custom_hooks = [*(cfg.get("custom_hooks") or []), *_hooks(spec)]
    if "pretrained" in spec:
        cfg.load_from = str(checkpoints.last_checkpoint(Path(spec["pretrained"]).parent))
        cfg.custom_hooks.append({"type": "FreshHeadHook"})
    return cfg


def _point_at_data(cfg: Config, spec: dict, data: Path) -> None:
    """Train on the training split, test on `evaluate.split`, and, with `train.score_every`, validate on val."""
    task, manifest = task_of(spec), read_manifest(data / "manifest.json")
    for key in ("val_dataloader", "val_evaluator", "val_cfg"):
        cfg[key] = None
    if spec["train"].get("score_every"):
        task.place_data(cfg, str(data), manifest, "val")
        cfg.val_dataloader, cfg.val_evaluator = copy.deepcopy(cfg.test_dataloader), copy.deepcopy(cfg.test_evaluator)
        cfg.val_cfg = {"type": "ValLoop"}
    task.place_data(cfg, str(data), manifest, spec["evaluate"]["split"])


def _hooks(spec: dict) -> list[dict]:
    settings = spec["train"]
    for key in ("checkpoint_every", "score_every"):
        if (settings.get(key) or 0) % settings["log_every"]:
            raise UserError(
                f"train.{key}={settings[key]}: must be a multiple of "
                f"log_every={settings['log_every']}, so that a resumed run writes the same curve"
            )
    return [
        {"type": "CurvesHook", "interval": settings["log_every"], "score_every": settings.get("score_every")},
        {"type": "AtomicCheckpointHook", "interval": settings["checkpoint_every"]},
        {"type": "ReseedHook", "seed": spec["seed"]},
    ]


def stretched(schedule: list[dict], train_cfg: dict, updates: int, warmup: int) -> list[dict]:
    """A config's schedule over its epochs or iterations, laid over `updates`, its linear warm-up over `warmup`.

    Milestones keep their place in proportion; what sets in after the warm-up sets in after ours.
    """
    length = train_cfg.get("max_epochs") or train_cfg["max_iters"]
    entries = []
    for entry in [schedule] if isinstance(schedule, dict) else schedule:
        entry = {key: value for key, value in entry.items() if key not in ("convert_to_iter_based", "T_max")}
        if entry["type"] == "LinearLR":
            entry |= {"begin": 0, "end": warmup}
        else:
            entry |= {"begin": warmup if entry.get("begin") else 0, "end": updates}
        if entry["begin"] >= entry["end"]:
            raise UserError(f"train.warmup={warmup}: must be at least 1 and less than updates={updates}")
        if "milestones" in entry:
            entry["milestones"] = [updates * milestone // length for milestone in entry["milestones"]]
        entries.append(entry | {"by_epoch": False})
    return entries


def write_config(spec: dict, data: Path, run_dir: Path) -> Config:
    """Build the config, write it to `run_dir/config.py` and return what a reader of that file gets."""
    cfg = build_config(spec, data)
    cfg.work_dir = str(run_dir)
    run_dir.mkdir(parents=True, exist_ok=True)
    temporary = run_dir / ".config.py"
    cfg.dump(temporary)
    os.replace(temporary, run_dir / "config.py")
    return read_written(run_dir / "config.py")


def read_written(path: Path | str) -> Config:
    """A config that `write_config` wrote. Its text in checkpoints is not laid out anew each time, which takes as long
    as some ten updates of a probe."""
    return Config.fromfile(path, format_python_code=False)
