"""``python -m benchmarks.decoding --out F``: seconds a token of MUSE and the Transformer at batch 1 (MUSE's claim 11).

fairseq's beam search with beam 1, one sentence of random words at a time, random weights, 30 tokens each, at the sizes
of the small recipe, one thread. The models take turns; records as `plugins.runner.timing.comparison`.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import torch

from benchmarks.translation_speed import TOKENS, decoder
from plugins.datasets.prepare import prepare
from plugins.runner import timing
from plugins.suite import files

# name of the record's arm: (arm of the ablation `branches`, matrices fused)
MODELS = {
    "transformer": ("transformer", False),
    "muse_simple": ("muse_simple", False),
    "muse_simple_fused": ("muse_simple", True),
    "muse": ("muse", False),
}
SENTENCES = 3  # a turn's value is the median over them


def main(argv: list[str] | None = None) -> int:
    """Writes the records and prints the ratios."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.decoding", description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, metavar="F", help="write the records here, as JSON")
    parser.add_argument("--turns", type=int, default=25, help="turns of every model (25)")
    options = parser.parse_args(argv)
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        prepare("mini_translation", Path(folder) / "data")
        contestants = {
            name: seconds_a_token(decoder(arm, fused, Path(folder) / "data")) for name, (arm, fused) in MODELS.items()
        }
        times = timing.in_turns(contestants, options.turns)
    facts = timing.machine("cpu", 1) | {"beam": 1, "batch": 1, "tokens": TOKENS}
    records = [
        timing.comparison("decoding", times, name, "transformer") | facts
        for name in ("muse", "muse_simple", "muse_simple_fused")
    ]
    files.write_json(options.out, records)
    for record in records:
        print(
            f"{record['of']:20} {record['ratio']:.3f} [{record['ratio_low']:.3f}, {record['ratio_high']:.3f}] as fast"
        )
    return 0


def seconds_a_token(tokens_a_second: Callable[[], float]) -> Callable[[], float]:
    """The median over a few sentences of the reciprocal."""
    return lambda: statistics.median(1 / tokens_a_second() for _ in range(SENTENCES))


if __name__ == "__main__":
    sys.exit(main())
