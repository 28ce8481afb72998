"""Numbers, Markdown and LaTeX as text."""

import math
from collections.abc import Sequence

from tabulate import tabulate

from plugins.suite.files import one_line

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
}
PER_CENT = {"box_ap", "box_ap50", "box_ap75", "miou", "accuracy", "top1", "top5", "top1_at_matched_loss"}
MINUS = "\u2212"
# What LaTeX cannot set as it stands and tabulate does not escape.
SYMBOLS = {MINUS: "$-$", "±": r"$\pm$", "Δ": r"$\Delta$", "≥": r"$\geq$", "≤": r"$\leq$", "→": r"$\rightarrow$",
           "—": "---", "×": r"$\times$"}  # fmt: skip


def metric_name(key: str) -> str:
    """Name of a metric for readers; "cost.macs" and "metrics.bleu" lose their section."""
    key = key.rsplit(".", 1)[-1]
    return METRIC_NAMES.get(key, key.replace("_", " "))


def metric_label(key: str) -> str:
    """Name with unit for an axis: "box AP (%)", "BLEU"."""
    return f"{metric_name(key)} (%)" if key.rsplit(".", 1)[-1] in PER_CENT else metric_name(key)


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


def _table(header: Sequence[str], rows: Sequence[Sequence[str]], style: str, left: int) -> str:
    align = ["left" if column < left else "right" for column in range(len(header))]
    return tabulate(rows, headers=header, tablefmt=style, disable_numparse=True, colalign=align if rows else None)


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[object]], left: int = 1) -> str:
    """A Markdown table whose first `left` columns are left aligned, the others right aligned."""
    cells = [[markdown_cell(cell) for cell in row] for row in rows]
    return _table([markdown_cell(name) for name in header], cells, "pipe", left) + "\n"


def latex_table(
    header: Sequence[str], rows: Sequence[Sequence[object]], caption: str, label: str, left: int = 1
) -> str:
    """A booktabs table; needs \\usepackage{booktabs}."""
    body = _table(header, [[one_line(cell, 2000) for cell in row] for row in rows], "latex_booktabs", left)
    lines = [r"\begin{table}", r"\centering", rf"\caption{{{latex(caption)}}}", rf"\label{{tab:{label}}}"]
    return "\n".join([*lines, _symbols(body), r"\end{table}", ""])


def latex(text: object) -> str:
    """Text with every character that LaTeX would interpret escaped."""
    cell = tabulate([[one_line(text, 2000)]], tablefmt="latex", disable_numparse=True)
    return _symbols(cell.splitlines()[2].strip().removesuffix(r"\\").strip())


def _symbols(text: str) -> str:
    for symbol, command in SYMBOLS.items():
        text = text.replace(symbol, command)
    return text
