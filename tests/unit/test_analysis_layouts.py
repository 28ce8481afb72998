"""Figures of layouts: what is drawn for invented runs with known answers, and that gaps do not stop a figure."""

import json
import shutil
from pathlib import Path

import pytest

from analysis import collect, details, figures, layouts, loading, summary
from tests.unit import analysis_samples as samples

REPOSITORY = Path(__file__).resolve().parents[2]
NAMES = ("ViT_REL", "C-C-C-C", "C-C-C-T", "C-C-T-T", "C-T-T-T")


def write_suite(root: Path, arms: tuple[str, ...] = NAMES, seeds: tuple[int, ...] = (1, 2, 3)) -> list[str]:
    """The study's own ablation files and runs of the layouts named, on 10 % and on all; arguments of a command."""
    shutil.copytree(REPOSITORY / "experiments/coatnet/ablations", root / "experiments/coatnet/ablations")
    for index, arm in enumerate(arms):
        for ablation, name, gain in (("layouts", arm, 10), ("capacity", f"{arm},0.1", 0)):
            for seed in seeds:
                run = samples.metrics("coatnet", ablation, name, seed, 40 + index + gain + seed / 10)
                run |= {"task": "classification", "engine": "mmpretrain", "primary": "top1"}
                run["metrics"] = {"top1": 40 + index + gain + seed / 10}
                run["losses"] = {"train": 2 - gain / 10 - index / 10, "valid": 2.0}
                if ablation == "layouts":
                    run["metrics"]["top1_at_matched_loss"] = 30 + index + seed / 10
                    curve = {"update": [1, 2], "train_loss": [2.0, 1.0 + seed / 10], "top1": [20.0, 30.0 + index]}
                    run["details"] = {"curve": curve | {"top5": [90.0, 95.0]}}
                folder = root / "runs/mini/coatnet" / ablation / name / f"seed{seed}"
                folder.mkdir(parents=True)
                (folder / "metrics.json").write_text(json.dumps(run))
    experiments = ["--experiments", str(root / "experiments")]
    (root / "tables").mkdir()
    (root / "runs/mini").mkdir(parents=True, exist_ok=True)
    table = str(root / "tables/runs.csv")
    collect.main(["--runs", str(root / "runs/mini"), "--study", "coatnet", "--out", table, *experiments])
    return ["--runs-csv", table, "--study", "coatnet", *experiments]


def arms_of(root: Path, ablation: str) -> tuple[loading.Ablation, dict]:
    found = loading.load_ablations(root / "experiments")["coatnet", ablation]
    frame = loading.read_runs(root / "tables/runs.csv")
    return found, {arm.arm: arm for arm in summary.summarise(frame, found)}


def test_layouts_and_shares_are_told_from_the_arms(tmp_path):
    write_suite(tmp_path, arms=("C-C-T-T",), seeds=(1,))
    ablations = {name: a for (_, name), a in loading.load_ablations(tmp_path / "experiments").items()}
    assert [name for name, a in ablations.items() if layouts.of_layouts(a)] == ["layouts"]
    assert [name for name, a in ablations.items() if layouts.grows(a)] == ["capacity"]
    capacity = ablations["capacity"]
    assert [layouts.share(capacity, f"C-C-T-T,{share}") for share in ("0.1", "0.3", "1")] == [0.1, 0.3, 1]


def test_a_course_is_the_mean_over_the_seeds(tmp_path):
    write_suite(tmp_path)
    _, arms = arms_of(tmp_path, "layouts")
    found = details.beside(tmp_path / "tables/runs.csv")
    first, last = layouts.course(arms["C-C-T-T"], found)
    assert first == pytest.approx((2.0, 20.0)) and last == pytest.approx((1.2, 33.0))
    assert layouts.course(arms["C-C-T-T"], {}) == []


def test_the_whole_training_set_is_shared_with_the_layouts(tmp_path):
    write_suite(tmp_path)
    _, arms = arms_of(tmp_path, "capacity")
    assert arms["ViT_REL,1"].mean - arms["ViT_REL,0.1"].mean == pytest.approx(10)


@pytest.mark.parametrize(("arms", "seeds"), [(NAMES, (1, 2, 3)), (("C-C-C-C",), (1,))])
def test_both_figures_are_drawn(arms, seeds, tmp_path):
    command = write_suite(tmp_path, arms, seeds)
    kinds = [word for kind in layouts.KINDS for word in ("--kind", kind)]
    for out in ("first", "second"):
        assert figures.main([*command, "--out", str(tmp_path / out), *kinds]) == 0
    first, second = (sorted((tmp_path / out).rglob("*.*")) for out in ("first", "second"))
    assert [p.name for p in first] == [f"{k}.{s}" for k in sorted(layouts.KINDS) for s in ("pdf", "png", "svg")]
    assert [p.read_bytes() for p in first] == [p.read_bytes() for p in second]


def test_nothing_finished_still_makes_figures(tmp_path):
    command = write_suite(tmp_path, arms=())
    assert (
        figures.main([*command, "--out", str(tmp_path / "out"), "--kind", "generalisation", "--kind", "capacity"]) == 0
    )
