"""The forms of ACmix's shift that are timed do one and the same thing."""

import pytest
import torch

from benchmarks import shift_forms


def moved_by_definition(projected):
    """Tap t = (row, column) of the kernel reads the map at that place, with nothing outside it."""
    batch, depth, taps, height, width = projected.shape
    total = torch.zeros(batch, depth, height, width)
    for tap in range(taps):
        down, right = tap // 3 - 1, tap % 3 - 1
        for y in range(height):
            for x in range(width):
                if 0 <= y + down < height and 0 <= x + right < width:
                    total[:, :, y, x] += projected[:, :, tap, y + down, x + right]
    return total.repeat_interleave(shift_forms.HEADS, dim=1)


@pytest.mark.parametrize("side", [3, 5])
def test_slices_added_in_place_are_the_shift(side):
    projected = torch.randn(2, 2, 9, side, side + 1, generator=torch.Generator().manual_seed(side))
    torch.testing.assert_close(shift_forms.add_slices(projected), moved_by_definition(projected))
    torch.testing.assert_close(shift_forms.stack_slices(projected), moved_by_definition(projected))


def test_all_forms_agree_and_are_timed_alone_and_with_their_projection(monkeypatch):
    monkeypatch.setattr(shift_forms, "STAGES", ((16, 5), (16, 4)))
    monkeypatch.setattr(shift_forms.timing, "BLOCK_S", 0.001)
    records = shift_forms.measure(6, "cpu")
    names = {record["name"] for record in records}
    assert {"shift", "shift with FC", "shift, 16 x 5 x 5", "shift with FC, 16 x 4 x 4"} <= names
    alone = [record for record in records if record["name"] == "shift"]
    assert {record["of"] for record in alone} == {"tensor_stacked", "fixed", "learnable"}
    fused = [record for record in records if record["name"] == "shift with FC"]
    assert {record["of"] for record in fused} == {"fixed", "learnable", "fixed_fused", "learnable_fused"}
    for record in records:
        assert record["against"] == "tensor" and record["ratio_low"] <= record["ratio"] <= record["ratio_high"]
