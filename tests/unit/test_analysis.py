"""Reading, collecting and tabulating runs: gaps are shown, broken files never crash, identities survive."""

import fcntl
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from analysis import collect, compare, loading, publish, reference, report, status, summary, tables, text
from analysis.loading import AnalysisError
from tests.unit import analysis_samples as samples

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def suite(tmp_path):
    samples.write_suite(tmp_path)
    return tmp_path


def run_csv(root: Path) -> pd.DataFrame:
    assert collect.main(arguments(root, "--expected", root / "expected.json", "--out", root / "runs.csv")) == 0
    return loading.read_runs(root / "runs.csv")


def arguments(root: Path, *more: object) -> list[str]:
    return [*map(str, more), "--experiments", str(root / "experiments")]


def ablation(root: Path, study: str, name: str) -> loading.Ablation:
    return loading.load_ablations(root / "experiments")[study, name]


def run_folder(root: Path, study: str, name: str, arm: str, seed: int) -> Path:
    return root / "runs" / "mini" / study / name / arm.replace("/", "-") / f"seed{seed}"


def test_collect_gives_one_row_an_expected_run_and_keeps_names_as_text(suite):
    frame = run_csv(suite)
    assert len(frame) == len(samples.entries(suite)) == 45
    assert set(frame["status"]) == {"done"}
    assert {"0010", "w/o", "w/o+dcn"} <= set(frame["arm"])
    assert list(frame.columns[: len(loading.HEAD)]) == list(loading.HEAD)
    shared = frame[(frame["ablation"] == "kernels") & (frame["arm"] == "muse_simple")]
    assert list(shared["run"]) == [f"muse/branches/muse_simple/seed{k}" for k in (1, 2, 3)]
    assert shared["metrics.bleu"].notna().all()


def test_every_state_is_recognised(suite):
    done, failed, running, missing, torn = (run_folder(suite, "muse", "branches", "muse", 1) for _ in range(5))
    failed, running = (run_folder(suite, "muse", "kernels", f"kernel_{k}", 1) for k in (3, 7))
    missing, torn = (run_folder(suite, "muse", "kernels", f"kernel_{k}", 1) for k in (15, 31))
    for folder in (failed, running, missing):
        (folder / "metrics.json").unlink()
    (failed / "error.json").write_text(json.dumps({"error": "out of\nmemory", "when": "now"}))
    (torn / "metrics.json").write_text((torn / "metrics.json").read_text()[:100])
    with (running / "run.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        states = {f.parent.name: loading.run_state(f / "metrics.json") for f in (done, failed, running, missing, torn)}
    assert states["muse"][0] == "done"
    assert states["kernel_3"][:2] == ("failed", "out of memory")
    assert states["kernel_7"][0] == "running"
    assert states["kernel_15"][0] == "missing"
    assert states["kernel_31"][0] == "failed" and "not valid JSON" in states["kernel_31"][1]
    assert loading.run_state(running / "metrics.json")[0] == "missing"


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"schema": 2}, "schema"),
        ({"metrics": {}}, "metrics"),
        ({"metrics": {"bleu": "35"}}, "metrics/bleu"),
        ({"metrics": {"bleu": float("nan")}}, "not a finite number"),
        ({"metrics": {"bleu": True}}, "metrics/bleu"),
        ({"primary": "chrf"}, "primary"),
        ({"seed": "1"}, "seed"),
        ({"seed": -1}, "seed"),
        ({"cost": {"params": 1}}, "macs"),
        ({"status": "failed"}, "status"),
        ({"provenance": []}, "provenance"),
    ],
)
def test_a_wrong_metrics_file_is_a_failed_run_with_its_reason(suite, change, reason):
    folder = run_folder(suite, "muse", "branches", "muse", 1)
    value = json.loads((folder / "metrics.json").read_text()) | change
    (folder / "metrics.json").write_text(json.dumps(value))
    state, error, _ = loading.run_state(folder / "metrics.json")
    assert state == "failed" and reason in error and "\n" not in error
    frame = run_csv(suite)
    row = frame[(frame["arm"] == "muse") & (frame["seed"] == 1)].iloc[0]
    assert row["status"] == "failed" and reason in row["error"]


def test_a_metrics_file_of_another_run_is_not_taken(suite):
    source, target = (run_folder(suite, "muse", "branches", "muse", seed) for seed in (1, 2))
    (target / "metrics.json").write_text((source / "metrics.json").read_text())
    frame = run_csv(suite)
    row = frame[(frame["arm"] == "muse") & (frame["seed"] == 2)].iloc[0]
    assert row["status"] == "failed" and "seed 1, not 2" in row["error"]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=st.binary(max_size=60) | JSON.map(lambda value: json.dumps(value).encode()), data=st.data())
def test_no_content_of_a_run_folder_crashes_the_readers(tmp_path, content, data):
    folder = tmp_path / "muse" / "branches" / "muse" / "seed1"
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("metrics.json", "error.json", "curves.jsonl", "spec.yaml"):
        (folder / name).unlink(missing_ok=True)
    if data.draw(st.booleans()):
        (folder / "metrics.json").write_bytes(content)
    for name in ("error.json", "curves.jsonl", "spec.yaml"):
        (folder / name).write_bytes(content)
    state, error, _ = loading.run_state(folder / "metrics.json")
    assert state in loading.STATES and "\n" not in error
    assert 0 <= status.progress(folder) <= 1


@settings(max_examples=60, deadline=None)
@given(value=JSON, key=st.sampled_from(sorted(samples.metrics("muse", "branches", "muse", 1, 35.0))))
def test_any_section_may_be_anything(value, key):
    run = samples.metrics("muse", "branches", "muse", 1, 35.0) | {key: value}
    problem = loading.metrics_problem(run)
    assert problem is None or "\n" not in problem
    if problem is None:
        collect.row_of({**run, "path": "x"}, "run", "done", "", run)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("[", "not valid JSON"),
        ("{}", "must be a list"),
        ('[{"scale": "mini"}]', "lacks 'study'"),
        ('[{"scale":"m","study":"s","ablation":"a","arm":"x","seed":"1","path":"p"}]', "not a whole number"),
    ],
)
def test_a_wrong_expected_file_is_one_line(suite, content, reason):
    (suite / "expected.json").write_text(content)
    with pytest.raises(AnalysisError, match=reason):
        run_csv(suite)


def test_runs_without_a_list_and_published_lines_give_the_same_rows(suite):
    expected = run_csv(suite)
    out = suite / "again.csv"
    collect.main(arguments(suite, "--runs", suite / "runs" / "mini", "--out", out, "--metrics-out", suite / "m.jsonl"))
    found = loading.read_runs(out)
    collect.main(arguments(suite, "--metrics", suite / "m.jsonl", "--out", out))
    published = loading.read_runs(out)
    columns = [name for name in expected.columns if name != "path"]
    pd.testing.assert_frame_equal(found[columns], expected[columns])
    pd.testing.assert_frame_equal(published[columns], expected[columns])


def test_tables_have_known_numbers_and_show_gaps(suite):
    for seed in (1, 2, 3):
        folder = run_folder(suite, "muse", "kernels", "kernel_31", seed)
        (folder / "metrics.json").unlink()
    (folder / "error.json").write_text('{"error": "loss is 50% & NaN_"}')
    (run_folder(suite, "muse", "kernels", "kernel_15", 1) / "metrics.json").unlink()
    frame = run_csv(suite)
    known = ablation(suite, "muse", "kernels")
    arms = {arm.arm: arm for arm in summary.summarise(frame, known)}
    values = frame[(frame["ablation"] == "kernels") & (frame["arm"] == "kernel_3")]["metrics.bleu"]
    assert arms["kernel_3"].mean == pytest.approx(values.mean())
    assert arms["muse_simple"].is_baseline and arms["kernel_15"].n == 2 and arms["kernel_31"].gap == "failed"
    assert arms["kernel_15"].difference.n == 2 and not arms["kernel_15"].difference.has_interval
    tables.main(arguments(suite, "--runs-csv", suite / "runs.csv", "--study", "muse", "--out", suite / "tables"))
    markdown = (suite / "tables" / "muse" / "kernels.md").read_text()
    assert "| kernel_31 | 0/3 | failed | failed |" in markdown and "| kernel_15 | 2/3 |" in markdown
    assert "kernel_31, seed 3: loss is 50% & NaN_" in markdown
    assert "scale mini" in markdown and "commit 1a2b3c4d5e" in markdown and "0f3a9c21" in markdown
    latex = (suite / "tables" / "muse" / "kernels.tex").read_text()
    assert r"loss is 50\% \& NaN\_" in latex and latex.count(r"\\") == 6
    table = pd.read_csv(suite / "tables" / "muse" / "kernels.csv")
    assert table.loc[table["arm"] == "kernel_3", "difference"].iloc[0] == pytest.approx(
        arms["kernel_3"].difference.mean
    )
    assert (suite / "tables" / "muse" / "summary.md").read_text().count("## ") == 2


def test_an_ablation_without_runs_gives_an_empty_table(suite):
    (suite / "expected.json").write_text("[]")
    run_csv(suite)
    assert tables.main(arguments(suite, "--runs-csv", suite / "runs.csv", "--out", suite / "tables")) == 0
    assert "not run at this scale" in (suite / "tables" / "muse" / "kernels.md").read_text()


@given(st.text())
def test_latex_leaves_no_special_character_bare(value):
    escaped = text.latex(value)
    for command in ("textbackslash", "textasciitilde", "textasciicircum", "textless", "textgreater", "textbar"):
        escaped = escaped.replace(f"\\{command}{{}}", "")
    for symbol in "&%#_{}$":
        escaped = escaped.replace(f"\\{symbol}", "")
    assert not set("&%#_{}~^") & set(escaped)


@pytest.mark.parametrize(
    ("value", "shown"), [(0.0, "0.00"), (-0.001, "0.00"), (1.5, "+1.50"), (-1.5, "−1.50"), (float("nan"), "n/a")]
)
def test_signed_numbers(value, shown):
    assert text.signed(value) == shown


def test_a_bar_in_a_cell_does_not_break_a_markdown_table():
    assert text.markdown_table(["a|b"], [["c|d\ne"]]).count("\n") == 3


def test_the_comparison_shows_three_references_and_unread_numbers(suite):
    header = ",".join(reference.COLUMNS)
    row = "detection,factors_detection,{},{},COCO,R50,{},box_ap,{},AP,somewhere,{},"
    lines = [header, row.format("w/o", "fig", "w/o", "", "unread-in-paper")]
    lines += [
        row.format("w/o", "zoo", "w/o", "37.4", "official-repo"),
        row.format("0010", "zoo", "x", "39.1", "official-repo"),
    ]
    (suite / "experiments" / "spatial_attention" / "reference.csv").write_text("\n".join(lines) + "\n")
    run_csv(suite)
    compare.main(
        arguments(suite, "--runs-csv", suite / "runs.csv", "--study", "spatial_attention", "--out", suite / "c")
    )
    page = (suite / "c.md").read_text()
    assert "never compared" in page and "| unread |" in page and "39.1 (zoo)" in page and "+1.70" in page
    made = pd.read_csv(suite / "c.csv", dtype={"arm": str}).set_index("arm")
    assert made.loc["0010", "official_difference"] == "+1.70" or made.loc["0010", "official_difference"] == 1.7


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("a,b", "fields"),
        ("t,a,x,T,D,M,V,bleu,high,BLEU,S,official-repo,", "no number"),
        ("t,,,,,,,,,,,gossip,", "gossip"),
    ],
)
def test_a_wrong_reference_row_is_named(suite, line, reason):
    path = suite / "experiments" / "muse" / "reference.csv"
    path.write_text(",".join(reference.COLUMNS) + "\n" + line + "\n")
    with pytest.raises(AnalysisError, match=f"reference.csv:2: .*{reason}"):
        reference.load(suite / "experiments", "muse")


def test_status_counts_and_estimates(suite, capsys):
    folder = run_folder(suite, "muse", "kernels", "kernel_31", 3)
    (folder / "metrics.json").unlink()
    (folder / "spec.yaml").write_text("train: {updates: 300}\n")
    (folder / "curves.jsonl").write_text('{"update": 150, "train_loss": 1}\n{"upda')
    with (folder / "run.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert status.main(arguments(suite, "--expected", suite / "expected.json")) == 0
    shown = capsys.readouterr().out
    muse = next(line for line in shown.splitlines() if line.strip().startswith("muse "))
    assert muse.split()[1:5] == ["20", "1", ".", "."]  # the shared baseline counts once
    assert "left: about 36 s with one run at a time" in shown


def test_publish_refuses_dirty_runs_and_merges(suite, capsys):
    path = run_folder(suite, "muse", "branches", "muse", 1) / "metrics.json"
    value = json.loads(path.read_text())
    path.write_text(json.dumps(value | {"provenance": value["provenance"] | {"dirty": True}}))
    out = suite / "published.jsonl"
    command = arguments(suite, "mini", "--runs", suite / "runs" / "mini", "--out", out)
    assert publish.main([*command, "--study", "muse"]) == 1
    assert "muse/branches/muse/seed1: made from uncommitted changes" in capsys.readouterr().err
    assert len(loading.read_metrics_lines(out)) == 20
    assert publish.main([*command, "--allow-dirty"]) == 0
    merged = loading.read_metrics_lines(out)
    assert len(merged) == 42 and [loading.identity(v) for v in merged] == sorted(loading.identity(v) for v in merged)
    before = out.read_bytes()
    assert publish.main([*command, "--allow-dirty"]) == 0 and out.read_bytes() == before


def test_pictures_come_from_beside_the_runs_that_are_published(suite, monkeypatch):
    here, there = suite / "results", suite / "other/results"
    for results in (here, there):
        (results / "mini/figures/muse").mkdir(parents=True)
        (results / "mini/figures/muse/predictions_x.png").write_bytes(str(results).encode())
    shutil.copytree(suite / "runs", there / "runs")
    command = arguments(suite, "mini", "--runs", there / "runs/mini", "--out", suite / "published/mini/metrics.jsonl")
    monkeypatch.chdir(suite)
    assert publish.main(command) == 0
    assert (suite / "published/mini/figures/muse/predictions_x.png").read_bytes() == str(there).encode()


def test_the_report_names_what_is_not_there(suite):
    (run_folder(suite, "muse", "kernels", "kernel_31", 3) / "metrics.json").unlink()
    out = suite / "mini"
    for study in ("muse", "spatial_attention"):
        target = out / "tables" / study / "runs.csv"
        collect.main(arguments(suite, "--expected", suite / "expected.json", "--study", study, "--out", target))
    assert report.main(arguments(suite, "--dir", out, "--out", out / "report.md")) == 0
    page = (out / "report.md").read_text()
    assert "muse/kernels/kernel_31/seed3: missing" in page and "claims.md is not there yet" in page
    assert "<table>" in (out / "report.html").read_text() and "No claim was judged yet." in page


def test_the_report_begins_with_the_verdicts(tmp_path):
    rows = {
        "muse": ["1,first | half,supported,a", "1,first | half,supported,b", "2,second,undecided,a"],
        "aaconv": ["1,third,contradicted,a"],
    }
    for study, lines in rows.items():
        (tmp_path / "tables" / study).mkdir(parents=True)
        body = "".join(f"{study},{line}\n" for line in lines)
        (tmp_path / "tables" / study / "claims.csv").write_text("study,claim,says,verdict,check\n" + body)
    said = report.verdicts(tmp_path, ["aaconv", "muse", "coatnet"])
    assert "| aaconv | 0 | 1 | 0 | 0 |" in said and "| muse | 1 | 0 | 1 | 0 |" in said and "coatnet" not in said
    assert said.count("first \\| half") == 1 and "| **contradicted** |" in said and "second" not in said


def test_numbers_of_two_scales_are_never_in_one_table(suite):
    frame = run_csv(suite)
    frame.loc[0, "scale"] = "small"
    loading.write_csv(suite / "runs.csv", frame)
    with pytest.raises(AnalysisError, match="scales"):
        loading.read_runs(suite / "runs.csv")


def test_a_full_disk_loses_nothing(tmp_path):
    target = tmp_path / "table.csv"
    loading.write_text(target, "old")
    with pytest.raises(AnalysisError, match="cannot be written"):
        loading.write_text(Path("/dev/full/table.csv"), "new")
    assert target.read_text() == "old"


def test_errors_are_one_line_on_stderr(tmp_path):
    command = [
        sys.executable,
        "-m",
        "analysis.tables",
        "--runs-csv",
        str(tmp_path / "none.csv"),
        "--out",
        str(tmp_path),
    ]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 1 and done.stderr.startswith("error: ") and done.stderr.count("\n") == 1


def test_analysis_imports_neither_plugins_nor_snakemake():
    names = ", ".join(
        f"analysis.{path.stem}" for path in sorted((ROOT / "analysis").glob("*.py")) if path.stem != "__init__"
    )
    code = (
        f"import sys, {names}; print([m for m in sys.modules if m.split('.')[0] in ('plugins', 'snakemake', 'torch')])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stdout.strip() == "[]"
