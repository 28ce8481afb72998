"""``python -m benchmarks.paper_step aaconv/retinanet/aa+relative ... --json F``: one training step at paper size.

Builds the arm's model by its paper recipe, whole and with fresh weights, and takes one step of the package's own losses
on the recipe's fixed input, one image of noise at the size of the cost tables. What counts is that the step ends, that
the loss is finite, that every trained parameter got a finite gradient, and the peak of memory. The seconds are of one
step on whatever else the machine did.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path

import torch

from plugins.openmm_ext import engine
from plugins.runner.measure import peak_megabytes
from plugins.suite.catalog import resolve
from plugins.suite.errors import UserError


def main(arguments: list[str] | None = None) -> int:
    """Prints and writes one record an arm, each as soon as it is there; 1 if a step failed its checks."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.paper_step", description=__doc__.splitlines()[0])
    parser.add_argument("arms", nargs="+", metavar="STUDY/ABLATION/ARM")
    parser.add_argument("--json", type=Path, metavar="F", help="write the records here")
    options = parser.parse_args(arguments)
    records = []
    for arm in options.arms:
        try:
            records.append(step_of(arm))
        except UserError as error:
            parser.error(str(error))
        print("  ".join(f"{key} {value}" for key, value in records[-1].items()), flush=True)
        if options.json:
            options.json.write_text(json.dumps(records, indent=1) + "\n", encoding="utf-8")
    return int(any(record["without_gradient"] or not record["finite"] for record in records))


def step_of(name: str) -> dict:
    """The record of one arm, "study/ablation/arm"; its input is one image."""
    spec = resolve("paper", *name.split("/", 2), seed=1)
    spec["measure"]["batch"] = 1
    torch.manual_seed(1)
    model, _, train_step = engine.measured_model(spec, None)
    device = next(model.parameters()).device.type
    start = time.perf_counter()
    peak = peak_megabytes(train_step, device)
    seconds = time.perf_counter() - start
    trained = {key: value for key, value in model.named_parameters() if value.requires_grad}
    gradients = {key: value.grad for key, value in trained.items() if value.grad is not None}
    return {
        "arm": name,
        "image": f"{spec['measure']['height']}x{spec['measure']['width']}",
        "params": sum(value.numel() for value in model.parameters()),
        "trained_tensors": len(trained),
        "without_gradient": sorted(trained.keys() - gradients.keys()),
        "finite": all(bool(torch.isfinite(value).all()) for value in gradients.values()),
        "device": device,
        "seconds": round(seconds, 1),
        "peak_mb": round(peak),
    }


if __name__ == "__main__":
    sys.exit(main())
