"""What came out of the runs: python -m analysis COMMAND, or convattn COMMAND.

A command is a file of analysis/commands.
"""

from __future__ import annotations

import argparse
import os
import sys

from analysis import scan
from plugins.suite.errors import UserError
from plugins.suite.files import one_line


def parser(wanted: str | None) -> argparse.ArgumentParser:
    """The parser of the command line; only the module of the command that is wanted is imported."""
    top = argparse.ArgumentParser(
        prog="convattn", description="Tables, figures, verdicts and reports of finished runs."
    )
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, entry in scan.entries(scan.COMMANDS).items():
        summary = entry.constants["HELP"]
        command = commands.add_parser(name, help=summary, description=summary)
        if name == wanted:
            module = entry.load()
            module.add_arguments(command)
            command.set_defaults(run=module.run)
    return top


def main(argv: list[str] | None = None) -> int:
    """Runs one command and returns its status. Raises UserError."""
    argv = sys.argv[1:] if argv is None else argv
    wanted = next((word for word in argv if not word.startswith("-")), None)
    if wanted is not None:
        scan.one(scan.COMMANDS, wanted, "command")
    args = parser(wanted).parse_args(argv)
    return args.run(args)


def cli() -> None:
    """`main` as a program: an error is one line on stderr and status 2."""
    try:
        sys.exit(main())
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except (UserError, OSError) as problem:
        print(f"error: {one_line(problem, 600)}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    cli()
