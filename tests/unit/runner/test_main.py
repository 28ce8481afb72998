"""The life of one run, with an engine that trains nothing: what is recorded, what is refused, what is left behind."""

import errno
import json
import os
import signal
import threading
import types
from pathlib import Path

import pytest
import torch
from torch import nn

from plugins.runner import __main__ as runner
from plugins.runner import provenance
from plugins.suite import catalog, data, freshness, items
from plugins.suite.errors import UserError

REPOSITORY = Path(__file__).resolve().parents[3]
METRICS = "results/runs/mini/coatnet/pretraining/C-C-T-T/seed1/metrics.json"
ITEMS = {"score": [100.0, 0.0], "label": [1, 2], "predicted": [1, 1], "top5": [True, True]}


def engine(**changes):
    """A double of an engine: the answers of a training that went well, but for `changes`."""
    model = nn.Linear(4, 2)

    def measured_model(spec, folder):
        images = torch.ones(spec["measure"]["batch"], 4)
        return model, lambda: model(images), None

    functions = {
        "command": lambda spec, folder, run_dir: ["engine", "train", str(run_dir)],
        "train": lambda spec, folder, run_dir: {"losses": {"train": 0.5}, "settings": {"lr": 1.0}, "seconds": 7.0},
        "evaluate": lambda spec, folder, run_dir: {
            "metrics": {"top1": 50.0, "top5": 100.0},
            "primary": "top1",
            "items": ITEMS,
            "settings": {"split": "test"},
            "details": {"curve": {"update": [1], "train_loss": [0.5]}},
        },
        "measured_model": measured_model,
    }
    return types.SimpleNamespace(**functions | changes)


class Suite:
    """A run's folder and prepared data under `root`."""

    def __init__(self, root):
        self.spec = catalog.resolve_metrics_path(METRICS)
        self.run_dir, self.manifest = root / Path(METRICS).parent, root / "data" / "manifest.json"
        self.run_dir.mkdir(parents=True)
        params = {key: value for key, value in self.spec["data"].items() if key != "name"}
        with data.building(root / "data") as folder:
            (folder / "text").mkdir()
            (folder / "text" / "a").write_text("one\n")
            facts = {"counts": {"train": 1}, "skipped": {}}
            data.seal(folder, self.spec["data"]["name"], data.parameters(self.spec["data"]["name"], params), facts)

    def run(self):
        """The exit status and the metrics, None where there are none."""
        code = runner.main([str(self.run_dir / "metrics.json"), "--data", str(self.manifest), "--device", "cpu"])
        path = self.run_dir / "metrics.json"
        return code, json.loads(path.read_text()) if path.exists() else None

    def error(self):
        return json.loads((self.run_dir / "error.json").read_text())["error"]


@pytest.fixture
def suite(tmp_path, monkeypatch):
    monkeypatch.chdir(REPOSITORY)
    monkeypatch.setattr(runner, "load_engine", lambda spec: engine())
    return Suite(tmp_path)


def test_a_run_leaves_metrics_that_are_fresh_and_items_that_carry_them(suite):
    code, value = suite.run()
    assert code == 0
    assert value["schema"] == 2 and freshness.staleness(value) == ""
    assert value["data"] == {
        key: json.loads(suite.manifest.read_text())[key] for key in ("name", "checksum", "generator")
    }
    frame = items.read(suite.run_dir / value["items"]["file"])
    assert value["items"] == {
        "file": "items.parquet",
        "n": 2,
        "sha256": data.file_sha256(suite.run_dir / "items.parquet"),
    }
    assert items.scores("classification", frame) == value["metrics"]
    assert value["cost"]["macs"] == 8 and json.loads(value["cost"]["macs_input"])["batch"] == 1
    assert not [key for key in value["cost"] if "ms" in key.split("_") or "mb" in key.split("_") or "load" in key]
    assert value["wall_s"]["train"] == 7.0 and set(value["wall_s"]) == {
        "train",
        "evaluate",
        "measure",
        "outside",
        "total",
    }
    record = value["provenance"]
    assert record["command"] == (
        f"python -m plugins.runner {suite.run_dir / 'metrics.json'} --data {suite.manifest} --device cpu"
    )
    assert record["instruction_sets"]["torch"] == torch.backends.cpu.get_cpu_capability()
    assert record["cpu_flags"] and record["blas"] and record["instruction_sets"]["onednn"] != "unknown"
    assert {"torch", "numpy", "pillow", "python"} <= set(record["versions"])
    assert "plugins/runner/seeding.py" in record["sources"]
    assert "# engine train" in (suite.run_dir / "train.log").read_text()


@pytest.mark.parametrize(
    ("error", "code", "words"),
    [
        (UserError("data.name: no data set 'x'"), 2, "no data set 'x'"),
        (OSError(errno.ENOSPC, "No space left on device", "checkpoint.pt"), 1, "the disk is full"),
        (RuntimeError("first\nsecond"), 1, "RuntimeError: first second"),
        (SystemExit(3), 1, "SystemExit: 3"),
    ],
)
def test_a_failed_run_leaves_an_error_and_no_metrics(suite, monkeypatch, capsys, error, code, words):
    def fail(spec, folder, run_dir):
        raise error

    monkeypatch.setattr(runner, "load_engine", lambda spec: engine(train=fail))
    (suite.run_dir / "metrics.json").write_text("{}")
    assert suite.run() == (code, None)
    assert words in suite.error()
    first = capsys.readouterr().err.splitlines()[0]
    assert first.startswith("error: coatnet/pretraining/C-C-T-T seed 1: ") and words in first
    assert "Traceback" in (suite.run_dir / "train.log").read_text()


def test_good_metrics_outlive_a_repeated_run_that_is_killed(suite, monkeypatch):
    _, good = suite.run()

    def killed(spec, folder, run_dir):
        assert json.loads((run_dir / "metrics.json").read_text()) == good
        raise SystemExit("killed")

    monkeypatch.setattr(runner, "load_engine", lambda spec: engine(evaluate=killed))
    assert suite.run() == (1, good)
    assert suite.error() == "SystemExit: killed"


def test_a_run_that_is_terminated_is_a_failed_run(suite, monkeypatch):
    before = signal.getsignal(signal.SIGTERM)

    def train(spec, folder, run_dir):
        threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGTERM)).start()
        threading.Event().wait(10)

    monkeypatch.setattr(runner, "load_engine", lambda spec: engine(train=train))
    assert suite.run() == (1, None)
    assert suite.error() == "SystemExit: terminated"
    assert signal.getsignal(signal.SIGTERM) == before


def changing(path, content="two\n"):
    """An engine during whose training a file changes."""
    good = engine()

    def train(*args):
        Path(path).write_text(content)
        return good.train(*args)

    return lambda spec: engine(train=train)


def test_data_that_change_under_a_run_fail_it(suite, monkeypatch):
    monkeypatch.setattr(runner, "load_engine", changing(suite.manifest.parent / "text" / "a"))
    assert suite.run() == (2, None)
    assert "text/a: changed while the run read the data" in suite.error()


def test_a_source_that_is_edited_during_a_run_fails_it(suite, monkeypatch):
    before = provenance.source_hashes(suite.spec)
    for change in ({"plugins/operators/coatnet.py": "0"}, {"plugins/operators/coatnet.py": None}):
        hashes = {path: value for path, value in (before | change).items() if value}
        monkeypatch.setattr(provenance, "source_hashes", lambda spec, hashes=hashes: hashes)
        assert suite.run() == (2, None)
        assert suite.error().startswith("plugins/operators/coatnet.py: changed while the run used it")


def test_data_of_another_generator_or_recipe_are_refused(suite, monkeypatch):
    content = json.loads(suite.manifest.read_text())
    for change, words in (
        ({"generator": "f" * 16}, "made by other sources, parameters or versions than these; prepare the data again"),
        ({"name": "cifar10", "params": {"val": 500}, "generator": data.generator_digest("cifar10", {})},
         "is data set 'cifar10', the recipe asks for 'mini_shapes'"),
        ({"params": content["params"] | {"seed": 99},
          "generator": data.generator_digest("mini_shapes", content["params"] | {"seed": 99})}, "has seed=99"),
    ):  # fmt: skip
        suite.manifest.write_text(json.dumps(content | change))
        assert suite.run() == (2, None)
        assert words in suite.error()


def test_metrics_that_do_not_follow_from_the_items_fail_the_run(suite, monkeypatch):
    def evaluate(*args):
        return engine().evaluate(*args) | {"metrics": {"top1": 50.1, "top5": 100.0}}

    monkeypatch.setattr(runner, "load_engine", lambda spec: engine(evaluate=evaluate))
    assert suite.run() == (1, None)
    assert "metrics.top1 is 50.1000, the items say 50.0000" in suite.error()


def test_a_schedule_that_is_out_of_date(suite, capsys):
    path = str(suite.run_dir / "metrics.json")
    assert runner.main([path, "--data", "nowhere", "--spec", "0" * 16]) == 2
    assert "experiments/ changed" in capsys.readouterr().err


def test_a_run_that_starts_from_another_names_its_weights(suite, tmp_path):
    weights = tmp_path / "update_00000050.pth"
    double = engine(last_checkpoint=lambda folder: weights)
    spec = catalog.resolve_metrics_path("results/runs/mini/coatnet/transfer/C-C-T-T/seed1/metrics.json")
    assert spec["pretrained"] == METRICS
    spec["pretrained"] = str(suite.run_dir / "metrics.json")
    assert runner._pretraining(double, suite.spec) is None
    with pytest.raises(UserError, match="metrics.json: missing; this run starts from the weights of that one"):
        runner._pretraining(double, spec)
    _, value = suite.run()
    manifest = {"checksum": "c"}
    identities = []
    for content in ("first", "first", "second"):
        weights.write_text(content)
        record = runner._pretraining(double, spec)
        assert freshness.staleness(record) == "" and record["weights_sha256"] == data.file_sha256(weights)
        identities.append(runner._identity(spec, manifest, record))
    assert identities[0] == identities[1] != identities[2]
    for broken, words in (("{", "not valid JSON"), ("{}", "lacks 'schema'")):
        (suite.run_dir / "metrics.json").write_text(broken)
        with pytest.raises(UserError, match=words):
            runner._pretraining(double, spec)


def test_resuming_asks_for_the_same_frameworks(suite, monkeypatch):
    manifest = {"checksum": "c"}
    before = runner._identity(suite.spec, manifest, None)
    version = provenance.metadata.version
    monkeypatch.setattr(provenance.metadata, "version", lambda name: "9" if name == "onedl-mmcv" else version(name))
    assert runner._identity(suite.spec, manifest, None) != before
