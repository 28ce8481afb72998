"""IWSLT 2014 German-English (TED talks), from the release's archive de-en.tgz, as fairseq's published example does it.

Training text: lines of addresses, talk numbers and keywords dropped, tags of titles and descriptions removed, Moses
tokens, 1 to `longest` tokens a side and a length ratio of at most `ratio`, lower case; every 23rd pair that stays is
`valid`. `test` is dev2010, TEDX.dev2012, tst2010, tst2011 and tst2012, whole. One byte-pair encoding of `merges` merges
is learnt on both languages, each has a dictionary of its own. Text is stored in Moses tokens, as it is scored.

Departures from the example: sacremoses instead of Moses' Perl scripts, so that a few tokens and pairs may differ; pairs
above fairseq's 1,023 subwords leave the training split.
"""

from collections import Counter
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from plugins.datasets.originals import folder_of
from plugins.datasets.parallel import (
    Corpus,
    Limits,
    aligned,
    cleaned,
    language_pair,
    lines,
    moses,
    original,
    segments,
    unpack,
)
from plugins.datasets.prepare import Source, check_range

DEFAULTS = {"source": "de", "target": "en", "merges": 10000, "longest": 175, "ratio": 1.5}
LANGUAGES = ("de", "en")
ORIGIN = "the IWSLT 2014 release of WIT3, archive 2014-01/texts/de/en/de-en.tgz"
TRAIN = "train.tags.de-en.{}"
TESTS = [
    f"IWSLT14.{part}.de-en.{{}}.xml"
    for part in ("TED.dev2010", "TEDX.dev2012", "TED.tst2010", "TED.tst2011", "TED.tst2012")
]
VALID_EVERY = 23
DROPPED_LINES = ("<url>", "<talkid>", "<keywords>")
REMOVED_TAGS = ("<title>", "</title>", "<description>", "</description>")


def build(folder: Path, params: dict, source: Source) -> dict:
    """Writes text/, bin/ and subword.codes into `folder`; returns the facts of the manifest."""
    languages = language_pair("iwslt14", params, LANGUAGES)
    check_range("iwslt14", params, "merges", 10, 100000)
    check_range("iwslt14", params, "longest", 1, 1000)
    check_range("iwslt14", params, "ratio", 1.0, 100.0)
    corpus = Corpus(folder, "iwslt14", languages, ("train", "valid", "test"))
    originals = _originals(folder_of(source, "iwslt14", ORIGIN), corpus)
    corpus.write(_sentences(corpus, originals, Limits(params["longest"], params["ratio"])))
    return corpus.finish(
        corpus.learn_bpe(params["merges"]), subword="subword_nmt", tokenise="none", joined=False,
        whole={"test": "the test files in their order"},
    )  # fmt: skip


def _originals(root: Path, corpus: Corpus) -> Path:
    """The folder of the release's files: de-en/ where it is there, else what is needed of de-en.tgz."""
    names = [name.format(language) for name in (TRAIN, *TESTS) for language in LANGUAGES]
    if (root / "de-en").is_dir():
        for name in names:
            corpus.record(original(root / "de-en" / name, ORIGIN))
        return root / "de-en"
    archive = original(root / "de-en.tgz", ORIGIN)
    unpacked = corpus.work / "de-en"
    unpacked.mkdir()
    unpack(archive, [f"de-en/{name}" for name in names], unpacked)
    corpus.record(archive)
    return unpacked


def _sentences(corpus: Corpus, originals: Path, limits: Limits) -> Iterator[tuple[str, str, str]]:
    """(split, source sentence, target sentence), lower-cased Moses tokens."""

    def pairs(name: str, read) -> Iterator[tuple[str, str]]:
        paths = [original(originals / name.format(language), ORIGIN) for language in corpus.languages]
        for pair in aligned(*paths, read):
            yield tuple(moses(line, language) for line, language in zip(pair, corpus.languages, strict=True))

    train = cleaned(pairs(TRAIN, partial(talk_lines, noted=corpus.noted)), limits, corpus.skipped)
    for number, pair in enumerate(train, 1):
        yield "train" if number % VALID_EVERY else "valid", *map(str.lower, pair)
    for name in TESTS:
        for pair in pairs(name, segments):
            yield "test", *map(str.lower, pair)


def talk_lines(path: Path, noted: Counter) -> Iterator[str]:
    """The lines of text of a training file; what is dropped, and other markup that stays, is counted into `noted`."""
    for line in lines(path):
        if any(tag in line for tag in DROPPED_LINES):
            noted["lines about a talk dropped"] += 1
            continue
        for tag in REMOVED_TAGS:
            line = line.replace(tag, "")
        if line.lstrip().startswith("<"):
            noted["lines with other markup kept"] += 1
        yield line
