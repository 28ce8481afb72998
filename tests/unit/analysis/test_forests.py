"""The forest of the ledger: which axis a part stands on, which side holds, and that a picture says what it shows."""

import math
from pathlib import Path

import pandas as pd
import pytest
from PIL import Image

from analysis import forests
from plugins.suite import claims
from plugins.suite.errors import UserError
from tests.unit.analysis.test_page import EXPERIMENTS, row, synthetic

KNOWN = claims.check_all(EXPERIMENTS)


def parts_of(level: str):
    return [(study, claim, part) for study, c in KNOWN.items() for claim, part in c.parts() if part.level == level]


def check(form: dict):
    part = {"id": "a", "says": "x", "task": "classification", "level": "exact", "check": form}
    bound = {"margin": {"why": "w"}} if form.keys() & {"at_most", "at_least"} else {}
    return claims.Part.model_validate(part | bound).check


@pytest.mark.parametrize(
    ("form", "value", "ratio"),
    [
        ({"count": ["l/a", "l/b"], "order": "rises", "metric": "macs"}, 1.25, 1.25),
        ({"count": ["l/a", "l/b"], "order": "falls", "metric": "macs"}, 0.8, 1.25),
        ({"ratio": ["l/a", "l/b"], "metric": "params", "at_most": 1.2}, 1.0, 1.2),
        ({"ratio": ["l/a", "l/b"], "metric": "params", "at_most": 1.2}, 1.5, 0.8),
        ({"ratio": ["l/a", "l/b"], "metric": "params", "at_least": 2.0}, 3.0, 1.5),
        ({"counted": "c", "at_least": 0.8, "at_most": 1.0}, 0.9, 0.9**-1),
        ({"counted": "c", "at_least": 0.8, "at_most": 1.0}, 0.4, 0.5),
    ],
)
def test_right_of_one_keeps_the_bound(form, value, ratio):
    assert forests.inside(check(form), value) == pytest.approx(ratio)
    assert math.isnan(forests.inside(check(form), math.nan))


def trained_rows(verdict: str = "supported") -> list[dict]:
    """A row at mini of every trained part that has a check."""
    return [
        row(part.id, "mini", verdict, study=study, claim=claim.id, metric=part.metric or "bleu")
        for study, claim, part in parts_of("trained")
        if part.check.text()
    ]


def test_every_decided_part_is_on_one_panel_and_others_on_none():
    table = pd.DataFrame([*trained_rows(), *trained_rows("undecided")])
    panels = forests.panels(table, KNOWN)
    assert sum(len(panel.marks) for panel in panels) == len(trained_rows())
    assert {panel.level for panel in panels} == {"mini"} and {"points", "share", "other"} >= {p.kind for p in panels}
    assert not any(panel.together for panel in panels)


def test_counts_share_an_axis_with_the_print_and_titles_count():
    panels = {panel.level: panel for panel in forests.panels(decided(), KNOWN)}
    assert panels["exact"].together and panels["exact"].title.endswith("\n1 supported, 1 contradicted")
    assert [mark.value > 1 for mark in panels["exact"].marks] == [True, False]
    assert panels["mini"].title == "Trained at mini\n1 supported, 1 reversed here"


def decided():
    """The synthetic ledger without the row whose claim there is not."""
    table = synthetic()
    return table[table["claim"] != 99]


def test_a_row_of_no_claim_is_one_line():
    table = synthetic().assign(verdict="supported")
    with pytest.raises(UserError, match="ledger.csv: muse 99z is no part of claims.yaml"):
        forests.panels(table, KNOWN)


def test_a_picture_holds_the_digest_of_what_it_shows(tmp_path):
    table = decided()
    assert forests.draw(table, KNOWN, tmp_path / "forest") and forests.draw(table, KNOWN, tmp_path / "forest", "muse")
    with Image.open(tmp_path / "forest.png") as picture:
        assert picture.text["Source"] == forests.digest_of(table) != forests.digest_of(table[1:])
    assert {figure.path.name for figure in forests.pictures(tmp_path, table)} == {"forest.png", "forest_muse.png"}


def test_where_nothing_is_decided_the_picture_says_so(tmp_path):
    table = synthetic().assign(verdict="undecided")
    assert forests.draw(table, KNOWN, tmp_path / "forest") and Path(tmp_path / "forest.png").is_file()
    assert not forests.draw(table, KNOWN, tmp_path / "forest", "muse")


def test_quantities_with_a_bound_are_drawn_from_that_bound():
    spread = {"spread": "l/a", "below": 0.2}
    value = {"value": "l/a", "metric": "slope", "below": 1.0}
    kept = {"retains": "l/a", "of": "l/b", "over": "l/c", "at_least": 0.8}
    line = row("a", "mini", "supported", estimate=0.1, low=0.0, high=0.2, published_effect=float("nan"))

    def mark(form: dict, kind: str):
        part = {
            "id": "a",
            "says": "x",
            "task": "translation",
            "level": "trained",
            "check": form,
            "margin": {"why": "w"},
        }
        return forests._mark(line, claims.Part.model_validate(part).check, kind)

    assert mark(spread, "other").value == pytest.approx(1.0)  # a half-width below the bound
    assert mark(value, "other").value == pytest.approx(9.0)
    assert mark(kept, "share").value == pytest.approx(-0.7)
