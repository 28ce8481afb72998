"""What is read off curves.jsonl: the curve with and without validation, loss, seconds, cut lines."""

import json

import pytest

from plugins.openmm_ext import curves

METRICS = {"top1": ("accuracy/top1", 1), "box_ap": ("coco/bbox_mAP", 100)}


@pytest.fixture
def path(tmp_path):
    return tmp_path / "curves.jsonl"


def write(path, scores: dict[int, dict], updates: int = 4, tail: str = "") -> None:
    lines = [{"update": n, "train_loss": 10.0 - n, "seconds": 0.5 * n} for n in range(1, updates + 1)]
    lines = [line | ({"valid": scores[line["update"]]} if line["update"] in scores else {}) for line in lines]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines) + tail)


def test_a_scored_training_has_a_point_a_score(path):
    write(path, {2: {"accuracy/top1": 20, "coco/bbox_mAP": 0.1}, 4: {"accuracy/top1": 30, "coco/bbox_mAP": 0.2}})
    assert curves.curve(path, METRICS) == {
        "update": [2, 4], "train_loss": [8.5, 6.5], "top1": [20, 30], "box_ap": [10, 20]
    }  # fmt: skip


def test_a_training_without_scores_has_a_point_a_line(path):
    write(path, {})
    assert curves.curve(path, METRICS) == {"update": [1, 2, 3, 4], "train_loss": [9, 8, 7, 6]}


def test_a_detector_that_finds_nothing_scores_nothing(path):
    write(path, {2: {}, 4: {"coco/bbox_mAP": 0.2}})
    assert curves.curve(path, {"box_ap": METRICS["box_ap"]})["box_ap"] == [0, 20]


def test_trimming_drops_later_lines_and_one_that_was_cut(path):
    write(path, {}, tail='{"update": 3, "tra')
    curves.trim(path, 2)
    assert [line["update"] for line in map(json.loads, path.read_text().splitlines())] == [1, 2]
    curves.trim(path.with_name("absent.jsonl"), 2)
    assert not path.with_name("absent.jsonl").exists()


def test_loss_and_seconds_of_a_training(path):
    write(path, {}, updates=20)
    assert curves.last_training_loss(path, 20) == pytest.approx((10 - 19 + 10 - 20) / 2)
    assert curves.seconds_of_updates(path) == pytest.approx(sum(0.5 * n for n in range(1, 21)))


def test_the_score_at_a_loss_lies_between_two_points():
    assert curves.score_at_loss([2.0, 1.5, 1.0], [20, 40, 50], 1.25) == 45
    assert curves.score_at_loss([2.0, 1.5, 1.6, 1.0], [20, 40, 30, 50], 1.5) == 40
    assert curves.score_at_loss([2.0, 1.5], [20, 40], 1.0) is None
    assert curves.score_at_loss([1.0, 0.5], [20, 40], 1.2) is None


def test_a_stream_is_judged_by_its_last_updates(path):
    lines = [{"update": n, "train_loss": float(n), "seconds": 0.1} for n in (10, 25, 40, 50)]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    # 30 to 50: ten of the fifteen updates up to 40, and the ten after.
    assert curves.stream_loss(path, 50, 1600, 1600) == {"stream": pytest.approx((10 * 40 + 10 * 50) / 20)}


def test_the_last_updates_of_a_stream_may_begin_within_a_line(path):
    path.write_text("".join(json.dumps({"update": n, "train_loss": loss}) + "\n" for n, loss in ((35, 1.0), (50, 3.0))))
    assert curves.stream_loss(path, 50, 50, 50) == {"stream": pytest.approx((5 * 1 + 15 * 3) / 20)}


def test_a_stream_shorter_than_what_is_judged_is_judged_whole(path):
    write(path, {})
    assert curves.stream_loss(path, 4, 4, 4) == {"stream": pytest.approx(7.5)}


def test_images_that_are_seen_twice_are_no_stream(path):
    write(path, {})
    assert curves.stream_loss(path, 4, 129, 128) == {}
