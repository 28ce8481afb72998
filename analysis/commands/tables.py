"""Tables of each ablation as CSV, Markdown and LaTeX, tables/<study>/<ablation>.{csv,md,tex}, and all in summary.md.

Arms without a finished run stay in the table and say `failed`, `running` or `missing`; a difference that is not given
says why below the table.
"""

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from analysis import arms, details, options, results, runs, text
from analysis.arms import ArmSummary
from analysis.results import ARMS, StudyResults
from analysis.studies import Ablation
from plugins.suite.files import write_text

NAME = "tables"
HELP = "write the table of every ablation as CSV, Markdown and LaTeX"
PAIRED = ["arm", "seed", "BLEU", "Δ to baseline, same sentences"]


def add_arguments(parser) -> None:
    options.results(parser)
    options.study(parser)


def run(args) -> int:
    for path in options.tables(args, ARMS):
        study = results.load(args.results, path.parent.name)
        for ablation in study.ablations:
            write(study, ablation, path.parent / ablation.name)
        write_text(path.with_name("summary.md"), study_markdown(study))
    return 0


def write(study: StudyResults, ablation: Ablation, base: Path) -> None:
    """The three files of one ablation."""
    chosen = study.of(ablation)
    header, rows = cells(chosen)
    caption = " ".join([caption_of(ablation, chosen), *(f"{line}." for line in notes(ablation, chosen))])
    runs.write_csv(base.with_suffix(".csv"), arms.to_frame(chosen))
    write_text(base.with_suffix(".md"), markdown(ablation, chosen))
    latex = text.latex_table(header, rows, caption, f"{ablation.study}-{ablation.name}")
    write_text(base.with_suffix(".tex"), latex)


def cells(chosen: Sequence[ArmSummary]) -> tuple[list[str], list[list[str]]]:
    """(header, rows) of the table for readers."""
    metric = next((arm.metric for arm in chosen if arm.metric), "")
    (params, prefix), (macs, unit) = (
        text.scaled([getattr(arm, key) for arm in chosen], base) for key, base in (("params", ""), ("macs", "MACs"))
    )
    header = ["arm", "seeds", text.metric_label(metric) if metric else "metric", "sd", "Δ to baseline"]
    header += [f"params ({prefix or '1'})", unit]
    rows = []
    for arm in chosen:
        total = arm.done + arm.failed + arm.running + arm.missing
        row = [name_of(arm), str(arm.n) if arm.n == total else f"{arm.n}/{total}"]
        if arm.n == 0:
            rows.append(row + [arm.gap] * (len(header) - 2))
            continue
        row += [interval_of_mean(arm), "—" if math.isnan(arm.sd) else text.number(arm.sd), difference_of(arm)]
        rows.append([*row, text.number(arm.params / params, 3), text.number(arm.macs / macs, 2)])
    return header, rows


def name_of(arm: ArmSummary) -> str:
    """The label, marked for the baseline and for stale runs."""
    return arm.label + (" (baseline)" if arm.baseline else "") + (" (stale)" if arm.stale else "")


def interval_of_mean(arm: ArmSummary) -> str:
    """ "35.80 [35.10, 36.50]", or the mean alone."""
    mean = text.number(arm.mean)
    return f"{mean} [{text.number(arm.low)}, {text.number(arm.high)}]" if arm.has_interval else mean


def difference_of(arm: ArmSummary) -> str:
    """The difference with its interval, or what stands for it: a dash for the baseline, "not alike" with a note."""
    if arm.baseline:
        return "—"
    if not arm.has_difference:
        return "not given"
    return text.with_interval(arm.difference, arm.difference_low, arm.difference_high)


def caption_of(ablation: Ablation, chosen: Sequence[ArmSummary]) -> str:
    """Title, scale, seeds, data, commits, and what the intervals are."""
    source = f" ({ablation.paper})" if ablation.paper else ""
    done = [arm for arm in chosen if arm.n]
    if not done:
        return f"{ablation.title}{source}: no finished runs."
    data, commits = ({part for arm in done for part in getattr(arm, key).split(", ")} for key in ("data", "commit"))
    return (
        f"{ablation.title}{source}: scale {done[0].scale}, data {', '.join(sorted(data))}, commit "
        f"{', '.join(sorted(commits))}. In brackets: 95 % intervals by the {done[0].method}."
    )


def notes(ablation: Ablation, chosen: Sequence[ArmSummary]) -> list[str]:
    """What a reader must know of the gaps: failures, differences that are not given, arms that were never asked for."""
    lines = [f"{arm.label}, {error}" for arm in chosen for error in arm.errors]
    reasons: dict[str, list[str]] = {}
    for arm in chosen:
        if arm.n and arm.reason:
            reasons.setdefault(arm.reason, []).append(arm.label)
    lines += [f"no difference for {', '.join(labels)}: {reason}" for reason, labels in reasons.items()]
    present = {arm.arm for arm in chosen}
    absent = [arm.label for name, arm in ablation.arms.items() if name not in present]
    return lines + ([f"not run at this scale: {', '.join(absent)}"] if absent else [])


def markdown(ablation: Ablation, chosen: Sequence[ArmSummary]) -> str:
    """The table with its caption and notes, as it stands in <ablation>.md and in the report."""
    header, rows = cells(chosen)
    lines = "".join(f"- {text.markdown_cell(line)}\n" for line in notes(ablation, chosen))
    return f"{text.markdown_table(header, rows)}\n{caption_of(ablation, chosen)}\n" + (f"\n{lines}" if lines else "")


def study_markdown(study: StudyResults) -> str:
    """The tables of all ablations of a study that have runs."""
    parts = [f"# {study.study}\n"]
    for ablation in study.ablations:
        chosen = study.of(ablation)
        if chosen:
            parts.append(f"## {ablation.title}\n\n{markdown(ablation, chosen)}{sentence_markdown(study, chosen)}")
    return "\n".join(parts)


def sentence_markdown(study: StudyResults, chosen: Sequence[ArmSummary]) -> str:
    """The paired test over sentences, for runs that keep their statistics; "" for the others."""
    rows = paired_rows(study, chosen)
    if not rows:
        return ""
    from analysis import sentences

    return (
        f"\n{text.markdown_table(PAIRED, rows)}\nPaired bootstrap over the sentences of the test set "
        f"({sentences.RESAMPLES:,} samples, 95 %): how sure this test set makes us of two given models. "
        "How models vary with the seed it cannot say.\n"
    )


def paired_rows(study: StudyResults, chosen: Sequence[ArmSummary]) -> list[list[str]]:
    """Rows [arm, seed, BLEU, difference to the baseline] with bootstrap intervals over sentences, seed by seed."""
    base = next((arm for arm in chosen if arm.baseline), None)
    rows = []
    for arm in chosen:
        for seed in arm.seeds:
            ours, other = _statistics(study, arm, seed), _statistics(study, base, seed)
            if ours is None:
                continue
            from analysis import sentences  # sacrebleu takes a second to import

            row = [arm.label, str(seed), _bracketed(sentences.bleu(ours), "")]
            alike = not arm.baseline and other is not None and arm.has_difference
            rows.append([*row, _bracketed(sentences.paired(ours, other), "+") if alike else "—"])
    return rows


def _bracketed(interval, sign: str) -> str:
    return f"{interval.value:{sign}.2f} [{interval.low:{sign}.2f}, {interval.high:{sign}.2f}]"


def _statistics(study: StudyResults, arm: ArmSummary | None, seed: int) -> np.ndarray | None:
    kept = study.details.get(f"{arm.run}/seed{seed}", {}) if arm else {}
    return details.statistics_of(kept) if kept.get("sentences") else None
