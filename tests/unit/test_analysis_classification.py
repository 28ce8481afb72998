"""Figures and metrics of the AAConv and ACmix studies, on their own ablation files with invented runs."""

import json
from pathlib import Path

import numpy as np
import pytest

from analysis import collect, details, figures, fractions, loading, paths, reference
from tests.unit import analysis_samples as samples

EXPERIMENTS = Path("experiments")
# |beta| falls and |alpha| rises with depth.
SCALES = [[f"layer1.{i}.conv2", [0.2 + 0.1 * i, -0.8 + 0.1 * i]] for i in range(6)]


def run(study: str, ablation: str, arm: str, seed: int, value: float, **more) -> dict:
    changes = {"metrics": {"top1": value}, "primary": "top1", "task": "classification", "engine": "mmpretrain"}
    return samples.metrics(study, ablation, arm, seed, value, **changes | more)


@pytest.fixture(scope="module")
def suite(tmp_path_factory) -> Path:
    """runs.csv and details.json of both studies below study/."""
    root = tmp_path_factory.mktemp("suite")
    known = loading.load_ablations(EXPERIMENTS)
    values = [
        run("aaconv", "fractions", arm, seed, 50 + seed)
        for arm in known["aaconv", "fractions"].arms
        if arm.partition("+")[2] in ("", "none", "relative")
        for seed in (1, 2, 3)
    ]
    for seed in (1, 2, 3):
        values.append(run("aaconv", "rivals", "plain", seed, 40 + seed))
        values.append(run("acmix", "paths", "free", seed, 70 + seed, details={"path_scales": SCALES}))
        values.append(run("acmix", "paths", "sum", seed, 69 + seed, details={}))
    (root / "metrics.jsonl").write_text("".join(json.dumps(value) + "\n" for value in values))
    for study in ("aaconv", "acmix"):
        table = root / study / "runs.csv"
        collect.main(["--metrics", str(root / "metrics.jsonl"), "--study", study, "--out", str(table)])
    return root


def draw(suite: Path, study: str, kind: str, out: Path) -> Path:
    arguments = ["--runs-csv", str(suite / study / "runs.csv"), "--study", study, "--kind", kind, "--out", str(out)]
    assert figures.main(arguments) == 0
    return out / study / f"{kind}.png"


def test_arms_are_placed_by_their_words():
    ablation = loading.load_ablations(EXPERIMENTS)["aaconv", "fractions"]
    assert fractions.place_of(ablation, "plain") == (0.0, "")
    assert fractions.place_of(ablation, "0.75+sine") == (0.75, "sine")
    rivals = loading.load_ablations(EXPERIMENTS)["aaconv", "rivals"]
    assert fractions.place_of(rivals, "augmented") is None and fractions.place_of(rivals, "se") is None


def test_curves_are_of_one_recipe(suite):
    known = [a for a in loading.load_ablations(EXPERIMENTS).values() if a.study == "aaconv"]
    curves = fractions.our_curves(figures.finished(loading.read_runs(suite / "aaconv" / "runs.csv"), known))
    assert set(curves) == {"none", "relative"}
    for points in curves.values():
        assert [(share, arm.mean) for share, arm in points] == [(share, 52) for share in (0, 0.25, 0.5, 0.75, 1)]


def test_published_curves_are_figure_4(suite):
    known = [a for a in loading.load_ablations(EXPERIMENTS).values() if a.study == "aaconv"]
    pairs = figures.finished(loading.read_runs(suite / "aaconv" / "runs.csv"), known)
    curves = fractions.published_curves(pairs, reference.load(EXPERIMENTS, "aaconv"))
    assert curves["relative"] == [(0.0, 76.4), (0.25, 77.7), (0.5, 77.3), (0.75, 76.7), (1.0, 73.9)]
    assert curves["none"] == [(0.0, 76.4), (0.25, 77.5), (0.5, 76.6), (0.75, 75.4), (1.0, 71.1)]
    assert set(curves) == {"none", "relative"}


def test_leads_of_the_convolution_by_depth():
    found = details.derived({"details": {"path_scales": SCALES}})
    assert found["conv_lead_first"] == pytest.approx(np.mean([0.6, 0.4]))
    assert found["conv_lead_last"] == pytest.approx(np.mean([-0.2, -0.4]))
    assert details.derived({"details": {"path_scales": SCALES[:2]}}) == {}


def test_metrics_and_figures_of_both_studies(suite, tmp_path):
    frame = loading.read_runs(suite / "acmix" / "runs.csv")
    leads = frame[frame["arm"] == "free"]["metrics.conv_lead_first"].astype(float)
    assert list(leads.unique()) == pytest.approx([0.5])
    times = {"machine": "CPU", "turns": 3, "rows": [
        {"case": "8 x 4 x 4", "form": form, "part": part, "ms": 1.5}
        for form in paths.FORMS for part in ("forward", "training step")
    ]}  # fmt: skip
    missing = draw(suite, "acmix", "shift_timing", tmp_path / "missing").read_bytes()
    (suite / "acmix" / paths.TIMING).write_text(json.dumps(times))
    drawn = draw(suite, "acmix", "shift_timing", tmp_path / "drawn").read_bytes()
    assert len(drawn) > len(missing)
    for study, kind in (("aaconv", "fractions"), ("acmix", "path_scales")):
        first, second = (draw(suite, study, kind, tmp_path / name).read_bytes() for name in "ab")
        assert first == second
