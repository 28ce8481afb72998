"""convattn trace FILE:ROW: from a number in a table to the runs, specs, commands, commit and data behind it."""

import argparse

from analysis import traces

NAME = "trace"
HELP = "trace a row of a table back to runs, specs, commands, commit and data"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the command."""
    parser.add_argument(
        "place",
        metavar="FILE:ROW",
        help="a CSV table or metrics.jsonl, and a line of it, or a name: study:5a (ledger), <ablation>/<arm> (arms)",
    )


def run(args: argparse.Namespace) -> int:
    """Prints what stands behind the row."""
    print(traces.trace(args.place))
    return 0
