"""``python -m benchmarks.shifts --json F``: ACmix's convolution path with each form of its shift, in one run.

The forms take turns, so that a busy moment hits them alike; a time is the median over the turns. Forward is inference,
a training step is forward and backward. Record: machine (one line), turns, rows of case, form, part, ms.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import sys
import time
from pathlib import Path

import torch

from plugins.operators.acmix import ConvolutionPath

FORMS = ("tensor", "fixed", "learnable")
# channels and side of the map of the second, third and fourth stage of a ResNet at 224 pixels
CASES = ((128, 28), (256, 14), (512, 7))
HEADS, KERNEL, BATCH = 4, 3, 8


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.shifts", description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path, required=True, metavar="F", help="write the record here")
    parser.add_argument("--turns", type=int, default=15, help="measurements of each form (15)")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    options = parser.parse_args(arguments)
    if options.device == "cuda" and not torch.cuda.is_available():
        parser.error("--device cuda: torch sees no GPU")
    torch.set_num_threads(1)
    rows = [row for channels, side in CASES for row in time_case(channels, side, options.turns, options.device)]
    record = {"machine": describe(options.device), "turns": options.turns, "rows": rows}
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    for row in rows:
        print(f"{row['case']:16} {row['form']:10} {row['part']:14} {row['ms']:8.2f} ms")
    return 0


def time_case(channels: int, side: int, turns: int, device: str) -> list[dict]:
    """Rows of one map size; the forms' results are compared first."""
    torch.manual_seed(0)
    depth = channels // HEADS
    # Channels-last, as the layer's projections are.
    maps = torch.randn(BATCH, depth * 3 * HEADS, side, side, device=device).contiguous(
        memory_format=torch.channels_last
    )
    maps = maps.unflatten(1, (depth, 3 * HEADS)).requires_grad_()
    paths = {form: ConvolutionPath(HEADS, depth, KERNEL, 1, form, "heads", bias=False).to(device) for form in FORMS}
    for path in paths.values():
        path.fc.load_state_dict(paths[FORMS[0]].fc.state_dict())
        torch.testing.assert_close(path(maps), paths[FORMS[0]](maps), rtol=1e-4, atol=1e-4)
    times = {(form, part): [] for form in FORMS for part in ("forward", "training step")}
    for _ in range(turns + 1):
        for form, path in paths.items():
            times[form, "forward"].append(_milliseconds(lambda p=path: _infer(p, maps), device))
            times[form, "training step"].append(_milliseconds(lambda p=path: p(maps).sum().backward(), device))
    case = f"{channels} x {side} x {side}"
    return [
        {"case": case, "form": form, "part": part, "ms": round(statistics.median(values[1:]), 4)}
        for (form, part), values in times.items()
    ]


def _infer(path: ConvolutionPath, maps: torch.Tensor) -> None:
    with torch.inference_mode():
        path(maps)


def _milliseconds(call, device: str) -> float:
    if device == "cuda":
        torch.cuda.synchronize()
    start = time.perf_counter()
    call()
    if device == "cuda":
        torch.cuda.synchronize()
    return 1000 * (time.perf_counter() - start)


def describe(device: str) -> str:
    """One line: device, threads, batch, torch."""
    name = torch.cuda.get_device_name() if device == "cuda" else f"CPU ({platform.machine()}), 1 thread"
    return f"{name}, batch {BATCH}, {HEADS} heads, {KERNEL}x{KERNEL}, float32, torch {torch.__version__}"


if __name__ == "__main__":
    sys.exit(main())
