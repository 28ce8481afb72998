"""What the DAG costs beyond its runs: python -m benchmarks.dag (after `make` has finished).

Prints the median of several timings of `snakemake -n` and of a `make` that has nothing to do, and, from the
metrics.json of the finished mini runs, the seconds that runs spent outside their training and evaluation loops.
"""

import argparse
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path

SNAKEMAKE = [sys.executable, "-m", "snakemake"]


def seconds(command: list[str], repeats: int) -> list[float]:
    """Wall seconds of each of several calls; a call that fails ends the benchmark."""
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        times.append(time.perf_counter() - start)
        if done.returncode:
            raise SystemExit(f"error: {' '.join(command)} failed: {done.stderr.strip().splitlines()[-1]}")
    return times


def outside(runs: Path) -> list[float]:
    """Seconds outside training, evaluation and measuring, a finished run each."""
    return [json.loads(path.read_text())["wall_s"]["outside"] for path in sorted(runs.glob("*/*/*/seed*/metrics.json"))]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--runs", type=Path, default=Path("results/runs/mini"))
    args = parser.parse_args()
    rows = {
        "snakemake -n": seconds([*SNAKEMAKE, "-n", "--quiet", "all"], args.repeats),
        "make, nothing to do": seconds(["make"], args.repeats),
        "a run outside its loops": outside(args.runs),
    }
    for name, times in rows.items():
        if times:
            spread = f"(smallest {min(times):.1f}, largest {max(times):.1f}, n={len(times)})"
            print(f"{name:28s} {statistics.median(times):6.1f} s {spread}")


if __name__ == "__main__":
    main()
