"""Figures: the same data gives the same bytes, one with nothing to show is not drawn, labels keep off each other."""

import dataclasses
import json
import math
from itertools import combinations
from pathlib import Path

import pytest

from analysis import results, scan, style
from analysis.__main__ import main
from analysis.commands import draw
from analysis.figures import differences, tradeoff
from analysis.results import StudyResults
from plugins.suite import catalog
from plugins.suite.errors import UserError
from tests.unit.analysis import samples
from tests.unit.analysis.conftest import gather
from tests.unit.analysis.samples import run_folder

PAPER = """task,ablation,arm,table,dataset,model,variant,metric,value,unit,source,confidence,note
translation,branches,transformer,Table 5,X,T,a,bleu,34.0,BLEU,paper,read-in-paper-text,
translation,branches,muse,Table 5,X,T,b,bleu,35.0,BLEU,paper,read-in-paper-text,
"""


def study(name: str = "muse") -> StudyResults:
    return results.load(Path("results/mini"), name)


def files(folder: str) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(Path(folder).iterdir())}


def test_every_figure_says_what_it_is():
    entries = scan.entries(scan.FIGURES)
    assert {"tradeoff", "differences", "predictions"} <= set(entries)
    for name, entry in entries.items():
        module = entry.load()
        assert module.NAME == name and len(module.CAPTION) > 40 and "?" in module.CAPTION
        assert callable(module.APPLIES) and callable(module.draw)


def test_studies_name_only_figures_that_there_are():
    known = scan.entries(scan.FIGURES)
    for name in catalog.studies():
        assert set(catalog.study(name).figures) <= set(known), name


def test_the_same_data_gives_the_same_bytes(collected):
    for name in "ab":
        drawn = draw.draw(study(), ["tradeoff", "differences"], Path(name))
        assert drawn == ["tradeoff", "differences"]
    assert list(files("a")) == [f"{k}.{s}" for k in ("differences", "tradeoff") for s in ("pdf", "png", "svg")]
    assert files("a") == files("b")


def test_the_command_draws_what_the_study_names_and_what_applies(collected):
    assert main(["figures", "results/mini"]) == 0
    assert {path.stem for path in Path("results/mini/figures/muse").iterdir()} == {"tradeoff", "differences"}
    with pytest.raises(UserError, match="no figure 'tradeof'; did you mean 'tradeoff'"):
        main(["figures", "results/mini", "--study", "muse", "--figure", "tradeof"])


def test_nothing_finished_draws_nothing(suite):
    for entry in samples.entries():
        Path(entry["path"]).unlink(missing_ok=True)
    gather()
    names = list(scan.entries(scan.FIGURES))
    known = [name for name in names if name != "shift_timing"]  # of the machine, not of runs
    for name in samples.STUDIES:
        assert draw.draw(study(name), known, Path("out")) == []
    assert list(Path("out").iterdir()) == []


def arms_at(*bounds: tuple[float, float, float]) -> list:
    """Arms with (multiply-adds, low, high)."""
    blank = study().arms[0]
    return [
        dataclasses.replace(blank, arm=str(i), run=str(i), macs=macs, low=low, high=high, mean=(low + high) / 2)
        for i, (macs, low, high) in enumerate(bounds)
    ]


def test_the_frontier_needs_intervals_that_are_apart(collected):
    assert [arm.arm for arm in tradeoff.frontier(arms_at((1, 0, 1), (2, 2, 3), (3, 2.5, 4), (4, 5, 6)))] == [
        "0",
        "1",
        "3",
    ]
    assert tradeoff.frontier(arms_at((1, 0, 2), (2, 1, 3), (3, 1.5, 4))) == []
    assert tradeoff.frontier(arms_at((1, 2, 3), (2, 0, 1))) == []
    assert tradeoff.frontier(arms_at((1, math.nan, math.nan), (2, math.nan, math.nan))) == []


def test_a_trade_off_needs_costs_and_scores_that_differ(collected):
    assert tradeoff.tells(arms_at((1.0, 0, 1), (1.1, 2, 3), (1.2, 2, 3)))
    assert not tradeoff.tells(arms_at((1.0, 0, 1), (1.0, 2, 3), (1.2, 2, 3)))
    assert not tradeoff.tells(arms_at((1.000, 0, 1), (1.005, 2, 3), (1.01, 2, 3)))
    assert not tradeoff.tells(arms_at((1.0, 0, 2), (1.1, 1, 3), (1.2, 1, 3)))


def test_arms_on_other_data_get_a_panel_of_their_own(suite):
    for k in (3, 7, 15):
        for seed in (1, 2, 3):
            path = run_folder("muse", "kernels", f"kernel_{k}", seed) / "metrics.json"
            value = json.loads(path.read_text())
            value["cost"]["macs"] *= 1 + k / 20
            value["metrics"]["bleu"] += k
            path.write_text(json.dumps(value | {"data": {"name": "other", "checksum": "b" * 64, "generator": "0"}}))
    gather("muse")
    shown = tradeoff.panels(study())
    assert len(shown) == 2 and all("(" in title for title in shown)
    assert {frozenset(arm.data for arm in arms) for arms in shown.values()} == {
        frozenset({"mini (0f3a9c21)"}), frozenset({"other (bbbbbbbb)"}),
    }  # fmt: skip


def test_single_seeds_are_hollow_and_said_so(tmp_path, monkeypatch, fresh):
    monkeypatch.chdir(tmp_path)
    catalog.forget()
    samples.write_suite(tmp_path, seeds=(1,))
    gather("muse")
    shown = study()
    assert {arm.n for arm in shown.arms} == {1}
    labels, faces = [], []
    monkeypatch.setattr(style, "save", lambda sheet, base: collect_marks(sheet, labels, faces))
    tradeoff.draw(shown, Path("x"))
    assert "one seed" in labels and "95 % interval" not in labels and "mean over seeds" not in labels
    assert set(faces) == {"white"}


def collect_marks(sheet, labels: list, faces: list) -> None:
    *panels, key = sheet.axes
    labels += [text.get_text() for text in key.get_legend().get_texts()]
    faces += [line.get_markerfacecolor() for panel in panels for line in panel.lines if line.get_marker() in "o*"]


def test_a_pair_of_runs_stands_once_and_metrics_are_never_mixed(collected):
    rows = [row for group in differences.groups(study()).values() for row in group]
    pairs = [(row.arm.run, row.baseline.run) for row in rows]
    assert len(pairs) == len(set(pairs)) == 6
    for metric, group in differences.groups(study("spatial_attention")).items():
        assert {row.arm.metric for row in group} == {metric}


def test_published_differences_stand_beside_ours(collected):
    Path("experiments/muse/reference.csv").write_text(PAPER)
    rows = {row.arm.arm: row for row in differences.groups(study())["bleu"]}
    assert [p.difference for p in rows["muse"].published["paper"]] == [1.0]
    assert rows["kernel_3"].published == {"paper": [], "official": []}


def test_labels_keep_off_each_other_and_inside(tmp_path):
    points = [(x, 20 + 0.1 * (x % 3), f"pattern {x}") for x in range(7)]
    with style.figure(1) as (sheet, (axes,), _):
        axes.scatter([x for x, _, _ in points], [y for _, y, _ in points])
        axes.margins(0.15)
        style.place_labels(axes, points)
        sheet.draw_without_rendering()
        boxes = [note.get_window_extent() for note in axes.texts]
        frame = axes.get_window_extent()
    assert len(boxes) == 7
    assert not any(one.overlaps(other) for one, other in combinations(boxes, 2))
    assert all(frame.x0 <= box.x0 and box.x1 <= frame.x1 for box in boxes)


@pytest.mark.parametrize(("panels", "columns", "rows"), [(1, 1, 1), (3, 3, 1), (4, 2, 2), (5, 3, 2), (7, 3, 3)])
def test_many_panels_stand_in_rows_and_leave_the_legend_its_strip(panels, columns, rows):
    with style.figure(panels, legend=2) as (sheet, axes, key):
        places = [panel.get_subplotspec() for panel in axes]
        assert {(p.rowspan.start, p.colspan.start) for p in places} == {divmod(i, columns) for i in range(panels)}
        assert key.get_subplotspec().rowspan.start == rows
        assert sheet.get_figwidth() == pytest.approx(5.4 * columns)
