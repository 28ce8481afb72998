"""Invented runs for the tests of `analysis`: a small suite in a temporary folder, with known answers. Not results."""

import json
from pathlib import Path

import numpy as np
import yaml

from plugins.suite import items

FREE = {"parallel": True}
MUSE = {
    "branches": {
        "title": "Parallel branches",
        "paper": "Table 5",
        "task": "translation",
        "baseline": "transformer",
        "arms": {
            "transformer": {"priority": "core", "label": "Transformer", "set": {"parallel": False}},
            "muse_simple": {"priority": "core", "label": "MUSE-simple", "set": FREE},
            "muse": {"priority": "core", "label": "MUSE {3, 15}", "set": {"convolution": {"kernels": [3, 15]}}},
        },
    },
    "kernels": {
        "title": "One shared kernel",
        "paper": "Table 6",
        "task": "translation",
        "baseline": "muse_simple",
        "arms": {
            "muse_simple": {"label": "MUSE-simple", "same_as": "branches/muse_simple"},
            **{f"kernel_{k}": {"priority": "extra", "set": {"convolution": {"kernels": [k]}}} for k in (3, 7, 15, 31)},
        },
    },
}
SPATIAL = {
    "factors_detection": {
        "title": "Attention factors in detection",
        "paper": "Fig. 2",
        "task": "detection",
        "baseline": "w/o",
        "recommended": "0010+dcn",
        "arms": {
            name: {"priority": "core", "set": {}}
            for name in ("w/o", "0010", "0110", "1111", "w/o+dcn", "0010+dcn", "1111+dcn")
        },
    }
}
STUDIES = {"muse": MUSE, "spatial_attention": SPATIAL}
FIGURES = {"muse": ["tradeoff", "differences", "lengths", "gates"], "spatial_attention": ["tradeoff", "differences"]}
COST = {  # parameters, multiply-adds
    "transformer": (1.02e6, 41e6), "muse_simple": (1.02e6, 41e6), "muse": (1.2e6, 47e6), "kernel_3": (1.1e6, 44.2e6),
    "kernel_7": (1.11e6, 44.9e6), "kernel_15": (1.13e6, 45.8e6), "kernel_31": (1.2e6, 48e6),
    "w/o": (1.6e6, 0.81e9), "0010": (1.75e6, 0.82e9), "0110": (1.8e6, 0.9e9), "1111": (1.9e6, 1.02e9),
    "w/o+dcn": (1.7e6, 0.86e9), "0010+dcn": (1.8e6, 0.87e9), "1111+dcn": (2.0e6, 1.07e9),
}  # fmt: skip
MEAN = {
    "transformer": 35.3, "muse_simple": 35.8, "muse": 36.3, "kernel_3": 36.2, "kernel_7": 36.2, "kernel_15": 36.0,
    "kernel_31": 35.8, "w/o": 20.0, "0010": 22.0, "0110": 22.6, "1111": 22.7, "w/o+dcn": 24.0, "0010+dcn": 25.1,
    "1111+dcn": 25.0,
}  # fmt: skip
KINDS = {"bleu": ("translation", "fairseq"), "box_ap": ("detection", "mmdet"), "top1": ("classification", "mmpretrain")}


def metrics(study: str, ablation: str, arm: str, seed: int, value: float, primary: str = "", **changes: object) -> dict:
    """The metrics.json of one invented run; `changes` replaces whole sections."""
    params, macs = COST.get(arm, (1e6, 1e7))
    primary = primary or ("bleu" if study == "muse" else "box_ap")
    task, engine = KINDS[primary]
    return {
        "schema": 2, "scale": "mini", "study": study, "ablation": ablation, "arm": arm, "seed": seed,
        "task": task, "engine": engine, "status": "done",
        "metrics": {primary: value}, "primary": primary, "losses": {"train": 2.5, "valid": 2.75}, "details": {},
        "cost": {"params": int(params), "macs": macs, "macs_counter": "a counter", "macs_leaves_out": "softmax",
                 "macs_input": "{}"},
        "wall_s": {"train": 60.0, "evaluate": 5.0, "total": 72.0},
        "settings": {"updates": 300, "batch": 16, "split": "test"},
        "items": {"file": "items.parquet", "n": 1, "sha256": "0"},
        "data": {"name": "mini", "checksum": "0f3a9c21" * 8, "generator": "0a" * 8},
        "provenance": {"commit": "1a2b3c4d5e6f7a8b", "dirty": False, "sources_sha256": "0b", "sources": [],
                       "spec_sha256": "0c", "versions": {"torch": "2.11.0"}, "device": "cpu", "cpu_flags": [],
                       "instruction_sets": {}, "blas": "a library", "threads": 1, "started": "then",
                       "finished": "now", "command": "train"},
    } | changes  # fmt: skip


def write_experiments(root: Path, **studies: dict) -> None:
    """Ablation files and study.yaml of studies below root/experiments."""
    for study, ablations in (STUDIES | studies).items():
        folder = root / "experiments" / study
        (folder / "ablations").mkdir(parents=True, exist_ok=True)
        facts = {"title": study, "paper": "a paper", "metric": {"translation": "bleu"}, "figures": FIGURES[study]}
        (folder / "study.yaml").write_text(yaml.safe_dump(facts))
        for name, content in ablations.items():
            (folder / "ablations" / f"{name}.yaml").write_text(yaml.safe_dump(content, sort_keys=False))


def entries(seeds: tuple[int, ...] = (1, 2, 3)) -> list[dict]:
    """What the DAG would write to expected.json for all arms of the two studies."""
    rows = []
    for study, ablations in STUDIES.items():
        for ablation, content in ablations.items():
            for arm, row in content["arms"].items():
                home, _, name = (row.get("same_as") or f"{ablation}/{arm}").partition("/")
                for seed in seeds:
                    path = run_folder(study, home, name, seed) / "metrics.json"
                    entry = {"scale": "mini", "study": study, "ablation": ablation, "arm": arm, "seed": seed}
                    rows.append(entry | {"label": row.get("label", arm), "path": str(path)})
    return rows


def run_folder(study: str, ablation: str, arm: str, seed: int) -> Path:
    return Path("results/runs/mini") / study / ablation / arm.replace("/", "-") / f"seed{seed}"


def write_run(value: dict, sentences: list[list[int]] | None = None) -> Path:
    """A run in its folder, with items that give its primary metric; returns its metrics.json."""
    folder = run_folder(*(value[key] for key in ("study", "ablation", "arm", "seed")))
    folder.mkdir(parents=True, exist_ok=True)
    if sentences is not None:
        words = [4 + place // 5 for place in range(len(sentences))]
        columns = {"score": [value["metrics"]["bleu"]] * len(words), "source_words": words, "bleu": sentences}
        columns["chrf"] = [[1] * 18] * len(words)
        value = value | {"items": items.write(folder / "items.parquet", columns)}
    (folder / "metrics.json").write_text(json.dumps(value))
    return folder / "metrics.json"


def write_suite(root: Path, seeds: tuple[int, ...] = (1, 2, 3), noise: float = 0.05) -> None:
    """Experiments, run folders and expected.json below root, the working directory; arms of a seed share most noise."""
    write_experiments(root)
    wanted = entries(seeds)
    generator = np.random.default_rng(1)
    shared = {seed: generator.normal(0, 0.5) for seed in seeds}
    for entry in wanted:
        path = root / entry["path"]
        if path.exists():
            continue
        value = round(MEAN[entry["arm"]] + shared[entry["seed"]] + generator.normal(0, noise), 3)
        write_run(metrics(entry["study"], path.parts[-4], entry["arm"], entry["seed"], value))
        curve = [{"update": u, "train_loss": 3 + 4 * 0.98**u} for u in range(0, 301, 10)]
        (path.parent / "curves.jsonl").write_text("".join(json.dumps(point) + "\n" for point in curve))
    (root / "results/mini").mkdir(parents=True, exist_ok=True)
    (root / "results/mini/expected.json").write_text(json.dumps(wanted))
