"""Figures that hold two operators against each other, and those made of the pictures that runs leave."""

import json

import pytest
from PIL import Image

from analysis import collect, figures, loading, operators, pictures, publish
from plugins.suite import jobs as inputs
from tests.unit import analysis_samples as samples

E2 = {"terms": "0100", "kv_stride": 1}
ABLATIONS = {
    "deformable_detection": {
        "title": "Deformable", "task": "detection", "baseline": "regular",
        "arms": {"regular": {"set": {}}, "deformable": {"set": {"deformable": True}}, "E2": {"set": {"attention": E2}}},
    },
    "dynamic_detection": {
        "title": "Dynamic", "task": "detection", "baseline": "w/o",
        "arms": {
            "w/o": {"same_as": "deformable_detection/regular"},
            "free": {"same_as": "deformable_detection/E2"},
            **{f"dynamic-{k}": {"set": {"dynamic_convolution": {"kernel": k}}} for k in (3, 9)},
            **{f"E2-{k}": {"set": {"attention": E2 | {"spatial_range": k // 2}}} for k in (3, 9)},
        },
    },
}  # fmt: skip


@pytest.fixture(scope="module")
def suite(tmp_path_factory):
    """Three seeds of every arm; two arms left pictures."""
    root = tmp_path_factory.mktemp("suite")
    samples.write_experiments(root, spatial=ABLATIONS)
    expected = []
    for name, content in ABLATIONS.items():
        for number, (arm, row) in enumerate(content["arms"].items()):
            home, _, owner = (row.get("same_as") or f"{name}/{arm}").partition("/")
            for seed in (1, 2, 3):
                folder = root / "runs/mini/spatial_attention" / home / owner / f"seed{seed}"
                entry = {"scale": "mini", "study": "spatial_attention", "ablation": name, "arm": arm, "seed": seed}
                expected.append(entry | {"label": arm, "path": str(folder / "metrics.json")})
                if "same_as" not in row:
                    folder.mkdir(parents=True)
                    run = samples.metrics("spatial_attention", home, owner, seed, 20 + number + 0.1 * seed)
                    (folder / "metrics.json").write_text(json.dumps(run))
    for arm, colour in (("regular", "red"), ("E2", "blue")):
        folder = root / f"runs/mini/spatial_attention/deformable_detection/{arm}/seed1/pictures"
        folder.mkdir()
        names = [f"{kind}_{n}" for n in range(3) for kind in ("truth", "prediction")]
        for name in names + (["attention_0_all", "attention_0_E2"] if arm == "E2" else []):
            Image.new("RGB", (32, 24), colour).save(folder / f"{name}.png")
    (root / "expected.json").write_text(json.dumps(expected))
    out = ["--out", str(root / "runs.csv"), "--experiments", str(root / "experiments")]
    collect.main(["--expected", str(root / "expected.json"), *out])
    return root


def options(root, out) -> list[str]:
    study = ["--study", "spatial_attention", "--out", str(out)]
    return ["--runs-csv", str(root / "runs.csv"), "--experiments", str(root / "experiments"), *study]


def test_windows_are_read_from_the_words_of_an_arm():
    assert operators.windows_of({"dynamic_convolution": {"kernel": 5}}) == (5, "dynamic convolution")
    assert operators.windows_of({"attention": E2 | {"spatial_range": 3}}) == (7, "E2 in the window")
    for words in ({}, {"attention": E2}, {"attention": {"terms": "1111", "spatial_range": 3}}, {"attention": None}):
        assert operators.windows_of(words) is None


def test_figures_of_two_operators_follow_from_the_ablations(suite, tmp_path):
    ablations = [a for a in loading.load_ablations(suite / "experiments").values() if a.study == "spatial_attention"]
    assert figures.applicable(ablations, None) == ["tradeoff", "differences", "deformable", "windows"]
    for name in "ab":
        kinds = ["--kind", "deformable", "--kind", "windows"]
        assert figures.main([*options(suite, tmp_path / name), *kinds]) == 0
    made = sorted(path.name for path in (tmp_path / "a").rglob("*.*"))
    assert made == [f"{kind}.{suffix}" for kind in ("deformable", "windows") for suffix in ("pdf", "png", "svg")]
    for name in made:
        first, second = ((tmp_path / x / "spatial_attention" / name).read_bytes() for x in "ab")
        assert first == second


def test_a_panel_needs_two_points_to_compare(suite):
    frame = loading.read_runs(suite / "runs.csv")
    ablations = [a for a in loading.load_ablations(suite / "experiments").values() if a.study == "spatial_attention"]
    for kind, gone, kept in (
        ("deformable", set(), 1), ("deformable", {"deformable"}, 1), ("deformable", {"deformable", "E2"}, 0),
        ("windows", {"dynamic-3", "E2-3", "E2-9"}, 0), ("windows", {"dynamic-3", "E2-3"}, 1),
    ):  # fmt: skip
        rows = frame[~frame["arm"].isin(gone)]
        assert len(operators.comparable(kind, rows, ablations)) == kept, (kind, gone)


def test_pictures_of_runs_become_one_figure_a_task(suite, tmp_path):
    assert pictures.main([*options(suite, tmp_path), "--runs", str(suite / "runs/mini")]) == 0
    made = sorted(path.name for path in tmp_path.rglob("*.*"))
    assert made == ["attention_detection.png", "predictions_detection.png"]
    drawn = {name: Image.open(tmp_path / "spatial_attention" / name).convert("RGB") for name in made}
    colours = {name: {colour for _, colour in image.getcolors(1 << 20)} for name, image in drawn.items()}
    red, blue = (255, 0, 0), (0, 0, 255)
    assert {red, blue} <= colours["predictions_detection.png"]  # the arms w/o and free share the runs of these two
    assert blue in colours["attention_detection.png"] and red not in colours["attention_detection.png"]


def test_pictures_that_no_run_left_still_make_a_figure(suite, tmp_path):
    assert pictures.main([*options(suite, tmp_path), "--runs", str(tmp_path / "none")]) == 0
    assert (tmp_path / "spatial_attention/predictions_detection.png").stat().st_size > 1000
    with pytest.raises(loading.AnalysisError, match="has no 'predictions_x'; it has: predictions_detection"):
        pictures.main([*options(suite, tmp_path), "--runs", str(tmp_path), "--figure", "predictions_x"])


def test_publishing_takes_the_pictures_along(tmp_path):
    folder = tmp_path / "mini/figures/spatial_attention"
    folder.mkdir(parents=True)
    for name in ("predictions_detection", "attention_segmentation", "tradeoff"):
        Image.new("RGB", (4, 4)).save(folder / f"{name}.png")
    copies = publish.copy_pictures(tmp_path / "mini", tmp_path / "published/mini", None)
    assert [path.name for path in copies] == ["attention_segmentation.png", "predictions_detection.png"]
    assert all(path.is_file() for path in copies)


def test_the_workflow_asks_for_the_figures_that_there_are():
    ablations = loading.load_ablations(loading.Path("experiments"))
    for study in {study for study, _ in ablations}:
        mine = [a for a in ablations.values() if a.study == study]
        assert inputs.picture_figures(study) == sorted(pictures.names(mine)), study
    assert "attention_segmentation" in inputs.picture_figures("spatial_attention")
