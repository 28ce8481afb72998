"""convattn ledger: the verdict on every part of every claim, ledger.csv and ledger.md."""

import argparse
from pathlib import Path

from analysis import ledger, plans
from analysis.evidence import exact
from plugins.suite import catalog, claims
from plugins.suite.errors import UserError

NAME = "ledger"
HELP = "judge every part of every claim: ledger.csv and ledger.md"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the command."""
    parser.add_argument(
        "results", nargs="*", type=Path, help="folders of one scale each: results/<scale>, results/published/<scale>"
    )
    parser.add_argument("--out", type=Path, required=True, help="folder for ledger.csv and ledger.md")
    parser.add_argument("--study", help="this study only")
    parser.add_argument("--experiments", type=Path, default=catalog.EXPERIMENTS, help="folder of the studies")
    parser.add_argument("--timings", type=Path, nargs="*", default=[], help="more folders of timing records")


def run(args: argparse.Namespace) -> int:
    """Writes the two files and prints the counts. UserError for input that cannot be used."""
    for folder in args.results:
        if not (folder / "tables").is_dir():
            raise UserError(f"{folder}: no results: it has no tables/<study>/runs.csv; run collect first")
    sources = ledger.Sources(
        results=args.results,
        timings=(*ledger.timing.FOLDERS, *args.timings),
        # What is committed rests on what is committed, whatever this checkout has counted since.
        costs=exact.COSTS[:1] if args.out.name == "published" else exact.COSTS,
        experiments=args.experiments,
    )
    registered = plans.load_all(claims.check_all(args.experiments), args.experiments / "plans")
    table = ledger.build(sources, registered, args.study)
    ledger.write(table, args.out, args.experiments)
    print(ledger.counts(table).to_string())
    return 0
