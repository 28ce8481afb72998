"""Translation runs end to end on tiny data: kill and resume, repeatability, truncated checkpoints, plain fairseq."""

import argparse
import contextlib
import copy
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import sacrebleu
import torch

from plugins.datasets.prepare import prepare
from plugins.fairseq_ext import engine as fairseq_engine
from plugins.suite.errors import UserError

ROOT = Path(__file__).resolve().parents[2]
TRAIN = """
import json, sys, torch
from pathlib import Path
from plugins.fairseq_ext import engine as fairseq_engine
torch.set_num_threads(1)
fairseq_engine.train(json.loads(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]))
"""
SPEC = {
    "scale": "mini",
    "task": "translation",
    "seed": 3,
    "threads": 1,
    "model": {
        "layers": 1,
        "width": 16,
        "ffn_width": 32,
        "heads": 2,
        "dropout": 0.2,
        "parallel": True,
        "convolution": {"kernels": [3, 5]},
        "ffn": "own",
    },
    "train": {"updates": 40, "max_tokens": 300, "lr": 0.005, "warmup": 10, "save_every": 8, "log_every": 5},
    "evaluate": {"beam": 2, "averaged_checkpoints": 2},
    "measure": {"tokens": 6, "batch": 2},
}


@pytest.fixture(scope="module", autouse=True)
def in_the_repository():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with contextlib.chdir(ROOT):
        yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data") / "mini_translation"
    prepare("mini_translation", folder, {"sentences": 300, "valid": 20, "test": 20})
    return folder


def finish(spec, data, run_dir):
    """(parameters, metrics, losses) of a run that starts or goes on in `run_dir`."""
    run_dir.mkdir(exist_ok=True)
    trained = fairseq_engine.train(spec, data, run_dir)
    evaluated = fairseq_engine.evaluate(spec, data, run_dir)
    state = torch.load(run_dir / "checkpoints" / "averaged.pt", weights_only=True)
    return state["model"], evaluated["metrics"], trained["losses"] | evaluated["losses"]


def curves(run_dir, without):
    lines = [json.loads(line) for line in (run_dir / "curves.jsonl").read_text().splitlines()]
    return [line for line in lines if without not in line]


def assert_same(left, right):
    assert left[0].keys() == right[0].keys()
    for name, value in left[0].items():
        assert torch.equal(value, right[0][name]), name
    assert left[1:] == right[1:]


@pytest.fixture(scope="module")
def undisturbed(data, tmp_path_factory):
    run_dir = tmp_path_factory.mktemp("undisturbed")
    return run_dir, finish(SPEC, data, run_dir)


@pytest.fixture(scope="module")
def killed(data, tmp_path_factory):
    """The folder of a training that SIGKILL ended in its second epoch or later, between two checkpoints or in one."""
    run_dir = tmp_path_factory.mktemp("killed")
    process = subprocess.Popen(
        [sys.executable, "-c", TRAIN, json.dumps(SPEC), str(data), str(run_dir)],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        while not list(run_dir.glob("checkpoints/checkpoint_2_*.pt")):
            assert process.poll() is None, "the training ended before it could be killed"
            time.sleep(0.002)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert not (run_dir / "checkpoints" / "trained.json").exists()
    return run_dir


def test_a_killed_run_ends_like_an_undisturbed_one(data, killed, undisturbed, tmp_path, capsys):
    run_dir = shutil.copytree(killed, tmp_path / "run")
    resumed = finish(SPEC, data, run_dir)
    assert re.search(r"resuming from checkpoint\S+, update \d+", capsys.readouterr().out)
    assert_same(resumed, undisturbed[1])
    # The running training loss is a mean since the last line or restart; all else in the curves is the same.
    assert curves(run_dir, without="train_loss") == curves(undisturbed[0], without="train_loss")
    assert (run_dir / "hypotheses.txt").read_text() == (undisturbed[0] / "hypotheses.txt").read_text()


def test_a_truncated_checkpoint_gives_way_to_the_one_before(data, killed, undisturbed, tmp_path, capsys):
    run_dir = shutil.copytree(killed, tmp_path / "run")
    newest = max((run_dir / "checkpoints").glob("checkpoint*[0-9].pt"), key=lambda path: path.stat().st_mtime_ns)
    newest.write_bytes(newest.read_bytes()[:1000])
    resumed = finish(SPEC, data, run_dir)
    assert f"{newest}: truncated or unreadable" in capsys.readouterr().out
    assert_same(resumed, undisturbed[1])


def test_the_same_seed_gives_the_same_run_and_another_seed_another(data, undisturbed, tmp_path):
    assert_same(finish(SPEC, data, tmp_path / "same"), undisturbed[1])
    other = finish(SPEC | {"seed": 4}, data, tmp_path / "other")
    assert other[2] != undisturbed[1][2]


def test_several_processes_share_a_training(data, undisturbed, tmp_path, monkeypatch):
    # fairseq starts a process a GPU; here two on the CPU. Each loads checkpoints, the first alone keeps the curves.
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    options = ["--distributed-backend", "gloo", "--ddp-backend", "legacy_ddp", "--log-interval", "1"]
    spec = SPEC | {"train": SPEC["train"] | {"gpus": 2, "updates": 16}}
    restore = []
    for resumed in (0, 16):
        spec["train"]["updates"] = resumed + 16
        arguments = fairseq_engine._arguments(spec, fairseq_engine._manifest(data), data, tmp_path)
        fairseq_engine._run_fairseq(arguments + options + restore, spec, tmp_path, resumed)
        updates, checkpoint = fairseq_engine._newest(tmp_path / "checkpoints")
        assert updates == resumed + 16
        restore = ["--restore-file", str(checkpoint)]
    losses = [line["update"] for line in curves(tmp_path, without="valid_loss") if "train_loss" in line]
    assert losses == list(range(1, 33))
    # Two batches an update: the same updates are more epochs.
    alone = {line["epoch"]: line["update"] for line in curves(undisturbed[0], without="loss") if "epoch" in line}
    shared = {line["epoch"]: line["update"] for line in curves(tmp_path, without="loss") if "epoch" in line}
    assert shared[1] == pytest.approx(alone[1] / 2, abs=1)


def test_a_finished_training_is_not_repeated(data, undisturbed, capsys):
    run_dir, result = undisturbed
    assert_same(finish(SPEC, data, run_dir), result)
    assert "update" not in capsys.readouterr().out


def test_the_plain_transformer_runs_without_our_models(data, tmp_path):
    spec = copy.deepcopy(SPEC)
    spec["model"] |= {"parallel": False, "convolution": None}
    spec["train"] |= {"updates": 8, "keep_checkpoints": True}
    assert "--user-dir" not in fairseq_engine.command(spec, data, tmp_path)
    _, metrics, losses = finish(spec, data, tmp_path / "run")
    assert 0 <= metrics["bleu"] <= 100 and losses["valid"] > 0
    assert list((tmp_path / "run" / "checkpoints").glob("checkpoint*.pt"))


def test_only_plain_data_is_read_from_a_checkpoint(tmp_path):
    """What fairseq stores is allowed (the runs above load it); a class that could run code is not."""
    path = tmp_path / "checkpoint1.pt"
    torch.save({"model": {}, "extra": Path("x")}, path)
    assert fairseq_engine._load(path) is None
    torch.save({"model": {}, "args": argparse.Namespace(arch="transformer")}, path)
    assert fairseq_engine._load(path)["args"].arch == "transformer"


def test_checkpoints_are_removed_but_the_averaged_one(undisturbed):
    left = sorted(path.name for path in (undisturbed[0] / "checkpoints").iterdir())
    assert left == ["averaged.pt", "trained.json"]


def test_curves_hold_losses_and_gates(undisturbed):
    lines = curves(undisturbed[0], without="nothing")
    gates = [line["gates"] for line in lines if "gates" in line]
    assert set(gates[-1]) == {"encoder.0", "decoder.0"}
    assert sum(gates[-1]["encoder.0"]) == pytest.approx(1)
    assert [line["update"] for line in lines if "valid_loss" in line] == [8, 16, 24, 32, 40]
    assert [line["update"] for line in lines if "train_loss" in line] == [5, 10, 15, 20, 25, 30, 35, 40]


def test_details_give_back_the_score(data, undisturbed):
    """Corpus BLEU of the stored statistics is the stored BLEU; dispersion stays within its bounds."""
    details = fairseq_engine.evaluate(SPEC, data, undisturbed[0])["details"]
    total = [sum(column) for column in zip(*details["sentences"]["bleu"], strict=True)]
    bleu = sacrebleu.BLEU.compute_bleu(total[2:6], total[6:], total[0], total[1], smooth_method="exp")
    assert bleu.score == pytest.approx(undisturbed[1][1]["bleu"])
    assert len(details["sentences"]["source_words"]) == 20
    layers = details["dispersion"]["layers"]
    assert set(layers) == {"encoder.0"} and set(details["gates"]) == {"encoder.0", "decoder.0"}
    for values in layers["encoder.0"].values():
        assert len(values) == len(details["dispersion"]["source_tokens"]) and all(0 < value <= 1 for value in values)


def test_every_test_sentence_is_translated_in_order(data, undisturbed):
    sources = (data / "text" / "test.velu").read_text().splitlines()
    hypotheses = (undisturbed[0] / "hypotheses.txt").read_text().splitlines()
    assert len(hypotheses) == len(sources) == 20


@pytest.mark.parametrize(
    ("section", "change", "message"),
    [
        ("train", {"updates": 41}, r"train\.save_every: 8 must divide train\.updates 41"),
        ("train", {"momentum": 0.9}, r"train\.momentum: unknown to the fairseq engine"),
        ("evaluate", {"beams": 5}, r"evaluate\.beams: unknown"),
        ("train", {"share_embeddings": "some"}, r"train\.share_embeddings: 'some' must be one of"),
        ("model", {"parallel": False}, r"model\.parallel: false is the plain Transformer"),
    ],
)
def test_faults_of_a_recipe_are_one_line(data, tmp_path, section, change, message):
    spec = copy.deepcopy(SPEC)
    spec[section] |= change
    with pytest.raises(UserError, match=message) as error:
        fairseq_engine.command(spec, data, tmp_path)
        fairseq_engine.evaluate(spec, data, tmp_path)
    assert "\n" not in str(error.value)


def test_missing_data_and_another_dictionary_are_one_line(data, undisturbed, tmp_path):
    with pytest.raises(UserError, match="no manifest, the data set was not prepared"):
        fairseq_engine.command(SPEC, tmp_path, tmp_path)
    other = shutil.copytree(data, tmp_path / "data")
    dictionary = other / "bin" / "dict.velu.txt"
    dictionary.write_text(dictionary.read_text() + "zzzz 1\n")
    with pytest.raises(UserError, match=r"the encoder has \d+ embeddings but the dictionary"):
        fairseq_engine.evaluate(SPEC, other, undisturbed[0])


def test_plain_fairseq_commands_take_the_models(data, tmp_path):
    """Without the suite: fairseq-train and fairseq-generate with --user-dir."""
    common = {"cwd": ROOT, "env": {**os.environ, "OMP_NUM_THREADS": "1"}, "capture_output": True, "text": True}
    commands = Path(sys.executable).parent
    shape = "--encoder-layers 1 --decoder-layers 1 --encoder-embed-dim 16 --decoder-embed-dim 16".split()
    train = [commands / "fairseq-train", data / "bin", "--user-dir", "plugins/fairseq_ext", "--arch", "muse_mini"]
    train += shape
    train += "--optimizer adam --lr 0.005 --max-tokens 400 --max-update 3 --num-workers 0 --cpu".split()
    train += ["--convolution-kernels", "[3]", "--save-dir", tmp_path]
    done = subprocess.run(train, **common, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    generate = [commands / "fairseq-generate", data / "bin", "--user-dir", "plugins/fairseq_ext", "--cpu"]
    generate += ["--path", tmp_path / "checkpoint_last.pt", "--beam", "2", "--required-batch-size-multiple", "1"]
    done = subprocess.run(generate, **common, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert len(re.findall(r"^H-\d+\t", done.stdout, re.MULTILINE)) == 20
