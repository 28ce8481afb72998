"""The claims of a paper, cut into parts: experiments/<study>/claims.yaml, typed and checked.

A part is the smallest thing that can be true or false. It has one check, whose first key says its form:

    trained   {better: A, than: B}              A - B > margin (0 without one)
              {no_worse: A, than: B or [..]}    A - B > -margin, for each B
              {equal: [A, B]}                   -margin < A - B < margin
              {retains: A, of: R, over: N, at_least: s}     (A - N) / (R - N) >= s
              {gain: [A, B], exceeds: [C, D]}   (B - A) - (D - C) > 0
              {gains: [[A, B], ..], order: o}   the gains B - A rise or fall
              {trend: [A, B, ..], order: o}     the arms rise or fall
              {best: A, of: [..]}               A above the best of many
              {peak: [..], over: B}             the best of many above B
              {value: A, metric: m, above: x, below: y}     x < A < y
              {spread: A, below: x}             the standard deviation over seeds
              {layers: A, detail: d, order: o}  a number of every layer rises or falls with depth
    exact     {count: [A, B, ..], order: o, metric: m}      counts rise or fall strictly
              {ratio: [A, B], metric: m, at_most: x, at_least: y, without: N}   A / B, or (A - N) / (B - N)
              {extra: [A, B], metric: m, at_least: y, at_most: x}               A - B
              {identity: name}                  an equality of operators, shown by a test
              {counted: name, at_least: y, at_most: x}      a count that the same record holds
    timing    {faster: A, than: B, record: name, at_least: r}                   time of B over that of A
    printed   {dominated: [..], by: C, table: t, variant: v, at_least: n}       and `ratio`, of printed numbers
    any       {not_tested: why}

Arms are <ablation>/<arm>; exact checks may also name a row of models.yaml. For losses and costs better is lower.
Margins are shares of `reference`, the effect of its first arm over its second on the same scale, which then has to be
shown itself (assay).
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Union

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag, ValidationError, model_validator

from plugins.suite import catalog
from plugins.suite.errors import UserError
from plugins.suite.files import nearest, one_line, read_yaml

PRIMARY = {
    "translation": "bleu", "classification": "top1", "segmentation": "miou", "detection": "box_ap", "probe": "accuracy",
}  # fmt: skip
LOWER_IS_BETTER = ("losses.", "cost.", "wall_s.")
COMMON_LOSS = "top1_at_common_loss"  # made of two arms' curves, at the larger of the least losses that they reach

Order = Literal["rises", "falls"]
Count = Literal["params", "macs"]
Name = Annotated[str, Field(min_length=1)]
Pair = Annotated[list[Name], Field(min_length=2, max_length=2)]


class Strict(BaseModel):
    """No unknown keys, nothing changed after it is read."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Check(Strict):
    """What all forms share. `key`: the key that names the form; `levels`: those it can be judged at."""

    key: ClassVar[str]
    levels: ClassVar[tuple[str, ...]] = ("trained",)

    def arms(self) -> list[str]:
        """The arms (or models) in the order of the form, each once."""
        raise NotImplementedError

    def contrast(self) -> dict[str, float]:
        """The linear contrast of arm means whose sign the part is about; {} where there is none."""
        return {}

    def unlike(self) -> list[list[str]]:
        """Groups of arms that must be alike in settings and data; a gain's start may be unlike its end."""
        return [self.arms()]

    def text(self) -> str:
        """The check as a short formula."""
        raise NotImplementedError


class Trained(Check):
    """A check of a trained metric; `metric` is that of the task unless it says another."""

    metric: str | None = Field(None, description="a name under metrics, or dotted such as losses.train")


def _once(*names: str) -> list[str]:
    return list(dict.fromkeys(names))


def _sum(*weighted: tuple[str, float]) -> dict[str, float]:
    total: dict[str, float] = {}
    for name, weight in weighted:
        total[name] = total.get(name, 0.0) + weight
    return total


def _slopes(n: int, order: str) -> list[float]:
    """Weights of the linear contrast of n ordered means: positive in favour of `order`, end to end 1 in sum."""
    centre = (n - 1) / 2
    weights = [index - centre for index in range(n)]
    unit = sum(weight for weight in weights if weight > 0)
    return [(weight if order == "rises" else -weight) / unit for weight in weights]


class Better(Trained):
    key = "better"
    better: Name
    than: Name

    def arms(self) -> list[str]:
        return _once(self.better, self.than)

    def contrast(self) -> dict[str, float]:
        return {self.better: 1.0, self.than: -1.0}

    def text(self) -> str:
        return f"{self.better} > {self.than}"


class NoWorse(Trained):
    key = "no_worse"
    no_worse: Name
    than: Name | Annotated[list[Name], Field(min_length=1)]

    def rivals(self) -> list[str]:
        """The arms that it is held against."""
        return [self.than] if isinstance(self.than, str) else list(self.than)

    def arms(self) -> list[str]:
        return _once(self.no_worse, *self.rivals())

    def contrast(self) -> dict[str, float]:
        return {self.no_worse: 1.0, self.than: -1.0} if isinstance(self.than, str) else {}

    def text(self) -> str:
        return f"{self.no_worse} ≥ {', '.join(self.rivals())} − margin"


class Equal(Trained):
    key = "equal"
    equal: Pair

    def arms(self) -> list[str]:
        return _once(*self.equal)

    def contrast(self) -> dict[str, float]:
        return {self.equal[0]: 1.0, self.equal[1]: -1.0}

    def text(self) -> str:
        return f"{self.equal[0]} = {self.equal[1]} ± margin"


class Retains(Trained):
    key = "retains"
    retains: Name
    of: Name
    over: Name
    at_least: float = Field(gt=0, description="the share of the reference effect that has to be kept")

    def arms(self) -> list[str]:
        return _once(self.retains, self.of, self.over)

    def contrast(self) -> dict[str, float]:
        share = self.at_least
        return _sum((self.retains, 1.0), (self.of, -share), (self.over, share - 1.0))

    def text(self) -> str:
        return f"({self.retains} − {self.over}) / ({self.of} − {self.over}) ≥ {self.at_least:g}"


class Gain(Trained):
    key = "gain"
    gain: Pair
    exceeds: Pair

    def arms(self) -> list[str]:
        return _once(*self.gain, *self.exceeds)

    def contrast(self) -> dict[str, float]:
        (a, b), (c, d) = self.gain, self.exceeds
        return _sum((b, 1.0), (a, -1.0), (d, -1.0), (c, 1.0))

    def unlike(self) -> list[list[str]]:
        (a, b), (c, d) = self.gain, self.exceeds
        starts, ends = {a, c}, {b, d}
        return [self.arms()] if starts & ends else [_once(a, c), _once(b, d)]

    def text(self) -> str:
        return f"gain({' → '.join(self.gain)}) > gain({' → '.join(self.exceeds)})"


class Gains(Trained):
    key = "gains"
    gains: list[Pair] = Field(min_length=2)
    order: Order

    def arms(self) -> list[str]:
        return _once(*(name for pair in self.gains for name in pair))

    def contrast(self) -> dict[str, float]:
        weights = zip(self.gains, _slopes(len(self.gains), self.order), strict=True)
        return _sum(
            *((name, sign * weight) for pair, weight in weights for name, sign in zip(pair, (-1, 1), strict=True))
        )

    def unlike(self) -> list[list[str]]:
        return [list(pair) for pair in self.gains]

    def text(self) -> str:
        return f"gains {', '.join(' → '.join(pair) for pair in self.gains)} {_word(self.order)}"


class Trend(Trained):
    key = "trend"
    trend: list[Name] = Field(min_length=3)
    order: Order

    def arms(self) -> list[str]:
        return list(self.trend)

    def contrast(self) -> dict[str, float]:
        return dict(zip(self.trend, _slopes(len(self.trend), self.order), strict=True))

    def text(self) -> str:
        return f"{', '.join(self.trend)} {_word(self.order)}"


class Best(Trained):
    key = "best"
    best: Name
    of: list[Name] = Field(min_length=2)

    def arms(self) -> list[str]:
        return _once(self.best, *self.of)

    def text(self) -> str:
        return f"{self.best} > best of {', '.join(self.of)}"


class Peak(Trained):
    key = "peak"
    peak: list[Name] = Field(min_length=2)
    over: Name

    def arms(self) -> list[str]:
        return _once(*self.peak, self.over)

    def text(self) -> str:
        return f"best of {', '.join(self.peak)} > {self.over}"


class Value(Trained):
    key = "value"
    value: Name
    above: float | None = None
    below: float | None = None

    @model_validator(mode="after")
    def _bounded(self) -> Value:
        return _needs_bound(self, "above", "below")

    def arms(self) -> list[str]:
        return [self.value]

    def contrast(self) -> dict[str, float]:
        return {self.value: 1.0}

    def text(self) -> str:
        bounds = [f"{sign} {bound:g}" for sign, bound in ((">", self.above), ("<", self.below)) if bound is not None]
        return f"{self.value} {' and '.join(bounds)}"


class Spread(Trained):
    key = "spread"
    spread: Name
    below: float = Field(gt=0, description="bound on the standard deviation over seeds, in units of the metric")

    def arms(self) -> list[str]:
        return [self.spread]

    def text(self) -> str:
        return f"sd over seeds of {self.spread} < {self.below:g}"


class Layers(Trained):
    key = "layers"
    layers: Name
    detail: Name
    order: Order

    def arms(self) -> list[str]:
        return [self.layers]

    def text(self) -> str:
        return f"{self.detail} of {self.layers} {_word(self.order)} with depth"


class Counts(Check):
    key = "count"
    levels = ("exact",)
    count: list[Name] = Field(min_length=2)
    order: Order
    metric: Count

    def arms(self) -> list[str]:
        return list(self.count)

    def text(self) -> str:
        return f"{self.metric}: {(' < ' if self.order == 'rises' else ' > ').join(self.count)}"


class Ratio(Check):
    key = "ratio"
    levels = ("exact", "printed")
    ratio: Pair
    metric: Name
    at_most: float | None = Field(None, gt=0)
    at_least: float | None = Field(None, gt=0)
    without: Name | None = Field(None, description="taken off both, for the share of one module")

    @model_validator(mode="after")
    def _bounded(self) -> Ratio:
        return _needs_bound(self, "at_most", "at_least")

    def arms(self) -> list[str]:
        return _once(*self.ratio, *([self.without] if self.without else []))

    def text(self) -> str:
        less = f" − {self.without}" if self.without else ""
        top, bottom = (f"({name}{less})" if less else name for name in self.ratio)
        return f"{self.metric}: {top} / {bottom} {_bounds(self)}"


class Extra(Check):
    key = "extra"
    levels = ("exact",)
    extra: Pair
    metric: Count
    at_least: float
    at_most: float

    def arms(self) -> list[str]:
        return _once(*self.extra)

    def text(self) -> str:
        return f"{self.metric}: {self.extra[0]} − {self.extra[1]} {_bounds(self)}"


class Identity(Check):
    key = "identity"
    levels = ("exact",)
    identity: Name

    def arms(self) -> list[str]:
        return []

    def text(self) -> str:
        return f"identity {self.identity}"


class Counted(Check):
    key = "counted"
    levels = ("exact",)
    counted: Name
    at_least: float
    at_most: float

    def arms(self) -> list[str]:
        return []

    def text(self) -> str:
        return f"{self.counted} {_bounds(self)}"


class Faster(Check):
    key = "faster"
    levels = ("timing",)
    faster: Name
    than: Name
    record: Name
    at_least: float = Field(1.0, gt=0, description="least ratio of the times, exclusive where it is 1")

    def arms(self) -> list[str]:
        return [self.faster, self.than]

    def text(self) -> str:
        return f"time of {self.than} / time of {self.faster} {'> 1' if self.at_least == 1 else f'≥ {self.at_least:g}'}"


class Dominated(Check):
    key = "dominated"
    levels = ("printed",)
    dominated: list[Name] = Field(min_length=1, description="models of the table that are to be dominated")
    by: Name = Field(description="the start of the names of the dominating models")
    table: Name
    variant: Name
    at_least: float = Field(gt=0, le=1, description="share of them, point by point")

    def arms(self) -> list[str]:
        return []

    def text(self) -> str:
        share = f"at least {self.at_least:.0%} of {len(self.dominated)} rivals"
        return f"{self.table}, {self.variant}: {share} below a {self.by}"


class NotTested(Check):
    key = "not_tested"
    levels = ("trained", "exact", "timing", "printed")
    not_tested: Name

    def arms(self) -> list[str]:
        return []

    def text(self) -> str:
        return ""


FORMS: dict[str, type[Check]] = {
    form.key: form
    for form in (
        Better, NoWorse, Equal, Retains, Gain, Gains, Trend, Best, Peak, Value, Spread, Layers, Counts, Ratio, Extra,
        Identity, Counted, Faster, Dominated, NotTested,
    )
}  # fmt: skip


def _form(content: Any) -> str | None:
    if isinstance(content, Check):
        return content.key
    hits = [key for key in FORMS if isinstance(content, Mapping) and key in content]
    return hits[0] if len(hits) == 1 else None


AnyCheck = Annotated[
    Union[tuple(Annotated[form, Tag(key)] for key, form in FORMS.items())],  # noqa: UP007 - made of the table above
    Discriminator(
        _form,
        custom_error_type="form",
        custom_error_message="has to have exactly one of the keys that name a form: " + ", ".join(FORMS),
    ),
]


class Margin(Strict):
    """`share` of the reference effect (absent: the bounds stand in the check), and where the number comes from."""

    share: float | None = Field(None, gt=0, description="of the reference effect of the same scale")
    why: Name


class Part(Strict):
    """One thing that can be true or false.

    `reference`: its first arm minus its second is the effect that margins are shares of and that has to be shown.
    `starts`: two arms whose primary metric must be equal for the check to mean anything.
    `published`: what the paper says of this part, in its words; numbers of reference.csv are added by the ledger.
    """

    id: Annotated[str, Field(pattern="^[a-z]{1,2}$")]
    says: Name
    task: Literal["translation", "classification", "segmentation", "detection", "probe"]
    level: Literal["trained", "exact", "timing", "printed"]
    check: AnyCheck
    reference: Pair | None = None
    margin: Margin | None = None
    starts: Pair | None = None
    published: str = ""
    note: str = ""

    @model_validator(mode="after")
    def _fits(self) -> Part:
        check = self.check
        if self.level not in check.levels:
            raise ValueError(f"a check '{check.key}' is of level {' or '.join(check.levels)}, not {self.level}")
        if isinstance(check, NoWorse | Equal) and not (self.reference and self.margin and self.margin.share):
            raise ValueError(f"a check '{check.key}' needs `reference` and `margin: {{share, why}}`")
        if self.margin and self.margin.share and not self.reference:
            raise ValueError("`margin.share` needs `reference`, the effect that it is a share of")
        if isinstance(check, Retains | Ratio | Extra | Counted | Dominated | Spread) and not self.margin:
            raise ValueError(f"a check '{check.key}' needs `margin: {{why}}`, where its bounds come from")
        return self

    @property
    def metric(self) -> str:
        """The metric that the check is about: of the task unless it names one."""
        return getattr(self.check, "metric", None) or PRIMARY[self.task]

    @property
    def sign(self) -> int:
        """-1 where lower is better."""
        return -1 if self.metric.startswith(LOWER_IS_BETTER) else 1

    def effect_of_reference(self) -> list[str] | None:
        """The arms whose difference has to be shown before the check means anything."""
        return [self.check.of, self.check.over] if isinstance(self.check, Retains) else self.reference

    def arms(self) -> list[str]:
        """Every arm that the part names, each once."""
        return _once(*self.check.arms(), *(self.reference or []), *(self.starts or []))


class Claim(Strict):
    id: int = Field(gt=0)
    says: Name
    published: Name
    note: str = ""
    parts: list[Part] = Field(min_length=1)

    @model_validator(mode="after")
    def _ids(self) -> Claim:
        _unique("part", [part.id for part in self.parts])
        return self


class Claims(Strict):
    """A claims.yaml. `at_scale`: {scale: {ablation: ablation}}, where an ablation has another name at a scale."""

    paper: Name
    at_scale: dict[Literal["mini", "small", "paper"], dict[str, str]] = {}
    claims: list[Claim] = Field(min_length=1)

    @model_validator(mode="after")
    def _ids(self) -> Claims:
        _unique("claim", [claim.id for claim in self.claims])
        return self

    def parts(self) -> Iterator[tuple[Claim, Part]]:
        """Every part with its claim, in the order of the file."""
        for claim in self.claims:
            for part in claim.parts:
                yield claim, part

    def at(self, arm: str, scale: str) -> str:
        """The name that an arm has at a scale."""
        ablation, _, name = arm.partition("/")
        return f"{self.at_scale.get(scale, {}).get(ablation, ablation)}/{name}"


def _unique(kind: str, ids: list) -> None:
    doubled = next((name for name in ids if ids.count(name) > 1), None)
    if doubled is not None:
        raise ValueError(f"{kind} {doubled} stands there twice; give it another id")


def _needs_bound(check: Any, *names: str) -> Any:
    if all(getattr(check, name) is None for name in names):
        raise ValueError(f"a check '{check.key}' needs '{names[0]}' or '{names[1]}'")
    return check


def _word(order: str) -> str:
    return "rise" if order == "rises" else "fall"


def _bounds(check: Any) -> str:
    pairs = (("≥", check.at_least), ("≤", check.at_most))
    return " and ".join(f"{sign} {bound:g}" for sign, bound in pairs if bound is not None)


# --- files ------------------------------------------------------------------------------------------------------------
def load(study: str, experiments: Path = catalog.EXPERIMENTS) -> Claims:
    """The claims of a study, every arm of which exists. UserError, one line: file, claim, part, rule, nearest name."""
    path = Path(experiments) / study / "claims.yaml"
    claims = parse(read_yaml(path), path)
    known = ablations(study, experiments)
    arms = [f"{name}/{arm}" for name, ablation in known.items() for arm in ablation.homes]
    models = _models(Path(experiments) / study)
    for scale, names in claims.at_scale.items():
        for name in [*names, *names.values()]:
            _known(f"{path}: at_scale.{scale}", "ablation", name, list(known))
    for claim, part in claims.parts():
        where = f"{path}: claim {claim.id}, part {part.id}"
        for arm in [] if part.level == "timing" else part.arms():
            _known(
                where, "arm" if "/" in arm else "arm or model", arm, arms + (models if part.level == "exact" else [])
            )
    return claims


def parse(content: Any, path: Path) -> Claims:
    """The content of a claims.yaml, typed; arms are not looked up. UserError of one line."""
    try:
        return Claims.model_validate(content)
    except ValidationError as error:
        raise UserError(f"{path}: {_line(content, error.errors(include_url=False)[0])}") from None


def check_all(experiments: Path = catalog.EXPERIMENTS) -> dict[str, Claims]:
    """The claims of every study that has some; their arms, and those of its reference.csv, exist. UserError, one line.

    The DAG calls it before anything runs.
    """
    known = {}
    for path in sorted(Path(experiments).glob("*/claims.yaml")):
        known[path.parent.name] = load(path.parent.name, experiments)
        check_references(path.parent.name, experiments)
    return known


def check_references(study: str, experiments: Path = catalog.EXPERIMENTS) -> None:
    """UserError of one line for a row of reference.csv that names an arm that is not there."""
    path = Path(experiments) / study / "reference.csv"
    if not path.is_file():
        return
    arms = [f"{name}/{arm}" for name, ablation in ablations(study, experiments).items() for arm in ablation.homes]
    with path.open(encoding="utf-8", newline="") as stream:
        reader = csv.DictReader(stream)
        for row in reader:
            if row.get("ablation"):
                _known(f"{path}:{reader.line_num}", "arm", f"{row['ablation']}/{row['arm']}", arms)


def _known(where: str, kind: str, name: str, known: list[str]) -> None:
    if name not in known:
        raise UserError(f"{where}: no {kind} '{name}' in this suite{nearest(name, set(known))}")


@dataclass(frozen=True)
class Ablation:
    """What the ledger knows of an ablation. `homes`: {arm: the <ablation>/<arm> that holds its runs}; `scales`: the
    only ones it is meant for, empty for all; `recipe`: the name of what its arms are trained by.
    """

    homes: Mapping[str, str]
    scales: tuple[str, ...]
    recipe: str


def ablations(study: str, experiments: Path = catalog.EXPERIMENTS) -> dict[str, Ablation]:
    """The ablations of a study by name; `catalog` reads and checks their files."""
    return {
        name: Ablation(
            {arm: body.same_as or f"{name}/{arm}" for arm, body in ablation.arms.items()},
            tuple(ablation.scales or ()),
            ablation.recipe_name,
        )
        for name, ablation in catalog.ablations(study, Path(experiments)).items()
    }


def _models(study: Path) -> list[str]:
    """The rows of models.yaml."""
    path = study / "models.yaml"
    return [entry["model"] for entry in read_yaml(path)["models"]] if path.is_file() else []


def _line(content: Any, error: Mapping) -> str:
    """One line of a pydantic error: which claim and part, the key, the rule, the nearest key."""
    location = list(error["loc"])
    keys = [key for at, key in enumerate(location) if at == 0 or location[at - 1] != "check"]  # without the form's tag
    places, node = [], content
    while len(keys) > 1 and keys[0] in ("claims", "parts") and isinstance(keys[1], int):
        kind, index, *keys = keys
        node = node[kind][index]
        places.append(f"{kind[:-1]} {node.get('id', index + 1) if isinstance(node, Mapping) else index + 1}")
    place = ": ".join(filter(None, [", ".join(places), ".".join(map(str, keys))]))
    return f"{place}: {_rule(error, keys)}" if place else _rule(error, keys)


def _rule(error: Mapping, keys: list) -> str:
    if error["type"] == "extra_forbidden":
        form = next((FORMS[key] for key in error["loc"] if key in FORMS), None)
        model = form or (Part if "parts" in error["loc"] else Claim if "claims" in error["loc"] else Claims)
        return f"unknown key{nearest(keys[-1] if keys else '', model.model_fields)}"
    if error["type"] == "missing":
        return "this key is missing"
    return one_line(error["msg"].removeprefix("Value error, "), 300)
