"""Typed files: each wrong value is one line with the file, the key and the rule, before anything runs."""

import csv
import math
from pathlib import Path

import pytest

from plugins.suite import catalog, schema
from plugins.suite.errors import UserError
from tests.unit.suite.conftest import ABLATION, IMAGES, RECIPE, STUDY

REPOSITORY = Path(__file__).resolve().parents[3]
IDENTITY = {"scale": "mini", "study": "toy", "ablation": "toy", "arm": "a", "seed": 1}
SENTENCES = IDENTITY | {
    "task": "translation", "engine": "fairseq", "threads": 1, "data": {"name": "toy"},
    "model": {"layers": 1, "width": 16, "ffn_width": 16, "heads": 2, "dropout": 0.1},
    "train": {"updates": 4, "max_tokens": 100, "lr": 0.01, "warmup": 1, "save_every": 2}, "measure": {"tokens": 8},
}  # fmt: skip
PICTURES = IDENTITY | {
    "task": "classification", "engine": "mmpretrain", "threads": 1, "data": {"name": "toy"},
    "model": {"coatnet": {"size": 0, "image_size": 64}},
    "train": {
        "config": "c.py", "updates": 4, "batch": 2, "lr": 0.01, "warmup": 1, "log_every": 1, "checkpoint_every": 1,
    },
    "measure": {"height": 8, "width": 8},
}  # fmt: skip
BOXES = PICTURES | {"task": "detection", "engine": "mmdet", "model": {}}


def changed(spec: dict, **sections) -> dict:
    """A spec with keys of its sections, or its own, replaced."""
    return spec | {
        key: spec[key] | value if isinstance(value, dict) and isinstance(spec.get(key), dict) else value
        for key, value in sections.items()
    }


WRONG = {
    "a misspelt key of train": (
        changed(PICTURES, train={"score_evry": 1}),
        "train: unknown key 'score_evry'; did you mean 's",
    ),
    "a misspelt key of evaluate": (
        changed(SENTENCES, evaluate={"splt": "test"}),
        "evaluate: unknown key 'splt'; did you mean 'split'",
    ),
    "a misspelt section": (changed(SENTENCES, trian={}), "unknown key 'trian'; did you mean 'train'"),
    "a misspelt key of measure": (
        changed(PICTURES, measure={"hieght": 1}),
        "measure: unknown key 'hieght'; did you mean 'height'",
    ),
    "a misspelt split": (
        changed(SENTENCES, evaluate={"split": "tset"}),
        "evaluate.split: 'tset' is not allowed; did you mean 'test'",
    ),
    "no rate": (changed(SENTENCES, train={"lr": 0}), "train.lr: 0 does not fit; it must be a number, above 0"),
    "a negative rate": (changed(PICTURES, train={"lr": -1}), "train.lr: -1 does not fit"),
    "a rate that is no number": (changed(SENTENCES, train={"lr": math.nan}), "train.lr: nan is not a finite number"),
    "a rate as text": (
        changed(SENTENCES, train={"lr": "1e-3"}),
        "train.lr: '1e-3' does not fit; it must be a number, above 0: highest learning rate; write a rate as",
    ),
    "an infinite option": (
        changed(PICTURES, train={"options": {"a.b": [math.inf]}}),
        "train.options.a.b.0: inf is not a finite number",
    ),
    "no updates": (
        changed(SENTENCES, train={"updates": 0}),
        "train.updates: 0 does not fit; it must be a whole number, at least 1",
    ),
    "updates as text": (changed(SENTENCES, train={"updates": "4"}), "train.updates: '4' does not fit"),
    "true for a number": (changed(SENTENCES, train={"updates": True}), "train.updates: True does not fit"),
    "a save that does not divide": (
        changed(SENTENCES, train={"save_every": 3}),
        "train.save_every: 3 must divide updates 4",
    ),
    "a period without a cosine": (
        changed(SENTENCES, train={"lr_period": 3}),
        "train.lr_period: is the length of a cosine",
    ),
    "a cosine without a period": (changed(SENTENCES, train={"lr_scheduler": "cosine"}), "train.lr_period"),
    "an unknown schedule": (
        changed(SENTENCES, train={"lr_scheduler": "cosin"}),
        "train.lr_scheduler: 'cosin' is not allowed; did you mean 'cosine'",
    ),
    "unknown sharing": (
        changed(SENTENCES, train={"share_embeddings": "al"}),
        "train.share_embeddings: 'al' is not allowed; did you mean 'all'",
    ),
    "no beam": (changed(SENTENCES, evaluate={"beam": 0}), "evaluate.beam: 0 does not fit"),
    "lenpen as text": (
        changed(SENTENCES, evaluate={"lenpen": "long"}),
        "evaluate.lenpen: 'long' does not fit; it must be a number",
    ),
    "no checkpoint averaged": (
        changed(SENTENCES, evaluate={"averaged_checkpoints": 0}),
        "evaluate.averaged_checkpoints: 0 does not fit",
    ),
    "less than none averaged": (
        changed(SENTENCES, evaluate={"averaged_checkpoints": -1}),
        "evaluate.averaged_checkpoints: -1 does not fit",
    ),
    "a checkpoint between two lines": (
        changed(PICTURES, train={"log_every": 2, "checkpoint_every": 3}),
        "train.checkpoint_every: 3 must be a multiple of log_every 2",
    ),
    "a batch that GPUs cannot share": (
        changed(PICTURES, train={"gpus": 2, "batch": 3}),
        "train.batch: 3 must be a multiple of gpus 2",
    ),
    "a warm-up to the end": (changed(PICTURES, train={"warmup": 4}), "train.warmup: 4 must be less than updates 4"),
    "a config elsewhere": (
        changed(PICTURES, train={"config": "../../../etc/x.py"}),
        "train.config: '../../../etc/x.py' does not fit",
    ),
    "a task of another engine": (
        changed(SENTENCES, task="detection"),
        "task: detection, but the recipe's engine fairseq does translation",
    ),
    "an unknown engine": (
        changed(SENTENCES, engine="fairsec"),
        "engine: 'fairsec' is not allowed; did you mean 'fairseq'",
    ),
    "an unhashable engine": (changed(SENTENCES, engine=[]), "engine: [] is not allowed"),
    "coatnet in translation": (changed(SENTENCES, model={"coatnet": {}}), "model: unknown key 'coatnet'"),
    "a share of the data in translation": (
        changed(SENTENCES, model={"train_fraction": 0.5}),
        "model: unknown key 'train_fraction'",
    ),
    "a start that the Transformer has not": (
        changed(SENTENCES, model={"parallel": False, "initialisation": "xavier"}),
        "model.initialisation: is MUSE's",
    ),
    "a convolution that the Transformer has not": (
        changed(SENTENCES, model={"parallel": False, "convolution": {"kernels": [3]}}),
        "model.convolution: the plain Transformer",
    ),
    "both attentions": (
        changed(SENTENCES, model={"parallel": True, "attention": {"terms": "1111"}}),
        "model.attention: takes the place of attention",
    ),
    "stacks of nothing": (
        changed(SENTENCES, model={"stacks": ["encoder"]}),
        "model.stacks: says where something stands that is not given",
    ),
    "a shared branch of nothing": (
        changed(SENTENCES, model={"parallel": True, "ffn": "shared"}),
        "model.ffn: shared means shared with the convolution",
    ),
    "a stack twice": (
        changed(SENTENCES, model={"attention": None, "stacks": ["encoder", "encoder"]}),
        "model.stacks: 'encoder' is given twice",
    ),
    "a multiple of nothing": (
        changed(SENTENCES, model={"width": "x2"}),
        "model.width: 'x2' does not fit; it must be a whole number",
    ),
    "an option that is null": (changed(SENTENCES, model={"heads": None}), "model.heads: None does not fit"),
    "attention without terms": (changed(BOXES, model={"attention": {"heads": 4}}), "model.attention.terms: is missing"),
    "two in one place": (
        changed(BOXES, model={"attention": {"terms": "1111"}, "dynamic_convolution": {"kernel": 3}}),
        "model.attention: takes the same place",
    ),
    "a backbone with more": (
        changed(BOXES, model={"aaconv": {"network": "resnet50"}, "deformable": True}),
        "model.aaconv: brings its own backbone, which has no deformable",
    ),
    "two backbones": (
        changed(PICTURES, model={"aaconv": {"network": "cifar20"}}),
        "model.coatnet: aaconv and coatnet; give one of",
    ),
    "a side of a pair": (
        changed(BOXES, model={"aaconv": {"network": "resnet50", "image": [8]}}),
        "model.aaconv.image: [8] does not fit; it must be a whole number, at least 1 or a pair [height, width]",
    ),
    "a seed below 0": (changed(SENTENCES, seed=-1), "seed: -1 does not fit"),
    "data below 0": (changed(SENTENCES, data={"seed": -1}), "data.seed: -1 names a folder"),
    "data that leave the folder": (changed(SENTENCES, data={"name": "../x"}), "data.name: '../x' does not fit"),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_value_is_one_line_with_its_key(name):
    spec, expected = WRONG[name]
    with pytest.raises(UserError) as caught:
        catalog.completed(spec, "toy.yaml")
    line = str(caught.value)
    assert line.startswith("toy.yaml: ") and expected in line and "\n" not in line and len(line) < 500, line


@pytest.mark.parametrize("spec", [SENTENCES, PICTURES, BOXES], ids=["fairseq", "mmpretrain", "mmdet"])
def test_a_written_spec_is_completed_and_stays_as_it_is_then(spec):
    completed = catalog.completed(spec)
    assert completed["train"]["gpus"] == 1 and completed["evaluate"]["split"] == "test"
    assert completed["model"] == spec["model"]
    assert catalog.completed(completed) == completed


@pytest.mark.parametrize(
    ("file", "text", "expected"),
    [
        (
            "configs/translation-mini.yaml",
            RECIPE.replace("sentences", "sentenses"),
            ["data.sentenses", "did you mean 'sentences'"],
        ),
        (
            "configs/translation-mini.yaml",
            RECIPE.replace("sentences: 100", "sentences: many"),
            ["data.sentences", "type int"],
        ),
        (
            "configs/translation-mini.yaml",
            RECIPE.replace("mini_translation", "mini_translatoin"),
            ["data.name", "did you mean 'mini_translation'"],
        ),
        (
            "configs/classification-mini.yaml",
            IMAGES.replace("scratch.py", "scrach.py"),
            ["train.config", "did you mean 'scratch.py'"],
        ),
        ("configs/translation-mini.yaml", RECIPE.replace("measure:", "measur:"), ["unknown key 'measur'"]),
        ("configs/translation-mini.yaml", RECIPE.replace("engine: fairseq\n", ""), ["key 'engine' is missing"]),
        (
            "ablations/toy.yaml",
            ABLATION.replace("task: translation", "task: classification").replace("0010}", "x}"),
            ["is an option of translation"],
        ),
    ],
)
def test_a_fault_of_a_recipe_names_its_file(toy, file, text, expected):
    path = toy.write(file, text)
    with pytest.raises(UserError) as caught:
        for recipe in ("translation", "classification"):
            catalog.recipe("toy", recipe, "mini")
        catalog.ablations("toy")
    line = str(caught.value)
    assert line.startswith(str(path.relative_to(toy.root))) and "\n" not in line
    for part in expected:
        assert part in line, line


def test_a_study_file_knows_its_keys(toy):
    assert catalog.study("toy").metric["translation"] == "bleu"
    toy.write("study.yaml", STUDY.replace("figures", "figurs"))
    with pytest.raises(UserError, match=r"toy/study\.yaml: unknown key 'figurs'; did you mean 'figures'"):
        catalog.study("toy")
    toy.write("study.yaml", STUDY.replace("translation:", "translatoin:"))
    with pytest.raises(UserError, match=r"study\.yaml: metric\.translatoin.* did you mean 'translation'"):
        catalog.study("toy")
    (toy.folder / "study.yaml").unlink()
    catalog.forget()
    with pytest.raises(UserError, match=r"study\.yaml: file not found"):
        catalog.study("toy")


ROW = {
    "task": "translation", "ablation": "branches", "arm": "muse", "table": "Table 1", "dataset": "IWSLT14",
    "model": "MUSE", "variant": "base", "metric": "bleu", "value": "36.3", "unit": "BLEU", "source": "the paper",
    "confidence": "read-in-paper-text", "note": "",
}  # fmt: skip


@pytest.mark.parametrize("value", ["nan", "inf", "１２", "1,5", "0x10", "1_000"])
def test_a_published_number_is_written_in_plain_digits(value):
    with pytest.raises(UserError, match="value: .* does not fit; it must be a number in digits"):
        schema.parse(schema.ReferenceRow, ROW | {"value": value}, "reference.csv:2")


def test_an_unread_number_stays_empty():
    unread = {"confidence": "unread-in-paper"}
    assert schema.parse(schema.ReferenceRow, ROW | unread | {"value": ""}, "reference.csv").number is None
    with pytest.raises(UserError, match="value: is given, but confidence says"):
        schema.parse(schema.ReferenceRow, ROW | unread, "reference.csv")


def test_every_published_number_of_the_suite_is_typed(monkeypatch):
    monkeypatch.chdir(REPOSITORY)
    rows = 0
    for study in catalog.studies():
        path = catalog.EXPERIMENTS / study / "reference.csv"
        with path.open(encoding="utf-8", newline="") as stream:
            for line, row in enumerate(csv.DictReader(stream), 2):
                schema.parse(schema.ReferenceRow, row, f"{path}:{line}")
                rows += 1
    assert rows > 1000


METRICS = {
    **{key: SENTENCES[key] for key in ("scale", "study", "ablation", "arm", "seed", "task", "engine")},
    "schema": 2, "status": "done", "metrics": {"bleu": 30.5}, "primary": "bleu",
    "losses": {"train": 1.0, "valid": None}, "details": {}, "cost": {"params": 10, "macs": 20},
    "wall_s": {"total": 1.5}, "settings": {},
    "items": {"file": "items.parquet", "n": 3, "sha256": "ab"},
    "data": {"name": "mini_translation", "checksum": "ab", "generator": "cd"},
    "provenance": {
        "commit": "ab", "dirty": False, "sources_sha256": "ab", "sources": [], "spec_sha256": "ab", "versions": {},
        "device": "cpu", "cpu_flags": ["avx2"], "instruction_sets": {"torch": "AVX2"}, "blas": "mkl", "threads": 1,
        "started": "", "finished": "", "command": "fairseq-train",
    },
}  # fmt: skip


def test_metrics_of_a_finished_run_fit():
    assert schema.parse(schema.Metrics, METRICS, "metrics.json").metrics == {"bleu": 30.5}


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"schema": 1}, "schema: 1 is not allowed"),
        ({"metrics": {"bleu": math.nan}}, "metrics.bleu: nan is not a finite number"),
        ({"primary": "blue"}, "primary: 'blue' is not among metrics bleu"),
        ({"metrics": {}}, "metrics: {} does not fit"),
        ({"latency": 1}, "unknown key 'latency'"),
        ({"status": "failed"}, "status: 'failed' is not allowed"),
    ],
)
def test_a_metrics_file_that_breaks_a_rule_is_one_line(change, expected):
    with pytest.raises(UserError) as caught:
        schema.parse(schema.Metrics, METRICS | change, "metrics.json")
    assert str(caught.value).startswith("metrics.json: ") and expected in str(caught.value)
