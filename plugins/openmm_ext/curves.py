"""What a training leaves in `curves.jsonl`, line by line, and what is read off it."""

from __future__ import annotations

import json
from pathlib import Path

from plugins.suite import files

STREAM_UPDATES = 20


def lines_of(path: Path) -> list[dict]:
    """The lines of `curves.jsonl`; one that a kill cut short is left out. None are there before the first."""
    lines = []
    for text in path.read_text(encoding="utf-8").splitlines() if path.is_file() else ():
        try:
            line = json.loads(text)
        except ValueError:
            continue
        if isinstance(line, dict) and "update" in line:
            lines.append(line)
    return lines


def trim(path: Path, last: int) -> None:
    """Drops the lines after update `last`, which a resumed training writes again."""
    if path.exists():
        kept = [line for line in lines_of(path) if line["update"] <= last]
        files.write_text(path, "".join(json.dumps(line) + "\n" for line in kept))


def seconds_of_updates(path: Path) -> float:
    """Seconds that the updates of the curve took: without start, validation and checkpoints."""
    lines = lines_of(path)
    updates = [0, *(line["update"] for line in lines)]
    return sum(line["seconds"] * (line["update"] - before) for line, before in zip(lines, updates, strict=False))


def last_training_loss(path: Path, updates: int) -> float:
    """Mean of the training loss over the last tenth of the updates (at least the last line)."""
    late = [line["train_loss"] for line in lines_of(path) if line["update"] > 0.9 * updates]
    return sum(late) / len(late)


def stream_loss(path: Path, updates: int, drawn: int, images: int) -> dict[str, float]:
    """{"stream": mean training loss of the last `STREAM_UPDATES` updates} of a training that sees no image twice: every
    batch is scored before it is learnt from. {} where `drawn`, the images of all batches, exceeds `images`, those there
    are.
    """
    if drawn > images:
        return {}
    total, before = 0.0, 0
    for line in lines_of(path):
        # A line is a mean over several updates, and may begin before the last ones.
        total += line["train_loss"] * max(0, line["update"] - max(before, updates - STREAM_UPDATES))
        before = line["update"]
    return {"stream": total / min(STREAM_UPDATES, updates)}


def curve(path: Path, metrics: dict[str, tuple[str, float]]) -> dict[str, list[float]]:
    """The course of a training: `update`, `train_loss` (mean since the point before), and, where the validation split
    was scored, the metrics.

    A point is an update at which the validation split was scored; in a training without such, every line.
    metrics: ours -> (the package's key, factor).
    """
    lines = lines_of(path)
    scored = any("valid" in line for line in lines)
    points = {key: [] for key in ("update", "train_loss", *(metrics if scored else ()))}
    since = []
    for line in lines:
        since.append(line["train_loss"])
        if scored and "valid" not in line:
            continue
        points["update"].append(line["update"])
        points["train_loss"].append(round(sum(since) / len(since), 5))
        for ours, (theirs, factor) in metrics.items() if scored else ():
            # mmdet's metric says nothing where nothing was detected.
            points[ours].append(round(line["valid"].get(theirs, 0.0) * factor, 4))
        since = []
    return points


def score_at_loss(losses: list[float], scores: list[float], loss: float) -> float | None:
    """The score where the training loss first falls to `loss`, between two points linearly; None where it never does.

    A curve that starts below has no such point either.
    """
    for i in range(1, len(losses)):
        if losses[i] <= loss < losses[i - 1]:
            share = (losses[i - 1] - loss) / (losses[i - 1] - losses[i])
            return scores[i - 1] + share * (scores[i] - scores[i - 1])
    return None
