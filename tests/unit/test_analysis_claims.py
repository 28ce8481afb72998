"""Claims: every form of check, every verdict, every way to write one wrongly."""

import math
from pathlib import Path

import pandas as pd
import pytest
import yaml

from analysis import claims, collect, loading, reference
from analysis.loading import AnalysisError
from tests.unit import analysis_samples as samples

ROOT = Path(__file__).resolve().parents[2]
A, B, C = "branches/muse", "branches/muse_simple", "branches/transformer"


def frame_of(values: dict[str, list[float]], tmp_path: Path, **changes: object) -> pd.DataFrame:
    """Runs of the three arms of `branches` with these BLEU values for seeds 1, 2, ...; `changes` are for muse alone."""
    rows = []
    for arm, found in values.items():
        for seed, value in enumerate(found, 1):
            run = samples.metrics("muse", "branches", arm, seed, value, **(changes if arm == "muse" else {}))
            rows.append(collect.row_of(run, f"muse/branches/{arm}/seed{seed}", "done", "", run))
    path = tmp_path / "runs.csv"
    loading.write_csv(path, loading.tidy(rows))
    return loading.read_runs(path)


def judge(check: dict, frame: pd.DataFrame, tmp_path: Path) -> claims.Outcome:
    ablations = loading.load_ablations(samples.write_experiments(tmp_path))
    return claims.Judge(frame, ablations, "muse", "bleu").check(check)


CLEAR = {"muse": [36.3, 36.8, 35.9], "muse_simple": [35.8, 36.3, 35.38], "transformer": [35.3, 35.8, 34.92]}


@pytest.mark.parametrize(
    ("check", "verdict"),
    [
        ({"better": A, "than": B}, "supported"),
        ({"better": B, "than": A}, "contradicted"),
        ({"better": A, "than": B, "by": 0.5}, "undecided"),
        ({"better": A, "than": B, "by": 0.9}, "contradicted"),
        ({"no_worse": B, "than": A, "within": 1.0}, "supported"),
        ({"no_worse": B, "than": A, "within": 0.5}, "undecided"),
        ({"no_worse": B, "than": A, "within": 0.1}, "contradicted"),
        ({"equal": [A, B], "within": 1.0}, "supported"),
        ({"equal": [A, B], "within": 0.5}, "undecided"),
        ({"equal": [A, B], "within": 0.1}, "contradicted"),
        ({"gain": [C, A], "exceeds": [C, B]}, "supported"),
        ({"gain": [C, B], "exceeds": [C, A]}, "contradicted"),
        ({"gain": [C, B], "exceeds": [B, A]}, "undecided"),
        ({"ratio": [A, B], "metric": "cost.macs", "at_most": 1.2}, "supported"),
        ({"ratio": [A, B], "metric": "cost.macs", "at_most": 1.1}, "contradicted"),
        ({"ratio": [A, B], "metric": "cost.macs", "at_least": 1.1, "at_most": 1.2}, "supported"),
        ({"ratio": [A, B], "metric": "bleu", "at_most": 1.1}, "supported"),
        ({"better": B, "than": A, "metric": "cost.params"}, "supported"),
        ({"better": C, "than": B, "metric": "cost.params"}, "contradicted"),
        ({"equal": [C, B], "within": 0, "metric": "cost.params"}, "supported"),
        ({"better": A, "than": B, "metric": "losses.valid"}, "contradicted"),
        ({"better": A, "than": B, "metric": "chrf"}, "not comparable"),
        ({"better": A, "than": "kernels/kernel_3"}, "not comparable"),
        ({"better": A, "than": "depth/transformer_12"}, "not comparable"),
    ],
)
def test_every_form_reaches_its_verdicts(check, verdict, tmp_path):
    found = judge(check, frame_of(CLEAR, tmp_path), tmp_path)
    assert found.verdict == verdict, found
    assert verdict != "not comparable" or found.reason


def test_losses_are_better_when_lower(tmp_path):
    frame = frame_of(CLEAR, tmp_path, losses={"valid": 2.5})
    assert judge({"better": A, "than": B, "metric": "losses.valid"}, frame, tmp_path).verdict == "supported"


def test_too_few_seeds_are_not_comparable_except_for_exact_costs(tmp_path):
    frame = frame_of({arm: values[:2] for arm, values in CLEAR.items()}, tmp_path)
    found = judge({"better": A, "than": B}, frame, tmp_path)
    assert found.verdict == "not comparable" and "too few seeds (2 shared, 3 needed)" in found.reason
    exact = judge({"ratio": [A, B], "metric": "cost.macs", "at_most": 1.2}, frame, tmp_path)
    assert exact.verdict == "supported" and exact.effect.mean == pytest.approx(47 / 41)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"settings": {"updates": 600, "batch": 16}}, "settings.updates"),
        ({"data": {"name": "mini", "checksum": "ff"}}, "data.checksum"),
    ],
)
def test_unlike_settings_are_not_comparable(changes, named, tmp_path):
    found = judge({"better": A, "than": B}, frame_of(CLEAR, tmp_path, **changes), tmp_path)
    assert found.verdict == "not comparable" and named in found.reason


def test_a_gain_compares_starts_with_starts_and_ends_with_ends(tmp_path):
    """Only the arm `muse` has other settings here: as both ends it is alike, as one of the starts it is not."""
    frame = frame_of(CLEAR, tmp_path, settings={"updates": 600, "batch": 16})
    assert judge({"gain": [B, A], "exceeds": [C, A]}, frame, tmp_path).verdict == "contradicted"
    assert "settings.updates" in judge({"gain": [B, C], "exceeds": [A, C]}, frame, tmp_path).reason


def test_a_cost_that_varies_between_seeds_is_not_exact(tmp_path):
    frame = frame_of(CLEAR, tmp_path)
    frame.loc[0, "cost.params"] += 1
    found = judge({"better": A, "than": B, "metric": "cost.params"}, frame, tmp_path)
    assert found.verdict == "not comparable" and "differs between seeds" in found.reason


def test_timings_are_compared_on_one_machine_only(tmp_path):
    other = samples.metrics("muse", "branches", "muse", 1, 1.0)["provenance"] | {"device": "cuda"}
    frame = frame_of(CLEAR, tmp_path, provenance=other)
    found = judge({"better": A, "than": B, "metric": "cost.latency_ms"}, frame, tmp_path)
    assert "provenance.device" in found.reason


@pytest.mark.parametrize(
    ("outcomes", "verdict"),
    [
        (["supported", "supported"], "supported"),
        (["supported", "undecided"], "undecided"),
        (["undecided", "not comparable"], "not comparable"),
        (["not comparable", "contradicted"], "contradicted"),
    ],
)
def test_a_claim_is_as_good_as_its_worst_check(outcomes, verdict):
    assert claims.conclude({"id": 1}, [claims.Outcome(name, "") for name in outcomes])[0] == verdict


def test_a_claim_that_nothing_tests_says_why():
    assert claims.conclude({"not_tested": "needs a GPU"}, []) == ("not comparable", "needs a GPU")


def write_claims(root: Path, *checks: dict, **claim: object) -> Path:
    body = {"id": 1, "says": "a", "published": "b"} | ({"checks": list(checks)} if checks else {}) | claim
    path = samples.write_experiments(root) / "muse" / "claims.yaml"
    path.write_text(yaml.safe_dump({"paper": "p", "metric": "bleu", "claims": [body]}))
    return path


@pytest.mark.parametrize(
    ("check", "reason"),
    [
        ({"beter": A, "than": B}, "unknown key 'beter'; nearest valid key: 'better'"),
        ({"better": A}, "needs 'than'"),
        ({"than": B}, "starts with one of"),
        ({"better": A, "than": B, "within": 1}, "knows no 'within'"),
        ({"equal": [A, B]}, "needs 'within'"),
        ({"equal": [A], "within": 1}, "equal"),
        ({"better": A, "than": B, "by": "much"}, "by"),
        ({"better": "muse", "than": B}, "better"),
        ({"better": "branches/muze", "than": B}, "has no arm 'muze'; nearest: 'muse'"),
        ({"ratio": [A, B], "metric": "cost.macs"}, "at_most"),
    ],
)
def test_a_wrong_check_is_one_line(check, reason, tmp_path):
    path = write_claims(tmp_path, check)
    with pytest.raises(AnalysisError) as caught:
        claims.load(path, loading.load_ablations(tmp_path / "experiments"))
    assert reason in str(caught.value) and "claims.yaml" in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["", "- 1", "claims: []", "a: [", "paper: p\nmetric: bleu\nclaims:\n- {id: one}"])
def test_a_wrong_claims_file_is_one_line(text, tmp_path):
    path = write_claims(tmp_path, {"better": A, "than": B})
    path.write_text(text)
    with pytest.raises(AnalysisError) as caught:
        claims.load(path, loading.load_ablations(tmp_path / "experiments"))
    assert "\n" not in str(caught.value)


def test_checks_and_not_tested_exclude_each_other(tmp_path):
    for path in (write_claims(tmp_path), write_claims(tmp_path, {"better": A, "than": B}, not_tested="why")):
        with pytest.raises(AnalysisError, match="either checks or not_tested"):
            claims.load(path, {})


def test_the_command_writes_every_claim_with_the_published_difference(tmp_path):
    samples.write_suite(tmp_path)
    write_claims(tmp_path, {"better": A, "than": B})
    row = "translation,branches,{},T,IWSLT,m,v,bleu,{},BLEU,paper,read-in-paper-text,"
    lines = [",".join(reference.COLUMNS), row.format("muse", "36.3"), row.format("muse_simple", "35.8")]
    (tmp_path / "experiments" / "muse" / "reference.csv").write_text("\n".join(lines) + "\n")
    experiments = ["--experiments", str(tmp_path / "experiments")]
    runs = str(tmp_path / "runs.csv")
    collect.main(["--expected", str(tmp_path / "expected.json"), "--study", "muse", "--out", runs, *experiments])
    claims.main(["--runs-csv", runs, "--study", "muse", "--out", str(tmp_path / "claims"), *experiments])
    table = pd.read_csv(tmp_path / "claims.csv")
    assert table.loc[0, "verdict"] == "supported" and table.loc[0, "paper_effect"] == 0.5
    page = (tmp_path / "claims.md").read_text()
    assert "**supported**" in page and "(paper +0.50)" in page


@pytest.mark.parametrize("study", ["muse", "spatial_attention"])
def test_the_claims_and_references_of_the_suite_are_well_formed(study):
    ablations = loading.load_ablations(ROOT / "experiments")
    content = claims.load(ROOT / "experiments" / study / "claims.yaml", ablations)
    numbers = [claim["id"] for claim in content["claims"]]
    assert numbers == list(range(1, {"muse": 13, "spatial_attention": 11}[study] + 1))
    rows = reference.load(ROOT / "experiments", study)
    named = [row for row in rows if row.arm]
    for row in named:
        known = ablations.get((study, row.ablation))
        assert known is None or row.arm in known.arms, f"{row.ablation}/{row.arm} in reference.csv"
    unread = [row for row in rows if math.isnan(row.value)]
    assert all(row.kind == "paper" for row in unread)
