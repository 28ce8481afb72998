"""Figures of layouts: what is drawn for invented runs with known answers, on the study's own ablation files."""

from pathlib import Path

import numpy as np
import pytest

from analysis import results, studies
from analysis.__main__ import main
from analysis.commands import draw
from analysis.figures import capacity, generalisation, layouts
from analysis.results import StudyResults
from plugins.suite import freshness
from tests.unit.analysis import samples

NAMES = ("ViT_REL", "C-C-C-C", "C-C-C-T", "C-C-T-T", "C-T-T-T")
SHARES = {"0.1": 0, "0.3": 5}


def suite(root: Path, arms: tuple[str, ...] = NAMES, seeds: tuple[int, ...] = (1, 2, 3)) -> StudyResults:
    """Runs of the layouts named, on 10 %, 30 % and on all of the training set."""
    lines = []
    for index, arm in enumerate(arms):
        for seed in seeds:
            for share, gain in SHARES.items():
                more = {"settings": {"updates": 400, "train_fraction": float(share)}}
                lines.append(run("capacity", f"{arm},{share}", seed, 40 + index + gain + seed / 10, index, **more))
            curve = {"update": [1, 2], "train_loss": [2.0, 1.0 + seed / 10], "top1": [20.0, 30.0 + index]}
            more = {"details": {"curve": curve, "chance": {"loss": 1.6, "metric": 20.0}}}
            value = run("layouts", arm, seed, 50 + index + seed / 10, index, **more)
            value["metrics"]["top1_at_matched_loss"] = 30 + index + seed / 10
            lines.append(value)
    from analysis.commands.collect import metrics_lines

    (root / "metrics.jsonl").write_text(metrics_lines(lines))
    table = root / "mini/tables/coatnet/runs.csv"
    main(["collect", "--metrics", str(root / "metrics.jsonl"), "--study", "coatnet", "--out", str(table)])
    main(["arms", str(root / "mini"), "--study", "coatnet"])
    return results.load(root / "mini", "coatnet")


def run(ablation: str, arm: str, seed: int, score: float, index: int, **more) -> dict:
    losses = {"train": 2 - index / 10, "valid": 2.0}
    return samples.metrics("coatnet", ablation, arm, seed, score, "top1", losses=losses, **more)


@pytest.fixture(autouse=True)
def all_fresh(monkeypatch):
    monkeypatch.setattr(freshness, "staleness", lambda value: "")


def test_layouts_and_shares_are_told_from_the_arms(tmp_path):
    study = suite(tmp_path, arms=("C-C-T-T",), seeds=(1,))
    assert [ablation.name for ablation in study.ablations if layouts.of_layouts(ablation)] == ["layouts"]
    assert [ablation.name for ablation in study.ablations if layouts.grows(study, ablation)] == ["capacity"]
    assert layouts.chance(study, next(arm for arm in study.arms if arm.ablation == "layouts")) == 20.0


def test_a_course_is_the_mean_over_the_seeds(tmp_path):
    study = suite(tmp_path)
    arm = next(arm for arm in study.arms if (arm.ablation, arm.arm) == ("layouts", "C-C-T-T"))
    np.testing.assert_allclose(generalisation.course(study, arm), [(2.0, 20.0), (1.2, 33.0)])


def test_a_line_has_the_shares_of_one_data_set(tmp_path):
    study = suite(tmp_path)
    lines = capacity.lines_of(study)
    assert set(lines) == set(NAMES)
    assert [share for share, _ in lines["ViT_REL"]] == [0.1, 0.3, 1]
    whole, tenth = lines["ViT_REL"][-1][1], lines["ViT_REL"][0][1]
    assert whole.mean - tenth.mean == pytest.approx(10)
    assert not tenth.has_difference and "train_fraction" in tenth.reason


def test_both_figures_are_drawn(tmp_path):
    study = suite(tmp_path)
    for out in "ab":
        assert draw.draw(study, ["generalisation", "capacity"], tmp_path / out) == ["generalisation", "capacity"]
    first, second = (sorted((tmp_path / out).iterdir()) for out in "ab")
    assert len(first) == 6 and [p.read_bytes() for p in first] == [p.read_bytes() for p in second]


def test_one_layout_alone_is_no_figure(tmp_path):
    study = suite(tmp_path, arms=("C-C-C-C",), seeds=(1,))
    assert not generalisation.APPLIES(study) and not capacity.APPLIES(study)


def test_the_studies_own_layouts_are_known():
    names = {ablation.name for ablation in studies.ablations("coatnet").values() if layouts.of_layouts(ablation)}
    assert names == {"layouts"}
