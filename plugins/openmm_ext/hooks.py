"""Hooks that make an mmengine training restartable bit for bit and readable while it runs, on one GPU or several.

mmengine's checkpoints leave the random states out, are written in place, and its logger keeps its own format. A config
that names this module in `custom_imports` gets `ReseedHook`, `AtomicCheckpointHook`, `CurvesHook` and, for a start
from other weights, `FreshHeadHook` for its `custom_hooks`.
"""

import json
import os
import random
import time
from pathlib import Path

import numpy as np
import torch
from mmengine.dist import all_reduce, get_rank, is_main_process
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.registry import HOOKS

from plugins.openmm_ext import checkpoints, curves
from plugins.openmm_ext.path_leads import path_scales
from plugins.suite import files


def reseed(seed: int, update: int, process: int = 0) -> None:
    """Set python's, numpy's and torch's random states to a function of the three."""
    # The first process draws what a training in one process draws.
    entropy = [seed, update, process] if process else [seed, update]
    state = int(np.random.SeedSequence(entropy).generate_state(1)[0])
    random.seed(state)
    np.random.seed(state)
    torch.manual_seed(state)


def network(runner) -> torch.nn.Module:
    """The model itself, also where mmengine wrapped it for several processes."""
    return runner.model.module if is_model_wrapper(runner.model) else runner.model


@HOOKS.register_module()
class ReseedHook(Hook):
    """Tie all randomness of an update (augmentation, samplers, dropout) to the seed and the update's number.

    Exact for `num_workers=0`; worker processes draw their augmentation from states of their own.
    """

    priority = "LOWEST"

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def before_train(self, runner) -> None:
        # Making a loader's iterator draws a number; from its own generator, a resumed run and a whole one agree.
        runner.train_dataloader.generator = torch.Generator().manual_seed(self.seed)
        reseed(self.seed, runner.iter, get_rank())

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None) -> None:
        reseed(self.seed, runner.iter + 1, get_rank())


@HOOKS.register_module()
class FreshHeadHook(Hook):
    """Leave the classifier as it was made where the weights that are loaded were trained on other classes."""

    priority = "HIGH"  # before a moving average takes the weights over

    def after_load_checkpoint(self, runner, checkpoint: dict) -> None:
        theirs = checkpoint["meta"]["dataset_meta"]["classes"]
        if list(theirs) != list(runner.train_dataloader.dataset.metainfo["classes"]):
            weights = checkpoint["state_dict"]
            for name in [name for name in weights if name.startswith("head.")]:
                del weights[name]


@HOOKS.register_module()
class AtomicCheckpointHook(Hook):
    """Write `checkpoints/update_<n>.pth` every `interval` updates and at the end: temporary name, rename, SHA-256.

    The last two stay, so that a checkpoint that turns out to be damaged has one before it.
    """

    priority = "VERY_LOW"

    def __init__(self, interval: int) -> None:
        self.interval = interval

    def before_save_checkpoint(self, runner, checkpoint: dict) -> None:
        # The log's history is an object of mmengine's; without it `torch.load(weights_only=True)` reads the file.
        checkpoint["message_hub"] = {key: {} for key in checkpoint["message_hub"]}

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None) -> None:
        update = runner.iter + 1
        if not is_main_process() or (update % self.interval and update != runner.max_iters):
            return
        folder = Path(runner.work_dir) / "checkpoints"
        folder.mkdir(exist_ok=True)
        final = folder / f"update_{update:08d}.pth"
        temporary = final.with_suffix(".tmp")
        try:
            runner.save_checkpoint(str(folder), temporary.name, by_epoch=False)
            os.replace(temporary, final)
            files.seal(final)
        finally:
            temporary.unlink(missing_ok=True)
        # The name under which mmengine's own `--resume` looks for the newest one.
        (Path(runner.work_dir) / "last_checkpoint").write_text(str(final))
        checkpoints.keep_newest(folder, 2)


@HOOKS.register_module()
class CurvesHook(Hook):
    """Append a line to `curves.jsonl` and to the log every `interval` updates.

    A line holds the update, the mean of every loss over the interval and all processes, the learning rate, the seconds
    an update took and `gate`: the residual gate (gamma) of every attention layer, by the layer's name in the backbone,
    or `path_scales` (see there). Every `score_every` updates the config's own validation runs, and the line also holds
    `valid`: its metrics.
    """

    priority = "LOW"

    def __init__(self, interval: int, score_every: int | None = None) -> None:
        self.interval, self.score_every = interval, score_every

    def before_train(self, runner) -> None:
        self.path = Path(runner.work_dir) / "curves.jsonl"
        if is_main_process():
            curves.trim(self.path, runner.iter)
        self.gates = {
            name.removesuffix(".gamma").removeprefix("backbone."): parameter
            for name, parameter in network(runner).named_parameters()
            if name.endswith(".gamma")
        }
        self.sums: dict[str, torch.Tensor] = {}
        self.start = self.since = (time.perf_counter(), runner.iter)

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None) -> None:
        for name, value in outputs.items():
            if "loss" in name:
                self.sums[name] = self.sums.get(name, 0.0) + value.detach()
        update = runner.iter + 1
        if update % self.interval and update != runner.max_iters:
            return
        now = time.perf_counter()
        updates = update - self.since[1]
        for total in self.sums.values():
            all_reduce(total, "mean")
        means = {name: float(total) / updates for name, total in self.sums.items()}
        line = {
            "update": update,
            "train_loss": means.pop("loss"),
            **means,
            "lr": runner.optim_wrapper.get_lr()["lr"][0],
            "seconds": round((now - self.since[0]) / updates, 4),
        }
        if self.gates:
            line["gate"] = {name: parameter.item() for name, parameter in self.gates.items()}
        scales = path_scales(network(runner))
        if scales:
            line["path_scales"] = scales
        if self.score_every and update % self.score_every == 0:
            line["valid"] = {name: round(float(value), 4) for name, value in runner.val_loop.run().items()}
            runner.model.train()
        if is_main_process():
            with self.path.open("a") as curves:
                curves.write(json.dumps(line) + "\n")
        left = (now - self.start[0]) / (update - self.start[1]) * (runner.max_iters - update)
        runner.logger.info(
            f"update {update}/{runner.max_iters}, loss {line['train_loss']:.4f}, "
            f"{line['seconds']:.2f} s an update, about {left:.0f} s left"
        )
        self.sums, self.since = {}, (time.perf_counter(), update)
