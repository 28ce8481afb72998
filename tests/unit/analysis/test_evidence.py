"""Exact, printed and timing evidence: what needs no training is decided from committed records."""

from __future__ import annotations

import json
import math
from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from analysis import ledger, reference
from analysis.__main__ import main
from analysis.evidence import exact, printed, timing
from analysis.evidence.scored import Run
from benchmarks import identities
from plugins.suite import claims, items
from plugins.suite.claims import Part
from plugins.suite.errors import UserError

EXPERIMENTS = Path("experiments")
KNOWN = claims.check_all()
# The checks of parameters and multiply-adds that the claims of the five papers hold: A over B is less than, or at most,
# a ratio. Of "less" the bound is 1, exclusive.
IMAGES, SIDES = ("detection", "segmentation"), (3, 5, 7, 9)
LESS = [
    *(("spatial_attention", f"factors_{t}/0111", f"factors_{t}/1111", "macs") for t in IMAGES),
    *(("spatial_attention", f"factors_{t}/0110", f"factors_{t}/1111", "macs") for t in IMAGES),
    *(("spatial_attention", f"deformable_{t}/deformable", f"deformable_{t}/E2", "macs") for t in IMAGES),
    *(("spatial_attention", f"factors_{t}/0010+dcn", f"factors_{t}/1111+dcn", "macs") for t in IMAGES),
    ("spatial_attention", "dynamic_translation/dynamic-15", "dynamic_translation/E2", "macs"),
    *(("spatial_attention", f"dynamic_{t}/E2-{k}", f"dynamic_{t}/dynamic-{k}", "macs") for t in IMAGES for k in SIDES),
    ("aaconv", "rivals/augmented", "rivals/se", "params"),
    ("aaconv", "fractions/0.5+relative", "fractions/0.25+relative", "params"),
    ("aaconv", "fractions/1+relative", "fractions/0.5+relative", "params"),
    ("aaconv", "fractions/1+relative", "fractions/0.5+relative", "macs"),
    ("acmix", "resnets/50+acmix", "resnets/50", "params"),
    ("acmix", "resnets/50+acmix", "resnets/50", "macs"),
    ("coatnet", "relative/pre", "stride/depthwise", "macs"),
]  # fmt: skip
AT_MOST = [
    *(("spatial_attention", f"factors_{t}/0010", f"factors_{t}/w/o", "macs", 1.05) for t in IMAGES),
    *(("spatial_attention", f"factors_{t}/0010+dcn", f"factors_{t}/w/o+dcn", "macs", 1.05) for t in IMAGES),
    ("aaconv", "depth/50+aa", "depth/101", "params", 0.6),
    ("aaconv", "fractions/1+relative", "fractions/plain", "params", 0.8),
    ("acmix", "swins/tiny+acmix", "swins/tiny", "macs", 1.1),
]  # fmt: skip


def costs(study: str) -> exact.Costs:
    homes = {f"{n}/{arm}": home for n, known in claims.ablations(study).items() for arm, home in known.homes.items()}
    return exact.Costs(study, homes)


def outcome(study: str, claim: int, part: str):
    chosen = next(p for c, p in KNOWN[study].parts() if (c.id, p.id) == (claim, part))
    return exact.judge(chosen, costs(study))


def exact_part(check: dict, **fields: object) -> Part:
    return Part.model_validate(
        {"id": "a", "says": "x", "task": "detection", "level": "exact", "check": check, **fields}
    )


def test_there_are_thirty_one_count_checks():
    assert len(LESS) + len(AT_MOST) == 31


@pytest.mark.parametrize(("study", "few", "many", "metric"), LESS)
def test_a_count_that_a_claim_calls_smaller_is_smaller_and_a_part_says_so(study, few, many, metric):
    known = costs(study)
    assert known.of(few, metric) < known.of(many, metric)
    holding = [part for _, part in KNOWN[study].parts() if part.level == "exact" and {few, many} <= set(part.arms())]
    assert any(part.metric == metric or part.check.metric == metric for part in holding)
    assert all(exact.judge(part, known).verdict == "supported" for part in holding)


@pytest.mark.parametrize(("study", "top", "bottom", "metric", "bound"), AT_MOST)
def test_a_count_keeps_the_ratio_that_a_claim_names_and_a_part_says_so(study, top, bottom, metric, bound):
    known = costs(study)
    assert known.of(top, metric) / known.of(bottom, metric) <= bound
    holding = [part for _, part in KNOWN[study].parts() if getattr(part.check, "ratio", None) == [top, bottom]]
    assert [exact.judge(part, known).verdict for part in holding if part.level == "exact"] == ["supported"]


@pytest.mark.parametrize(
    ("study", "claim", "parts"),
    [
        ("aaconv", 2, "fghij"),  # counted at toy width, SE had fewer parameters
        ("aaconv", 13, "abc"),  # the same, of the shares
        ("acmix", 6, "abcdef"),
        ("spatial_attention", 8, "de"),
        ("aaconv", 1, "fghijk"),
        ("aaconv", 5, "b"),
        ("aaconv", 7, "bc"),
        ("acmix", 1, "a"),
        ("acmix", 2, "a"),
        ("acmix", 3, "abc"),
        ("acmix", 7, "ab"),
        ("coatnet", 11, "defg"),
        ("muse", 1, "de"),
        ("spatial_attention", 3, "defg"),
        ("spatial_attention", 6, "defg"),
        ("spatial_attention", 7, "cd"),
        ("spatial_attention", 9, "defg"),
        ("spatial_attention", 10, "d"),
    ],
)
def test_what_can_be_counted_or_proved_is_decided_without_training(study, claim, parts):
    assert {part: outcome(study, claim, part).verdict for part in parts} == dict.fromkeys(parts, "supported")


@pytest.mark.parametrize("part", "tuv")
def test_e2_is_not_cheaper_in_translation(part):
    """The paper says cheaper; of words it is not, which no check said before."""
    assert outcome("spatial_attention", 11, part).verdict == "contradicted"


def test_the_share_of_the_module_is_not_that_of_the_network():
    module, network = outcome("spatial_attention", 3, "d"), outcome("spatial_attention", 3, "f")
    assert module.estimate == pytest.approx(0.680, abs=0.001)
    assert 1 / network.estimate == pytest.approx(0.970, abs=0.001)


def test_a_narrowed_network_is_no_evidence(tmp_path):
    (tmp_path / "acmix.json").write_text(json.dumps([{"model": "paths/free", "scale": "mini", "params": 1, "macs": 1}]))
    with pytest.raises(UserError, match="scale mini; costs are judged at paper size alone"):
        exact.Costs("acmix", {}, [tmp_path])


def test_costs_that_were_computed_afresh_take_the_place_of_the_published(tmp_path):
    fresh = tmp_path / "fresh"
    fresh.mkdir()
    (fresh / "acmix.json").write_text(json.dumps([{"model": "a/b", "scale": "paper", "params": 5, "macs": 7}]))
    known = exact.Costs("acmix", {"c/d": "a/b"}, [*exact.COSTS[:1], fresh])
    assert known.of("a/b", "params") == known.of("c/d", "params") == 5
    assert known.of("paths/free", "params") is None


def test_a_record_that_lacks_a_count_is_refused(tmp_path):
    (tmp_path / "acmix.json").write_text(json.dumps([{"model": "a/b", "scale": "paper", "params": 5}]))
    with pytest.raises(UserError, match="record 0 lacks 'macs'"):
        exact.Costs("acmix", {}, [tmp_path])


def test_an_arm_that_was_not_counted_is_not_tested(tmp_path):
    (tmp_path / "acmix.json").write_text(json.dumps([{"model": "a/b", "scale": "paper", "params": 5, "macs": None}]))
    part = exact_part({"count": ["a/b", "a/c"], "order": "rises", "metric": "macs"})
    result = exact.judge(part, exact.Costs("acmix", {}, [tmp_path]))
    assert (result.verdict, result.reason) == (
        "not tested",
        "a/b is not counted at paper size; run python -m analysis cost",
    )


@pytest.mark.parametrize(("order", "verdict"), [("rises", "contradicted"), ("falls", "supported")])
def test_counts_that_are_equal_or_turn_contradict(tmp_path, order, verdict):
    records = [
        {"model": f"a/{name}", "scale": "paper", "params": p, "macs": 1} for name, p in (("x", 9), ("y", 8), ("z", 7))
    ]
    (tmp_path / "s.json").write_text(json.dumps(records))
    known = exact.Costs("s", {}, [tmp_path])
    assert (
        exact.judge(exact_part({"count": ["a/x", "a/y", "a/z"], "order": order, "metric": "params"}), known).verdict
        == verdict
    )
    equal = exact_part({"count": ["a/x", "a/y"], "order": order, "metric": "macs"})
    assert exact.judge(equal, known).verdict == "contradicted"


# --- identities -------------------------------------------------------------------------------------------------------
def test_the_committed_identities_are_what_the_operators_do():
    committed, now = json.loads(exact.IDENTITIES.read_text()), identities.record()
    assert [entry["name"] for entry in committed["identities"]] == [entry["name"] for entry in now["identities"]]
    for entry in now["identities"]:
        assert all(entry["errors"][kind] <= entry["bounds"][kind] for kind in entry["bounds"]), entry
    for old, new in zip(committed["counts"], now["counts"], strict=True):
        assert new["value"] == pytest.approx(old["value"], abs=1e-12)


def test_the_projections_of_acmix_grow_with_the_width():
    for width, side, _ in identities.RESNET50:
        module, x = identities._attention(width, side)
        assert 98 * 3 * width * width * side * side == 3 * width * module.attention_macs(x)


def test_an_identity_that_does_not_hold_contradicts(tmp_path):
    record = json.loads(exact.IDENTITIES.read_text())
    record["identities"][0]["errors"]["float64"] = 1e-3
    path = tmp_path / "identities.json"
    path.write_text(json.dumps(record))
    part = exact_part({"identity": record["identities"][0]["name"]})
    assert exact.judge(part, costs("acmix"), path).verdict == "contradicted"
    assert exact.judge(part, costs("acmix"), tmp_path / "none.json").verdict == "not tested"
    assert exact.judge(exact_part({"identity": "another"}), costs("acmix"), path).verdict == "not tested"


# --- printed ----------------------------------------------------------------------------------------------------------
def test_coatnet_dominates_fourteen_of_eighteen_rivals():
    part = next(p for c, p in KNOWN["coatnet"].parts() if c.id == 12)
    result = printed.judge(part, reference.load(EXPERIMENTS, "coatnet"))
    assert result.verdict == "supported"
    assert result.estimate == pytest.approx(14 / 18)
    assert all(name in result.reason for name in ("DeepViT-S", "PVT-Small", "T2T-ViT-14", "CvT-21"))


def test_a_rival_of_equal_cost_and_accuracy_is_not_dominated():
    assert not printed._beats((4.0, 80.0), (4.0, 80.0))
    assert printed._beats((4.0, 80.0), (4.0, 79.9))
    assert not printed._beats((4.1, 81.0), (4.0, 79.9))


def test_a_rival_that_the_table_lacks_is_not_tested():
    check = {"dominated": ["Nobody"], "by": "CoAtNet", "table": "Table 13", "variant": "eval 224x224", "at_least": 0.5}
    part = exact_part(check, level="printed", margin={"why": "w"})
    assert printed.judge(part, reference.load(EXPERIMENTS, "coatnet")).verdict == "not tested"


# --- timing -----------------------------------------------------------------------------------------------------------
def record(ratio: float, low: float, high: float, of: str = "fast", against: str = "slow") -> dict:
    arms = {name: {"median_s": 1.0, "low": 0.9, "high": 1.1, "turns": 25} for name in ("fast", "slow")}
    return {"name": "n", "machine": "m", "arms": arms, "of": of, "against": against, "ratio": ratio, "ratio_low": low,
            "ratio_high": high}  # fmt: skip


def timed(records: list[dict], at_least: float = 1.0):
    part = exact_part({"faster": "fast", "than": "slow", "record": "n", "at_least": at_least}, level="timing")
    return timing.judge(part, [entry | {"path": "p"} for entry in records])


@pytest.mark.parametrize(
    ("interval", "at_least", "verdict"),
    [
        ((1.2, 1.1, 1.3), 1.0, "supported"),
        ((1.2, 0.9, 1.3), 1.0, "undecided"),
        ((0.8, 0.7, 0.9), 1.0, "contradicted"),
        ((1.2, 1.1, 1.3), 1.31, "contradicted"),
        ((1.2, 1.1, 1.4), 1.31, "undecided"),
    ],
)
def test_an_interval_of_turns_decides(interval, at_least, verdict):
    assert timed([record(*interval)], at_least).verdict == verdict


def test_a_ratio_the_other_way_round_is_turned():
    result = timed([record(0.5, 0.4, 0.8, of="slow", against="fast")])
    assert (result.verdict, result.estimate, result.low, result.high) == ("supported", 2.0, 1.25, 2.5)


def test_a_number_without_an_interval_is_no_evidence(tmp_path):
    (tmp_path / "a.json").write_text(json.dumps([{"what": "decoding", "who": "muse", "tokens_per_second": 1.0}]))
    assert timing.load([tmp_path]) == []
    assert timed([]).reason == "no record 'n' of fast beside slow with an interval"


@pytest.mark.parametrize(
    "changes", [{"ratio_low": math.nan}, {"ratio_high": math.inf}, {"ratio": 9.0}, {"ratio": -1.0}]
)
def test_a_record_that_cannot_be_is_refused(tmp_path, changes):
    (tmp_path / "a.json").write_text(json.dumps(record(1.2, 1.1, 1.3) | changes))
    with pytest.raises(UserError, match=r"a.json: n: ratio"):
        timing.load([tmp_path])


def test_committed_timings_are_read():
    assert isinstance(timing.load(), list)
    assert set(ledger.counts(ledger.build(ledger.Sources(), study="muse")).index) >= {"exact", "timing"}


# --- words by rule ----------------------------------------------------------------------------------------------------
def ruled(seed: int = 0, sentences: int = 200) -> Run:
    """A run whose sentences have words of two rules at three lengths, unlike many each."""
    draw = np.random.default_rng(seed)
    strata = draw.integers(1, 4, sentences)
    total = draw.integers(0, 6, (sentences, 2))
    right = draw.binomial(total, np.stack([0.95 - 0.1 * strata, np.full(sentences, 0.4)], axis=1))
    columns = {
        "score": draw.normal(50, 10, sentences),
        "rules": [["near", "far"]] * sentences,
        "right": right.tolist(),
        "total": total.tolist(),
        "stratum": [f"length{number}" for number in strata],
    }
    return Run("probe/a", 1, {"primary": "bleu"}, {}, pd.DataFrame(columns))


def metrics_of(frame: pd.DataFrame) -> dict[str, float]:
    counts = Counter()
    for _, row in frame.iterrows():
        for rule, hits, words in zip(row["rules"], row["right"], row["total"], strict=True):
            counts[rule, row["stratum"], True] += hits
            counts[rule, row["stratum"], False] += words - hits
    return items.rule_metrics(counts)


@pytest.mark.parametrize(
    "metric", ["accuracy", "accuracy_near", "accuracy_far_length2", "accuracy_near_length3", "logit_length_slope"]
)
def test_the_scores_of_sentences_have_the_metric_of_a_rule_as_mean_and_its_jackknife_as_spread(metric):
    run = ruled()
    scores, frame = run.scores(metric), run.items
    whole, n = metrics_of(frame)[metric], len(frame)
    assert scores.mean() == pytest.approx(whole)
    jackknife = np.array([n * whole - (n - 1) * metrics_of(frame.drop(index=i))[metric] for i in range(0, n, 4)])
    assert np.corrcoef(scores[::4], jackknife)[0, 1] > 0.999
    assert scores[::4].std() == pytest.approx(jackknife.std(), rel=0.05)


def test_a_rule_that_the_sentences_do_not_have_has_no_scores():
    assert ruled().scores("accuracy_match") is None and ruled().scores("logit_length") is None
    plain = Run("l/a", 1, {"primary": "bleu"}, {}, ruled().items.assign(rules=None))  # published beside runs of a probe
    assert plain.scores("accuracy") is None and plain.scores("accuracy_near") is None


@pytest.mark.parametrize(
    ("out", "counted"), [("published", "results/published/paper/cost"), ("mini", "results/paper/cost")]
)
def test_the_published_ledger_rests_on_the_published_counts_alone(tmp_path, monkeypatch, out, counted):
    experiments, committed = EXPERIMENTS.resolve(), Path("results/published/paper/cost/acmix.json").read_text()
    monkeypatch.chdir(tmp_path)
    for folder in exact.COSTS:
        folder.mkdir(parents=True)
        (folder / "acmix.json").write_text(committed)
    assert main(["ledger", "--study", "acmix", "--out", f"results/{out}", "--experiments", str(experiments)]) == 0
    table = ledger.read(Path(f"results/{out}/ledger.csv"))
    of_counts = table[table["runs"].str.endswith("cost/acmix.json")]
    assert len(of_counts) and set(of_counts["runs"]) == {f"{counted}/acmix.json"}
