"""Tables, comparison and report: known numbers, gaps and reasons shown, nothing that breaks Markdown or LaTeX."""

import json
import re
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from analysis import pages, reference, text
from analysis.__main__ import main
from plugins.suite import files, freshness
from plugins.suite.errors import UserError
from tests.unit.analysis.conftest import gather
from tests.unit.analysis.samples import run_folder

TABLES = Path("results/mini/tables")


def test_tables_show_numbers_gaps_and_reasons(suite):
    for seed in (1, 2, 3):
        (run_folder("muse", "kernels", "kernel_31", seed) / "metrics.json").unlink()
    (run_folder("muse", "kernels", "kernel_31", 3) / "error.json").write_text('{"error": "loss is 50% & NaN_"}')
    (run_folder("muse", "kernels", "kernel_15", 1) / "metrics.json").unlink()
    for seed in (1, 2, 3):
        path = run_folder("muse", "kernels", "kernel_7", seed) / "metrics.json"
        value = json.loads(path.read_text())
        path.write_text(json.dumps(value | {"settings": value["settings"] | {"batch": 32}}))
    gather("muse")
    assert main(["tables", "results/mini", "--study", "muse"]) == 0
    markdown = (TABLES / "muse/kernels.md").read_text()
    rows = {
        line.split("|")[1].strip(): [cell.strip() for cell in line.split("|")[2:-1]]
        for line in markdown.splitlines()
        if line.startswith("|")
    }  # noqa: E501
    assert rows["kernel_31"] == ["0/3", *["failed"] * 5] and rows["kernel_15"][0] == "2/3"
    assert rows["kernel_7"][3] == "not given" and "no difference for kernel_7: settings.batch is 32" in markdown
    assert re.fullmatch(r"[+−]\d+\.\d\d \[[+−]?\d+\.\d\d, [+−]?\d+\.\d\d\]", rows["kernel_3"][3])
    assert "kernel_31, seed 3: loss is 50% & NaN_" in markdown
    assert "scale mini" in markdown and "commit 1a2b3c4d5e" in markdown and "0f3a9c21" in markdown
    latex = (TABLES / "muse/kernels.tex").read_text()
    assert r"loss is 50\% \& NaN\_" in latex and latex.count(r"\\") == 6
    assert pd.read_csv(TABLES / "muse/kernels.csv").loc[1, "arm"] == "kernel_3"
    assert (TABLES / "muse/summary.md").read_text().count("## ") == 2


def test_an_ablation_without_runs_gives_an_empty_table(suite):
    Path("results/mini/expected.json").write_text("[]")
    gather("muse")
    assert main(["tables", "results/mini"]) == 0
    assert "not run at this scale" in (TABLES / "muse/kernels.md").read_text()


@given(st.text())
def test_latex_leaves_no_special_character_bare(value):
    escaped = text.latex(value)
    for command in (r"\textbackslash{}", r"\textasciitilde{}", r"\^{}", r"\ensuremath{<}", r"\ensuremath{>}"):
        escaped = escaped.replace(command, "")
    escaped = re.sub(r"\$-\$|\$\\[a-zA-Z]+\$", "", escaped)
    for symbol in "&%#_{}$":
        escaped = escaped.replace(f"\\{symbol}", "")
    assert not set("&%#_{}~^") & set(escaped)


@pytest.mark.parametrize(
    ("value", "shown"), [(0.0, "0.00"), (-0.001, "0.00"), (1.5, "+1.50"), (-1.5, "−1.50"), (float("nan"), "n/a")]
)
def test_signed_numbers(value, shown):
    assert text.signed(value) == shown


def test_a_bar_in_a_cell_does_not_break_a_markdown_table():
    table = text.markdown_table(["a|b"], [["c|d\ne"]])
    assert table.count("\n") == 3 and table.count("\\|") == 2


def test_a_number_stays_as_it_is_formatted():
    assert "| 1.50 |" in re.sub(" +", " ", text.markdown_table(["a", "b"], [["x", "1.50"], ["0010", "2.00"]]))


def test_the_comparison_shows_three_references_and_unread_numbers(suite):
    header = ",".join(reference.COLUMNS)
    row = "detection,factors_detection,{},{},COCO,R50,{},box_ap,{},AP,somewhere,{},"
    lines = [header, row.format("w/o", "fig", "w/o", "", "unread-in-paper")]
    lines += [
        row.format("w/o", "zoo", "w/o", "37.4", "official-repo"),
        row.format("0010", "zoo", "x", "39.1", "official-repo"),
    ]
    Path("experiments/spatial_attention/reference.csv").write_text("\n".join(lines) + "\n")
    gather("spatial_attention")
    assert main(["compare", "results/mini", "--study", "spatial_attention"]) == 0
    page = re.sub(" +", " ", (TABLES / "spatial_attention/comparison.md").read_text())
    assert "never compared" in page and "unread" in page and "39.1 (zoo)" in page and "+1.70" in page
    table = pd.read_csv(TABLES / "spatial_attention/comparison.csv", dtype=str).set_index("arm")
    assert table.loc["0010", "official_difference"] == "+1.70"


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("a,b", "fields"),
        ("t,a,x,T,D,M,V,bleu,high,BLEU,S,official-repo,", "no number"),
        ("t,,,,,,,,,,,gossip,", "gossip"),
    ],
)
def test_a_wrong_reference_row_is_named(suite, line, reason):
    Path("experiments/muse/reference.csv").write_text(",".join(reference.COLUMNS) + "\n" + line + "\n")
    with pytest.raises(UserError, match=f"reference.csv:2: .*{reason}"):
        reference.load(Path("experiments"), "muse")


def test_the_report_names_what_is_not_there(suite):
    (run_folder("muse", "kernels", "kernel_31", 3) / "metrics.json").unlink()
    gather()
    assert main(["report", "results/mini"]) == 0
    page = Path("results/mini/report.md").read_text()
    assert "muse/kernels/kernel_31/seed3: missing" in page and "summary.md is not there yet" in page
    assert "<details>" in page and "| muse" in page


def test_the_report_names_stale_runs_with_their_reason(suite, monkeypatch):
    monkeypatch.setattr(freshness, "staleness", lambda value: "old data" if value["arm"] == "muse" else "")
    gather("muse")
    assert main(["report", "results/mini"]) == 0
    assert "stale, 3 runs of muse/branches/muse: old data" in Path("results/mini/report.md").read_text()


def test_the_page_is_one_file(collected):
    for command in ("tables", "figures"):
        assert main([command, "results/mini"]) == 0
    assert main(["report", "results/mini"]) == 0
    page = Path("results/mini/report.html").read_text()
    sources = re.findall(r'src="([^"]{0,40})', page)
    assert sources and all(source.startswith("data:image/png;base64,") for source in sources)
    assert "width=device-width" in page and "prefers-color-scheme: dark" in page
    assert not re.findall(r'<(?:link|script)[^>]*(?:href|src)="http', page)
    anchors = set(re.findall(r'id="([^"]+)"', page))
    assert {target for target in re.findall(r'href="#([^"]+)"', page)} <= anchors


def test_text_of_a_run_cannot_become_markup():
    page = pages.render("report.html", title="<script>", contents=[], overview="", studies=[])
    assert "&lt;script&gt;" in page and "<script>" not in page


def test_a_full_disk_loses_nothing(tmp_path):
    target = tmp_path / "table.csv"
    files.write_text(target, "old")
    with pytest.raises(OSError):
        files.write_text(Path("/dev/full/table.csv"), "new")
    assert target.read_text() == "old"
