"""The manifest: whole-or-absent folders, what made them, what is remembered of them; one-line errors."""

import errno
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

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
        seal(folder, "mini_shapes", {}, FACTS)
    return out / "manifest.json"


def test_a_whole_folder_is_verified(tmp_path):
    manifest = verify(small(tmp_path / "data"))
    assert sorted(manifest["files"]) == ["text/a", "text/b"]
    assert manifest["checksum"] == checksum_of(manifest["files"])
    assert {path.name for path in tmp_path.iterdir()} == {"data", ".data.verified.json"}, "temporary folders stay behind"


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
    assert verify(path)["name"] == "mini_shapes"
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


def test_a_file_name_may_not_hide_from_the_checksum(tmp_path):
    path = small(tmp_path / "data")
    (tmp_path / "data" / "text" / ".hidden").write_text("x")
    with pytest.raises(UserError, match="hidden"):
        verify(path)
    assert ".hidden" in str(manifests.hash_files(tmp_path / "data"))
