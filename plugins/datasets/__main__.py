"""Command line: python -m plugins.datasets NAME OUTDIR [--params KEY=VALUE ...] [--data-root DIR] [--fetch]."""

import argparse
import json
import sys
from pathlib import Path

from plugins.datasets.prepare import check_name, names, prepare
from plugins.suite.data import MANIFEST, check_spec, verify
from plugins.suite.errors import UserError


def parse_params(words: list[str]) -> dict:
    """Parameters from `key=value` words or JSON objects, a later key wins; UserError where a word is neither."""
    params = {}
    for word in words:
        if word.lstrip().startswith("{"):
            params.update(_json(word, word))
            continue
        key, equals, value = word.partition("=")
        if not equals or not key:
            raise UserError(f"parameter {word!r}: write key=value, or one JSON object")
        params[key] = _value(value)
    return params


def _value(text: str):
    """JSON where the text is JSON (numbers, true, false, null), else the text itself."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


def _json(text: str, shown: str) -> dict:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UserError(f"parameters {shown!r}: not a JSON object ({error})") from error


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m plugins.datasets", description="Write one data set to a folder.")
    parser.add_argument("name", metavar="NAME", help=", ".join(names()))
    parser.add_argument("out", metavar="OUTDIR", type=Path)
    parser.add_argument("--params", nargs="*", default=[], metavar="KEY=VALUE", help="parameters, or one JSON object")
    parser.add_argument("--data-root", type=Path, help="folder that holds the original public data sets")
    other = parser.add_mutually_exclusive_group()
    other.add_argument("--fetch", action="store_true", help="download original files that data root lacks")
    other.add_argument("--verify", action="store_true", help="write nothing; hash every file of the data set in OUTDIR")
    options = parser.parse_args(arguments)
    try:
        params = parse_params(options.params)
        if options.verify:
            manifest = verified(options.name, options.out, params)
        else:
            manifest = prepare(options.name, options.out, params, options.data_root, options.fetch)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    facts = [f"{key} {json.dumps(manifest[key])}" for key in ("counts", "skipped", "noted") if manifest.get(key)]
    print(f"{options.out}: {options.name}, {', '.join(facts)}, checksum {manifest['checksum'][:12]}")
    return 0


def verified(name: str, out: Path, params: dict) -> dict:
    """The manifest of a prepared folder, every file of it hashed; UserError where it is not this data set, whole."""
    check_name(name)
    manifest = verify(out / MANIFEST, thorough=True)
    check_spec(manifest, {"name": name, **params}, out / MANIFEST)
    return manifest


if __name__ == "__main__":
    sys.exit(main())
