"""Figures of convolution against attention, and those made of the pictures that runs leave."""

import json
from pathlib import Path

import pytest
from PIL import Image

from analysis import results
from analysis.__main__ import main
from analysis.commands import draw, publish
from analysis.figures import attention_maps, deformable, predictions
from plugins.suite import catalog
from tests.unit.analysis import samples

E2 = {"terms": "0100", "kv_stride": 1}
ABLATIONS = {
    "deformable_detection": {
        "title": "Deformable", "paper": "Table 3", "task": "detection", "baseline": "regular",
        "arms": {
            "regular": {"priority": "core", "set": {}},
            "deformable": {"priority": "core", "set": {"deformable": True}},
            "E2": {"priority": "core", "set": {"attention": E2}},
            "all": {"priority": "core", "set": {"attention": E2 | {"terms": "1111"}}},
        },
    },
}  # fmt: skip
TERMS = {"E2": ("all", "E2"), "all": ("all", "E1", "E2", "E3", "E4")}


@pytest.fixture
def study(tmp_path, monkeypatch, fresh):
    """Three seeds of every arm; all but one left pictures."""
    monkeypatch.chdir(tmp_path)
    catalog.forget()
    samples.write_experiments(tmp_path, spatial_attention=ABLATIONS)
    for number, arm in enumerate(ABLATIONS["deformable_detection"]["arms"]):
        for seed in (1, 2, 3):
            run = samples.metrics("spatial_attention", "deformable_detection", arm, seed, 20 + number + 0.1 * seed)
            run["cost"]["macs"] = 1e7 * (1 + number)
            samples.write_run(run)
    for arm, colour in (("regular", "red"), ("E2", "blue"), ("all", "lime")):
        folder = samples.run_folder("spatial_attention", "deformable_detection", arm, 1) / "pictures"
        folder.mkdir()
        names = [f"{kind}_{n}" for n in range(3) for kind in ("truth", "prediction")]
        for name in names + [f"attention_0_{term}" for term in TERMS.get(arm, ())]:
            Image.new("RGB", (32, 24), colour).save(folder / f"{name}.png")
        facts = {"classes": ["disc", "box"], "colours": [[255, 255, 0], [0, 255, 255]]}
        (folder / "pictures.json").write_text(json.dumps(facts))
    table = "results/mini/tables/spatial_attention/runs.csv"
    main(["collect", "--runs", "results/runs/mini", "--study", "spatial_attention", "--out", table])
    main(["arms", "results/mini", "--study", "spatial_attention"])
    yield results.load(Path("results/mini").absolute(), "spatial_attention")
    catalog.forget()


def colours_of(path: Path) -> set[tuple]:
    return {colour for _, colour in Image.open(path).convert("RGB").getcolors(1 << 20)}


def test_deformable_is_drawn_where_attention_stands_beside_both_convolutions(study):
    assert list(deformable.panels(study)) == ["Detection"]
    without = results.StudyResults(study.study, study.folder, study.ablations, study.arms[:2])
    assert not deformable.APPLIES(without)


def test_pictures_of_runs_become_one_figure_a_task(study, tmp_path):
    assert draw.draw(study, ["predictions", "attention"], tmp_path / "out") == ["predictions", "attention"]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "attention_detection.png", "predictions_detection.png",
    ]  # fmt: skip
    seen = {path.stem: colours_of(path) for path in (tmp_path / "out").iterdir()}
    red, blue, yellow = (255, 0, 0), (0, 0, 255), (255, 255, 0)
    assert {red, blue, yellow} <= seen["predictions_detection"]  # with the key of the classes
    assert blue in seen["attention_detection"] and red not in seen["attention_detection"]


def test_arms_of_one_term_stand_together(study, monkeypatch):
    rows = {}
    monkeypatch.setattr(attention_maps.grids, "save", lambda path, cells, *rest: rows.update(cells))
    attention_maps.draw(study, Path("x"))
    assert [cell.title for cell in rows["all"]] == ["all", "E1", "E2", "E3", "E4"]
    assert [cell.title for cell in rows[attention_maps.ALONE]] == ["E2 (E2)"]


def test_without_pictures_there_is_no_figure(study):
    for path in Path("results/runs").rglob("pictures/*.png"):
        path.unlink()
    assert not predictions.APPLIES(study) and not attention_maps.APPLIES(study)


def test_publishing_takes_the_pictures_and_times_along(tmp_path):
    folder = tmp_path / "mini/figures/spatial_attention"
    folder.mkdir(parents=True)
    for name in ("predictions_detection", "attention_segmentation", "tradeoff"):
        Image.new("RGB", (4, 4)).save(folder / f"{name}.png")
    (tmp_path / "mini/timing/acmix").mkdir(parents=True)
    (tmp_path / "mini/timing/acmix/classification.json").write_text("[]")
    copies = publish.copied(tmp_path / "mini", tmp_path / "published/mini", None)
    assert [path.relative_to(tmp_path / "published").as_posix() for path in copies] == [
        "mini/pictures/spatial_attention/predictions_detection.png",
        "mini/pictures/spatial_attention/attention_segmentation.png",
        "timing/mini/acmix/classification.json",
    ]
    assert all(path.is_file() for path in copies)
