"""The ledger: one row a part of a claim and level, with its evidence, gates and the published effect beside it.

verdict   supported; contradicted (exact, timing, printed, paper); reversed here (mini, small); undecided; not tested
level     exact, timing, printed, or the scale at which networks were trained
p_holm    of the part's opposite, adjusted by Holm over the trained parts of its claim at that scale

A claim is never the AND of its parts: `roll_up` says how many of them came out how.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd

from analysis import reference, runs, statistics, text
from analysis.evidence import (
    CONTRADICTED,
    DECIDED,
    NOT_TESTED,
    REVERSED,
    UNDECIDED,
    VERDICTS,
    Outcome,
    exact,
    printed,
    scored,
    timing,
    trained,
)
from analysis.plans import Plan
from analysis.reference import Reference
from plugins.suite import catalog, claims, files
from plugins.suite.claims import Claim, Claims, NoWorse, Part, Ratio, Retains
from plugins.suite.errors import UserError

COLUMNS = (
    "study claim part says task level scale arms metric verdict reason estimate low high unit share_of_reference margin"
    " n_seeds n_items se_seed se_item df p_holm mde gates published published_effect plan data commit runs checks"
).split()
NUMBERS = (
    "claim estimate low high share_of_reference margin n_seeds n_items se_seed se_item df p_holm mde published_effect"
).split()
SCALES = ("mini", "small", "paper")
NOT_RUN = "not run at this scale"
EXPLORATORY = "exploratory"
PAPER_LEVEL = "paper"
ANYWHERE = {"exact": "paper", "printed": "paper", "timing": "machine"}


@dataclass(frozen=True)
class Sources:
    """Where the ledger takes its evidence from. `results`: folders of one scale each, results/<scale> or published."""

    results: Sequence[Path] = ()
    costs: Sequence[Path] = exact.COSTS
    identities: Path = exact.IDENTITIES
    timings: Sequence[Path] = timing.FOLDERS
    experiments: Path = catalog.EXPERIMENTS


def build(sources: Sources, plans: Sequence[Plan] = (), study: str | None = None) -> pd.DataFrame:
    """The ledger as a table with the columns COLUMNS. UserError for claims, records or runs that cannot be used."""
    known = claims.check_all(sources.experiments)
    if study is not None and study not in known:
        raise UserError(f"--study {study}: no such study with claims; there are {', '.join(known)}")
    records = timing.load(sources.timings)
    rows = []
    for name, content in known.items():
        if study in (None, name):
            rows += _study_rows(name, content, sources, records, plans)
    return pd.DataFrame(rows, columns=COLUMNS)


def _study_rows(
    study: str, content: Claims, sources: Sources, records: list[dict], plans: Sequence[Plan]
) -> list[dict]:
    known = claims.ablations(study, sources.experiments)
    homes = {f"{name}/{arm}": home for name, ablation in known.items() for arm, home in ablation.homes.items()}
    costs = exact.Costs(study, homes, sources.costs)
    references = reference.load(sources.experiments, study)
    read = [scored.read(folder, study, known) for folder in sources.results]
    scales = {result.scale: result for result in read if result is not None}
    if len(scales) < sum(result is not None for result in read):
        raise UserError(f"{', '.join(map(str, sources.results))}: two folders of one scale; give each scale once")
    rows = []
    for claim in content.claims:
        judged, effects = [], {}
        for part in claim.parts:
            effects[part.id] = published_effect(part, content, references, homes, costs)
            for level, scale, outcome in _outcomes(
                claim, part, content, known, costs, references, records, scales, sources, plans
            ):
                judged.append((part, level, scale, outcome))
        rows += [
            _row(study, claim, part, level, scale, outcome, p_holm, content, effects[part.id])
            for part, level, scale, outcome, p_holm in _after_holm(judged)
        ]
    return rows


def _outcomes(
    claim: Claim,
    part: Part,
    content: Claims,
    known: Mapping[str, claims.Ablation],
    costs: exact.Costs,
    references: list[Reference],
    records: list[dict],
    scales: Mapping[str, scored.Study],
    sources: Sources,
    plans: Sequence[Plan],
) -> list[tuple[str, str, Outcome]]:
    """(level, scale, outcome) of a part: one where nothing is trained, else one a scale that its arms are meant for,
    whether these results hold runs of it or not."""
    if part.level == "exact":
        return [("exact", ANYWHERE["exact"], exact.judge(part, costs, sources.identities))]
    if part.level == "timing":
        return [("timing", ANYWHERE["timing"], timing.judge(part, records))]
    if part.level == "printed":
        return [("printed", ANYWHERE["printed"], printed.judge(part, references))]
    rows = []
    for scale in SCALES:
        if not _meant_for(part, content, known, scale):
            continue
        if scale not in scales:
            rows.append((scale, scale, Outcome(NOT_TESTED, NOT_RUN)))
        else:
            study = scales[scale]
            seeds = _seeds(part, content, study)
            plan = next((plan for plan in plans if plan.covers(study.name, claim.id, part, scale, seeds)), None)
            outcome = trained.judge(
                part, study, lambda arm, scale=scale: content.at(arm, scale), plan.spread if plan else "own"
            )
            rows.append((scale, scale, replace(outcome, plan=_plan_name(outcome, plan))))
    if not rows:
        reason = getattr(part.check, "not_tested", None) or "its arms were run at no scale of these results"
        rows.append((PAPER_LEVEL, PAPER_LEVEL, Outcome(NOT_TESTED, reason)))
    return rows


def _meant_for(part: Part, content: Claims, known: Mapping[str, claims.Ablation], scale: str) -> bool:
    """Whether every ablation of a part is run at a scale."""
    names = {content.at(arm, scale).partition("/")[0] for arm in part.arms()}
    return bool(names) and all(not known[name].scales or scale in known[name].scales for name in names)


def parts_at(content: Claims, known: Mapping[str, claims.Ablation], scale: str) -> list[tuple[Claim, Part]]:
    """The trained parts of a study that are meant for a scale, each with its claim."""
    trained_parts = [(claim, part) for claim, part in content.parts() if part.level == "trained"]
    return [(claim, part) for claim, part in trained_parts if _meant_for(part, content, known, scale)]


def _after_holm(judged: list[tuple]) -> list[tuple]:
    """Each outcome with Holm's p over the trained parts of its claim and scale; what it does not carry is undecided."""
    ps: dict[str, dict[int, float]] = {}
    for index, (_, _, scale, outcome) in enumerate(judged):
        if outcome.verdict != NOT_TESTED and not math.isnan(outcome.p):
            ps.setdefault(scale, {})[index] = outcome.p
    adjusted = {index: p for group in ps.values() for index, p in statistics.holm(group).items()}
    rows = []
    for index, (part, level, scale, outcome) in enumerate(judged):
        p_holm = adjusted.get(index, math.nan)
        if outcome.verdict == REVERSED:
            verdict = CONTRADICTED if level == PAPER_LEVEL else REVERSED
            outcome = replace(outcome, verdict=verdict if p_holm < trained.ALPHA else UNDECIDED)
        rows.append((part, level, scale, outcome, p_holm))
    return rows


def _row(
    study: str,
    claim: Claim,
    part: Part,
    level: str,
    scale: str,
    outcome: Outcome,
    p_holm: float,
    content: Claims,
    effect: float,
) -> dict:
    is_trained = part.level == "trained"
    metric = part.metric if is_trained else getattr(part.check, "metric", part.level)
    return {
        "study": study,
        "claim": claim.id,
        "part": part.id,
        "says": part.says,
        "task": part.task,
        "level": level,
        "scale": scale,
        "arms": _arms_text(part, content, scale),
        "metric": metric,
        "verdict": outcome.verdict,
        "reason": outcome.reason,
        **{key: getattr(outcome, key) for key in ("estimate", "low", "high", "unit", "share_of_reference", "margin")},
        **{key: getattr(outcome, key) for key in ("n_seeds", "n_items", "se_seed", "se_item", "df")},
        "p_holm": p_holm,
        "mde": outcome.mde,
        "gates": outcome.gates,
        "published": part.published or claim.published,
        "published_effect": effect,
        **{key: getattr(outcome, key) for key in ("plan", "data", "commit", "runs", "checks")},
    }


def _arms_text(part: Part, content: Claims, scale: str) -> str:
    """The check as a formula, with the names that the arms have at the scale."""
    line = part.check.text()
    for arm in sorted(part.check.arms(), key=len, reverse=True):
        line = line.replace(arm, content.at(arm, scale)) if part.level == "trained" else line
    return line


def _seeds(part: Part, content: Claims, study: scored.Study) -> dict[str, set[int]]:
    """The seeds that the arms of a part were trained with at the scale of `study`, by the arm that holds the runs."""
    arms = [content.at(arm, study.scale) for arm in part.arms()]
    return {study.homes.get(arm, arm): {run.seed for run in study.runs(arm)} for arm in arms}


def _plan_name(outcome: Outcome, plan: Plan | None) -> str:
    """The registered plan that an outcome follows; "exploratory" outside of one, "" without runs."""
    return "" if not outcome.runs else plan.name if plan else EXPLORATORY


# --- published effects ------------------------------------------------------------------------------------------------
def published_effect(
    part: Part, content: Claims, references: list[Reference], homes: Mapping[str, str], costs: exact.Costs
) -> float:
    """What the check's quantity is in print: of the first table with a number of every arm; NaN where there is none."""
    names = part.check.arms()
    if part.level == "exact":
        return exact.printed_effect(part, costs)
    if part.level == "timing" or not names:
        return math.nan
    places = {name: content.at(name, PAPER_LEVEL) for name in names}
    metric = part.check.metric if isinstance(part.check, Ratio) else part.metric
    tables: dict[tuple[str, str], dict[str, float]] = {}
    for kind in ("paper", "official"):
        for row in references:
            if row.kind != kind or row.metric != metric or math.isnan(row.value):
                continue
            arm = f"{row.ablation}/{row.arm}"
            for name, place in places.items():
                if homes.get(arm, arm) == homes.get(place, place):
                    tables.setdefault((kind, row.table), {}).setdefault(name, row.value)
    values = next((printed for printed in tables.values() if len(printed) == len(places)), None)
    return math.nan if values is None else _effect(part, values)


def _effect(part: Part, values: Mapping[str, float]) -> float:
    """The quantity that a check judges, of one number an arm."""
    check = part.check
    if isinstance(check, Ratio):
        return values[check.ratio[0]] / values[check.ratio[1]]
    if isinstance(check, Retains):
        whole = values[check.of] - values[check.over]
        return (values[check.retains] - values[check.over]) / whole if whole else math.nan
    if isinstance(check, claims.Best):
        return part.sign * (values[check.best] - max(values[name] for name in check.of))
    if isinstance(check, claims.Peak):
        return part.sign * (max(values[name] for name in check.peak) - values[check.over])
    if isinstance(check, NoWorse):
        return part.sign * (values[check.no_worse] - max(values[name] for name in check.rivals()))
    contrast = check.contrast()
    return part.sign * sum(weight * values[name] for name, weight in contrast.items()) if contrast else math.nan


# --- roll-up and text -------------------------------------------------------------------------------------------------
def roll_up(ledger: pd.DataFrame) -> pd.DataFrame:
    """One row a claim and group of levels (no training, then each scale): parts by verdict, and the claim in a word.

    supported: every part that was decided is, and one was; against: some part came out against it; undecided: judged,
    nothing decided; not tested: nothing could be judged.
    """
    rows = []
    grouped = ledger.assign(evidence=ledger["level"].where(ledger["level"].isin(SCALES), "no training"))
    for (study, claim, evidence), group in grouped.groupby(["study", "claim", "evidence"], sort=False):
        counts = {verdict: int((group["verdict"] == verdict).sum()) for verdict in VERDICTS}
        rows.append(
            {"study": study, "claim": claim, "evidence": evidence, "word": _word(counts), "parts": len(group), **counts}
        )
    return pd.DataFrame(rows)


def _word(counts: Mapping[str, int]) -> str:
    against = counts[CONTRADICTED] + counts[REVERSED]
    if counts["supported"] and against:
        return "in part"
    if against:
        return "against"
    if counts["supported"]:
        return "supported" if counts["supported"] == sum(counts.values()) else "supported so far"
    return UNDECIDED if counts[UNDECIDED] else NOT_TESTED


def counts(ledger: pd.DataFrame) -> pd.DataFrame:
    """Rows by level and verdict."""
    levels = [level for level in ("exact", "timing", "printed", *SCALES) if level in set(ledger["level"])]
    table = pd.crosstab(ledger["level"], ledger["verdict"])
    return table.reindex(index=levels, columns=list(VERDICTS), fill_value=0)


def markdown(ledger: pd.DataFrame, experiments: Path = catalog.EXPERIMENTS) -> str:
    """Counts by level, then one table a study: a line a part, and how to read it."""
    by_level = counts(ledger)
    rows = [
        [level, *(str(number) for number in line)]
        for level, line in zip(by_level.index, by_level.to_numpy(), strict=True)
    ]
    parts = ["# Ledger\n", text.markdown_table(["level", *VERDICTS], rows, left=1)]
    known = claims.check_all(experiments)
    for study in dict.fromkeys(ledger["study"]):
        group = ledger[ledger["study"] == study]
        parts.append(f"\n## {study}\n")
        for claim in known[study].claims:
            lines = group[group["claim"] == claim.id]
            parts.append(
                f"**{claim.id}. {claim.says}** Published: {claim.published}."
                + (f" {claim.note}" if claim.note else "")
                + "\n"
            )
            cells = [_cells(row) for _, row in lines.iterrows()]
            parts.append(
                text.markdown_table(["part", "level", "verdict", "estimate", "published", "why"], cells, left=6)
            )
    parts.append("\n" + HOW_TO_READ)
    return "\n".join(parts)


HOW_TO_READ = (
    "A part is the smallest thing that can be true or false. exact: counts at the papers' sizes and identities; "
    "printed: the published tables alone; timing: in turns, with an interval; mini, small, paper: trained, after every "
    "gate. Intervals are 95 % (90 % for equalities); published effects are of another scale: signs may be held side by "
    "side, sizes may not. `reversed here` is said of this scale alone, after Holm's correction inside the claim.\n"
)


def _cells(row: Mapping) -> list[str]:
    effect = row["published_effect"]
    why = row["reason"] or row["arms"]
    shown = "" if math.isnan(effect) else text.signed(effect) if row["level"] in SCALES else text.number(effect)
    return [f"{row['part']}. {row['says']}", row["level"], f"**{row['verdict']}**", estimate_text(row), shown, why]


def estimate_text(row: Mapping) -> str:
    """Estimate with its interval, "" where there is none."""
    if math.isnan(row["estimate"]):
        return ""
    value = f"{row['estimate']:.4g}"
    if row["low"] == row["high"] or math.isnan(row["low"]):
        return value
    return f"{value} [{row['low']:.4g}, {row['high']:.4g}]"


def write(ledger: pd.DataFrame, folder: Path, experiments: Path = catalog.EXPERIMENTS) -> None:
    """ledger.csv and ledger.md into a folder."""
    runs.write_csv(folder / "ledger.csv", ledger)
    files.write_text(folder / "ledger.md", markdown(ledger, experiments))


def read(path: Path) -> pd.DataFrame:
    """A ledger.csv. UserError for one that lacks a column."""
    try:
        words = dict.fromkeys([name for name in COLUMNS if name not in NUMBERS], str)
        frame = pd.read_csv(path, keep_default_na=False, na_values=[""], dtype=words, float_precision="round_trip")
    except (OSError, ValueError) as problem:
        raise UserError(f"{path}: cannot be read as a ledger: {files.one_line(problem)}") from None
    lacking = [name for name in COLUMNS if name not in frame]
    if lacking:
        raise UserError(f"{path}: column '{lacking[0]}' is missing; write it with python -m analysis ledger")
    return frame.fillna(dict.fromkeys(words, ""))


def decided(ledger: pd.DataFrame) -> pd.DataFrame:
    """The rows with a verdict on their part."""
    return ledger[ledger["verdict"].isin(DECIDED)]
