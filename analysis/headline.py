"""The ledger's counts in words, and the generated parts of README.md that hold them.

README.md has two parts between markers, `<!-- counts -->` ... `<!-- /counts -->` and the same with `measured`; nothing
in them is typed by hand.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from analysis import ledger, proxies
from analysis.evidence import VERDICTS
from plugins.suite.errors import UserError
from plugins.suite.files import read_json, read_text, write_text

HOW = {
    "exact": "counted or proved at the papers' own sizes",
    "timing": "timed in turns on one machine",
    "printed": "decidable from the papers' printed tables",
    "mini": "needing training, at `mini`",
    "small": "needing training, at `small`",
    "paper": "needing training, at `paper`",
}
MEASURED = {
    "build_s": ("building the environment from a warm package cache", "min", 60),
    "plan_core_s": ("the runs of plan mini-1, one core", "h", 3600),
    "disk_gb": ("disk for the environment", "GB", 1),
    "peak_memory_gb": ("peak memory of two runs at once", "GB", 1),
}
NOT_MEASURED = "not measured"


def numbers(counts: Mapping[str, int]) -> str:
    """ "61 supported, 3 contradicted", in the order of VERDICTS."""
    return ", ".join(f"{counts[verdict]} {verdict}" for verdict in VERDICTS if counts.get(verdict))


def verdicts(table: pd.DataFrame) -> dict[str, int]:
    """{verdict: rows}."""
    return {verdict: int((table["verdict"] == verdict).sum()) for verdict in VERDICTS}


def summary(table: pd.DataFrame) -> str:
    """The ledger in one sentence."""
    claims = table[["study", "claim"]].drop_duplicates()
    parts = table[["study", "claim", "part"]].drop_duplicates()
    decided = ledger.decided(table)[["study", "claim", "part"]].drop_duplicates()
    papers = table["study"].nunique()
    of = f"{papers} paper{'' if papers == 1 else 's'}"
    return f"{len(claims)} claims of {of}, {len(parts)} parts, {len(decided)} of them decided."


def by_level(table: pd.DataFrame) -> list[str]:
    """One line a level of evidence: "64 parts counted or proved at the papers' own sizes: 61 supported, ..."."""
    lines = []
    for level, how in HOW.items():
        rows = table[table["level"] == level]
        if len(rows):
            lines.append(f"{len(rows)} {'part' if len(rows) == 1 else 'parts'} {how}: {numbers(verdicts(rows))}")
    return lines


def sentences(table: pd.DataFrame, proxy: pd.DataFrame) -> list[str]:
    """The lines below the summary: verdicts by level, then how far each scale orders arms as the papers do."""
    return [*by_level(table), *proxies.in_words(proxy)]


def counts_part(table: pd.DataFrame, proxy: pd.DataFrame) -> str:
    """What stands between README's `counts` markers."""
    return "\n".join([f"**{summary(table)}**", "", *(f"- {line}" for line in sentences(table, proxy))])


def measured(path: Path) -> dict[str, str]:
    """{what: value with unit} of a measured.json; what it lacks, or a file that is not there, is "not measured"."""
    values = read_json(path) if path.is_file() else {}
    unknown = sorted(set(values) - {*MEASURED, "machine"})
    if unknown:
        raise UserError(f"{path}: unknown key '{unknown[0]}'; known are {', '.join(MEASURED)} and machine")
    shown = {}
    for key, (what, unit, divisor) in MEASURED.items():
        value = values.get(key)
        if value is not None and (isinstance(value, bool) or not isinstance(value, int | float) or not value > 0):
            raise UserError(f"{path}: {key}: {value!r} is not a number above 0")
        shown[what] = NOT_MEASURED if value is None else f"{value / divisor:.3g} {unit}"
    return shown | {"machine": str(values.get("machine", NOT_MEASURED))}


def measured_part(path: Path) -> str:
    """What stands between README's `measured` markers."""
    values = measured(path)
    machine = values.pop("machine")
    line = "; ".join(f"{what}: {value}" for what, value in values.items())
    return f"Measured{'' if machine == NOT_MEASURED else f' on {machine}'}: {line}."


def filled(text: str, parts: Mapping[str, str], source: str = "README.md") -> str:
    """`text` with new content between the markers of each part. UserError where a pair of markers is missing."""
    for name, content in parts.items():
        start, end = f"<!-- {name} -->\n", f"\n<!-- /{name} -->"
        head, opened, rest = text.partition(start)
        _, closed, tail = rest.partition(end)
        if not opened or not closed:
            raise UserError(f"{source}: the markers {start.strip()} and {end.strip()} are missing; put them back")
        text = head + start + content + end + tail
    return text


def update(readme: Path, table: pd.DataFrame, proxy: pd.DataFrame, measurements: Path) -> bool:
    """Writes the generated parts of a README anew; returns whether anything changed."""
    before = read_text(readme)
    parts = {"counts": counts_part(table, proxy), "measured": measured_part(measurements)}
    after = filled(before, parts, str(readme))
    if after != before:
        write_text(readme, after)
    return after != before


def table_rows(table: pd.DataFrame) -> Sequence[tuple[str, list[int]]]:
    """(level, rows by verdict) of the levels that there are, for a small table."""
    counted = ledger.counts(table)
    return [(level, [int(number) for number in counted.loc[level]]) for level in counted.index]
