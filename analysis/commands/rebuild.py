"""Tables, figures, verdicts and report of a scale from the runs that there are, without snakemake.

Used where a run that failed keeps snakemake from making them: its gap is shown as `failed` or `missing`. A step that
cannot be done says why in one line, and the next ones go on.
"""

import sys
from pathlib import Path

from analysis import runs
from plugins.suite.errors import UserError
from plugins.suite.files import one_line

NAME = "rebuild"
HELP = "make tables, figures and report of a scale from the runs that there are"


def add_arguments(parser) -> None:
    parser.add_argument("results", type=Path, metavar="RESULTS", help="folder of a scale with expected.json")


def run(args) -> int:
    expected = args.results / "expected.json"
    results = str(args.results)
    failed = 0
    for study in sorted({entry["study"] for entry in runs.read_expected(expected)}):
        table = args.results / "tables" / study / "runs.csv"
        failed += not step("collect", "--expected", str(expected), "--study", study, "--out", str(table))
        for name in ("arms", "tables", "compare", "figures"):
            failed += not step(name, results, "--study", study)
    for name in ("ledger", "proxy"):
        failed += not step(name, results, "--out", results)
    for name in ("forest", "page", "report"):
        failed += not step(name, results)
    return 1 if failed else 0


def step(name: str, *arguments: str) -> bool:
    """Runs another command; returns whether it succeeded."""
    from analysis.__main__ import main

    try:
        return main([name, *arguments]) == 0
    except UserError as problem:
        print(f"error: {name}: {one_line(problem, 600)}", file=sys.stderr)
        return False
