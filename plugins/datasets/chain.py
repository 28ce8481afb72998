"""Probe *chain*: each target word says which source word to read next.

Mechanism: query and key content together (E1) in encoder-decoder attention. A source sentence is a start word, which
names a key, and pair words (key, next key), each after a filler word. The target is the chain of keys: the first, then
its next, and so on. A key stands in one chain once. With `order: permuted` the pairs stand in random order, so that
only the last target word tells which pair comes next; with `order: monotone` (the control) they stand in the order of
the chain, and counting does.

Without content a decoder knows which keys the sentence holds and which it has said; it must guess among the rest: with
n pairs, 1 of n at first, then 1 of n - 1, down to the last, which it knows: (1 + 1/2 + .. + 1/n) / n on average, 61 %
for 3 pairs, 27 % for 11, 36 % over all words with 12 keys. An encoder that attends by content may sort some of the
pairs for it. With `rare`, that many pair words in 100 are shown in one of `forms` rare forms, whose frequencies fall as
1 / rank; a form that the training hardly shows leads nowhere, with content too, and the next key is guessed among those
that no known pair has named. The rule is `next`; `first` is read off the start word.
"""

from functools import partial
from pathlib import Path

import numpy as np

from plugins.datasets import language
from plugins.datasets.prepare import Source

DEFAULTS = {
    "seed": 1,
    "sentences": 6000,
    "valid": 300,
    "test": 1000,
    "order": "permuted",
    "keys": 12,
    "rare": 0,
    "forms": 100,
}
# A sentence of the shortest kind leaves a key over.
LIMITS = {"order": ["permuted", "monotone"], "keys": (4, 100), "rare": (0, 50), "forms": (1, 1000)}
DRAWN_FOR_EACH_RUN = True
SHORTEST = 3
FILLERS = 20


def build(folder: Path, params: dict, source: Source) -> dict:
    """Writes the folder; returns the facts of its manifest."""
    options = {"keys": params["keys"], "permuted": params["order"] == "permuted"}
    draw = partial(sentence, **options, rare=params["rare"], forms=params["forms"])
    return language.build(folder, params, draw, {"first": 100 / params["keys"], "next": 100 / (params["keys"] - 1)})


def sentence(generator: np.random.Generator, keys: int, permuted: bool, rare: int, forms: int) -> language.Sentence:
    """One sentence with a chain of 3 to `keys` - 1 pairs."""
    pairs = int(generator.integers(SHORTEST, keys))
    chain = generator.permutation(keys)[: pairs + 1]
    words = [f"pair{a}:{b}" for a, b in zip(chain[:-1], chain[1:], strict=True)]
    if permuted:
        words = [words[i] for i in generator.permutation(pairs)]
    fillers = generator.integers(0, FILLERS, size=pairs)
    endings = language.draw_forms(generator, pairs, rare, forms)
    words = [word + ending for word, ending in zip(words, endings, strict=True)]
    body = [word for filler, pair in zip(fillers, words, strict=True) for word in (f"filler{filler}", pair)]
    target = [f"key{key}" for key in chain]
    stratum = "short" if pairs < keys // 2 else "long"
    return language.Sentence([f"start{chain[0]}", *body], target, ["first", *["next"] * pairs], stratum)
