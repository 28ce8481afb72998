"""The figures of a study as SVG, PDF and PNG: figures/<study>/<figure>.{svg,pdf,png}.

experiments/<study>/study.yaml names its figures; one that has nothing to show in these results is left out.
"""

from pathlib import Path

from analysis import options, results, scan
from analysis.results import ARMS, StudyResults
from plugins.suite import catalog

NAME = "figures"
HELP = "draw the figures of a study"


def add_arguments(parser) -> None:
    options.results(parser)
    options.study(parser)
    parser.add_argument("--figure", action="append", help="this one only; may be repeated")


def run(args) -> int:
    for path in options.tables(args, ARMS):
        study = results.load(args.results, path.parent.name)
        drawn = draw(study, args.figure or catalog.study(study.study).figures, args.results / "figures" / study.study)
        print(f"{study.study}: {', '.join(drawn) or 'nothing to draw'}")
    return 0


def draw(study: StudyResults, names: list[str], folder: Path) -> list[str]:
    """Draws those of the named figures that apply, and returns them. The folder is there afterwards, empty or not."""
    folder.mkdir(parents=True, exist_ok=True)
    modules = {name: scan.one(scan.FIGURES, name, "figure").load() for name in names}
    drawn = [name for name, module in modules.items() if module.APPLIES(study)]
    for name in drawn:
        modules[name].draw(study, folder / name)
    return drawn
