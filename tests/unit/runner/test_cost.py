"""Costs beside printed numbers: the records, their conventions, and faults of models.yaml."""

import contextlib
import json
from pathlib import Path

import pytest
import torch
from analysis.loading import AnalysisError
from torch import nn

from analysis import cost
from plugins.runner.measure import count_macs, omit_attention_products
from plugins.suite.catalog import model_specs, studies
from plugins.suite.errors import UserError

ROOT = Path(__file__).resolve().parents[3]
HEAD = "task,ablation,arm,table,dataset,model,variant,metric,value,unit,source,confidence,note\n"
FIELDS = (
    "study model arm scale params macs convention printed_params_m printed_flops_g source note"
).split()  # fmt: skip


@pytest.fixture
def experiments(tmp_path):
    study = tmp_path / "demo"
    study.mkdir()
    (study / "reference.csv").write_text(
        HEAD
        + "classification,,,Table 1,ImageNet,Net-1,base,params,25.5,M,the paper,read-in-paper-text,\n"
        + "classification,,,Table 1,ImageNet,Net-1,base,flops,8.2,G,the paper,read-in-paper-text,\n"
        + "classification,grid,a,Table 2,ImageNet,Net-1,a,cost.params,1000000,count,the paper,read-in-paper-text,\n"
    )
    (study / "models.yaml").write_text(
        "models:\n"
        "  - {model: Net-1, task: classification, set: {}, printed: {table: Table 1, model: Net-1}, flops_per_mac: 2}\n"
        "  - {model: Rival, task: classification, printed: {table: Table 1, model: Net-1}, note: unpublished shape}\n"
    )
    return tmp_path


COUNTS = [
    {"model": "grid/a", "arm": "grid/a", "params": 1_010_000, "macs": 5_000_000},
    {"model": "Net-1", "arm": "", "params": 25_600_000, "macs": 4_100_000_000},
]


def test_records_hold_ours_and_the_print_in_its_convention(experiments):
    arm, net, rival = cost.study_records(experiments, "demo", COUNTS, "paper")
    assert [list(record) for record in (arm, net, rival)] == [FIELDS] * 3
    assert (arm["printed_params_m"], arm["printed_flops_g"]) == (1.0, None)
    assert (net["printed_params_m"], net["printed_flops_g"]) == (25.5, 8.2)
    assert net["convention"] == "one multiply-add = 2 FLOPs" and cost.flops(net) == 8.2
    assert cost.difference(net["params"] / 1e6, 25.5) == pytest.approx(0.0039216, rel=1e-3)
    assert rival["params"] is None and rival["note"] == "unpublished shape"
    assert "| Net-1 | 25.600 | 25.500 | +0.4 % | 4.100 | 8.200 | +0.0 % |" in cost.table([arm, net, rival])


def test_a_print_that_is_not_in_the_reference_is_an_error(experiments):
    path = experiments / "demo" / "models.yaml"
    path.write_text(path.read_text().replace("Table 1, model: Net-1}, flops", "Table 9}, flops"))
    with pytest.raises(AnalysisError, match=r"Net-1: no params or flops in reference\.csv for .*Table 9"):
        cost.study_records(experiments, "demo", COUNTS, "paper")


def test_the_runner_s_error_is_passed_on_in_one_line():
    with contextlib.chdir(ROOT), pytest.raises(AnalysisError, match=r"^nowhere: .*invalid choice"):
        cost.counted("nowhere", "paper")


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


def test_written_records_are_json(experiments, tmp_path, monkeypatch):
    ablations = experiments / "demo" / "ablations"
    ablations.mkdir()
    (ablations / "grid.yaml").write_text("{title: t, task: classification, baseline: a, arms: {a: {set: {}}}}")
    monkeypatch.setattr(cost, "counted", lambda study, scale: COUNTS)
    out = tmp_path / "cost.json"
    assert cost.main(["--experiments", str(experiments), "--json", str(out), "--markdown", str(tmp_path / "t.md")]) == 0
    assert [record["model"] for record in json.loads(out.read_text())] == ["grid/a", "Net-1", "Rival"]
    with pytest.raises(AnalysisError, match="no such study; there are demo"):
        cost.main(["--experiments", str(experiments), "--study", "other"])
