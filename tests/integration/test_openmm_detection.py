"""The mmdet engine on a tiny data set: places of the operators, public checkpoints, restarts, the user's errors."""

import copy
import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

from plugins.openmm_ext import config, engine
from plugins.suite.errors import UserError
from tests.integration import conftest
from tests.integration.conftest import assert_same, flip_bit, killed_before_its_end, make_boxes
from tests.integration.processes import WRAPPER, assert_shared, one_of_many_on_cpus

pytestmark = pytest.mark.usefixtures("one_thread")

ROOT = Path(__file__).resolve().parents[2]
STUDY = ROOT / "experiments" / "spatial_attention"
ARMS = {
    arm: body
    for name in ("factors_detection", "dynamic_detection", "kv_stride_detection")
    for arm, body in yaml.safe_load((STUDY / "ablations" / f"{name}.yaml").read_text())["arms"].items()
    if "set" in body
}
ATTENTION = "gen_attention_block"


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    return make_boxes(tmp_path_factory.mktemp("tiny") / "data")


def make_spec(model: dict | None = None, scale: str = "mini", **training) -> dict:
    """The spec of an arm with the options `model`."""
    measure = {"height": 64, "width": 96, "proposals": 10}
    return conftest.make_spec("spatial_attention", f"detection-{scale}", model or {}, measure=measure, **training)


def finished(spec: dict, data: Path, folder: Path) -> dict:
    return conftest.finished(engine, spec, data, folder)


OPTIONS = {"attention": {"terms": "1111", "kv_stride": 2}, "deformable": True}


@pytest.fixture(scope="module")
def undisturbed(data, tmp_path_factory) -> dict:
    """A whole run of the arm with everything in it."""
    return finished(make_spec(OPTIONS), data, tmp_path_factory.mktemp("undisturbed") / "run")


@pytest.mark.parametrize("arm", ARMS)
def test_every_arm_trains_a_step(arm, data):
    spec = make_spec(ARMS[arm]["set"])
    model, inference, train_step = engine.measured_model(spec, data)
    inference()
    train_step()
    used = [name for name, parameter in model.named_parameters() if parameter.grad is not None]
    assert sum(name.endswith(f"{ATTENTION}.gamma") for name in used) == (9 if "attention" in spec["model"] else 0)
    dynamic = sum(name.endswith("dynamic_conv_block.gamma") for name in used)
    assert dynamic == (9 if "dynamic_convolution" in spec["model"] else 0)
    assert sum("conv_offset.weight" in name for name in used) == (13 if "deformable" in spec["model"] else 0)


def test_every_split_has_its_place(data, tmp_path):
    cfg = config.write_config(make_spec(), data, tmp_path)
    sets = (cfg.train_dataloader.dataset, cfg.valid_dataset, cfg.test_dataloader.dataset)
    assert [s.ann_file for s in sets] == [f"annotations/{part}.json" for part in ("train", "val", "test")]
    assert [s.data_prefix.img for s in sets] == [f"images/{part}/" for part in ("train", "val", "test")]


def test_operators_stand_at_the_papers_places(data):
    model, _, _ = engine.measured_model(make_spec(OPTIONS), data)
    backbone = model.backbone
    stages = [backbone.layer1, backbone.layer2, backbone.layer3, backbone.layer4]
    assert [sum(hasattr(block, ATTENTION) for block in stage) for stage in stages] == [0, 0, 6, 3]
    assert [sum(hasattr(block.conv2, "conv_offset") for block in stage) for stage in stages] == [0, 4, 6, 3]
    assert all(block.after_conv2_plugin_names == [ATTENTION] for stage in stages[2:] for block in stage)
    dynamic, _, _ = engine.measured_model(make_spec({"dynamic_convolution": {"kernel": 5}}), data)
    blocks = [*dynamic.backbone.layer3, *dynamic.backbone.layer4]
    assert all(block.after_conv2_plugin_names == ["dynamic_conv_block"] for block in blocks)


def test_training_starts_as_identity_and_regular_convolution(data, tmp_path):
    """A ResNet from scratch re-draws the convolutions inside it; ours have to restore their own start."""
    cfg = config.write_config(make_spec(OPTIONS), data, tmp_path)
    model = engine.build_runner(cfg).model
    model.init_weights()
    block = model.backbone.layer4[1]
    attention = getattr(block, ATTENTION)
    assert not block.conv2.conv_offset.weight.any() and not block.conv2.conv_offset.bias.any()
    assert not attention.gamma.any() and not attention.proj_conv.bias.any()
    bound = (3 / attention.in_channels) ** 0.5  # Kaiming-uniform, a = 1
    assert attention.value_conv.weight.abs().max() <= bound


def options_of(terms: str, deformable: bool) -> dict:
    return {"attention": {"terms": terms, "kv_stride": 2}} | ({"deformable": True} if deformable else {})


@pytest.mark.parametrize("terms", ["1111", "0010"])
@pytest.mark.parametrize("deformable", [False, True], ids=["", "dcn"])
def test_public_settings_load_strictly_both_ways(terms, deformable, tmp_path):
    from mmengine.config import Config
    from mmengine.registry import MODELS, init_default_scope

    data = make_boxes(tmp_path / "data", [f"class{i}" for i in range(80)], images=1)
    ours, _, _ = engine.measured_model(make_spec(options_of(terms, deformable), "paper"), data)
    name = f"faster-rcnn_r50-attn{terms}{'-dcn' if deformable else ''}_fpn_1x_coco.py"
    package = Path(engine.command(make_spec(), data, tmp_path)[1]).parents[1]
    theirs_cfg = Config.fromfile(package / "configs" / "empirical_attention" / name)
    init_default_scope("mmdet")
    theirs = MODELS.build(theirs_cfg.model)
    ours.load_state_dict(theirs.state_dict(), strict=True)
    for name, parameter in ours.named_parameters():
        if name.endswith("gamma"):
            parameter.data.fill_(0.5)
        if "conv_offset" in name:
            parameter.data.normal_(0, 0.02)
    theirs.load_state_dict(ours.state_dict(), strict=True)
    images = torch.randn(1, 3, 96, 128)
    with torch.no_grad():
        for mine, official in zip(ours.eval().extract_feat(images), theirs.eval().extract_feat(images), strict=True):
            torch.testing.assert_close(mine, official, rtol=1e-4, atol=1e-4)


def test_every_image_has_its_detections_and_a_score(undisturbed):
    scored = undisturbed["scored"]
    items, curve = scored["items"], scored["details"]["curve"]
    assert items["item"] == list(range(6)) and {len(column) for column in items.values()} == {6}
    for boxes, scores, labels in zip(items["boxes"], items["scores"], items["labels"], strict=True):
        assert len(boxes) == len(scores) == len(labels) and all(len(box) == 4 for box in boxes)
    assert curve["update"] == list(range(1, 9)) and scored["details"]["chance"] == {"metric": 0.0}


def test_pictures_hold_the_true_boxes_and_the_attention_of_the_last_fine_layer(undisturbed, data, tmp_path):
    folder = undisturbed["folder"] / "pictures"
    names = {path.name for path in folder.glob("*.png")}
    assert {f"attention_2_{term}.png" for term in ("E1", "E2", "E3", "E4", "all")} <= names
    assert {"truth_0.png", "prediction_0.png"} <= names and len(names) == 21
    picture = np.asarray(Image.open(folder / "truth_0.png").convert("RGB"))
    box = json.loads((data / "annotations" / "test.json").read_text())["annotations"][1]["bbox"]  # drawn last
    times = picture.shape[0] // 64
    x, y = int(box[0]) * times, int(box[1]) * times
    assert (picture[y : y + times, x : x + 24 * times] == picture[y, x]).all()  # the upper edge is one colour


def test_same_seed_twice_is_identical_and_another_differs(undisturbed, data, tmp_path):
    assert_same(undisturbed, finished(make_spec(OPTIONS), data, tmp_path / "again"))
    engine.train(make_spec(OPTIONS, seed=2, updates=2, warmup=1), data, tmp_path / "other")
    first = json.loads((tmp_path / "other" / "curves.jsonl").read_text().splitlines()[0])
    assert first["train_loss"] != undisturbed["curves"][0]["train_loss"]


def test_killed_run_goes_on_bit_for_bit(undisturbed, data, tmp_path):
    spec, run = make_spec(OPTIONS), tmp_path / "run"
    code = """
import json, sys, torch
from pathlib import Path
from plugins.openmm_ext import engine as openmm_engine

torch.set_num_threads(1)
openmm_engine.train(json.loads(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]))
"""
    with (tmp_path / "log").open("w") as log:
        child = subprocess.Popen(
            [sys.executable, "-c", code, json.dumps(spec), str(data), str(run)], cwd=ROOT, stdout=log, stderr=log
        )
        curves = run / "curves.jsonl"
        while child.poll() is None and not (curves.exists() and len(curves.read_text().splitlines()) >= 5):
            time.sleep(0.01)
        child.send_signal(signal.SIGKILL)
        assert child.wait() == -signal.SIGKILL, (tmp_path / "log").read_text()[-2000:]
    assert not (run / "checkpoints" / "update_00000008.pth").exists()
    assert_same(undisturbed, finished(spec, data, run))


def test_two_processes_share_a_training(undisturbed, data, tmp_path, monkeypatch):
    """A process a GPU; here two on the CPU."""
    monkeypatch.setattr(engine, "train_one_of_many", one_of_many_on_cpus)
    together = finished(make_spec(OPTIONS, gpus=2, options=WRAPPER), data, tmp_path)
    assert_shared(together["curves"], undisturbed["curves"])


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:20000])


@pytest.mark.parametrize(
    "damage",
    [truncate, lambda path: flip_bit(path, 0.3), lambda path: flip_bit(path, 0.7)],
    ids=["truncated", "a bit at 30 %", "a bit at 70 %"],
)
def test_a_damaged_checkpoint_gives_way_to_the_one_before(damage, undisturbed, data, tmp_path, monkeypatch, capsys):
    spec, run = make_spec(OPTIONS), tmp_path / "run"
    older, newest = killed_before_its_end(engine, spec, data, run, monkeypatch)
    damage(newest)
    assert_same(undisturbed, finished(spec, data, run))
    output = capsys.readouterr().out
    assert f"{newest}: damaged checkpoint" in output and f"resume from {older}" in output


def test_without_a_whole_checkpoint_a_training_begins_anew(undisturbed, data, tmp_path, monkeypatch, capsys):
    spec, run = make_spec(OPTIONS), tmp_path / "run"
    for path in killed_before_its_end(engine, spec, data, run, monkeypatch):
        flip_bit(path, 0.5)
    assert_same(undisturbed, finished(spec, data, run))
    assert capsys.readouterr().out.count("damaged checkpoint") == 2


def test_written_config_trains_alone_with_the_packages_tool(undisturbed, data, tmp_path):
    spec, run, elsewhere = make_spec(OPTIONS), tmp_path / "run", tmp_path / "by_hand"
    config.write_config(spec, data, run)
    argv = [*engine.command(spec, data, run), "--work-dir", str(elsewhere)]
    environment = {"PATH": "/usr/bin:/bin", "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(argv, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    path = elsewhere / "checkpoints" / "update_00000008.pth"
    weights = torch.load(path, map_location="cpu", weights_only=True)["state_dict"]
    assert all(torch.equal(value, undisturbed["weights"][name]) for name, value in weights.items())


def test_truncated_image_is_named(data, tmp_path):
    broken = tmp_path / "data"
    shutil.copytree(data, broken)
    image = broken / "images" / "train" / "3.png"
    image.write_bytes(image.read_bytes()[:600])
    with pytest.raises(UserError, match=r"images/train/3.png: not a readable image .*prepare the data again") as error:
        engine.train(make_spec(), broken, tmp_path / "run")
    assert "\n" not in str(error.value)


def spoil(key, value):
    def change(content):
        content["annotations"][2][key] = value

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (spoil("bbox", [3, 4, 0, 5]), "annotation 3: bbox .* is degenerate"),
        (spoil("bbox", [90, 4, 5, 5]), "annotation 3: bbox .* lies outside its 64x64 image"),
        (spoil("bbox", "wide"), "annotation 3: bbox wide is not"),
        (spoil("category_id", 9), "annotation 3: category_id 9 is not among"),
        (spoil("image_id", 99), "annotation 3: image_id 99 is not among"),
        (lambda content: content.pop("images"), r"not COCO annotations \(KeyError: 'images'\)"),
        (lambda content: content["annotations"].clear(), "no images or no boxes"),
        (lambda content: content["categories"].reverse(), ".* are not the manifest's classes"),
    ],
)
def test_broken_annotations_are_one_line(change, message, data, tmp_path):
    broken = tmp_path / "data"
    shutil.copytree(data, broken)
    path = broken / "annotations" / "val.json"
    content = copy.deepcopy(json.loads(path.read_text()))
    change(content)
    path.write_text(json.dumps(content))
    with pytest.raises(UserError, match=f"val.json: {message}"):
        engine.check_data(make_spec(), broken)


def test_missing_files_are_one_line(data, tmp_path):
    with pytest.raises(UserError, match="manifest.json"):
        engine.train(make_spec(), tmp_path / "nowhere", tmp_path / "run")
    broken = tmp_path / "data"
    shutil.copytree(data, broken)
    (broken / "images" / "test" / "2.png").unlink()
    with pytest.raises(UserError, match="images/test/2.png: missing, but listed in .*test.json"):
        engine.check_data(make_spec(), broken)


def test_faults_of_a_recipe_are_one_line(data):
    known = "aaconv, acmix, attention, deformable, dynamic_convolution"
    with pytest.raises(UserError, match=f"model: unknown key 'layers'; known: {known}"):
        config.build_config(make_spec({"layers": 3}), data)
    with pytest.raises(UserError, match="model: unknown key 'attenton'; did you mean 'attention'"):
        config.build_config(make_spec({"attenton": {"terms": "0010"}}), data)
    with pytest.raises(UserError, match="train.checkpoint_every: 3 must be a multiple of log_every 2"):
        config.build_config(make_spec(log_every=2, checkpoint_every=3), data)
    with pytest.raises(UserError, match="configs/absent.py: named by train.config but missing"):
        config.build_config(make_spec(config="absent.py"), data)
