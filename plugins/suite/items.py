"""What a run scored, item by item: items.parquet beside metrics.json, and the scores that follow from it.

One row an item of the scored split, in the order of the split. Columns of every task: `item` (int32, its number) and
`score` (float64: 0 or 100 where the metric is a mean over items, else the item's jackknife pseudo-value). Then what the
metrics are computed from:

translation     source_words: int; bleu: hypothesis and reference length, matches and totals of 1- to 4-grams
                (10 ints); chrf: hypothesis, reference and matching n-grams of each order (18 ints), by sacrebleu;
                where rules decide target words, also rules: their names; right, total: words by rule; stratum
classification  label, predicted: int; top5: bool
segmentation    intersect, union: pixels by class (lists of ints), ignored pixels left out
probe           part: names (all, parts of the label, strata); right, total: labelled tokens, by part (lists of ints)
detection       boxes: [x, y, width, height] of each detection, pixels of the image; scores; labels: index of class
"""

from __future__ import annotations

import contextlib
import io
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from plugins.suite import files
from plugins.suite.data import file_sha256
from plugins.suite.errors import UserError

NAME = "items.parquet"
COLUMNS = {
    "translation": ("source_words", "bleu", "chrf"),
    "classification": ("label", "predicted", "top5"),
    "segmentation": ("intersect", "union"),
    "detection": ("boxes", "scores", "labels"),
    "probe": ("part", "right", "total"),
}
# By how much, in percent, metrics and what the items say may differ: frameworks round to two digits.
TOLERANCE = 0.01
RULE_COLUMNS = ("rules", "right", "total", "stratum")
# COCO's numbers of detections an image that are looked at, as mmdetection sets them.
MOST_DETECTIONS = [100, 300, 1000]


def _types() -> dict:
    import pyarrow as pa

    numbers = pa.list_(pa.int64())
    return {
        "item": pa.int32(), "score": pa.float64(),
        "source_words": pa.int32(), "bleu": numbers, "chrf": numbers,
        "rules": pa.list_(pa.string()), "right": numbers, "total": numbers, "stratum": pa.string(),
        "label": pa.int32(), "predicted": pa.int32(), "top5": pa.bool_(),
        "intersect": numbers, "union": numbers,
        "boxes": pa.list_(pa.list_(pa.float64())), "scores": pa.list_(pa.float64()), "labels": pa.list_(pa.int32()),
        "part": pa.list_(pa.string()),
    }  # fmt: skip


def write(path: Path, columns: Mapping[str, Sequence]) -> dict:
    """Writes the columns, one value an item each, and returns {file, n, sha256}; `item` is added where it is absent.

    ValueError for an unknown column, columns of unlike length, or values that are not of a column's type.
    """
    import pyarrow as pa
    import pyarrow.parquet as parquet

    columns = dict(columns)
    lengths = {name: len(values) for name, values in columns.items()}
    if not lengths or len(set(lengths.values())) != 1:
        raise ValueError(f"items: the columns must be of one length and at least one, they are {lengths}")
    types, n = _types(), next(iter(lengths.values()))
    unknown = sorted(columns.keys() - types.keys())
    if unknown:
        raise ValueError(f"items: unknown column '{unknown[0]}'{files.nearest(unknown[0], types)}")
    columns = {"item": columns.pop("item", range(n)), **columns}
    table = pa.table({name: pa.array(list(values), types[name]) for name, values in columns.items()})
    content = io.BytesIO()
    parquet.write_table(table, content, compression="zstd")
    files.write_bytes(path, content.getvalue())
    return {"file": Path(path).name, "n": n, "sha256": file_sha256(path)}


def read(path: Path):
    """The items as a pandas DataFrame; UserError for a file that is not there, cut short, or of unknown columns."""
    import pyarrow as pa
    import pyarrow.parquet as parquet

    try:
        table = parquet.read_table(path)
    except FileNotFoundError:
        raise UserError(f"{path}: file not found; run the arm again") from None
    except (pa.ArrowException, OSError) as error:
        raise UserError(f"{path}: not a whole Parquet file ({files.one_line(error)}); run the arm again") from None
    types = _types()
    for field in table.schema:
        if types.get(field.name) not in (None, field.type):
            raise UserError(f"{path}: column '{field.name}' is {field.type}, must be {types[field.name]}")
    for name in ("item", "score"):
        if name not in table.column_names:
            raise UserError(f"{path}: column '{name}' is missing; run the arm again")
    return table.to_pandas()


def scores(task: str, frame, annotations: Path | None = None) -> dict[str, float]:
    """The metrics of a task recomputed from its items, in percent; detection needs its COCO `annotations` file.

    UserError for a frame that lacks what the task is scored from.
    """
    missing = [name for name in COLUMNS[task] if name not in frame.columns]
    if missing or not len(frame):
        raise UserError(f"items: {'no rows' if not missing else f'column {missing[0]!r} is missing'} for task {task}")
    if task == "detection":
        return _detection(frame, annotations)
    of = {
        "translation": _translation, "classification": _classification, "segmentation": _segmentation, "probe": _probe,
    }  # fmt: skip
    return of[task](frame)


def disagreement(task: str, metrics: Mapping[str, float], frame, annotations: Path | None = None) -> str:
    """ "" where the metrics follow from the items, else the first that does not, in one line."""
    for name, value in scores(task, frame, annotations).items():
        if name not in metrics:
            return f"metrics.{name} is missing, the items say {value:.4f}"
        if not abs(metrics[name] - value) <= TOLERANCE:
            return f"metrics.{name} is {metrics[name]:.4f}, the items say {value:.4f}"
    return ""


def _translation(frame) -> dict[str, float]:
    from sacrebleu.metrics import BLEU, CHRF

    lengths_and_counts = _sum(frame["bleu"])
    bleu = BLEU.compute_bleu(
        correct=lengths_and_counts[2:6],
        total=lengths_and_counts[6:10],
        sys_len=lengths_and_counts[0],
        ref_len=lengths_and_counts[1],
        smooth_method="exp",
    )
    by_rule = _accuracies(frame) if has_rules(frame) else {}
    return {"bleu": bleu.score, "chrf": CHRF()._compute_score_from_stats(_sum(frame["chrf"])).score, **by_rule}


def has_rules(frame) -> bool:
    """Whether rules decide words of these sentences."""
    return "rules" in frame.columns and bool(frame["rules"].notna().all())


def _accuracies(frame) -> dict[str, float]:
    """What `rule_metrics` makes of the counts of all sentences."""
    counts: Counter[tuple[str, str, bool]] = Counter()
    for rules, right, total, stratum in zip(*(frame[key] for key in RULE_COLUMNS), strict=True):
        for rule, hits, words in zip(rules, right, total, strict=True):
            counts[rule, stratum, True] += int(hits)
            counts[rule, stratum, False] += int(words - hits)
    return rule_metrics(counts)


def rule_metrics(counts: Mapping[tuple[str, str, bool], int]) -> dict[str, float]:
    """Accuracies in percent from the number of target words by (rule, stratum, whether they were right).

    `accuracy` over all words, `accuracy_<rule>`, `accuracy_<rule>_<stratum>`; those without words are left out. Where
    the strata are lengths, `logit_length_slope`: see `logit_slope`.
    """
    groups: dict[str, Counter] = {}
    for (rule, stratum, right), number in counts.items():
        for name in ("accuracy", f"accuracy_{rule}", f"accuracy_{rule}_{stratum}"):
            groups.setdefault(name, Counter())[right] += number
    metrics = {name: 100 * group[True] / group.total() for name, group in sorted(groups.items()) if group.total()}
    weights = logit_weights(counts)
    if weights:
        metrics["logit_length_slope"] = sum(
            weight * math.log(odds(counts[rule, stratum, True], counts[rule, stratum, False]))
            for (rule, stratum), weight in weights.items()
        )
    return metrics


def odds(right: int, wrong: int) -> float:
    """Right to wrong, half a word added to both, so that none is infinite (Haldane, Anscombe)."""
    return (right + 0.5) / (wrong + 0.5)


def logit_weights(counts: Mapping[tuple[str, str, bool], int]) -> dict[tuple[str, str], float]:
    """What each (rule, stratum) weighs in the slope of the logit of accuracy over the strata of length, by least
    squares, averaged over the rules that have words in every stratum: their words are equally hard at every length.

    {} unless there are at least three strata length1, length2, .. and nothing else.
    """
    strata = sorted({stratum for _, stratum, _ in counts}, key=lambda name: (len(name), name))
    if len(strata) < 3 or strata != [f"length{number + 1}" for number in range(len(strata))]:
        return {}
    rules = sorted({rule for rule, _, _ in counts})
    rules = [r for r in rules if all(counts.get((r, s, True), 0) + counts.get((r, s, False), 0) for s in strata)]
    places = [number - (len(strata) - 1) / 2 for number in range(len(strata))]
    scale = sum(place**2 for place in places) * len(rules)
    return {(rule, stratum): place / scale for rule in rules for stratum, place in zip(strata, places, strict=True)}


def _classification(frame) -> dict[str, float]:
    return {
        "top1": 100 * float((frame["label"] == frame["predicted"]).mean()),
        "top5": 100 * float(frame["top5"].mean()),
    }


def _segmentation(frame) -> dict[str, float]:
    """Mean over the classes that occur; every pixel that counts has one label and one prediction, so that the unions
    and intersections of all classes together count it twice."""
    intersect, union = _sum(frame["intersect"]), _sum(frame["union"])
    shares = [i / u for i, u in zip(intersect, union, strict=True) if u]
    pixels = (sum(intersect) + sum(union)) / 2
    return {"miou": 100 * sum(shares) / len(shares), "pixel_accuracy": 100 * sum(intersect) / pixels}


def _probe(frame) -> dict[str, float]:
    """Shares of labelled tokens that are right; a stratum without any has no accuracy."""
    right, total = _sum(frame["right"]), _sum(frame["total"])
    names = ["accuracy", *(f"accuracy_{name}" for name in list(frame["part"].iloc[0])[1:])]
    return {name: 100 * r / t for name, r, t in zip(names, right, total, strict=True) if t}


def _detection(frame, annotations: Path | None) -> dict[str, float]:
    """COCO's average precision over boxes, of the images of the annotation file in their order."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    if annotations is None:
        raise UserError("items: detection is scored against its annotations; name the file")
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO(str(annotations))
        images, classes = list(truth.imgs), list(truth.cats)
        if len(images) != len(frame):
            raise UserError(f"{annotations}: has {len(images)} images, the items are {len(frame)}")
        detections = [
            {
                "image_id": images[item],
                "bbox": list(map(float, box)),
                "score": float(score),
                "category_id": classes[label],
            }
            for item, boxes, values, labels in zip(
                frame["item"], frame["boxes"], frame["scores"], frame["labels"], strict=True
            )
            for box, score, label in zip(boxes, values, labels, strict=True)
        ]
        if not detections:
            return {"box_ap": 0.0, "box_ap50": 0.0, "box_ap75": 0.0}
        evaluation = COCOeval(truth, truth.loadRes(detections), "bbox")
        evaluation.params.maxDets = MOST_DETECTIONS
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return {name: 100 * float(evaluation.stats[index]) for index, name in enumerate(("box_ap", "box_ap50", "box_ap75"))}


def _sum(rows) -> list[int]:
    """Element by element over the rows; ValueError where they are not of one length."""
    return [sum(map(int, column)) for column in zip(*rows, strict=True)]
