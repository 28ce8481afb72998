"""Proxy validity: known taus come back, the right table is taken, and the command and figure say so."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from analysis import proxies, reference, results
from analysis.__main__ import main
from analysis.figures import proxy as figure
from analysis.studies import ablations
from plugins.suite import claims
from plugins.suite.errors import UserError

HEADER = "task,ablation,arm,table,dataset,model,variant,metric,value,unit,source,confidence,note\n"


def printed(table: str, confidence: str = "read-in-paper-text", dataset: str = "X", **values: float) -> str:
    ablation = "kernels" if any(name.startswith("kernel_") for name in values) else "branches"
    return "".join(
        f"translation,{ablation},{arm},{table},{dataset},T,a,bleu,{value},BLEU,p,{confidence},\n"
        for arm, value in values.items()
    )


def write(*tables: str) -> None:
    Path("experiments/muse/reference.csv").write_text(HEADER + "".join(tables))


def load() -> list[proxies.Proxy]:
    study = results.load(Path("results/mini"), "muse")
    return proxies.of_study(study.ablations, study.arms, study.references)


def test_the_order_of_the_paper_is_seen_or_reversed(collected):
    """Ours: transformer < muse_simple < muse by far more than the noise."""
    write(printed("Table 5", transformer=1.0, muse_simple=2.0, muse=3.0))
    (one,) = load()
    assert one.arms == ("transformer", "muse_simple", "muse") and one.correlation.tau == 1.0
    assert one.published == (0.0, 1.0, 2.0) and one.ours[0] == 0.0 and one.seeds == 3
    write(printed("Table 5", transformer=3.0, muse_simple=2.0, muse=1.0))
    assert load()[0].correlation.tau == -1.0


def test_the_table_with_the_most_arms_counts_and_the_papers_goes_first(collected):
    official = printed("README", "official-repo", transformer=3.0, muse_simple=2.0, muse=1.0)
    write(printed("Table 5", transformer=1.0, muse=3.0), official)
    assert (load()[0].kind, load()[0].correlation.tau) == ("official", -1.0)
    write(official, printed("Table 5", transformer=1.0, muse_simple=2.0, muse=3.0))
    assert (load()[0].kind, load()[0].correlation.tau) == ("paper", 1.0)


def test_numbers_of_two_data_sets_unread_ones_and_ties_are_no_order(collected):
    write(printed("Table 5", transformer=1.0), printed("Table 5", dataset="Y", muse_simple=2.0, muse=3.0))
    assert load() == []
    write(printed("Table 5", transformer=1.0, muse=1.0))
    assert load() == []
    assert proxies.table([]).empty and math.isnan(proxies.overall([]).tau)


def proxy(tau: float, n: int, rng: np.random.Generator, scale: str = "mini") -> proxies.Proxy:
    """An ablation of n arms whose effects have this tau with the published ones."""
    rho = math.sin(math.pi * tau / 2)
    u, v = rng.standard_normal((2, n))
    names = tuple(map(str, range(n)))
    ours, theirs = tuple(u), tuple(rho * u + math.sqrt(1 - rho * rho) * v)
    return proxies.Proxy(scale, "s", "a", "top1", "paper", "Table 1", names, 3, ours, theirs)


@pytest.mark.parametrize("tau", [0.0, 0.6])
def test_a_known_correlation_comes_back_with_its_interval(tau):
    rng = np.random.default_rng(3)
    drawn = [proxies.overall([proxy(tau, n, rng) for n in (3, 5, 5, 7, 8)]) for _ in range(200)]
    assert np.mean([one.tau for one in drawn]) == pytest.approx(tau, abs=0.05)
    assert np.mean([one.low <= tau <= one.high for one in drawn]) >= 0.93


def test_scales_are_never_mixed():
    rng = np.random.default_rng(1)
    rows = proxies.table([proxy(0.9, 6, rng), proxy(0.9, 6, rng), proxy(-0.9, 6, rng, "small")])
    whole = rows[rows["study"] == "all"].set_index("scale")
    assert list(whole.index) == ["mini", "small"] and whole.loc["mini", "arms"] == 12
    assert whole.loc["mini", "tau"] > 0 > whole.loc["small", "tau"]


def test_the_command_writes_both_files_and_says_the_number(collected, capsys):
    write(printed("Table 5", transformer=1.0, muse_simple=2.0, muse=3.0))
    (Path("experiments/spatial_attention/reference.csv")).write_text(HEADER)
    assert main(["proxy", "results/mini"]) == 0
    assert "Kendall's tau 1.00 [" in capsys.readouterr().out
    frame = pd.read_csv("results/mini/tables/proxy.csv")
    assert list(frame["study"]) == ["muse", "all"] and list(frame.columns) == proxies.COLUMNS
    assert "| branches" in Path("results/mini/tables/proxy.md").read_text()
    with pytest.raises(UserError, match="run snakemake, or collect and arms first"):
        main(["proxy", "results/small"])


def test_the_figure_applies_where_an_order_can_be_seen(collected):
    write(printed("Table 5", transformer=1.0, muse=3.0))
    study = results.load(Path("results/mini"), "muse")
    assert not figure.APPLIES(study)
    write(printed("Table 5", transformer=1.0, muse_simple=2.0, muse=3.0))
    study = results.load(Path("results/mini"), "muse")
    assert figure.APPLIES(study)
    figure.draw(study, Path("out/proxy"))
    assert {path.suffix for path in Path("out").iterdir()} == {".svg", ".pdf", ".png"}


def test_a_stale_arm_has_no_effect(collected):
    write(printed("Table 5", transformer=1.0, muse_simple=2.0, muse=3.0))
    study = results.load(Path("results/mini"), "muse")
    arms = [
        dataclasses.replace(arm, difference=math.nan, stale="old") if arm.arm == "muse" else arm for arm in study.arms
    ]
    (one,) = proxies.of_study(study.ablations, arms, study.references)
    assert one.arms == ("transformer", "muse_simple")


def test_every_study_of_the_suite_has_published_orders_to_be_held_against():
    """Ours set to the published numbers themselves give tau 1 in each ablation that print covers."""
    covered = 0
    for (study, _), ablation in ablations().items():
        references = reference.load(Path("experiments"), study)
        metric = claims.PRIMARY[ablation.task]
        rows = {
            name: line[0].difference
            for name in ablation.arms
            if (line := reference.published(references, ablation, name, metric, "paper"))
        }
        covered += sum(not math.isnan(value) for value in rows.values()) >= 3
    assert covered >= 10
