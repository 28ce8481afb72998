"""One claim, arm or run by its name, with all that there is of it in the published results and in this checkout's own.

muse:5, muse:5a            a claim, or one part of it
muse/branches/muse         an arm
muse/branches/muse/seed1   a run
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from analysis import ledger, runs, sets, text
from analysis.arms import ArmSummary
from analysis.sets import ResultSet
from plugins.suite import catalog, claims, freshness
from plugins.suite.errors import UserError
from plugins.suite.files import nearest

CLAIM = re.compile(r"([a-z][a-z0-9_]*):([0-9]+)([a-z]{0,2})", re.ASCII)
RUN = re.compile(r"(.+)/seed([0-9]+)", re.ASCII)
FORMS = "a claim such as muse:5 or muse:5a, an arm <study>/<ablation>/<arm>, or a run with /seed<k> behind it"


@dataclass(frozen=True)
class ArmName:
    """An arm of the suite, and the arm whose folder holds its runs."""

    study: str
    ablation: str
    arm: str
    home: tuple[str, str]

    @property
    def folder(self) -> str:
        """study/ablation/arm of its runs."""
        ablation, arm = self.home
        return f"{self.study}/{ablation}/{catalog.slug(arm)}"


def show(name: str, results: Path = Path("results")) -> str:
    """What there is of a name, as text. UserError for one that is not there, with the nearest that is."""
    claim = CLAIM.fullmatch(name)
    if claim:
        return show_claim(claim[1], int(claim[2]), claim[3], results)
    run = RUN.fullmatch(name)
    if name.count("/") < 2:
        raise UserError(f"'{name}' is no name of a thing to show; give {FORMS}")
    arm = arm_named(run[1] if run else name)
    return show_run(arm, int(run[2]), results) if run else show_arm(arm, results)


def arm_named(name: str) -> ArmName:
    """The arm of <study>/<ablation>/<arm>, the arm by its name or folder. UserError with the nearest name."""
    study, ablation, arm = name.split("/", 2)
    known = catalog.ablations(study)
    names = [f"{each}/{one}" for each, content in known.items() for one in content.arms]
    for each in known[ablation].arms if ablation in known else ():
        if arm in (each, catalog.slug(each)):
            return ArmName(study, ablation, each, catalog.home(study, ablation, each))
    raise UserError(f"no arm '{ablation}/{arm}' in {study}{nearest(f'{ablation}/{arm}', names)}")


# --- claims -----------------------------------------------------------------------------------------------------------
def show_claim(study: str, number: int, part: str, results: Path) -> str:
    """A claim with its parts, or one part: verdict, estimate, interval, n, gates and runs of every level."""
    known = claims.check_all()
    if study not in known:
        raise UserError(f"no study '{study}' with claims{nearest(study, known)}")
    claim = next((each for each in known[study].claims if each.id == number), None)
    if claim is None:
        raise UserError(f"no claim {number} in {study}; it has {_range([each.id for each in known[study].claims])}")
    ids = [each.id for each in claim.parts]
    if part and part not in ids:
        raise UserError(f"no part {part} in claim {study}:{number}; it has {', '.join(ids)}")
    blocks = [f"{study}:{number}  {claim.says}\n  published: {claim.published}"]
    tables = ledgers(results)
    for each in claim.parts:
        if part in ("", each.id):
            blocks.append(f"{number}{each.id}. {each.says}")
            blocks += [
                part_text(row, place)
                for place, table in tables
                for row in table[
                    (table["study"] == study) & (table["claim"] == number) & (table["part"] == each.id)
                ].to_dict("records")
            ]
    return "\n".join(blocks)


def _range(ids: Sequence[int]) -> str:
    whole = list(range(min(ids), max(ids) + 1))
    return f"{ids[0]} to {ids[-1]}" if list(ids) == whole else ", ".join(map(str, ids))


def ledgers(results: Path) -> list[tuple[str, pd.DataFrame]]:
    """(where it stands, table): published ledgers, then the trained rows of this checkout's own; judged now where there
    are runs and no ledger, or nothing at all."""
    tables = []
    published = [results / "published" / sets.LEDGER]
    if not published[0].is_file():
        published = [results / "published" / scale / sets.LEDGER for scale in ledger.SCALES]
    tables = [(str(path), ledger.read(path)) for path in published if path.is_file()]
    for scale in ledger.SCALES:
        path = results / scale / sets.LEDGER
        if path.is_file():
            table = ledger.read(path)
            tables.append((str(path), table[table["level"] == scale] if tables else table))
    if tables:
        return tables
    judged = [(result, result.verdicts) for result in sets.present(results)]
    untrained = ledger.build(ledger.Sources())
    done = {result.scale for result, _ in judged}
    rest = (
        "judged now, no ledger is written",
        untrained[~untrained["scale"].isin(done) | (untrained["level"] == "exact")],
    )
    return [rest, *((f"{result.path}, judged now", table) for result, table in judged)]


def part_text(row: Mapping, place: str) -> str:
    """One row of the ledger as a paragraph."""
    lines = [f"  {row['level']}: {row['verdict']}" + (f": {row['reason']}" if row["reason"] else "")]
    lines[0] += f"   ({place})"
    if row["arms"]:
        lines.append(f"    asks: {row['arms']}")
    estimate = ledger.estimate_text(row)
    if estimate:
        lines.append(f"    estimate: {estimate} {row['unit']}".rstrip())
    if row["n_seeds"]:
        items = f", {row['n_items']:.0f} items" if row["n_items"] else ""
        mde = "" if math.isnan(row["mde"]) else f"; smallest effect that it would show: {row['mde']:.3g}"
        lines.append(f"    n: {row['n_seeds']:.0f} seeds{items}{mde}")
    if not math.isnan(row["published_effect"]):
        lines.append(f"    published effect: {row['published_effect']:.4g}")
    for key in ("gates", "plan", "data", "commit", "runs"):
        if row[key]:
            lines.append(f"    {key}: {row[key]}")
    return "\n".join(lines)


# --- arms -------------------------------------------------------------------------------------------------------------
def show_arm(name: ArmName, results: Path) -> str:
    """An arm in every set that has runs of it."""
    lines = [f"{name.study}/{name.ablation}/{name.arm}"]
    if name.home != (name.ablation, name.arm):
        lines.append(f"  shares the runs of {name.folder}")
    for result in sets.present(results):
        arm = next(
            (arm for arm in result.arms(name.study) if (arm.ablation, arm.arm) == (name.ablation, name.arm)), None
        )
        if arm is not None:
            lines += arm_lines(arm, result)
    if len(lines) <= 2 and not any(line.startswith("  scale") for line in lines):
        lines.append(f"  no run of it in {results}/published or {results}; make one: {command_for(name, 1)}")
    return "\n".join(lines)


def arm_lines(arm: ArmSummary, result: ResultSet) -> list[str]:
    """An arm in one set: mean, interval, seeds, difference to the baseline, cost, data, commit, freshness, runs."""
    lines = [f"  scale {arm.scale}   ({result.path})"]
    states = ", ".join(f"{getattr(arm, state)} {state}" for state in runs.STATES if getattr(arm, state))
    if not arm.n:
        return [*lines, f"    no finished run: {states}"]
    interval = f" [{text.number(arm.low)}, {text.number(arm.high)}]" if arm.has_interval else ", no interval"
    seeds = f"{arm.n} seed{'s' * (arm.n > 1)} ({' '.join(map(str, arm.seeds))})"
    lines.append(f"    {text.metric_label(arm.metric)}: {text.number(arm.mean)}{interval}, {seeds}")
    if not math.isnan(arm.sd):
        lines.append(f"    sd over seeds: {text.number(arm.sd)}; judged by: {arm.method}")
    if arm.has_difference:
        difference = text.with_interval(arm.difference, arm.difference_low, arm.difference_high)
        lines.append(f"    difference to the baseline: {difference}")
    elif not arm.baseline:
        lines.append(f"    difference to the baseline: none: {arm.reason}")
    seconds = [
        float(value["wall_s"].get("total") or 0)
        for value in result.values
        if runs.name_of(value).rpartition("/")[0] == arm.run
    ]
    took = f", {sum(seconds) / len(seconds):.0f} s a run" if seconds and sum(seconds) else ""
    lines.append(f"    cost: {arm.params:.4g} parameters, {arm.macs:.4g} multiply-adds an example{took}")
    lines += [
        f"    data: {arm.data}",
        f"    commit: {arm.commit}",
        f"    {'stale: ' + arm.stale if arm.stale else 'fresh'}",
    ]
    lines.append(f"    runs: {states}: {' '.join(f'{arm.run}/seed{seed}' for seed in arm.seeds)}")
    return [*lines, *(f"    failed: {error}" for error in arm.errors)]


def command_for(name: ArmName, seed: int) -> str:
    """What makes one run of an arm, at the smallest scale that it is meant for."""
    ablation = catalog.ablations(name.study)[name.ablation]
    scale = next((each for each in ledger.SCALES if catalog.has_recipe(name.study, ablation, each)), "paper")
    return f"snakemake --cores 2 results/runs/{scale}/{name.folder}/seed{seed}/metrics.json"


# --- runs -------------------------------------------------------------------------------------------------------------
def show_run(name: ArmName, seed: int, results: Path) -> str:
    """A run in every set that has it. UserError where none has."""
    run, blocks = f"{name.folder}/seed{seed}", []
    for result in sets.present(results):
        value = value_of(result, run)
        if value is not None:
            blocks.append("\n".join([f"{run}   ({result.place(run)})", *run_lines(value)]))
    if not blocks:
        where = f"{results}/published or {results}/runs"
        raise UserError(f"{run}: no finished run of it in {where}; make it: {command_for(name, seed)}")
    return "\n".join(blocks)


def value_of(result: ResultSet, run: str) -> dict | None:
    """The metrics of a run, study/ablation/arm/seed<k>; None where the set has none."""
    return next((value for value in result.values if runs.name_of(value) == run), None)


def run_lines(value: Mapping) -> list[str]:
    """Metrics, settings, digests, commit and command of one run."""
    provenance, data = value["provenance"], value["data"]
    stale = freshness.staleness(value)
    seconds = float(value["wall_s"].get("total") or 0)
    lines = [
        f"scale: {value['scale']}",
        f"metrics: {_pairs(value['metrics'])} (primary: {value['primary']})",
        f"losses: {_pairs(value['losses'])}",
        f"cost: {_pairs({key: value['cost'].get(key) for key in ('params', 'macs')})}; {seconds:.0f} s",
        f"settings: {_pairs(value['settings'])}",
        f"spec: {provenance['spec_sha256']}, {same_spec(value)}",
        f"sources: {provenance['sources_sha256']}",
        f"data: {data['name']}, checksum {str(data['checksum'])[:16]}, generator {data['generator']}",
        f"commit: {provenance['commit']}{' with uncommitted changes' if provenance['dirty'] else ''}",
        f"machine: {provenance['device']}, {provenance['threads']} threads, {provenance['started']}",
        f"command: {provenance['command']}",
        f"stale: {stale}" if stale else "fresh: this checkout would make the same",
    ]
    return [f"  {line}" for line in lines]


def _pairs(values: Mapping) -> str:
    return ", ".join(f"{key} {_plain(value)}" for key, value in values.items())


def _plain(value: object) -> str:
    return f"{value:.6g}" if isinstance(value, float) else value if isinstance(value, str) else json.dumps(value)


def same_spec(value: Mapping) -> str:
    """Whether the recipe of a run is that of this checkout."""
    try:
        spec = catalog.resolve(*(value[key] for key in runs.IDENTITY))
    except UserError as problem:
        return f"which this checkout cannot resolve ({problem})"
    same = value["provenance"]["spec_sha256"] == catalog.digest(spec)
    return "as in this checkout" if same else f"another than this checkout's {catalog.digest(spec)}"
