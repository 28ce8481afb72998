"""Costs beside printed numbers: the records, their conventions, and faults of the reference."""

import contextlib
import json
from pathlib import Path

import pytest

from analysis.__main__ import main
from analysis.commands import costs
from plugins.suite import catalog
from plugins.suite.errors import UserError

ROOT = Path(__file__).resolve().parents[3]
HEAD = "task,ablation,arm,table,dataset,model,variant,metric,value,unit,source,confidence,note\n"
FIELDS = "study model arm scale params macs convention printed_params_m printed_flops_g source note".split()
COUNTS = [
    {"model": "grid/a", "arm": "grid/a", "params": 1_010_000, "macs": 5_000_000},
    {"model": "Net-1", "arm": "", "params": 25_600_000, "macs": 4_100_000_000},
]


@pytest.fixture
def experiments(tmp_path, monkeypatch):
    study = tmp_path / "experiments/demo"
    (study / "ablations").mkdir(parents=True)
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
    monkeypatch.chdir(tmp_path)
    catalog.forget()
    yield study
    catalog.forget()


def test_records_hold_ours_and_the_print_in_its_convention(experiments):
    arm, net, rival = costs.study_records("demo", COUNTS, "paper")
    assert [list(record) for record in (arm, net, rival)] == [FIELDS] * 3
    assert (arm["printed_params_m"], arm["printed_flops_g"]) == (1.0, None)
    assert (net["printed_params_m"], net["printed_flops_g"]) == (25.5, 8.2)
    assert net["convention"] == "one multiply-add = 2 FLOPs" and costs.flops(net) == 8.2
    assert costs.difference(net["params"] / 1e6, 25.5) == pytest.approx(0.0039216, rel=1e-3)
    assert rival["params"] is None and rival["note"] == "unpublished shape"
    row = next(line for line in costs.table([arm, net, rival]).splitlines() if "Net-1" in line)
    cells = [cell.strip() for cell in row.split("|")]
    assert cells == ["", "Net-1", "25.600", "25.500", "+0.4 %", "4.100", "8.200", "+0.0 %", "", ""]


def test_a_print_that_is_not_in_the_reference_is_an_error(experiments):
    path = experiments / "models.yaml"
    path.write_text(path.read_text().replace("Table 1, model: Net-1}, flops", "Table 9, model: Net-1}, flops"))
    with pytest.raises(UserError, match=r"Net-1: no params or flops in reference\.csv for .*Table 9"):
        costs.study_records("demo", COUNTS, "paper")


def test_the_runner_s_error_is_passed_on_in_one_line():
    with contextlib.chdir(ROOT), pytest.raises(UserError, match=r"^nowhere: .*invalid choice"):
        costs.counted("nowhere", "paper")


def test_written_records_are_json(experiments, tmp_path, monkeypatch):
    monkeypatch.setattr(costs, "counted", lambda study, scale: COUNTS)
    out = tmp_path / "cost.json"
    assert main(["cost", "--json", str(out), "--markdown", str(tmp_path / "t.md")]) == 0
    assert [record["model"] for record in json.loads(out.read_text())] == ["grid/a", "Net-1", "Rival"]
    with pytest.raises(UserError, match="--study other: no such study; known: demo"):
        main(["cost", "--study", "other"])
