"""Interleaved timings with their intervals: records of benchmarks/results and of results/<where>/timing.

A record is one JSON mapping: {name, machine, arms: {arm: {median_s, low, high, turns}}, ratio, ratio_low, ratio_high},
where `ratio` is of the medians of two of its arms with the interval over turns. A file may hold a list of them. A
number without an interval is no evidence.
"""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from analysis.evidence import CONTRADICTED, SUPPORTED, UNDECIDED, Outcome, not_tested
from plugins.suite.claims import Faster, NotTested, Part
from plugins.suite.errors import UserError
from plugins.suite.files import read_json

FOLDERS = (Path("benchmarks/results"), Path("results/published/timing"))
KEYS = ("name", "machine", "arms", "ratio", "ratio_low", "ratio_high")
AGREES = 0.02  # a ratio is that of two medians where it differs by no more


def load(folders: Sequence[Path] = FOLDERS) -> list[dict]:
    """All timing records with an interval, in the order of folders and names; other benchmark files are passed over."""
    records = []
    for path in (path for folder in folders for path in sorted(folder.glob("*.json"))):
        content = read_json(path)
        for record in content if isinstance(content, list) else [content]:
            if isinstance(record, Mapping) and all(key in record for key in KEYS):
                records.append(_checked(record, path) | {"path": str(path)})
    return records


def _checked(record: Mapping, path: Path) -> dict:
    low, ratio, high = (record[key] for key in ("ratio_low", "ratio", "ratio_high"))
    if not all(isinstance(value, int | float) and math.isfinite(value) and value > 0 for value in (low, ratio, high)):
        raise UserError(f"{path}: {record['name']}: ratio, ratio_low and ratio_high must be finite and above 0")
    if not low <= ratio <= high:
        raise UserError(f"{path}: {record['name']}: ratio {ratio} is outside its interval [{low}, {high}]")
    return dict(record)


def judge(part: Part, records: list[dict]) -> Outcome:
    """The verdict on a timing part, from the latest record of that name that holds both arms."""
    check = part.check
    if isinstance(check, NotTested):
        return not_tested(check.not_tested)
    hits = [
        record
        for record in records
        if record["name"] == check.record and {check.faster, check.than} <= set(record["arms"])
    ]
    for record in reversed(hits):
        interval = _interval(check, record)
        if interval:
            return _conclude(check, record, *interval)
    return not_tested(f"no record '{check.record}' of {check.faster} beside {check.than} with an interval")


def _interval(check: Faster, record: Mapping) -> tuple[float, float, float] | None:
    """(ratio, low, high) of the slower's time over the faster's; None where the record's ratio is of other arms."""
    ratio, low, high = record["ratio"], record["ratio_low"], record["ratio_high"]
    wanted = record["arms"][check.than]["median_s"] / record["arms"][check.faster]["median_s"]
    if abs(ratio / wanted - 1) <= AGREES:
        return ratio, low, high
    if abs(1 / ratio / wanted - 1) <= AGREES:
        return 1 / ratio, 1 / high, 1 / low
    return None


def _conclude(check: Faster, record: Mapping, ratio: float, low: float, high: float) -> Outcome:
    verdict = SUPPORTED if low > check.at_least else CONTRADICTED if high < check.at_least else UNDECIDED
    turns = min(int(record["arms"][arm]["turns"]) for arm in (check.faster, check.than))
    return Outcome(
        verdict,
        f"on {record['machine']}",
        ratio,
        low,
        high,
        f"times as fast, {turns} turns",
        margin=check.at_least,
        runs=record["path"],
    )
