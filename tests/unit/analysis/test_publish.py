"""Publishing: what is not what it says is refused, and nothing published is lost."""

import json
from pathlib import Path

import pandas as pd
import pytest

from analysis import runs, scores
from analysis.__main__ import main
from plugins.suite import catalog, freshness, items
from plugins.suite.errors import UserError
from tests.unit.analysis import samples

OUT = Path("results/published/mini")
RIGHT = {"label": [0, 1, 2, 1], "predicted": [0, 1, 2, 0], "top5": [True] * 4, "score": [100.0, 100.0, 100.0, 0.0]}
ARM = ("coatnet", "layouts", "C-C-T-T")


@pytest.fixture
def run(tmp_path, monkeypatch, fresh):
    """A function that writes a run of 75 % with its items and returns its metrics.json."""
    monkeypatch.chdir(tmp_path)

    def write(seed: int = 1, columns: dict = RIGHT, at: int | None = None, **changes) -> Path:
        value = samples.metrics(*ARM, seed, 75.0, "top1", **changes)
        value["metrics"].setdefault("top5", 100.0)
        folder = samples.run_folder(*ARM, at or seed)
        folder.mkdir(parents=True, exist_ok=True)
        value["items"] = items.write(folder / "items.parquet", columns)
        (folder / "metrics.json").write_text(json.dumps(value))
        return folder / "metrics.json"

    yield write
    catalog.forget()


def edit(path: Path, **sections) -> None:
    value = json.loads(path.read_text())
    path.write_text(json.dumps(value | {key: value[key] | part for key, part in sections.items()}))


def test_a_run_is_published_with_its_items(run):
    run(1), run(2)
    assert main(["publish", "mini"]) == 0
    assert [value["seed"] for value in runs.read_metrics_lines(OUT / "metrics.jsonl")] == [1, 2]
    frame = items.read(OUT / "items.parquet")
    assert list(frame["run"].unique()) == [f"coatnet/layouts/C-C-T-T/seed{k}" for k in (1, 2)] and len(frame) == 8
    before = {path: path.read_bytes() for path in OUT.iterdir() if path.name != "sets.json"}
    assert main(["publish", "mini"]) == 0
    assert {path: path.read_bytes() for path in before} == before


def test_published_runs_stay_and_a_newer_self_replaces(run):
    run(1)
    assert main(["publish", "mini"]) == 0
    run(2)
    run(1, {**RIGHT, "predicted": [0, 1, 2, 1], "score": [100.0] * 4}, metrics={"top1": 100.0})
    assert main(["publish", "mini"]) == 0
    values = {value["seed"]: value["metrics"]["top1"] for value in runs.read_metrics_lines(OUT / "metrics.jsonl")}
    assert values == {1: 100.0, 2: 75.0}
    assert items.read(OUT / "items.parquet").groupby("run")["score"].mean().tolist() == [100.0, 75.0]


@pytest.mark.parametrize(
    ("sections", "reason"),
    [
        ({"provenance": {"dirty": True}}, "uncommitted changes on 1a2b3c4d5e"),
        ({"provenance": {"commit": "unknown"}}, "no commit is recorded"),
        ({"metrics": {"top1": 75.1}}, r"metrics.top1 is 75.1, its items give 75.0000"),
        ({"metrics": {"top1": 175.0}}, "metrics.top1: 175.0 is outside 0..100"),
        ({"metrics": {"other": -1.0}}, "metrics.other: -1.0 is outside 0..100"),
        ({"metrics": {"top1": float("nan")}}, "not a finite number"),
        ({"items": {"sha256": "00"}}, "not the file that metrics.json was written with"),
    ],
)
def test_what_is_not_true_is_refused(run, capsys, sections, reason):
    edit(run(1), **sections)
    run(2)
    assert main(["publish", "mini"]) == 1
    error = capsys.readouterr().err
    assert error.startswith("refused coatnet/layouts/C-C-T-T/seed1: ") and reason in error and error.count("\n") == 1
    assert [value["seed"] for value in runs.read_metrics_lines(OUT / "metrics.jsonl")] == [2]


def test_a_slope_may_be_negative(run):
    edit(run(1), metrics={"logit_length_slope": -0.2})
    assert main(["publish", "mini"]) == 0


def test_uncommitted_sources_may_be_allowed(run):
    edit(run(1), provenance={"dirty": True})
    assert main(["publish", "mini", "--allow-dirty"]) == 0


def test_a_stale_run_is_refused(run, capsys, monkeypatch):
    run(1)
    monkeypatch.setattr(freshness, "staleness", lambda value: "its data changed")
    assert main(["publish", "mini"]) == 1 and "stale: its data changed" in capsys.readouterr().err
    assert not OUT.exists()


def test_a_run_in_another_one_s_folder_is_refused(run, capsys):
    run(seed=1, at=7)
    assert main(["publish", "mini"]) == 1
    assert "seed7: is of another run: mini/coatnet/layouts/C-C-T-T/seed1" in capsys.readouterr().err


def test_items_that_were_cut_or_taken_away_are_refused(run, capsys):
    cut, gone = run(1).with_name("items.parquet"), run(2).with_name("items.parquet")
    cut.write_bytes(cut.read_bytes()[:100])
    gone.unlink()
    assert main(["publish", "mini"]) == 1
    error = capsys.readouterr().err
    assert "seed1: items.parquet is not the file" in error and "seed2: items.parquet is missing" in error


def test_a_broken_published_file_stops_everything(run):
    run(1)
    assert main(["publish", "mini"]) == 0
    whole = (OUT / "items.parquet").read_bytes()
    (OUT / "items.parquet").write_bytes(whole[:200])
    run(2)
    with pytest.raises(UserError, match=r"items\.parquet: not a whole Parquet file"):
        main(["publish", "mini"])
    assert [value["seed"] for value in runs.read_metrics_lines(OUT / "metrics.jsonl")] == [1]
    (OUT / "items.parquet").write_bytes(whole)
    lines = OUT / "metrics.jsonl"
    lines.write_text(2 * lines.read_text())
    with pytest.raises(UserError, match="holds a run twice"):
        main(["publish", "mini"])


def test_the_set_says_what_made_it(run):
    run(1)
    Path("results/mini").mkdir(parents=True)
    noted = {"command": "snakemake --cores all --config seeds='[1, 2]'", "configuration": {"seeds": [1, 2]}}
    Path("results/mini/configuration.json").write_text(json.dumps(noted))
    identity = dict(zip(("study", "ablation", "arm"), ARM, strict=True)) | {"scale": "mini"}
    expected = [
        identity | {"seed": seed, "path": str(samples.run_folder(*ARM, seed) / "metrics.json")} for seed in (1, 2)
    ]
    Path("results/mini/expected.json").write_text(json.dumps(expected))
    assert main(["publish", "mini"]) == 0
    (entry,) = json.loads((OUT / "sets.json").read_text())
    assert entry["command"] == noted["command"] and entry["configuration"] == {"seeds": [1, 2]}
    assert entry["commits"] == ["1a2b3c4d5e6f7a8b"] and entry["runs"] == 1
    assert entry["expected_but_lacking"] == ["coatnet/layouts/C-C-T-T/seed2"]
    assert main(["publish", "mini"]) == 0 and len(json.loads((OUT / "sets.json").read_text())) == 1


def test_detections_are_checked_against_their_annotations(run, capsys, monkeypatch):
    columns = {"boxes": [[[0, 0, 4, 4]]], "scores": [[0.9]], "labels": [[0]], "score": [50.0]}
    value = samples.metrics("spatial_attention", "factors_detection", "w/o", 1, 50.0)
    folder = samples.run_folder("spatial_attention", "factors_detection", "w/o", 1)
    folder.mkdir(parents=True)
    value["items"] = items.write(folder / "items.parquet", columns)
    (folder / "metrics.json").write_text(json.dumps(value))
    monkeypatch.setattr(catalog, "resolve", lambda *identity: {"data": {"name": "mini_shapes", "seed": 1}})
    assert main(["publish", "mini"]) == 1
    assert "annotations/test.json: missing; without it the scores cannot be checked" in capsys.readouterr().err


def test_items_of_all_runs_are_one_file_of_equal_bytes(run):
    frame = items.read(run(1).with_name("items.parquet")).assign(run="a")
    assert scores.parquet_of([frame, frame]) == scores.parquet_of([frame, frame])


PROBE = {"score": [50.0, 100.0], "part": [["all", "far"]] * 2, "right": [[1, 0], [2, 1]], "total": [[2, 1], [2, 1]]}
SENTENCES = {"score": [30.0], "source_words": [7], "bleu": [[10] * 10], "chrf": [[1] * 18]}


def test_runs_of_unlike_tasks_are_published_in_one_file_and_read_back_as_they_were(tmp_path):
    """Numbers stay whole where another task has none, and a run has the columns of its task alone."""
    by_run = {"a/x/y/seed1": PROBE, "b/x/y/seed1": SENTENCES, "b/z/y/seed1": PROBE, "b/z/y/seed2": RIGHT}
    frames = {}
    for number, (name, columns) in enumerate(by_run.items()):
        items.write(tmp_path / f"{number}.parquet", columns)
        frames[name] = items.read(tmp_path / f"{number}.parquet").assign(run=name)
    path = tmp_path / "items.parquet"
    path.write_bytes(scores.parquet_of(list(frames.values())))
    back = scores.by_run(path)
    assert list(back) == list(by_run)
    for name, frame in back.items():
        assert set(frame) == {"run", "item", *by_run[name]}
        pd.testing.assert_frame_equal(frame[list(frames[name])].reset_index(drop=True), frames[name])
    assert list(scores.by_run(path, "b")) == list(by_run)[1:]
    assert scores.parquet_of(list(back.values())) == path.read_bytes()
    assert len(items.read(path)) == 2 + 1 + 2 + 4


def test_a_published_file_that_holds_a_run_twice_or_lacks_a_column_is_one_line(run, tmp_path):
    frame = items.read(run(1).with_name("items.parquet"))
    path = tmp_path / "items.parquet"
    path.write_bytes(scores.parquet_of([frame.assign(run=name) for name in "aba"]))
    with pytest.raises(UserError, match="holds a twice; publish again"):
        scores.by_run(path)
    path.write_bytes(scores.parquet_of([frame.drop(columns="score").assign(run="a")]))
    with pytest.raises(UserError, match="column 'score' is missing; publish again"):
        scores.by_run(path)
    assert scores.by_run(tmp_path / "none.parquet") == {}
