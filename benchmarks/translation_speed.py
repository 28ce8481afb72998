"""``python -m benchmarks.translation_speed``: what the suite costs over plain fairseq, and what MUSE costs over it.

training   the same `fairseq-train` options on generated data, by fairseq's own command and by the suite's engine,
           processes in turn; the two must differ by no more than the noise (wanted: 5 %). Then the seconds of a
           training step of each arm, in one process, in turn.
decoding   tokens a second of fairseq's beam search (beam 1, one sentence at a time, random weights, 30 tokens each):
           Transformer, MUSE-simple, MUSE-simple with fused matrices, MUSE (claim 11; the paper's figure is of a GPU).

Ratios are of medians over the rounds of one run.
"""

from __future__ import annotations

import argparse
import copy
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path

import torch

from plugins.datasets.prepare import prepare
from plugins.fairseq_ext import checkpoints
from plugins.fairseq_ext import engine as fairseq_engine
from plugins.fairseq_ext.options import configuration, training_options
from plugins.suite.catalog import resolve

ENGINE = """
import json, sys, torch
from pathlib import Path
from plugins.fairseq_ext import engine as fairseq_engine
torch.set_num_threads(1)
fairseq_engine.train(json.loads(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]))
"""
ARMS = ("transformer", "muse_simple", "muse")
TOKENS = 30


def main(argv: list[str] | None = None) -> int:
    """Prints the figures and writes the records."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.translation_speed", description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5, help="turns of every contestant (5)")
    parser.add_argument("--updates", type=int, default=200, help="updates of a training (200)")
    parser.add_argument("--json", type=Path, metavar="F", help="write the records here")
    options = parser.parse_args(argv)
    torch.set_num_threads(1)
    os.environ["OMP_NUM_THREADS"] = "1"
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "data"
        prepare("mini_translation", data)
        records = whole_processes(data, Path(folder), options) + update_seconds(data, options.rounds)
        records += decoding(data, options.rounds)
    for record in records:
        print("  ".join(f"{key} {value}" for key, value in record.items()))
    if options.json:
        options.json.write_text(json.dumps(records, indent=1) + "\n")
    return 0


def in_turn(contestants: dict[str, Callable[[], object]], rounds: int) -> dict[str, list]:
    """What each contestant returned, over rounds in which all take their turn."""
    results = {name: [] for name in contestants}
    for _ in range(rounds):
        for name, call in contestants.items():
            results[name].append(call())
    return results


def whole_processes(data: Path, folder: Path, options: argparse.Namespace) -> list[dict]:
    """Seconds of a training of the plain Transformer, by fairseq's command and by the suite's engine.

    Two clocks: fairseq's own, of training, validation and checkpoints, and that of the whole process with its imports.
    """
    spec = copy.deepcopy(resolve("mini", "muse", "branches", "transformer", 1))
    spec["train"] |= {"updates": options.updates, "save_every": options.updates}

    def timed(command: list, run: Path) -> tuple[float, float]:
        start = time.perf_counter()
        subprocess.run(list(map(str, command)), check=True, capture_output=True)
        whole = time.perf_counter() - start
        newest = max((run / "checkpoints").glob("checkpoint*[0-9].pt"), key=lambda path: path.stat().st_mtime_ns)
        return checkpoints.load(newest)["extra_state"]["previous_training_time"], whole

    def plain() -> tuple[float, float]:
        run = Path(tempfile.mkdtemp(dir=folder))
        program, *arguments = fairseq_engine.command(spec, data, run)
        return timed([Path(sys.executable).parent / program, *arguments], run)

    def suite() -> tuple[float, float]:
        run = Path(tempfile.mkdtemp(dir=folder))
        return timed([sys.executable, "-c", ENGINE, json.dumps(spec), data, run], run)

    clocks = in_turn({"fairseq-train": plain, "the suite": suite}, options.rounds)
    records = []
    for part, clock in ((f"training, {options.updates} updates", 0), ("the same, whole process", 1)):
        medians = {who: statistics.median(pair[clock] for pair in pairs) for who, pairs in clocks.items()}
        records += _ratios(part, medians, "seconds", 3)
    return records


def _ratios(what: str, medians: dict[str, float], unit: str, digits: int) -> list[dict]:
    """A record a contestant; ratios are to the first."""
    base = next(iter(medians.values()))
    return [
        {"what": what, "who": who, unit: round(value, digits), "ratio": round(value / base, 3)}
        for who, value in medians.items()
    ]


def update_seconds(data: Path, rounds: int) -> list[dict]:
    """Seconds of a forward and backward pass of 8 sentences of 32 tokens on both sides, by arm."""

    def contestant(arm: str) -> Callable[[], float]:
        _, _, train_step = fairseq_engine.measured_model(resolve("mini", "muse", "branches", arm, 1), data, batch=8)
        train_step()

        def call() -> float:
            start = time.perf_counter()
            for _ in range(10):
                train_step()
            return (time.perf_counter() - start) / 10

        return call

    seconds = in_turn({arm: contestant(arm) for arm in ARMS}, 3 * rounds)
    return _ratios("training step", {arm: statistics.median(values) for arm, values in seconds.items()}, "seconds", 5)


def decoding(data: Path, rounds: int) -> list[dict]:
    """Tokens a second of beam search one sentence at a time, at the sizes of the small recipe."""
    contestants = {}
    for arm, fused in (*((arm, False) for arm in ARMS), ("muse_simple", True)):
        contestants[f"{arm}{', fused matrices' if fused else ''}"] = decoder(arm, fused, data)
    rates = in_turn(contestants, 5 * rounds)
    return _ratios("decoding", {who: statistics.median(v) for who, v in rates.items()}, "tokens_per_second", 1)


def decoder(arm: str, fused: bool, data: Path) -> Callable[[], float]:
    """A function that translates one random sentence and returns tokens a second."""
    spec = copy.deepcopy(resolve("mini", "muse", "branches", arm, 1))
    spec["model"] |= {"layers": 3, "width": 128, "ffn_width": 256, "heads": 4}
    arguments = training_options(spec, fairseq_engine.translation_manifest(data), data, Path("unused"))
    cfg = configuration(arguments + (["--fuse-matrices"] if fused else []))
    task = fairseq_engine.tasks.setup_task(cfg.task)
    model = task.build_model(cfg.model).eval()
    model.make_generation_fast_(need_attn=False)
    settings = Namespace(beam=1, lenpen=1.0, min_len=TOKENS, max_len_a=0, max_len_b=TOKENS)
    generator = task.build_generator([model], settings)
    sample = fairseq_engine.random_sample(task, 16, 1)

    def call() -> float:
        start = time.perf_counter()
        with torch.no_grad():
            hypotheses = task.inference_step(generator, [model], {"net_input": sample["net_input"]})
        return len(hypotheses[0][0]["tokens"]) / (time.perf_counter() - start)

    call()
    return call


if __name__ == "__main__":
    sys.exit(main())
