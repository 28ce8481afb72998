"""Learning curves: core arms alone, seeds averaged, the plateau as the gate has it, names that do not overlap."""

import json
from pathlib import Path

import numpy as np
import pytest

from analysis import results
from analysis.commands import draw
from analysis.figures import curves
from tests.unit.analysis.conftest import gather
from tests.unit.analysis.samples import run_folder

UPDATES = list(range(10, 101, 10))
LEVEL = [5.0, 3.0, 2.0, 1.5, 1.2, 1.0, 1.0, 1.0, 1.0, 1.0]
FALLING = [5.0, 4.6, 4.2, 3.8, 3.4, 3.0, 2.6, 2.2, 1.8, 1.4]


def write(losses: dict[str, list[float]], ablation: str = "branches", seeds=(1, 2, 3)) -> None:
    for arm, values in losses.items():
        for seed in seeds:
            path = run_folder("muse", ablation, arm, seed) / "metrics.json"
            curve = {"update": UPDATES, "train_loss": [value + 0.1 * (seed - 2) for value in values]}
            details = {"curve": curve, "chance": {"loss": 5.5, "metric": 0.0}}
            path.write_text(json.dumps(json.loads(path.read_text()) | {"details": details}))
    gather("muse")


def study() -> results.StudyResults:
    return results.load(Path("results/mini"), "muse")


def test_core_arms_with_a_curve_are_drawn_once_under_their_own_ablation(suite):
    write({"transformer": LEVEL, "muse": FALLING})
    write({"kernel_3": LEVEL, "kernel_7": LEVEL}, "kernels")  # extra arms
    ((ablation, drawn),) = curves.panels(study())
    assert ablation.name == "branches" and list(drawn) == ["transformer", "muse"]
    assert np.allclose(drawn["muse"][1], np.stack([UPDATES, FALLING], axis=1))  # the mean of three seeds
    assert curves.finding(drawn) == "still learning: MUSE {3, 15}"
    assert curves.guessing(study(), [arm for arm, _ in drawn.values()]) == 5.5


def test_one_curve_and_unlike_updates_are_no_panel(suite):
    write({"muse": LEVEL})
    assert not curves.APPLIES(study())
    unlike = [
        {"curve": {"update": [10, 20], "train_loss": [2, 1]}},
        {"curve": {"update": [10, 30], "train_loss": [2, 1]}},
    ]
    assert len(curves.course(unlike)) == 0 and len(curves.course(unlike[:1])) == 2


def test_names_keep_a_line_of_distance_and_stay_inside():
    assert curves.apart([0.1, 0.5]) == [0.1, 0.5]
    close = curves.apart([0.5, 0.5, 0.51])
    assert close == pytest.approx([0.5, 0.5 + curves.LINE, 0.5 + 2 * curves.LINE])
    high = curves.apart([0.98, 0.99])
    assert high[-1] == pytest.approx(1.0) and high[1] - high[0] == pytest.approx(curves.LINE)
    assert curves.apart([]) == []


def test_the_figure_repeats(suite):
    write({"transformer": LEVEL, "muse": FALLING})
    for out in "ab":
        assert draw.draw(study(), ["curves"], Path(out)) == ["curves"]
    assert Path("a/curves.png").read_bytes() == Path("b/curves.png").read_bytes()
