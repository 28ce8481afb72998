"""convattn proxy RESULTS...: how well the order of our arms at each scale agrees with the published one.

Writes tables/proxy.csv and proxy.md into each folder.
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
    parser.add_argument("results", nargs="+", type=Path, metavar="RESULTS", help="folders of one scale each")


def run(args: argparse.Namespace) -> int:
    """Writes the tables and prints one line a scale."""
    for folder in args.results:
        paths = sorted(folder.glob(f"tables/*/{ARMS}"))
        if not paths:
            raise UserError(f"{folder}/tables/*/{ARMS}: none there; run snakemake, or collect and arms first")
        studies = [results.load(folder, path.parent.name) for path in paths]
        made = [proxy for study in studies for proxy in proxies.of_study(study.ablations, study.arms, study.references)]
        runs.write_csv(folder / "tables" / "proxy.csv", proxies.table(made))
        write_text(folder / "tables" / "proxy.md", proxies.markdown(made))
        line = proxies.in_words(proxies.overall(made), len(made)) if made else "no ablation has two arms in print"
        print(f"{folder}: {line}")
    return 0
