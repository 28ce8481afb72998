"""The state of a run on disk: its lock, what its checkpoints belong to, which metrics stay."""

import json
import os

import pytest

from plugins.runner import state
from plugins.suite import files
from plugins.suite.errors import UserError


def test_json_is_whole_or_absent(tmp_path):
    target = tmp_path / "metrics.json"
    with pytest.raises(ValueError):
        files.write_json(target, {"bleu": float("nan")})
    assert list(tmp_path.iterdir()) == []
    files.write_json(target, {"bleu": 1.0})
    assert json.loads(target.read_text()) == {"bleu": 1.0}
    assert [path.name for path in tmp_path.iterdir()] == ["metrics.json"]


def test_two_runs_in_one_folder(tmp_path):
    with (
        state.alone(tmp_path),
        pytest.raises(UserError, match=f"another process .pid {os.getpid()}"),
        state.alone(tmp_path),
    ):
        pass
    with state.alone(tmp_path):
        pass


SPEC = {"scale": "mini", "study": "s", "ablation": "a", "arm": "b", "seed": 1}


@pytest.mark.parametrize(
    ("content", "stale", "stays"),
    [
        (json.dumps(SPEC), "", True),
        (json.dumps(SPEC), "its recipe changed", False),
        (json.dumps(SPEC | {"arm": "c"}), "", False),
        (json.dumps(SPEC)[:9], "", False),
        ("[]", "", False),
    ],
)
def test_only_good_metrics_of_this_very_run_stay(tmp_path, monkeypatch, content, stale, stays):
    monkeypatch.setattr(state, "staleness", lambda value: stale)
    (tmp_path / "metrics.json").write_text(content)
    (tmp_path / "error.json").write_text("{}")
    state.drop_outdated(tmp_path, SPEC)
    assert (tmp_path / "metrics.json").exists() == stays and not (tmp_path / "error.json").exists()


IDENTITY = {"recipe": "r", "data": "d", "versions": {"torch": "2.11.0", "fairseq": "0.12"}}


def leave(folder):
    """What a run leaves that a next one could resume from."""
    (folder / "checkpoints").mkdir(exist_ok=True)
    for name in ("checkpoints/last.pt", "curves.jsonl", "metrics.json"):
        (folder / name).write_text("x")


def remains(folder):
    return [name for name in ("checkpoints/last.pt", "curves.jsonl", "metrics.json") if (folder / name).exists()]


@pytest.mark.parametrize(
    "change",
    [{"recipe": "q"}, {"data": "e"}, {"versions": {"torch": "2.11.0", "fairseq": "0.13"}}, {"pre-training": "w"}],
)
def test_nothing_resumes_from_what_another_run_left(tmp_path, capsys, change):
    state.claim(tmp_path, IDENTITY)
    leave(tmp_path)
    state.claim(tmp_path, IDENTITY)
    assert len(remains(tmp_path)) == 3
    state.claim(tmp_path, IDENTITY | change)
    assert remains(tmp_path) == []
    assert f"{next(iter(change))}: not those of the last checkpoint, training anew" in capsys.readouterr().out


@pytest.mark.parametrize("cut", ["", '{"recipe": "r"', "[]", None])
def test_checkpoints_that_nobody_can_name_are_dropped(tmp_path, cut):
    state.claim(tmp_path, IDENTITY)
    leave(tmp_path)
    stamp = tmp_path / "identity.json"
    stamp.unlink() if cut is None else stamp.write_text(cut)
    state.claim(tmp_path, IDENTITY)
    assert remains(tmp_path) == [] and json.loads(stamp.read_text()) == IDENTITY
