"""Gates: each is passed and failed by known runs, and says what it measured."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest

from analysis import gates
from analysis.evidence.scored import Run
from analysis.statistics import Estimate
from tests.unit.analysis import ledger_samples as samples


def runs(means: dict, **options) -> list[Run]:
    study = samples.study(means, **options)
    return [run for arm in means for run in study.runs(arm)]


def estimate(value: float, se: float, df: float = 20) -> Estimate:
    return Estimate(value, se, df, 5, 1000, se, math.nan, "")


def test_trained_asks_for_more_than_chance_by_the_interval():
    """1,000 items at chance 10: 11.9 is inside the interval of guessing, 12.1 is not (Wilson)."""
    assert not gates.trained(runs({"l/a": 11.5}, sd=0.0)).passed
    assert gates.trained(runs({"l/a": 12.5}, sd=0.0)).passed
    assert gates.lower_bound("top1", 50.0, np.zeros(200)) == pytest.approx(43.14, abs=0.01)  # Wilson, 100 of 200


def with_losses(**losses: float) -> list[Run]:
    """Runs well above chance with these losses, in shares of that of guessing."""
    shares = {f"losses.{name}": share * math.log(10) for name, share in losses.items()}
    return runs({"l/a": 60.0}, changes={"l/a": shares})


def test_trained_asks_for_a_loss_below_that_of_guessing():
    low = with_losses(train=0.95, valid=0.91)
    assert not gates.trained(low).passed
    assert "arm did not train" in gates.trained(low).reason
    assert gates.trained(with_losses(train=0.95, valid=0.89)).passed


def test_few_images_learnt_by_heart_are_a_training():
    """The validation loss is twice that of guessing, the accuracy far above chance: it has trained."""
    assert gates.trained(with_losses(train=0.05, valid=2.0)).passed
    assert not gates.trained(with_losses(train=0.91, valid=2.0)).passed


def test_one_seed_that_did_not_train_is_named():
    both = runs({"l/a": 60.0, "l/b": 10.0}, seeds=3)
    gate = gates.trained(both)
    assert not gate.passed
    assert "l/b seed 1" in gate.reason and "l/a" not in gate.reason
    assert str(gate) == "trained=fail(3 of 6 runs not)"


def test_an_unknown_chance_and_missing_items_are_no_pass():
    unknown = runs({"l/a": 60.0}, details={"l/a": {"chance": {}}})
    assert "chance was not recorded" in gates.trained(unknown).reason
    bare = [Run(run.arm, run.seed, run.row, run.details, None) for run in runs({"l/a": 60.0})]
    assert "no per-item scores" in gates.trained(bare).reason


@pytest.mark.parametrize(
    ("metric", "means", "passed"),
    [
        ("top1", {"a": 60.0, "b": 97.9}, True),
        ("top1", {"a": 60.0, "b": 98.0}, False),
        ("top1", {"a": 9.0, "b": 60.0}, False),
        ("top5", {"a": 100.0, "b": 100.0}, False),
        ("losses.train", {"a": 0.0, "b": 5.0}, True),
        ("bleu_length_1", {"a": 90.0, "b": 99.7}, False),
        ("bleu_length_span", {"a": -60.0, "b": -10.0}, True),
    ],
)
def test_ceiling_and_floor(metric, means, passed):
    assert gates.ceiling(means, metric, runs({"l/a": 60.0})).passed is passed


def test_a_tie_is_no_spread_or_a_margin_below_two_items():
    assert not gates.tie(0.0, math.nan, "top1", 200).passed
    assert not gates.tie(math.nan, math.nan, "top1", 200).passed
    assert not gates.tie(1.0, 0.9, "top1", 200).passed  # an item of 200 is half a point
    assert gates.tie(1.0, 1.1, "top1", 200).passed
    assert gates.tie(1.0, 0.1, "losses.train", 200).passed


def test_plateau_measures_the_last_fifth_against_the_effect():
    rising = {"update": list(range(10, 101, 10)), "top1": [float(u) for u in range(10, 101, 10)]}
    rising["train_loss"] = [1 / u for u in rising["update"]]
    climbing = runs({"l/a": 60.0}, details={"l/a": {"curve": rising}})
    assert gates.gain_of(rising, "top1", 1) == pytest.approx(95 - 75)
    assert not gates.plateau(climbing, "top1", 50.0, 1).passed
    assert gates.plateau(climbing, "top1", 250.0, 1).passed
    assert gates.plateau(runs({"l/a": 60.0}), "top1", 5.0, 1).passed


def test_plateau_without_a_validation_curve_looks_at_the_loss():
    falling = {"update": list(range(10, 101, 10)), "train_loss": [3 - u / 40 for u in range(10, 101, 10)]}
    flat = {"update": falling["update"], "train_loss": [3, 2, 1, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5]}
    assert not gates.plateau(runs({"l/a": 60.0}, details={"l/a": {"curve": falling}}), "top1", 5.0, 1).passed
    assert gates.plateau(runs({"l/a": 60.0}, details={"l/a": {"curve": flat}}), "top1", 5.0, 1).passed
    assert "has no curve" in gates.plateau(runs({"l/a": 60.0}, details={"l/a": {"curve": {}}}), "top1", 5.0, 1).reason


def test_an_update_at_which_only_the_validation_was_taken_down_is_left_out():
    plain = {"update": [20, 40, 60, 80, 100], "train_loss": [3.0, 2.0, 1.0, 0.6, 0.5]}
    longer = {"update": [*plain["update"], 101], "train_loss": [*plain["train_loss"], None]}
    assert gates.gain_of(longer, "train_loss", -1) == gates.gain_of(plain, "train_loss", -1)
    assert gates.share_of_fall(longer) == gates.share_of_fall(plain)


def test_assay_asks_that_the_reference_effect_is_shown():
    assert gates.assay(estimate(3.0, 1.0)).passed
    assert not gates.assay(estimate(2.0, 1.0)).passed  # t = 2.0 with 20 degrees of freedom
    assert not gates.assay(estimate(-3.0, 1.0)).passed
    assert not gates.assay(estimate(3.0, 0.0)).passed


def test_starts_are_equal_to_a_tenth_of_the_effect():
    assert gates.start(0.04, 0.61, ["a", "b"]).passed  # the paper's own starts
    assert not gates.start(29.4, 20.5, ["a", "b"]).passed


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"settings.updates": 800}, "settings.updates is 400"),
        ({"data.name": "other"}, "data.name is other"),
        ({"data.checksum": "f" * 64}, "data.checksum of seed 1"),
        ({"data.generator": "g2"}, "data.generator of seed 1"),
    ],
)
def test_alike_finds_what_differs(change, reason):
    both = runs({"l/a": 60.0, "l/b": 50.0}, changes={"l/b": change})
    gate = gates.alike([both])
    assert not gate.passed and reason in gate.reason


def test_alike_asks_for_one_checksum_a_seed_and_not_one_for_all():
    assert gates.alike([runs({"l/a": 60.0, "l/b": 50.0})]).passed


@pytest.mark.parametrize("name", ["settings.batch_target_tokens", "settings.dictionary_types.source"])
def test_alike_asks_for_one_count_a_seed_where_each_seed_draws_its_own_data(name):
    drawn = runs({"l/a": 60.0, "l/b": 50.0})
    for run in drawn:
        run.row[name] = 400.0 + run.seed
    assert gates.alike([drawn]).passed
    drawn[0].row[name] += 1
    assert f"{name} of seed {drawn[0].seed}" in gates.alike([drawn]).reason


def test_alike_lets_an_arm_change_what_it_is_about_and_not_its_sources():
    assert gates.alike([runs({"l/a": 60.0, "l/b": 50.0}, changes={"l/b": {"settings.train_fraction": 0.1}})]).passed
    mixed = runs({"l/a": 60.0})
    mixed[0].row["provenance.sources_sha256"] = "another"
    assert "the sources of l/a" in gates.alike([mixed]).reason


@pytest.mark.parametrize(
    ("stale", "passed"), [(math.nan, True), ("", True), ("data set made by another generator", False), (None, False)]
)
def test_fresh_asks_for_an_empty_column(stale, passed):
    assert gates.fresh(runs({"l/a": 60.0}, changes={"l/a": {"stale": stale}})).passed is passed


def test_the_first_failed_gate_is_the_reason():
    several = [
        gates.Gate("fresh", True, "5 runs"),
        gates.Gate("trained", False, "x", "arm did not train"),
        gates.Gate("tie", False, "y", "tie"),
    ]
    assert gates.failed(several) == "arm did not train"
    assert gates.text(several) == "fresh=pass(5 runs); trained=fail(x); tie=fail(y)"


# --- words by rule ----------------------------------------------------------------------------------------------------
CHANCE = {"loss": 4.0, "metric": 0, "metrics": {"accuracy": 30.0, "accuracy_n1": 12.5}}


def probe(accuracy: float, n1: float, loss: float = 1.0, sentences: int = 400) -> Run:
    """A run with one word of n1 and one of another rule a sentence."""
    near = np.arange(sentences) < sentences * n1 / 100
    other = np.arange(sentences) < sentences * (2 * accuracy - n1) / 100
    frame = pd.DataFrame(
        {
            "score": np.zeros(sentences),
            "rules": [["n1", "lexical"]] * sentences,
            "right": np.stack([near, other], axis=1).astype(int).tolist(),
            "total": [[1, 1]] * sentences,
            "stratum": ["length1"] * sentences,
        }
    )
    values = {"bleu": 1.0, "accuracy": accuracy, "accuracy_n1": n1}
    row = {"primary": "bleu", "losses.valid": loss, **{f"metrics.{name}": value for name, value in values.items()}}
    return Run("probe/a", 1, row, {"chance": CHANCE}, frame)


def test_a_probe_is_trained_where_its_words_of_all_rules_are_above_guessing():
    """An arm that has no means for n1 guesses there; that is what the probe shows, and not a failed training."""
    assert gates.trained([probe(accuracy=55, n1=12)]).passed
    assert "accuracy 31.0, chance 30.0" in gates.trained([probe(accuracy=31, n1=12)]).reason
    assert "loss 3.700, guessing 4.000" in gates.trained([probe(accuracy=55, n1=12, loss=3.7)]).reason


def test_chance_is_that_of_the_metric_s_rule():
    run = probe(55, 12)
    guesses = {name: gates.chance_of(run, name) for name in ("accuracy", "accuracy_n1", "accuracy_n1_length2", "bleu")}
    assert guesses == {"accuracy": 30, "accuracy_n1": 12.5, "accuracy_n1_length2": 12.5, "bleu": 0}


@pytest.mark.parametrize(
    ("means", "passed"),
    [
        ({"a": 99.5, "b": 13.0}, False),  # no room above, whatever is asked
        ({"a": 99.5, "b": 98.5}, False),
        ({"a": 12.0, "b": 11.0}, False),  # neither has learnt it
        ({"a": 60.0, "b": 11.0}, True),  # b has no means for the rule and guesses
    ],
)
def test_ceiling_and_floor_in_the_words_of_one_rule(means, passed):
    assert gates.ceiling(means, "accuracy_n1", [probe(55, 12)]).passed is passed
