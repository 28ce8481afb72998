"""What all data sets share: parameters, the manifest, whole-or-absent folders, one-line errors."""

import errno
import importlib
import inspect
import json
import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from plugins.datasets.__main__ import main, parse_params
from plugins.datasets.prepare import NAMES, checked, prepare
from plugins.suite import data as manifests
from plugins.suite.data import building, checksum_of, read_manifest, seal, verify
from plugins.suite.errors import UserError

FACTS = {"counts": {"train": 2}, "skipped": {}}
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=9), inner, max_size=2),
    max_leaves=5,
)


def small(out, text="one\n"):
    """A data folder with two files, written as the data sets write theirs."""
    with building(out) as folder:
        (folder / "text").mkdir()
        (folder / "text" / "a").write_text(text)
        (folder / "text" / "b").write_text("two\n")
        seal(folder, "small", {}, FACTS)
    return out / "manifest.json"


def test_a_whole_folder_is_verified(tmp_path):
    manifest = verify(small(tmp_path / "data"))
    assert sorted(manifest["files"]) == ["text/a", "text/b"]
    assert manifest["checksum"] == checksum_of(manifest["files"])
    assert not [path for path in tmp_path.iterdir() if path.name != "data"], "temporary folders stay behind"


@pytest.mark.parametrize("harm", ["missing", "altered", "cut", "added"])
def test_a_harmed_folder_is_named_in_one_line(tmp_path, harm):
    path = small(tmp_path / "data")
    victim = tmp_path / "data" / "text" / ("c" if harm == "added" else "a")
    if harm == "missing":
        victim.unlink()
    else:
        victim.write_text({"altered": "One\n", "cut": "on", "added": "new"}[harm])
    with pytest.raises(UserError) as caught:
        verify(path)
    assert str(victim) in str(caught.value) and "\n" not in str(caught.value)


def test_a_half_written_manifest_is_refused(tmp_path):
    path = small(tmp_path / "data")
    whole = path.read_bytes()
    for length in range(0, len(whole) - 2, 7):
        path.write_bytes(whole[:length])
        with pytest.raises(UserError, match=r"manifest\.json: "):
            verify(path)
    path.unlink()
    with pytest.raises(UserError, match="no manifest"):
        verify(path)


def test_a_folder_is_replaced_whole_or_not_at_all(tmp_path):
    path = small(tmp_path / "data")
    with pytest.raises(RuntimeError), building(tmp_path / "data") as folder:
        (folder / "text").mkdir()
        raise RuntimeError("killed")
    assert verify(path)["name"] == "small"
    small(tmp_path / "data", "three\n")
    verify(path)
    assert (tmp_path / "data" / "text" / "a").read_text() == "three\n"


def test_a_full_disk_is_one_line_and_loses_nothing(tmp_path):
    path = small(tmp_path / "data")
    with pytest.raises(UserError, match="no space left"), building(tmp_path / "data"):
        raise OSError(errno.ENOSPC, "No space left on device")
    verify(path)


def test_somebodys_own_folder_is_not_replaced(tmp_path):
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "thesis.tex").write_text("years of work")
    with pytest.raises(UserError, match=r"thesis\.tex"):
        small(tmp_path / "home")
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="not a plain folder"):
        small(tmp_path / "file")
    with pytest.raises(UserError, match="cannot write there"):
        small(tmp_path / "file" / "below")


def test_an_empty_folder_made_beforehand_is_filled(tmp_path):
    (tmp_path / "data").mkdir()
    verify(small(tmp_path / "data"))


@settings(max_examples=40, deadline=None)
@given(content=JSON | st.fixed_dictionaries({key: JSON for key in ("name", "params", "checksum", "files", "counts")}))
def test_any_json_as_manifest_is_refused(tmp_path_factory, content):
    path = tmp_path_factory.getbasetemp() / "fuzzed.json"
    path.write_text(json.dumps(content))
    with pytest.raises(UserError) as caught:
        read_manifest(path)
    assert "\n" not in str(caught.value)


@settings(max_examples=60, deadline=None)
@given(content=st.binary(max_size=200))
def test_any_bytes_as_manifest_are_refused(tmp_path_factory, content):
    path = tmp_path_factory.getbasetemp() / "fuzzed.json"
    path.write_bytes(content)
    with pytest.raises(UserError):
        verify(path)


@pytest.mark.parametrize("name", ["../secret", "/etc/passwd", "a/../../b", ""])
def test_a_manifest_cannot_name_files_outside_its_folder(tmp_path, name):
    files = {name: "0" * 64}
    content = {"name": "x", "params": {}, "checksum": checksum_of(files), **FACTS, "files": files}
    (tmp_path / "manifest.json").write_text(json.dumps(content))
    with pytest.raises(UserError, match="leaves the folder"):
        verify(tmp_path / "manifest.json")


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
    defaults = {"seed": 1, "scale": 1.0, "flag": False}
    assert checked("x", {"scale": 2}, defaults)["scale"] == 2
    for wrong in ({"seed": 1.5}, {"seed": True}, {"seed": "1"}, {"flag": 1}, {"scale": "big"}):
        with pytest.raises(UserError, match="must be of type"):
            checked("x", wrong, defaults)
    with pytest.raises(UserError, match="did you mean 'seed'"):
        checked("x", {"sede": 1}, defaults)


@settings(max_examples=60, deadline=None)
@given(params=st.dictionaries(st.sampled_from(["seed", "sentences", "test", "longest", "lngest"]), JSON, min_size=1))
def test_any_parameters_are_taken_or_refused_in_one_line(params):
    defaults = {"sentences": 12000, "valid": 300, "test": 500, "seed": 1, "longest": 60}
    try:
        assert set(checked("mini_translation", params, defaults)) == set(defaults)
    except UserError as error:
        assert "mini_translation" in str(error)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["mini_shape", "out"], "did you mean 'mini_shapes'"),
        (["mini_shapes", "out", "--params", "sise=3"], "did you mean 'size'"),
        (["mini_shapes", "out", "--params", "size=3"], "size=3 must lie between"),
        (["mini_shapes", "out", "--params", "nonsense"], "write key=value"),
        (["mini_shapes", "out", "--params", "{1"], "not a JSON object"),
        (["mini_translation", "out", "--params", "sentences=0"], "sentences=0 must lie between"),
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


@pytest.mark.parametrize("name", sorted(set(NAMES) - {"mini_translation", "mini_shapes"}))
def test_fetching_is_offered_where_it_can_be_done(tmp_path, name):
    module = importlib.import_module(f"plugins.datasets.{name}")
    with pytest.raises(UserError, match="data_root is not set") as caught:
        prepare(name, tmp_path / "data")
    assert ("--fetch" in str(caught.value)) == ("source.fetch" in inspect.getsource(module))


def test_importing_the_package_imports_nothing_of_it():
    code = "import sys, plugins.datasets; print([m for m in sys.modules if m.startswith('plugins.datasets.')])"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert set(json.loads(shown.replace("'", '"'))) == set()


def test_a_file_name_may_not_hide_from_the_checksum(tmp_path):
    path = small(tmp_path / "data")
    (tmp_path / "data" / "text" / ".hidden").write_text("x")
    with pytest.raises(UserError, match="hidden"):
        verify(path)
    assert ".hidden" in str(manifests.hash_files(tmp_path / "data"))


def test_prepare_takes_parameters_as_a_dictionary(tmp_path):
    params = {"size": 64, "train": 2, "val": 1, "test": 1, "per_class": 1}
    manifest = prepare("mini_shapes", tmp_path / "data", params)
    assert manifest == verify(tmp_path / "data" / "manifest.json")
    assert manifest["params"]["size"] == 64 and manifest["params"]["seed"] == 1
