"""Figures and tables of what translation runs keep beside their scores: drawn, repeatable, absent without it."""

from pathlib import Path

import numpy as np
import pytest

from analysis import reference, results
from analysis.__main__ import main
from analysis.commands import draw
from analysis.figures import gates, lengths
from plugins.suite import catalog, freshness
from tests.unit.analysis import samples

REFERENCE = """task,ablation,arm,table,dataset,model,variant,metric,value,unit,source,confidence,note
translation,,,Figure 7,IWSLT14,Transformer,source length 1-15,bleu,34.97,BLEU,paper,read-in-paper-text,
translation,,,Figure 7,IWSLT14,Transformer,source length >105,bleu,14.53,BLEU,paper,read-in-paper-text,
translation,,,Figure 8,IWSLT14,MUSE,layer 1,ratio,1.0,ratio,paper,read-in-paper-text,
translation,,,Figure 8,IWSLT14,MUSE,layer 2,ratio,0.25,ratio,paper,read-in-paper-text,
"""
NAMES = ["lengths", "gates"]


def sentences(seed: int, right: int) -> list[list[int]]:
    """Forty sentences of ten words of which about `right` are right."""
    matches = np.clip(right + np.random.default_rng(seed).integers(-2, 3, 40), 4, 10)
    return [[10, 10, int(m), int(m) - 1, int(m) - 2, int(m) - 3, 10, 9, 8, 7] for m in matches]


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """Three arms with sentences, one with gates that fall with depth; the working directory of the module's tests."""
    root = tmp_path_factory.mktemp("suite")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        patch.setattr(freshness, "staleness", lambda value: "")
        catalog.forget()
        samples.write_experiments(root)
        (root / "experiments/muse/reference.csv").write_text(REFERENCE)
        weights = {f"{s}.{i}": [0.5 - 0.1 * i, 0.5 + 0.1 * i] for s in ("encoder", "decoder") for i in (0, 1)}
        for arm, right in (("transformer", 6), ("muse_simple", 6), ("muse", 8)):
            for seed in (1, 2, 3):
                details = {"gates": weights if arm == "muse" else {}}
                run = samples.metrics("muse", "branches", arm, seed, 30.0 + seed, details=details)
                samples.write_run(run, sentences(seed, right))
        table = "results/mini/tables/muse/runs.csv"
        main(["collect", "--runs", "results/runs/mini", "--study", "muse", "--out", table])
        main(["arms", "results/mini", "--study", "muse"])
        yield results.load(Path("results/mini").absolute(), "muse")
        catalog.forget()


def test_the_same_data_gives_the_same_bytes(study, tmp_path):
    for name in "ab":
        assert draw.draw(study, NAMES, tmp_path / name) == NAMES
    first, second = (sorted((tmp_path / name).iterdir()) for name in "ab")
    assert len(first) == 6 and [path.read_bytes() for path in first] == [path.read_bytes() for path in second]


def test_runs_without_details_have_no_such_figure(collected):
    plain = results.load(Path("results/mini"), "muse")
    assert not lengths.APPLIES(plain) and not gates.APPLIES(plain)


def test_published_gates_are_weights(study):
    rows = reference.load(Path("experiments"), "muse")
    assert gates.published(rows) == [0.5, 0.2]
    assert lengths.published(rows) == {"Transformer": [(8.0, 34.97), (113, 14.53)]}


def test_layers_stand_at_their_depth():
    assert list(gates.depths(2)) == [0.25, 0.75]


def test_the_paired_table_has_a_row_a_seed(study):
    assert main(["tables", str(study.folder.parents[1]), "--study", "muse"]) == 0
    summary = (study.folder / "summary.md").read_text()
    rows = [line for line in summary.splitlines() if line.startswith("| MUSE {3, 15} ") and "[+" in line]
    paired = [line for line in rows if line.count("|") == 5]
    assert len(paired) == 3 and "Paired bootstrap over the sentences" in summary
