"""Collecting runs: gaps are shown, broken files never crash, identities survive, what is stale says so."""

import fcntl
import json
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from analysis import runs, scores
from analysis.__main__ import main
from analysis.commands import collect, status
from plugins.suite import freshness
from plugins.suite.errors import UserError
from tests.unit.analysis import samples
from tests.unit.analysis.samples import run_folder

OUT = Path("runs.csv")


def run_csv(*source: str) -> pd.DataFrame:
    source = source or ("--expected", "results/mini/expected.json")
    assert main(["collect", *source, "--out", str(OUT)]) == 0
    return runs.read_runs(OUT)


def test_it_gives_one_row_an_expected_run_and_keeps_names_as_text(suite):
    frame = run_csv()
    assert len(frame) == len(samples.entries()) == 45
    assert set(frame["status"]) == {"done"} and set(frame["stale"]) == {""}
    assert {"0010", "w/o", "w/o+dcn"} <= set(frame["arm"])
    assert list(frame.columns[: len(runs.HEAD)]) == list(runs.HEAD)
    shared = frame[(frame["ablation"] == "kernels") & (frame["arm"] == "muse_simple")]
    assert list(shared["run"]) == [f"muse/branches/muse_simple/seed{k}" for k in (1, 2, 3)]
    assert shared["metrics.bleu"].notna().all()


def test_every_state_is_recognised(suite):
    done = run_folder("muse", "branches", "muse", 1)
    failed, running, missing, torn = (run_folder("muse", "kernels", f"kernel_{k}", 1) for k in (3, 7, 15, 31))
    for folder in (failed, running, missing):
        (folder / "metrics.json").unlink()
    (failed / "error.json").write_text(json.dumps({"error": "out of\nmemory", "when": "now"}))
    (torn / "metrics.json").write_text((torn / "metrics.json").read_text()[:100])
    with (running / "run.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        states = {f.parent.name: runs.run_state(f / "metrics.json") for f in (done, failed, running, missing, torn)}
    assert states["muse"][0] == "done"
    assert states["kernel_3"][:2] == ("failed", "out of memory")
    assert states["kernel_7"][0] == "running"
    assert states["kernel_15"][0] == "missing"
    assert states["kernel_31"][0] == "failed" and "not valid JSON" in states["kernel_31"][1]
    assert runs.run_state(running / "metrics.json")[0] == "missing"


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"schema": 1}, "schema"),
        ({"metrics": {}}, "metrics"),
        ({"metrics": {"bleu": "35"}}, "metrics.bleu"),
        ({"metrics": {"bleu": float("nan")}}, "not a finite number"),
        ({"metrics": {"bleu": True}}, "metrics.bleu"),
        ({"primary": "chrf"}, "primary"),
        ({"seed": "1"}, "seed"),
        ({"seed": -1}, "seed"),
        ({"cost": {"params": 1}}, "macs"),
        ({"status": "failed"}, "status"),
        ({"provenance": []}, "provenance"),
    ],
)
def test_a_wrong_metrics_file_is_a_failed_run_with_its_reason(suite, change, reason):
    path = run_folder("muse", "branches", "muse", 1) / "metrics.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    state, error, _ = runs.run_state(path)
    assert state == "failed" and reason in error and "\n" not in error
    frame = run_csv()
    row = frame[(frame["arm"] == "muse") & (frame["seed"] == 1)].iloc[0]
    assert row["status"] == "failed" and reason in row["error"]


@pytest.mark.parametrize(("arm", "seed"), [("muse", 2), ("muse_simple", 1)])
def test_a_metrics_file_of_another_run_is_not_taken(suite, arm, seed):
    source, target = run_folder("muse", "branches", "muse", 1), run_folder("muse", "branches", arm, seed)
    (target / "metrics.json").write_text((source / "metrics.json").read_text())
    frame = run_csv()
    row = frame[(frame["arm"] == arm) & (frame["seed"] == seed) & (frame["ablation"] == "branches")].iloc[0]
    assert row["status"] == "failed" and "of another run: mini/muse/branches/muse/seed1" in row["error"]


def test_a_stale_run_keeps_its_numbers_and_its_reason(suite, monkeypatch):
    monkeypatch.setattr(freshness, "staleness", lambda value: "its data changed" if value["arm"] == "muse" else "")
    frame = run_csv()
    stale = frame[frame["stale"] != ""]
    assert set(stale["arm"]) == {"muse"} and set(stale["stale"]) == {"its data changed"}
    assert stale["metrics.bleu"].notna().all()


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
    state, error, _ = runs.run_state(folder / "metrics.json")
    assert state in runs.STATES and "\n" not in error
    assert 0 <= status.progress(folder) <= 1


@settings(max_examples=60, deadline=None)
@given(value=JSON, key=st.sampled_from(sorted(samples.metrics("muse", "branches", "muse", 1, 35.0))))
def test_any_section_may_be_anything(value, key):
    run = samples.metrics("muse", "branches", "muse", 1, 35.0) | {key: value}
    problem = runs.metrics_problem(run)
    assert "\n" not in problem
    if not problem:
        collect.row_of({**run, "path": "x"}, "run", ("done", "", run), {})


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
    Path("results/mini/expected.json").write_text(content)
    with pytest.raises(UserError, match=reason):
        run_csv()


def test_runs_without_a_list_and_published_lines_give_the_same_rows(suite):
    expected = run_csv()
    columns = [name for name in expected.columns if name != "path"]
    rows = run_csv("--runs", "results/runs/mini", "--metrics-out", "m.jsonl")
    pd.testing.assert_frame_equal(rows[columns], expected[columns])
    pd.testing.assert_frame_equal(run_csv("--metrics", "m.jsonl")[columns], expected[columns])


def test_items_of_a_translation_become_its_details_and_scores(suite):
    sentences = [[10, 10, 9, 8, 7, 6, 10, 9, 8, 7]] * 40
    samples.write_run(samples.metrics("muse", "branches", "muse", 1, 77.0), sentences)
    frame = run_csv()
    row = frame[(frame["arm"] == "muse") & (frame["seed"] == 1)].iloc[0]
    assert row["metrics.bleu_length_span"] == pytest.approx(0)
    kept = json.loads(Path("details.json").read_text())["muse/branches/muse/seed1"]["sentences"]
    assert len(kept["bleu"]) == 40 and kept["source_words"][0] == 4
    table = scores.read(Path(scores.NAME))
    assert set(table["run"]) == {"muse/branches/muse/seed1"} and list(table["item"]) == list(range(40))


def test_numbers_of_two_scales_are_never_in_one_table(suite):
    frame = run_csv()
    frame.loc[0, "scale"] = "small"
    runs.write_csv(OUT, frame)
    with pytest.raises(UserError, match="scales"):
        runs.read_runs(OUT)
