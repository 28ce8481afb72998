"""Multi30k: reading, checking and splitting into subwords, on files made up here, and the real data where it lies."""

import gzip
import hashlib
import os
import random
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from plugins.datasets import multi30k, parallel
from plugins.datasets.prepare import prepare
from plugins.suite.data import verify
from plugins.suite.errors import UserError

ROOT = Path(os.environ.get("CONVATTN_DATA_ROOT", Path(__file__).resolve().parents[3].parent / "shared" / "data"))


def lines(number: int, seed: int) -> list[str]:
    draw = random.Random(seed)
    words = ["Mann", "Frau", "läuft", "über", "die", "Straße", "dog", "runs", "green", "field", "two", "men"]
    return [" ".join(draw.choices(words, k=draw.randint(3, 9))) for _ in range(number)]


def put(path: Path, content: list[str] | bytes, monkeypatch) -> None:
    """Writes one original, and makes it the pinned one."""
    if isinstance(content, list):
        content = gzip.compress("".join(f"{line}\n" for line in content).encode())
    path.write_bytes(content)
    monkeypatch.setitem(multi30k.SHA256, path.name, hashlib.sha256(content).hexdigest())


@pytest.fixture
def original(tmp_path, monkeypatch):
    folder = tmp_path / "root" / "multi30k"
    folder.mkdir(parents=True)
    for split, name in multi30k.SPLITS.items():
        for seed, language in enumerate(("de", "en")):
            put(folder / f"{name}.{language}.gz", lines(400 if split == "train" else 20, seed), monkeypatch)
    return folder


def run(original: Path, out: Path, **params) -> dict:
    return prepare("multi30k", out, {"vocabulary": 100, **params}, original.parent)


def test_text_is_kept_raw_and_subwords_give_it_back(original, tmp_path):
    import sentencepiece
    from fairseq.data import Dictionary, data_utils

    manifest = run(original, tmp_path / "out")
    out = tmp_path / "out"
    assert verify(out / "manifest.json") == manifest
    assert manifest["counts"] | {"types": 0} == {"train": 400, "valid": 20, "test": 20, "test2017": 20, "types": 0}
    assert (out / "text" / "test.en").read_text().splitlines() == lines(20, 1)
    assert (out / "bin" / "dict.de.txt").read_bytes() == (out / "bin" / "dict.en.txt").read_bytes()
    dictionary = Dictionary.load(str(out / "bin" / "dict.de.txt"))
    data = data_utils.load_indexed_dataset(str(out / "bin" / "test.de-en.de"), dictionary)
    processor = sentencepiece.SentencePieceProcessor(model_file=str(out / "subword.model"))
    for number, line in enumerate(lines(20, 0)):
        pieces = dictionary.string(data[number])
        assert processor.decode(pieces.split()) == line
        assert dictionary.string(data[number], "sentencepiece") == line


def test_the_result_is_a_function_of_the_input(original, tmp_path):
    first, second = (run(original, tmp_path / name) for name in ("a", "b"))
    assert first == second
    lower = run(original, tmp_path / "c", lowercase=True)
    assert lower["checksum"] != first["checksum"]
    assert (tmp_path / "c" / "text" / "test.de").read_text() == (
        tmp_path / "a" / "text" / "test.de"
    ).read_text().lower()


def test_empty_and_long_pairs_leave_the_training_split_only(original, tmp_path, monkeypatch):
    left = ["", "a b", "one two", " ", *lines(300, 0)]
    right = ["x", "", "w " * 40, "y", *lines(300, 1)]
    put(original / "train.de.gz", left, monkeypatch)
    put(original / "train.en.gz", right, monkeypatch)
    put(original / "val.de.gz", ["", "x " * 40], monkeypatch)
    put(original / "val.en.gz", ["a", "b"], monkeypatch)
    manifest = run(original, tmp_path / "out", longest=30)
    assert manifest["skipped"] == {"empty": 3, "too_long": 1}
    assert manifest["counts"]["train"] == 300 and manifest["counts"]["valid"] == 2
    assert manifest["noted"] == {"empty in val": 1}


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (lines(19, 1), "has 20 lines, val.en.gz has 19"),
        ([], "has 20 lines, val.en.gz has 0"),
        (gzip.compress(b"good\nb\xe4d\n"), "line 2 is not UTF-8"),
        (gzip.compress("\n".join(lines(20, 1)).encode())[:-20], "not a whole gzip file"),
        (b"plain text", "not a whole gzip file"),
        (b"", "has 0"),
    ],
)
def test_a_bad_file_is_named_in_one_line(original, tmp_path, monkeypatch, content, said):
    put(original / "val.en.gz", content, monkeypatch)
    with pytest.raises(UserError) as caught:
        run(original, tmp_path / "out")
    assert "val.en.gz" in str(caught.value) and said in str(caught.value) and "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_a_wrong_checksum_names_the_file(original, tmp_path):
    (original / "val.en.gz").write_bytes(gzip.compress("".join(f"{line}\n" for line in lines(20, 7)).encode()))
    with pytest.raises(UserError, match=r"val\.en\.gz: SHA-256 is .* not the pinned"):
        run(original, tmp_path / "out")


def test_a_vocabulary_that_the_text_cannot_fill_is_one_line(original, tmp_path):
    with pytest.raises(UserError, match="vocabulary=30000 does not suit") as caught:
        run(original, tmp_path / "out", vocabulary=30000)
    assert "\n" not in str(caught.value)


@settings(max_examples=100, deadline=None)
@given(content=st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(tmp_path_factory, content):
    path = tmp_path_factory.getbasetemp() / "fuzzed.gz"
    for raw in (content, gzip.compress(content)):
        path.write_bytes(raw)
        try:
            assert all("\n" not in line for line in parallel.lines(path))
        except UserError as error:
            assert str(path) in str(error)


def test_fetch_downloads_what_is_missing_and_checks_it(original, tmp_path, monkeypatch):
    monkeypatch.setattr(multi30k, "URL", original.as_uri())
    new = tmp_path / "new" / "multi30k"
    new.mkdir(parents=True)
    with pytest.raises(UserError, match=r"train\.de\.gz: missing; .* --fetch"):
        run(new, tmp_path / "out")
    prepare("multi30k", tmp_path / "out", {"vocabulary": 100}, new.parent, fetch=True)
    assert sorted(path.name for path in new.iterdir()) == sorted(path.name for path in original.iterdir())
    (new / "val.de.gz").unlink()
    monkeypatch.setitem(multi30k.SHA256, "val.de.gz", "0" * 64)
    with pytest.raises(UserError, match=r"val\.de\.gz: SHA-256 is"):
        prepare("multi30k", tmp_path / "again", {"vocabulary": 100}, new.parent, fetch=True)
    monkeypatch.setattr(multi30k, "URL", (tmp_path / "absent").as_uri())
    with pytest.raises(UserError, match="download failed"):
        prepare("multi30k", tmp_path / "again", {"vocabulary": 100}, new.parent, fetch=True)
    assert not list(new.glob("*val.de.gz*"))


@pytest.mark.skipif(not (ROOT / "multi30k").is_dir(), reason="no Multi30k: set CONVATTN_DATA_ROOT")
def test_the_real_files_are_the_pinned_ones():
    for name, digest in multi30k.SHA256.items():
        assert multi30k.file_sha256(ROOT / "multi30k" / name) == digest
    pairs = parallel.aligned(ROOT / "multi30k" / "train.de.gz", ROOT / "multi30k" / "train.en.gz")
    skipped = Counter()
    assert sum(1 for _ in parallel.cleaned(pairs, parallel.Limits(100), skipped)) == 29000 and not skipped
