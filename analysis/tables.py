"""Tables of each ablation as CSV, Markdown and LaTeX: <out>/<study>/<ablation>.{csv,md,tex}, and all in summary.md.

Arms without a finished run stay in the table and say `failed`, `running` or `missing`.
"""

import math
from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from analysis import details, loading, sentences, stats, summary, text, translation
from analysis.loading import Ablation
from analysis.summary import ArmSummary


def csv_frame(frame: pd.DataFrame, ablation: Ablation, arms: list[ArmSummary]) -> pd.DataFrame:
    """Machine-readable table, full precision, with the means of all metrics."""
    rows = summary.ablation_rows(frame, ablation)
    records = []
    for arm in arms:
        record = {"study": ablation.study, "ablation": ablation.name, "arm": arm.arm, "label": arm.label}
        record |= {"baseline": arm.is_baseline, **arm.states, "metric": arm.metric, "n": arm.n, "mean": arm.mean}
        record |= {"half_width": arm.half_width, "difference": arm.difference.mean, "pairs": arm.difference.n}
        record |= {"difference_low": arm.difference.low, "difference_high": arm.difference.high, **arm.costs}
        for column in loading.columns_of(frame, "metrics"):
            values = summary.per_seed(rows[rows["arm"] == arm.arm], column)
            record[column] = sum(values.values()) / len(values) if values else math.nan
        records.append(record)
    return pd.DataFrame(records, columns=None if records else ["study", "ablation", "arm"])


def cells(arms: list[ArmSummary]) -> tuple[list[str], list[list[str]]]:
    """(header, rows) of the table for readers."""
    metric = next((arm.metric for arm in arms if arm.metric), "")
    unit = {
        key: text.scaled([arm.costs[key] for arm in arms], base) for key, base in (("params", ""), ("macs", "MACs"))
    }
    header = ["arm", "seeds", text.metric_label(metric) if metric else "metric", "Δ to baseline"]
    header += [
        f"params ({unit['params'][1] or '1'})",
        unit["macs"][1],
        "latency (ms)",
        "train step (ms)",
        "train peak (MB)",
    ]
    rows = []
    for arm in arms:
        total = sum(arm.states.values())
        row = [
            arm.label + (" (baseline)" if arm.is_baseline else ""),
            str(arm.n) if arm.n == total else f"{arm.n}/{total}",
        ]
        if arm.n == 0:
            rows.append(row + [arm.gap] * (len(header) - 2))
            continue
        row.append(text.number(arm.mean) + ("" if math.isnan(arm.half_width) else f" ± {text.number(arm.half_width)}"))
        row.append("—" if arm.is_baseline else _difference(arm.difference))
        row.append(text.number(arm.costs["params"] / unit["params"][0], 3))
        row.append(text.number(arm.costs["macs"] / unit["macs"][0], 2))
        row += [text.number(arm.costs[key], 1) for key in ("latency_ms", "train_step_ms", "train_peak_mb")]
        rows.append(row)
    return header, rows


def _difference(difference: stats.Difference) -> str:
    if difference.n == 0:
        return "no shared seed"
    return text.with_interval(difference.mean, difference.low, difference.high)


def caption(frame: pd.DataFrame, ablation: Ablation) -> str:
    """Title, scale, seeds, commit, data, and what the intervals are."""
    rows = summary.ablation_rows(frame, ablation)
    source = f" ({ablation.paper})" if ablation.paper else ""
    return (
        f"{ablation.title}{source}: {summary.provenance_line(rows)}, data {summary.data_line(rows)}. "
        f"± is the half-width of the 95 % t interval over seeds; Δ is the mean difference over shared seeds with its "
        f"95 % interval ({stats.RESAMPLES:,} bootstrap resamples, widened to the t interval below {stats.TINY} seeds). "
        f"No interval is given below {stats.MIN_SEEDS} seeds."
    )


def notes(frame: pd.DataFrame, ablation: Ablation, arms: list[ArmSummary]) -> list[str]:
    """What a reader must know of the gaps: reasons of failures, and arms that were never asked for at this scale."""
    lines = [f"{arm.label}, {reason}" for arm in arms for reason in arm.errors]
    absent = summary.not_run(frame, ablation)
    return lines + ([f"not run at this scale: {', '.join(absent)}"] if absent else [])


def markdown(frame: pd.DataFrame, ablation: Ablation) -> str:
    """The table with its caption and notes, as it stands in <ablation>.md and in the report."""
    arms = summary.summarise(frame, ablation)
    header, rows = cells(arms)
    lines = "".join(f"- {text.markdown_cell(line)}\n" for line in notes(frame, ablation, arms))
    return f"{text.markdown_table(header, rows)}\n{caption(frame, ablation)}\n" + (f"\n{lines}" if lines else "")


def write(frame: pd.DataFrame, ablation: Ablation, out: Path) -> None:
    """Writes the three files of one ablation below `out`."""
    arms = summary.summarise(frame, ablation)
    header, rows = cells(arms)
    base = out / ablation.study / ablation.name
    full_caption = " ".join([caption(frame, ablation), *(f"{line}." for line in notes(frame, ablation, arms))])
    label = f"{ablation.study}-{ablation.name}"
    loading.write_csv(base.with_suffix(".csv"), csv_frame(frame, ablation, arms))
    loading.write_text(base.with_suffix(".md"), markdown(frame, ablation))
    loading.write_text(base.with_suffix(".tex"), text.latex_table(header, rows, full_caption, label))


def sentence_markdown(frame: pd.DataFrame, ablation: Ablation, found: Mapping[str, dict]) -> str:
    """The paired test over sentences, for runs that keep their statistics; "" for the others."""
    rows = translation.paired_table(summary.summarise(frame, ablation), found)
    if not rows:
        return ""
    header = ["arm", "seed", "BLEU", "Δ to baseline, same sentences"]
    return (
        f"\n{text.markdown_table(header, rows)}\nPaired bootstrap over the sentences of the test set "
        f"({sentences.RESAMPLES:,} samples, 95 %): how sure this test set makes us of two given models. "
        "How models vary with the seed it cannot say.\n"
    )


def study_markdown(frame: pd.DataFrame, ablations: list[Ablation], found: Mapping[str, dict]) -> str:
    """The tables of all ablations of a study that have runs."""
    parts = [f"# {ablations[0].study}\n"]
    for ablation in ablations:
        if not summary.ablation_rows(frame, ablation).empty:
            tables = markdown(frame, ablation) + sentence_markdown(frame, ablation, found)
            parts.append(f"## {ablation.title}\n\n{tables}")
    return "\n".join(parts)


def main(argv: list[str] | None = None) -> int:
    parser = loading.parser(__doc__)
    parser.add_argument("--study", help="this study only")
    parser.add_argument("--out", type=Path, required=True, help="folder of the tables")
    args = parser.parse_args(argv)
    frame = loading.read_runs(args.runs_csv)
    found = details.beside(args.runs_csv)
    chosen = summary.select(loading.load_ablations(args.experiments), args.study)
    for ablation in chosen:
        write(frame, ablation, args.out)
    for study in dict.fromkeys(ablation.study for ablation in chosen):
        mine = [ablation for ablation in chosen if ablation.study == study]
        loading.write_text(args.out / study / "summary.md", study_markdown(frame, mine, found))
    return 0


if __name__ == "__main__":
    loading.cli(main)
