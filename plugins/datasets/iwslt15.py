"""IWSLT 2015 English-Vietnamese (TED talks), the six text files that Stanford's NLP group tokenised and published.

`train`, `valid` (tst2012) and `test` (tst2013) as MUSE's released script takes them: case kept, one byte-pair encoding
of `merges` merges learnt on both languages, a dictionary for each. The script cleans nothing; here pairs with an empty
side or above fairseq's 1,023 subwords leave the training split and are counted.
"""

from collections.abc import Iterator
from pathlib import Path

from plugins.datasets.originals import folder_of
from plugins.datasets.parallel import Corpus, aligned, language_pair, original
from plugins.datasets.prepare import Source, check_range

DEFAULTS = {"source": "en", "target": "vi", "merges": 10000}
SPLITS = {"train": "train", "valid": "tst2012", "test": "tst2013"}
ORIGIN = "Stanford NLP's page of neural machine translation, data iwslt15.en-vi"


def build(folder: Path, params: dict, source: Source) -> dict:
    """Writes text/, bin/ and subword.codes into `folder`; returns the facts of the manifest."""
    languages = language_pair("iwslt15", params, ("en", "vi"))
    check_range("iwslt15", params, "merges", 10, 100000)
    corpus = Corpus(folder, "iwslt15", languages, SPLITS)
    corpus.write(_sentences(corpus, folder_of(source, "iwslt15", ORIGIN)))
    return corpus.finish(
        corpus.learn_bpe(params["merges"]), subword="subword_nmt", tokenise="none", joined=False,
        whole={split: SPLITS[split] for split in ("valid", "test")},
    )  # fmt: skip


def _sentences(corpus: Corpus, originals: Path) -> Iterator[tuple[str, str, str]]:
    """(split, source sentence, target sentence)"""
    for split, name in SPLITS.items():
        paths = [original(originals / f"{name}.{language}", ORIGIN) for language in corpus.languages]
        for pair in aligned(*paths):
            yield split, *(" ".join(line.split()) for line in pair)
        for path in paths:
            corpus.record(path)
