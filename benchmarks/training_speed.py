"""Training through the suite beside the package's own runner: python -m benchmarks.training_speed --engine mmdet.

Both train the same written config of the engine's plain arm, in turns and in one process: the suite with its hooks
(curves, atomic checkpoints, reseeding), the package with the default hooks of its own tool (timer, logger, checkpoints
at the same updates). Prints seconds an update, median over the turns, and the ratio of the throughputs.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path

import torch
from mmengine.config import Config
from mmengine.hooks import Hook

from plugins.datasets.prepare import prepare
from plugins.openmm_ext import config, engine
from plugins.suite.catalog import resolve

# The arm without any of our operators.
PLAIN = {
    "mmdet": ("spatial_attention", "factors_detection", "w/o"),
    "mmseg": ("spatial_attention", "factors_segmentation", "w/o"),
    "mmpretrain": ("aaconv", "fractions", "plain"),
}
WARM = 5  # updates before the clock starts


class Clock(Hook):
    """Wall seconds from update WARM to the last one, the work of all other hooks included."""

    priority = "LOWEST"

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None) -> None:
        if runner.iter + 1 in (WARM, runner.max_iters):
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            self.since, self.until = getattr(self, "until", None), time.perf_counter()

    def seconds(self, updates: int) -> float:
        """Of one update, mean over a training."""
        return (self.until - self.since) / (updates - WARM)


def plain_spec(name: str, scale: str, updates: int) -> dict:
    """The plain arm of an engine, cut to `updates`."""
    spec = resolve(scale, *PLAIN[name], seed=1)
    interval = max(1, updates // 4)
    spec["train"] |= {"updates": updates, "warmup": WARM, "log_every": interval, "checkpoint_every": interval}
    spec["train"].pop("score_every", None)
    return spec


def timed(cfg, updates: int) -> float:
    """Seconds an update of one training."""
    runner, clock = engine.build_runner(cfg), Clock()
    runner.register_hook(clock)
    runner.train()
    return clock.seconds(updates)


def own_config(path: Path, spec: dict, folder: Path) -> Config:
    """The written config with the package's default hooks in the place of the suite's."""
    cfg = Config.fromfile(path)
    cfg.work_dir = str(folder)
    cfg.custom_hooks = []
    cfg.default_hooks = {
        "timer": {"type": "IterTimerHook"},
        "logger": {"type": "LoggerHook", "interval": spec["train"]["log_every"]},
        "param_scheduler": {"type": "ParamSchedulerHook"},
        "checkpoint": {"type": "CheckpointHook", "by_epoch": False, "interval": spec["train"]["checkpoint_every"]},
        "sampler_seed": {"type": "DistSamplerSeedHook"},
    }
    return cfg


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.training_speed", description=__doc__.split("\n")[0])
    parser.add_argument("--engine", choices=PLAIN, required=True)
    parser.add_argument("--scale", choices=["mini", "small"], default="mini")
    parser.add_argument("--data-root", type=Path, help="folder of the public data sets (scale small)")
    parser.add_argument("--updates", type=int, default=40)
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--json", type=Path, help="also write the record there")
    args = parser.parse_args()
    if args.updates <= WARM:
        parser.error(f"--updates {args.updates}: must be more than {WARM}, which warm up")
    spec = plain_spec(args.engine, args.scale, args.updates)
    torch.set_num_threads(spec["threads"])
    times: dict[str, list[float]] = {"suite": [], "package": []}
    with tempfile.TemporaryDirectory() as work:
        work = Path(work)
        parameters = {key: value for key, value in spec["data"].items() if key != "name"}
        prepare(spec["data"]["name"], work / "data", parameters, args.data_root)
        for turn in range(args.turns):
            ours, theirs = work / f"suite{turn}", work / f"package{turn}"
            cfg = config.write_config(spec, work / "data", ours)
            times["suite"].append(timed(cfg, args.updates))
            times["package"].append(timed(own_config(ours / "config.py", spec, theirs), args.updates))
    medians = {name: statistics.median(values) for name, values in times.items()}
    record = {
        "engine": args.engine,
        "arm": "/".join(PLAIN[args.engine]),
        "scale": args.scale,
        "updates": args.updates,
        "device": "cuda" if torch.cuda.is_available() else "cpu",
        "threads": spec["threads"],
        "seconds_an_update": {name: [round(value, 5) for value in values] for name, values in times.items()},
        "median_seconds": {name: round(value, 5) for name, value in medians.items()},
        "throughput_of_the_suite_over_the_packages": round(medians["package"] / medians["suite"], 4),
    }
    for name, value in medians.items():
        print(f"{name:8s} {1000 * value:8.1f} ms an update, median of {args.turns} (turns: {_turns(times[name])})")
    print(f"throughput of the suite / the package's runner: {record['throughput_of_the_suite_over_the_packages']:.3f}")
    if args.json:
        args.json.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


def _turns(seconds: list[float]) -> str:
    return " ".join(f"{1000 * value:.0f}" for value in seconds)


if __name__ == "__main__":
    main()
