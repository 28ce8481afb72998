"""Our runs beside the published numbers: <out>.csv and <out>.md, three references a cell (ours, paper, official).

Absolute numbers stand in their own columns with their own scale and are not to be held against each other; what may be
compared is the difference to the baseline, taken inside one source, and the order of the arms.
"""

import math
from pathlib import Path

import pandas as pd

from analysis import loading, reference, summary, text
from analysis.loading import Ablation
from analysis.reference import Published, Reference
from analysis.summary import ArmSummary

HEADER = (
    "Absolute numbers of different scales, data and recipes are never compared. Side by side stand the differences to "
    "the baseline (Δ, each inside its own source) and the orderings. `unread`: the source prints the number and it "
    "could not be read; —: the source gives none."
)
KINDS = ("paper", "official")


def default_metric(references: list[Reference], ablation: Ablation) -> str:
    """The metric that the published rows of an ablation are in, for arms without a run that would name it."""
    rows = [r for arm in ablation.arms for r in reference.of_arm(references, ablation, arm)]
    names = [r.metric for r in rows if not r.metric.startswith("cost.")]
    return max(dict.fromkeys(names), key=names.count, default="")


def records(frame: pd.DataFrame, ablation: Ablation, references: list[Reference]) -> list[dict]:
    """One record for each arm that was run or has a published number."""
    arms = {arm.arm: arm for arm in summary.summarise(frame, ablation)}
    metric = next((arm.metric for arm in arms.values() if arm.metric), "") or default_metric(references, ablation)
    made = []
    for name in dict.fromkeys([*ablation.arms, *arms]):
        said = {kind: reference.published(references, ablation, name, metric, kind) for kind in KINDS}
        if name in arms or any(said.values()):
            made.append(_record(ablation, name, metric, arms.get(name), said))
    return made


def _record(
    ablation: Ablation, name: str, metric: str, arm: ArmSummary | None, said: dict[str, list[Published]]
) -> dict:
    label = ablation.arms[name].label if name in ablation.arms else name
    return {
        "study": ablation.study,
        "ablation": ablation.name,
        "arm": name,
        "label": label,
        "baseline": name == ablation.baseline,
        "metric": metric,
        "ours": arm.mean if arm else math.nan,
        "ours_half_width": arm.half_width if arm else math.nan,
        "ours_n": arm.n if arm else 0,
        "ours_difference": arm.difference.mean if arm else math.nan,
        "ours_low": arm.difference.low if arm else math.nan,
        "ours_high": arm.difference.high if arm else math.nan,
        "ours_state": "done" if arm and arm.n else arm.gap if arm else "not run",
        "paper": _values(said["paper"]),
        "paper_difference": _differences(said["paper"]),
        "official": _values(said["official"]),
        "official_difference": _differences(said["official"]),
    }


def _values(found: list[Published]) -> str:
    """ "35.8 (Table 6)", several joined by "; ", "unread" as such."""
    return "; ".join("unread" if p.unread else f"{text.number(p.value, _digits(p.value))} ({p.table})" for p in found)


def _differences(found: list[Published]) -> str:
    return "; ".join(text.signed(p.difference) for p in found if not math.isnan(p.difference))


def _digits(value: float) -> int:
    """As many digits as the source prints, at least one."""
    return max(1, len(f"{value:g}".partition(".")[2]))


def ordering(made: list[dict], references: list[Reference], ablation: Ablation) -> list[str]:
    """The order of the arms in our runs and in each published table that ranks two or more of them."""
    lines = []
    ours = [(r["ours"], r["label"]) for r in made if not math.isnan(r["ours"])]
    tables = {}
    for record in made:
        for kind in KINDS:
            for found in reference.published(references, ablation, record["arm"], record["metric"], kind):
                if not found.unread:
                    tables.setdefault(f"{kind}, {found.table}", []).append((found.value, record["label"]))
    for name, ranked in {"ours": ours, **tables}.items():
        if len(ranked) > 1:
            lines.append(f"{name}: {_chain(ranked)}")
    return lines


def _chain(ranked: list[tuple[float, str]]) -> str:
    ranked = sorted(ranked, key=lambda pair: -pair[0])
    line = ranked[0][1]
    for (before, _), (value, label) in zip(ranked, ranked[1:], strict=False):
        line += f" {'=' if value == before else '>'} {label}"
    return line


def markdown(frame: pd.DataFrame, ablations: list[Ablation], experiments: Path) -> str:
    """The comparison of all ablations that were run or have published numbers."""
    scale = ", ".join(sorted(set(frame["scale"]))) or "unknown"
    parts = [f"# Ours ({scale}), paper, official code\n\n{HEADER}\n"]
    for ablation in ablations:
        references = reference.load(experiments, ablation.study)
        made = records(frame, ablation, references)
        if not made:
            continue
        metric = text.metric_label(made[0]["metric"]) if made[0]["metric"] else "metric"
        header = ["arm", f"ours, {scale}: {metric}", "ours Δ", "paper", "paper Δ", "official", "official Δ"]
        parts.append(
            f"## {ablation.study}: {ablation.title}\n\n{text.markdown_table(header, [_cells(r) for r in made])}"
        )
        orders = ordering(made, references, ablation)
        if orders:
            parts.append("Order of the means (no test; the verdicts stand in the claims): " + ". ".join(orders) + ".\n")
    return "\n".join(parts)


def _cells(record: dict) -> list[str]:
    name = record["label"] + (" (baseline)" if record["baseline"] else "")
    if record["ours_n"]:
        half = "" if math.isnan(record["ours_half_width"]) else f" ± {text.number(record['ours_half_width'])}"
        ours = f"{text.number(record['ours'])}{half} (n={record['ours_n']})"
        change = text.with_interval(record["ours_difference"], record["ours_low"], record["ours_high"])
    else:
        ours = change = record["ours_state"]
    change = "—" if record["baseline"] else change
    published = [record[key] or "—" for key in ("paper", "paper_difference", "official", "official_difference")]
    if record["baseline"]:
        published[1] = published[3] = "—"
    return [name, ours, change, *published]


def main(argv: list[str] | None = None) -> int:
    parser = loading.parser(__doc__)
    parser.add_argument("--study", help="this study only")
    parser.add_argument("--out", type=Path, required=True, help="path without suffix; .csv and .md are written")
    args = parser.parse_args(argv)
    frame = loading.read_runs(args.runs_csv)
    ablations = summary.select(loading.load_ablations(args.experiments), args.study)
    made = [r for a in ablations for r in records(frame, a, reference.load(args.experiments, a.study))]
    loading.write_csv(args.out.with_name(args.out.name + ".csv"), pd.DataFrame(made))
    loading.write_text(args.out.with_name(args.out.name + ".md"), markdown(frame, ablations, args.experiments))
    return 0


if __name__ == "__main__":
    loading.cli(main)
