"""show and trace: a name or a row leads to every number, run, command, commit and data behind it."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import yaml

from analysis import lookup, traces
from analysis.__main__ import main
from analysis.commands.collect import metrics_lines
from plugins.suite import catalog
from plugins.suite.errors import UserError
from tests.unit.analysis.samples import run_folder

CLAIMS = {
    "paper": "x",
    "claims": [
        {
            "id": 5,
            "says": "MUSE is better.",
            "published": "36.3 > 35.3",
            "parts": [
                {
                    "id": "a",
                    "says": "than the Transformer",
                    "task": "translation",
                    "level": "trained",
                    "check": {"better": "branches/muse", "than": "branches/transformer"},
                },
                {
                    "id": "b",
                    "says": "than others",
                    "task": "translation",
                    "level": "trained",
                    "check": {"not_tested": "nobody tried"},
                },
            ],
        }
    ],
}


@pytest.fixture
def judged(collected):
    """The invented suite with one claim, its runs, their tables and ledger, and a part of them published."""
    Path("experiments/muse/claims.yaml").write_text(yaml.safe_dump(CLAIMS))
    values = [
        json.loads((run_folder("muse", "branches", arm, seed) / "metrics.json").read_text())
        for arm in ("muse", "transformer")
        for seed in (1, 2)
    ]
    Path("results/published/mini").mkdir(parents=True)
    Path("results/published/mini/metrics.jsonl").write_text(metrics_lines(values))
    out = "results/published/mini/tables/muse/runs.csv"
    main(["collect", "--metrics", "results/published/mini/metrics.jsonl", "--study", "muse", "--out", out])
    main(["arms", "results/published/mini", "--study", "muse"])
    assert main(["ledger", "results/mini", "--out", "results/mini"]) == 0
    assert main(["ledger", "results/published/mini", "--out", "results/published"]) == 0
    return collected


def shown(capsys, *argv: str) -> str:
    capsys.readouterr()
    assert main(list(argv)) == 0
    return capsys.readouterr().out


# --- show -------------------------------------------------------------------------------------------------------------
def test_a_claim_shows_its_parts_from_both_ledgers(judged, capsys):
    page = shown(capsys, "show", "muse:5")
    assert "MUSE is better." in page and "5a. than the Transformer" in page and "nobody tried" in page
    assert "results/published/ledger.csv" in page and "results/mini/ledger.csv" in page
    assert "asks: branches/muse > branches/transformer" in page and "runs: muse/branches/muse/seed1" in page
    assert "2 seeds of branches/muse; 3 are needed" in page  # what is published
    assert "gates: " in page
    part = shown(capsys, "show", "muse:5b")
    assert "5a." not in part and "nobody tried" in part


def test_a_claim_without_a_ledger_is_judged_now(judged, capsys):
    for path in Path("results").rglob("ledger.csv"):
        path.unlink()
    page = shown(capsys, "show", "muse:5a")
    assert "results/mini, judged now" in page and "results/published/mini, judged now" in page


def test_an_arm_shows_its_numbers_in_every_set(judged, capsys):
    page = shown(capsys, "show", "muse/branches/muse")
    assert "scale mini   (results/published/mini)" in page and "scale mini   (results/mini)" in page
    assert "2 seeds (1 2)" in page and "3 seeds (1 2 3)" in page
    assert "difference to the baseline: +" in page and "1.2e+06 parameters" in page and "72 s a run" in page
    assert "data: mini (0f3a9c21)" in page and "commit: 1a2b3c4d5e" in page and "    fresh" in page
    assert "3 done: muse/branches/muse/seed1" in page


def test_an_arm_that_shares_runs_says_so_and_a_folder_is_a_name(judged, capsys):
    assert "shares the runs of muse/branches/muse_simple" in shown(capsys, "show", "muse/kernels/muse_simple")
    assert "box AP" in shown(capsys, "show", "spatial_attention/factors_detection/w-o")
    assert "box AP" in shown(capsys, "show", "spatial_attention/factors_detection/w/o")


def test_a_failed_seed_is_named(judged, capsys):
    folder = run_folder("muse", "kernels", "kernel_31", 3)
    (folder / "metrics.json").unlink()
    (folder / "error.json").write_text('{"error": "out of memory"}')
    page = shown(capsys, "show", "muse/kernels/kernel_31")
    assert "2 done, 1 failed" in page and "failed: seed 3: out of memory" in page


def test_a_run_shows_metrics_command_settings_and_digests(judged, capsys):
    page = shown(capsys, "show", "muse/branches/muse/seed1")
    assert page.count("metrics: bleu 3") == 2
    assert "(results/published/mini/metrics.jsonl)" in page and f"({run_folder('muse', 'branches', 'muse', 1)}" in page
    for line in ("settings: updates 300", "spec: 0c", "sources: 0b", "generator 0a0a", "command: train", "fresh"):
        assert line in page


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("muse/branches/muze", "no arm 'branches/muze' in muse; did you mean 'branches/muse'?"),
        ("muze/branches/muse", "did you mean 'muse'"),
        ("muse:6", "no claim 6 in muse; it has 5"),
        ("muse:5c", "no part c in claim muse:5; it has a, b"),
        ("mus:5", "did you mean 'muse'"),
        ("muse", "is no name of a thing to show"),
        ("muse/branches/muse/seed9", "no finished run of it"),
    ],
)
def test_names_that_are_not_there_are_one_line_with_the_nearest(judged, name, line):
    with pytest.raises(UserError) as caught:
        lookup.show(name)
    assert line in str(caught.value) and "\n" not in str(caught.value)


def test_an_arm_of_the_suite_without_runs_says_how_to_make_one():
    catalog.forget()
    page = lookup.show("muse/branches/muse", Path("nowhere"))
    assert "snakemake --cores 2 results/runs/mini/muse/branches/muse/seed1/metrics.json" in page


# --- trace ------------------------------------------------------------------------------------------------------------
def test_a_part_of_the_ledger_leads_to_its_runs(judged, capsys):
    page = shown(capsys, "trace", "results/published/ledger.csv:muse:5a")
    assert "study muse, claim 5, part a" in page and "muse/branches/transformer/seed2" in page
    assert "command: train" in page and "commit: 1a2b3c4d5e6f7a8b" in page and "checksum 0f3a9c21" in page
    assert "results/published/mini/metrics.jsonl" in page and "results/runs" not in page
    own = shown(capsys, "trace", "results/mini/ledger.csv:muse:5a")
    assert "results/runs/mini/muse/branches/muse/seed3/metrics.json" in own


def test_a_line_number_is_that_of_an_editor(judged, capsys):
    lines = Path("results/mini/tables/muse/arms.csv").read_text().splitlines()
    number = next(index for index, line in enumerate(lines, 1) if line.startswith("muse,branches,muse,"))
    page = shown(capsys, "trace", f"results/mini/tables/muse/arms.csv:{number}")
    assert "ablation branches, arm muse," in page and page.count("command: train") == 3


@pytest.mark.parametrize(
    ("place", "runs"),
    [
        ("results/mini/tables/muse/arms.csv:branches/muse", 3),
        ("results/mini/tables/muse/runs.csv:branches/muse/seed2", 1),
        ("results/mini/tables/muse/runs.csv:muse/kernels/muse_simple", 3),
        ("results/published/mini/metrics.jsonl:2", 1),
        ("results/published/mini/metrics.jsonl:muse/branches/muse/seed1", 1),
    ],
)
def test_every_table_can_be_traced(judged, place, runs):
    assert traces.trace(place).count("command: train") == runs


def test_tables_of_ablations_and_the_comparison_can_be_traced(judged):
    main(["tables", "results/mini", "--study", "muse"])
    main(["compare", "results/mini", "--study", "muse"])
    for table in ("branches", "comparison"):
        assert traces.trace(f"results/mini/tables/muse/{table}.csv:branches/muse").count("command: train") == 3


def test_a_row_without_runs_says_what_it_rests_on(judged):
    page = traces.trace("results/mini/ledger.csv:muse:5b")
    assert "rests on no run: nobody tried" in page


def test_runs_that_are_gone_are_named(judged):
    for seed in (1, 2, 3):
        (run_folder("muse", "kernels", "kernel_31", seed) / "metrics.json").unlink()
    page = traces.trace("results/mini/tables/muse/arms.csv:kernels/kernel_31")
    assert "muse/kernels/kernel_31/seed1: not in results/mini, results/published/mini" in page


@pytest.mark.parametrize(
    ("place", "line"),
    [
        ("nothing.csv:3", "nothing.csv: no such file"),
        ("results/mini/ledger.csv", "names no row; add :LINE"),
        ("results/mini/ledger.csv:9999", "no row at line 9999; its rows are lines 2 to"),
        ("results/mini/ledger.csv:muse:5z", "no row 'muse:5z'; did you mean"),
        ("experiments/muse/study.yaml:1", "no row at line 1"),
        ("empty.csv:2", "has no rows"),
        ("short.csv:2", "has not as many fields as the header"),
        ("plain.csv:2", "this table names no runs"),
        ("results/published/mini/metrics.jsonl:99", "no line 99; it has 4"),
        ("results/published/mini/metrics.jsonl:muse", "no run 'muse'"),
    ],
)
def test_places_that_are_not_there_are_one_line(judged, place, line):
    Path("empty.csv").write_text("study,arm\n")
    Path("short.csv").write_text("study,arm\nmuse\n")
    Path("plain.csv").write_text("x,y\n1,2\n")
    with pytest.raises(UserError) as caught:
        traces.trace(place)
    assert line in str(caught.value) and "\n" not in str(caught.value)


def test_every_exact_row_of_the_suites_own_ledger_leads_to_a_file(tmp_path):
    catalog.forget()
    assert main(["ledger", "--study", "muse", "--out", str(tmp_path)]) == 0
    page = traces.trace(f"{tmp_path}/ledger.csv:muse:1")
    assert re.search(r"rests on results/(published/)?paper/cost/muse\.json", page) and "(not there)" not in page
    assert "rests on no run: not run at this scale" in page
