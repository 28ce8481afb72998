"""Items: what is written is read, and the metrics follow from them as the frameworks' own scorers say."""

import json

import numpy as np
import pytest
from sacrebleu.metrics import BLEU, CHRF

from plugins.suite import items
from plugins.suite.errors import UserError

HYPOTHESES = ["the cat sat on a mat", "dogs bark", "a b c d e f", "nothing here"]
REFERENCES = ["the cat sat on the mat", "dogs bark loudly", "a b c d e g", "something else"]


def translation():
    bleu, chrf = BLEU(tokenize="none"), CHRF()
    statistics = [list(map(int, row)) for row in bleu._extract_corpus_statistics(HYPOTHESES, [REFERENCES])]
    characters = [list(map(int, row)) for row in chrf._extract_corpus_statistics(HYPOTHESES, [REFERENCES])]
    columns = {"score": [0.0] * 4, "source_words": [6, 2, 6, 2], "bleu": statistics, "chrf": characters}
    wanted = {
        "bleu": bleu.corpus_score(HYPOTHESES, [REFERENCES]).score,
        "chrf": chrf.corpus_score(HYPOTHESES, [REFERENCES]).score,
    }
    return columns, wanted


def segmentation(seed=0, classes=4):
    """Masks drawn at random; class 3 occurs nowhere; 255 is ignored. mIoU and accuracy straight from their meaning."""
    rng = np.random.default_rng(seed)
    labels, guesses = rng.integers(0, 3, (5, 6, 7)), rng.integers(0, 3, (5, 6, 7))
    labels[rng.random(labels.shape) < 0.1] = 255
    valid = labels != 255
    intersect = [
        [int(((label == c) & (guess == c)).sum()) for c in range(classes)]
        for label, guess in zip(labels, guesses, strict=True)
    ]
    union = [
        [int((((label == c) | (guess == c)) & (label != 255)).sum()) for c in range(classes)]
        for label, guess in zip(labels, guesses, strict=True)
    ]
    shares = [
        (valid & (labels == c) & (guesses == c)).sum() / (valid & ((labels == c) | (guesses == c))).sum()
        for c in range(3)
    ]
    wanted = {"miou": 100 * np.mean(shares), "pixel_accuracy": 100 * (labels == guesses)[valid].mean()}
    return {"score": [0.0] * 5, "intersect": intersect, "union": union}, wanted


def test_scores_of_a_translation_are_those_of_its_text(tmp_path):
    columns, wanted = translation()
    record = items.write(tmp_path / "items.parquet", columns)
    frame = items.read(tmp_path / "items.parquet")
    assert record["n"] == len(frame) == 4 and record["file"] == "items.parquet" and len(record["sha256"]) == 64
    assert list(frame["item"]) == [0, 1, 2, 3] and str(frame["item"].dtype) == "int32"
    assert items.scores("translation", frame) == pytest.approx(wanted, abs=1e-9)


def by_rule():
    """Two rules over three lengths: near and far."""
    return {
        "rules": [["near", "far"]] * 4,
        "right": [[3, 0], [2, 1], [1, 1], [4, 0]],
        "total": [[4, 0], [4, 2], [4, 2], [4, 1]],
        "stratum": ["length1", "length2", "length3", "length1"],
    }


def test_accuracies_by_rule_follow_from_the_counts_of_the_sentences(tmp_path):
    columns, wanted = translation()
    items.write(tmp_path / "i.parquet", columns | by_rule())
    scores = items.scores("translation", items.read(tmp_path / "i.parquet"))
    # Near 7 of 8, 2 of 4, 1 of 4; far 0 of 1, 1 of 2, 1 of 2; least squares over -1, 0, 1, then the mean of the two.
    slope = (np.log(1.5 / 3.5) - np.log(7.5 / 1.5)) / 4 + (np.log(1.5 / 1.5) - np.log(0.5 / 1.5)) / 4
    wanted |= {"accuracy": 100 * 12 / 21, "accuracy_near": 62.5, "accuracy_far": 40.0, "logit_length_slope": slope}
    wanted |= {"accuracy_near_length1": 87.5, "accuracy_near_length2": 50.0, "accuracy_near_length3": 25.0}
    wanted |= {"accuracy_far_length1": 0.0, "accuracy_far_length2": 50.0, "accuracy_far_length3": 50.0}
    assert scores == pytest.approx(wanted)


def test_a_metric_of_a_rule_that_the_items_do_not_give_is_told(tmp_path):
    columns, wanted = translation()
    items.write(tmp_path / "i.parquet", columns | by_rule())
    frame = items.read(tmp_path / "i.parquet")
    scores = items.scores("translation", frame)
    assert items.disagreement("translation", scores, frame) == ""
    changed = scores | {"accuracy_far": scores["accuracy_far"] + 1}
    assert "metrics.accuracy_far is 41.0000, the items say 40.0000" in items.disagreement("translation", changed, frame)


@pytest.mark.parametrize("strata", [["short", "long", "longer"], ["length1", "length2", "length1"], ["length1"] * 3])
def test_there_is_no_slope_without_three_lengths(strata):
    counts = {("near", stratum, right): 5 for stratum in strata for right in (True, False)}
    assert "logit_length_slope" not in items.rule_metrics(counts)


def test_scores_of_a_segmentation_leave_out_classes_that_do_not_occur(tmp_path):
    columns, wanted = segmentation()
    items.write(tmp_path / "i.parquet", columns)
    assert items.scores("segmentation", items.read(tmp_path / "i.parquet")) == pytest.approx(wanted, abs=1e-9)


def test_scores_of_a_classification(tmp_path):
    columns = {"score": [100.0, 0.0, 0.0, 100.0], "label": [0, 1, 2, 3], "predicted": [0, 2, 1, 3],
               "top5": [True, True, False, True]}  # fmt: skip
    items.write(tmp_path / "i.parquet", columns)
    frame = items.read(tmp_path / "i.parquet")
    assert items.scores("classification", frame) == {"top1": 50.0, "top5": 75.0}
    assert frame["score"].mean() == 50.0


def annotations(path, images=2):
    """One box an image, of class 5 then class 9: the numbers of categories are not their places."""
    boxes = [[10, 10, 20, 20], [5, 5, 30, 10]]
    content = {
        "images": [{"id": 7 + n, "file_name": f"{n}.png", "width": 64, "height": 64} for n in range(images)],
        "categories": [{"id": 5, "name": "a"}, {"id": 9, "name": "b"}],
        "annotations": [
            {"id": n + 1, "image_id": 7 + n, "category_id": (5, 9)[n], "bbox": boxes[n], "area": 300, "iscrowd": 0}
            for n in range(images)
        ],
    }
    path.write_text(json.dumps(content))
    return boxes


def test_scores_of_a_detection(tmp_path):
    boxes = annotations(tmp_path / "a.json")
    far = [40.0, 40.0, 5.0, 5.0]
    columns = {"score": [0.0, 0.0], "boxes": [[boxes[0], far], [boxes[1]]], "scores": [[0.9, 0.1], [0.8]],
               "labels": [[0, 0], [1]]}  # fmt: skip
    items.write(tmp_path / "i.parquet", columns)
    frame = items.read(tmp_path / "i.parquet")
    assert items.scores("detection", frame, tmp_path / "a.json") == pytest.approx(
        {"box_ap": 100, "box_ap50": 100, "box_ap75": 100}
    )
    columns["labels"] = [[0, 0], [0]]  # the second image's box called by the other name
    items.write(tmp_path / "i.parquet", columns)
    worse = items.scores("detection", items.read(tmp_path / "i.parquet"), tmp_path / "a.json")
    assert worse["box_ap"] < 60
    nothing = columns | {"boxes": [[], []], "scores": [[], []], "labels": [[], []]}
    items.write(tmp_path / "i.parquet", nothing)
    assert items.scores("detection", items.read(tmp_path / "i.parquet"), tmp_path / "a.json")["box_ap"] == 0
    with pytest.raises(UserError, match="name the file"):
        items.scores("detection", frame)
    annotations(tmp_path / "a.json", images=1)
    with pytest.raises(UserError, match="has 1 images, the items are 2"):
        items.scores("detection", frame, tmp_path / "a.json")


def test_an_edited_metric_is_named(tmp_path):
    columns, wanted = translation()
    items.write(tmp_path / "i.parquet", columns)
    frame = items.read(tmp_path / "i.parquet")
    assert items.disagreement("translation", wanted, frame) == ""
    assert items.disagreement("translation", wanted | {"bleu": wanted["bleu"] + 0.009}, frame) == ""
    assert items.disagreement("translation", wanted | {"bleu": 99.9}, frame).startswith("metrics.bleu is 99.9000")
    assert items.disagreement("translation", wanted | {"bleu": float("nan")}, frame).startswith("metrics.bleu is nan")
    assert "metrics.chrf is missing" in items.disagreement("translation", {"bleu": wanted["bleu"]}, frame)


@pytest.mark.parametrize("cut", [0, 3, 100, -10])
def test_a_half_written_file_is_one_line(tmp_path, cut):
    path = tmp_path / "i.parquet"
    items.write(path, segmentation()[0])
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(UserError, match="not a whole Parquet file") as caught:
        items.read(path)
    assert "\n" not in str(caught.value)
    with pytest.raises(UserError, match="file not found"):
        items.read(tmp_path / "absent.parquet")


def test_columns_are_checked(tmp_path):
    path = tmp_path / "i.parquet"
    for columns, words in [
        ({"score": [1.0], "label": [1, 2]}, "one length"),
        ({}, "one length"),
        ({"score": [1.0], "lable": [1]}, "did you mean 'label'"),
        ({"score": ["high"]}, "high"),
    ]:
        with pytest.raises(ValueError, match=words):
            items.write(path, columns)
    assert not path.exists()
    items.write(path, {"score": [1.0]})
    with pytest.raises(UserError, match="'label' is missing for task classification"):
        items.scores("classification", items.read(path))
    items.write(path, {"label": [1]})
    with pytest.raises(UserError, match="column 'score' is missing"):
        items.read(path)


def test_equal_items_are_equal_bytes(tmp_path):
    first = items.write(tmp_path / "a" / "items.parquet", segmentation()[0])
    assert first == items.write(tmp_path / "b" / "items.parquet", segmentation()[0])
