"""``python -m benchmarks.windows --out F``: dynamic convolution against E2 within one window (claim 11 of 1904.05873).

The layers are those of the arms of `dynamic_detection` at paper scale, one of conv4 and one of conv5 of a ResNet-50 at
800 x 1344 pixels, one picture, one thread. E2 is asked for the pairs in sight but computes all and masks the others, so
that its time hardly hangs on the window.

windows                  inference, both stages together; `windows, 256 x 50 x 84` and so on: a stage by itself
windows, training step   forward and backward pass

Arms take turns; records as `plugins.runner.timing.comparison`, for each window.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from mmengine.registry import MODELS
from torch import nn

from plugins.openmm_ext.layers import dynamic_conv, generalized_attention
from plugins.runner import timing
from plugins.suite import catalog, files

ABLATION = "dynamic_detection"
WINDOWS = (3, 5, 7, 9)
# channels, height and width of what the layer gets in conv4 and conv5
STAGES = ((256, 50, 84), (512, 25, 42))
TRAINING = "training step"


def main(argv: list[str] | None = None) -> int:
    """Writes the records and prints the ratios."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.windows", description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, metavar="F", help="write the records here, as JSON")
    parser.add_argument("--turns", type=int, default=15, help="turns of every arm (15)")
    parser.add_argument("--quick", action="store_true", help="maps of a quarter of the sides, to see that it works")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    options = parser.parse_args(argv)
    torch.set_num_threads(1)
    stages = [(c, h // 4, w // 4) for c, h, w in STAGES] if options.quick else STAGES
    records = measure(stages, options.turns, options.device)
    files.write_json(options.out, records)
    for record in records:
        print(f"{record['name']:36} {record['against']} / {record['of']}: {record['ratio']:.3f} "
              f"[{record['ratio_low']:.3f}, {record['ratio_high']:.3f}]")  # fmt: skip
    return 0


def measure(stages: list[tuple[int, int, int]], turns: int, device: str) -> list[dict]:
    """The records: both stages together, then each stage, of each window; inference, then a training step."""
    names = [f"{ABLATION}/{kind}-{window}" for window in WINDOWS for kind in ("E2", "dynamic")]
    contestants = {
        (part, stage, name): timing.timer(call, 1)
        for stage in stages
        for name in names
        for part, call in calls(layer(name, stage[0]).to(device), stage).items()
    }
    times = timing.in_turns(contestants, turns)
    facts = timing.machine(device, 1) | {"batch": 1}
    records = []
    for part in ("", TRAINING):
        title = ", ".join(word for word in ("windows", part) if word)
        by_stage = {stage: {name: times[part, stage, name] for name in names} for stage in stages}
        together = {
            name: [sum(turn) for turn in zip(*(by_stage[stage][name] for stage in stages), strict=True)]
            for name in names
        }
        groups = {f"{title}, {c} x {h} x {w}": by_stage[c, h, w] for c, h, w in stages} | {title: together}
        records += [
            timing.comparison(group, values, f"{ABLATION}/E2-{window}", f"{ABLATION}/dynamic-{window}") | facts
            for group, values in groups.items()
            for window in WINDOWS
        ]
    return records


def layer(name: str, channels: int) -> nn.Module:
    """The layer of an arm, <ablation>/<arm>, with fresh weights."""
    model = catalog.resolve("paper", "spatial_attention", *name.split("/"), 1)["model"]
    binding = next(b for b in (dynamic_conv, generalized_attention) if model.get(b.OPTION))
    config = {}
    binding.place(config, model[binding.OPTION], Place)
    torch.manual_seed(0)
    return MODELS.build({**config, "in_channels": channels})


class Place:
    """Stands for a task: a layer is the whole model."""

    @staticmethod
    def place_layer(model: dict, option: str, config: dict) -> None:
        """Keeps the layer's config."""
        model.update(config)


def calls(module: nn.Module, stage: tuple[int, int, int]) -> dict[str, Callable[[], object]]:
    """{part: call} on one map of noise."""
    x = torch.randn(1, *stage, device=next(module.parameters()).device)
    return {"": partial(_infer, module.eval(), x), TRAINING: partial(_train, module, x.clone().requires_grad_())}


def _infer(module: nn.Module, x: torch.Tensor) -> torch.Tensor:
    with torch.inference_mode():
        return module(x)


def _train(module: nn.Module, x: torch.Tensor) -> None:
    module.zero_grad(set_to_none=True)
    x.grad = None
    module(x).sum().backward()


if __name__ == "__main__":
    sys.exit(main())
