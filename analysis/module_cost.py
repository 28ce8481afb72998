"""What the attention module adds at paper size, counted and derived: python -m analysis.module_cost --costs COSTS.json.

The paper's own counts could not be read. Counted is the difference of whole networks, an arm with the module minus the
same without it, from the records of `python -m analysis.cost --study spatial_attention --json COSTS.json`. Derived is
the sum of the paper's terms over the places of the module, with N queries, K keys and C channels a place:

    value K C^2, output N C^2, query N C^2 (E1, E2), key K C^2 (E1, E3), position (W wk + H hk) C^2 / 2 (E2, E4),
    E1 N K C, E2 N (hk + wk) C, E3 alone K C, E4 alone (W wk + H hk) C, aggregation N K C;
    0010 has one map for all queries: output C^2 and aggregation K C.

Multiply-adds; softmax and additions are left out.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path

from analysis import loading, text
from analysis.loading import AnalysisError

STUDY = "spatial_attention"
# (channels, blocks, height, width) of the module's places: conv4 and conv5 of ResNet-50 at 800 x 1344; the head of the
# segmentation network at 769 x 769, stride 8.
PLACES = {"detection": ((256, 6, 50, 84), (512, 3, 25, 42)), "segmentation": ((512, 1, 97, 97),)}
HEADER = ["arm", "params (M)", "derived", "difference", "GMACs", "derived", "difference"]


def derived(terms: str, kv_stride: int, task: str) -> tuple[int, int]:
    """(parameters, multiply-adds) of the module at all its places."""
    e1, e2, e3, e4 = (bit == "1" for bit in terms)
    parameters = macs = 0
    for c, blocks, h, w in PLACES[task]:
        hk, wk = -(-h // kv_stride), -(-w // kv_stride)
        n, keys, along, shared = h * w, hk * wk, w * wk + h * hk, terms == "0010"
        square = 2 + (e1 or e2) + (e1 or e3) + (e2 or e4)
        parameters += blocks * (square * c * c + c + e3 * c + e4 * c + 1)
        products = keys * c * c + (c * c if shared else n * c * c) + (keys * c if shared else n * keys * c)
        products += (e1 or e2) * n * c * c + (e1 or e3) * keys * c * c + (e2 or e4) * along * c * c // 2
        products += n * keys * c if e1 else keys * c if e3 else 0
        products += n * (hk + wk) * c if e2 else along * c if e4 else 0
        macs += blocks * products
    return parameters, macs


def compared(records: list[Mapping], experiments: Path) -> list[dict]:
    """{arm, params, derived_params, macs, derived_macs} of every counted arm of the study that has the module."""
    counts = {record["arm"]: record for record in records if record["study"] == STUDY and record["arm"]}
    found = []
    for (study, _), ablation in loading.load_ablations(experiments).items():
        if study != STUDY or ablation.task not in PLACES:
            continue
        for arm in ablation.arms.values():
            words = arm.set.get("attention") or {}
            name = f"{ablation.name}/{arm.name}"
            if name not in counts or not words or words.get("spatial_range", -1) >= 0:
                continue
            without = f"factors_{ablation.task}/w/o{'+dcn' if arm.set.get('deformable') else ''}"
            if without not in counts:
                raise AnalysisError(f"{name}: no count of {without} to hold it against; count the whole study")
            parameters, macs = derived(words["terms"], words["kv_stride"], ablation.task)
            found.append(
                {"arm": name, "derived_params": parameters, "derived_macs": macs}
                | {key: counts[name][key] - counts[without][key] for key in ("params", "macs")}
            )
    return found


def table(rows: list[Mapping]) -> str:
    """Markdown; differences in per cent of the derived number."""
    cells = []
    for row in rows:
        line = [row["arm"]]
        for key, unit in (("params", 1e6), ("macs", 1e9)):
            ours, theirs = row[key], row[f"derived_{key}"]
            line += [f"{ours / unit:.3f}", f"{theirs / unit:.3f}", f"{100 * (ours / theirs - 1):+.2f} %"]
        cells.append(line)
    return text.markdown_table(HEADER, cells)


def main(argv: list[str] | None = None) -> int:
    """Prints the table; returns 1 where a count is off by more than 1 %."""
    parser = argparse.ArgumentParser(prog="python -m analysis.module_cost", description=__doc__.split("\n")[0])
    parser.add_argument("--costs", type=Path, required=True, help="records written by analysis.cost --json")
    parser.add_argument("--markdown", type=Path, help="also write the table there")
    parser.add_argument("--experiments", type=Path, default=Path("experiments"), help="folder of the studies")
    args = parser.parse_args(argv)
    rows = compared(loading.read_json(args.costs), args.experiments)
    print(table(rows))
    if args.markdown:
        loading.write_text(args.markdown, table(rows))
    off = [row["arm"] for row in rows for key in ("params", "macs") if abs(row[key] / row[f"derived_{key}"] - 1) > 0.01]
    if off:
        print(f"more than 1 % off: {', '.join(dict.fromkeys(off))}", file=sys.stderr)
    return 1 if off else 0


if __name__ == "__main__":
    loading.cli(main)
