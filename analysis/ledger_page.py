"""The page of the ledger, one file that can be mailed: verdicts, their evidence, the runs behind them, figures.

Everything is rendered here, so that the page reads without its script; the script searches, sorts and filters. Data are
not trusted: the template escapes whatever it is given.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from analysis import arms, details, drawings, headline, ledger, pages, runs, scan
from analysis.arms import ArmSummary
from analysis.commands.report import Figure
from analysis.evidence import DECIDED, NOT_TESTED, VERDICTS
from analysis.results import ARMS, RUNS
from plugins.suite.claims import Claim, Claims, Part
from plugins.suite.files import read_text

GATE = re.compile(r"(\w+)=(pass|fail)\((.*?)\)(?=; \w+=(?:pass|fail)\(|$)")
SPEC_BYTES = 20_000


@dataclass(frozen=True)
class Run:
    """One set of a scale's runs.csv, as its section shows it."""

    anchor: str
    name: str
    scale: str
    status: str
    error: str
    stale: str
    numbers: list[tuple[str, str]]
    facts: list[tuple[str, str]]
    again: str
    command: str
    spec: str
    curves: list[drawings.Curve]


@dataclass(frozen=True)
class Line:
    """One row of the ledger, as the page shows it."""

    anchor: str
    row: Mapping
    estimate: str
    published: str
    lanes: list[drawings.Lane]
    facts: list[tuple[str, str]]
    gates: list[tuple[str, bool, str]]
    arms: list[ArmSummary]
    runs: list[tuple[str, Run | None]]
    claim: Claim | None


@dataclass(frozen=True)
class Evidence:
    """What a folder holds beside its ledger: runs by (scale, name), arms by (scale, study), figures by study."""

    runs: Mapping[tuple[str, str], Run]
    arms: Mapping[tuple[str, str], list[ArmSummary]]
    figures: Mapping[str, list[Figure]]


# --- reading ----------------------------------------------------------------------------------------------------------
def scale_folders(folder: Path) -> list[Path]:
    """The folders of one scale each that a ledger's folder covers: itself, or those below results/published."""
    return [folder] if (folder / "tables").is_dir() else sorted(path.parent for path in folder.glob("*/tables"))


def evidence(folder: Path) -> Evidence:
    """The runs, arms and figures beside a ledger. UserError for a table that cannot be read."""
    known_runs, known_arms, figures = {}, {}, {}
    for scale in scale_folders(folder):
        for path in sorted(scale.glob(f"tables/*/{RUNS}")):
            for run in runs_of(path):
                known_runs[run.scale, run.name] = run
        for path in sorted(scale.glob(f"tables/*/{ARMS}")):
            for arm in arms.read(path):
                known_arms.setdefault((arm.scale, arm.study), []).append(arm)
        for path in sorted([*scale.glob("figures/*/*.png"), *scale.glob("pictures/*/*.png")]):
            caption = caption_of(path.stem)
            if caption:
                figures.setdefault(path.parent.name, []).append(
                    Figure(f"{path.stem.replace('_', ' ')}, {scale.name}", path, caption)
                )
    return Evidence(known_runs, known_arms, figures)


def caption_of(name: str) -> str:
    """What stands below a figure of that file name; "" where no module draws it."""
    captions = {key: entry.constants["CAPTION"] for key, entry in scan.entries(scan.FIGURES).items()}
    return captions.get(name) or captions.get(name.rpartition("_")[0], "")


def runs_of(path: Path) -> Iterable[Run]:
    """The runs of a runs.csv, each once."""
    frame = runs.read_runs(path).drop_duplicates("run")
    known = details.beside(path)
    for row in frame.to_dict("records"):
        yield run_of(row, known.get(row["run"], {}))


def run_of(row: Mapping, kept: Mapping) -> Run:
    """One row of runs.csv with the details of its run."""
    scale, name = row["scale"], row["run"]
    own = {key: value for key, value in row.items() if _there(value)}
    numbers = [
        (key.removeprefix("metrics."), _number(own[key])) for key in own if key.startswith(("metrics.", "losses."))
    ]
    folder = Path(row["path"]).parent if row["path"] else Path("results/runs", scale, name)
    facts = {
        "arm": f"{row['ablation']}/{row['arm']}",
        "seed": row["seed"],
        "commit": own.get("provenance.commit"),
        "uncommitted changes": "yes" if str(own.get("provenance.dirty")).lower() in ("true", "1", "1.0") else None,
        "data": f"{own['data.name']} ({own.get('data.checksum', '')[:16]})" if "data.name" in own else None,
        "parameters": _count(own.get("cost.params")),
        "multiply-adds of one example": _count(own.get("cost.macs")),
        "seconds, all": _number(own.get("wall_s.total")),
        "device": own.get("provenance.device"),
        "threads": own.get("provenance.threads"),
        "started": own.get("provenance.started"),
        "recipe digest": own.get("provenance.spec_sha256"),
        "sources digest": own.get("provenance.sources_sha256"),
        "log": folder / "train.log",
    }
    again = f"snakemake --cores 1 results/runs/{scale}/{name}/metrics.json"
    return Run(
        f"run-{scale}-{slug(name)}",
        name,
        scale,
        row["status"],
        row["error"],
        row["stale"],
        numbers,
        [(key, str(value)) for key, value in facts.items() if value is not None],
        again,
        own.get("provenance.command", ""),
        spec_text(folder / "spec.yaml"),
        drawings.curves(kept.get("curve")),
    )


def spec_text(path: Path) -> str:
    """The resolved recipe that a run left, if its folder is there."""
    return read_text(path)[:SPEC_BYTES] if path.is_file() else ""


def slug(name: str) -> str:
    """A name as part of an anchor."""
    return re.sub(r"[^A-Za-z0-9]+", "-", name).strip("-")


def _there(value: object) -> bool:
    return value is not None and value == value and value != ""


def _number(value: object) -> str | None:
    return f"{value:.4g}" if isinstance(value, int | float) else value


def _count(value: object) -> str | None:
    return None if value is None else f"{float(value):,.0f}"


# --- the page ---------------------------------------------------------------------------------------------------------
def lines_of(table: pd.DataFrame, known: Mapping[str, Claims], there: Evidence) -> list[Line]:
    """The rows of the ledger with all that hangs on them: decided ones first, then the undecided, then the rest."""
    parts = {
        (study, claim.id, part.id): (claim, part) for study, content in known.items() for claim, part in content.parts()
    }
    first = {verdict: (verdict not in DECIDED) + (verdict == NOT_TESTED) for verdict in VERDICTS}
    rows = sorted(table.to_dict("records"), key=lambda row: first[row["verdict"]])
    return [_line(row, *parts.get(_key(row), (None, None)), known, there) for row in rows]


def _key(row: Mapping) -> tuple[str, int, str]:
    return row["study"], row["claim"], row["part"]


def _line(row: Mapping, claim: Claim | None, part: Part | None, known: Mapping[str, Claims], there: Evidence) -> Line:
    names = row["runs"].split() if row["level"] in ledger.SCALES else []
    facts = {
        "metric": row["metric"],
        "estimate": ledger.estimate_text(row) + (f" {row['unit']}" if row["unit"] else ""),
        "published": row["published"],
        "published effect": _number(row["published_effect"]),
        "share of the reference effect": _number(row["share_of_reference"]),
        "margin": _number(row["margin"]),
        "least effect that 80 % power shows": _number(row["mde"]),
        "seeds": row["n_seeds"] or None,
        "test items": row["n_items"] or None,
        "standard error from seeds": _number(row["se_seed"]),
        "standard error from items": _number(row["se_item"]),
        "degrees of freedom": _number(row["df"]),
        "p of a reversal (Holm)": _number(row["p_holm"]),
        "checks": row["checks"],
        "data": row["data"],
        "plan": row["plan"],
        "commit": row["commit"],
        "record": row["runs"] if not names else "",
        "note": claim.note if claim else "",
    }
    return Line(
        slug(f"{row['study']}-{row['claim']}{row['part']}-{row['level']}"),
        row,
        ledger.estimate_text(row),
        "" if math.isnan(row["published_effect"]) else f"{row['published_effect']:.4g}",
        drawings.lanes(row, part.check if part else None),
        [(key, str(value)) for key, value in facts.items() if _there(value) and value != "nan"],
        [(name, state == "pass", value) for name, state, value in GATE.findall(row["gates"])],
        arms_of(row, part, known, there),
        [(name, there.runs.get((row["scale"], name))) for name in names],
        claim,
    )


def arms_of(row: Mapping, part: Part | None, known: Mapping[str, Claims], there: Evidence) -> list[ArmSummary]:
    """The summaries of the arms that a trained part is about."""
    summaries = there.arms.get((row["scale"], row["study"]), []) if row["level"] in ledger.SCALES and part else []
    wanted = {known[row["study"]].at(arm, row["scale"]) for arm in part.arms()} if summaries else set()
    return [arm for arm in summaries if f"{arm.ablation}/{arm.arm}" in wanted]


def html(
    table: pd.DataFrame,
    proxy: pd.DataFrame,
    known: Mapping[str, Claims],
    there: Evidence,
    forests: Sequence[Figure],
    title: str,
) -> str:
    """The whole page. `proxy`: see `analysis.proxies`."""
    choices = {key: list(dict.fromkeys(table[key])) for key in ("study", "level")}
    present = set(table["verdict"])
    return pages.render(
        "ledger.html",
        title=title,
        summary=headline.summary(table),
        sentences=headline.sentences(table, proxy),
        verdicts=VERDICTS,
        counted=headline.table_rows(table),
        choices={**choices, "verdict": [verdict for verdict in VERDICTS if verdict in present]},
        lines=lines_of(table, known, there),
        runs=list(there.runs.values()),
        forests=forests,
        figures=there.figures,
        width=drawings.WIDTH,
    )
