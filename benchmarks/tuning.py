"""Writes what image probes' recipes were chosen on: python -m benchmarks.tuning FOLDER OUT.csv --study STUDY.

FOLDER holds runs (metrics.json and spec.yaml side by side, at any depth); OUT.csv gets one row a run of STUDY, in the
order in which they ran. Runs of one arm differ in what was tried: rate, updates, data, or the probe's own code.
"""

import argparse
import csv
from pathlib import Path

from plugins.suite import files

COLUMNS = ("ablation", "arm", "seed", "lr", "updates", "data", "valid_loss", "accuracy", "accuracies", "seconds")


def row(metrics: dict, spec: dict) -> dict:
    """The columns of one run. seconds: of the whole run but its imports, on a machine that others used too."""
    scores, train = metrics["metrics"], spec["train"]
    parts = {name.removeprefix("accuracy_"): value for name, value in scores.items() if name.startswith("accuracy_")}
    data = {key: value for key, value in spec["data"].items() if key != "seed"}
    return {
        **{key: metrics[key] for key in ("ablation", "arm", "seed")},
        **{key: train[key] for key in ("lr", "updates")},
        "data": " ".join(f"{key}={value}" for key, value in data.items()),
        "valid_loss": f"{metrics['losses']['valid']:.4f}",
        "accuracy": f"{scores['accuracy']:.1f}",
        "accuracies": " ".join(f"{name}={value:.1f}" for name, value in parts.items()),
        "seconds": f"{metrics['wall_s']['total']:.0f}",
    }


def runs(folder: Path, study: str) -> list[dict]:
    """Rows of a study's runs below a folder, by the time at which they ended."""
    paths = folder.rglob("metrics.json")
    read = [(files.read_json(path), files.read_yaml(path.with_name("spec.yaml"))) for path in paths]
    own = [pair for pair in read if pair[0]["study"] == study and pair[0]["task"] == "probe"]
    return [row(*pair) for pair in sorted(own, key=lambda pair: pair[0]["provenance"]["finished"])]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.tuning", description=__doc__.split("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--study", required=True)
    options = parser.parse_args()
    with options.out.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(runs(options.folder, options.study))


if __name__ == "__main__":
    main()
