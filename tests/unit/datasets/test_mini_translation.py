"""The made-up language pair: its grammar, and that the files are what fairseq reads."""

import random
from collections import Counter

import pytest

from plugins.datasets import mini_translation as mini
from plugins.datasets.prepare import prepare
from plugins.suite.data import verify

SMALL = {"sentences": 300, "valid": 40, "test": 60}


def velu(glosses: str) -> str:
    return " ".join(mini.VELU[gloss] for gloss in glosses.split())


def toram(glosses: str) -> str:
    """Toram words from meanings; a suffix is written stem+ending."""
    words = (word.partition("+") for word in glosses.split())
    return " ".join(mini.TORAM[stem] + ending for stem, _, ending in words)


@pytest.mark.parametrize(
    ("source", "target"),
    [
        # Nouns: dog has class 0, cat class 1, horse class 1.
        ("a dog sleep .", "a dog sleep+a ."),
        ("many cat sleep .", "many cat sleep+or ."),
        ("this small old cat see some red dog .", "this cat small+i old+i some dog red+e see+o ."),
        ("today a dog see a cat near a horse .", "a dog a horse near a cat today see+a ."),
        ("a dog of many horse see a cat .", "many horse of a dog a cat see+a ."),
        ("many dog who see a cat , fall .", "many dog who a cat see+ar , fall+ar ."),
        ("a dog fall and a cat sing .", "a dog fall+a and a cat sing+o ."),
        ("a bat fall outdoors .", "outdoors a flier fall+a ."),
        ("at-work a bat fall .", "at-work a club fall+o ."),
        ("a dog sleep at-dawn .", "at-dawn a dog sleep+a ."),
    ],
)
def test_the_rules_of_the_grammar(source, target):
    assert mini.translate(velu(source)) == toram(target)


def test_classes_of_the_nouns_in_the_examples():
    assert [mini.NOUN_CLASS[noun] for noun in ("dog", "cat", "horse", "flier", "club")] == [0, 1, 1, 0, 1]


@pytest.mark.parametrize(
    "broken",
    [
        "", ".", "a dog .", "a dog sleep", "a dog sleep . .", "dog sleep .", "a dog see .", "a dog who sleep fall .",
        "a bat fall .", "outdoors a bat fall indoors .",
    ],
)  # fmt: skip
def test_what_is_no_velu_is_refused(broken):
    with pytest.raises(ValueError):
        mini.translate(velu(broken))
    with pytest.raises(ValueError):
        mini.translate("hello")


def test_a_word_means_one_thing():
    for lexicon in (mini.VELU, mini.TORAM):
        assert len(set(lexicon.values())) == len(lexicon)
    verbs = [mini.TORAM[verb] + end for verb in mini.VERBS + mini.RESTS for end in mini.VERB_ENDINGS.values()]
    adjectives = [mini.TORAM[adjective] + end for adjective in mini.ADJECTIVES for end in mini.ADJECTIVE_ENDINGS]
    stems = {mini.TORAM[word] for word in mini.VERBS + mini.RESTS + mini.ADJECTIVES}
    forms = [*verbs, *adjectives, *(word for word in mini.TORAM.values() if word not in stems)]
    assert len(set(forms)) == len(forms)


def test_sentences_are_seeded_distinct_and_of_the_promised_lengths():
    lines = mini.sentences(4000, seed=3)
    assert lines == mini.sentences(4000, seed=3) != mini.sentences(4000, seed=4)
    assert len(set(lines)) == len(lines)
    lengths = [len(line.split()) for line in lines]
    assert min(lengths) == 5 and 45 < max(lengths) <= 60
    assert 8 <= sorted(lengths)[2000] <= 12, "mostly short sentences"
    assert max(len(line.split()) for line in mini.sentences(500, seed=1, longest=12)) <= 12


def test_the_translation_is_a_function_with_every_word_in_use():
    lines = mini.sentences(4000, seed=1)
    translations = [mini.translate(line) for line in lines]
    assert translations == [mini.translate(line) for line in lines]
    assert {word for line in lines for word in line.split()} == set(mini.VELU.values())
    assert 100 <= len({word for line in translations for word in line.split()}) <= 160
    assert all(len(a.split()) == len(b.split()) for a, b in zip(lines, translations, strict=True))


def test_scene_words_stand_anywhere_and_decide_the_sense():
    places, senses = Counter(), Counter()
    for line in mini.sentences(4000, seed=2):
        glosses = [mini.GLOSS[word] for word in line.split()]
        scenes = [gloss for gloss in glosses if gloss in mini.SCENES]
        assert len(scenes) <= 1
        if not scenes:
            assert not set(glosses) & set(mini.SENSES)
            continue
        places[4 * glosses.index(scenes[0]) // len(glosses)] += 1
        swapped = "indoors" if mini.SCENES[scenes[0]] == 0 else "outdoors"
        other = " ".join(mini.VELU[swapped if gloss in mini.SCENES else gloss] for gloss in glosses)
        changes = mini.translate(line).split()[1:] != mini.translate(other).split()[1:]
        assert changes == bool(set(glosses) & set(mini.SENSES))
        senses[mini.SCENES[scenes[0]]] += 1
    assert len(places) == 4 and min(places.values()) > 100, "each quarter of a sentence has its share"
    assert abs(senses[0] - senses[1]) < 0.1 * sum(senses.values())


def test_agreement_and_senses_reach_far():
    """Some subjects stand more than ten words before the verb that agrees with them, in the target."""
    far = velu("a dog of a cat who see some old red small horse , sleep under a tree near a river behind a house .")
    words = mini.translate(far).split()
    assert words[-2] == mini.TORAM["sleep"] + "a"
    assert len(words) - 2 - words.index(mini.TORAM["dog"]) > 10


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    out = tmp_path_factory.mktemp("data") / "mini_translation"
    return out, prepare("mini_translation", out, SMALL)


def test_splits_are_disjoint_and_aligned(prepared):
    out, manifest = prepared
    sources = []
    for split, size in zip(("train", "valid", "test"), SMALL.values(), strict=True):
        left, right = (
            (out / "text" / f"{split}.{language}").read_text().splitlines() for language in ("velu", "toram")
        )
        assert len(left) == len(right) == size == manifest["counts"][split]
        assert [mini.translate(line) for line in left] == right
        sources += left
    assert len(set(sources)) == len(sources)


def test_the_same_seed_gives_the_same_checksum(prepared, tmp_path):
    out, manifest = prepared
    assert verify(out / "manifest.json") == manifest
    assert prepare("mini_translation", tmp_path / "again", SMALL)["checksum"] == manifest["checksum"]
    assert prepare("mini_translation", tmp_path / "other", SMALL | {"seed": 2})["checksum"] != manifest["checksum"]


def test_fairseq_reads_back_the_text(prepared):
    from fairseq.data import Dictionary, data_utils

    out, manifest = prepared
    for language in ("velu", "toram"):
        dictionary = Dictionary.load(str(out / "bin" / f"dict.{language}.txt"))
        assert len(dictionary) == manifest["counts"]["types"][language]
        for split in ("train", "valid", "test"):
            data = data_utils.load_indexed_dataset(str(out / "bin" / f"{split}.velu-toram.{language}"), dictionary)
            lines = (out / "text" / f"{split}.{language}").read_text().splitlines()
            assert len(data) == len(lines)
            number = random.Random(1).randrange(len(lines))
            assert dictionary.string(data[number]) == lines[number]
            assert data[number][-1] == dictionary.eos()
