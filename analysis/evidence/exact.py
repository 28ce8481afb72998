"""What can be counted or proved: parameters, multiply-adds and identities of operators. Nothing is trained.

Counts are those at the papers' sizes, results/published/paper/cost/<study>.json, or of the same file below
results/paper where it was computed afresh. A network that is narrowed to run on a laptop says nothing of a claim about
cost.
"""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from analysis.evidence import CONTRADICTED, SUPPORTED, Outcome, not_tested, within
from plugins.suite.claims import Counted, Counts, Extra, Identity, NotTested, Part, Ratio
from plugins.suite.errors import UserError
from plugins.suite.files import read_json

COSTS = (Path("results/published/paper/cost"), Path("results/paper/cost"))
IDENTITIES = Path("results/published/paper/identities.json")
AT_PAPER_SIZE = "paper"
PRINTED_UNIT = {"params": 1e6, "macs": 1e9}


class Costs:
    """Counts of a study at paper size, by arm or model. `homes`: {arm: the arm whose network it has} of `same_as`."""

    def __init__(self, study: str, homes: Mapping[str, str], folders: Sequence[Path] = COSTS) -> None:
        self.study, self.homes, self.source = study, homes, ""
        self._counts: dict[str, Mapping] = {}
        for folder in folders:
            path = folder / f"{study}.json"
            if path.is_file():
                self._counts = {record["model"]: record for record in self._records(path)}
                self.source = str(path)

    @staticmethod
    def _records(path: Path) -> list[Mapping]:
        records = read_json(path)
        keys = ("model", "scale", "params", "macs")
        for index, record in enumerate(records if isinstance(records, list) else [None]):
            lacking = next((key for key in keys if not isinstance(record, Mapping) or key not in record), None)
            if lacking:
                raise UserError(
                    f"{path}: record {index} lacks '{lacking}'; write the file with python -m analysis cost"
                )
            if record["scale"] != AT_PAPER_SIZE:
                raise UserError(
                    f"{path}: record {index} is of scale {record['scale']}; costs are judged at paper size alone"
                )
        return records

    def of(self, name: str, metric: str) -> int | None:
        """The count of an arm or model; None where there is none."""
        return (self._record(name) or {}).get(metric)

    def printed(self, name: str, metric: str) -> float | None:
        """The printed count in the print's own convention; None where none is printed."""
        return (self._record(name) or {}).get({"params": "printed_params_m", "macs": "printed_flops_g"}[metric])

    def _record(self, name: str) -> Mapping | None:
        return self._counts.get(name) or self._counts.get(self.homes.get(name, name))


def judge(part: Part, costs: Costs, identities: Path = IDENTITIES) -> Outcome:
    """The verdict on an exact part."""
    check = part.check
    if isinstance(check, NotTested):
        return not_tested(check.not_tested)
    if isinstance(check, Identity | Counted):
        return _from_record(check, identities)
    counts = {name: costs.of(name, check.metric) for name in check.arms()}
    lacking = next((name for name, count in counts.items() if count is None), None)
    if lacking:
        return not_tested(f"{lacking} is not counted at paper size; run python -m analysis cost")
    return {Counts: _order, Ratio: _ratio, Extra: _extra}[type(check)](check, counts, costs.source)


def printed_effect(part: Part, costs: Costs) -> float:
    """What the printed counts come to; NaN unless each is printed."""
    check = part.check
    printed = {name: costs.printed(name, check.metric) for name in check.arms()} if hasattr(check, "metric") else {}
    if not printed or None in printed.values():
        return math.nan
    if isinstance(check, Counts):
        return printed[check.count[-1]] / printed[check.count[0]]
    if isinstance(check, Extra):
        return (printed[check.extra[0]] - printed[check.extra[1]]) * PRINTED_UNIT[check.metric]
    base = printed[check.without] if check.without else 0.0
    return (printed[check.ratio[0]] - base) / (printed[check.ratio[1]] - base)


def _exact(
    holds: bool, value: float, unit: str, source: str, reason: str = "", margin: float = float("nan")
) -> Outcome:
    verdict = SUPPORTED if holds else CONTRADICTED
    return Outcome(verdict, reason, value, value, value, unit, margin=margin, runs=source)


def _order(check: Counts, counts: Mapping[str, int], source: str) -> Outcome:
    """Every step in the right direction; the estimate is the ratio of the last to the first."""
    values = [counts[name] for name in check.count]
    steps = list(zip(values, values[1:], strict=False))
    holds = all(a < b for a, b in steps) if check.order == "rises" else all(a > b for a, b in steps)
    shown = f"{check.metric} {', '.join(f'{value:,}' for value in values)}"
    return _exact(holds, values[-1] / values[0], "ratio of the last to the first", source, shown, 1.0)


def _ratio(check: Ratio, counts: Mapping[str, int], source: str) -> Outcome:
    base = counts[check.without] if check.without else 0
    top, bottom = (counts[name] - base for name in check.ratio)
    shown = f"{check.metric} {top:,} / {bottom:,}"
    margin = check.at_most if check.at_most is not None else check.at_least
    return _exact(within(top / bottom, check.at_least, check.at_most), top / bottom, "ratio", source, shown, margin)


def _extra(check: Extra, counts: Mapping[str, int], source: str) -> Outcome:
    top, bottom = (counts[name] for name in check.extra)
    holds = within(top - bottom, check.at_least, check.at_most)
    return _exact(holds, top - bottom, check.metric, source, f"{check.metric} {top:,} - {bottom:,}", check.at_most)


def _from_record(check: Identity | Counted, path: Path) -> Outcome:
    if not path.is_file():
        return not_tested(f"{path} is missing; run python -m benchmarks.identities")
    record = read_json(path)
    kind, name = ("identities", check.identity) if isinstance(check, Identity) else ("counts", check.counted)
    entry = next((entry for entry in record.get(kind, []) if entry.get("name") == name), None)
    if entry is None:
        return not_tested(f"{path} has no {name}; run python -m benchmarks.identities")
    if isinstance(check, Counted):
        value = entry["value"]
        return _exact(
            within(value, check.at_least, check.at_most), value, "share", str(path), entry["says"], check.at_least
        )
    worst = max(entry["errors"], key=lambda precision: entry["errors"][precision] / entry["bounds"][precision])
    holds = entry["errors"][worst] <= entry["bounds"][worst]
    shown = f"{entry['test']}: {', '.join(f'{kind} {error:.1e}' for kind, error in entry['errors'].items())}"
    return _exact(holds, entry["errors"][worst], f"relative error, {worst}", str(path), shown, entry["bounds"][worst])
