"""What the preparers of translation data share: lines, alignment, cleaning, tokens, archives, subwords."""

import gzip
import io
import tarfile
from collections import Counter
from functools import partial

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from plugins.datasets import parallel
from plugins.datasets.parallel import Corpus, Limits, aligned, cleaned, in_processes, lines, moses, segments, unpack
from plugins.suite.errors import UserError

WORDS = st.lists(st.text(st.characters(codec="utf-8"), max_size=9), max_size=12).map(" ".join)


def one_line(caught, *words) -> bool:
    text = str(caught.value)
    return "\n" not in text and all(str(word) in text for word in words)


@settings(max_examples=100, deadline=None)
@given(content=st.binary(max_size=200) | WORDS.map(str.encode), packed=st.booleans())
def test_any_bytes_are_read_or_refused_with_file_and_line(tmp_path_factory, content, packed):
    path = tmp_path_factory.getbasetemp() / ("any.txt.gz" if packed else "any.txt")
    path.write_bytes(gzip.compress(content) if packed else content)
    try:
        read = list(lines(path))
    except UserError as error:
        assert f"{path}: line " in str(error)
    else:
        assert len(read) == content.count(b"\n") + (not content.endswith(b"\n") and content != b"")
        assert all("\n" not in line for line in read)


@pytest.mark.parametrize(
    ("content", "line"), [("gut\nschön\n".encode("latin-1"), 2), ("a\n".encode("utf-16"), 1), (b"a\nb\n\0c\n", 3)]
)
def test_a_wrong_encoding_names_the_line(tmp_path, content, line):
    path = tmp_path / "text.de"
    path.write_bytes(content)
    with pytest.raises(UserError) as caught:
        list(lines(path))
    assert one_line(caught, path, f"line {line} is not UTF-8")


def test_line_ends_and_byte_order_mark_are_no_text(tmp_path):
    path = tmp_path / "text.de"
    path.write_bytes("\ufeffeins\r\nzwei\u2028drei\n\nvier".encode())
    assert list(lines(path)) == ["eins", "zwei\u2028drei", "", "vier"]


@settings(max_examples=100, deadline=None)
@given(counts=st.tuples(st.integers(0, 6), st.integers(0, 6)))
def test_sides_of_unequal_length_are_refused(tmp_path_factory, counts):
    paths = [tmp_path_factory.getbasetemp() / f"side.{name}" for name in ("de", "en")]
    for path, count in zip(paths, counts, strict=True):
        path.write_text("".join(f"{number}\n" for number in range(count)))
    if counts[0] == counts[1] > 0:
        assert list(aligned(*paths)) == [(str(number), str(number)) for number in range(counts[0])]
        return
    with pytest.raises(UserError) as caught:
        list(aligned(*paths))
    said = "no lines" if counts == (0, 0) else f"has {counts[0]} lines, side.en has {counts[1]}"
    assert one_line(caught, paths[0], said)


@settings(max_examples=60, deadline=None)
@given(pairs=st.lists(st.tuples(WORDS, WORDS)), longest=st.integers(1, 8), ratio=st.floats(1, 4))
def test_every_pair_stays_within_the_limits_or_is_counted(pairs, longest, ratio):
    skipped = Counter()
    kept = list(cleaned(pairs, Limits(longest, ratio), skipped))
    assert len(kept) + skipped.total() == len(pairs) and set(skipped) <= {"empty", "too_long", "ratio"}
    for pair in kept:
        sizes = sorted(len(line.split()) for line in pair)
        assert 1 <= sizes[0] and sizes[1] <= longest and sizes[1] / sizes[0] <= ratio
    assert list(cleaned(kept, Limits(longest, ratio), skipped)) == kept


def test_segments_of_a_test_file(tmp_path):
    path = tmp_path / "test.xml"
    path.write_text('<mteval>\n<hl> <seg id="1"> It’s <b> one </seg>\n<seg id="2"></seg>\n</mteval>\n')
    assert list(segments(path)) == ["It's <b> one", ""]
    for broken in ('<seg id="1"> one\n</seg>\n', '<seg id="1">a</seg><seg id="2">b</seg>\n', "<seg id=1>a</seg>\n"):
        path.write_text(f"<doc>\n{broken}")
        with pytest.raises(UserError) as caught:
            list(segments(path))
        assert one_line(caught, path, "line 2 is not one whole <seg>")


def test_moses_tokens():
    assert moses("Das ist's, z. B. 3,5 %.", "de") == "Das ist &apos; s , z. B. 3,5 % ."
    assert moses("It's a well-known “fact”…", "en", normalise=True, hyphens=True) == (
        "It &apos;s a well @-@ known &quot; fact ... &quot;"
    )
    assert moses("a\u200bb\x07c", "fr", normalise=True) == "a b c"


@settings(max_examples=60, deadline=None)
@given(text=WORDS, language=st.sampled_from(["de", "en", "fr"]), normalise=st.booleans(), hyphens=st.booleans())
def test_any_text_becomes_tokens_parted_by_single_blanks(text, language, normalise, hyphens):
    tokens = moses(text, language, normalise, hyphens)
    assert tokens == " ".join(tokens.split())


def test_several_processes_keep_the_order():
    items = [f"word{number}-x" for number in range(25)]
    function = partial(moses, language="en", hyphens=True)
    assert list(in_processes(function, items, 2, batch=3)) == list(map(function, items))


def archive(path, members: dict[str, bytes | None]):
    """A .tgz of these files; a link to /etc/passwd where the content is None."""
    with tarfile.open(path, "w:gz") as tar:
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            if content is None:
                member.type, member.linkname = tarfile.SYMTYPE, "/etc/passwd"
            else:
                member.size = len(content)
            tar.addfile(member, io.BytesIO(content or b""))
    return path


def test_only_the_named_members_are_unpacked(tmp_path):
    members = {"../evil": b"x", "/tmp/evil": b"x", "./de-en/a": b"one", "de-en/b": b"two", "de-en/link": None}
    path = archive(tmp_path / "x.tgz", members)
    (tmp_path / "out").mkdir()
    unpack(path, ["de-en/a"], tmp_path / "out")
    assert [(file.name, file.read_bytes()) for file in (tmp_path / "out").iterdir()] == [("a", b"one")]
    with pytest.raises(UserError, match="has no de-en/c"):
        unpack(path, ["de-en/c"], tmp_path / "out")
    with pytest.raises(UserError, match="de-en/link is no plain file"):
        unpack(path, ["de-en/link"], tmp_path / "out")
    assert sorted(file.name for file in tmp_path.iterdir()) == ["out", "x.tgz"]


@settings(max_examples=60, deadline=None)
@given(content=st.binary(max_size=300), cut=st.integers(0, 200))
def test_a_broken_archive_is_one_line(tmp_path_factory, content, cut):
    folder = tmp_path_factory.mktemp("archive")
    whole = archive(folder / "whole.tgz", {"a": b"text " * 20}).read_bytes()
    for name, raw in (("cut", whole[:cut]), ("any", content), ("packed", gzip.compress(content))):
        path = folder / f"{name}.tgz"
        path.write_bytes(raw)
        try:
            unpack(path, ["a"], folder)
        except UserError as error:
            assert str(path) in str(error) and "\n" not in str(error)
        else:  # only what follows the last file was cut
            assert name == "cut" and (folder / "a").read_bytes() == b"text " * 20
        (folder / "a").unlink(missing_ok=True)


def corpus(tmp_path, train: list[tuple[str, str]]) -> Corpus:
    texts = Corpus(tmp_path, "toy", ["de", "en"], ("train", "test"))
    texts.write([*(("train", *pair) for pair in train), ("test", "ein hund", "a dog"), ("test", "", "nothing")])
    return texts


TRAIN = [("der hund sieht den hund", "the dog sees the dog"), ("der mann", "the man")] * 3


def test_pairs_leave_by_their_subwords_and_are_counted(tmp_path):
    train = [*TRAIN, ("", "x"), ("hund " * 1100, "dog " * 900), ("hund", "dog " * 9), ("hund " * 9, "y")]
    texts = corpus(tmp_path, train)
    facts = texts.finish(
        texts.learn_bpe(50), "subword_nmt", "none", False, whole={"test": "tst.xml"}, limits=Limits(2000, ratio=5.0)
    )
    assert facts["counts"]["train"] == 6 and facts["counts"]["test"] == 2
    assert facts["skipped"] == {"empty": 1, "too_many_subwords": 1, "subword_ratio": 2}
    assert facts["noted"] == {"empty in tst.xml": 1}
    assert (tmp_path / "text" / "train.de").read_text().splitlines() == [left for left, _ in TRAIN]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bin", "subword.codes", "text"]


def test_what_is_scored_is_never_left_out(tmp_path):
    texts = corpus(tmp_path, TRAIN)
    with pytest.raises(UserError) as caught:
        whole = {"train": "train.txt", "test": "tst.xml"}
        texts.finish(lambda line: line.split() * 500, "subword_nmt", "none", False, whole=whole)
    assert one_line(caught, "train.txt: sentence 1 has 2500 subwords, the models take 1023")


def test_subwords_give_the_text_back(tmp_path):
    from fairseq.data.data_utils import post_process

    texts = corpus(tmp_path, TRAIN)
    encode = texts.learn_bpe(12)
    assert 1 <= texts.counts["merges"] <= 12
    for line in ("der hund sieht", "unseen wörter €", ""):
        assert post_process(" ".join(encode(line)), "subword_nmt") == line
    assert any(piece.endswith("@@") for piece in encode("unseen"))


@pytest.mark.parametrize("train", [[("a", "b")], [("", "")], [("ab", "cd")]])
def test_too_little_text_for_subwords_is_one_line(tmp_path, train):
    with pytest.raises(UserError, match="too small to learn subwords from"):
        corpus(tmp_path, train).learn_bpe(10)


def test_a_split_without_a_pair_is_one_line(tmp_path):
    with pytest.raises(UserError, match="no pair is left for train; skipped {'subword_ratio': 6}"):
        texts = corpus(tmp_path, TRAIN)
        lengthen = lambda line: line.split() * (9 if "der" in line else 1)  # noqa: E731
        texts.finish(lengthen, "subword_nmt", "none", False, whole={"test": "t"}, limits=Limits(2000, ratio=1.5))


def test_the_dictionary_is_cut_to_the_most_frequent_types(tmp_path):
    texts = corpus(tmp_path, TRAIN)
    facts = texts.finish(str.split, "subword_nmt", "none", True, whole={"test": "t"}, most_types=8)
    assert facts["counts"]["types"] == {"de": 8, "en": 8}
    kept = [line.split()[0] for line in (tmp_path / "bin" / "dict.de.txt").read_text().splitlines()]
    assert set(kept) <= set(" ".join(map(" ".join, TRAIN)).split()) and "the" in kept
    assert parallel.MOST_SUBWORDS == 1023
