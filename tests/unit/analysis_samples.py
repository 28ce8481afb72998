"""Invented runs for the tests of `analysis`: a small suite in a temporary folder, with known answers. Not results."""

import json
from pathlib import Path

import numpy as np
import yaml

MUSE = {
    "branches": {
        "title": "Parallel branches",
        "paper": "Table 5",
        "task": "translation",
        "baseline": "transformer",
        "arms": {
            "transformer": {"priority": "core", "label": "Transformer", "set": {"parallel": False}},
            "muse_simple": {"priority": "core", "label": "MUSE-simple", "set": {"parallel": True}},
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
            **{
                f"kernel_{k}": {"set": {"convolution": {"kernels": [k], "projection": "shared"}}}
                for k in (3, 7, 15, 31)
            },
        },
    },
}
SPATIAL = {
    "factors_detection": {
        "title": "Attention factors in detection",
        "paper": "Fig. 2",
        "task": "detection",
        "baseline": "w/o",
        "arms": {name: {"set": {}} for name in ("w/o", "0010", "0110", "1111", "w/o+dcn", "0010+dcn", "1111+dcn")},
    }
}
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


def metrics(
    study: str, ablation: str, arm: str, seed: int, value: float, scale: str = "mini", **changes: object
) -> dict:
    """The metrics.json of one invented run; `changes` replaces whole sections."""
    params, macs = COST.get(arm, (1e6, 1e7))
    primary = "bleu" if study == "muse" else "box_ap"
    return {
        "schema": 1, "scale": scale, "study": study, "ablation": ablation, "arm": arm, "seed": seed,
        "task": "translation" if study == "muse" else "detection", "engine": "fairseq" if study == "muse" else "mmdet",
        "status": "done", "metrics": {primary: value}, "primary": primary, "losses": {"train": 2.5, "valid": 2.75},
        "cost": {"params": int(params), "macs": int(macs), "macs_input": "{\"batch\": 4}", "macs_leaves_out": "softmax",
                 "latency_ms": 10.0 + seed, "train_step_ms": 30.0, "inference_peak_mb": 100.0, "train_peak_mb": 200.0},
        "wall_s": {"train": 60.0, "evaluate": 5.0, "measure": 3.0, "outside": 4.0, "total": 72.0},
        "settings": {"updates": 300, "batch": 16},
        "data": {"name": "mini", "checksum": "0f3a9c21" * 8},
        "provenance": {"commit": "1a2b3c4d5e6f7a8b", "dirty": False, "device": "cpu", "threads": 1,
                       "versions": {"torch": "2.11.0"}},
    } | changes  # fmt: skip


def write_experiments(root: Path, muse: dict | None = None, spatial: dict | None = None) -> Path:
    """Ablation files of two studies below root/experiments."""
    for study, ablations in (("muse", muse or MUSE), ("spatial_attention", spatial or SPATIAL)):
        for name, content in ablations.items():
            path = root / "experiments" / study / "ablations" / f"{name}.yaml"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(yaml.safe_dump(content, sort_keys=False))
    return root / "experiments"


def entries(root: Path, seeds: tuple[int, ...] = (1, 2, 3), scale: str = "mini") -> list[dict]:
    """What the DAG would write to expected.json for all arms of the two studies."""
    made = []
    for study, ablations in (("muse", MUSE), ("spatial_attention", SPATIAL)):
        for ablation, content in ablations.items():
            for arm, row in content["arms"].items():
                home, _, name = (row.get("same_as") or f"{ablation}/{arm}").partition("/")
                for seed in seeds:
                    path = (
                        root / "runs" / scale / study / home / name.replace("/", "-") / f"seed{seed}" / "metrics.json"
                    )
                    entry = {"scale": scale, "study": study, "ablation": ablation, "arm": arm, "seed": seed}
                    made.append(entry | {"label": row.get("label", arm), "path": str(path)})
    return made


def write_suite(root: Path, seeds: tuple[int, ...] = (1, 2, 3), scale: str = "mini", noise: float = 0.05) -> Path:
    """Experiments, run folders and expected.json (returned) below root; arms of a seed share most of their noise."""
    write_experiments(root)
    wanted = entries(root, seeds, scale)
    generator = np.random.default_rng(1)
    shared = {seed: generator.normal(0, 0.5) for seed in seeds}
    for entry in wanted:
        path = Path(entry["path"])
        if path.exists():
            continue
        value = round(MEAN[entry["arm"]] + shared[entry["seed"]] + generator.normal(0, noise), 3)
        path.parent.mkdir(parents=True, exist_ok=True)
        run = metrics(entry["study"], path.parts[-4], entry["arm"], entry["seed"], value, scale)
        path.write_text(json.dumps(run))
        curve = [{"update": u, "train_loss": 3 + 4 * 0.98**u} for u in range(0, 301, 10)]
        (path.parent / "curves.jsonl").write_text("".join(json.dumps(point) + "\n" for point in curve))
    expected = root / "expected.json"
    expected.write_text(json.dumps(wanted))
    return expected
