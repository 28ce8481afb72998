"""plan: seeds and hours from what is at hand; a plan that snakemake takes and the ledger holds its runs against."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from analysis import forecasts, ledger, plans, statistics
from analysis.__main__ import main
from analysis.evidence import trained
from plugins.suite import catalog, claims, jobs
from plugins.suite.errors import UserError
from tests.unit.analysis import samples
from tests.unit.analysis.ledger_samples import part, study

ROOT = Path(__file__).resolve().parents[3]
BETTER = {"better": "l/a", "than": "l/b"}


def need(check: dict, means: dict, **options) -> forecasts.Need:
    """What a part takes by invented runs; arms are the suite's own names, so that none starts from another."""
    fields = options.pop("fields", {})
    content = claims.check_all()["coatnet"]
    return forecasts.need_of(1, part(check, **fields), content, study(means, **options))


# --- seeds ------------------------------------------------------------------------------------------------------------
def test_seeds_are_those_of_the_statistics():
    """sd is exactly 2 in either arm, the effect 3, no test set is shared."""
    result = need(BETTER, {"l/a": 53.0, "l/b": 50.0}, sd=2.0, n_items=100_000)
    assert result.effect == pytest.approx(3, abs=0.01) and result.sd == pytest.approx(2 * math.sqrt(2), rel=1e-3)
    assert result.seeds == statistics.seeds_needed(3.0, 2.0) == 9


def test_a_clear_part_takes_the_least_seeds_and_a_small_effect_is_out_of_reach():
    assert need(BETTER, {"l/a": 80.0, "l/b": 50.0}).seeds == trained.MIN_SEEDS
    small = need(BETTER, {"l/a": 50.05, "l/b": 50.0}, sd=3.0, n_items=100_000)
    assert small.seeds > forecasts.MOST and not small.reachable and small.why.startswith("out of reach")


def test_a_reversal_needs_as_many_seeds_as_its_mirror():
    up, down = (need(BETTER, {"l/a": 50 + d, "l/b": 50.0}, sd=2.0, n_items=100_000) for d in (3.0, -3.0))
    assert up.seeds == down.seeds and down.effect == pytest.approx(-3, abs=0.01)


def test_an_equality_needs_room_to_its_margin_and_the_reference_effect():
    fields = {"reference": ["l/good", "l/none"], "margin": {"share": 0.25, "why": "w"}}
    means = {"l/a": 70.0, "l/b": 70.0, "l/good": 80.0, "l/none": 60.0}  # the margin is 5
    check = {"equal": ["l/a", "l/b"]}
    middle = need(check, means, fields=fields, sd=2.0, n_items=100_000)
    edge = need(check, means | {"l/a": 73.0}, fields=fields, sd=2.0, n_items=100_000)
    assert middle.effect == pytest.approx(5, abs=0.1) and edge.effect == pytest.approx(2, abs=0.1)
    assert trained.MIN_SEEDS < middle.seeds < edge.seeds


def test_the_hardest_rival_decides_and_the_best_of_many_does():
    rivals = {"l/a": 70.0, "l/b": 60.0, "l/c": 68.0}
    assert need({"best": "l/a", "of": ["l/b", "l/c"]}, rivals).effect == pytest.approx(2, abs=0.2)
    assert need({"peak": ["l/a", "l/c"], "over": "l/b"}, rivals).effect == pytest.approx(10, abs=0.2)


def test_a_spread_needs_seeds_until_its_interval_is_on_one_side():
    fields = {"margin": {"why": "w"}}
    result = need({"spread": "l/a", "below": 4.0}, {"l/a": 60.0}, sd=1.0, n_items=100_000, fields=fields)
    n = int(result.seeds)
    high = {k: statistics.spread(list(np.arange(k)))[1] / np.std(np.arange(k), ddof=1) for k in (n - 1, n)}
    assert high[n] < 4 <= high[n - 1] * result.sd + 0.1


def test_a_test_set_that_all_seeds_share_asks_for_more_of_them():
    same = {arm: {"data.checksum": "0" * 64} for arm in ("l/a", "l/b")}
    means = {"l/a": 52.0, "l/b": 50.0}
    apart, shared = need(BETTER, means, n_items=400), need(BETTER, means, n_items=400, changes=same)
    assert apart.effect == shared.effect and trained.MIN_SEEDS < apart.seeds < shared.seeds


def test_without_variance_there_is_no_number():
    single = need(BETTER, {"l/a": 52.0, "l/b": 50.0}, seeds=1)
    assert math.isnan(single.seeds) and single.why.startswith("no variance") and not single.reachable
    gone = need(BETTER, {"l/a": 52.0})
    assert gone.lacking == ("l/b",) and "no run with top1 of l/b" in gone.why
    flat = need(BETTER, {"l/a": 52.0, "l/b": 50.0}, sd=0.0)
    assert flat.why.startswith("no spread")


def test_power_is_what_the_plan_promises():
    """Drawn anew with the planned seeds, four parts in five are decided."""
    result = need(BETTER, {"l/a": 53.0, "l/b": 50.0}, sd=2.0, n_items=100_000)
    rng, hits = np.random.default_rng(6), 0
    for _ in range(400):
        y = rng.normal([[53.0], [50.0]], 2.0, (2, int(result.seeds)))
        rows = [(arm, seed, y[k, seed]) for k, arm in enumerate("ab") for seed in range(y.shape[1])]
        frame = pd.DataFrame(rows, columns=["arm", "seed", "value"])
        hits += statistics.contrast(frame, {"a": 1, "b": -1}).interval()[0] > 0
    assert 0.76 <= hits / 400 <= 0.9


# --- a budget ---------------------------------------------------------------------------------------------------------
def fixed(name: str, seeds: float, *arms: str) -> forecasts.Need:
    return forecasts.Need("coatnet", 1, part(BETTER).model_copy(update={"id": name}), arms, arms, seeds)


def test_parts_that_add_least_go_first_and_shared_arms_are_paid_once():
    rows = [fixed("a", 3, "l/x", "l/y"), fixed("b", 3, "l/y", "l/z"), fixed("c", 3, "l/u", "l/v", "l/w")]
    known = {f"coatnet/l/{arm}": 3600.0 for arm in "xyzuvw"}
    choice = forecasts.choose(rows, 9.0, known)
    assert [need.part.id for need in choice.parts] == ["a", "b"] and choice.added == (6.0, 3.0)
    assert len(forecasts.choose(rows, 18.0, known).parts) == 3
    assert forecasts.choose(rows, 5.0, known) is None
    assert forecasts.choose(rows, 99.0, {}) is None  # no time is known


def test_the_number_of_seeds_is_the_one_that_decides_most():
    rows = [fixed("a", 3, "l/x"), fixed("b", 3, "l/y"), fixed("c", 6, "l/z"), fixed("d", math.inf, "l/u")]
    known = {f"coatnet/l/{arm}": 3600.0 for arm in "xyzu"}
    assert (forecasts.choose(rows, 6.0, known).seeds, forecasts.choose(rows, 18.0, known).seeds) == (3, 6)


def test_seconds_are_those_of_the_arm_then_of_its_ablation_then_of_its_study():
    known = {"s/x/a": 10.0, "s/x/b": 30.0, "s/y/c": 80.0}
    assert forecasts.seconds_of("s/x/a", known) == 10 and forecasts.seconds_of("s/x/new", known) == 20
    assert forecasts.seconds_of("s/z/new", known) == 40 and math.isnan(forecasts.seconds_of("t/x/a", known))


# --- end to end, on the suite's own claims ----------------------------------------------------------------------------
ARMS = {"muse": 40.0, "muse_simple_wide": 34.0, "muse_simple": 33.9, "transformer": 30.0}


@pytest.fixture
def suite(tmp_path, monkeypatch, fresh):
    """The suite's own experiments in a folder of its own, with pilot runs of four arms."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(ROOT / "experiments", tmp_path / "experiments", ignore=shutil.ignore_patterns("plans"))
    catalog.forget()
    train(ARMS, (1, 2, 3))
    yield tmp_path
    catalog.forget()


def train(means: dict[str, float], seeds) -> None:
    """Invented finished runs of MUSE's branches."""
    rng = np.random.default_rng(max(seeds))
    updates = list(range(20, 401, 20))
    for arm, mean in means.items():
        for seed in seeds:
            value = samples.metrics("muse", "branches", arm, seed, round(mean + 0.5 * rng.standard_normal(), 3))
            curve = {"update": updates, "bleu": [mean] * 20, "train_loss": [7 * math.exp(-u / 60) for u in updates]}
            details = {"chance": {"loss": math.log(152), "metric": 0.0}, "curve": curve}
            samples.write_run(value | {"details": details}, sentences=[[10, 10, *[8] * 8]] * 40)


def judged(config: dict) -> pd.DataFrame:
    """The ledger of the runs that a configuration asks for, by the commands that snakemake calls."""
    table = jobs.expected(catalog.runs_table(config))
    jobs.write_expected("results/mini/expected.json", table)
    out = "results/mini/tables/muse/runs.csv"
    assert main(["collect", "--expected", "results/mini/expected.json", "--study", "muse", "--out", out]) == 0
    assert main(["ledger", "results/mini", "--study", "muse", "--out", "results/mini"]) == 0
    return ledger.read(Path("results/mini/ledger.csv"))


def test_a_plan_is_registered_run_and_held_against(suite, capsys):
    assert main(["plan", "--budget", "0.5", "--study", "muse", "--csv", "parts.csv"]) == 0
    page = capsys.readouterr().out
    path = Path("experiments/plans/mini-1.yaml")
    assert f"snakemake --cores all --configfile {path}" in page and "| muse:1c" in page
    assert "no variance at hand for muse 1a" in page and "A pilot of 3 seeds" in page and "depth/muse_deep" in page
    (plan,) = plans.load_all(claims.check_all())
    assert plan.seeds == [4, 5, 6] and {"branches/muse", "branches/muse_simple_wide"} <= set(plan.arms)
    assert {(test.claim, test.part) for test in plan.tests} >= {(1, "c")}
    assert (
        "# Registered before its runs, by: " in path.read_text() and Path("parts.csv").read_text().count("muse:") > 20
    )
    # What snakemake makes of it: the plan laid over experiments/config.yaml.
    config = forecasts.configuration([path], {})
    runs = catalog.runs_table(config)
    assert {run.seed for run in runs} == {4, 5, 6} and {run.study for run in runs} == {"muse"}
    assert {f"{run.ablation}/{run.arm}" for run in runs} == set(plan.arms)
    train(ARMS, (4, 5, 6))
    planned = judged(config).set_index(["claim", "part", "scale"]).loc[1, "c", "mini"]
    assert (planned["plan"], planned["verdict"]) == ("mini-1", "supported")
    # The pilot itself, and the plan's runs with others beside them, are outside of it.
    for seeds in ([1, 2, 3], [3, 4, 5, 6]):
        outside = judged(config | {"seeds": seeds}).set_index(["claim", "part", "scale"]).loc[1, "c", "mini"]
        assert (outside["plan"], outside["verdict"]) == ("exploratory", "supported")


def test_what_is_registered_is_never_rewritten(suite):
    assert main(["plan", "--budget", "0.5", "--study", "muse", "--name", "first"]) == 0
    before = Path("experiments/plans/first.yaml").read_text()
    with pytest.raises(UserError, match="first.yaml: is registered already; give another --name"):
        main(["plan", "--budget", "1", "--study", "muse", "--name", "first"])
    assert Path("experiments/plans/first.yaml").read_text() == before
    assert main(["plan", "--budget", "0.5", "--study", "muse"]) == 0
    assert {path.name for path in Path("experiments/plans").iterdir()} == {"first.yaml", "mini-1.yaml"}


def test_a_dry_run_a_small_budget_and_nothing_at_hand_register_nothing(suite, capsys):
    assert main(["plan", "--budget", "0.5", "--study", "muse", "--dry-run"]) == 0
    assert "would register mini-1" in capsys.readouterr().out
    assert main(["plan", "--budget", "0.0001", "--study", "muse"]) == 0
    assert "no part can be planned within 0.0001 core hours" in capsys.readouterr().out
    assert main(["plan", "--budget", "5", "--scale", "small", "--study", "muse"]) == 0
    page = capsys.readouterr().out
    assert "runs at hand: none" in page and "no variance at hand for muse" in page and "scale=small" in page
    assert not Path("experiments/plans").exists()


@pytest.mark.parametrize("budget", ["0", "-1", "nan", "inf"])
def test_a_budget_is_a_number_above_zero(suite, budget):
    with pytest.raises(UserError, match="must be a number of core hours above 0"):
        main(["plan", f"--budget={budget}"])


def test_a_stale_pilot_tells_nothing(suite, monkeypatch, capsys):
    from plugins.suite import freshness

    monkeypatch.setattr(freshness, "staleness", lambda value: "its sources changed")
    assert main(["plan", "--budget", "5", "--study", "muse"]) == 0
    assert "no part can be planned" in capsys.readouterr().out


def test_a_forecast_counts_what_is_left(suite, capsys):
    Path("some.yaml").write_text(json.dumps({"arms": "core", "seeds": [1]}))
    assert main(["plan", "--forecast", "--configfile", "some.yaml"]) == 0
    page = capsys.readouterr().out
    muse = next(line for line in page.splitlines() if line.startswith("| muse"))
    cells = [cell.strip() for cell in muse.strip("|").split("|")]
    config = forecasts.configuration([Path("some.yaml")], {})
    runs = {run.metrics for run in catalog.runs_table(config) if run.study == "muse"}
    todo = [path for path in runs if not Path(path).is_file()]
    assert cells[1:3] == [str(len(runs)), str(len(todo))] and len(todo) < len(runs)
    assert float(cells[3]) == pytest.approx(72 * len(todo) / 3600, abs=0.006) and float(cells[4]) >= 0
    assert "unknown" in page  # the other studies have no run
    Path("more.yaml").write_text(json.dumps({"studies": ["muse"], "arms": "core", "seeds": [1, 2]}))
    assert main(["plan", "--forecast", "--configfile", "more.yaml"]) == 0
    page = capsys.readouterr().out
    assert "unknown" not in page and "coatnet" not in page
