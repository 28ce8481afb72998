"""IWSLT14, IWSLT15 and WMT14: what becomes of tiny made-up corpora in the originals' layout, and of faulty ones."""

import gzip
import hashlib
import random
import shutil
import tarfile
from pathlib import Path

import pytest

from plugins.datasets import iwslt14, wmt14
from plugins.datasets.__main__ import main
from plugins.datasets.prepare import prepare
from plugins.suite.data import verify
from plugins.suite.errors import UserError

WORDS = "Der die Hund Mann sieht läuft well-known cat dog 3,5 Straße über ( % it's".split()


def text(number: int, seed: int) -> list[str]:
    """Lines of seven words; those of other seeds have the same words in another order, so that lengths fit."""
    calls = []
    for line in range(number):
        words = random.Random(line).choices(WORDS, k=7)
        random.Random(seed).shuffle(words)
        calls.append(" ".join(words))
    return calls


def put(path: Path, content: list[str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    raw = "".join(f"{line}\n" for line in content).encode()
    path.write_bytes(gzip.compress(raw) if path.suffix == ".gz" else raw)


def segs(content: list[str]) -> list[str]:
    return ["<doc>", *(f'<seg id="{number}"> {line} </seg>' for number, line in enumerate(content, 1)), "</doc>"]


def run(root: Path, out: Path, name: str, **params) -> dict:
    manifest = prepare(name, out, {"merges": 60, **params}, root)
    assert verify(out / "manifest.json") == manifest
    return manifest


def read(out: Path, split: str, language: str) -> list[str]:
    return (out / "text" / f"{split}.{language}").read_text(encoding="utf-8").splitlines()


def binarised(out: Path, split: str, languages: tuple[str, str], language: str) -> list[str]:
    """The sentences of bin/, their subwords joined as fairseq joins them."""
    from fairseq.data import Dictionary, data_utils

    dictionary = Dictionary.load(str(out / "bin" / f"dict.{language}.txt"))
    data = data_utils.load_indexed_dataset(str(out / "bin" / f"{split}.{'-'.join(languages)}.{language}"), dictionary)
    return [dictionary.string(data[number], "subword_nmt") for number in range(len(data))]


@pytest.fixture
def talks(tmp_path) -> Path:
    """data_root with the unpacked IWSLT14 release: 46 pairs of which 3 must go, and 2 x 5 for the test."""
    folder = tmp_path / "root" / "iwslt14" / "de-en"
    for seed, language in enumerate(("de", "en")):
        train = [f"<title>{line}</title>" if number == 3 else line for number, line in enumerate(text(43, seed))]
        odd = {"de": ["", "Hund " * 9, "a " * 180], "en": ["dog", "dog", "b " * 180]}[language]
        about = ["<url>x</url>", "<keywords>talks</keywords>", "<speaker>Someone</speaker>", "<talkid>1</talkid>"]
        put(folder / iwslt14.TRAIN.format(language), [*about, *train, *odd])
        for number, name in enumerate(iwslt14.TESTS):
            put(folder / name.format(language), segs([f"It’s {number} ({language})", "Hund."]))
    return tmp_path / "root"


def test_iwslt14_follows_the_published_protocol(talks, tmp_path):
    out = tmp_path / "out"
    manifest = run(talks, out, "iwslt14")
    counts, types = manifest["counts"], manifest["counts"]["types"]
    assert (counts["train"], counts["valid"], counts["test"]) == (43, 1, 10)  # with the speaker's line, as published
    assert manifest["skipped"] == {"empty": 1, "ratio": 1, "too_long": 1}
    assert manifest["noted"] == {"lines about a talk dropped": 6, "lines with other markup kept": 2}
    assert all(number % 8 == 0 for number in types.values())
    assert (out / "bin" / "dict.de.txt").read_bytes() != (out / "bin" / "dict.en.txt").read_bytes()
    assert (manifest["tokenise"], manifest["subword"]) == ("none", "subword_nmt")
    assert read(out, "test", "en")[::2] == [f"it &apos;s {number} ( en )" for number in range(5)]
    assert read(out, "test", "de")[1] == "hund ."
    everything = read(out, "train", "de")[:22] + read(out, "valid", "de") + read(out, "train", "de")[22:]
    assert everything[0] == "&lt; speaker &gt; someone &lt; / speaker &gt;"
    expected = [iwslt14.moses(line, "de").lower() for line in text(43, 0)]
    assert everything[1:] == expected
    assert binarised(out, "train", ("de", "en"), "de") == read(out, "train", "de")
    files = [path for path in talks.rglob("*") if path.is_file()]
    originals = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in files}
    assert manifest["originals"] == originals and len(originals) == 12


def test_iwslt14_from_its_archive_is_the_same(talks, tmp_path):
    unpacked = run(talks, tmp_path / "a", "iwslt14")
    folder = talks / "iwslt14"
    with tarfile.open(folder / "de-en.tgz", "w:gz") as tar:
        tar.add(folder / "de-en", "de-en")
    shutil.rmtree(folder / "de-en")
    packed = run(talks, tmp_path / "b", "iwslt14")
    assert packed["checksum"] == unpacked["checksum"]
    digest = hashlib.sha256((folder / "de-en.tgz").read_bytes()).hexdigest()
    assert packed["originals"] == {"de-en.tgz": digest}
    turned = run(talks, tmp_path / "c", "iwslt14", source="en", target="de")
    assert read(tmp_path / "c", "test", "en") == read(tmp_path / "b", "test", "en")
    assert (turned["source_lang"], turned["target_lang"]) == ("en", "de")


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        (iwslt14.TRAIN.format("en"), text(9, 0), "has 47 lines, train.tags.de-en.en has 9; line N of both"),
        (iwslt14.TESTS[4].format("de"), segs(["one"]), "tst2012.de-en.de.xml has 1 lines, "),
        (iwslt14.TESTS[0].format("en"), ["<doc>", '<seg id="1"> half'], "en.xml: line 2 is not one whole <seg>"),
        (iwslt14.TESTS[1].format("de"), None, "de.xml: missing; it comes from the IWSLT 2014 release"),
        (iwslt14.TESTS[2].format("en"), segs(["Hund " * 1100, "b"]), "sentence 5 has 1100 subwords, the models take"),
    ],
)
def test_iwslt14_names_the_faulty_file(talks, tmp_path, name, content, said):
    path = talks / "iwslt14" / "de-en" / name
    path.unlink() if content is None else put(path, content)
    with pytest.raises(UserError) as caught:
        run(talks, tmp_path / "out", "iwslt14")
    assert said in str(caught.value) and "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_iwslt15_is_taken_as_it_is_tokenised(tmp_path, capsys):
    folder = tmp_path / "root" / "iwslt15"
    for seed, language in enumerate(("en", "vi")):
        put(folder / f"train.{language}", [*text(30, seed), "" if language == "vi" else "x"])
        put(folder / f"tst2012.{language}", text(3, seed + 2))
        put(folder / f"tst2013.{language}", [*text(4, seed + 4), ""])
    out = tmp_path / "out"
    assert main(["iwslt15", str(out), "--params", "merges=60", "--data-root", str(tmp_path / "root")]) == 0
    said = capsys.readouterr().out
    assert 'skipped {"empty": 1}, noted {"empty in tst2013": 1}, checksum ' in said and said.count("\n") == 1
    manifest = verify(out / "manifest.json")
    assert {key: manifest["counts"][key] for key in ("train", "valid", "test")} == {"train": 30, "valid": 3, "test": 5}
    assert read(out, "test", "vi") == [*text(4, 5), ""]
    for split in ("train", "test"):
        assert binarised(out, split, ("en", "vi"), "vi") == read(out, split, "vi")


@pytest.fixture
def campaign(tmp_path) -> Path:
    """data_root with made-up WMT14 corpora of both pairs."""
    root = tmp_path / "root" / "wmt14"
    for other, release in wmt14.RELEASES.items():
        for seed, language in enumerate(("en", other)):
            for number, stem in enumerate(release.train):
                odd = ["dog " * (40 if language == "en" else 9)] if number == 0 else []
                put(root / f"{stem}.{language}{'.gz' if 'giga' in stem else ''}", [*odd, *text(12, 9 * number + seed)])
            if release.valid:
                put(root / f"{release.valid}.{language}", [*text(3, seed), ""])
            for side in ("src", "ref"):
                put(root / f"{release.test}-{side}.{language}.sgm", segs([f"A well-known {language}’s {side}", "b"]))
    return tmp_path / "root"


def test_wmt14_english_german(campaign, tmp_path):
    out = tmp_path / "out"
    manifest = run(campaign, out, "wmt14")
    counts = manifest["counts"]
    assert (counts["train"], counts["valid"], counts["test"]) == (36, 4, 2)
    assert manifest["skipped"] == {"subword_ratio": 1} and manifest["noted"] == {"empty in dev/newstest2013": 1}
    assert read(out, "test", "en")[0] == "A well @-@ known en &apos;s src"
    assert read(out, "test", "de")[0] == "A well @-@ known de &apos; s ref"
    assert read(out, "train", "en")[:12] == [wmt14.moses(line, "en", True, True) for line in text(12, 0)]
    assert (out / "bin" / "dict.en.txt").read_bytes() == (out / "bin" / "dict.de.txt").read_bytes()
    assert binarised(out, "valid", ("en", "de"), "de") == read(out, "valid", "de")
    assert len(manifest["originals"]) == 10


def test_wmt14_english_french_holds_every_nth_pair_out(campaign, tmp_path, monkeypatch):
    release = wmt14.RELEASES["fr"]
    monkeypatch.setitem(wmt14.RELEASES, "fr", wmt14.Release(release.train, release.test, 40000, valid_every=10))
    one, two = (run(campaign, tmp_path / str(workers), "wmt14", target="fr", workers=workers) for workers in (1, 2))
    assert one["checksum"] == two["checksum"]
    assert (one["counts"]["train"], one["counts"]["valid"], one["skipped"]) == (54, 6, {"subword_ratio": 1})
    out = tmp_path / "1"
    raw = [line for number in range(5) for line in text(12, 9 * number)]
    assert read(out, "valid", "en") == [wmt14.moses(line, "en", True, True) for line in raw[8::10]]


def test_wmt14_looks_for_every_file_before_it_reads_any(campaign, tmp_path):
    (campaign / "wmt14" / "test-full" / "newstest2014-deen-ref.de.sgm").unlink()
    (campaign / "wmt14" / "training" / "europarl-v7.de-en.de").write_bytes(b"\xff")
    with pytest.raises(UserError, match=r"newstest2014-deen-ref\.de\.sgm: missing; it comes from the translation"):
        run(campaign, tmp_path / "out", "wmt14")


def test_the_releases_are_those_of_the_campaign():
    german, french = wmt14.RELEASES["de"], wmt14.RELEASES["fr"]
    assert (german.merges, german.most_types, german.valid_every) == (32000, 32768, 0)
    assert (french.merges, french.most_types, french.valid_every, french.valid) == (40000, -1, 1333, None)


@pytest.mark.parametrize(
    ("name", "params", "said"),
    [
        ("iwslt14", ["merges=0"], "merges=0 must lie between"),
        ("iwslt14", ["source=fr"], "source='fr' must be one of de, en"),
        ("iwslt14", [], "de-en.tgz: missing; it comes from the IWSLT 2014 release"),
        ("iwslt15", ["target=en"], "source and target are both 'en'"),
        ("iwslt15", [], "train.en: missing; it comes from Stanford"),
        ("wmt14", ["source=de", "target=fr"], "source or target must be en, they are de and fr"),
        ("wmt14", ["workers=0"], "workers=0 must lie between"),
        ("wmt14", [], "europarl-v7.de-en.en: missing; it comes from the translation task's data"),
    ],
)
def test_a_user_is_told_in_one_line(tmp_path, monkeypatch, capsys, name, params, said):
    monkeypatch.chdir(tmp_path)
    assert main([name, "out", "--data-root", ".", "--fetch", "--params", *params]) == 2
    shown = capsys.readouterr().err
    assert shown.startswith("error: ") and said in shown and shown.count("\n") == 1
    assert not list(tmp_path.iterdir()), "something stays behind"
