"""How long the arms of a recipe take, alone on the machine: python -m plugins.runner.timing --study S --recipe R.

All arms are built in one process and take turns, in another order each turn, so that a busy moment hits them alike. A
turn's value is the median of torch.utils.benchmark over blocks; what is reported is the median over turns with the 95 %
interval that order statistics give it, and the ratio to the baseline arm turn by turn, with its interval. One example
(batch 1) at the size of the recipe's `measure`. Nothing else may run meanwhile: rule `time_arms` sees to that.

Record: {name, machine, threads, torch, arms, ratios}
  arms    {arm: {latency_ms, low, high, train_step_ms, train_low, train_high, peak_mb, train_peak_mb, turns}}; a
          training step is forward, loss and backward, without the optimiser; a peak is what one call holds above what
          was held before it (MB)
  ratios  {arm: {against, latency, low, high, train_step, train_low, train_high}}: the arm's time over its baseline's
"""

from __future__ import annotations

import argparse
import contextlib
import fnmatch
import math
import statistics
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from plugins.runner import device, provenance
from plugins.runner.engines import load_engine
from plugins.runner.seeding import seed_everything
from plugins.suite import catalog, data, files
from plugins.suite.errors import UserError

LEVEL = 0.95
FEWEST_TURNS = 6  # with fewer, no interval of order statistics covers 95 %
BLOCK_S = 0.2  # seconds of one value at least


def main(argv: list[str] | None = None) -> int:
    """Returns 0, or 2 when the user must mend something."""
    parser = argparse.ArgumentParser(prog="python -m plugins.runner.timing", description=__doc__.split("\n")[0])
    parser.add_argument("--study", required=True)
    parser.add_argument(
        "--recipe", required=True, help="a task, or the name of a recipe: configs/<recipe>-<scale>.yaml"
    )
    parser.add_argument("--scale", default="mini", choices=["mini", "small", "paper"])
    parser.add_argument("--data", required=True, type=Path, help="manifest.json of the recipe's data set")
    parser.add_argument("--out", required=True, type=Path, help="the record, as JSON")
    parser.add_argument("--arms", nargs="+", default=["*"], metavar="A", help="<ablation>/<arm>, * for any text (all)")
    parser.add_argument("--turns", type=int, default=15, help="turns that every arm takes (15)")
    parser.add_argument("--device", default="auto", choices=["auto", "cpu", "cuda"])
    args = parser.parse_args(argv)
    try:
        specs, baselines = arms_of(args.study, args.recipe, args.scale, args.arms)
        data.verify(args.data)
        with device.take(args.device) as kind, contextlib.redirect_stdout(sys.stderr):
            record = time_arms(specs, baselines, args.data.parent, args.turns, kind)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    files.write_json(args.out, {"name": f"{args.study}/{args.recipe}", "scale": args.scale} | record)
    for arm, times in record["arms"].items():
        print(f"{arm:40} {times['latency_ms']:10.3f} [{times['low']:.3f}, {times['high']:.3f}] ms")
    return 0


def arms_of(
    study: str, recipe: str, scale: str, patterns: Sequence[str] = ("*",)
) -> tuple[dict[str, dict], dict[str, str]]:
    """({arm: resolved run}, {arm: its baseline}) of the arms that a recipe trains, arms named <ablation>/<arm>."""
    ablations = catalog.ablations(study)
    specs = {
        f"{ablation}/{arm}": spec
        for ablation, arm, spec in catalog.arm_specs(study, scale)
        if ablations[ablation].recipe_name == recipe
        and any(fnmatch.fnmatchcase(f"{ablation}/{arm}", pattern) for pattern in patterns)
    }
    if not specs:
        shown = ", ".join(patterns)
        raise UserError(f"experiments/{study}: no arm of {shown} has the recipe '{recipe}' at scale {scale}")
    baselines = {
        name: "/".join(catalog.home(study, ablation, ablations[ablation].baseline))
        for name, ablation in ((name, name.partition("/")[0]) for name in specs)
    }
    return specs, baselines


def time_arms(specs: Mapping[str, dict], baselines: Mapping[str, str], folder: Path, turns: int, kind: str) -> dict:
    """The record of arms that are built and timed together; `kind` is "cpu" or "cuda"."""
    import torch

    from plugins.runner.measure import one_example, peak_megabytes

    calls, peaks = {}, {}
    for name, spec in specs.items():
        seed_everything(spec["seed"], spec["threads"])
        size = one_example(spec["measure"])
        _, infer, train_step = load_engine(spec).measured_model(spec | {"measure": size}, folder)
        calls |= {(name, "latency"): infer, (name, "train_step"): train_step}
        _try(name, infer)
        peaks[name] = {"peak_mb": peak_megabytes(infer, kind), "train_peak_mb": peak_megabytes(train_step, kind)}
    threads = torch.get_num_threads()
    times = in_turns({key: timer(call, threads) for key, call in calls.items()}, turns)
    arms, ratios = {}, {}
    for name in specs:
        arms[name] = {**_of_arm(times, name), **{key: round(mb, 3) for key, mb in peaks[name].items()}, "turns": turns}
        base = baselines[name]
        if base in specs and base != name:
            ratios[name] = {"against": base, **_of_ratio(times, name, base)}
    return machine(kind, threads) | {"arms": arms, "ratios": ratios}


def _try(name: str, call: Callable[[], object]) -> None:
    try:
        call()
    except ValueError as error:  # what operators raise for a map that does not suit them
        raise UserError(f"{name}: cannot run at this size ({files.one_line(error)}); leave it out of --arms") from error


def _of_arm(times: Mapping, name: str) -> dict:
    rows = {}
    for part, key, prefix in (("latency", "latency_ms", ""), ("train_step", "train_step_ms", "train_")):
        middle, low, high = interval([1000 * value for value in times[name, part]])
        rows |= {key: round(middle, 4), f"{prefix}low": round(low, 4), f"{prefix}high": round(high, 4)}
    return rows


def _of_ratio(times: Mapping, name: str, base: str) -> dict:
    rows = {}
    for part, prefix in (("latency", ""), ("train_step", "train_")):
        middle, low, high = ratio(times[name, part], times[base, part])
        rows |= {part: round(middle, 4), f"{prefix}low": round(low, 4), f"{prefix}high": round(high, 4)}
    return rows


def timer(call: Callable[[], object], threads: int) -> Callable[[], float]:
    """A function that returns the seconds of one `call`: the median over blocks, after a call that warms up."""
    from torch.utils import benchmark

    call()
    clock = benchmark.Timer("call()", globals={"call": call}, num_threads=threads)
    return lambda: clock.blocked_autorange(min_run_time=BLOCK_S).median


def in_turns(contestants: Mapping, turns: int) -> dict:
    """{contestant: what it returned in each turn}; each turn begins with another one."""
    if turns < FEWEST_TURNS:
        raise UserError(f"turns: {turns} give no {LEVEL:.0%} interval; take {FEWEST_TURNS} or more")
    names = list(contestants)
    values = {name: [] for name in names}
    for turn in range(turns):
        first = turn % len(names)
        for name in names[first:] + names[:first]:
            values[name].append(contestants[name]())
    return values


def interval(values: Sequence[float]) -> tuple[float, float, float]:
    """(median, low, high): the order statistics between which the true median lies at least 95 times in 100.

    The k-th smallest and k-th largest of n miss it with probability 2 P(Binomial(n, 1/2) < k), whatever the values'
    distribution is.
    """
    ordered = sorted(values)
    n = len(ordered)
    k, missed = 0, 1 / 2**n
    while 2 * missed <= 1 - LEVEL:
        k += 1
        missed += math.comb(n, k) / 2**n
    if k == 0:
        raise UserError(f"turns: {n} give no {LEVEL:.0%} interval; take {FEWEST_TURNS} or more")
    return statistics.median(ordered), ordered[k - 1], ordered[n - k]


def ratio(values: Sequence[float], others: Sequence[float]) -> tuple[float, float, float]:
    """(median, low, high) of values over others, turn by turn."""
    return interval([value / other for value, other in zip(values, others, strict=True)])


def machine(kind: str, threads: int) -> dict:
    """What the times are of: machine, threads, torch, instruction sets."""
    record = provenance.machine(kind, threads)
    return {
        "machine": record["device"],
        "threads": threads,
        "torch": record["versions"]["torch"],
        "instruction_sets": record["instruction_sets"],
        "commit": provenance.commit(),
    }


def comparison(name: str, times: Mapping[str, Sequence[float]], of: str, against: str) -> dict:
    """A record of one question: how many times as fast is `of` as `against`?

    {name, arms: {arm: {median_s, low, high, turns}}, of, against, ratio, ratio_low, ratio_high}; `ratio` is the time of
    `against` over that of `of`, turn by turn.
    """
    arms = {}
    for arm, values in times.items():
        middle, low, high = interval(values)
        arms[arm] = {"median_s": middle, "low": low, "high": high, "turns": len(values)}
    middle, low, high = ratio(times[against], times[of])
    return {"name": name, "arms": arms, "of": of, "against": against,
            "ratio": middle, "ratio_low": low, "ratio_high": high}  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
