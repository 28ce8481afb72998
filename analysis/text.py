"""Numbers, Markdown and LaTeX as text."""

import math
from collections.abc import Sequence

from analysis.loading import one_line

METRIC_NAMES = {
    "bleu": "BLEU",
    "chrf": "chrF",
    "box_ap": "box AP",
    "box_ap50": "box AP50",
    "box_ap75": "box AP75",
    "miou": "mIoU",
    "accuracy": "accuracy",
    "top1": "top-1 accuracy",
    "top5": "top-5 accuracy",
    "top1_at_matched_loss": "top-1 at matched training loss",
    "params": "parameters",
    "macs": "MACs",
    "latency_ms": "latency",
    "train_step_ms": "training step",
    "train_peak_mb": "training peak memory",
    "inference_peak_mb": "inference peak memory",
}
METRIC_UNITS = {"box_ap": "%", "box_ap50": "%", "box_ap75": "%", "miou": "%", "accuracy": "%",
                "top1": "%", "top5": "%", "top1_at_matched_loss": "%"}  # fmt: skip
MINUS = "\u2212"
LATEX = {
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    MINUS: r"$-$",
    "±": r"$\pm$",
    "−": r"$-$",
    "Δ": r"$\Delta$",
    "≥": r"$\geq$",
    "≤": r"$\leq$",
    "→": r"$\rightarrow$",
    "—": "---",
    "×": r"$\times$",
}


def metric_name(key: str) -> str:
    """Name of a metric for readers; "cost.macs" and "metrics.bleu" lose their section."""
    key = key.rsplit(".", 1)[-1]
    return METRIC_NAMES.get(key, key.replace("_", " "))


def metric_label(key: str) -> str:
    """Name with unit for an axis: "box AP (%)", "BLEU"."""
    unit = METRIC_UNITS.get(key.rsplit(".", 1)[-1])
    return f"{metric_name(key)} ({unit})" if unit else metric_name(key)


def number(value: float, digits: int = 2) -> str:
    """Fixed digits with a true minus sign; "n/a" for NaN."""
    if value is None or math.isnan(value):
        return "n/a"
    text = f"{value:.{digits}f}"
    text = text.lstrip("-") if float(text) == 0 else text
    return text.replace("-", MINUS)


def signed(value: float, digits: int = 2) -> str:
    """Like `number` with an explicit plus."""
    text = number(value, digits)
    return text if text.startswith(MINUS) or text == "n/a" or float(text) == 0 else "+" + text


def with_interval(mean: float, low: float, high: float, digits: int = 2) -> str:
    """ "+0.50 [-0.10, +1.10]", or the mean alone when there is no interval."""
    if math.isnan(low):
        return signed(mean, digits)
    return f"{signed(mean, digits)} [{signed(low, digits)}, {signed(high, digits)}]"


def scaled(values: Sequence[float], base: str) -> tuple[float, str]:
    """(divisor, unit) that shows the largest of `values` with one to three digits before the point: (1e6, "MMACs")."""
    top = max((v for v in values if not math.isnan(v)), default=0.0)
    for divisor, prefix in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if top >= divisor:
            return divisor, prefix + base
    return 1.0, base


def markdown_cell(text: object) -> str:
    """Text that cannot break a Markdown table."""
    return one_line(text, 2000).replace("|", "\\|")


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[object]], left: int = 1) -> str:
    """A Markdown table whose first `left` columns are left aligned, the others right aligned."""
    rule = [":---" if i < left else "---:" for i in range(len(header))]
    lines = [header, rule, *rows]
    return "".join("| " + " | ".join(markdown_cell(cell) for cell in line) + " |\n" for line in lines)


def latex(text: object) -> str:
    """Text with every character that LaTeX would interpret escaped."""
    return "".join(LATEX.get(character, character) for character in one_line(text, 2000))


def latex_table(
    header: Sequence[str], rows: Sequence[Sequence[object]], caption: str, label: str, left: int = 1
) -> str:
    """A booktabs table; needs \\usepackage{booktabs}."""
    shape = "l" * left + "r" * (len(header) - left)
    body = [" & ".join(latex(cell) for cell in row) + r" \\" for row in rows]
    return "\n".join(
        [
            r"\begin{table}",
            r"  \centering",
            rf"  \caption{{{latex(caption)}}}",
            rf"  \label{{tab:{label}}}",
            rf"  \begin{{tabular}}{{{shape}}}",
            r"    \toprule",
            "    " + " & ".join(latex(cell) for cell in header) + r" \\",
            r"    \midrule",
            *("    " + line for line in body),
            r"    \bottomrule",
            r"  \end{tabular}",
            r"\end{table}",
            "",
        ]
    )
