"""What the tests of `analysis` share: invented runs, and one way to call a command."""

import pytest

from analysis.__main__ import main
from plugins.suite import catalog, freshness
from tests.unit.analysis import samples


@pytest.fixture
def fresh(monkeypatch):
    """Every run is what this checkout would make."""
    monkeypatch.setattr(freshness, "staleness", lambda value: "")


@pytest.fixture
def suite(tmp_path, monkeypatch, fresh):
    """A folder with experiments and finished runs, as the working directory."""
    monkeypatch.chdir(tmp_path)
    catalog.forget()
    samples.write_suite(tmp_path)
    yield tmp_path
    catalog.forget()


@pytest.fixture
def collected(suite):
    """The same with runs.csv and arms.csv of both studies below results/mini."""
    gather()
    return suite


def gather(*studies: str) -> None:
    """collect and arms of some studies (both by default)."""
    for study in studies or samples.STUDIES:
        out = f"results/mini/tables/{study}/runs.csv"
        assert main(["collect", "--expected", "results/mini/expected.json", "--study", study, "--out", out]) == 0
        assert main(["arms", "results/mini", "--study", study]) == 0
