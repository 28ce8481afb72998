"""WMT 2014 English-German and English-French, from the campaign's unpacked archives, as fairseq's examples do.

Punctuation normalised, unprintable characters blanked, Moses tokens with hyphens inside words as tokens `@-@`, case
kept. One byte-pair encoding learnt on both languages of the training split, one dictionary for both. Then pairs of 1 to
`longest` subwords a side with a length ratio of at most `ratio` stay; what is scored stays whole. English-German: the
three corpora of the campaign, newstest2013 as `valid`, 32,000 merges, the 32,768 most frequent types. English-French:
five corpora, every 1,333rd pair as `valid`, 40,000 merges. `test` is newstest2014 (test-full), in Moses tokens, as it
is scored. `merges` of 0 means the pair's own number; `workers` is how many processes tokenise.

Departures from the examples: sacremoses instead of Moses' Perl scripts, so that a few tokens and pairs may differ.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from plugins.datasets.originals import folder_of
from plugins.datasets.parallel import (
    Corpus,
    Limits,
    aligned,
    in_processes,
    language_pair,
    lines,
    moses,
    original,
    segments,
)
from plugins.datasets.prepare import Source, check_range
from plugins.suite.errors import UserError

DEFAULTS = {"source": "en", "target": "de", "merges": 0, "longest": 250, "ratio": 1.5, "workers": 1}
ORIGIN = "the translation task's data of WMT 2014 (statmt.org), unpacked as its archives are"


@dataclass(frozen=True)
class Release:
    """What the campaign has for two languages. Files are given without the language's suffix."""

    train: tuple[str, ...]
    test: str
    merges: int
    valid: str | None = None  # without it every `valid_every`-th training pair
    valid_every: int = 0
    most_types: int = -1


RELEASES = {
    "de": Release(
        train=("training/europarl-v7.de-en", "commoncrawl.de-en", "training/news-commentary-v9.de-en"),
        valid="dev/newstest2013",
        test="test-full/newstest2014-deen",
        merges=32000,
        most_types=32768,
    ),
    "fr": Release(
        train=(
            "training/europarl-v7.fr-en",
            "commoncrawl.fr-en",
            "un/undoc.2000.fr-en",
            "training/news-commentary-v9.fr-en",
            "giga-fren.release2.fixed",
        ),
        valid_every=1333,
        test="test-full/newstest2014-fren",
        merges=40000,
    ),
}


def build(folder: Path, params: dict, source: Source) -> dict:
    """Writes text/, bin/ and subword.codes into `folder`; returns the facts of the manifest."""
    languages = language_pair("wmt14", params, ("en", *RELEASES))
    if "en" not in languages:
        raise UserError(f"data set wmt14: source or target must be en, they are {' and '.join(languages)}")
    for key, low, high in (("merges", 0, 100000), ("longest", 1, 1023), ("ratio", 1.0, 100.0), ("workers", 1, 256)):
        check_range("wmt14", params, key, low, high)
    release = RELEASES[next(language for language in languages if language != "en")]
    corpus = Corpus(folder, "wmt14", languages, ("train", "valid", "test"))
    files = _files(folder_of(source, "wmt14", ORIGIN), release, languages)
    corpus.write(_sentences(corpus, files, release, params["workers"]))
    for path in (path for paths in files.values() for pair in paths for path in pair):
        corpus.record(path)
    return corpus.finish(
        corpus.learn_bpe(params["merges"] or release.merges), subword="subword_nmt", tokenise="none", joined=True,
        limits=Limits(params["longest"], params["ratio"]), most_types=release.most_types,
        whole={"test": release.test} | ({"valid": release.valid} if release.valid else {}),
    )  # fmt: skip


def _files(root: Path, release: Release, languages: list[str]) -> dict[str, list[tuple[Path, Path]]]:
    """{split: pairs of files}; all are looked for before any is read."""

    def pair(pattern: str) -> tuple[Path, Path]:
        sides = zip(("src", "ref"), languages, strict=True)
        return tuple(original(root / pattern.format(side=side, language=language), ORIGIN) for side, language in sides)

    return {
        "train": [pair(f"{stem}.{{language}}") for stem in release.train],
        "valid": [pair(f"{release.valid}.{{language}}")] if release.valid else [],
        "test": [pair(f"{release.test}-{{side}}.{{language}}.sgm")],
    }


def _sentences(corpus: Corpus, files: dict, release: Release, workers: int) -> Iterator[tuple[str, str, str]]:
    """(split, source sentence, target sentence) in Moses tokens."""
    number = 0
    for split, pairs in files.items():
        for paths in pairs:
            raw = aligned(*paths, segments if split == "test" else lines)
            tokenise = partial(_tokenised, corpus.languages, split != "test")
            for pair in in_processes(tokenise, raw, workers):
                number += split == "train"
                held_out = split == "train" and release.valid_every and number % release.valid_every == 0
                yield "valid" if held_out else split, *pair


def _tokenised(languages: list[str], normalise: bool, pair: tuple[str, str]) -> tuple[str, ...]:
    sides = zip(pair, languages, strict=True)
    return tuple(moses(line, language, normalise, hyphens=True) for line, language in sides)
