"""Image probes through the engine: a short training, its scores from its items, its counts, its places of operators."""

import json

import numpy as np
import pytest
import torch

from plugins.datasets.prepare import prepare
from plugins.openmm_ext import engine
from plugins.openmm_ext.arrays import ConvattnProbeMetric, by_class
from plugins.openmm_ext.families.probe_net import ConvattnProbeNet
from plugins.openmm_ext.layers import generalized_attention  # noqa: F401 - registers the layer
from plugins.openmm_ext.layers.token_head import ConvattnTokenHead
from plugins.openmm_ext.tasks import probe
from plugins.suite import catalog, items
from plugins.suite.errors import UserError

SPEC = {
    "scale": "mini", "study": "spatial_attention", "ablation": "probe_bright", "arm": "0010", "seed": 3,
    "task": "probe", "engine": "mmseg", "threads": 1,
    "data": {"name": "bright", "seed": "run", "train": 64, "val": 8, "test": 20},
    "model": {"attention": {"terms": "0010", "kv_stride": 1, "heads": 4}},
    "train": {
        "config": "probe.py", "updates": 8, "batch": 8, "lr": 0.006, "warmup": 2, "log_every": 2, "checkpoint_every": 4,
    },
    "measure": {"height": 24, "width": 24},
}  # fmt: skip


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    """(spec, folder of the data, what training gave, what evaluation gave)."""
    folder = tmp_path_factory.mktemp("probe")
    spec = catalog.completed(SPEC)
    prepare("bright", folder / "data", {key: value for key, value in spec["data"].items() if key != "name"})
    trained = engine.train(spec, folder / "data", folder / "run")
    return spec, folder / "data", trained, engine.evaluate(spec, folder / "data", folder / "run")


def test_scores_follow_from_the_items(ran, tmp_path):
    _, data, trained, evaluated = ran
    items.write(tmp_path / "items.parquet", evaluated["items"])
    frame = items.read(tmp_path / "items.parquet")
    assert len(frame) == 20 and items.disagreement("probe", evaluated["metrics"], frame) == ""
    assert set(items.scores("probe", frame)) == {"accuracy", "accuracy_own", "accuracy_remote"}
    labels = np.load(data / "arrays" / "test_labels.npy")
    assert [total[0] for total in frame["total"]] == [(image != 255).sum() for image in labels]
    assert frame["score"].tolist() == [100 * r[0] / t[0] for r, t in zip(frame["right"], frame["total"], strict=True)]


def test_a_run_keeps_curve_chance_and_bounds(ran):
    _, _, trained, evaluated = ran
    details = evaluated["details"]
    assert details["chance"]["loss"] == pytest.approx(np.log(4)) and 25 <= details["chance"]["metric"] < 40
    assert details["bounds"] == {"no interaction": 50.0, "the number of set states": 68.75}
    assert details["curve"]["update"] == [2, 4, 6, 8] and trained["losses"]["valid"] < 2
    assert evaluated["primary"] == "accuracy"


def test_training_again_gives_the_same_numbers(ran, tmp_path):
    spec, data, _, evaluated = ran
    engine.train(spec, data, tmp_path / "again")
    again = engine.evaluate(spec, data, tmp_path / "again")
    assert json.dumps(again["items"]) == json.dumps(evaluated["items"])


def test_the_metric_counts_parts_and_strata_as_plain_loops_do():
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(0, 4, (3, 1, 5, 6), generator=generator)
    labels[torch.rand(labels.shape, generator=generator) < 0.3] = 255
    guesses, groups = (torch.randint(0, high, (3, 1, 5, 6), generator=generator) for high in (4, 2))
    metric = ConvattnProbeMetric({"own": [1, 2], "remote": [2, 2]}, ["near", "far away"], {})
    metric.dataset_meta = {"classes": tuple("0123")}
    keys = ("pred_sem_seg", "gt_sem_seg", "groups")
    samples = [
        {key: {"data": part} for key, part in zip(keys, parts, strict=True)}
        for parts in zip(guesses, labels, groups, strict=True)
    ]
    metric.process({}, samples)
    for image, (guess, label, group) in enumerate(zip(guesses, labels, groups, strict=True)):
        tokens = [
            (int(g), int(t), int(s))
            for g, t, s in zip(guess.ravel(), label.ravel(), group.ravel(), strict=True)
            if t != 255
        ]
        right = [sum(g == t for g, t, _ in tokens), sum(g % 2 == t % 2 for g, t, _ in tokens)]
        right += [sum(g // 2 == t // 2 for g, t, _ in tokens)]
        right += [sum(g == t for g, t, s in tokens if s == number) for number in (0, 1)]
        assert metric.results[image][4].tolist() == right
        theirs = metric.intersect_and_union(guess.squeeze(), label.squeeze(), 4, 255)
        for ours, part in zip(metric.results[image][:4], theirs, strict=True):
            assert ours.tolist() == part.tolist()
    assert metric.names == ["all", "own", "remote", "near", "far_away"]
    assert "accuracy_far_away" in metric.compute_metrics(metric.results)


def test_tokens_outside_the_mask_are_no_count():
    assert by_class(torch.tensor([[0, 1, 255]]), torch.tensor([[True, False, False]]), 2).tolist() == [[1, 0]]


def arms() -> list:
    return [
        pytest.param(spec, id=f"{study}/{ablation}/{arm}")
        for study in catalog.studies()
        for ablation, arm, spec in catalog.arm_specs(study, "mini")
        if spec["task"] == "probe"
    ]


@pytest.mark.parametrize("spec", arms())
def test_every_arm_is_built_and_gives_logits_on_tokens(spec):
    model, forward = engine.cost_model(spec)
    assert 1_000 < sum(parameter.numel() for parameter in model.parameters()) < 100_000
    assert forward().shape[2] in (8, 9, 11, 12, 15, 16, 24)


def test_the_gate_of_the_layer_starts_open():
    layer = {"type": "ConvattnGeneralizedAttention", "attention_type": "1100", "num_heads": 4, "kv_stride": 1}
    net = ConvattnProbeNet(layer=layer)
    net.init_weights()
    assert net.layer.gamma.item() == 1


def test_a_head_without_a_hidden_layer_is_linear():
    head = ConvattnTokenHead(in_channels=4, channels=4, num_classes=3, hidden=False).eval()
    a, b = torch.randn(2, 1, 4, 5, 5, generator=torch.Generator().manual_seed(0))
    zero = head([torch.zeros_like(a)])
    torch.testing.assert_close(head([a + b]) - zero, head([a]) + head([b]) - 2 * zero)


def test_a_stream_has_a_loss_and_images_seen_twice_have_none(ran, tmp_path):
    spec, data, trained, _ = ran
    assert spec["train"]["updates"] * spec["train"]["batch"] == spec["data"]["train"]
    assert trained["losses"]["stream"] > 0
    longer = {**spec, "train": {**spec["train"], "updates": 9}}
    assert "stream" not in engine.train(longer, data, tmp_path)["losses"]


def test_two_layers_do_not_share_a_place():
    model = {"backbone": {}}
    probe.place_layer(model, "attention", {"type": "A"})
    with pytest.raises(UserError, match="takes the place of A"):
        probe.place_layer(model, "acmix", {"type": "B"})


def test_the_network_refuses_a_deformable_convolution_without_a_convolution():
    with pytest.raises(ValueError, match="set convolution=True"):
        ConvattnProbeNet(dcn={"type": "ConvattnDeformConv"})


@pytest.mark.parametrize(
    ("name", "change", "rule"),
    [
        ("test_labels.npy", lambda a: np.where(a == 255, 4, a).astype(np.uint8), "label 4 is out of range"),
        ("val_labels.npy", lambda a: np.full_like(a, 255), "image 0 has no label"),
        ("train_groups.npy", lambda a: a[:-1], "differ in number"),
    ],
)
def test_arrays_that_cannot_be_are_named(ran, tmp_path, name, change, rule):
    spec, _, _, _ = ran
    folder = tmp_path / "data"
    manifest = prepare("bright", folder, {key: value for key, value in spec["data"].items() if key != "name"})
    path = folder / "arrays" / name
    np.save(path, change(np.load(path)))
    assert rule in probe.annotation_error(folder, manifest)
