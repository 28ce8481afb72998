"""Where a training resumes, told from the checkpoints that are whole."""

from __future__ import annotations

import json

import pytest
import torch

from plugins.fairseq_ext import checkpoints
from plugins.suite import files
from plugins.suite.errors import UserError

SPEC = {"train": {"save_every": 10, "updates": 50}, "evaluate": {"averaged_checkpoints": 2}}


def save(folder, name, updates):
    """A sealed checkpoint of a network with one weight, which says after how many updates it was saved."""
    path = folder / name
    model = {"weight": torch.full((3,), float(updates)), "steps": torch.tensor(updates)}
    torch.save({"model": model, "optimizer_history": [{"num_updates": updates}]}, path)
    files.seal(path)
    return path


def damage(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@pytest.fixture
def folder(tmp_path):
    """Checkpoints of an epoch's end after 25 updates, and after 30, 40 and 50."""
    save(tmp_path, "checkpoint2.pt", 25)
    for updates in (30, 40, 50):
        save(tmp_path, f"checkpoint_3_{updates}.pt", updates)
    return tmp_path


@pytest.mark.parametrize(
    ("damaged", "resumed"),
    [((), 50), ((50,), 40), ((40,), 30), ((30,), 50), ((30, 40), 25), ((30, 40, 50), 25)],
)
def test_training_resumes_where_no_checkpoint_to_average_is_missing(folder, damaged, resumed):
    for updates in damaged:
        damage(folder / f"checkpoint_3_{updates}.pt")
    (folder / "checkpoint_best.pt").write_bytes(b"")
    updates, path = checkpoints.resume_point(folder, SPEC)
    assert updates == resumed and checkpoints.load(path)["optimizer_history"][-1]["num_updates"] == resumed
    assert max(checkpoints.whole(folder)) == resumed and not (folder / "checkpoint_best.pt").exists()


def test_without_any_whole_checkpoint_there_is_nothing_to_resume(folder):
    for path in folder.glob("*.pt"):
        damage(path)
    assert checkpoints.resume_point(folder, SPEC) == (0, None)
    assert not list(folder.iterdir())


def test_a_short_training_averages_what_it_has():
    assert checkpoints.to_average(SPEC) == [40, 50]
    assert checkpoints.to_average(SPEC | {"evaluate": {"averaged_checkpoints": 9}}) == [10, 20, 30, 40, 50]


def test_the_average_is_the_mean_of_weights_and_the_last_of_counts(folder):
    path = checkpoints.average(folder, SPEC)
    model = checkpoints.load(path)["model"]
    assert files.is_sealed(path)
    assert torch.equal(model["weight"], torch.full((3,), 45.0)) and model["steps"] == 50


def test_an_average_is_not_made_of_fewer(folder):
    damage(folder / "checkpoint_3_40.pt")
    with pytest.raises(UserError, match="no whole checkpoint of update 40; run again"):
        checkpoints.average(folder, SPEC)


def test_a_training_is_finished_when_its_evaluation_has_all_it_needs(folder):
    record = folder / "trained.json"
    assert checkpoints.finished(folder, SPEC) is None
    files.write_json(record, {"losses": {}})
    assert checkpoints.finished(folder, SPEC) == {"losses": {}}
    for content in (json.dumps({"losses": {}})[:5], "[]"):
        record.write_text(content)
        assert checkpoints.finished(folder, SPEC) is None
    files.write_json(record, {"losses": {}})
    average = checkpoints.average(folder, SPEC)
    checkpoints.remove(folder)
    assert checkpoints.finished(folder, SPEC) == {"losses": {}}
    damage(average)
    assert checkpoints.finished(folder, SPEC) is None
