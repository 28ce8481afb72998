"""The tests' own names: equal in every process that collects them."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
CASES = """
import os, pytest

@pytest.mark.parametrize("content", [os.urandom(8), os.urandom(8)])
def test_any(content):
    pass
"""


def names(file):
    """Names of the tests of one file, as a process of its own collects them."""
    run = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "tests.conftest", "-o", "addopts=", "--collect-only", "-q", str(file)],
        cwd=ROOT,
        env=dict(os.environ, PYTEST_ADDOPTS=""),
        capture_output=True,
        text=True,
        check=True,
    )
    return [line for line in run.stdout.splitlines() if "::" in line]


def test_bytes_that_differ_in_each_process_name_no_test(tmp_path):
    file = tmp_path / "test_bytes.py"
    file.write_text(CASES)
    first = names(file)
    assert len(first) == 2 and first == names(file)
