"""The stage of arms: known numbers, and no difference between what is unlike."""

import json
import math

import pytest

from analysis import arms, runs, scores, studies
from analysis.results import load
from plugins.suite import freshness
from plugins.suite.errors import UserError
from tests.unit.analysis import samples
from tests.unit.analysis.conftest import gather
from tests.unit.analysis.samples import run_folder


def arm_of(folder, study: str, ablation: str, arm: str) -> arms.ArmSummary:
    table = arms.read(folder / f"results/mini/tables/{study}/arms.csv")
    return next(a for a in table if (a.ablation, a.arm) == (ablation, arm))


def change(study: str, ablation: str, arm: str, seed: int, **sections) -> None:
    path = run_folder(study, ablation, arm, seed) / "metrics.json"
    value = json.loads(path.read_text())
    path.write_text(json.dumps(value | {key: value[key] | part for key, part in sections.items()}))


def test_means_and_differences_are_those_of_the_runs(collected):
    frame = runs.read_runs(collected / "results/mini/tables/muse/runs.csv")
    values = {
        arm: runs.per_seed(frame[(frame["ablation"] == "kernels") & (frame["arm"] == arm)], "metrics.bleu")
        for arm in ("kernel_3", "muse_simple")
    }
    arm = arm_of(collected, "muse", "kernels", "kernel_3")
    assert arm.n == 3 and arm.seeds == (1, 2, 3) and arm.metric == "bleu"
    assert arm.mean == pytest.approx(sum(values["kernel_3"].values()) / 3)
    each = [values["kernel_3"][seed] - values["muse_simple"][seed] for seed in (1, 2, 3)]
    assert arm.difference == pytest.approx(sum(each) / 3)
    assert arm.difference_low < arm.difference < arm.difference_high
    # Seeds share most of their noise, so a difference is surer than a mean.
    assert arm.difference_high - arm.difference_low < arm.high - arm.low
    assert (arm.params, arm.macs) == samples.COST["kernel_3"]
    assert arm_of(collected, "muse", "kernels", "muse_simple").baseline


def test_a_gap_is_counted_and_has_no_number(suite):
    for seed in (1, 2, 3):
        (run_folder("muse", "kernels", "kernel_31", seed) / "metrics.json").unlink()
    (run_folder("muse", "kernels", "kernel_31", 3) / "error.json").write_text('{"error": "no memory"}')
    gather("muse")
    arm = arm_of(suite, "muse", "kernels", "kernel_31")
    assert (arm.done, arm.failed, arm.missing, arm.n, arm.gap) == (0, 1, 2, 0, "failed")
    assert math.isnan(arm.mean) and arm.errors == ("seed 3: no memory",) and arm.reason == "no finished run"


@pytest.mark.parametrize(
    ("sections", "reason"),
    [
        ({"settings": {"batch": 32}}, "settings.batch is 32"),
        ({"settings": {"train_fraction": 0.1}}, "settings.train_fraction is 0.1"),
        ({"data": {"checksum": "b" * 64}}, "data.checksum is bbbb"),
    ],
)
def test_arms_that_were_run_unlike_are_not_subtracted(suite, sections, reason):
    for seed in (1, 2, 3):
        change("muse", "kernels", "kernel_3", seed, **sections)
    gather("muse")
    arm, other = (arm_of(suite, "muse", "kernels", f"kernel_{k}") for k in (3, 7))
    assert not arm.has_difference and reason in arm.reason and arm.n == 3
    assert other.has_difference and other.conditions != arm.conditions


def test_a_setting_that_the_arm_is_about_may_differ(suite, monkeypatch):
    for seed in (1, 2, 3):
        change("muse", "kernels", "kernel_3", seed, settings={"convolution": "yes"})
        change("muse", "branches", "muse_simple", seed, settings={"convolution": "no"})
    gather("muse")
    assert arm_of(suite, "muse", "kernels", "kernel_3").has_difference


def test_stale_runs_are_held_against_nothing(suite, monkeypatch):
    monkeypatch.setattr(freshness, "staleness", lambda value: "old data" if value["arm"] == "kernel_3" else "")
    gather("muse")
    arm = arm_of(suite, "muse", "kernels", "kernel_3")
    assert arm.stale == "old data" and arm.n == 3 and not arm.has_difference and "old data" in arm.reason
    assert arm_of(suite, "muse", "kernels", "kernel_7").has_difference


def test_a_fresh_run_counts_before_the_stale_ones_of_its_arm(suite, monkeypatch):
    monkeypatch.setattr(freshness, "staleness", lambda v: "old" if (v["arm"], v["seed"]) == ("kernel_3", 2) else "")
    gather("muse")
    arm = arm_of(suite, "muse", "kernels", "kernel_3")
    assert arm.seeds == (1, 3) and not arm.stale and arm.has_difference


def test_items_count_as_a_sample(suite):
    sentences = [[10, 10, 5 + i % 5, 4, 3, 2, 10, 9, 8, 7] for i in range(40)]
    for arm in ("transformer", "muse_simple", "muse"):
        for seed in (1, 2, 3):
            samples.write_run(samples.metrics("muse", "branches", arm, seed, 35.0 + seed), sentences)
    gather("muse")
    # The kernels have no items, so the family as a whole is judged by its seeds.
    assert "items" not in arm_of(suite, "muse", "branches", "muse").method
    for k in (3, 7, 15, 31):
        for seed in (1, 2, 3):
            samples.write_run(samples.metrics("muse", "kernels", f"kernel_{k}", seed, 35.5 + seed), sentences)
    gather("muse")
    assert "items" in arm_of(suite, "muse", "branches", "muse").method


def test_runs_of_one_ablation_have_one_primary_metric(suite):
    path = run_folder("muse", "branches", "muse", 1) / "metrics.json"
    value = json.loads(path.read_text())
    path.write_text(json.dumps(value | {"metrics": {"chrf": 50.0}, "primary": "chrf"}))
    with pytest.raises(UserError, match="muse/branches: runs name the primary metrics"):
        gather("muse")


def test_the_table_reads_back_as_it_was_written(collected):
    folder = collected / "results/mini/tables/muse"
    frame = runs.read_runs(folder / "runs.csv")
    summaries = arms.summarise(frame, studies.ablations("muse").values(), scores.read(folder / scores.NAME))
    again = arms.read(folder / "arms.csv")
    assert [repr(arm) for arm in again] == [repr(arm) for arm in summaries]


def test_shared_runs_stand_once_under_their_owner(collected):
    study = load(collected / "results/mini", "muse")
    finished = study.finished()
    assert len(finished) == 7
    assert next(arm.ablation for arm in finished if arm.arm == "muse_simple") == "branches"


def test_a_table_that_is_none_is_named(collected):
    path = collected / "results/mini/tables/muse/arms.csv"
    path.write_text(path.read_text().replace("difference_low", "difference_lo"))
    with pytest.raises(UserError, match=r"arms\.csv: column 'difference_low' is missing"):
        arms.read(path)
