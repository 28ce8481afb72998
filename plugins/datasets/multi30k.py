"""Multi30k task 1 (captions; GitHub multi30k/dataset): raw text for scoring, joint subwords, binarised for fairseq.

Splits: train, valid (val), test (test_2016_flickr) and test2017 (test_2017_flickr). Text keeps its case unless
`lowercase`. Pairs of the training split with an empty side or more than `longest` words are left out and counted; the
other splits stay whole, so that scores compare. Each original file is checked against its SHA-256.
"""

import io
from collections.abc import Iterable
from itertools import chain
from pathlib import Path

from plugins.datasets.originals import download, folder_of, missing
from plugins.datasets.parallel import Corpus, Limits, aligned, cleaned, language_pair
from plugins.datasets.prepare import Source, check_range
from plugins.suite.data import file_sha256
from plugins.suite.errors import UserError

DEFAULTS = {"source": "de", "target": "en", "vocabulary": 6000, "lowercase": False, "longest": 100}
SPLITS = {"train": "train", "valid": "val", "test": "test_2016_flickr", "test2017": "test_2017_flickr"}
ORIGIN = "GitHub multi30k/dataset, folder data/task1/raw"
URL = "https://raw.githubusercontent.com/multi30k/dataset/master/data/task1/raw"
SHA256 = {
    "test_2016_flickr.de.gz": "9204244e408ccb38d2a55cfcd344df15005fc42a07a6e55ca6c52b6ababb8cc8",
    "test_2016_flickr.en.gz": "611d361c6334bc7246101d48097c13cf5c4413c5befc793cc629934359d532d9",
    "test_2016_flickr.fr.gz": "6d326e188d259fb1d04ac19eae3af956559b3a0b93d7635e56c90987c40c8b90",
    "test_2017_flickr.de.gz": "a2c89666db00c495cd8513b9d708d5a3acc205d7de312ef2bf5fb7ebc1540aee",
    "test_2017_flickr.en.gz": "76a444ee25172e72695cddb13ae4a3bda59430617be88e0bb46b60504f054074",
    "test_2017_flickr.fr.gz": "3ba671ceb2299f3304ffafefea7a833d08632fbaf0ba18546f8a2ec2391af496",
    "train.de.gz": "726e39b2fa9eb9ffb6dc763fb35a179f80fae06ffc5d28b6ace5faa883de28a6",
    "train.en.gz": "d79cfa999dd4c51d2cb42499b6796d5a882c3a8a961923c25a898c90f8bbd56f",
    "train.fr.gz": "622e75069e9f4c577425c4f277116ce66e63a2401c0a2312d90073cb12379a3c",
    "val.de.gz": "f0cba2f995189cf5770f29a8a9a537a3ad3f51657ad873405082ff6863a5e75a",
    "val.en.gz": "14f7d25ddd868909a9213e361768460edcacdd6ab9d1e77b92560dc10c10dc28",
    "val.fr.gz": "ca3106f1a72390591d25f6c45cb4cd39dec4cd3f123e099748a3ce5256c160e9",
}


def build(folder: Path, params: dict, source: Source) -> dict:
    """Writes text/, bin/ and subword.model into `folder`; returns the facts of the manifest."""
    languages = language_pair("multi30k", params, ("de", "en", "fr"))
    check_range("multi30k", params, "vocabulary", 100, 32000)
    check_range("multi30k", params, "longest", 1, 1000)
    corpus = Corpus(folder, "multi30k", languages, SPLITS)
    corpus.write(_sentences(corpus, folder_of(source, "multi30k", ORIGIN, fetchable=True), params, source.fetch))
    encode = _subwords(folder, chain.from_iterable(corpus.train_pairs()), params["vocabulary"])
    whole = {split: original for split, original in SPLITS.items() if split != "train"}
    return corpus.finish(encode, subword="sentencepiece", tokenise="13a", joined=True, whole=whole)


def _sentences(corpus: Corpus, originals: Path, params: dict, fetch: bool):
    """(split, source sentence, target sentence), the training split cleaned."""
    for split, original in SPLITS.items():
        paths = [_original(originals, f"{original}.{language}.gz", fetch) for language in corpus.languages]
        pairs = aligned(*paths)
        if split == "train":
            pairs = cleaned(pairs, Limits(longest=params["longest"]), corpus.skipped)
        for pair in pairs:
            yield split, *(line.lower() if params["lowercase"] else line for line in pair)
        for path in paths:
            _check_sha256(path)
            corpus.record(path)


def _original(folder: Path, name: str, fetch: bool) -> Path:
    path = folder / name
    if not path.is_file():
        if not fetch:
            raise missing(path, ORIGIN, fetchable=True)
        download(f"{URL}/{name}", path, SHA256[name])
    return path


def _check_sha256(path: Path) -> None:
    digest = file_sha256(path)
    if digest != SHA256[path.name]:
        raise UserError(f"{path}: SHA-256 is {digest}, not the pinned {SHA256[path.name]}; fetch the original again")


def _subwords(folder: Path, lines: Iterable[str], vocabulary: int):
    """Trains one BPE for both languages, saves subword.model and returns line -> pieces. One thread: the result is a
    function of the lines. Lines go in by iterator, because the model would store the name of a file."""
    import sentencepiece

    model = io.BytesIO()
    try:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(lines), model_writer=model, model_type="bpe", vocab_size=vocabulary,
            character_coverage=1.0, num_threads=1, minloglevel=2,
        )  # fmt: skip
    except RuntimeError as error:
        reason = str(error).strip().splitlines()[-1]
        raise UserError(f"data set multi30k: vocabulary={vocabulary} does not suit this text ({reason})") from error
    (folder / "subword.model").write_bytes(model.getvalue())
    processor = sentencepiece.SentencePieceProcessor(model_proto=model.getvalue())
    return lambda line: processor.encode(line, out_type=str)
