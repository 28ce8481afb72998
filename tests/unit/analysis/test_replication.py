"""Two result sets: the share inside prediction intervals keeps its promise, and what is turned round is found."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from analysis import replication, sets
from analysis.__main__ import main
from analysis.commands.collect import metrics_lines
from plugins.suite.errors import UserError
from tests.unit.analysis import samples


def values(rng, arms: int, seeds: int, shift: float = 0.0, sds=None) -> replication.Values:
    """{(arm, top1): values by seed} of one model: arm k has the mean 50 + k."""
    sds = np.ones(arms) if sds is None else sds
    return {
        (f"s/x/{k}", "top1"): {s: 50 + k + shift + float(sds[k] * rng.standard_normal()) for s in range(seeds)}
        for k in range(arms)
    }


def share(a: replication.Values, b: replication.Values) -> float:
    arms = {arm: "top1" for arm, _ in a}
    rows = replication.comparisons_of(a, b, arms, dict.fromkeys(arms, ("s", "r", "d")))
    flags = [one.inside for one in rows if one.inside is not None]
    return sum(flags) / len(flags)


@pytest.mark.parametrize(("n", "m"), [(5, 1), (5, 5), (3, 2), (2, 1), (1, 1)])
def test_two_sets_of_one_model_are_inside_19_times_in_20(n, m):
    """An arm of one or two seeds is predicted by the spread of its recipe, which two seeded arms give here."""
    rng = np.random.default_rng(100 * n + m)
    shares = []
    for _ in range(150):
        a = values(rng, 8, n)
        if n == 1:
            a |= values(rng, 3, 4)
        shares.append(share(a, values(rng, 8, m)))
    assert np.mean(shares) == pytest.approx(0.95, abs=0.015)


def test_arms_of_unlike_spread_are_each_predicted_by_their_own():
    rng, sds = np.random.default_rng(8), np.array([0.2, 1.0, 5.0, 0.5])
    shares = [share(values(rng, 4, 4, sds=sds), values(rng, 4, 2, sds=sds)) for _ in range(400)]
    assert np.mean(shares) == pytest.approx(0.95, abs=0.015)


def test_a_shifted_set_is_found():
    rng = np.random.default_rng(1)
    shares = [share(values(rng, 8, 5), values(rng, 8, 5, shift=4.0)) for _ in range(20)]
    assert np.mean(shares) < 0.3


def test_an_arm_without_spread_predicts_nothing():
    flat = {("s/x/0", "top1"): {1: 20.0, 2: 20.0, 3: 20.0}}
    rows = replication.comparisons_of(flat, flat, {"s/x/0": "top1"}, {"s/x/0": ("s",)})
    assert rows[0].inside is None
    single = {("s/x/0", "top1"): {1: 20.0}}
    rows = replication.comparisons_of(single, single, {"s/x/0": "top1"}, {"s/x/0": ("s",)})
    assert rows[0].inside is None and math.isnan(rows[0].low)


def verdicts(**by_part: str) -> pd.DataFrame:
    return pd.DataFrame([{"study": "muse", "claim": 1, "part": part, "verdict": v} for part, v in by_part.items()])


def test_a_verdict_is_turned_round_by_its_opposite_alone():
    a = verdicts(a="supported", b="reversed here", c="supported", d="supported", e="undecided", f="supported")
    b = verdicts(a="reversed here", b="supported", c="undecided", d="supported", e="supported")
    rows = {one.part: one.outcome for one in replication.verdicts_of(a, b)}
    assert rows == {
        "muse:1a": "turned round", "muse:1b": "turned round", "muse:1c": "left open", "muse:1d": "stands",
        "muse:1f": "not in B",
    }  # fmt: skip
    both = replication.Replication("a", "b", "mini", [], replication.verdicts_of(a, b), {}, [], [])
    assert both.verdict_agreement == 0.5 and both.counts()["turned_round"] == 2
    assert math.isnan(both.share_inside) and both.content()["share_inside"] is None


# --- the command ------------------------------------------------------------------------------------------------------
def written(path: Path, seeds, rng, shift: float = 0.0, scale: str = "mini", **provenance: object) -> Path:
    """A metrics.jsonl of the invented muse runs."""
    lines = []
    for arm in ("transformer", "muse_simple", "muse"):
        for seed in seeds:
            value = samples.metrics(
                "muse", "branches", arm, seed, samples.MEAN[arm] + shift + 0.3 * rng.standard_normal()
            )
            lines.append(value | {"scale": scale, "provenance": value["provenance"] | provenance})
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(metrics_lines(lines))
    return path


@pytest.fixture
def two(suite, monkeypatch):
    """Two sets of the invented suite, the second of another processor."""
    monkeypatch.setattr(sets.ResultSet, "verdicts", verdicts(a="supported"))
    rng = np.random.default_rng(4)
    written(Path("results/published/mini/metrics.jsonl"), (1, 2, 3, 4, 5), rng)
    written(Path("b.jsonl"), (11, 12), rng, device="another", cpu_flags=["avx2"], versions={"torch": "2.12.0"})
    return Path("results/published/mini"), Path("b.jsonl")


def test_the_command_writes_table_and_json(two, capsys):
    assert main(["diff", *map(str, two), "--json", "d.json", "--out", "d.md"]) == 0
    shown = capsys.readouterr().out
    assert "mean of 2 runs" in shown and "| version of torch" in shown and "differs" in shown
    assert Path("d.md").read_text() in shown
    content = json.loads(Path("d.json").read_text())
    assert content["share_inside"] == 1.0 and content["verdict_agreement"] == 1.0
    assert content["counts"]["values"] == 3 and content["outside"] == []
    assert content["environment"]["device"] == {"a": "cpu", "b": "another"}
    assert {arm["predicted"] for arm in content["arms"]} == {"mean of 2 runs"}


def test_what_lies_outside_is_listed(two, capsys):
    written(Path("c.jsonl"), (11,), np.random.default_rng(2), shift=10.0)
    assert main(["diff", str(two[0]), "c.jsonl", "--json", "d.json"]) == 0
    content = json.loads(Path("d.json").read_text())
    assert content["share_inside"] == 0.0 and "muse/branches/muse" in content["outside"]
    assert "one run" in capsys.readouterr().out


def test_a_folder_of_runs_is_a_set_of_its_own_place(two, tmp_path, monkeypatch):
    """results/mini of another checkout stands for the runs beside it, not for those of the working directory."""
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    known = sets.load(tmp_path / "results/mini")
    assert len(known.values) == 42 and known.scale == "mini"
    assert Path(known.place("muse/branches/muse/seed1")).is_file()


@pytest.mark.parametrize(
    ("b", "line"),
    [
        ("nothing", "no such set"),
        ("experiments", "no results: neither experiments/metrics.jsonl"),
        ("small.jsonl", "is of scale mini, small.jsonl of small"),
        ("empty.jsonl", "holds no finished run"),
        ("broken.jsonl", "broken.jsonl:1: "),
    ],
)
def test_sets_that_cannot_be_compared_are_one_line(two, b, line):
    written(Path("small.jsonl"), (1, 2), np.random.default_rng(2), scale="small")
    Path("empty.jsonl").write_text("")
    Path("broken.jsonl").write_text("{")
    with pytest.raises(UserError) as caught:
        main(["diff", str(two[0]), b])
    assert line in str(caught.value) and "\n" not in str(caught.value)


def test_verdicts_are_judged_from_the_runs_where_no_ledger_stands(monkeypatch):
    """By the claims of the suite itself, on the withdrawn runs: all of them are stale, and none decides."""
    path = Path(__file__).with_name("withdrawn") / "mini.jsonl"
    values = [json.loads(line) for line in path.read_text().splitlines()]
    known = sets.ResultSet(path, path)
    rows = [value for value in values if value["study"] == "acmix"]
    monkeypatch.setattr(
        sets.collect, "published", lambda *_: sets.Collected([_row(value) for value in rows], {}, rows, {})
    )
    assert set(known.verdicts["level"]) == {"mini"} and set(known.verdicts["verdict"]) == {"not tested"}
    assert known.verdicts["reason"].str.startswith("stale").any()


def _row(value: dict) -> dict:
    from analysis.commands.collect import row_of

    run = "/".join([*(value[key] for key in ("study", "ablation", "arm")), f"seed{value['seed']}"])
    return row_of(value, run, ("done", "", value), {}) | {"stale": "made before generators were recorded"}
