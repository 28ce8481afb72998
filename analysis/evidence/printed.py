"""What the published tables alone decide."""

import math

from analysis.evidence import CONTRADICTED, SUPPORTED, Outcome, not_tested, within
from analysis.reference import Reference
from plugins.suite.claims import Dominated, NotTested, Part, Ratio


def judge(part: Part, references: list[Reference]) -> Outcome:
    """The verdict on a printed part."""
    check = part.check
    if isinstance(check, NotTested):
        return not_tested(check.not_tested)
    return _dominated(check, references) if isinstance(check, Dominated) else _ratio(check, references)


def _ratio(check: Ratio, references: list[Reference]) -> Outcome:
    """The ratio of two printed numbers of one table; of the first table that has both."""
    tables: dict[str, dict[str, float]] = {}
    for row in references:
        name = f"{row.ablation}/{row.arm}"
        if name in check.arms() and row.metric == check.metric and not math.isnan(row.value):
            tables.setdefault(row.table, {}).setdefault(name, row.value)
    table, values = next(((t, v) for t, v in tables.items() if len(v) == len(check.arms())), ("", {}))
    if not table:
        return not_tested(f"no table prints {check.metric} of both {' and '.join(check.ratio)}")
    base = values[check.without] if check.without else 0.0
    top, bottom = (values[name] - base for name in check.ratio)
    verdict = SUPPORTED if within(top / bottom, check.at_least, check.at_most) else CONTRADICTED
    ratio = top / bottom
    margin = check.at_most if check.at_most is not None else check.at_least
    return Outcome(
        verdict, f"{table}: {top:g} / {bottom:g}", ratio, ratio, ratio, "ratio", margin=margin, runs="reference.csv"
    )


def _dominated(check: Dominated, references: list[Reference]) -> Outcome:
    """The share of rivals for which some model has no more FLOPs, no less accuracy, and one of the two better."""
    rows = [row for row in references if row.table == check.table and row.variant == check.variant]
    points: dict[str, dict[str, float]] = {}
    for row in rows:
        if row.metric in ("flops", "top1"):
            points.setdefault(row.model, {})[row.metric] = row.value
    whole = {model: (point["flops"], point["top1"]) for model, point in points.items() if len(point) == 2}
    ours = [point for model, point in whole.items() if model.startswith(check.by)]
    lacking = [model for model in check.dominated if model not in whole]
    if lacking or not ours:
        return not_tested(
            f"{check.table}, {check.variant} prints no FLOPs and accuracy of {', '.join(lacking) or check.by}"
        )
    beaten = [model for model in check.dominated if any(_beats(point, whole[model]) for point in ours)]
    share = len(beaten) / len(check.dominated)
    rest = [model for model in check.dominated if model not in beaten]
    reason = f"{len(beaten)} of {len(check.dominated)} rivals; not {', '.join(rest) or 'one is left'}"
    verdict = SUPPORTED if within(share, check.at_least, None) else CONTRADICTED
    return Outcome(verdict, reason, share, share, share, "share of rivals", margin=check.at_least, runs="reference.csv")


def _beats(ours: tuple[float, float], rival: tuple[float, float]) -> bool:
    return ours[0] <= rival[0] and ours[1] >= rival[1] and ours != rival
