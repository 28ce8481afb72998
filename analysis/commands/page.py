"""The page of a ledger as one file: FOLDER/ledger.html from FOLDER/ledger.csv and what stands beside it.

FOLDER is results/published (all scales) or results/<scale> after a run. With --readme the counts in words, and what was
measured, are written between the markers of that file as well.
"""

from pathlib import Path

from analysis import forests, headline, ledger, ledger_page, proxies
from plugins.suite import catalog, claims
from plugins.suite.files import write_text

NAME = "page"
HELP = "write ledger.html, one page of verdicts, evidence, runs and figures"


def add_arguments(parser) -> None:
    parser.add_argument("folder", type=Path, nargs="?", default=Path("results/published"), metavar="FOLDER")
    parser.add_argument("--experiments", type=Path, default=catalog.EXPERIMENTS, help="folder of the studies")
    parser.add_argument("--readme", type=Path, help="bring the generated parts of this file up to date, too")
    parser.add_argument(
        "--outcome", action="store_true", help="write nothing: print the counts and where the pages are"
    )


def run(args) -> int:
    path = args.folder / "ledger.csv"
    table, proxy = ledger.read(path), proxies.read(args.folder / "proxy.csv")
    if args.outcome:
        print(outcome(table, proxy, args.folder))
        return 0
    there = ledger_page.evidence(args.folder)
    pictures = forests.pictures(args.folder / "figures", table)
    title = (
        "Ledger of all published results" if args.folder.name == "published" else f"Ledger, scale {args.folder.name}"
    )
    page = ledger_page.html(table, proxy, claims.check_all(args.experiments), there, pictures, title)
    write_text(args.folder / "ledger.html", page)
    print(f"{args.folder / 'ledger.html'}: {len(table)} rows, {len(there.runs)} runs")
    if args.readme:
        changed = headline.update(args.readme, table, proxy, args.folder / "measured.json")
        print(f"{args.readme}: {'updated' if changed else 'up to date'}")
    return 0


def outcome(table, proxy, folder: Path) -> str:
    """What a run came to, for the end of a run: counts in words, then the pages that there are."""
    pages = [folder / name for name in ("ledger.html", "report.html") if (folder / name).is_file()]
    return "\n".join(
        [headline.summary(table), *(f"  {line}" for line in headline.sentences(table, proxy)), *map(str, pages)]
    )
