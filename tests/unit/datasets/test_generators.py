"""The generated data are made anew and held against what is committed, the published results included."""

import json
from pathlib import Path

import pytest

from plugins.suite import data, sources
from tests.unit.datasets.generated import NAMES, generated, recorded

METRICS = sorted((sources.ROOT / "results" / "published").glob("*/metrics.jsonl"))


@pytest.mark.parametrize("name", NAMES)
def test_the_data_are_made_anew_to_the_last_byte(name):
    assert data.generator_digest(name, {}) == recorded()[name]["generator"], (
        f"the sources or versions that make {name} changed: if it is meant, python -m tests.unit.datasets.generated"
    )
    assert generated(name) == recorded()[name]


def test_published_results_of_this_generator_are_of_these_bytes():
    by_generator = {row["generator"]: row["checksum"] for row in recorded().values()}
    for line in (line for path in METRICS for line in Path(path).read_text().splitlines() if line.strip()):
        value = json.loads(line)
        generator = value["data"].get("generator")
        if generator in by_generator:
            assert value["data"]["checksum"] == by_generator[generator], value["arm"]
