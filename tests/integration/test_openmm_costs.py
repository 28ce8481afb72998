"""Costs at paper size: what the attention module adds to whole networks on the meta device, beside its formula."""

import pytest

from plugins.runner.cost import cost
from plugins.suite.catalog import resolve
from tests.integration import module_costs
from tests.integration.conftest import completed

# Section 4 of the paper's terms over the nine blocks of ResNet-50 at 800 x 1344, keys at stride 2: params (M), GMACs.
NINE_BLOCKS = {
    "0010": (3.545, 1.26), "1000": (4.722, 20.64), "0001": (3.545, 11.74), "1010": (4.725, 20.64),
    "0011": (4.728, 12.37), "1001": (5.904, 22.06), "0100": (4.722, 14.70), "1011": (5.907, 22.06),
    "0101": (4.725, 14.70), "1100": (5.901, 22.54), "0110": (5.904, 15.33), "1101": (5.904, 22.54),
    "1110": (5.904, 22.54), "0111": (5.907, 15.33), "1111": (5.907, 22.54),
}  # fmt: skip


@pytest.mark.parametrize("terms", NINE_BLOCKS)
def test_derived_counts_are_the_published_terms(terms):
    parameters, macs = module_costs.derived(terms, 2, "detection")
    assert (round(parameters / 1e6, 3), round(macs / 1e9, 2)) == NINE_BLOCKS[terms]


@pytest.fixture(scope="module")
def counted() -> list[dict]:
    """The arms that the table needs, built whole at paper size."""
    wanted = {
        "factors_detection": ("w/o", "0010", "0110", "1111", "w/o+dcn", "0010+dcn"),
        "factors_segmentation": ("w/o", "0100", "0011"),
    }
    return [
        {"study": "spatial_attention", "arm": f"{name}/{arm}"}
        | cost(completed(resolve("paper", "spatial_attention", name, arm, 1)))
        for name, arms in wanted.items()
        for arm in arms
    ]


def test_module_costs_at_paper_size_are_the_derived_ones(counted):
    rows = module_costs.compared(counted)
    assert [row["arm"].split("/")[1] for row in rows] == ["0010", "0110", "1111", "0010+dcn", "0011", "0100"]
    for row in rows:
        for key in ("params", "macs"):
            assert row[key] == pytest.approx(row[f"derived_{key}"], rel=0.01), row["arm"]


def test_whole_networks_have_the_toolboxes_size(counted):
    """Faster R-CNN R50-FPN of 80 classes and FCN R50-d8 of 19, their buffers left out."""
    counts = {record["arm"]: record for record in counted}
    assert counts["factors_detection/w/o"]["params"] == pytest.approx(41.75e6, rel=0.001)
    assert counts["factors_segmentation/w/o"]["params"] == pytest.approx(49.5e6, rel=0.001)
    deformable = counts["factors_detection/w/o+dcn"]["params"] - counts["factors_detection/w/o"]["params"]
    assert deformable == sum(blocks * (9 * width + 1) * 18 for blocks, width in ((4, 128), (6, 256), (3, 512)))
