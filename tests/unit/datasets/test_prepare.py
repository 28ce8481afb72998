"""What all data sets share: parameters, the command line, one-line errors."""

import importlib
import inspect
import json
import os
import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from plugins.datasets.__main__ import main, parse_params
from plugins.datasets.prepare import checked, names, prepare
from plugins.suite import data, sources
from plugins.suite.data import verify
from plugins.suite.errors import UserError

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=9), inner, max_size=2),
    max_leaves=5,
)


@settings(max_examples=150, deadline=None)
@given(words=st.lists(st.text(max_size=20) | st.from_regex(r"[a-z]{1,5}=[0-9a-z{}\[\]\".]{0,8}", fullmatch=True)))
def test_parameters_parse_or_fail_in_one_line(words):
    try:
        params = parse_params(words)
    except UserError as error:
        assert len(str(error).splitlines()) <= 1 or any("\n" in word for word in words)
    else:
        assert isinstance(params, dict) and all(isinstance(key, str) for key in params)


def test_parameters_have_types():
    assert parse_params(["seed=3", "source=de", '{"lowercase": true, "seed": 4}']) == {
        "seed": 4, "source": "de", "lowercase": True,
    }  # fmt: skip
    assert checked("mini_shapes", {"largest": 42})["largest"] == 42.0
    for wrong in ({"seed": 1.5}, {"seed": True}, {"seed": "1"}, {"largest": "big"}):
        with pytest.raises(UserError, match="must be of type"):
            checked("mini_shapes", wrong)
    with pytest.raises(UserError, match="did you mean 'seed'"):
        checked("mini_shapes", {"sede": 1})


@settings(max_examples=60, deadline=None)
@given(params=st.dictionaries(st.sampled_from(["seed", "sentences", "test", "longest", "lngest"]), JSON, min_size=1))
def test_any_parameters_are_taken_or_refused_in_one_line(params):
    defaults = {"sentences": 12000, "valid": 300, "test": 500, "seed": 1, "longest": 60}
    try:
        assert set(checked("mini_translation", params)) == set(defaults)
    except UserError as error:
        assert "mini_translation" in str(error)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["mini_shape", "out"], "did you mean 'mini_shapes'"),
        (["mini_shapes", "out", "--params", "sise=3"], "did you mean 'size'"),
        (["mini_shapes", "out", "--params", "size=3"], "size: 3 must be between"),
        (["mini_shapes", "out", "--params", "nonsense"], "write key=value"),
        (["mini_shapes", "out", "--params", "{1"], "not a JSON object"),
        (["mini_translation", "out", "--params", "sentences=0"], "sentences: 0 must be between"),
        (["multi30k", "out"], "data_root is not set"),
        (["bccd", "out"], "data_root is not set"),
        (["bccd", "out", "--data-root", "absent"], "data_root absent: no such folder"),
        (["bccd", "out", "--data-root", "."], "bccd/BCCD: no such folder"),
        (["multi30k", "out", "--data-root", "."], "train.de.gz: missing"),
        (["multi30k", "out", "--data-root", ".", "--params", "target=it"], "must be one of de, en, fr"),
        (["multi30k", "out", "--data-root", ".", "--params", "target=de"], "they must differ"),
    ],
)
def test_the_command_line_says_one_line_and_exits_with_2(tmp_path, monkeypatch, capsys, arguments, said):
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == 2
    shown = capsys.readouterr().err
    assert shown.startswith("error: ") and said in shown and shown.count("\n") == 1
    assert not list(tmp_path.iterdir()), "something stays behind"


def reads_originals(name: str) -> bool:
    """Whether a data set is made of somebody's files; the others are generated."""
    return "plugins/datasets/originals.py" in sources.closure({f"plugins.datasets.{name}"})


@pytest.mark.parametrize("name", [name for name in names() if reads_originals(name)])
def test_fetching_is_offered_where_it_can_be_done(tmp_path, name):
    module = importlib.import_module(f"plugins.datasets.{name}")
    with pytest.raises(UserError, match="data_root is not set") as caught:
        prepare(name, tmp_path / "data")
    assert ("--fetch" in str(caught.value)) == ("source.fetch" in inspect.getsource(module))


def test_importing_the_package_imports_nothing_of_it():
    code = "import sys, plugins.datasets; print([m for m in sys.modules if m.startswith('plugins.datasets.')])"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert set(json.loads(shown.replace("'", '"'))) == set()


def test_prepare_takes_parameters_as_a_dictionary(tmp_path):
    params = {"size": 64, "train": 2, "val": 1, "test": 1, "per_class": 1}
    manifest = prepare("mini_shapes", tmp_path / "data", params)
    assert manifest == verify(tmp_path / "data" / "manifest.json")
    assert manifest["params"]["size"] == 64 and manifest["params"]["seed"] == 1


TINY = {"size": 64, "train": 2, "val": 1, "test": 1, "per_class": 1}


def test_what_was_prepared_is_not_hashed_again(tmp_path, monkeypatch):
    prepare("mini_shapes", tmp_path / "data", TINY)
    monkeypatch.setattr(data, "file_sha256", lambda path: pytest.fail(f"{path} is hashed again"))
    verify(tmp_path / "data" / "manifest.json")


def test_a_prepared_folder_is_verified_whole_on_demand(tmp_path, capsys):
    out, words = str(tmp_path / "data"), [f"{key}={value}" for key, value in TINY.items()]
    assert main(["mini_shapes", out, "--params", *words]) == 0
    written = capsys.readouterr().out
    assert main(["mini_shapes", out, "--verify", "--params", *words]) == 0
    assert capsys.readouterr().out == written
    for arguments, said in [
        (["mini_shapes", out, "--verify", "--params", *words, "seed=7"], "has seed=1, the recipe asks for 7"),
        (["cifar10", out, "--verify"], "is data set 'mini_shapes', the recipe asks for 'cifar10'"),
        (["mini_shapes", str(tmp_path / "none"), "--verify"], "no manifest"),
        (["mini_shape", out, "--verify"], "did you mean 'mini_shapes'"),
    ]:
        assert main(arguments) == 2
        assert said in capsys.readouterr().err
    victim = next((tmp_path / "data" / "images" / "train").iterdir())
    before = victim.stat()
    content = bytearray(victim.read_bytes())
    content[-1] ^= 1
    victim.write_bytes(content)
    os.utime(victim, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert main(["mini_shapes", out, "--verify", "--params", *words]) == 2
    assert f"{victim}: SHA-256 differs" in capsys.readouterr().err


def test_data_sets_are_found_by_scanning(tmp_path, monkeypatch):
    assert {"mini_shapes", "mini_translation", "imagenet", "wmt14"} <= set(names())
    assert not {"prepare", "originals", "parallel", "masks", "binarise", "__main__"} & set(names())


@pytest.mark.parametrize("name", names())
def test_every_data_set_says_what_makes_it(name):
    module = importlib.import_module(f"plugins.datasets.{name}")
    assert data.defaults(name) == module.DEFAULTS
    assert f"plugins/datasets/{name}.py" in data.generator_sources(name)
    assert len(data.generator_digest(name, {})) == 16
