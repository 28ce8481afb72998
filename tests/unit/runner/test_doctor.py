"""The doctor: what must be there before installing, and afterwards; the pins agree with each other."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from plugins.runner import doctor

REPOSITORY = Path(__file__).resolve().parents[3]


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (lambda m: m.setattr(doctor.sys, "version_info", (3, 9, 1)), "must be 3.11 or 3.12"),
        (lambda m: m.setattr(doctor.shutil, "which", lambda name: None), "no C++ compiler"),
        (lambda m: m.setattr(doctor, "FREE_GB_INSTALL", 1e9), "free some space"),
    ],
)
def test_the_doctor_before_installing(monkeypatch, capsys, fault, words):
    fault(monkeypatch)
    assert doctor.main(["--before-install"]) == 1
    line = capsys.readouterr().err
    assert words in line and line.count("\n") == 1


def test_the_doctor_on_other_versions(monkeypatch, capsys):
    pinned = doctor.pinned()
    monkeypatch.setattr(doctor, "pinned", lambda: pinned | {"onedl-mmcv": "9.9.9"})
    assert doctor.main([]) == 1
    assert "requirements.lock says 9.9.9" in capsys.readouterr().err
    monkeypatch.setattr(doctor, "pinned", lambda: pinned)
    assert doctor.main([]) == 0


def test_the_doctor_needs_only_a_bare_python():
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", "import sys; sys.path.insert(0, '.'); import plugins.runner.doctor"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_conda_and_make_agree():
    conda = yaml.safe_load((REPOSITORY / "environment.yml").read_text())["dependencies"]
    assert {re.split("[=<>]", package)[0] for package in conda} == {"python", "cxx-compiler", "make", "git", "uv"}
    pinned = doctor.pinned()
    assert f"uv={pinned['uv']}" in conda
    version = next(p.split("=")[1] for p in conda if p.startswith("python="))
    text = (REPOSITORY / "pyproject.toml").read_text()
    assert version in ("3.11", "3.12") and 'requires-python = ">=3.11,<3.13"' in text
    for name, wanted in re.findall(r'"([a-zA-Z0-9-]+)==([^"]+)"', text):
        assert pinned[name] == wanted


def test_no_registry_host_is_named():
    tracked = subprocess.run(
        ["git", "ls-files"], cwd=REPOSITORY, capture_output=True, text=True, check=False
    ).stdout.split()
    host = "py" + "pi.org"
    for name in tracked:
        path = REPOSITORY / name
        if path.suffix in {".py", ".md", ".toml", ".lock", ".yml", ".yaml", ".smk"} or path.name == "Makefile":
            assert host not in path.read_text(errors="replace"), name
