"""The manifest: whole-or-absent folders, what made them, what is remembered of them; one-line errors."""

import errno
import json
import os

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
    assert {path.name for path in tmp_path.iterdir()} == {"data", ".data.verified.json"}, (
        "temporary folders stay behind"
    )


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


@pytest.fixture
def hashed(monkeypatch):
    """The files that were hashed since."""
    names = []

    def hashing(path):
        names.append(path.name)
        return original(path)

    original = manifests.file_sha256
    monkeypatch.setattr(manifests, "file_sha256", hashing)
    return names


def test_a_file_is_hashed_once_and_again_only_where_size_or_time_differ(tmp_path, hashed):
    path = small(tmp_path / "data")
    hashed.clear()
    verify(path)
    assert sorted(hashed) == ["a", "b"], "a folder that came from elsewhere is hashed whole"
    hashed.clear()
    verify(path)
    assert hashed == []
    (tmp_path / "data" / "text" / "b").write_text("two\n")
    verify(path)
    assert hashed == ["b"], "the same content at another time"
    hashed.clear()
    verify(path)
    assert hashed == []
    verify(path, thorough=True)
    assert sorted(hashed) == ["a", "b"]


def test_a_change_that_hides_its_time_is_seen_by_a_thorough_look(tmp_path):
    path = small(tmp_path / "data")
    verify(path)
    victim = tmp_path / "data" / "text" / "a"
    before = victim.stat()
    victim.write_text("One\n")
    os.utime(victim, ns=(before.st_atime_ns, before.st_mtime_ns))
    verify(path)
    with pytest.raises(UserError, match="a: SHA-256 differs"):
        verify(path, thorough=True)


@pytest.mark.parametrize("spoilt", [b"", b"{", b"[]", b'{"checksum": 1}', None])
def test_a_spoilt_memory_is_none(tmp_path, hashed, spoilt):
    path = small(tmp_path / "data")
    verify(path)
    hashed.clear()
    memory = manifests.memory_file(tmp_path / "data")
    memory.unlink() if spoilt is None else memory.write_bytes(spoilt)
    verify(path)
    assert sorted(hashed) == ["a", "b"]


def test_the_memory_of_another_content_counts_for_nothing(tmp_path, hashed):
    verify(small(tmp_path / "data"))
    path = small(tmp_path / "data", "three\n")
    hashed.clear()
    verify(path)
    assert sorted(hashed) == ["a", "b"]


def test_data_that_change_under_a_run_are_named(tmp_path):
    small(tmp_path / "data")
    before = manifests.stamps(tmp_path / "data")
    manifests.check_unchanged(tmp_path / "data", before)
    victim = tmp_path / "data" / "text" / "b"
    victim.write_text("two\n")  # the same bytes, written again
    with pytest.raises(UserError, match="text/b: changed while the run read the data"):
        manifests.check_unchanged(tmp_path / "data", before)
    for change in (victim.unlink, (tmp_path / "data" / "new").touch):
        before = manifests.stamps(tmp_path / "data")
        change()
        with pytest.raises(UserError, match="changed while the run read the data"):
            manifests.check_unchanged(tmp_path / "data", before)


def complaint(folder, manifest):
    """A check of the content that counts its calls."""
    CALLS.append(folder)
    return ANSWER[0]


CALLS, ANSWER = [], [None]


def test_a_check_that_was_passed_is_not_repeated(tmp_path, monkeypatch):
    path = small(tmp_path / "data")
    manifest = verify(path)
    CALLS.clear()
    ANSWER[0] = "mask 3: out of range"
    for _ in range(2):
        with pytest.raises(UserError, match="mask 3: out of range; prepare the data again"):
            manifests.check_once(path.parent, manifest, complaint)
    ANSWER[0] = None
    for _ in range(3):
        manifests.check_once(path.parent, manifest, complaint)
    assert len(CALLS) == 3
    verify(path)
    manifests.check_once(path.parent, manifest, complaint)
    assert len(CALLS) == 3, "verifying forgets no check"
    manifest = verify(small(tmp_path / "data", "three\n"))
    manifests.check_once(path.parent, manifest, complaint)
    assert len(CALLS) == 4, "other content is checked again"
    monkeypatch.setattr(manifests.sources, "code_digest", lambda paths: "other code")
    manifests.check_once(path.parent, manifest, complaint)
    assert len(CALLS) == 5, "another check is run"


@pytest.mark.parametrize("generator", ["f" * 16, None])
def test_a_folder_of_another_generator_is_refused(tmp_path, generator):
    path = small(tmp_path / "data")
    content = json.loads(path.read_text())
    assert content["generator"] == manifests.generator_digest("mini_shapes", {})
    content["generator"] = generator
    if generator is None:
        del content["generator"]
    path.write_text(json.dumps(content))
    with pytest.raises(UserError, match="mini_shapes was made .*; prepare the data again"):
        verify(path)


def test_the_generator_digest_hangs_on_sources_parameters_and_versions(monkeypatch):
    digest = manifests.generator_digest("mini_shapes", {})
    assert manifests.generator_digest("mini_shapes", {"smallest": 22}) == digest, "a default, as a whole number"
    assert manifests.generator_digest("mini_shapes", {"seed": 2}) != digest
    assert manifests.generator_digest("wmt14", {"workers": 8}) == manifests.generator_digest("wmt14", {})
    assert manifests.generator_sources("mini_shapes") == ["plugins/datasets/mini_shapes.py"]
    assert "plugins/datasets/binarise.py" in manifests.generator_sources("mini_translation")
    manifests._generator_digest.cache_clear()
    version = manifests.metadata.version
    monkeypatch.setattr(manifests.metadata, "version", lambda name: "9.9" if name == "numpy" else version(name))
    assert manifests.generator_digest("mini_shapes", {}) != digest
    monkeypatch.setattr(manifests.metadata, "version", lambda name: version(name) + "+cpu")
    manifests._generator_digest.cache_clear()
    assert manifests.generator_digest("mini_shapes", {}) == digest, "the build of a version is not another version"
    monkeypatch.setattr(manifests.sources, "code_digest", lambda paths: "other code")
    manifests._generator_digest.cache_clear()
    assert manifests.generator_digest("mini_shapes", {}) != digest
    manifests._generator_digest.cache_clear()


def test_data_of_another_name_or_parameter_are_not_the_recipes(tmp_path):
    path = small(tmp_path / "data")
    manifest = read_manifest(path) | {"params": manifests.parameters("mini_shapes", {"seed": 3})}
    manifests.check_spec(manifest, {"name": "mini_shapes", "seed": 3}, path)
    with pytest.raises(UserError, match="is data set 'mini_shapes', the recipe asks for 'wmt14'"):
        manifests.check_spec(manifest, {"name": "wmt14"}, path)
    for wanted in ({"seed": 1}, {}, {"seed": 3, "size": 64}):
        with pytest.raises(UserError, match="manifest.json: data set 'mini_shapes' has (seed|size)="):
            manifests.check_spec(manifest, {"name": "mini_shapes", **wanted}, path)
    with pytest.raises(UserError, match="no data set 'unheard_of'"):
        manifests.parameters("unheard_of", {})


def test_the_manifest_is_parsed_once_a_version(tmp_path):
    path = small(tmp_path / "data")
    assert read_manifest(path) is read_manifest(path)
    first = read_manifest(path)
    small(tmp_path / "data", "three\n")
    assert read_manifest(path)["checksum"] != first["checksum"]
