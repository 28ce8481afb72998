"""fairseq without the packages that no translation needs: they are as they were afterwards."""

import subprocess
import sys

import pytest

from plugins.fairseq_ext.lean_fairseq import UNUSED, stand_ins

IMPORTS = """
import sys
import plugins.fairseq_ext.engine
held = sorted(name for name in sys.modules if name.startswith(("sklearn", "scipy.stats")))
from scipy.stats import pearsonr
from sklearn.metrics import f1_score
print(held, f1_score([1, 0], [1, 0]), round(pearsonr([1, 2, 3], [1, 2, 3])[0], 6))
"""


def test_the_engine_leaves_the_packages_as_they_were():
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", IMPORTS], capture_output=True, text=True, check=True)
    assert done.stdout.strip().splitlines()[-1] == "[] 1.0 1.0"


def test_a_package_that_was_imported_before_stays(monkeypatch):
    monkeypatch.setitem(sys.modules, "known", pytest)
    with stand_ins(("known", "unknown.part")):
        assert sys.modules["known"] is pytest
        assert sys.modules["unknown.part"].anything is None
    assert sys.modules["known"] is pytest and "unknown.part" not in sys.modules


def test_a_stand_in_goes_when_the_import_fails():
    with pytest.raises(ImportError), stand_ins(UNUSED):
        raise ImportError
    assert not any(type(sys.modules.get(name)).__name__ == "Absent" for name in UNUSED)
