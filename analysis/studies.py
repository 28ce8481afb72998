"""The ablations of the studies, as the analysis looks at them; `plugins.suite.catalog` reads and checks the files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from plugins.suite import catalog, schema


@dataclass(frozen=True)
class Arm:
    """One row of an ablation file.

    `same_as` names the arm ("ablation/arm") whose runs it shares, `pretrained`: it starts from another run's weights.
    """

    name: str
    label: str
    set: Mapping = field(default_factory=dict)
    same_as: str | None = None
    pretrained: bool = False


@dataclass(frozen=True, eq=False)
class Ablation:
    """One ablation file. `panel` is the title of its panel in the trade-off figure (default: the task), where the arm
    `recommended` is ringed.

    `names` gives, for each arm, all (ablation, arm) of the study that stand for the same runs (`same_as`).
    """

    study: str
    name: str
    title: str
    paper: str
    task: str
    recipe: str
    baseline: str
    panel: str
    arms: Mapping[str, Arm]
    recommended: str = ""
    names: dict[str, set[tuple[str, str]]] = field(default_factory=dict)

    def home(self, arm: str) -> tuple[str, str]:
        """(ablation, arm) whose folder holds the runs of an arm."""
        same_as = self.arms[arm].same_as if arm in self.arms else None
        return tuple(same_as.split("/", 1)) if same_as else (self.name, arm)

    def label(self, arm: str) -> str:
        """What readers see; the name of an arm that the file does not hold any more."""
        return self.arms[arm].label if arm in self.arms else arm


def ablations(study: str | None = None) -> dict[tuple[str, str], Ablation]:
    """The ablations of a study, or of all, keyed (study, name), in order of their names. Raises UserError."""
    chosen = {}
    for name in [study] if study else catalog.studies():
        for ablation, content in catalog.ablations(name).items():
            chosen[name, ablation] = _ablation(name, ablation, content)
    _share(chosen)
    return chosen


def _share(chosen: Mapping[tuple[str, str], Ablation]) -> None:
    """Fills in `names`."""
    at_home: dict[tuple, set] = {}
    for ablation in chosen.values():
        for arm in ablation.arms:
            at_home.setdefault((ablation.study, *ablation.home(arm)), set()).add((ablation.name, arm))
    for ablation in chosen.values():
        ablation.names.update({arm: at_home[ablation.study, *ablation.home(arm)] for arm in ablation.arms})


def _ablation(study: str, name: str, content: schema.Ablation) -> Ablation:
    arms = {
        arm: Arm(arm, body.label or arm, body.set or {}, body.same_as, body.pretrained is not None)
        for arm, body in content.arms.items()
    }
    return Ablation(
        study=study,
        name=name,
        title=content.title,
        paper=content.paper,
        task=content.task,
        recipe=content.recipe_name,
        baseline=content.baseline,
        panel=content.panel or content.task,
        arms=arms,
        recommended=content.recommended or "",
    )
