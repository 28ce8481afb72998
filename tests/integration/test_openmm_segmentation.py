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

from plugins.openmm_ext import engine
from plugins.suite.data import seal
from plugins.suite.errors import UserError
from plugins.suite.sources import run_sources
from tests.integration.processes import WRAPPER, assert_shared, one_of_many_on_cpus

ROOT = Path(__file__).resolve().parents[2]
STUDY = ROOT / "experiments" / "spatial_attention"
CLASSES = ("ground", "box", "disc")


def arms(ablation: str) -> dict:
    content = yaml.safe_load((STUDY / "ablations" / f"{ablation}.yaml").read_text())["arms"]
    return {name: arm["set"] for name, arm in content.items() if "set" in arm}


ARMS = arms("factors_segmentation") | arms("dynamic_segmentation") | arms("kv_stride_segmentation")


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    """Noise images of 48 x 40 with two bright rectangles; a strip of each mask is ignored."""
    folder, rng = tmp_path_factory.mktemp("tiny") / "data", np.random.default_rng(0)
    for split in ("train", "val", "test"):
        (folder / "images" / split).mkdir(parents=True)
        (folder / "masks" / split).mkdir(parents=True)
        for number in range(4):
            pixels, mask = rng.integers(0, 120, (40, 48, 3), dtype=np.uint8), np.zeros((40, 48), np.uint8)
            for kind in (0, 1):
                x, y = (int(v) for v in rng.integers(2, 20, 2))
                pixels[y : y + 16, x : x + 16, kind] = 250
                mask[y : y + 16, x : x + 16] = kind + 1
            mask[:, :4] = 255
            Image.fromarray(pixels).save(folder / "images" / split / f"{number}.png")
            Image.fromarray(mask).save(folder / "masks" / split / f"{number}.png")
    facts = {"mask_classes": list(CLASSES), "size": [48, 40], "counts": {}, "skipped": {}}
    seal(folder, "tiny", {}, facts)
    return folder


def make_spec(words: dict | None = None, seed: int = 1, **training) -> dict:
    """The mini recipe with the words `words`, cut down to 6 updates of two images."""
    recipe = yaml.safe_load((STUDY / "configs" / "segmentation-mini.yaml").read_text())
    del recipe["train"]["options"]  # weights of the six classes of the mini data
    recipe["train"] |= {"updates": 6, "batch": 2, "warmup": 2, "log_every": 1, "checkpoint_every": 2} | training
    recipe["measure"] = {"height": 40, "width": 48, "batch": 2}
    identity = {"scale": "mini", "study": "spatial_attention", "ablation": "x", "arm": "tiny", "seed": seed}
    return {**identity, "task": "segmentation", **recipe, "model": words or {}}


WORDS = {"attention": {"terms": "0110", "kv_stride": 2}, "deformable": True}


def finished(spec: dict, data: Path, folder: Path) -> dict:
    """Train and score; what must not depend on interruptions."""
    trained = engine.train(spec, data, folder)
    return {"losses": trained["losses"], "scored": engine.evaluate(spec, data, folder)} | left_by(folder)


def left_by(folder: Path) -> dict:
    """Curves, pictures and weights of a finished run."""
    (checkpoint,) = (folder / "checkpoints").iterdir()
    weights = torch.load(checkpoint, map_location="cpu", weights_only=True)["state_dict"]
    lines = [json.loads(line) for line in (folder / "curves.jsonl").read_text().splitlines()]
    curves = [{key: value for key, value in line.items() if key != "seconds"} for line in lines]
    pictures = {path.name: path.read_bytes() for path in (folder / "pictures").glob("*.png")}
    return {"curves": curves, "pictures": pictures, "weights": weights}


@pytest.fixture(scope="module")
def undisturbed(data, tmp_path_factory) -> dict:
    return finished(make_spec(WORDS), data, tmp_path_factory.mktemp("undisturbed") / "run")


def assert_same(first: dict, second: dict) -> None:
    for key in ("losses", "scored", "curves", "pictures"):
        assert first[key] == second[key], key
    assert first["weights"].keys() == second["weights"].keys()
    for name, value in first["weights"].items():
        assert torch.equal(value, second["weights"][name]), name


@pytest.mark.parametrize("arm", ARMS)
def test_every_arm_trains_a_step(arm, data):
    words = ARMS[arm]
    model, inference, train_step = engine.measured_model(make_spec(words), data)
    assert inference().shape[1] == len(CLASSES)
    train_step()
    used = [name for name, parameter in model.named_parameters() if parameter.grad is not None]
    layer = "attention" in words or "dynamic_convolution" in words
    assert [name for name in used if name.endswith("gamma")] == (["decode_head.between.gamma"] if layer else [])
    assert sum("conv_offset.weight" in name for name in used) == (13 if "deformable" in words else 0)


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
    cfg = engine.write_config(make_spec(), data, tmp_path)
    sets = (cfg.train_dataloader.dataset, cfg.valid_dataset, cfg.test_dataloader.dataset)
    assert [s.data_prefix.img_path for s in sets] == [f"images/{part}" for part in ("train", "val", "test")]
    assert [s.data_prefix.seg_map_path for s in sets] == [f"masks/{part}" for part in ("train", "val", "test")]


def test_a_layer_starts_anew_after_the_packages_initialisation(data, tmp_path):
    spec = make_spec({"dynamic_convolution": {"kernel": 3}, "deformable": True})
    model = engine.build_runner(engine.write_config(spec, data, tmp_path)).model
    model.init_weights()
    assert not model.decode_head.between.gamma.any()
    offsets = [m.conv_offset for m in model.modules() if hasattr(m, "conv_offset")]
    assert len(offsets) == 13 and not any(m.weight.any() or m.bias.any() for m in offsets)


def test_scores_are_those_of_the_saved_weights(undisturbed, data):
    """Mean IoU and pixel accuracy over the test pixels that count, without mmseg's loop and evaluator."""
    model, _, _ = engine.measured_model(make_spec(WORDS), data)
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
from plugins.runner import measure
from plugins.runner.__main__ import imported_sources
from plugins.runner.engines import load_engine

torch.set_num_threads(1)
spec, data, run = json.loads(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3])
engine = load_engine(spec)
found = {"losses": engine.train(spec, data, run)["losses"], "scored": engine.evaluate(spec, data, run)}
engine.measured_model(spec, data)
print("found " + json.dumps(found | {"sources": imported_sources()}))
"""


def test_an_interrupted_run_goes_on_bit_for_bit_and_imports_what_it_declares(undisturbed, data, tmp_path, monkeypatch):
    from plugins.openmm_ext.hooks import CurvesHook

    def stop(self, runner, *args, **options):
        write(self, runner, *args, **options)
        if runner.iter == 4:
            raise KeyboardInterrupt

    spec, run, write = make_spec(WORDS), tmp_path / "run", CurvesHook.after_train_iter
    with monkeypatch.context() as patch:
        patch.setattr(CurvesHook, "after_train_iter", stop)
        with pytest.raises(KeyboardInterrupt):
            engine.train(spec, data, run)
    assert (run / "checkpoints" / "update_00000004.pth").exists()
    argv = [sys.executable, "-c", RESUME, json.dumps(spec), str(data), str(run)]
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(next(line for line in done.stdout.splitlines() if line.startswith("found "))[6:])
    assert set(found.pop("sources")) == {path for path in run_sources(spec) if path.startswith("plugins/")}
    assert_same(undisturbed, found | left_by(run))


def test_two_processes_share_a_training(undisturbed, data, tmp_path, monkeypatch):
    """A process a GPU; here two on the CPU."""
    monkeypatch.setattr(engine, "train_one_of_many", one_of_many_on_cpus)
    together = finished(make_spec(WORDS, gpus=2, options=WRAPPER), data, tmp_path)
    assert_shared(together["curves"], undisturbed["curves"])


def test_written_config_trains_alone_with_the_packages_tool(undisturbed, data, tmp_path):
    spec, run, elsewhere = make_spec(WORDS), tmp_path / "run", tmp_path / "by_hand"
    engine.write_config(spec, data, run)
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
    with pytest.raises(UserError, match=f"{message}.*; prepare the data again$") as error:
        engine.check_data(make_spec(), broken)
    assert "\n" not in str(error.value)


def test_a_palette_of_another_length_is_one_line(data, tmp_path):
    folder = tmp_path / "data"
    shutil.copytree(data, folder)
    facts = {"mask_classes": list(CLASSES), "palette": [[0, 0, 0]], "counts": {}, "skipped": {}}
    seal(folder, "tiny", {}, facts)
    with pytest.raises(UserError, match="palette has 1 colours for 3 classes"):
        engine.check_data(make_spec(), folder)


def test_the_paper_recipe_trains_a_step_and_keeps_the_packages_schedule(data):
    """A whole ResNet-50 of mmseg's own config, cut to small crops; 255 and three classes of the data."""
    recipe = yaml.safe_load((STUDY / "configs" / "segmentation-paper.yaml").read_text())
    spec = make_spec() | recipe | {"scale": "paper", "model": {"attention": {"terms": "0010"}}}
    spec["measure"] = {"height": 65, "width": 65, "batch": 2}
    cfg = engine.build_config(spec, data)
    assert cfg.model.pretrained == "open-mmlab://resnet50_v1c" and cfg.model.test_cfg.mode == "slide"
    assert [(s["type"], s["end"]) for s in cfg.param_scheduler] == [("PolyLR", 40000)]
    assert cfg.model.decode_head.num_classes == cfg.model.auxiliary_head.num_classes == len(CLASSES)
    model, inference, train_step = engine.measured_model(spec, data)
    assert inference().shape == (2, 3, 9, 9)
    train_step()
    assert model.decode_head.between.gamma.grad is not None


def test_two_operators_in_one_place_are_one_line(data):
    words = {"attention": {"terms": "0010"}, "dynamic_convolution": {"kernel": 3}}
    with pytest.raises(UserError, match="both take the same place"):
        engine.build_config(make_spec(words), data)
