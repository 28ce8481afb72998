"""Writes generated.json: which generator makes which data, {data set: {generator, checksum}}, with default parameters.

python -m tests.unit.datasets.generated, after a change of a generator that is meant to change the data. Results of the
data of before are stale from then on.
"""

import json
import tempfile
from pathlib import Path

from plugins.datasets.prepare import prepare
from plugins.suite.files import read_json, write_json

RECORD = Path(__file__).with_name("generated.json")
NAMES = ("chain", "mini_shapes", "mini_translation", "rules")


def generated(name: str) -> dict[str, str]:
    """{generator, checksum} of a data set, made anew."""
    with tempfile.TemporaryDirectory() as folder:
        manifest = prepare(name, Path(folder) / "data")
    return {key: manifest[key] for key in ("generator", "checksum")}


def recorded() -> dict[str, dict[str, str]]:
    """What is committed."""
    return read_json(RECORD)


if __name__ == "__main__":
    write_json(RECORD, {name: generated(name) for name in NAMES})
    print(json.dumps(recorded(), indent=1))
