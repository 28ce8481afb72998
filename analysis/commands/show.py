"""convattn show NAME: one claim, arm or run, wherever there are results of it."""

import argparse
from pathlib import Path

from analysis import lookup

NAME = "show"
HELP = "show a claim (muse:5), an arm (muse/branches/muse) or a run (muse/branches/muse/seed1)"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the command."""
    parser.add_argument("name", metavar="CLAIM|ARM|RUN", help=lookup.FORMS)
    parser.add_argument("--results", type=Path, default=Path("results"), help="folder of the results (results)")


def run(args: argparse.Namespace) -> int:
    """Prints it."""
    print(lookup.show(args.name, args.results))
    return 0
