"""Files of experiments/ with something put in, taken out or exchanged: accepted, or one line that names the file."""

import copy
import math
from pathlib import Path

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from plugins.suite import catalog
from plugins.suite.errors import UserError
from tests.unit.suite.conftest import ABLATION, IMAGES, RECIPE, STUDY

CONFIG = {"scale": "mini", "studies": ["toy"], "arms": "all", "seeds": [1], "data_root": None, "device": "cpu"}
LIKE = "like: toy\ntitle: Another\nevery_arm: {set: {stacks: [encoder]}}\narms: {again: null}\n"
SEEDS = {
    "study.yaml": STUDY,
    "ablations/toy.yaml": ABLATION,
    "ablations/other.yaml": LIKE,
    "configs/translation-mini.yaml": RECIPE,
    "configs/classification-mini.yaml": IMAGES,
    "configs/wide-mini.yaml": "like: translation-mini\nmodel: {width: x2}\n",
}
# A fault that shows when an arm is resolved is told of the file that is like the mutated one, where that comes first.
FOLLOWERS = {"ablations/toy.yaml": "ablations/other.yaml", "configs/translation-mini.yaml": "configs/wide-mini.yaml"}
SCALARS = (
    st.none() | st.booleans() | st.integers(-3, 3) | st.floats() | st.text(max_size=8)
    | st.sampled_from(["x2", "1e-3", "toy/0010", "a\n", "../x", "`id`", "core", 10**30, math.nan, math.inf, -math.inf])
)  # fmt: skip
KEYS = st.text(max_size=6) | st.sampled_from(["like", "set", "same_as", "arms", "engine", "model", "0010", "train"])
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS | st.integers(0, 9), inner, max_size=3),
    max_leaves=6,
)


def places(value: object, path: tuple = ()) -> list[tuple]:
    """Where something could be changed: the path of every value of a document."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(place for key, child in inner for place in places(child, (*path, key)))]


@st.composite
def mutations(draw, content: object) -> object:
    """`content` with one to three values exchanged, removed, or joined by another key."""
    content = copy.deepcopy(content)
    for _ in range(draw(st.integers(1, 3))):
        path = draw(st.sampled_from(places(content)))
        if not path:
            if isinstance(content, dict) and draw(st.integers(0, 4)):
                content[draw(KEYS)] = draw(VALUES)
            else:
                content = draw(VALUES)
            continue
        parent = content
        for key in path[:-1]:
            parent = parent[key]
        action = draw(st.sampled_from(["exchange", "remove", "add"]))
        if action == "remove":
            del parent[path[-1]]
        elif action == "add" and isinstance(parent, dict):
            parent[draw(KEYS)] = draw(VALUES)
        else:
            parent[path[-1]] = draw(VALUES)
    return content


def read_all() -> None:
    """Everything that the DAG reads of a study."""
    catalog.study("toy")
    for recipe in ("translation", "classification", "wide"):
        catalog.recipe("toy", recipe, "mini")
    for run in catalog.runs_table(CONFIG):
        catalog.resolve("mini", "toy", *run.home, run.seed)


def accepted_or_one_line(call, file: str) -> None:
    try:
        call()
    except UserError as error:
        line = str(error)
        assert "\n" not in line and len(line) < 700, line
        assert any(Path(name).name in line for name in (file, FOLLOWERS.get(file, file))), line


@pytest.mark.parametrize("file", SEEDS)
def test_a_mutated_file_is_accepted_or_one_line_that_names_it(toy, file):
    for name, text in SEEDS.items():
        toy.write(name, text)
    read_all()
    content = yaml.safe_load(SEEDS[file])

    @settings(max_examples=50, deadline=None, suppress_health_check=list(HealthCheck), database=None)
    @given(mutations(content).map(lambda value: yaml.safe_dump(value, allow_unicode=True)))
    def check(text: str) -> None:
        toy.write(file, text.encode("utf-8", errors="replace"))
        accepted_or_one_line(read_all, file)

    check()


@pytest.mark.parametrize("file", SEEDS)
def test_bytes_exchanged_in_a_file_are_accepted_or_one_line_that_names_it(toy, file):
    for name, text in SEEDS.items():
        toy.write(name, text)
    whole = SEEDS[file].encode()

    @settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck), database=None)
    @given(st.integers(0, len(whole)), st.integers(0, 6), st.binary(max_size=6))
    def check(start: int, length: int, inserted: bytes) -> None:
        toy.write(file, whole[:start] + inserted + whole[start + length :])
        accepted_or_one_line(read_all, file)

    check()


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], database=None)
@given(mutations(CONFIG | {"seeds": ["1", "2"], "arms": ["w/o", "00*"]}))
def test_a_mutated_configuration_is_accepted_or_one_line(toy, config):
    if isinstance(config, dict):
        accepted_or_one_line(lambda: catalog.runs_table(config), "")
