"""Dynamic convolution and E2 within one window, timed layer by layer."""

import pytest

from benchmarks import windows


@pytest.mark.parametrize(
    ("arm", "kind"), [("dynamic-5", "ConvattnDynamicConv"), ("E2-5", "ConvattnGeneralizedAttention")]
)
def test_a_layer_is_that_of_its_arm(arm, kind):
    layer = windows.layer(f"{windows.ABLATION}/{arm}", 16)
    assert type(layer).__name__ == kind
    assert layer.kernel_size == 5 if arm.startswith("dynamic") else layer.spatial_range == 2 and layer.kv_stride == 1


def test_the_record_that_the_claim_names_holds_each_window(monkeypatch):
    monkeypatch.setattr(windows.timing, "BLOCK_S", 0.001)
    monkeypatch.setattr(windows, "WINDOWS", (3, 9))
    records = windows.measure([(16, 6, 5), (32, 3, 3)], 6, "cpu")
    assert {r["name"] for r in records} == {
        f"{title}{stage}"
        for title in ("windows", "windows, training step")
        for stage in ("", ", 16 x 6 x 5", ", 32 x 3 x 3")
    }
    asked = [r for r in records if r["name"] == "windows"]
    assert [(r["of"], r["against"]) for r in asked] == [
        (f"dynamic_detection/E2-{window}", f"dynamic_detection/dynamic-{window}") for window in (3, 9)
    ]
    for record in records:
        assert record["ratio_low"] <= record["ratio"] <= record["ratio_high"]
