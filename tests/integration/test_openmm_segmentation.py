"""The mmseg engine on tiny masks: places of the operators, scores, restarts, the written config, the user's errors."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

from plugins.openmm_ext import config, engine
from plugins.suite.data import seal
from plugins.suite.errors import UserError
from plugins.suite.sources import run_sources
from tests.integration import conftest
from tests.integration.conftest import assert_same, left_by, make_masks
from tests.integration.processes import WRAPPER, assert_shared, one_of_many_on_cpus

pytestmark = pytest.mark.usefixtures("one_thread")

ROOT = Path(__file__).resolve().parents[2]
STUDY = ROOT / "experiments" / "spatial_attention"
CLASSES = ("ground", "box", "disc")


def arms(ablation: str) -> dict:
    content = yaml.safe_load((STUDY / "ablations" / f"{ablation}.yaml").read_text())["arms"]
    return {name: arm["set"] for name, arm in content.items() if "set" in arm}


ARMS = arms("factors_segmentation") | arms("dynamic_segmentation") | arms("kv_stride_segmentation")


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    return make_masks(tmp_path_factory.mktemp("tiny") / "data", CLASSES)


def make_spec(model: dict | None = None, scale: str = "mini", **training) -> dict:
    """The spec of an arm with the options `model`, without the class weights of the mini data."""
    short = {"updates": 6, "options": {}} | training
    return conftest.make_spec("spatial_attention", f"segmentation-{scale}", model or {}, **short)


def finished(spec: dict, data: Path, folder: Path) -> dict:
    return conftest.finished(engine, spec, data, folder)


OPTIONS = {"attention": {"terms": "0110", "kv_stride": 2}, "deformable": True}


@pytest.fixture(scope="module")
def undisturbed(data, tmp_path_factory) -> dict:
    return finished(make_spec(OPTIONS), data, tmp_path_factory.mktemp("undisturbed") / "run")


@pytest.mark.parametrize("arm", ARMS)
def test_every_arm_trains_a_step(arm, data):
    options = ARMS[arm]
    model, inference, train_step = engine.measured_model(make_spec(options), data)
    assert inference().shape[1] == len(CLASSES)
    train_step()
    used = [name for name, parameter in model.named_parameters() if parameter.grad is not None]
    layer = "attention" in options or "dynamic_convolution" in options
    assert [name for name in used if name.endswith("gamma")] == (["decode_head.between.gamma"] if layer else [])
    assert sum("conv_offset.weight" in name for name in used) == (13 if "deformable" in options else 0)


def test_the_plain_arm_is_mmsegs_own_head_and_ours_adds_the_layer_alone(data):
    plain, _, _ = engine.measured_model(make_spec(), data)
    ours, _, _ = engine.measured_model(make_spec({"attention": {"terms": "0010"}}), data)
    assert type(plain.decode_head).__module__.startswith("mmseg.")
    missing, unexpected = plain.load_state_dict(ours.state_dict(), strict=False)
    assert not missing and all(name.startswith("decode_head.between.") for name in unexpected)
    # The residual gate starts at zero: both heads say the same.
    images = torch.randn(1, 3, 40, 48)
    with torch.no_grad():
        torch.testing.assert_close(ours.eval()._forward(images), plain.eval()._forward(images))


def test_every_split_has_its_place(data, tmp_path):
    cfg = config.write_config(make_spec(), data, tmp_path)
    sets = (cfg.train_dataloader.dataset, cfg.valid_dataset, cfg.test_dataloader.dataset)
    assert [s.data_prefix.img_path for s in sets] == [f"images/{part}" for part in ("train", "val", "test")]
    assert [s.data_prefix.seg_map_path for s in sets] == [f"masks/{part}" for part in ("train", "val", "test")]


def test_a_layer_starts_anew_after_the_packages_initialisation(data, tmp_path):
    spec = make_spec({"dynamic_convolution": {"kernel": 3}, "deformable": True})
    model = engine.build_runner(config.write_config(spec, data, tmp_path)).model
    model.init_weights()
    assert not model.decode_head.between.gamma.any()
    offsets = [m.conv_offset for m in model.modules() if hasattr(m, "conv_offset")]
    assert len(offsets) == 13 and not any(m.weight.any() or m.bias.any() for m in offsets)


def test_scores_are_those_of_the_saved_weights(undisturbed, data):
    """Mean IoU and pixel accuracy over the test pixels that count, without mmseg's loop and evaluator."""
    model, _, _ = engine.measured_model(make_spec(OPTIONS), data)
    model.load_state_dict(undisturbed["weights"])
    model.eval()
    table = np.zeros((len(CLASSES), len(CLASSES)))
    for path in sorted((data / "images" / "test").iterdir()):
        pixels = torch.from_numpy(np.asarray(Image.open(path))[..., ::-1].copy()).permute(2, 0, 1)
        inputs = model.data_preprocessor({"inputs": [pixels]})["inputs"]
        with torch.no_grad():
            logits = torch.nn.functional.interpolate(model._forward(inputs), size=(40, 48), mode="bilinear")
        mask = np.asarray(Image.open(data / "masks" / "test" / path.name))
        np.add.at(table, (mask[mask != 255], logits[0].argmax(0).numpy()[mask != 255]), 1)
    hits = np.diag(table)
    metrics = undisturbed["scored"]["metrics"]
    assert metrics["pixel_accuracy"] == pytest.approx(100 * hits.sum() / table.sum(), abs=0.006)
    assert metrics["miou"] == pytest.approx(100 * np.mean(hits / (table.sum(0) + table.sum(1) - hits)), abs=0.006)
    assert undisturbed["scored"]["primary"] == "miou"
    assert undisturbed["scored"]["settings"]["scorer"].endswith("IoUMetric")


def test_scores_do_not_depend_on_whether_the_process_trained(undisturbed, data):
    """The runner that trained has scored `undisturbed`; here one that loads the checkpoint does."""
    assert engine.evaluate(make_spec(OPTIONS), data, undisturbed["folder"]) == undisturbed["scored"]


def test_every_run_has_its_curve_and_an_item_an_image(undisturbed):
    scored = undisturbed["scored"]
    losses = [round(line["train_loss"], 5) for line in undisturbed["curves"]]
    assert scored["details"]["curve"] == {"update": [1, 2, 3, 4, 5, 6], "train_loss": losses}
    assert scored["details"]["chance"].keys() == {"loss", "metric"}
    items = scored["items"]
    assert items["item"] == [0, 1, 2, 3] and {len(column) for column in items.values()} == {4}
    hits, union = np.sum(items["intersect"], axis=0), np.sum(items["union"], axis=0)
    assert 100 * np.mean(hits / union) == pytest.approx(scored["metrics"]["miou"], abs=0.006)


def test_pictures_show_truth_prediction_and_every_term(undisturbed):
    terms = ("E2", "E3", "all")
    names = {f"{kind}_{n}.png" for n in range(3) for kind in ("truth", "prediction")}
    assert set(undisturbed["pictures"]) == names | {f"attention_{n}_{term}.png" for n in range(3) for term in terms}


def test_the_gate_of_every_layer_is_logged(undisturbed):
    assert all(list(line["gate"]) == ["decode_head.between"] for line in undisturbed["curves"])
    assert undisturbed["curves"][-1]["gate"]["decode_head.between"] != 0


RESUME = """
import json, sys, torch
from pathlib import Path
from plugins.runner import __main__, measure
from plugins.runner.engines import load_engine
from tests.integration.processes import imported_sources

torch.set_num_threads(1)
spec, data, run = json.loads(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3])
engine = load_engine(spec)
result = {"losses": engine.train(spec, data, run)["losses"], "scored": engine.evaluate(spec, data, run)}
engine.measured_model(spec, data)
print("result " + json.dumps(result | {"sources": imported_sources()}))
"""


def test_an_interrupted_run_goes_on_bit_for_bit_and_imports_what_it_declares(undisturbed, data, tmp_path, monkeypatch):
    from plugins.openmm_ext.hooks import CurvesHook

    def stop(self, runner, *args, **options):
        write(self, runner, *args, **options)
        if runner.iter == 4:
            raise KeyboardInterrupt

    spec, run, write = make_spec(OPTIONS), tmp_path / "run", CurvesHook.after_train_iter
    with monkeypatch.context() as patch:
        patch.setattr(CurvesHook, "after_train_iter", stop)
        with pytest.raises(KeyboardInterrupt):
            engine.train(spec, data, run)
    assert (run / "checkpoints" / "update_00000004.pth").exists()
    argv = [sys.executable, "-c", RESUME, json.dumps(spec), str(data), str(run)]
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    result = json.loads(next(line for line in done.stdout.splitlines() if line.startswith("result "))[7:])
    assert set(result.pop("sources")) == {path for path in run_sources(spec) if path.startswith("plugins/")}
    assert_same(undisturbed, result | left_by(run))


def test_two_processes_share_a_training(undisturbed, data, tmp_path, monkeypatch):
    """A process a GPU; here two on the CPU."""
    monkeypatch.setattr(engine, "train_one_of_many", one_of_many_on_cpus)
    together = finished(make_spec(OPTIONS, gpus=2, options=WRAPPER), data, tmp_path)
    assert_shared(together["curves"], undisturbed["curves"])


def test_written_config_trains_alone_with_the_packages_tool(undisturbed, data, tmp_path):
    spec, run, elsewhere = make_spec(OPTIONS), tmp_path / "run", tmp_path / "by_hand"
    config.write_config(spec, data, run)
    argv = [*engine.command(spec, data, run), "--work-dir", str(elsewhere)]
    environment = {"PATH": "/usr/bin:/bin", "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(argv, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    weights = torch.load(elsewhere / "checkpoints" / "update_00000006.pth", weights_only=True)["state_dict"]
    assert all(torch.equal(value, undisturbed["weights"][name]) for name, value in weights.items())


def spoil_mask(values: np.ndarray):
    return lambda folder: Image.fromarray(values).save(folder / "masks" / "val" / "1.png")


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (spoil_mask(np.full((40, 48), 7, np.uint8)), "masks/val/1.png: label 7 is out of range 0..2"),
        (spoil_mask(np.zeros((40, 48, 3), np.uint8)), "masks/val/1.png: is a RGB picture, must hold one class number"),
        (spoil_mask(np.zeros((40, 40), np.uint8)), "masks/val/1.png: is 40x40 but its image 48x40"),
        (lambda folder: (folder / "masks/val/1.png").write_bytes(b"none"), "masks/val/1.png: not a readable mask"),
        (lambda folder: (folder / "images/val/1.png").write_bytes(b"none"), "images/val/1.png: not a readable image"),
        (lambda folder: (folder / "masks/val/1.png").unlink(), "masks/val/1.png: missing, but there is such an image"),
        (lambda folder: (folder / "images/val/1.png").unlink(), "images/val/1.png: missing, but there is such a mask"),
        (lambda folder: shutil.rmtree(folder / "images/val"), "images/val: holds no image .png"),
    ],
)
def test_broken_data_is_one_line(spoil, message, data, tmp_path):
    broken = tmp_path / "data"
    shutil.copytree(data, broken)
    spoil(broken)
    with pytest.raises(UserError, match=f"{message}.*; prepare the data again") as error:
        engine.check_data(make_spec(), broken)
    assert "\n" not in str(error.value)


def test_a_palette_of_another_length_is_one_line(data, tmp_path):
    folder = tmp_path / "data"
    shutil.copytree(data, folder)
    facts = {"mask_classes": list(CLASSES), "palette": [[0, 0, 0]], "counts": {}, "skipped": {}}
    seal(folder, "mini_shapes", {}, facts)
    with pytest.raises(UserError, match="palette has 1 colours for 3 classes"):
        engine.check_data(make_spec(), folder)


def test_the_paper_recipe_trains_a_step_and_keeps_the_packages_schedule(data):
    """A whole ResNet-50 of mmseg's own config, cut to small crops; 255 and three classes of the data."""
    options = {"updates": 40000, "warmup": 1, "batch": 8, "log_every": 50, "checkpoint_every": 4000}
    spec = make_spec({"attention": {"terms": "0010"}}, "paper", **options)
    spec["measure"] = {"height": 65, "width": 65, "batch": 2}
    cfg = config.build_config(spec, data)
    assert cfg.model.pretrained == "open-mmlab://resnet50_v1c" and cfg.model.test_cfg.mode == "slide"
    assert [(s["type"], s["end"]) for s in cfg.param_scheduler] == [("PolyLR", 40000)]
    assert cfg.model.decode_head.num_classes == cfg.model.auxiliary_head.num_classes == len(CLASSES)
    model, inference, train_step = engine.measured_model(spec, data)
    assert inference().shape == (1, 3, 9, 9)
    train_step()
    assert model.decode_head.between.gamma.grad is not None


def test_two_operators_in_one_place_are_one_line(data):
    options = {"attention": {"terms": "0010"}, "dynamic_convolution": {"kernel": 3}}
    taken = "model.attention: takes the same place as dynamic_convolution; set one of them to null"
    with pytest.raises(UserError, match=taken):
        config.build_config(make_spec(options), data)
