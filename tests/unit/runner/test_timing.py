"""Times: turns are fair, intervals have the coverage that they claim, records have the shape that is read."""

import itertools
import json
import types

import pytest
import torch
from scipy.stats import binom
from torch import nn

from plugins.runner import timing
from plugins.suite.errors import UserError


@pytest.mark.parametrize("turns", range(6, 60))
def test_the_interval_is_the_narrowest_of_order_statistics_with_its_coverage(turns):
    middle, low, high = timing.interval(range(turns))
    assert low + high == turns - 1, "as many turns below as above"
    missed = 2 * binom.cdf(low, turns, 0.5)  # fewer than low + 1 values below the true median, or above it
    narrower = 2 * binom.cdf(low + 1, turns, 0.5)
    assert missed <= 0.05 < narrower and low <= middle <= high


def test_too_few_turns_have_no_interval():
    assert timing.interval([1.0] * 6) == (1.0, 1.0, 1.0)
    with pytest.raises(UserError, match="turns: 5 give no 95% interval; take 6 or more"):
        timing.interval(range(5))
    with pytest.raises(UserError, match="turns: 5 give no 95% interval; take 6 or more"):
        timing.in_turns({"a": lambda: 1.0}, 5)


def test_every_contestant_takes_every_place_of_a_turn():
    order = []
    contestants = {name: (lambda name=name: order.append(name) or name) for name in "abc"}
    values = timing.in_turns(contestants, 6)
    assert values == {name: [name] * 6 for name in "abc"}
    turns = list(itertools.batched(order, 3)) if hasattr(itertools, "batched") else [
        tuple(order[start : start + 3]) for start in range(0, 18, 3)
    ]  # fmt: skip
    assert turns == [("a", "b", "c"), ("b", "c", "a"), ("c", "a", "b")] * 2


def test_a_ratio_is_taken_turn_by_turn_so_that_a_slow_machine_cancels():
    load = [1.0, 5.0, 1.0, 9.0, 1.0, 2.0, 1.0]
    times = {"slow": [3 * value for value in load], "fast": load}
    record = timing.comparison("race", times, "fast", "slow")
    assert (record["ratio_low"], record["ratio"], record["ratio_high"]) == (3.0, 3.0, 3.0)
    assert record["arms"]["fast"] == {"median_s": 1.0, "low": 1.0, "high": 9.0, "turns": 7}
    assert (record["name"], record["of"], record["against"]) == ("race", "fast", "slow")


class Engine:
    """An engine whose models do as much work as their arm's `width` says."""

    @staticmethod
    def measured_model(spec, folder):
        assert spec["measure"]["batch"] == 1
        model = nn.Linear(spec["width"], spec["width"])
        x = torch.ones(spec["width"], spec["width"])
        return model, lambda: model(x), lambda: model(x).sum().backward()


def test_all_arms_are_timed_beside_their_baseline(monkeypatch, tmp_path):
    monkeypatch.setattr(timing, "load_engine", lambda spec: Engine)
    monkeypatch.setattr(timing, "BLOCK_S", 0.002)
    base = {"seed": 1, "threads": 1, "measure": {"height": 8, "batch": 8}}
    specs = {"a/small": base | {"width": 16}, "a/large": base | {"width": 512}, "b/alone": base | {"width": 16}}
    baselines = {"a/small": "a/small", "a/large": "a/small", "b/alone": "c/elsewhere"}
    record = timing.time_arms(specs, baselines, tmp_path, 6, "cpu")
    assert set(record["arms"]) == set(specs) and set(record["ratios"]) == {"a/large"}
    assert record["threads"] == 1 and record["machine"] and record["torch"].startswith("2.")
    for arm in record["arms"].values():
        assert arm["turns"] == 6 and arm["peak_mb"] > 0
        assert 0 < arm["low"] <= arm["latency_ms"] <= arm["high"]
        assert 0 < arm["train_low"] <= arm["train_step_ms"] <= arm["train_high"]
    ratio = record["ratios"]["a/large"]
    assert ratio["against"] == "a/small" and ratio["low"] > 1 and ratio["train_low"] > 1
    json.dumps(record, allow_nan=False)


def test_the_arms_of_a_recipe_are_those_of_its_ablations(monkeypatch):
    ablations = {
        "widths": types.SimpleNamespace(recipe_name="classification", baseline="same"),
        "other": types.SimpleNamespace(recipe_name="detection", baseline="plain"),
    }
    catalog = types.SimpleNamespace(
        ablations=lambda study: ablations,
        arm_specs=lambda study, scale: [
            ("widths", "one", {"n": 1}),
            ("widths", "two", {"n": 2}),
            ("other", "plain", {}),
        ],
        home=lambda study, ablation, arm: ("elsewhere", "one"),
    )
    monkeypatch.setattr(timing, "catalog", catalog)
    specs, baselines = timing.arms_of("study", "classification", "mini")
    assert specs == {"widths/one": {"n": 1}, "widths/two": {"n": 2}}
    assert baselines == dict.fromkeys(specs, "elsewhere/one")
    assert list(timing.arms_of("study", "classification", "mini", ["widths/o*", "other/*"])[0]) == ["widths/one"]
    with pytest.raises(UserError, match=r"no arm of widths/three has the recipe 'classification' at scale mini"):
        timing.arms_of("study", "classification", "mini", ["widths/three"])
    with pytest.raises(UserError, match=r"no arm of \* has the recipe 'segmentation' at scale mini"):
        timing.arms_of("study", "segmentation", "mini")


def test_an_arm_that_cannot_run_is_named(monkeypatch, tmp_path):
    def refuse():
        raise ValueError("x.shape=(1, 8, 2, 2): needs sides of at least 4")

    double = types.SimpleNamespace(measured_model=lambda spec, folder: (None, refuse, refuse))
    monkeypatch.setattr(timing, "load_engine", lambda spec: double)
    spec = {"seed": 1, "threads": 1, "measure": {"height": 8}}
    with pytest.raises(UserError, match=r"a/b: cannot run at this size \(x.shape=.*\); leave it out of --arms"):
        timing.time_arms({"a/b": spec}, {"a/b": "a/b"}, tmp_path, 6, "cpu")
