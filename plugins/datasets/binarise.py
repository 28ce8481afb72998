"""Text -> what fairseq's translation task reads: dictionaries and memory-mapped token ids.

The same files as `fairseq-preprocess` writes, without its log file, whose paths and dates would enter the checksum.
"""

from collections import Counter
from pathlib import Path


def binarise(
    text: Path, out: Path, source: str, target: str, splits: list[str], joined: bool, most_types: int = -1
) -> dict[str, int]:
    """Reads text/SPLIT.LANG, tokens parted by blanks, and writes out/dict.LANG.txt and
    out/SPLIT.SOURCE-TARGET.LANG.{bin,idx}; the dictionaries are those of the first split, one for both languages
    if `joined`, cut to the `most_types` most frequent where that is positive. Returns {language: number of types,
    special symbols included}.
    """
    from fairseq.data import Dictionary

    out.mkdir()
    groups = [[source, target]] if joined else [[source], [target]]
    types = {}
    for languages in groups:
        counts = Counter()
        for language in languages:
            for words in _lines(text / f"{splits[0]}.{language}"):
                counts.update(words)
        dictionary = Dictionary()
        for word, count in counts.items():
            dictionary.add_symbol(word, count)
        dictionary.finalize(nwords=most_types)
        for language in languages:
            dictionary.save(str(out / f"dict.{language}.txt"))
            types[language] = len(dictionary)
            for split in splits:
                _write(text / f"{split}.{language}", out / f"{split}.{source}-{target}.{language}", dictionary)
    return types


def _lines(path: Path):
    with open(path, encoding="utf-8", newline="\n") as file:
        for line in file:
            yield line.split()


def _write(text: Path, prefix: Path, dictionary) -> None:
    import torch
    from fairseq.data import indexed_dataset

    builder = indexed_dataset.make_builder(f"{prefix}.bin", impl="mmap", vocab_size=len(dictionary))
    for words in _lines(text):
        builder.add_item(torch.tensor([*map(dictionary.index, words), dictionary.eos()], dtype=torch.int32))
    builder.finalize(f"{prefix}.idx")
