"""plan --arms: every part that a list of arms holds, with just its runs, and what they take where a time is known."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from analysis import forecasts, ledger, listings, plans
from analysis.__main__ import main
from plugins.suite import catalog, claims
from plugins.suite.errors import UserError

ROOT = Path(__file__).resolve().parents[3]
PROBES = ["plan", "--arms", "probe_*/*", "--seeds", "11", "12", "13", "14", "15", "--fewer", "11", "12", "13"]


@pytest.fixture
def suite(tmp_path, monkeypatch):
    """The suite's own experiments in a folder of its own, without plans and times."""
    monkeypatch.chdir(tmp_path)
    ignored = shutil.ignore_patterns("plans", "tuning.csv")
    shutil.copytree(ROOT / "experiments", tmp_path / "experiments", ignore=ignored)
    catalog.forget()
    yield tmp_path
    catalog.forget()


def test_a_plan_of_all_probes_holds_every_part_whose_arms_are_probes(suite, capsys):
    assert main([*PROBES, "--name", "first"]) == 0
    path = Path("experiments/plans/first.yaml")
    assert f"run it: snakemake --cores all --configfile {path}" in capsys.readouterr().out
    (plan,) = plans.load_all(claims.check_all())
    tests = {(test.study, test.claim, test.part) for test in plan.tests}
    for study, content in claims.check_all().items():
        for claim, part in ledger.parts_at(content, claims.ablations(study), "mini"):
            of_probes = all(content.at(arm, "mini").startswith("probe_") for arm in part.arms())
            assert ((study, claim.id, part.id) in tests) == of_probes
    assert len(plan.studies) == 5 and len(tests) > 50


def test_snakemake_runs_just_what_the_plan_lists(suite):
    main([*PROBES, "--name", "first"])
    table = catalog.runs_table(forecasts.configuration([Path("experiments/plans/first.yaml")], {}))
    by_home: dict[tuple, set[int]] = {}
    for run in table:
        assert run.ablation.startswith("probe_") and run.home[0].startswith("probe_")
        by_home.setdefault((run.study, *run.home), set()).add(run.seed)
    for (study, ablation, arm), seeds in by_home.items():
        core = catalog.ablations(study)[ablation].arms[arm].priority == "core"
        assert seeds == ({11, 12, 13, 14, 15} if core else {11, 12, 13})


def test_minutes_are_said_where_a_time_is_known(suite, capsys):
    head = "ablation,arm,seed,seconds\n"
    Path("experiments/acmix/tuning.csv").write_text(head + "probe_paths,sum,101,20\nprobe_paths,sum,102,40\n")
    assert forecasts.tuned_seconds() == {"acmix/probe_paths/sum": 30}
    assert main(["plan", "--arms", "probe_paths/*", "--seeds", "1", "2", "--dry-run"]) == 0
    assert "6 arms, 2 seeds, 12 runs, about 6 core minutes\n" in capsys.readouterr().out
    assert main(["plan", "--arms", "probe_paths/*", "probe_chain/*", "--seeds", "1", "--dry-run"]) == 0
    assert "without spatial_attention/probe_chain, of which no time is known" in capsys.readouterr().out
    assert not Path("experiments/plans").exists()


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["--arms", "probe_pathz/*", "--seeds", "1"], "--arms probe_pathz/*: fits no <ablation>/<arm> at mini"),
        (["--arms", "probe_paths/sum", "--seeds", "1"], "no trained part at mini has all of its arms among the 1"),
        (["--arms", "probe_paths/*"], "--seeds: is missing; give the seeds of the runs"),
        (["--arms", "probe_paths/*", "--seeds", "1", "--fewer", "2"], None),  # all are core: no fewer needed
        (["--arms", "probe_*/*", "--seeds", "1", "--fewer", "2"], "fewer.seeds: 2 is not one of seeds [1]"),
        (["--budget", "1", "--seeds", "1"], "--seeds and --fewer: go with --arms"),
    ],
)
def test_a_list_that_is_no_plan_is_one_line(suite, arguments, line):
    if line is None:
        assert main(["plan", *arguments, "--dry-run"]) == 0
        return
    with pytest.raises(UserError) as caught:
        main(["plan", *arguments])
    assert line in str(caught.value) and "\n" not in str(caught.value)
    assert not Path("experiments/plans").exists()


def test_an_arm_that_two_studies_have_is_planned_in_one(suite):
    """A configuration names arms without their study: what it would run beside the list is a fault."""
    both = "retinanet/plain"
    assert {"acmix", "aaconv"} <= {row.study for row in listings.arms_at("mini", catalog.studies(), [both])}
    tests = [{"study": "muse", "claim": 1, "part": "c", "metric": "bleu"}]
    plan = plans.Plan(name="x", scale="mini", studies=catalog.studies(), arms=[both], seeds=[1], tests=tests)
    with pytest.raises(UserError, match=f"{both} is an arm of acmix too; plan its studies apart with --study"):
        listings.runs_of(plan, listings.arms_at("mini", ["aaconv"], [both]))


def test_the_tour_is_one_probe_of_each_study_with_one_seed():
    """Three arms each: about five minutes on two cores."""
    runs = catalog.runs_table(forecasts.configuration([Path("experiments/tour.yaml")], {}))
    probes = {study: {run.ablation for run in runs if run.study == study} for study in catalog.studies()}
    assert all(len(names) == 1 and min(names).startswith("probe_") for names in probes.values())
    assert len(runs) == 15 and {run.seed for run in runs} == {1} and {run.scale for run in runs} == {"mini"}
