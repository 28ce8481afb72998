"""Text -> what fairseq's translation task reads: dictionaries and memory-mapped token ids.

The same files as `fairseq-preprocess` writes, without its log file, whose paths and dates would enter the checksum.
"""

from collections.abc import Callable
from pathlib import Path


def binarise(
    text: Path,
    out: Path,
    source: str,
    target: str,
    splits: list[str],
    joined: bool,
    encode: Callable[[str], list[str]] = str.split,
) -> dict[str, int]:
    """Reads text/SPLIT.LANG line by line through `encode` (line -> tokens), writes out/dict.LANG.txt and
    out/SPLIT.SOURCE-TARGET.LANG.{bin,idx}; the dictionaries are those of the first split, one for both languages
    if `joined`. Returns {language: number of types, special symbols included}.
    """
    from fairseq.data import Dictionary

    out.mkdir()
    groups = [[source, target]] if joined else [[source], [target]]
    types = {}
    for languages in groups:
        dictionary = Dictionary()
        for language in languages:
            for words in _lines(text / f"{splits[0]}.{language}", encode):
                for word in words:
                    dictionary.add_symbol(word)
        dictionary.finalize()
        for language in languages:
            dictionary.save(str(out / f"dict.{language}.txt"))
            types[language] = len(dictionary)
            for split in splits:
                _write(text / f"{split}.{language}", out / f"{split}.{source}-{target}.{language}", dictionary, encode)
    return types


def _lines(path: Path, encode: Callable[[str], list[str]]):
    with open(path, encoding="utf-8", newline="\n") as file:
        for line in file:
            yield encode(line.rstrip("\n"))


def _write(text: Path, prefix: Path, dictionary, encode: Callable[[str], list[str]]) -> None:
    import torch
    from fairseq.data import indexed_dataset

    builder = indexed_dataset.make_builder(f"{prefix}.bin", impl="mmap", vocab_size=len(dictionary))
    for words in _lines(text, encode):
        builder.add_item(torch.tensor([*map(dictionary.index, words), dictionary.eos()], dtype=torch.int32))
    builder.finalize(f"{prefix}.idx")
