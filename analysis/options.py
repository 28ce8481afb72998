"""Options that commands share."""

from __future__ import annotations

from argparse import ArgumentParser
from pathlib import Path

from plugins.suite.errors import UserError


def results(parser: ArgumentParser) -> None:
    """`results`: the folder of a scale, with tables/<study>/{runs,arms}.csv, to which a command writes as well."""
    parser.add_argument("results", type=Path, metavar="RESULTS", help="folder of a scale, e.g. results/mini")


def study(parser: ArgumentParser) -> None:
    """`--study`."""
    parser.add_argument("--study", help="this study only")


def tables(args, name: str) -> list[Path]:
    """tables/<study>/<name> of the studies that were asked for. Raises UserError where there is none."""
    paths = sorted(args.results.glob(f"tables/{args.study or '*'}/{name}"))
    if not paths:
        raise UserError(
            f"{args.results}/tables/{args.study or '*'}/{name}: none there; run snakemake, or collect first"
        )
    return paths
