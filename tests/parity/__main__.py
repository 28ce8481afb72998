"""``python -m tests.parity DIR``: hold our operators against a folder of recorded fixtures.

One line a file: case, form, largest error of the output, of the input gradients and of the parameter gradients, the
largest share of the tolerance that an entry uses (1 is the limit), and pass or FAIL. Exit status 1 if a case fails or
is unknown, if a file is broken, or if the folder holds no fixture.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from tests import parity


def main(arguments: list[str] | None = None) -> int:
    """Check every fixture under the folder given; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.parity", description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, metavar="DIR", help="searched for *.safetensors, subfolders included")
    folder = parser.parse_args(arguments).folder
    paths = sorted(folder.rglob("*.safetensors"))
    if not paths:
        print(f"{folder}: no *.safetensors fixture in this folder", file=sys.stderr)
        return 1
    known = parity.cases()
    width = max(len(_case(folder, path)) for path in paths)
    print(f"{'case':{width}}  form       output   inputs   params   of tol")
    failed = sum(not _report(folder, path, known, width) for path in paths)
    print(f"{len(paths)} fixtures, {len(paths) - failed} pass, {failed} fail")
    return 1 if failed else 0


def _report(folder: Path, path: Path, known: dict, width: int) -> bool:
    case = _case(folder, path)
    try:
        forms = parity.check(path, known)
    except parity.FixtureError as error:
        print(f"{case:{width}}  FAIL {error}")
        return False
    for form, errors in forms.items():
        label = "fast" if form == "forward" else form
        verdict = f"FAIL {', '.join(errors.failed)}" if errors.failed else "pass"
        print(
            f"{case:{width}}  {label:9}  {errors.output:.1e}  {errors.inputs:.1e}  {errors.parameters:.1e}"
            f"  {errors.share:6.3f}  {verdict}"
        )
    return not any(errors.failed for errors in forms.values())


def _case(folder: Path, path: Path) -> str:
    return path.relative_to(folder).with_suffix("").as_posix()


if __name__ == "__main__":
    sys.exit(main())
