"""Proxy validity: known taus come back, the right table is taken, and the command and figure say so."""

from __future__ import annotations

import dataclasses
import math
import re
from pathlib import Path

import numpy as np
import pytest
import yaml

from analysis import proxies, reference, results
from analysis.__main__ import main
from analysis.arms import ArmSummary
from analysis.figures import proxy as figure
from analysis.studies import ablations
from plugins.suite import catalog, claims
from plugins.suite.errors import UserError
from tests.unit.analysis import samples

HEADER = "task,ablation,arm,table,dataset,model,variant,metric,value,unit,source,confidence,note\n"
RISING = {"w/o": 1.0, "0010": 2.0, "0110": 3.0, "w/o+dcn": 4.0}  # ours order alike, by far more than the noise
FALLING = {arm: -value for arm, value in RISING.items()}


def printed(
    table: str, values: dict[str, float], confidence: str = "read-in-paper-text", dataset: str = "X",
    ablation: str = "factors_detection",
) -> str:  # fmt: skip
    return "".join(
        f"detection,{ablation},{arm},{table},{dataset},T,a,box_ap,{value},AP,p,{confidence},\n"
        for arm, value in values.items()
    )


def write(*tables: str) -> None:
    Path("experiments/spatial_attention/reference.csv").write_text(HEADER + "".join(tables))


def load() -> list[proxies.Proxy]:
    return proxies.of_results(results.load(Path("results/mini"), "spatial_attention"))


def test_the_order_of_the_paper_is_seen_or_reversed(collected):
    write(printed("Table 5", RISING))
    (one,) = load()
    assert one.arms == tuple(RISING) and one.pairs == 6 and one.correlation.tau == 1.0
    assert one.published == (0.0, 1.0, 2.0, 3.0) and one.ours[0] == 0.0 and one.seeds == 3
    write(printed("Table 5", FALLING))
    assert load()[0].correlation.tau == -1.0


def test_the_table_with_the_most_arms_counts_and_the_papers_goes_first(collected):
    official = printed("README", FALLING, "official-repo")
    write(printed("Table 5", {"w/o": 1.0, "0010": 3.0}), official)
    assert (load()[0].kind, load()[0].correlation.tau) == ("official", -1.0)
    write(official, printed("Table 5", RISING))
    assert (load()[0].kind, load()[0].correlation.tau) == ("paper", 1.0)


def test_numbers_of_two_data_sets_unread_ones_and_ties_are_no_order(collected):
    write(printed("Table 5", {"w/o": 1.0}), printed("Table 5", {"0010": 2.0, "0110": 3.0}, dataset="Y"))
    assert load() == []
    write(printed("Table 5", {"w/o": 1.0, "0010": 1.0}))
    assert load() == []
    assert proxies.table([]).empty and math.isnan(proxies.overall([]).tau)


def test_fewer_than_four_pairs_are_no_number(collected):
    write(printed("Table 5", dict(list(RISING.items())[:3])))
    (one,) = load()
    assert one.pairs == 3 and math.isnan(one.correlation.tau)
    page = proxies.markdown(proxies.table([one]))
    assert "at `mini`: 3 pairs of arms in 1 ablation, too few to tell" in page and "fewer than 4 pairs" in page
    write(printed("Table 5", RISING | {"0110": 2.0}))  # a pair that print does not tell apart is none
    assert load()[0].pairs == 5


# --- probes -----------------------------------------------------------------------------------------------------------
def probe(**entry: object) -> None:
    """factors_detection of the invented runs as the probe of `elsewhere`, which has numbers and no runs."""
    path = Path("experiments/spatial_attention/study.yaml")
    fields = {"probe": "factors_detection", "stands_for": ["elsewhere"], "metric": "box_ap"} | entry
    path.write_text(yaml.safe_dump(yaml.safe_load(path.read_text()) | {"proxy": [fields]}))
    content = samples.SPATIAL["factors_detection"]
    elsewhere = {**content, "arms": {**content["arms"], "plain": {"priority": "core", "set": {}}}}
    path.with_name("ablations").joinpath("elsewhere.yaml").write_text(yaml.safe_dump(elsewhere, sort_keys=False))
    catalog.forget()


def test_a_probe_is_held_against_what_it_stands_for(collected):
    probe()
    write(printed("Table 5", RISING, ablation="elsewhere"))
    (one,) = load()
    assert (one.name, one.metric) == ("factors_detection for elsewhere", "box_ap")
    assert one.arms == tuple(RISING) and one.correlation.tau == 1.0
    assert proxies.table([one]).loc[0, "stands_for"] == "elsewhere"


def test_arms_of_other_names_correspond_where_it_is_said(collected):
    write(printed("Table 5", {"plain": 1.0} | dict(list(RISING.items())[1:]), ablation="elsewhere"))
    probe()
    assert load()[0].arms == ("0010", "0110", "w/o+dcn")
    probe(arms={"plain": "w/o"})
    assert set(load()[0].arms) == set(RISING) and load()[0].correlation.tau == 1.0


def test_a_metric_that_the_probe_lacks_is_no_order(collected):
    write(printed("Table 5", RISING, ablation="elsewhere"))
    probe(metric="accuracy")
    assert load() == []


@pytest.mark.parametrize(
    ("entry", "line"),
    [
        ({"probe": "factors_detektion"}, "study.yaml: proxy.0: no ablation 'factors_detektion'; did you mean"),
        ({"stands_for": ["elsewher"]}, "study.yaml: proxy.0: no ablation 'elsewher'; did you mean 'elsewhere'"),
        ({"arms": {"plane": "w/o"}}, "study.yaml: proxy.0.arms: no arm 'plane'; did you mean 'plain'"),
        ({"arms": {"plain": "0100"}}, "study.yaml: proxy.0.arms: no arm '0100'"),
    ],
)
def test_a_mapping_to_what_is_not_there_is_one_line(collected, entry, line):
    write(printed("Table 5", RISING))
    probe(**entry)
    with pytest.raises(UserError, match=re.escape(line)):
        load()


# --- numbers ----------------------------------------------------------------------------------------------------------
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
    write(printed("Table 5", RISING))
    Path("experiments/muse/reference.csv").write_text(HEADER)
    assert main(["proxy", "results/mini", "--out", "results/mini"]) == 0
    assert "at `mini`: Kendall's tau 1.00 [" in capsys.readouterr().out
    frame = proxies.read(Path("results/mini/proxy.csv"))
    assert list(frame["study"]) == ["spatial_attention", "all"] and list(frame.columns) == proxies.COLUMNS
    assert "| factors_detection" in Path("results/mini/proxy.md").read_text()
    assert proxies.in_words(frame) == [
        line[2:] for line in Path("results/mini/proxy.md").read_text().splitlines() if line.startswith("- ")
    ]
    with pytest.raises(UserError, match="run snakemake, or collect and arms first"):
        main(["proxy", "results/small", "--out", "results/small"])


def test_without_runs_there_is_a_table_and_no_number(tmp_path, capsys):
    assert main(["proxy", "--out", str(tmp_path)]) == 0
    assert "no runs to tell it from" in capsys.readouterr().out
    assert proxies.read(tmp_path / "proxy.csv").empty and proxies.read(tmp_path / "other.csv").empty


def test_the_figure_applies_where_an_order_can_be_seen(collected):
    write(printed("Table 5", dict(list(RISING.items())[:3])))
    assert not figure.APPLIES(results.load(Path("results/mini"), "spatial_attention"))
    write(printed("Table 5", RISING))
    study = results.load(Path("results/mini"), "spatial_attention")
    assert figure.APPLIES(study)
    figure.draw(study, Path("out/proxy"))
    assert {path.suffix for path in Path("out").iterdir()} == {".svg", ".pdf", ".png"}


def test_a_stale_arm_has_no_effect(collected):
    write(printed("Table 5", RISING))
    study = results.load(Path("results/mini"), "spatial_attention")
    arms = [
        dataclasses.replace(arm, difference=math.nan, stale="old") if arm.arm == "0110" else arm for arm in study.arms
    ]
    (one,) = proxies.of_results(dataclasses.replace(study, arms=arms))
    assert one.arms == ("w/o", "0010", "w/o+dcn")


def test_every_probe_of_the_suite_has_a_published_order_or_says_that_it_is_thin():
    """Ours set to the published numbers themselves: what pairs there are to be held against."""
    pairs = {}
    for study in catalog.studies():
        known = {name: ablation for (_, name), ablation in ablations(study).items()}
        references = reference.load(Path("experiments"), study)
        for entry in catalog.study(study).proxy:
            arms = [summary(known[entry.probe], arm, entry.metric) for arm in known[entry.probe].arms]
            result = proxies.of_probe(entry, known, arms, references)
            pairs[study, entry.probe, *entry.stands_for] = result.pairs
    assert len(pairs) == 7 and sum(pairs.values()) > 60 and min(pairs.values()) >= 1


def summary(ablation, arm: str, metric: str):
    """A finished arm with a number of its own."""
    names = {field.name: 0 for field in dataclasses.fields(ArmSummary)}
    facts = {"arm": arm, "ablation": ablation.name, "scale": "mini", "n": 3, "baseline": arm == ablation.baseline}
    return ArmSummary(**names | facts | {"metrics": {metric: float(list(ablation.arms).index(arm))}})


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
