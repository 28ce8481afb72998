"""Evidence for one part of a claim, by level: exact, timing, printed, trained. Each module judges its own checks."""

import math
from dataclasses import dataclass

SUPPORTED, CONTRADICTED, REVERSED = "supported", "contradicted", "reversed here"
UNDECIDED, NOT_TESTED = "undecided", "not tested"
VERDICTS = (SUPPORTED, CONTRADICTED, REVERSED, UNDECIDED, NOT_TESTED)
DECIDED = (SUPPORTED, CONTRADICTED, REVERSED)


@dataclass(frozen=True)
class Outcome:
    """What the evidence says of a part. NaN, 0 and "" where a field does not apply.

    `estimate`, `low`, `high`: of what the check judges, in `unit`, 95 % (equal where it is exact). `margin`: the bound
    in the same unit. `p`: one-sided, of the part's opposite; Holm's adjustment inside a claim is the ledger's. `gates`:
    "name=pass(value)" or "name=fail(value)", joined by "; ". `checks`: of the assumptions,
    for readers. `plan`: the registered plan that its runs follow.
    """

    verdict: str
    reason: str = ""
    estimate: float = math.nan
    low: float = math.nan
    high: float = math.nan
    unit: str = ""
    share_of_reference: float = math.nan
    margin: float = math.nan
    n_seeds: int = 0
    n_items: int = 0
    se_seed: float = math.nan
    se_item: float = math.nan
    df: float = math.nan
    p: float = math.nan
    mde: float = math.nan
    gates: str = ""
    checks: str = ""
    plan: str = ""
    data: str = ""
    commit: str = ""
    runs: str = ""


def not_tested(reason: str, **fields: object) -> Outcome:
    """No verdict, and why."""
    return Outcome(NOT_TESTED, reason, **fields)


def within(value: float, at_least: float | None, at_most: float | None) -> bool:
    """Whether a value keeps its bounds, which count as inside (to rounding)."""
    slack = 1e-9 * max(abs(value), 1e-300)
    return (at_least is None or value >= at_least - slack) and (at_most is None or value <= at_most + slack)
