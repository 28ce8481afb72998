"""Figures: the same data gives the same bytes, labels keep off each other, gaps do not stop a figure."""

import json
from itertools import combinations
from pathlib import Path

import pytest

from analysis import collect, figures, kernels, loading, style
from tests.unit import analysis_samples as samples


@pytest.fixture(scope="module")
def suite(tmp_path_factory):
    root = tmp_path_factory.mktemp("suite")
    samples.write_suite(root)
    out = str(root / "runs.csv")
    collect.main(["--expected", str(root / "expected.json"), "--out", out, "--experiments", str(root / "experiments")])
    return root


def draw(root: Path, out: Path, *more: str, study: str = "muse") -> list[Path]:
    command = ["--runs-csv", str(root / "runs.csv"), "--study", study, "--out", str(out)]
    assert figures.main([*command, "--experiments", str(root / "experiments"), *more]) == 0
    return sorted(out.rglob("*.*"))


def test_the_same_data_gives_the_same_bytes(suite, tmp_path):
    kinds = ["--kind", "tradeoff", "--kind", "kernels"]
    first, second = (draw(suite, tmp_path / name, *kinds) for name in "ab")
    assert [path.name for path in first] == [f"{k}.{s}" for k in ("kernels", "tradeoff") for s in ("pdf", "png", "svg")]
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in second]


def test_kinds_follow_from_the_arms(suite):
    ablations = loading.load_ablations(suite / "experiments")
    of = {study: [a for a in ablations.values() if a.study == study] for study in ("muse", "spatial_attention")}
    assert figures.applicable(of["muse"], None) == ["tradeoff", "differences", "kernels"]
    assert figures.applicable(of["spatial_attention"], Path("runs")) == ["tradeoff", "differences", "curves"]


def test_shared_runs_are_drawn_once(suite):
    ablations = [a for a in loading.load_ablations(suite / "experiments").values() if a.study == "muse"]
    pairs = figures.finished(loading.read_runs(suite / "runs.csv"), ablations)
    assert len(pairs) == 7
    assert next(a.name for a, arm in pairs if arm.arm == "muse_simple") == "branches"


def test_nothing_finished_still_makes_figures(suite, tmp_path):
    samples.write_experiments(tmp_path)
    entries = [entry | {"path": str(tmp_path / "none" / entry["path"][1:])} for entry in samples.entries(tmp_path)]
    (tmp_path / "expected.json").write_text(json.dumps(entries))
    experiments = ["--experiments", str(tmp_path / "experiments")]
    collect.main(["--expected", str(tmp_path / "expected.json"), "--out", str(tmp_path / "runs.csv"), *experiments])
    made = draw(tmp_path, tmp_path / "figures", "--kind", "tradeoff", "--kind", "differences")
    assert len(made) == 6


def test_labels_keep_off_each_other_and_inside(tmp_path):
    points = [(x, 20 + 0.1 * (x % 3), f"pattern {x}") for x in range(7)]
    with style.figure(1) as (made, (axes,), _):
        axes.scatter([x for x, _, _ in points], [y for _, y, _ in points])
        axes.margins(0.15)
        style.place_labels(axes, points)
        made.draw_without_rendering()
        boxes = [note.get_window_extent() for note in axes.texts]
        frame = axes.get_window_extent()
    assert len(boxes) == 7
    assert not any(one.overlaps(other) for one, other in combinations(boxes, 2))
    assert all(frame.x0 <= box.x0 and box.x1 <= frame.x1 for box in boxes)


@pytest.mark.parametrize(
    ("words", "found"),
    [
        ({"convolution": {"kernels": [7]}}, 7),
        ({"convolution": {"kernels": [3, 15]}}, None),
        ({"convolution": None}, None),
        ({}, None),
    ],
)
def test_single_kernels_are_read_from_the_arm(words, found, tmp_path):
    arms = {"x": {"set": words}}
    content = {"branches": {"title": "t", "task": "translation", "baseline": "x", "arms": arms}}
    ablation = loading.load_ablations(samples.write_experiments(tmp_path, muse=content))["muse", "branches"]
    single = kernels.single_kernel(ablation, "x")
    assert (single[0] if single else None) == found


def test_curves_pass_over_half_written_lines(tmp_path):
    path = tmp_path / "curves.jsonl"
    path.write_text(
        '{"update": 1, "train_loss": 2.5}\nnonsense\n{"update": 2}\n{"update": 3, "train_loss": 2.0}\n{"upd'
    )
    assert figures.read_curve(path, "train_loss") == [(1, 2.5), (3, 2.0)]
    assert figures.read_curve(tmp_path / "absent", "train_loss") == []


@pytest.mark.parametrize(("panels", "columns", "rows"), [(1, 1, 1), (3, 3, 1), (4, 2, 2), (5, 3, 2), (7, 3, 3)])
def test_many_panels_stand_in_rows_and_leave_the_legend_its_strip(panels, columns, rows):
    with style.figure(panels, legend=2) as (made, axes, key):
        places = [panel.get_subplotspec() for panel in axes]
        assert {(p.rowspan.start, p.colspan.start) for p in places} == {divmod(i, columns) for i in range(panels)}
        assert key.get_subplotspec().rowspan.start == rows
        assert made.get_figwidth() == pytest.approx(5.4 * columns)
