"""Forest figures of a ledger: FOLDER/figures/forest.png of all decided parts, and forest_<study>.png of each study."""

from pathlib import Path

from analysis import forests, ledger
from plugins.suite import catalog, claims

NAME = "forest"
HELP = "draw the decided parts of a ledger beside the published effects"


def add_arguments(parser) -> None:
    parser.add_argument("folder", type=Path, nargs="?", default=Path("results/published"), metavar="FOLDER")
    parser.add_argument("--experiments", type=Path, default=catalog.EXPERIMENTS, help="folder of the studies")


def run(args) -> int:
    table = ledger.read(args.folder / "ledger.csv")
    known = claims.check_all(args.experiments)
    base = args.folder / "figures" / "forest"
    drawn = [name for name in ("", *dict.fromkeys(table["study"])) if forests.draw(table, known, base, name)]
    print(f"{base.parent}: {len(drawn)} forest figures of {len(ledger.decided(table))} decided parts")
    return 0
