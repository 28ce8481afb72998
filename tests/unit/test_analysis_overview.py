"""The picture of several studies: one metric, one data set, costs of one example; the key `recommended`; captions."""

import json
import types

import pandas as pd
import pytest

from analysis import figures, loading, overview, report
from plugins.suite import catalog as spec
from plugins.suite import jobs as inputs
from plugins.suite.errors import UserError
from tests.unit import analysis_samples as samples


@pytest.fixture
def suite(tmp_path):
    """Two studies that both detect, one of them with an arm on other data and with a batch of its own."""
    spatial = samples.SPATIAL["factors_detection"]
    samples.write_experiments(tmp_path, muse={"boxes": spatial | {"arms": {"w/o": {"set": {}}, "1111": {"set": {}}}}})
    rows = []
    for study, ablation, arm, changes in (
        ("spatial_attention", "factors_detection", "w/o", {}),
        ("spatial_attention", "factors_detection", "0010", {}),
        ("spatial_attention", "factors_detection", "1111", {"data": {"name": "other", "checksum": "b" * 64}}),
        ("spatial_attention", "factors_detection", "0110", {"settings": {"train_fraction": 0.1}}),
        ("muse", "boxes", "w/o", {"metrics": {"box_ap": 21.0}, "primary": "box_ap"}),
    ):
        run = samples.metrics(study, ablation, arm, 1, 20.0, **changes)
        if study == "muse":
            run["cost"] |= {"macs": 8_000, "macs_input": json.dumps({"batch": 8})}
        flat = {f"{part}.{key}": value for part in loading.SECTIONS for key, value in run[part].items()}
        name = f"{study}/{ablation}/{arm}/seed1"
        rows.append(
            {key: run[key] for key in (*loading.IDENTITY, "status", "task", "primary")}
            | flat
            | {"run": name, "error": ""}
        )
    return tmp_path, pd.DataFrame(rows)


def ablations(root):
    return [a for a in loading.load_ablations(root / "experiments").values() if a.task == "detection"]


def test_only_runs_on_the_same_data_meet(suite):
    root, frame = suite
    rows = overview.on_the_same_data(frame, ablations(root))
    assert set(rows["data.name"]) == {"mini"}
    assert sorted(zip(rows["study"], rows["arm"], strict=True)) == [
        ("muse", "w/o"), ("spatial_attention", "0010"), ("spatial_attention", "w/o"),
    ]  # fmt: skip


def test_multiply_adds_are_of_one_example(suite):
    root, frame = suite
    rows = overview.per_example(overview.on_the_same_data(frame, ablations(root)))
    found = {(a.study, arm.arm): arm.costs["macs"] for a, arm in overview.points(rows, ablations(root))}
    assert found["muse", "w/o"] == 1_000
    assert found["spatial_attention", "w/o"] == samples.COST["w/o"][1] / 4


def test_arms_of_one_name_in_two_panels_say_which():
    arms = [types.SimpleNamespace(label=label) for label in ("1111", "1111", "w/o")]
    panels = ["translation, self-attention", "translation, encoder-decoder attention", "translation, self-attention"]
    group = [types.SimpleNamespace(study="spatial_attention", panel=panel) for panel in panels]
    names = overview.distinct_names(list(zip(group, arms, strict=True)))
    assert names == ["1111, self-attention", "1111, encoder-decoder attention", "w/o"]


def test_it_is_drawn_with_and_without_runs(suite, tmp_path):
    root, frame = suite
    for name, rows in (("some", frame), ("none", frame.iloc[:0])):
        overview.draw(rows, ablations(root), tmp_path / name)
        assert (tmp_path / f"{name}.png").stat().st_size > 1000


def test_tasks_that_studies_share():
    assert inputs.shared_tasks(["muse"]) == []
    assert inputs.shared_tasks(["muse", "coatnet"]) == []
    assert inputs.shared_tasks(["muse", "spatial_attention", "coatnet", "aaconv"]) == [
        "classification", "detection", "translation",
    ]  # fmt: skip


def test_every_kind_of_figure_has_a_caption():
    assert set(figures.KINDS) == set(loading.read_yaml(report.CAPTIONS))


def test_a_recommended_arm_must_exist(tmp_path):
    content = samples.SPATIAL["factors_detection"] | {"recommended": "0010+dnc"}
    with pytest.raises(UserError, match=r"a\.yaml: recommended '0010\+dnc' is not an arm.*0010\+dcn"):
        spec._check_arms(content, tmp_path / "a.yaml")


def test_the_recommended_arm_is_known(tmp_path):
    spatial = {"factors_detection": samples.SPATIAL["factors_detection"] | {"recommended": "0010+dcn"}}
    samples.write_experiments(tmp_path, spatial=spatial)
    chosen = next(a for a in loading.load_ablations(tmp_path / "experiments").values() if a.task == "detection")
    assert chosen.recommended == "0010+dcn"
    assert {a.recommended for a in ablations_of_the_project() if a.task in ("detection", "segmentation")} >= {
        "0010+dcn"
    }


def ablations_of_the_project():
    return loading.load_ablations(spec.EXPERIMENTS).values()
