"""A plan from a list of arms: every trained part that they hold, without variances at hand.

Arms are given by patterns as in a configuration, such as probe_*/* or core:probe_*/*. Extra arms may have fewer seeds
than core arms.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from analysis import forecasts, ledger, plans
from analysis.plans import Plan
from plugins.suite import catalog, claims
from plugins.suite.errors import UserError
from plugins.suite.files import nearest
from plugins.suite.schema import Fewer


@dataclass(frozen=True)
class Listed:
    """An arm of a plan. `home`: the (ablation, arm) that holds its runs; `priority`: core or extra."""

    study: str
    ablation: str
    arm: str
    home: tuple[str, str]
    priority: str

    @property
    def name(self) -> str:
        return f"{self.ablation}/{self.arm}"

    @property
    def core(self) -> bool:
        return self.priority == "core"


def arms_at(scale: str, studies: Sequence[str], patterns: Sequence[str]) -> list[Listed]:
    """The arms of a scale that fit a pattern. UserError for a pattern that fits none."""
    rows = [
        Listed(study, name, arm, catalog.home(study, name, arm), catalog.priority(study, name, arm))
        for study in studies
        for name, ablation in catalog.ablations(study).items()
        if catalog.has_recipe(study, ablation, scale)
        for arm in ablation.arms
    ]
    for pattern in patterns:
        if not any(_fits(row, [pattern]) for row in rows):
            known = {row.name for row in rows}
            raise UserError(f"--arms {pattern}: fits no <ablation>/<arm> at {scale}{nearest(pattern, known)}")
    return [row for row in rows if _fits(row, patterns)]


def _fits(row: Listed, patterns: Sequence[str]) -> bool:
    return catalog.wanted(row.ablation, row.arm, row.priority, list(patterns))


def plan_of(name: str, scale: str, rows: Sequence[Listed], seeds: list[int], fewer: list[int] | None) -> Plan:
    """The plan of all trained parts whose arms are among `rows`; extra arms have the seeds `fewer`, if any."""
    names = {(row.study, row.name) for row in rows}
    tests = []
    for study, content in claims.check_all().items():
        for claim, part in ledger.parts_at(content, claims.ablations(study), scale):
            if all((study, content.at(arm, scale)) in names for arm in part.arms()):
                tests.append(plans.test_of(study, claim.id, part))
    if not tests:
        raise UserError(f"no trained part at {scale} has all of its arms among the {len(rows)} that are given")
    extra = list(dict.fromkeys("/".join(row.home) for row in rows if not row.core))
    return Plan(
        name=name,
        scale=scale,
        studies=list(dict.fromkeys(row.study for row in rows)),
        arms=list(dict.fromkeys(row.name for row in rows)),
        seeds=seeds,
        fewer=Fewer(seeds=fewer, arms=extra) if fewer and extra else None,
        tests=tests,
    )


def runs_of(plan: Plan, rows: Sequence[Listed]) -> list[catalog.Run]:
    """The runs that snakemake makes of a plan, each once. UserError where they are not just those of its arms."""
    table = catalog.runs_table(forecasts.configuration([], plans.content(plan)))
    wanted = {(row.study, row.ablation, row.arm) for row in rows}
    other = next((run for run in table if (run.study, run.ablation, run.arm) not in wanted), None)
    if other is not None:
        name = f"{other.ablation}/{other.arm}"
        raise UserError(f"{name} is an arm of {other.study} too; plan its studies apart with --study")
    for row in rows:
        seeds = {run.seed for run in table if (run.study, run.home) == (row.study, row.home)}
        if seeds != set(plan.seeds if row.core or not plan.fewer else plan.fewer.seeds):
            raise UserError(f"{row.name}: core in one study and extra in another; plan them apart with --study")
    return list({run.metrics: run for run in table}.values())


def minutes(runs: Sequence[catalog.Run], known: Mapping[str, float]) -> tuple[float, list[str]]:
    """(core minutes of the runs whose time is known, the studies/ablations of the others)."""
    seconds = {
        run.metrics: forecasts.seconds_of(forecasts.folder_of(run.study, "/".join(run.home)), known) for run in runs
    }
    unknown = dict.fromkeys(f"{run.study}/{run.home[0]}" for run in runs if math.isnan(seconds[run.metrics]))
    return sum(each for each in seconds.values() if not math.isnan(each)) / 60, list(unknown)


def said(plan: Plan, runs: Sequence[catalog.Run], known: Mapping[str, float]) -> str:
    """What a plan comes to, in one line."""
    took, unknown = minutes(runs, known)
    time = f"about {took:.0f} core minutes" if took else "of unknown time"
    if took and unknown:
        time += f" without {', '.join(unknown)}, of which no time is known"
    few = f" ({len(plan.fewer.arms)} arms {len(plan.fewer.seeds)})" if plan.fewer else ""
    return f"{len(plan.tests)} parts, {len(plan.arms)} arms, {len(plan.seeds)} seeds{few}, {len(runs)} runs, {time}"
