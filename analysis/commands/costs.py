"""Costs at paper size beside the printed ones, without training.

`plugins.runner.cost` builds every arm and every model of the papers' tables on the meta device, in a process of its
own, and counts; here its records meet the printed numbers of reference.csv. A record holds

    study, model, arm, scale, params, macs, convention, printed_params_m, printed_flops_g, source, note

`params` and `macs` (multiply-adds) are ours; null where a row is not built, with the reason in `note`. The printed
numbers are in the print's own convention, which `convention` says. Nothing is filled in: null is not printed.
"""

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from analysis import options, reference, text
from analysis.reference import Reference
from plugins.suite import catalog
from plugins.suite.errors import UserError
from plugins.suite.files import nearest, write_json, write_text

NAME = "cost"
HELP = "count parameters and multiply-adds at paper size beside the printed ones"

UNITS = {"count": 1, "": 1, "M": 1e6, "G": 1e9}
PARAMS, FLOPS = ("params", "cost.params"), ("flops", "cost.macs")
CONVENTIONS = {1: "one multiply-add = 1 FLOP", 2: "one multiply-add = 2 FLOPs"}
HEADER = ["model", "params (M)", "printed", "difference", "GMACs", "printed GFLOPs", "difference", "note"]


def add_arguments(parser) -> None:
    options.study(parser)
    parser.add_argument("--scale", default="paper", choices=["mini", "small", "paper"], help="recipes of this scale")
    parser.add_argument("--json", type=Path, help="also write the records there")
    parser.add_argument("--markdown", type=Path, help="also write the tables there")


def run(args) -> int:
    """Prints a table a study; returns 0. Raises UserError."""
    known = catalog.studies()
    if args.study and args.study not in known:
        raise UserError(f"--study {args.study}: no such study{nearest(args.study, known)}")
    records, tables = [], []
    for study in [args.study] if args.study else known:
        of_study = study_records(study, counted(study, args.scale), args.scale)
        records += of_study
        tables.append(f"## {study}\n\n{table(of_study)}")
        print(tables[-1], flush=True)
    if args.json:
        write_json(args.json, records)
    if args.markdown:
        write_text(args.markdown, "# Costs at paper size, ours beside the printed ones\n\n" + "\n".join(tables))
    return 0


def counted(study: str, scale: str) -> list[dict]:
    """What plugins.runner.cost says of a study. Raises UserError with its own line when it fails."""
    call = [sys.executable, "-m", "plugins.runner.cost", "--study", study, "--scale", scale]
    done = subprocess.run(call, capture_output=True, text=True, check=False)
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if line.strip()]
        errors = [line for line in lines if line.startswith("error: ")] or lines[-1:] or ["no message"]
        raise UserError(f"{study}: {errors[-1].removeprefix('error: ')}")
    return json.loads(done.stdout)


def study_records(study: str, counts: list[dict], scale: str) -> list[dict]:
    """The records of a study: arms first, then the rows of its model tables in the order of models.yaml."""
    references = reference.load(catalog.EXPERIMENTS, study)
    by_arm = [
        _record(study, scale, count, {}, _rows_of_arm(references, count["arm"])) for count in counts if count["arm"]
    ]
    if scale != "paper":
        return by_arm
    built = {count["model"]: count for count in counts if not count["arm"]}
    return by_arm + [
        _record(study, scale, built.get(entry["model"]), entry, _rows_of_entry(references, entry, study))
        for entry in catalog.model_entries(study)
    ]


def _rows_of_arm(references: list[Reference], arm: str) -> list[Reference]:
    return [row for row in references if f"{row.ablation}/{row.arm}" == arm]


def _rows_of_entry(references: list[Reference], entry: Mapping, study: str) -> list[Reference]:
    wanted = entry.get("printed")
    if not wanted:
        return []
    rows = [row for row in references if all(getattr(row, key) == value for key, value in wanted.items())]
    if not any(row.metric in PARAMS + FLOPS for row in rows):
        raise UserError(
            f"experiments/{study}/models.yaml: {entry['model']}: no params or flops in reference.csv for {dict(wanted)}"
        )
    return rows


def _printed(rows: list[Reference], metrics: tuple[str, ...], scale: float) -> float | None:
    for row in rows:
        if row.metric in metrics and not row.unread:
            return round(row.value * UNITS[row.unit] / scale, 6)
    return None


def _record(study: str, scale: str, count: Mapping | None, entry: Mapping, rows: list[Reference]) -> dict:
    convention = CONVENTIONS[entry.get("flops_per_mac", 1)]
    if "attention_products" in entry.get("leaves_out", []):
        convention += ", without the two attention products"
    sources = [f"{row.table}: {row.source}" for row in rows if row.metric in PARAMS + FLOPS]
    return {
        "study": study,
        "model": count["model"] if count else entry["model"],
        "arm": count["arm"] if count else "",
        "scale": scale,
        "params": count["params"] if count else None,
        "macs": count["macs"] if count else None,
        "convention": convention,
        "printed_params_m": _printed(rows, PARAMS, 1e6),
        "printed_flops_g": _printed(rows, FLOPS, 1e9),
        "source": sources[0] if sources else "",
        "note": entry.get("note", ""),
    }


def difference(ours: float | None, printed: float | None) -> float | None:
    """Ours over printed, minus one; None where either is missing."""
    return None if ours is None or not printed else ours / printed - 1


def flops(record: Mapping) -> float | None:
    """Our multiply-adds in the print's convention, in G."""
    factor = 2 if record["convention"].startswith(CONVENTIONS[2]) else 1
    return None if record["macs"] is None else record["macs"] * factor / 1e9


def table(records: list[dict]) -> str:
    """Markdown; differences in per cent of the printed number."""
    rows = []
    for record in records:
        params = None if record["params"] is None else record["params"] / 1e6
        macs = None if record["macs"] is None else record["macs"] / 1e9
        cells = [_number(params), _number(record["printed_params_m"])]
        cells += [_percent(difference(params, record["printed_params_m"]))]
        cells += [_number(macs), _number(record["printed_flops_g"])]
        cells += [_percent(difference(flops(record), record["printed_flops_g"]))]
        rows.append([record["model"], *cells, record["note"]])
    return text.markdown_table(HEADER, rows)


def _number(value: float | None) -> str:
    return "—" if value is None else f"{value:.3f}"


def _percent(value: float | None) -> str:
    return "—" if value is None else f"{100 * value:+.1f} %"
