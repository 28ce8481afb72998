"""Costs beside printed numbers: the records, their conventions, and faults of models.yaml."""

import contextlib
from pathlib import Path

import pytest
import torch
from torch import nn

from plugins.runner.measure import count_macs, omit_attention_products
from plugins.suite.catalog import model_specs, studies
from plugins.suite.errors import UserError

ROOT = Path(__file__).resolve().parents[3]


def test_entries_of_all_studies_resolve():
    with contextlib.chdir(ROOT):
        for study in studies():
            for entry, spec in model_specs(study):
                assert spec["scale"] == "paper" and spec["task"] == entry["task"]


def test_a_wrong_key_gets_its_nearest(tmp_path, monkeypatch):
    (tmp_path / "experiments" / "demo").mkdir(parents=True)
    (tmp_path / "workflow").symlink_to(ROOT / "workflow")
    (tmp_path / "experiments" / "demo" / "models.yaml").write_text("models: [{modell: a, task: translation}]")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=r"models\.yaml: models\.0: .*modell"):
        model_specs("demo")


class Attention(nn.Module):
    """Speaks for itself, as the operators do."""

    def forward(self, x):
        return x

    def macs(self, x):
        return 10 * x.numel()

    def attention_macs(self, x):
        return 4 * x.numel()


def test_attention_products_are_left_out_on_request():
    model, x = nn.Sequential(Attention(), nn.Linear(4, 2, bias=False)), torch.ones(3, 4)
    whole = count_macs(model, lambda: model(x))
    with omit_attention_products(model):
        without = count_macs(model, lambda: model(x))
    assert (whole, without) == (120 + 24, 72 + 24) and count_macs(model, lambda: model(x)) == whole
    with pytest.raises(ValueError, match="no module of this model has attention_macs"):
        with omit_attention_products(nn.Linear(2, 2)):
            pass
