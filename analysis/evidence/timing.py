"""Interleaved timings with their intervals: records of benchmarks/results and of folders that are named.

A record is one mapping: {name, machine, arms: {arm: {median_s, low, high, turns}}, of, against, ratio, ratio_low,
ratio_high}, where `ratio` is the time of `against` over that of `of`, turn by turn, with its interval. A file may hold
a list of them. A number without an interval is no evidence.
"""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from analysis.evidence import CONTRADICTED, SUPPORTED, UNDECIDED, Outcome, not_tested
from plugins.suite.claims import Faster, NotTested, Part
from plugins.suite.errors import UserError
from plugins.suite.files import read_json

FOLDERS = (Path("benchmarks/results"), Path("results/published/timing"))
KEYS = ("name", "machine", "arms", "of", "against", "ratio", "ratio_low", "ratio_high")


def load(folders: Sequence[Path] = FOLDERS) -> list[dict]:
    """All timing records with an interval, in the order of folders and names; other benchmark files are passed over."""
    records = []
    for path in (path for folder in folders for path in sorted(folder.rglob("*.json"))):
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
    """The verdict on a timing part, from the last record of that name that compares the two."""
    check = part.check
    if isinstance(check, NotTested):
        return not_tested(check.not_tested)
    for record in reversed([record for record in records if record["name"] == check.record]):
        ratio, low, high = record["ratio"], record["ratio_low"], record["ratio_high"]
        if (record["of"], record["against"]) == (check.faster, check.than):
            return _conclude(check, record, ratio, low, high)
        if (record["of"], record["against"]) == (check.than, check.faster):
            return _conclude(check, record, 1 / ratio, 1 / high, 1 / low)
    return not_tested(f"no record '{check.record}' of {check.faster} beside {check.than} with an interval")


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
