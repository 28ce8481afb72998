"""convattn diff A B: does a second set of results (another machine, other seeds) replicate the first?"""

import argparse
from pathlib import Path

from analysis import replication, sets
from plugins.suite.files import write_text

NAME = "diff"
HELP = "hold one set of results against another: prediction intervals, verdicts, environment"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the command."""
    where = "results/published/<scale>, results/<scale> or a metrics.jsonl"
    parser.add_argument("a", type=Path, metavar="A", help=f"the set that predicts: {where}")
    parser.add_argument("b", type=Path, metavar="B", help="the set that is held against it: likewise")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write all of it as JSON")
    parser.add_argument("--out", type=Path, metavar="FILE", help="also write the tables as Markdown")


def run(args: argparse.Namespace) -> int:
    """Prints the comparison."""
    result = replication.compare(sets.load(args.a), sets.load(args.b))
    page = replication.markdown(result)
    if args.json:
        write_text(args.json, replication.as_json(result))
    if args.out:
        write_text(args.out, page)
    print(page)
    return 0
