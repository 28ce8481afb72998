"""Figures and tables of what translation runs keep beside their scores: drawn, repeatable, empty without it."""

import json
from pathlib import Path

import numpy as np
import pytest

from analysis import claims, collect, figures, loading, tables, translation
from tests.unit import analysis_samples as samples

REFERENCE = """task,ablation,arm,table,dataset,model,variant,metric,value,unit,source,confidence,note
translation,,,Figure 7,IWSLT14,Transformer,source length 1-15,bleu,34.97,BLEU,paper,read-in-paper-text,
translation,,,Figure 7,IWSLT14,Transformer,source length >105,bleu,14.53,BLEU,paper,read-in-paper-text,
translation,,,Figure 8,IWSLT14,MUSE,layer 1,ratio,1.0,ratio,paper,read-in-paper-text,
translation,,,Figure 8,IWSLT14,MUSE,layer 2,ratio,0.25,ratio,paper,read-in-paper-text,
"""
CLAIMS = {
    "paper": "MUSE",
    "metric": "bleu",
    "claims": [
        {"id": 1, "says": "s", "published": "p",
         "checks": [{"value": "branches/muse", "metric": "gate_slope", "below": 0}]},
        {"id": 2, "says": "s", "published": "p",
         "checks": [{"value": "branches/muse", "metric": "gate_slope", "above": 0}]},
        {"id": 3, "says": "s", "published": "p",
         "checks": [{"value": "later/arm", "metric": "bleu", "above": 0}]},
    ],
}  # fmt: skip


def details(seed: int, right: int, gated: bool) -> dict:
    """Forty sentences of ten words of which `right` are; gates that fall with depth."""
    rng = np.random.default_rng(seed)
    matches = np.clip(right + rng.integers(-2, 3, 40), 4, 10)
    rows = [[10, 10, int(m), int(m) - 1, int(m) - 2, int(m) - 3, 10, 9, 8, 7] for m in matches]
    spread = {"entropy": [0.8, 0.7], "last_token": [0.1, 0.2]}
    return {
        "sentences": {"source_words": [4] * 10 + [8] * 10 + [12] * 10 + [20] * 10, "bleu": rows},
        "gates": {f"{s}.{i}": [0.5 - 0.1 * i, 0.5 + 0.1 * i] for s in ("encoder", "decoder") for i in (0, 1)}
        if gated
        else {},
        "dispersion": {"source_tokens": [[2, 9], [10, 30]], "layers": {"encoder.0": spread, "encoder.1": spread}},
    }


@pytest.fixture(scope="module")
def suite(tmp_path_factory):
    root = tmp_path_factory.mktemp("suite")
    samples.write_experiments(root)
    (root / "experiments/muse/reference.csv").write_text(REFERENCE)
    lines = [
        samples.metrics("muse", "branches", arm, seed, 30.0, details=details(seed, right, arm == "muse"))
        for arm, right in (("transformer", 6), ("muse_simple", 6), ("muse", 8))
        for seed in (1, 2, 3)
    ]
    (root / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    read(root)
    return root


def read(root: Path) -> None:
    collect.main(
        ["--metrics", str(root / "metrics.jsonl"), "--out", str(root / "runs.csv"), "--study", "muse"]
        + ["--experiments", str(root / "experiments")]
    )


def draw(root: Path, out: Path) -> list[Path]:
    kinds = [word for kind in translation.KINDS for word in ("--kind", kind)]
    command = ["--runs-csv", str(root / "runs.csv"), "--study", "muse", "--out", str(out), *kinds]
    assert figures.main([*command, "--experiments", str(root / "experiments")]) == 0
    return sorted(out.rglob("*.*"))


def test_the_same_data_gives_the_same_bytes(suite, tmp_path):
    first, second = draw(suite, tmp_path / "a"), draw(suite, tmp_path / "b")
    assert len(first) == 9 and [path.read_bytes() for path in first] == [path.read_bytes() for path in second]
    text = (tmp_path / "a/muse/lengths.svg").stat().st_size
    assert text > 10_000


def test_runs_without_details_draw_empty_figures(suite, tmp_path):
    samples.write_experiments(tmp_path)
    (tmp_path / "metrics.jsonl").write_text(json.dumps(samples.metrics("muse", "branches", "muse", 1, 30.0)) + "\n")
    read(tmp_path)
    assert len(draw(tmp_path, tmp_path / "out")) == 9


def test_published_gates_are_weights(suite):
    from analysis import reference

    found = reference.load(suite / "experiments", "muse")
    assert translation._published_gates(found) == [(1, 0.5), (2, 0.2)]
    assert translation._published_lengths(found) == {"Transformer, printed (IWSLT14)": [(8.0, 34.97), (113, 14.53)]}


def test_the_paired_table_has_a_row_a_seed(suite, tmp_path):
    tables.main(
        ["--runs-csv", str(suite / "runs.csv"), "--study", "muse", "--out", str(tmp_path)]
        + ["--experiments", str(suite / "experiments")]
    )
    summary = (tmp_path / "muse/summary.md").read_text()
    rows = [line for line in summary.splitlines() if line.startswith("| MUSE {3, 15} |") and "[+" in line]
    assert len(rows) == 3 and "Paired bootstrap over the sentences" in summary


def test_values_are_judged_and_checks_of_other_scales_left_out(suite):
    import yaml

    path = suite / "experiments/muse/claims.yaml"
    path.write_text(yaml.safe_dump(CLAIMS))
    later = suite / "experiments/muse/ablations/later.yaml"
    later.write_text("{title: t, task: translation, scales: [paper], baseline: arm, arms: {arm: {set: {}}}}")
    try:
        frame, ablations = (
            loading.read_runs(suite / "runs.csv"),
            loading.load_ablations(suite / "experiments"),
        )
        verdicts = claims.judge(frame, ablations, suite / "experiments", "muse")
    finally:
        later.unlink()
    assert [verdict.verdict for verdict in verdicts] == ["supported", "contradicted", "not comparable"]
    assert verdicts[2].reason == "its ablations are not run at this scale"
    assert claims.check_text(CLAIMS["claims"][0]["checks"][0], "bleu") == "branches/muse < 0 [gate slope]"
