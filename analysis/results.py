"""What one study came to at one scale, as its tables and figures read it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pandas as pd

from analysis import arms, details, reference, runs, studies
from analysis.arms import ArmSummary
from analysis.reference import Reference
from analysis.studies import Ablation
from plugins.suite import catalog

RUNS, ARMS = "runs.csv", "arms.csv"


@dataclass(frozen=True, eq=False)
class StudyResults:
    """One study at one scale: `folder` is results/<scale>/tables/<study>."""

    study: str
    folder: Path
    ablations: list[Ablation]
    arms: list[ArmSummary]

    @cached_property
    def runs(self) -> pd.DataFrame:
        """runs.csv."""
        return runs.read_runs(self.folder / RUNS)

    @cached_property
    def details(self) -> dict[str, dict]:
        """{run: details} (see analysis.details)."""
        return details.beside(self.folder / RUNS)

    @cached_property
    def references(self) -> list[Reference]:
        """The published numbers of the study."""
        return reference.load(catalog.EXPERIMENTS, self.study)

    @property
    def scale(self) -> str:
        return self.arms[0].scale if self.arms else "unknown"

    def of(self, ablation: Ablation) -> list[ArmSummary]:
        """The arms of one ablation, in the order of its file."""
        return [arm for arm in self.arms if arm.ablation == ablation.name]

    def ablation(self, arm: ArmSummary) -> Ablation:
        """The ablation of an arm."""
        return next(ablation for ablation in self.ablations if ablation.name == arm.ablation)

    def options(self, arm: ArmSummary) -> Mapping:
        """The model options that an arm sets; those of the arm whose runs it shares."""
        name, owner = self.ablation(arm).home(arm.arm)
        home = next((ablation for ablation in self.ablations if ablation.name == name), None)
        return home.arms[owner].set if home and owner in home.arms else {}

    def finished(self, task: str | None = None) -> list[ArmSummary]:
        """Arms with results, each set of runs once, under the ablation that owns it where that is there."""
        chosen = [arm for arm in self.arms if arm.n and task in (None, arm.task)]
        chosen.sort(key=lambda arm: (arm.ablation, arm.arm) != self.ablation(arm).home(arm.arm))
        return list({arm.run: arm for arm in reversed(chosen)}.values())[::-1]

    def values(self, arm: ArmSummary, metric: str = "") -> dict[int, float]:
        """{seed: value} of the runs that an arm's mean is made of; `metric` is the arm's own by default."""
        rows = self.runs
        rows = rows[(rows["ablation"] == arm.ablation) & (rows["arm"] == arm.arm) & (rows["stale"] == arm.stale)]
        values = runs.per_seed(rows, runs.column_of(metric or arm.metric))
        return {seed: value for seed, value in values.items() if seed in arm.seeds}

    def details_of(self, arm: ArmSummary, key: str) -> list[dict]:
        """The details of an arm's runs that keep `key`, by seed."""
        kept = [self.details.get(f"{arm.run}/seed{seed}", {}) for seed in arm.seeds]
        return [value for value in kept if value.get(key)]


def load(folder: Path, study: str) -> StudyResults:
    """The results of a study below the folder of a scale. Raises UserError when its tables are not there."""
    tables = folder / "tables" / study
    known = list(studies.ablations(study).values())
    return StudyResults(study, tables, known, arms.read(tables / ARMS))


def mean(values: Mapping[int, float]) -> float:
    """The mean over seeds; NaN without any."""
    return sum(values.values()) / len(values) if values else math.nan
