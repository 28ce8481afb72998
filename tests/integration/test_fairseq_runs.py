"""Translation runs end to end on tiny data: kill and resume, repeatability, damaged checkpoints, plain fairseq."""

import argparse
import contextlib
import copy
import json
import math
import os
import pickle
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import sacrebleu
import torch

from plugins.datasets.prepare import prepare
from plugins.fairseq_ext import checkpoints
from plugins.fairseq_ext import engine as fairseq_engine
from plugins.fairseq_ext.options import training_options
from plugins.suite import files, items
from plugins.suite.errors import UserError

ROOT = Path(__file__).resolve().parents[2]
TRAIN = """
import json, sys, torch
from pathlib import Path
from plugins.fairseq_ext import engine as fairseq_engine
torch.set_num_threads(1)
fairseq_engine.train(json.loads(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]))
"""
EVALUATE = """
import json, sys, torch
from pathlib import Path
from plugins.fairseq_ext import engine as fairseq_engine
torch.set_num_threads(1)
spec, data, run_dir = json.loads(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3])
fairseq_engine.train(spec, data, run_dir)
print(json.dumps(fairseq_engine.evaluate(spec, data, run_dir)["metrics"]))
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
    "train": {
        "updates": 40,
        "max_tokens": 300,
        "update_freq": 1,
        "gpus": 1,
        "lr": 0.005,
        "lr_scheduler": "inverse_sqrt",
        "lr_period": None,
        "warmup": 10,
        "warmup_init_lr": 1e-7,
        "adam_betas": [0.9, 0.98],
        "weight_decay": 0.0,
        "clip_norm": 0.0,
        "label_smoothing": 0.1,
        "attention_dropout": 0.0,
        "input_dropout": 0.0,
        "weight_dropout": 0.1,
        "share_embeddings": "none",
        "save_every": 8,
        "log_every": 5,
        "fp16": False,
        "keep_checkpoints": False,
    },
    "evaluate": {"split": "test", "beam": 2, "lenpen": 1.0, "averaged_checkpoints": 2, "max_tokens": 4000},
    "measure": {"tokens": 6},
}
SHAPE = {key: SPEC["model"][key] for key in ("layers", "width", "ffn_width", "heads", "dropout")}
MODELS = {
    "transformer": {**SHAPE, "parallel": False},
    "muse": SPEC["model"],
    "spatial_attention": {**SHAPE, "attention": {"terms": "1111"}, "encoder_attention": {"terms": "0111"}},
}


def alone(script, spec, data, run_dir):
    """A script's last line of output, from a process of its own."""
    done = subprocess.run(
        [sys.executable, "-c", script, json.dumps(spec), str(data), str(run_dir)],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout.splitlines()[-1]


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
        # Two that are whole, so that one is left where the newest is damaged; it stands still while they are counted.
        while True:
            assert process.poll() is None, "the training ended before it could be killed"
            process.send_signal(signal.SIGSTOP)
            second_epoch = list(run_dir.glob("checkpoints/checkpoint_2_*.pt"))
            if second_epoch and len(checkpoints.whole(run_dir / "checkpoints")) > 1:
                break
            process.send_signal(signal.SIGCONT)
            time.sleep(0.01)
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


def truncate(path):
    path.write_bytes(path.read_bytes()[:1000])


def flip_a_bit(path):
    """In the middle of the file, where its weights are."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def lose_the_seal(path):
    path.with_name(f"{path.name}.sha256").unlink()


@pytest.mark.parametrize("damage", [truncate, flip_a_bit, lose_the_seal])
def test_a_damaged_checkpoint_gives_way_to_the_one_before(data, killed, undisturbed, tmp_path, capsys, damage):
    run_dir = shutil.copytree(killed, tmp_path / "run")
    updates, newest = max(checkpoints.whole(run_dir / "checkpoints").items())
    damage(newest)
    resumed = finish(SPEC, data, run_dir)
    log = capsys.readouterr().out
    assert f"{newest}: damaged" in log
    assert updates > int(re.search(r"resuming from checkpoint\S+, update (\d+)", log)[1]) > 0
    assert_same(resumed, undisturbed[1])


def test_without_a_whole_checkpoint_training_begins_anew(data, killed, undisturbed, tmp_path, capsys):
    run_dir = shutil.copytree(killed, tmp_path / "run")
    for path in checkpoints.whole(run_dir / "checkpoints").values():
        flip_a_bit(path)
    assert_same(finish(SPEC, data, run_dir), undisturbed[1])
    assert "resuming" not in capsys.readouterr().out


@pytest.fixture(scope="module")
def trained(data, tmp_path_factory):
    """The folder of a training that ended and was not evaluated."""
    run_dir = tmp_path_factory.mktemp("trained")
    fairseq_engine.train(SPEC, data, run_dir)
    return run_dir


@pytest.mark.parametrize("updates", [32, 40])
def test_a_checkpoint_damaged_before_it_is_averaged_is_trained_again(data, trained, undisturbed, tmp_path, updates):
    run_dir = shutil.copytree(trained, tmp_path / "run")
    flip_a_bit(checkpoints.whole(run_dir / "checkpoints")[updates])
    with pytest.raises(UserError, match=rf"no whole checkpoint of update {updates}; run again"):
        fairseq_engine.evaluate(SPEC, data, run_dir)
    assert_same(finish(SPEC, data, run_dir), undisturbed[1])


def test_a_run_killed_while_it_removes_checkpoints_keeps_its_average(data, trained, undisturbed, tmp_path):
    run_dir = shutil.copytree(trained, tmp_path / "run")
    checkpoints.average(run_dir / "checkpoints", SPEC)
    checkpoints.whole(run_dir / "checkpoints")[40].unlink()
    assert_same(finish(SPEC, data, run_dir), undisturbed[1])


def test_a_damaged_average_is_made_again_or_trained_again(data, trained, undisturbed, tmp_path, capsys):
    run_dir = shutil.copytree(trained, tmp_path / "run")
    flip_a_bit(checkpoints.average(run_dir / "checkpoints", SPEC))
    assert_same(finish(SPEC, data, run_dir), undisturbed[1])
    assert "update" not in capsys.readouterr().out
    flip_a_bit(run_dir / "checkpoints" / "averaged.pt")
    assert_same(finish(SPEC, data, run_dir), undisturbed[1])
    assert "update 40 of 40" in capsys.readouterr().out


def test_a_cut_record_of_a_finished_training_counts_as_absent(data, trained, undisturbed, tmp_path, capsys):
    run_dir = shutil.copytree(trained, tmp_path / "run")
    record = run_dir / "checkpoints" / "trained.json"
    record.write_text(record.read_text()[:20])
    assert_same(finish(SPEC, data, run_dir), undisturbed[1])
    assert "resuming from checkpoint_" in capsys.readouterr().out


@pytest.mark.parametrize("model", MODELS)
def test_a_finished_training_is_evaluated_by_a_process_that_did_not_train(data, tmp_path, model):
    """Nothing has imported the --user-dir there; a killed evaluation, a cut metrics.json and an orphan come to this."""
    spec = SPEC | {"model": MODELS[model], "train": SPEC["train"] | {"updates": 16}}
    alone(TRAIN, spec, data, tmp_path)
    first = alone(EVALUATE, spec, data, tmp_path)
    assert json.loads(first).keys() == {"bleu", "chrf"}
    # The checkpoints are gone now, the average is left.
    assert alone(EVALUATE, spec, data, tmp_path) == first


def test_an_epoch_that_ends_with_a_checkpoint_loses_none(data, tmp_path):
    """fairseq names and counts such checkpoints apart: here all are, and three are averaged."""
    spec = copy.deepcopy(SPEC)
    spec["train"] |= {"max_tokens": 100_000, "updates": 8, "save_every": 1, "warmup": 1}
    spec["evaluate"]["averaged_checkpoints"] = 3
    fairseq_engine.train(spec, data, tmp_path)
    assert list(checkpoints.whole(tmp_path / "checkpoints")) == [6, 7, 8]
    assert fairseq_engine.evaluate(spec, data, tmp_path)["settings"]["averaged_checkpoints"] == 3


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
        arguments = training_options(spec, fairseq_engine.translation_manifest(data), data, tmp_path)
        fairseq_engine._run_fairseq(arguments + options + restore, spec, tmp_path, resumed)
        updates, checkpoint = max(checkpoints.whole(tmp_path / "checkpoints").items())
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
    spec["model"] = MODELS["transformer"]
    spec["train"] |= {"updates": 8, "keep_checkpoints": True}
    assert "--user-dir" not in fairseq_engine.command(spec, data, tmp_path)
    _, metrics, losses = finish(spec, data, tmp_path / "run")
    assert 0 <= metrics["bleu"] <= 100 and losses["valid"] > 0
    assert list((tmp_path / "run" / "checkpoints").glob("checkpoint*.pt"))


def test_only_plain_data_is_read_from_a_checkpoint(tmp_path):
    """What fairseq stores is allowed (the runs above load it); a class that could run code is not."""
    path = tmp_path / "checkpoint1.pt"
    torch.save({"model": {}, "extra": Path("x")}, path)
    with pytest.raises(pickle.UnpicklingError, match="PosixPath"):
        checkpoints.load(path)
    torch.save({"model": {}, "args": argparse.Namespace(arch="transformer")}, path)
    assert checkpoints.load(path)["args"].arch == "transformer"


def test_checkpoints_are_removed_but_the_averaged_one(undisturbed):
    left = sorted(path.name for path in (undisturbed[0] / "checkpoints").iterdir())
    assert left == ["averaged.pt", "averaged.pt.sha256", "trained.json"]
    assert files.is_sealed(undisturbed[0] / "checkpoints" / "averaged.pt")


def test_curves_hold_losses_and_gates(undisturbed):
    lines = curves(undisturbed[0], without="nothing")
    gates = [line["gates"] for line in lines if "gates" in line]
    assert set(gates[-1]) == {"encoder.0", "decoder.0"}
    assert sum(gates[-1]["encoder.0"]) == pytest.approx(1)
    assert [line["update"] for line in lines if "valid_loss" in line] == [8, 16, 24, 32, 40]
    assert [line["update"] for line in lines if "train_loss" in line] == [5, 10, 15, 20, 25, 30, 35, 40]


@pytest.fixture(scope="module")
def evaluated(data, undisturbed):
    return fairseq_engine.evaluate(SPEC, data, undisturbed[0])


def test_items_give_back_the_scores(evaluated):
    """Corpus scores of the stored statistics are the stored scores."""
    items, metrics = evaluated["items"], evaluated["metrics"]
    assert all(len(values) == 20 for values in items.values()) and items["item"] == list(range(20))
    total = np.array(items["bleu"]).sum(0).tolist()
    bleu = sacrebleu.BLEU.compute_bleu(total[2:6], total[6:], total[0], total[1], smooth_method="exp")
    assert bleu.score == pytest.approx(metrics["bleu"])
    chrf = sacrebleu.CHRF()._compute_score_from_stats(np.array(items["chrf"]).sum(0).tolist())
    assert chrf.score == pytest.approx(metrics["chrf"])


def test_details_stay_within_their_bounds(data, undisturbed, evaluated):
    details = evaluated["details"]
    assert set(details["gates"]) == {"encoder.0", "decoder.0"}
    curve = details["curve"]
    assert curve["update"] == sorted({*range(5, 41, 5), *range(8, 41, 8)})
    for name, every in (("train_loss", 5), ("valid_loss", 8)):
        assert [value is not None for value in curve[name]] == [update % every == 0 for update in curve["update"]]
    state = checkpoints.load(undisturbed[0] / "checkpoints" / "averaged.pt")
    types = state["model"]["decoder.output_projection.weight"].shape[0]
    assert details["chance"] == {"loss": math.log(types), "metric": 0}
    assert curve["train_loss"][-1] < details["chance"]["loss"]


def test_what_is_measured_is_one_sentence(data):
    model, forward, train_step = fairseq_engine.measured_model(SPEC, data)
    assert forward().shape[:2] == (1, SPEC["measure"]["tokens"])
    train_step()
    assert all(parameter.grad is not None for parameter in model.parameters())


def test_every_test_sentence_is_translated_in_order(data, undisturbed):
    sources = (data / "text" / "test.velu").read_text().splitlines()
    hypotheses = (undisturbed[0] / "hypotheses.txt").read_text().splitlines()
    assert len(hypotheses) == len(sources) == 20


def test_missing_data_and_another_dictionary_are_one_line(data, undisturbed, tmp_path):
    with pytest.raises(UserError, match="no manifest, the data set was not prepared"):
        fairseq_engine.command(SPEC, tmp_path, tmp_path)
    other = shutil.copytree(data, tmp_path / "data")
    dictionary = other / "bin" / "dict.velu.txt"
    dictionary.write_text(dictionary.read_text() + "zzzz 1\n")
    with pytest.raises(UserError, match=r"the encoder has \d+ embeddings but the dictionary"):
        fairseq_engine.evaluate(SPEC, other, undisturbed[0])
    dictionary.unlink()
    with pytest.raises(UserError, match=r"dict\.velu\.txt: missing; prepare the data again"):
        fairseq_engine.command(SPEC, other, tmp_path)


def test_plain_fairseq_commands_take_the_models(data, tmp_path):
    """Without the suite: fairseq-train and fairseq-generate with --user-dir."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    common = {"cwd": ROOT, "env": environment, "capture_output": True, "text": True}
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


def test_a_probe_is_scored_by_rule_and_its_items_give_the_same(tmp_path):
    prepare("rules", tmp_path / "data", {"sentences": 300, "valid": 20, "test": 30, "units": 4, "match": True})
    (tmp_path / "run").mkdir()
    fairseq_engine.train(SPEC, tmp_path / "data", tmp_path / "run")
    evaluated = fairseq_engine.evaluate(SPEC, tmp_path / "data", tmp_path / "run")
    items.write(tmp_path / "items.parquet", evaluated["items"])
    again = items.scores("translation", items.read(tmp_path / "items.parquet"))
    assert again == pytest.approx(evaluated["metrics"]) and {"accuracy_match", "logit_length_slope"} < again.keys()
    words = {rule: row["words"] for rule, row in evaluated["details"]["rules"].items()}
    tags = (tmp_path / "data" / "tags" / "test").read_text().split()
    assert words == {rule: tags.count(rule) for rule in ("lexical", "n1", "n3", "sense", "match")}
    assert evaluated["primary"] == "bleu" and evaluated["details"]["chance"]["metrics"]["accuracy_n1"] == 12.5
