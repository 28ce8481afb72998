"""``python -m benchmarks.shift_forms --out F``: ACmix's shift and sum in each form, like with like (claim 10).

`shift`            the same projected maps go in, the same sums come out: tensor (slices added in place, nothing is
                   copied twice), tensor_stacked (pad, slice, stack, sum), fixed (group convolution with one-hot
                   kernels, one set, repeated for the heads), learnable (the released form: a set for each head)
`shift with FC`    projection and shift together: the two steps one after the other (tensor, fixed, learnable), and
                   fixed_fused and learnable_fused, which multiply FC and group convolution into one kernel

Inference, one thread. A time is of the second, third and fourth stage of a ResNet at 224 pixels together, one layer of
each; every stage is timed by itself, too. The forms take turns; records as `plugins.runner.timing.comparison`.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from plugins.operators.acmix import ConvolutionPath
from plugins.runner import timing
from plugins.suite import files

# channels and side of the maps of each stage
STAGES = ((128, 28), (256, 14), (512, 7))
HEADS, KERNEL, BATCH = 4, 3, 1
ALONE, WITH_FC = "shift", "shift with FC"


def main(argv: list[str] | None = None) -> int:
    """Writes the records and prints the ratios."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.shift_forms", description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, metavar="F", help="write the records here, as JSON")
    parser.add_argument("--turns", type=int, default=25, help="turns of every form (25)")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    options = parser.parse_args(argv)
    torch.set_num_threads(1)
    records = measure(options.turns, options.device)
    files.write_json(options.out, records)
    for record in records:
        print(f"{record['name']:28} {record['against']} / {record['of']}: {record['ratio']:.3f} "
              f"[{record['ratio_low']:.3f}, {record['ratio_high']:.3f}]")  # fmt: skip
    return 0


def measure(turns: int, device: str) -> list[dict]:
    """The records: all stages together, then each stage, each form against moving tensors."""
    contestants = {
        (part, stage, form): timing.timer(call, 1)
        for stage in STAGES
        for part, calls in stage_forms(*stage, device).items()
        for form, call in calls.items()
    }
    times = timing.in_turns(contestants, turns)
    facts = timing.machine(device, 1) | {"batch": BATCH, "heads": HEADS, "kernel": KERNEL}
    records = []
    for part in (WITH_FC, ALONE):
        names = [form for kind, stage, form in times if kind == part and stage == STAGES[0]]
        by_stage = {stage: {form: times[part, stage, form] for form in names} for stage in STAGES}
        together = {form: [sum(turn) for turn in zip(*(by_stage[stage][form] for stage in STAGES), strict=True)]
                    for form in names}  # fmt: skip
        named = {f"{part}, {c} x {side} x {side}": by_stage[c, side] for c, side in STAGES} | {part: together}
        records += [
            timing.comparison(name, values, form, "tensor") | facts
            for name, values in named.items()
            for form in names
            if form != "tensor"
        ]
    return records


def stage_forms(channels: int, side: int, device: str) -> dict[str, dict[str, Callable[[], Tensor]]]:
    """{part: {form: call}} on the maps of one stage, drawn once; all forms of a part were seen to agree."""
    torch.manual_seed(0)
    depth = channels // HEADS
    maps = torch.randn(BATCH, depth, 3 * HEADS, side, side, device=device)
    paths = {
        form: ConvolutionPath(HEADS, depth, KERNEL, 1, form, "heads", bias=False).to(device)
        for form in ("fixed", "learnable")
    }
    paths["learnable"].fc.load_state_dict(paths["fixed"].fc.state_dict())
    fc, kernels = paths["fixed"].fc.weight.detach(), {form: path.weight.detach() for form, path in paths.items()}
    shifts = {
        "tensor": add_slices,
        "tensor_stacked": stack_slices,
        "fixed": partial(group_convolution, kernels["fixed"]),
        "learnable": partial(group_convolution, kernels["learnable"]),
    }
    projected = project(fc, maps)
    alone = {form: partial(_inference, shift, projected) for form, shift in shifts.items()}
    whole = {
        form: partial(_inference, lambda x, shift=shift: shift(project(fc, x)), maps)
        for form, shift in shifts.items()
        if form != "tensor_stacked"
    }
    whole |= {f"{form}_fused": partial(_inference, path, maps) for form, path in paths.items()}
    for calls in (alone, whole):
        for call in calls.values():
            torch.testing.assert_close(call(), calls["tensor"](), rtol=1e-4, atol=1e-4)
    return {ALONE: alone, WITH_FC: whole}


def _inference(call: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    with torch.inference_mode():
        return call(x)


def project(fc: Tensor, maps: Tensor) -> Tensor:
    """FC: N x d x 3 heads x H x W -> N x d x taps x H x W."""
    batch, depth = maps.shape[:2]
    return F.conv2d(maps.flatten(0, 1), fc).unflatten(0, (batch, depth))


def add_slices(projected: Tensor) -> Tensor:
    """The sum of the shifted maps by slices added in place, repeated for the heads: N x (d heads) x H x W."""
    batch, depth, taps, height, width = projected.shape
    total = projected.new_zeros(batch, depth, height, width)
    for tap in range(taps):
        down, right = tap // KERNEL - KERNEL // 2, tap % KERNEL - KERNEL // 2
        rows, columns = _overlap(down, height), _overlap(right, width)
        total[:, :, rows[0], columns[0]] += projected[:, :, tap, rows[1], columns[1]]
    return total.repeat_interleave(HEADS, dim=1)


def _overlap(shift: int, size: int) -> tuple[slice, slice]:
    """(where a shifted axis arrives, what of it arrives there)."""
    return slice(max(0, -shift), size - max(0, shift)), slice(max(0, shift), size + min(0, shift))


def stack_slices(projected: Tensor) -> Tensor:
    """The same by padding, slicing, stacking and one sum."""
    height, width = projected.shape[3:]
    padded = F.pad(projected, (KERNEL // 2,) * 4)
    moved = [
        padded[:, :, tap, tap // KERNEL : tap // KERNEL + height, tap % KERNEL : tap % KERNEL + width]
        for tap in range(KERNEL**2)
    ]
    return torch.stack(moved).sum(dim=0).repeat_interleave(HEADS, dim=1)


def group_convolution(kernel: Tensor, projected: Tensor) -> Tensor:
    """The same by one group convolution, a group a channel; one set of kernels is repeated for the heads."""
    depth = projected.shape[1]
    total = F.conv2d(projected.flatten(1, 2), kernel, padding=KERNEL // 2, groups=depth)
    return total if total.shape[1] == depth * HEADS else total.repeat_interleave(HEADS, dim=1)


if __name__ == "__main__":
    sys.exit(main())
