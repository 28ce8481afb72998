"""Where a number comes from: files are compared with the commit by their content, whatever git was told of them."""

import subprocess

import pytest

from plugins.runner import provenance
from plugins.suite import catalog
from plugins.suite.errors import UserError


@pytest.fixture
def repository(tmp_path, monkeypatch):
    """A repository with plugins/a.py committed, in the place of this project's."""
    monkeypatch.setattr(provenance, "ROOT", tmp_path)
    (tmp_path / "plugins").mkdir()
    (tmp_path / "plugins" / "a.py").write_text("A = 1\n")
    (tmp_path / ".gitignore").write_text("ignored.py\n")
    who = ["-c", "user.name=t", "-c", "user.email=t@example.org"]
    for args in (["init", "-q"], ["add", "."], [*who, "commit", "-qm", "first"]):
        subprocess.run(["git", *args], cwd=tmp_path, check=True, capture_output=True)
    return tmp_path


def test_a_file_is_dirty_by_its_content(repository):
    commit, path = provenance.commit(), repository / "plugins" / "a.py"
    assert len(commit) == 40 and not provenance.is_dirty(commit, ["plugins/a.py"])
    path.write_text("A = 2\n")
    assert provenance.is_dirty(commit, ["plugins/a.py"])
    subprocess.run(["git", "update-index", "--assume-unchanged", "plugins/a.py"], cwd=repository, check=True)
    assert provenance.git("status", "--porcelain") == ""
    assert provenance.is_dirty(commit, ["plugins/a.py"])
    path.write_text("A = 1\n")
    assert not provenance.is_dirty(commit, ["plugins/a.py"])


@pytest.mark.parametrize("name", ["plugins/new.py", "plugins/ignored.py"])
def test_a_file_that_git_does_not_know_is_dirty(repository, name):
    (repository / name).write_text("B = 1\n")
    assert provenance.is_dirty(provenance.commit(), ["plugins/a.py", name])


def test_a_missing_file_is_dirty(repository):
    commit = provenance.commit()
    (repository / "plugins" / "a.py").unlink()
    assert provenance.is_dirty(commit, ["plugins/a.py"])


def test_outside_a_repository_everything_is_dirty(tmp_path, monkeypatch):
    monkeypatch.setattr(provenance, "ROOT", tmp_path)
    (tmp_path / "a.py").write_text("")
    assert provenance.commit() == "unknown" and provenance.is_dirty("unknown", ["a.py"])


def test_the_hashes_of_the_sources_hold_every_module_and_the_configs():
    spec = catalog.resolve("mini", "coatnet", "transfer", "C-C-T-T", 1)
    hashes = provenance.source_hashes(spec)
    assert "plugins/fairseq_ext/models/muse.py" in hashes
    assert any(path.startswith("experiments/") and path.endswith(".py") for path in hashes)
    used = provenance.check_unchanged(spec, hashes)
    assert set(provenance.imported_sources()) <= set(used)
    with pytest.raises(UserError, match=r"plugins/runner/provenance.py: changed while the run used it"):
        provenance.check_unchanged(spec, {**hashes, "plugins/runner/provenance.py": "0" * 64})
    hashes.pop("plugins/runner/provenance.py")
    with pytest.raises(UserError, match=r"plugins/runner/provenance.py: changed while the run used it"):
        provenance.check_unchanged(spec, hashes)


def test_the_instruction_sets_are_those_that_the_libraries_were_told_to_use():
    import os
    import sys

    code = "from plugins.runner import provenance; print(provenance.instruction_sets())"
    environment = os.environ | {"ATEN_CPU_CAPABILITY": "default", "ONEDNN_MAX_CPU_ISA": "SSE41"}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True, cwd=provenance.ROOT
    )
    assert eval(done.stdout) == {"torch": "DEFAULT", "onednn": "Intel SSE4.1"}


def test_processor_flags_are_those_that_choose_kernels():
    flags = provenance.cpu_flags()
    assert flags == sorted(set(flags)) and flags
    assert all(flag.startswith(provenance.KERNEL_FLAGS) for flag in flags)
