"""The mmpretrain engine on tiny class folders: scores, curves, restarts, growing training sets, the user's errors."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch.distributed.elastic.multiprocessing.errors import record

from plugins.openmm_ext import config, curves, engine
from plugins.openmm_ext.tasks.classification import METRICS
from plugins.suite import catalog, files, sources
from plugins.suite.data import seal
from plugins.suite.errors import UserError
from tests.integration import conftest
from tests.integration.conftest import assert_same, completed, flip_bit, killed_before_its_end, make_classes, recipe_of
from tests.integration.processes import WRAPPER, one_of_many_on_cpus

pytestmark = pytest.mark.usefixtures("one_thread")

ROOT = Path(__file__).resolve().parents[2]
STUDY = ROOT / "experiments" / "coatnet"
CLASSES = ("red", "green", "blue", "dark", "bright")


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    return make_classes(tmp_path_factory.mktemp("tiny") / "data", CLASSES)


def make_spec(coatnet: dict | None = None, model: dict | None = None, **training) -> dict:
    """The mini recipe of CoAtNet, with `coatnet` over the family's own options and `model` beside them."""
    tiny = {
        "widths": [8, 8, 8, 16, 16],
        "blocks": dict.fromkeys(("C-C-C-C", "C-C-C-T", "C-C-T-T", "C-T-T-T"), [2, 1, 1, 1, 1]),
        "vit": {"patch": 8, "width": 16, "blocks": 2},
        "image_size": 32,
        "head_dim": 8,
    }
    family = recipe_of("coatnet", "classification-mini")["model"]["coatnet"] | tiny | (coatnet or {})
    short = {"batch": 4, "score_every": 4, "config": "classification-scratch.py"} | training
    measure = {"height": 32, "width": 32}
    model = {"coatnet": family} | (model or {})
    return conftest.make_spec("coatnet", "classification-mini", model, measure=measure, **short)


def finished(spec: dict, data: Path, folder: Path) -> dict:
    return conftest.finished(engine, spec, data, folder)


@pytest.fixture(scope="module")
def undisturbed(data, tmp_path_factory) -> dict:
    return finished(make_spec(), data, tmp_path_factory.mktemp("undisturbed") / "run")


def test_scores_are_the_packages_own(undisturbed):
    scored = undisturbed["scored"]
    assert set(scored["metrics"]) == {"top1", "top5"} and scored["metrics"]["top5"] == 100
    assert scored["primary"] == "top1" and scored["settings"]["scorer"].startswith("mmpretrain")
    assert np.isfinite(undisturbed["losses"]["train"]) and np.isfinite(undisturbed["losses"]["valid"])


def by_hand(weights: dict, data: Path, split: str):
    """(label, scores) of every image of a split, without mmpretrain's loop and evaluator."""
    model, _, _ = engine.measured_model(make_spec(), data)
    model.load_state_dict(weights)
    model.eval()
    for label, name in enumerate(sorted(CLASSES)):
        for path in (data / "classes" / split / name).iterdir():
            pixels = torch.from_numpy(np.asarray(Image.open(path))[..., ::-1].copy()).permute(2, 0, 1)
            inputs = model.data_preprocessor({"inputs": [pixels]})["inputs"]
            with torch.no_grad():
                yield label, model(inputs, mode="tensor")


def test_accuracy_is_that_of_the_saved_weights(undisturbed, data):
    """The predicted class of every test image, without mmpretrain's loop and evaluator."""
    right = sum(int(scores.argmax()) == label for label, scores in by_hand(undisturbed["weights"], data, "test"))
    assert undisturbed["scored"]["metrics"]["top1"] == pytest.approx(100 * right / 20)


def test_items_hold_the_images_in_their_order(undisturbed, data):
    items = undisturbed["scored"]["items"]
    pairs = [(label, int(scores.argmax())) for label, scores in by_hand(undisturbed["weights"], data, "test")]
    assert items["label"] == [label for label, _ in pairs] == sorted(items["label"]) and items["item"] == list(
        range(20)
    )
    # Files are read by hand in the folder's order, by mmpretrain in that of their names.
    assert sorted(zip(items["label"], items["predicted"], strict=True)) == sorted(pairs)
    assert np.mean(items["score"]) == undisturbed["scored"]["metrics"]["top1"]
    assert undisturbed["scored"]["details"]["chance"] == {"metric": 20.0, "loss": pytest.approx(np.log(5))}


def test_the_validation_loss_is_that_of_the_whole_validation_split(data, tmp_path):
    spec = make_spec(model={"train_fraction": 0.5})
    del spec["train"]["score_every"]
    trained = finished(spec, data, tmp_path)
    losses = [
        float(torch.nn.functional.cross_entropy(scores, torch.tensor([label])))
        for label, scores in by_hand(trained["weights"], data, "val")
    ]
    assert len(losses) == 20 and trained["losses"]["valid"] == pytest.approx(np.mean(losses), rel=1e-5)


def test_the_curve_has_validation_scores(undisturbed):
    scored = {line["update"]: line["valid"] for line in undisturbed["curves"] if "valid" in line}
    assert list(scored) == [4, 8] and all(set(v) == {"accuracy/top1", "accuracy/top5"} for v in scored.values())


def test_the_curve_of_a_run_and_scores_at_one_loss(undisturbed, tmp_path):
    lines = "".join(json.dumps(line) + "\n" for line in undisturbed["curves"])
    (tmp_path / "curves.jsonl").write_text(lines)
    curve = curves.curve(tmp_path / "curves.jsonl", METRICS)
    losses = [line["train_loss"] for line in undisturbed["curves"]]
    assert curve["update"] == [4, 8] and set(curve) == {"update", "train_loss", "top1", "top5"}
    assert curve["train_loss"] == pytest.approx([sum(losses[:4]) / 4, sum(losses[4:]) / 4], abs=1e-5)
    assert curves.score_at_loss([2.0, 1.5, 1.0], [20, 40, 50], 1.25) == 45
    assert curves.score_at_loss([2.0, 1.5, 1.6, 1.0], [20, 40, 30, 50], 1.5) == 40
    assert curves.score_at_loss([2.0, 1.5], [20, 40], 1.0) is None
    assert curves.score_at_loss([1.0, 0.5], [20, 40], 1.2) is None


def test_rate_warms_up_and_follows_a_cosine(undisturbed):
    rates = [line["lr"] for line in undisturbed["curves"]]
    assert (
        rates[0] == make_spec()["train"]["lr"] and rates == sorted(rates, reverse=True) and rates[-1] < 0.1 * rates[0]
    )


def test_a_run_that_was_killed_goes_on_bit_for_bit(undisturbed, data, tmp_path, monkeypatch):
    spec, run = make_spec(), tmp_path / "run"
    # What is left was written before the last two updates.
    killed_before_its_end(engine, spec, data, run, monkeypatch)[-1].unlink()
    lines = [json.loads(line) for line in (run / "curves.jsonl").read_text().splitlines()]
    slow = "".join(json.dumps(line | {"seconds": 100.0}) + "\n" for line in lines)
    (run / "curves.jsonl").write_text(slow + '{"update": 9, "tra')
    again = finished(spec, data, run)
    assert 600 < again["seconds"] < 700  # those of the killed process count
    assert_same(undisturbed, again)


def test_several_processes_share_a_training(undisturbed, data, tmp_path, monkeypatch):
    """A process a GPU; here two on the CPU, killed once. Every process scores, the first alone writes."""
    monkeypatch.setattr(engine, "train_one_of_many", one_of_many_on_cpus)
    spec = make_spec(gpus=2, options=WRAPPER)
    with monkeypatch.context() as patch:
        patch.setattr(engine, "scoring_runner", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            engine.train(spec, data, tmp_path)
    whole = torch.load(tmp_path / "checkpoints/update_00000008.pth", weights_only=True)["state_dict"]
    (tmp_path / "checkpoints/update_00000008.pth").unlink()
    resumed = finished(spec, data, tmp_path)
    assert [line["update"] for line in resumed["curves"]] == list(range(1, 9))
    assert [line["update"] for line in resumed["curves"] if "valid" in line] == [4, 8]
    assert all(torch.equal(value, whole[name]) for name, value in resumed["weights"].items())
    # The first update is the same network on the same batch of four, here in two halves.
    alone, together = (curves[0]["train_loss"] for curves in (undisturbed["curves"], resumed["curves"]))
    assert together == pytest.approx(alone, rel=0.2) and together != alone
    assert engine.train(spec, data, tmp_path)["settings"]["gpus"] == 2
    assert "--nproc-per-node=2" in engine.command(spec, data, tmp_path)
    with pytest.raises(UserError, match=r"train\.batch: 3 must be a multiple of gpus 2"):
        engine.train(make_spec(gpus=2, batch=3), data, tmp_path / "odd")


@record
def one_of_many_that_fail(config, start):
    raise UserError("a.png: not an image") if start else ValueError("a fault")


def test_what_stops_one_of_several_processes_is_said(monkeypatch):
    monkeypatch.setattr(engine, "train_one_of_many", one_of_many_that_fail)
    with pytest.raises(UserError, match="^a.png: not an image$"):
        engine.train_together("config.py", Path("start.pth"), 2)
    with pytest.raises(RuntimeError, match="process [01] of 2 failed: ValueError: a fault"):
        engine.train_together("config.py", None, 2)


def test_written_config_trains_alone_with_the_packages_tool(undisturbed, data, tmp_path):
    spec, run, elsewhere = make_spec(), tmp_path / "run", tmp_path / "by_hand"
    finished(spec, data, run)  # scoring leaves the whole config, too
    argv = [*engine.command(spec, data, run), "--work-dir", str(elsewhere)]
    environment = {"PATH": "/usr/bin:/bin", "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(argv, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    path = elsewhere / "checkpoints" / "update_00000008.pth"
    weights = torch.load(path, map_location="cpu", weights_only=True)["state_dict"]
    assert all(torch.equal(value, undisturbed["weights"][name]) for name, value in weights.items())


def test_the_declared_sources_are_those_that_a_run_imports(data, tmp_path):
    code = """
import json, sys
from pathlib import Path
from plugins.openmm_ext import engine as openmm_engine
from plugins.runner import __main__
from plugins.suite import sources
from plugins.runner.measure import count_macs
from tests.integration.processes import imported_sources

spec, data, run = json.loads(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3])
openmm_engine.train(spec, data, run)
openmm_engine.evaluate(spec, data, run)
model, inference, train_step = openmm_engine.measured_model(spec, data)
assert count_macs(model, inference) > 0
train_step()
print(json.dumps([imported_sources(), sources.run_sources(spec)]))
"""
    argv = [sys.executable, "-c", code, json.dumps(make_spec(updates=4)), str(data), str(tmp_path / "run")]
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    imported, declared = json.loads(done.stdout.splitlines()[-1])
    configs = {"classification-scratch.py"}
    assert imported == sorted(path for path in declared if path.startswith("plugins/"))
    assert {Path(path).name for path in declared if path.startswith("experiments/")} == configs


def test_inherited_configs_are_sources_too():
    spec = make_spec(config="classification-augmented.py")
    configs = [path for path in sources.run_sources(spec) if path.startswith("experiments/")]
    own = [f"experiments/coatnet/configs/classification-{name}.py" for name in ("augmented", "scratch")]
    assert configs == [*own, "experiments/bases/classification-scratch.py"]


@pytest.mark.parametrize("path", sorted(STUDY.glob("configs/*.yaml")), ids=lambda path: path.stem)
def test_the_networks_of_all_recipes_can_be_built(path):
    """On the meta device; the config of each recipe is read as it stands, the layout its arms choose given."""
    recipe = recipe_of("coatnet", path.stem)
    if "size" not in recipe["model"]["coatnet"]:
        recipe["model"]["coatnet"] = {"layout": "C-C-T-T"} | recipe["model"]["coatnet"]
    identity = {"scale": "mini", "study": "coatnet", "ablation": "any", "arm": "any", "seed": 1}
    spec = identity | {"task": "classification"} | recipe | {"data": catalog.data_with_seed(recipe["data"], 1)}
    model, forward = engine.cost_model(completed(spec))
    scores = forward()
    assert scores.device.type == "meta" and scores.shape[0] == 1


@pytest.mark.parametrize("name", ["imagenet21k-paper.py", "finetune-paper.py"])
def test_the_paper_s_pre_training_and_fine_tuning_take_a_step(name, data):
    """Their schedules, losses and hooks are built; the data stand for larger ones."""
    spec = make_spec(config=name, options={"train_dataloader.num_workers": 0, "test_dataloader.num_workers": 0,
                                           "train_dataloader.persistent_workers": False,
                                           "test_dataloader.persistent_workers": False})  # fmt: skip
    cfg = config.build_config(spec, data)
    cfg.work_dir = "unused"
    model, _, train_step = engine.measured_model(spec, data)
    train_step()
    assert cfg.param_scheduler[-1]["end"] == 8 and cfg.custom_hooks[-1]["type"] == "ReseedHook"


@pytest.mark.parametrize(("fraction", "numbers"), [(0.5, ("0", "1")), (0.1, ("0",)), (1.0, ("0", "1", "2", "3"))])
def test_a_share_of_the_training_set(fraction, numbers, data):
    from mmengine.registry import init_default_scope
    from mmpretrain.registry import DATASETS

    init_default_scope("mmpretrain")  # a test before may have left another
    cfg = config.build_config(make_spec(model={"train_fraction": fraction}), data)
    images = [Path(image["img_path"]) for image in DATASETS.build(cfg.train_dataloader.dataset).load_data_list()]
    assert {(p.parent.name, p.stem) for p in images} == {(name, number) for name in CLASSES for number in numbers}
    assert len(DATASETS.build(cfg.test_dataloader.dataset)) == len(DATASETS.build(cfg.valid_dataset)) == 20


@pytest.fixture
def copy(data, tmp_path) -> Path:
    return Path(shutil.copytree(data, tmp_path / "data"))


def test_unusable_images_are_named(copy, tmp_path):
    path = copy / "classes" / "train" / "red" / "2.png"
    Image.new("RGB", (16, 24)).save(path)
    with pytest.raises(UserError, match=r"train/red/2.png: an image of 16x24, all others have 32x32; prepare"):
        engine.train(make_spec(), copy, tmp_path / "run")
    path.write_bytes(path.read_bytes()[:40])
    with pytest.raises(UserError, match=r"train/red/2.png: not a readable image .*prepare the data again") as error:
        engine.train(make_spec(), copy, tmp_path / "run")
    assert "\n" not in str(error.value)


def test_unusable_folders_are_named(copy):
    for image in (copy / "classes" / "val" / "dark").iterdir():
        image.unlink()
    with pytest.raises(UserError, match="classes/val/dark: class folder without an image; prepare the data again"):
        engine.check_data(make_spec(), copy)
    shutil.rmtree(copy / "classes" / "val" / "dark")
    with pytest.raises(UserError, match="classes/val: class folders .* are not the manifest's classes"):
        engine.check_data(make_spec(), copy)
    shutil.rmtree(copy / "classes" / "test")
    (copy / "classes" / "val" / "dark").mkdir()
    Image.new("RGB", (32, 32)).save(copy / "classes" / "val" / "dark" / "0.png")
    with pytest.raises(UserError, match="classes/test: missing"):
        engine.check_data(make_spec(), copy)


@pytest.fixture(scope="module")
def weights(data, tmp_path_factory) -> Path:
    """The checkpoint of another training of the same layout, for images of 32 x 32."""
    run = tmp_path_factory.mktemp("before") / "run"
    engine.train(make_spec(updates=4, seed=3), data, run)
    return run / "checkpoints" / "update_00000004.pth"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"layout": "C-C-C-T"}, "has backbone.stages.2.0.norm1.weight, this model has not"),
        ({"blocks": {"C-C-T-T": [2, 1, 2, 1, 1]}}, "it lacks backbone.stages.1.1.norm.weight"),
        ({"widths": [8, 8, 16, 16, 16]}, r"backbone.stages.1.0.\S+ is \(.*\) in it and \(.*\) here"),
        ({"head_dim": 4}, r"backbone.stages.2.0.attention.table is \(2, 3, 3\) in it and \(4, 3, 3\) here"),
    ],
)
def test_weights_of_another_layout_are_one_line(options, message, weights, data, tmp_path):
    spec = make_spec(options, options={"load_from": str(weights)})
    with pytest.raises(UserError, match=f"update_00000004.pth: a checkpoint of another layout: .*{message}") as error:
        engine.train(spec, data, tmp_path / "run")
    assert "\n" not in str(error.value)


def test_weights_start_a_training_on_larger_images_with_resized_tables(weights, data, tmp_path):
    from plugins.operators.coatnet import resized

    before = torch.load(weights, map_location="cpu", weights_only=True)["state_dict"]
    spec = make_spec({"image_size": 64}, options={"load_from": str(weights)})
    runner = engine.build_runner(config.write_config(spec, data, tmp_path / "run"))
    runner.load_or_resume()
    after = runner.model.state_dict()
    tables = [name for name in before if name.endswith(".table")]
    assert tables and all(torch.equal(after[name], resized(before[name], 4, 4)) for name in tables)
    assert all(torch.equal(after[name], value) for name, value in before.items() if name not in tables)


def transfer_spec(weights: Path, **training) -> dict:
    """Fine-tuning, at twice the image size, of the run that `weights` is of."""
    spec = make_spec({"image_size": 64}, config="transfer.py", **training)
    return spec | {"pretrained": str(weights.parents[1] / "metrics.json")}


def weights_at_the_start(spec: dict, data: Path, folder: Path) -> dict:
    runner = engine.build_runner(config.write_config(spec, data, folder))
    runner.load_or_resume()
    return runner.model.state_dict()


def test_a_transfer_starts_from_the_weights_of_another_run(weights, data, tmp_path):
    from plugins.operators.coatnet import resized

    before = torch.load(weights, map_location="cpu", weights_only=True)["state_dict"]
    after = weights_at_the_start(transfer_spec(weights), data, tmp_path / "run")
    tables = [name for name in before if name.endswith(".table")]
    assert tables and all(torch.equal(after[name], resized(before[name], 4, 4)) for name in tables)
    assert all(torch.equal(after[name], value) for name, value in before.items() if name not in tables)


def test_other_classes_get_a_fresh_last_layer(weights, copy, tmp_path):
    for split in ("train", "val", "test"):
        (copy / "classes" / split / "red").rename(copy / "classes" / split / "rose")
    classes = [*CLASSES[1:], "rose"]
    seal(copy, "mini_shapes", {}, {"classes": classes, "class_size": [32, 32], "counts": {"test": 20}, "skipped": {}})
    before = torch.load(weights, map_location="cpu", weights_only=True)["state_dict"]
    after = weights_at_the_start(transfer_spec(weights), copy, tmp_path / "run")
    assert after["head.fc.weight"].shape == before["head.fc.weight"].shape
    assert not torch.equal(after["head.fc.weight"], before["head.fc.weight"])
    kept = [name for name in before if name.startswith("backbone.") and not name.endswith(".table")]
    assert kept and all(torch.equal(after[name], before[name]) for name in kept)


def test_a_killed_transfer_goes_on_from_its_own_checkpoint(weights, data, tmp_path, monkeypatch):
    spec, run = transfer_spec(weights, updates=4, warmup=1), tmp_path / "run"
    undisturbed = finished(spec, data, tmp_path / "whole")
    killed_before_its_end(engine, spec, data, run, monkeypatch)[-1].unlink()
    assert_same(undisturbed, finished(spec, data, run))


def test_weights_that_are_not_there_or_damaged_are_one_line(weights, data, tmp_path):
    spec, folder = transfer_spec(weights), tmp_path / "source"
    spec["pretrained"] = str(folder / "metrics.json")
    with pytest.raises(UserError, match="source/checkpoints: holds no checkpoint; remove metrics.json beside it"):
        engine.train(spec, data, tmp_path / "run")
    copy = folder / "checkpoints" / weights.name
    copy.parent.mkdir(parents=True)
    copy.write_bytes(weights.read_bytes())
    files.seal(copy)
    engine.build_runner(config.write_config(spec, data, tmp_path / "run")).load_or_resume()
    flip_bit(copy, 0.3)
    with pytest.raises(UserError, match=f"{weights.name}: damaged checkpoint .*train it again") as error:
        engine.train(spec, data, tmp_path / "run")
    assert "\n" not in str(error.value)


class Trap:
    """What a hostile checkpoint holds: reading it as a pickle writes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def ways_to_load(path: Path) -> list[dict]:
    """Options of a config by which mmengine reads weights."""
    return [
        {"load_from": str(path)},
        {"model.pretrained": str(path)},
        {"model.init_cfg": {"type": "Pretrained", "checkpoint": str(path)}},
    ]


@pytest.mark.parametrize("way", range(3), ids=["load_from", "pretrained", "init_cfg"])
def test_no_way_of_loading_weights_runs_what_a_file_holds(way, data, tmp_path):
    path, sprung = tmp_path / "hostile.pth", tmp_path / "sprung"
    torch.save({"state_dict": {}, "meta": Trap(sprung)}, path)
    spec = resnet_spec(options=ways_to_load(path)[way])
    with pytest.raises(
        UserError, match="hostile.pth: cannot be read as weights alone .*name a whole checkpoint"
    ) as error:
        engine.train(spec, data, tmp_path / "run")
    assert "\n" not in str(error.value) and not sprung.exists()


def resnet_spec(**training) -> dict:
    """A backbone of mmpretrain's own base class, which heeds `init_cfg`."""
    model = {"aaconv": {"network": "cifar20", "kind": "plain"}}
    return completed(make_spec(**training) | {"study": "aaconv", "model": model})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s["model"].pop("coatnet"), "model: names no backbone; give exactly one of aaconv, acmix, coatnet"),
        (lambda s: s["model"].update(acmix={}), "model: names acmix and coatnet; give exactly one of"),
        (lambda s: s["model"].update(deformable=True), "model.deformable: not known to the task classification"),
        (lambda s: s["train"].update(warmup=8), "train.warmup=8: must be at least 1 and less than updates=8"),
        (lambda s: s["train"].update(log_every=2, score_every=3), "train.score_every=3: must be a multiple of"),
        (lambda s: s["model"]["coatnet"].pop("image_size"), "model.coatnet.image_size: is missing"),
        (lambda s: s["model"]["coatnet"]["blocks"].pop("C-C-T-T"), "model.coatnet.blocks: says nothing of layout"),
        (lambda s: s["model"]["coatnet"].update(layout="ViT_REL", image_size=36), "vit.patch=8: must divide"),
        (lambda s: s["model"]["coatnet"].update(layout="ViT_REL", s2_share=0.5), "s2_share: needs five stages"),
    ],
)
def test_faults_of_a_recipe_are_one_line(change, message, data):
    spec = make_spec()
    change(spec)
    with pytest.raises(UserError, match=message):
        config.build_config(spec, data)
