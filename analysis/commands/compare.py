"""Our arms beside the published numbers, three references a cell (ours, paper, official): comparison.{csv,md}.

Absolute numbers stand in their own columns with their own scale and are not to be held against each other; what may be
compared is the difference to the baseline, taken inside one source, and the order of the arms.
"""

import math
from collections.abc import Sequence

import pandas as pd

from analysis import options, reference, results, runs, text
from analysis.arms import ArmSummary
from analysis.commands import tables
from analysis.reference import Published, Reference
from analysis.results import ARMS, StudyResults
from analysis.studies import Ablation
from plugins.suite.files import write_text

NAME = "compare"
HELP = "set our arms beside the paper's numbers and those of the official code"
HEADER = (
    "Absolute numbers of different scales, data and recipes are never compared. Side by side stand the differences to "
    "the baseline (Δ, each inside its own source) and the orderings. `unread`: the source prints the number and it "
    "could not be read; —: the source gives none."
)
KINDS = ("paper", "official")
COLUMNS = (
    "study",
    "ablation",
    "arm",
    "label",
    "baseline",
    "metric",
    "ours",
    "ours_n",
    "ours_difference",
    "ours_low",
    "ours_high",
    "ours_state",
    "paper",
    "paper_difference",
    "official",
    "official_difference",
)


def add_arguments(parser) -> None:
    options.results(parser)
    options.study(parser)


def run(args) -> int:
    for path in options.tables(args, ARMS):
        study = results.load(args.results, path.parent.name)
        rows = [record for ablation in study.ablations for record in records(study, ablation)]
        runs.write_csv(path.with_name("comparison.csv"), pd.DataFrame(rows, columns=list(COLUMNS)))
        write_text(path.with_name("comparison.md"), markdown(study))
    return 0


def default_metric(references: Sequence[Reference], ablation: Ablation) -> str:
    """The metric that the published rows of an ablation are in, for arms without a run that would name it."""
    rows = [r for arm in ablation.arms for r in reference.of_arm(references, ablation, arm)]
    names = [r.metric for r in rows if not r.metric.startswith("cost.")]
    return max(dict.fromkeys(names), key=names.count, default="")


def records(study: StudyResults, ablation: Ablation) -> list[dict]:
    """One record for each arm that was run or has a published number."""
    arms = {arm.arm: arm for arm in study.of(ablation)}
    metric = next((arm.metric for arm in arms.values() if arm.metric), "")
    metric = metric or default_metric(study.references, ablation)
    rows = []
    for name in dict.fromkeys([*ablation.arms, *arms]):
        said = {kind: reference.published(study.references, ablation, name, metric, kind) for kind in KINDS}
        if name in arms or any(said.values()):
            rows.append(_record(ablation, name, metric, arms.get(name), said))
    return rows


def _record(
    ablation: Ablation, name: str, metric: str, arm: ArmSummary | None, said: dict[str, list[Published]]
) -> dict:
    return {
        "study": ablation.study,
        "ablation": ablation.name,
        "arm": name,
        "label": ablation.label(name),
        "baseline": name == ablation.baseline,
        "metric": metric,
        "ours": arm.mean if arm else math.nan,
        "ours_n": arm.n if arm else 0,
        "ours_difference": arm.difference if arm else math.nan,
        "ours_low": arm.difference_low if arm else math.nan,
        "ours_high": arm.difference_high if arm else math.nan,
        "ours_state": "done" if arm and arm.n else arm.gap if arm else "not run",
        "paper": _values(said["paper"]),
        "paper_difference": _differences(said["paper"]),
        "official": _values(said["official"]),
        "official_difference": _differences(said["official"]),
    }


def _values(published: Sequence[Published]) -> str:
    """ "35.8 (Table 6)", several joined by "; ", "unread" as such."""
    values = ["unread" if p.unread else f"{text.number(p.value, _digits(p.value))} ({p.table})" for p in published]
    return "; ".join(values)


def _differences(published: Sequence[Published]) -> str:
    return "; ".join(text.signed(p.difference) for p in published if not math.isnan(p.difference))


def _digits(value: float) -> int:
    """As many digits as the source prints, at least one."""
    return max(1, len(f"{value:g}".partition(".")[2]))


def ordering(rows: Sequence[dict], references: Sequence[Reference], ablation: Ablation) -> list[str]:
    """The order of the arms in our runs and in each published table that ranks two or more of them."""
    ours = [(row["ours"], row["label"]) for row in rows if not math.isnan(row["ours"])]
    ranked = {"ours": ours}
    for row in rows:
        for kind in KINDS:
            for published in reference.published(references, ablation, row["arm"], row["metric"], kind):
                if not published.unread:
                    ranked.setdefault(f"{kind}, {published.table}", []).append((published.value, row["label"]))
    return [f"{name}: {_chain(pairs)}" for name, pairs in ranked.items() if len(pairs) > 1]


def _chain(ranked: Sequence[tuple[float, str]]) -> str:
    ranked = sorted(ranked, key=lambda pair: -pair[0])
    line = ranked[0][1]
    for (before, _), (value, label) in zip(ranked, ranked[1:], strict=False):
        line += f" {'=' if value == before else '>'} {label}"
    return line


def markdown(study: StudyResults) -> str:
    """The comparison of all ablations that were run or have published numbers."""
    parts = [f"# Ours ({study.scale}), paper, official code\n\n{HEADER}\n"]
    for ablation in study.ablations:
        rows = records(study, ablation)
        if not rows:
            continue
        metric = text.metric_label(rows[0]["metric"]) if rows[0]["metric"] else "metric"
        header = ["arm", f"ours, {study.scale}: {metric}", "ours Δ", "paper", "paper Δ", "official", "official Δ"]
        arms = {arm.arm: arm for arm in study.of(ablation)}
        table = text.markdown_table(header, [_cells(row, arms.get(row["arm"])) for row in rows])
        parts.append(f"## {ablation.title}\n\n{table}")
        orders = ordering(rows, study.references, ablation)
        if orders:
            parts.append("Order of the means (no test; the verdicts stand in the ledger): " + ". ".join(orders) + ".\n")
    return "\n".join(parts)


def _cells(row: dict, arm: ArmSummary | None) -> list[str]:
    name = row["label"] + (" (baseline)" if row["baseline"] else "")
    ours = f"{tables.interval_of_mean(arm)} (n={arm.n})" if arm and arm.n else row["ours_state"]
    change = tables.difference_of(arm) if arm and arm.n else row["ours_state"]
    published = [row[key] or "—" for key in ("paper", "paper_difference", "official", "official_difference")]
    if row["baseline"]:
        change = published[1] = published[3] = "—"
    return [name, ours, change, *published]
