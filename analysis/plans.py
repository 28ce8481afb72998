"""Registered plans: experiments/plans/<name>.yaml says before the runs which arms, seeds and tests there will be.

    scale: mini
    arms: [branches/muse, branches/muse_simple_wide]
    seeds: [1, 2, 3, 4, 5]
    fewer: {seeds: [1, 2, 3], arms: [branches/muse_simple_wide]}
    tests:
      - {study: muse, claim: 1, part: c, metric: bleu, margin: 0}

`scale`, `studies`, `arms`, `seeds` and `fewer` are keys of a configuration, so the same file runs them (`snakemake
--configfile`). A verdict is of the plan where the plan names its part, its metric and its margin, and the runs of each
of its arms are of just the seeds that the plan gives it. `spread: pooled` declares that the arms of a recipe spread
alike, which gives more degrees of freedom and is wrong where they do not.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from plugins.suite import catalog, claims
from plugins.suite.claims import Claims, Part
from plugins.suite.errors import UserError
from plugins.suite.files import nearest, one_line, read_yaml, write_text
from plugins.suite.schema import Fewer

FOLDER = Path("experiments/plans")


class Test(BaseModel):
    """One part that the plan is going to judge; `margin`: the share of the reference effect, 0 without one."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    study: str
    claim: int
    part: str
    metric: str
    margin: float = 0.0


class Plan(BaseModel):
    """A registered plan; keys of a configuration beyond these are let through."""

    model_config = ConfigDict(extra="allow", frozen=True)

    name: str
    scale: str
    arms: list[str] = Field(min_length=1)
    seeds: list[int] = Field(min_length=1)
    fewer: Fewer | None = None
    tests: list[Test] = Field(min_length=1)
    spread: Literal["own", "pooled"] = "own"

    def covers(self, study: str, claim: int, part: Part, scale: str, seeds: Mapping[str, set[int]]) -> bool:
        """Whether a part at a scale is what the plan registered; `seeds`: by the <ablation>/<arm> that holds runs."""
        named = test_of(study, claim, part) in self.tests
        return named and self.scale == scale and all(self.seeds_of(home) == each for home, each in seeds.items())

    def seeds_of(self, home: str) -> set[int]:
        """The seeds of the runs that an <ablation>/<arm> holds."""
        ablation, _, arm = home.partition("/")
        return set(catalog.seeds_of((ablation, arm), self.seeds, self.fewer))


def test_of(study: str, claim: int, part: Part) -> Test:
    """What a plan says of a part."""
    share = part.margin.share if part.margin and part.margin.share else 0.0
    return Test(study=study, claim=claim, part=part.id, metric=part.metric, margin=share)


def load(path: Path, known: Mapping[str, Claims]) -> Plan:
    """A plan, held against the claims and their arms. UserError of one line: file, key, rule, nearest name."""
    try:
        plan = Plan.model_validate({**read_yaml(path), "name": Path(path).stem})
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise UserError(f"{path}: {'.'.join(map(str, first['loc']))}: {one_line(first['msg'], 160)}") from None
    for test in plan.tests:
        where = f"{path}: test of {test.study} {test.claim}{test.part}"
        if test.study not in known:
            raise UserError(f"{where}: no study '{test.study}'{nearest(test.study, known)}")
        parts = {f"{claim.id}{part.id}": part for claim, part in known[test.study].parts()}
        part = parts.get(f"{test.claim}{test.part}")
        if part is None:
            raise UserError(f"{where}: no such part{nearest(f'{test.claim}{test.part}', parts)}")
        if part.metric != test.metric:
            raise UserError(f"{where}: its metric is {part.metric}, not {test.metric}")
        lacking = [arm for arm in part.arms() if known[test.study].at(arm, plan.scale) not in plan.arms]
        if lacking:
            raise UserError(f"{where}: its arm {known[test.study].at(lacking[0], plan.scale)} is not among `arms`")
    return plan


def content(plan: Plan) -> dict:
    """What stands in the file of a plan."""
    kept = plan.model_dump(exclude={"name"}, exclude_defaults=True)
    return kept | {"tests": [test.model_dump() for test in plan.tests]}


def write(plan: Plan, folder: Path, known: Mapping[str, Claims], comment: str) -> Path:
    """Registers a plan as <folder>/<name>.yaml, below a comment of some lines. UserError where it does not fit the
    claims, or where there is a plan of that name: what is registered is never rewritten."""
    path = folder / f"{plan.name}.yaml"
    if path.exists():
        raise UserError(f"{path}: is registered already; give another --name")
    lines = [f"# {line}".rstrip() for line in comment.splitlines()]
    text = "\n".join([*lines, yaml.safe_dump(content(plan), sort_keys=False, width=110, default_flow_style=None)])
    with tempfile.TemporaryDirectory() as trial:  # nothing is registered that could not be read back
        (Path(trial) / path.name).write_text(text, encoding="utf-8")
        load(Path(trial) / path.name, known)
    write_text(path, text)
    return path


def load_all(known: Mapping[str, Claims], folder: Path = FOLDER) -> list[Plan]:
    """Every plan of a folder; none where there is no folder."""
    return [load(path, known) for path in sorted(folder.glob("*.yaml"))]


def check(folder: Path = FOLDER, experiments: Path = claims.catalog.EXPERIMENTS) -> list[Plan]:
    """All plans against all claims, for the dry run."""
    return load_all(claims.check_all(experiments), folder)
