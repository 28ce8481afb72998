"""What the translation probes share: sentences with a rule for each target word, as text, binarised, and tagged.

`tags/<split>` has a line for each sentence: for every target word the name of the rule that decides it, `-` for words
that are not scored. Scores are teacher-forced: how often the word that a rule decides is the likeliest, given the true
words before it. So a rule is judged by itself, whatever else of the sentence is right.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from plugins.datasets.binarise import binarise

SOURCE, TARGET = "source", "target"
UNSCORED = "-"
ZIPF_UNIT = 720_720  # a multiple of 1 to 16; the weight of the commonest rare form


@dataclass(frozen=True)
class Sentence:
    """Words of both sides, a tag for each target word, and the stratum (e.g. of its length) that the sentence is of."""

    source: list[str]
    target: list[str]
    tags: list[str]
    stratum: str


def draw_forms(generator: np.random.Generator, size: int, rare: int, forms: int) -> list[str]:
    """What is put behind `size` words: "" for the common form of each or, in `rare` of 100 words, "~1" to "~<forms>".

    Rare form r has a weight of 1 / r (Zipf): some are seen often in the training, many once or never, and what a word
    of these means has to be learnt from the few times. Weights are whole numbers, so that the draws are the same on
    every processor. Without rare forms nothing is drawn.
    """
    if not rare:
        return [""] * size
    bounds = np.cumsum(ZIPF_UNIT // np.arange(1, forms + 1))
    chosen = generator.integers(100, size=size) < rare
    ranks = 1 + np.searchsorted(bounds, generator.integers(bounds[-1], size=size), side="right")
    return [f"~{rank}" if is_rare else "" for rank, is_rare in zip(ranks, chosen, strict=True)]


def build(folder: Path, params: dict, draw, rules: dict[str, float]) -> dict:
    """Writes text/, tags/, strata/ and bin/; returns the facts of the manifest.

    `draw(generator) -> Sentence`; `rules` maps each rule to the accuracy (%) of guessing. Splits come from generators
    of their own.
    """
    sizes = {"train": params["sentences"], "valid": params["valid"], "test": params["test"]}
    for name in ("text", "tags", "strata"):
        (folder / name).mkdir()
    for index, (split, size) in enumerate(sizes.items()):
        generator = np.random.default_rng([params["seed"], index])
        sentences = [draw(generator) for _ in range(size)]
        _write(folder / "text" / f"{split}.{SOURCE}", (s.source for s in sentences))
        _write(folder / "text" / f"{split}.{TARGET}", (s.target for s in sentences))
        _write(folder / "tags" / split, (s.tags for s in sentences))
        _write(folder / "strata" / split, ([s.stratum] for s in sentences))
    types = binarise(folder / "text", folder / "bin", SOURCE, TARGET, list(sizes), joined=False)
    return {
        "task": "translation",
        "source_lang": SOURCE,
        "target_lang": TARGET,
        "subword": None,
        "tokenise": "none",
        "rules": rules,
        "counts": {**sizes, "types": types},
        "skipped": {},
    }


def _write(path: Path, lines: Iterable[list[str]]) -> None:
    path.write_text("".join(f"{' '.join(words)}\n" for words in lines), encoding="utf-8")
