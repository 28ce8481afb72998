"""convattn proxy RESULTS... --out FOLDER: how well the order of our arms at each scale agrees with the published one.

Writes FOLDER/proxy.csv and proxy.md.
"""

import argparse
from pathlib import Path

from analysis import proxies, results, runs
from analysis.results import ARMS
from plugins.suite.errors import UserError
from plugins.suite.files import write_text

NAME = "proxy"
HELP = "rank correlation of our effects with the published ones, by ablation and scale"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the command."""
    parser.add_argument("results", nargs="*", type=Path, metavar="RESULTS", help="folders of one scale each")
    parser.add_argument("--out", type=Path, required=True, help="folder for proxy.csv and proxy.md")


def run(args: argparse.Namespace) -> int:
    """Writes both files and prints one line a scale."""
    proxies_of_all = [proxy for folder in args.results for proxy in of_folder(folder)]
    table = proxies.table(proxies_of_all)
    runs.write_csv(args.out / "proxy.csv", table)
    write_text(args.out / "proxy.md", proxies.markdown(table))
    print("\n".join(proxies.in_words(table)))
    return 0


def of_folder(folder: Path) -> list[proxies.Proxy]:
    """The proxies of the studies of one scale."""
    paths = sorted(folder.glob(f"tables/*/{ARMS}"))
    if not paths:
        raise UserError(f"{folder}/tables/*/{ARMS}: none there; run snakemake, or collect and arms first")
    return [proxy for path in paths for proxy in proxies.of_results(results.load(folder, path.parent.name))]
