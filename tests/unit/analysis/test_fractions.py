"""Figures and metrics of the AAConv and ACmix studies, on their own ablation files with invented runs."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from analysis import details, results, studies
from analysis.__main__ import main
from analysis.commands import draw
from analysis.commands.collect import metrics_lines
from analysis.evidence import timing
from analysis.figures import fractions, path_scales, shift_timing
from analysis.results import StudyResults
from plugins.suite import freshness
from tests.unit.analysis import samples

# |beta| falls and |alpha| rises with depth.
SCALES = [[f"layer1.{i}.conv2", [0.2 + 0.1 * i, -0.8 + 0.1 * i]] for i in range(6)]


def run(study: str, ablation: str, arm: str, seed: int, value: float, **more) -> dict:
    return samples.metrics(study, ablation, arm, seed, value, "top1", **more)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Tables of both studies below tables/."""
    root = tmp_path_factory.mktemp("suite")
    values = [
        run("aaconv", "fractions", arm, seed, 50 + seed)
        for arm in studies.ablations("aaconv")["aaconv", "fractions"].arms
        if arm.partition("+")[2] in ("", "none", "relative")
        for seed in (1, 2, 3)
    ]
    for seed in (1, 2, 3):
        values.append(run("aaconv", "rivals", "plain", seed, 40 + seed))
        values.append(run("acmix", "paths", "free", seed, 70 + seed, details={"path_scales": SCALES}))
        values.append(run("acmix", "paths", "sum", seed, 69 + seed))
    (root / "metrics.jsonl").write_text(metrics_lines(values))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(freshness, "staleness", lambda value: "")
        for study in ("aaconv", "acmix"):
            table = root / "tables" / study / "runs.csv"
            main(["collect", "--metrics", str(root / "metrics.jsonl"), "--study", study, "--out", str(table)])
            main(["arms", str(root), "--study", study])
    return root


@pytest.fixture
def aaconv(folder) -> StudyResults:
    return results.load(folder, "aaconv")


def test_arms_are_placed_by_their_options(aaconv):
    known = {ablation.name: ablation for ablation in aaconv.ablations}
    place = {arm: fractions.place_of(row.set) for arm, row in known["fractions"].arms.items()}
    assert place["plain"] == (0.0, "") and place["0.75+sine"] == (0.75, "sine")
    rivals = {arm: fractions.place_of(row.set) for arm, row in known["rivals"].arms.items()}
    assert rivals["augmented"] is None and rivals["se"] is None
    probe = {arm: fractions.place_of(row.set) for arm, row in known["probe_fractions"].arms.items()}
    assert probe["plain"] == (0.0, "") and probe["0.25+relative"] == (0.25, "relative")


def test_curves_are_of_one_recipe(aaconv):
    (curves,) = fractions.our_curves(aaconv).values()
    assert set(curves) == {"none", "relative"}
    for points in curves.values():
        assert {share: arm.mean for share, arm in points.items()} == {s: 52 for s in (0, 0.25, 0.5, 0.75, 1)}


def test_published_curves_are_figure_4(aaconv):
    curves = fractions.published_curves(aaconv)
    assert curves == {
        "relative": {0.0: 76.4, 0.25: 77.7, 0.5: 77.3, 0.75: 76.7, 1.0: 73.9},
        "none": {0.0: 76.4, 0.25: 77.5, 0.5: 76.6, 0.75: 75.4, 1.0: 71.1},
    }


def test_three_shares_are_no_curve(aaconv):
    assert fractions.APPLIES(aaconv)
    few = [arm for arm in aaconv.arms if arm.arm.partition("+")[0] in ("plain", "0.5", "1")]
    assert not fractions.APPLIES(dataclasses.replace(aaconv, arms=few))


def test_a_probe_has_a_panel_of_its_own(aaconv):
    names = {arm.arm: arm for arm in aaconv.arms if arm.ablation == "fractions"}
    probe = [dataclasses.replace(arm, ablation="probe_fractions", run=f"p/{arm.run}") for arm in names.values()]
    both = fractions.our_curves(dataclasses.replace(aaconv, arms=[*aaconv.arms, *probe]))
    assert len(both) == 2 and all(set(curves) == {"none", "relative"} for curves in both.values())


def test_leads_of_the_convolution_by_depth(folder):
    metrics = details.derived({"path_scales": SCALES})
    assert metrics["conv_lead_first"] == pytest.approx(np.mean([0.6, 0.4]))
    assert metrics["conv_lead_last"] == pytest.approx(np.mean([-0.2, -0.4]))
    assert details.derived({"path_scales": SCALES[:2]}) == {}
    leads = [["a", 2.0], ["b", 1.0], ["c", -1.0]]
    assert details.derived({"path_lead_rms": leads}) == {"conv_lead_first_rms": 2.0, "conv_lead_last_rms": -1.0}
    assert details.derived({"path_lead_rms": leads[:1]}) == {}
    acmix = results.load(folder, "acmix")
    free = next(arm for arm in acmix.arms if (arm.ablation, arm.arm) == ("paths", "free"))
    assert free.metrics["conv_lead_first"] == pytest.approx(0.5)
    assert [arm.arm for arm, _ in path_scales.chosen(acmix)] == ["free"]


def record(name: str, form: str, seconds: float) -> dict:
    times = {"tensor": 2e-3, form: seconds}
    arms = {f: {"median_s": s, "low": 0.9 * s, "high": 1.1 * s, "turns": 9} for f, s in times.items()}
    ratio = 2e-3 / seconds
    return {"name": name, "machine": "a processor", "arms": arms, "of": form, "against": "tensor",
            "ratio": ratio, "ratio_low": 0.9 * ratio, "ratio_high": 1.1 * ratio}  # fmt: skip


def test_shift_times_are_those_of_the_records(folder, tmp_path, monkeypatch):
    acmix = results.load(folder, "acmix")
    monkeypatch.setattr(timing, "load", lambda: [])
    assert not shift_timing.APPLIES(acmix)
    cases = ("128 x 28 x 28", "512 x 7 x 7")
    records = [record(f"{part}, {case}", "fixed", 1e-3) for part in shift_timing.PARTS for case in cases]
    monkeypatch.setattr(timing, "load", lambda: [*records, record("shift", "fixed", 1e-3)])
    parts = shift_timing.parts_of(timing.load())
    assert {part: list(by_case) for part, by_case in parts.items()} == {p: list(cases) for p in shift_timing.PARTS}
    assert draw.draw(acmix, ["shift_timing"], tmp_path) == ["shift_timing"]


def test_figures_of_both_studies_repeat(folder, tmp_path):
    for study, name in (("aaconv", "fractions"), ("acmix", "path_scales")):
        for out in "ab":
            assert draw.draw(results.load(folder, study), [name], tmp_path / out) == [name]
        first, second = ((tmp_path / out / f"{name}.png").read_bytes() for out in "ab")
        assert first == second


def test_lines_of_details_are_json(folder):
    assert set(json.loads((folder / "tables/acmix/details.json").read_text())) == {
        f"acmix/paths/free/seed{seed}" for seed in (1, 2, 3)
    }
