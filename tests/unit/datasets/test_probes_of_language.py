"""The translation probes: each tagged word follows from its rule, and from nothing else."""

import os
import re
import subprocess
import sys
from collections import Counter, defaultdict

import numpy as np
import pytest

from plugins.datasets import chain, language, rules
from plugins.datasets.prepare import prepare
from plugins.suite.errors import UserError

SIZES = {"sentences": 300, "valid": 20, "test": 400}
UNIT = 5


def drawn(name: str, folder, split: str = "test", **params) -> list[language.Sentence]:
    """The sentences of a split, read from the files."""
    prepare(name, folder, SIZES | params)
    files = (f"text/{split}.source", f"text/{split}.target", f"tags/{split}", f"strata/{split}")
    lines = [(folder / file).read_text().splitlines() for file in files]
    assert len({len(content) for content in lines}) == 1
    return [language.Sentence(s.split(), t.split(), tags.split(), x) for s, t, tags, x in zip(*lines, strict=True)]


def nouns(sentence: language.Sentence) -> list[int]:
    """Places of the nouns in the source, in order."""
    return [i for i, word in enumerate(sentence.source) if not word.startswith(("scene", "adjective", "definer"))]


def number(word: str) -> str:
    """The number in a word's name, whatever form it is shown in."""
    return re.sub("[^0-9]", "", re.split("[:~]", word)[0])


def by_hand(sentence: language.Sentence, place: int) -> str:
    """The translation of the noun at a place, read off the source alone."""
    noun, source = sentence.source[place], sentence.source
    rule, kind = re.fullmatch(r"(lexical|n1|n3|n7|sense|match)(\d+)", noun).groups()
    if rule == "lexical":
        return f"thing{kind}"
    if rule == "sense":
        return f"sense{kind}:{number(source[0])}"
    if rule == "match":
        (value,) = {word.partition(":")[2] for word in source if word.startswith(f"definer{kind}:")}
        return f"value{value}"
    return f"quality{number(source[place - int(rule[1:])])}"


@pytest.mark.parametrize("params", [{"units": 12}, {"units": 4, "match": True}, {"units": 8, "rare": 20}])
def test_each_tagged_word_follows_from_the_source_by_its_rule(tmp_path, params):
    sentences = drawn("rules", tmp_path / "data", **params)
    seen = Counter()
    for sentence in sentences:
        assert len(sentence.target) == len(sentence.tags) == 1 + 2 * len(nouns(sentence))
        scored = [(word, tag) for word, tag in zip(sentence.target, sentence.tags, strict=True) if tag != "-"]
        for (word, tag), place in zip(scored, nouns(sentence), strict=True):
            assert word == by_hand(sentence, place) and sentence.source[place].startswith(tag)
            seen[tag] += 1
    assert set(seen) == {"lexical", "n1", "n3", "sense", "match" if "match" in params else "n7"}
    assert min(seen.values()) > sum(seen.values()) / 10


@pytest.mark.parametrize(
    ("params", "rules_asked"),
    [
        ({"reach": 1}, {"lexical", "n1", "sense"}),
        ({"reach": 3}, {"lexical", "n1", "n3", "sense"}),
        ({"reach": 1, "match": True}, {"lexical", "n1", "sense", "match"}),
    ],
)
def test_no_rule_asks_for_a_word_beyond_the_reach(tmp_path, params, rules_asked):
    sentences = drawn("rules", tmp_path / "data", units=4, **params)
    assert {tag for sentence in sentences for tag in sentence.tags} == {"-"} | rules_asked


def test_adjectives_alone_stand_before_a_noun_so_that_each_distance_reads_one(tmp_path):
    for sentence in drawn("rules", tmp_path / "data", units=4, match=True):
        for place in nouns(sentence):
            assert all(word.startswith("adjective") for word in sentence.source[place - 4 : place])


@pytest.mark.parametrize(("name", "params", "strata"), [("rules", {"units": 12}, 4), ("rules", {"units": 4}, 4)])
def test_strata_are_equally_frequent_and_ordered_by_length(tmp_path, name, params, strata):
    sentences = drawn(name, tmp_path / "data", **params)
    counts = Counter(sentence.stratum for sentence in sentences)
    expected = len(sentences) / strata
    assert sorted(counts) == [f"length{n + 1}" for n in range(strata)]
    assert all(abs(count - expected) < 4 * np.sqrt(expected) for count in counts.values())
    lengths = defaultdict(list)
    for sentence in sentences:
        lengths[sentence.stratum].append(len(nouns(sentence)))
    ordered = [lengths[stratum] for stratum in sorted(lengths)]
    assert all(max(short) < min(long) for short, long in zip(ordered[:-1], ordered[1:], strict=True))


def test_neither_the_noun_nor_the_words_of_the_sentence_give_a_distance_away(tmp_path):
    """By the noun the answer is guessed (one of eight); by the bag of its sentence's adjectives too, but that the
    shortest sentences hold four to twelve of them; by those of the unit, whose order is unknown, one of four."""
    train, test = (drawn("rules", tmp_path / split, split, units=12, test=1500) for split in ("train", "test"))
    by_noun = defaultdict(Counter)
    for sentence in train:
        for place in nouns(sentence):
            by_noun[sentence.source[place]][by_hand(sentence, place)] += 1
    guessed = {"noun": [], "sentence": [], "unit": []}
    for sentence in test:
        everywhere = Counter(word for word in sentence.source if word.startswith("adjective"))
        for place in nouns(sentence):
            if not re.match("n[137]", sentence.source[place]) or sentence.stratum == "length1":
                continue
            answer, unit = by_hand(sentence, place), Counter(sentence.source[place - 4 : place])
            guessed["noun"].append(by_noun[sentence.source[place]].most_common(1)[0][0] == answer)
            for name, bag in (("sentence", everywhere), ("unit", unit)):
                guessed[name].append(f"quality{number(bag.most_common(1)[0][0])}" == answer)
    shares = {name: 100 * np.mean(values) for name, values in guessed.items()}
    assert len(guessed["noun"]) > 3000
    assert shares["noun"] < 15 and shares["sentence"] < 22 and shares["unit"] < 40, shares


def test_the_scene_and_the_definer_are_needed(tmp_path):
    sentences = drawn("rules", tmp_path / "data", units=4, match=True, test=1500)
    answers = defaultdict(Counter)
    for sentence in sentences:
        for place in nouns(sentence):
            answers[sentence.source[place]][by_hand(sentence, place)] += 1
    likeliest = {word: max(counter.values()) / counter.total() for word, counter in answers.items()}
    assert all(share < 0.65 for word, share in likeliest.items() if word.startswith("sense"))
    assert all(share < 0.3 for word, share in likeliest.items() if word.startswith("match"))
    assert all(share == 1 for word, share in likeliest.items() if word.startswith("lexical"))


@pytest.mark.parametrize("rare", [0, 20])
@pytest.mark.parametrize("order", chain.LIMITS["order"])
def test_a_chain_is_what_its_pairs_say_from_the_start_word_on(tmp_path, order, rare):
    moved = 0
    for sentence in drawn("chain", tmp_path / "data", order=order, rare=rare):
        pairs = [
            word.removeprefix("pair").partition("~")[0].split(":")
            for word in sentence.source
            if word.startswith("pair")
        ]
        key, steps, follow = number(sentence.source[0]), [], dict(pairs)
        while key in follow:
            steps.append(key)
            key = follow[key]
        assert [f"key{step}" for step in [*steps, key]] == sentence.target
        assert len(set(sentence.target)) == len(sentence.target) == len(pairs) + 1
        assert sentence.tags == ["first", *["next"] * len(pairs)]
        assert sentence.source[1::2] == [word for word in sentence.source if word.startswith("filler")]
        moved += [first for first, _ in pairs] != steps
    assert moved > 300 if order == "permuted" else moved == 0


def test_the_place_of_the_next_pair_is_even_where_the_order_is_permuted(tmp_path):
    """The pair that is read n-th stands at each place about as often: counting leads nowhere."""
    table = np.zeros((4, 4))
    for sentence in drawn("chain", tmp_path / "data", keys=5, test=2000):
        places = {word.removeprefix("pair").split(":")[0]: n for n, word in enumerate(sentence.source[2::2])}
        if len(places) == 4:
            for step, word in enumerate(sentence.target[:-1]):
                table[step, places[number(word)]] += 1
    shares = table / table.sum(1, keepdims=True)
    assert np.abs(shares - 0.25).max() < 4 * np.sqrt(0.25 * 0.75 / table.sum(1).min())


def rare_words(sentences: list[language.Sentence]) -> tuple[Counter, int]:
    """(rank of each rare form that occurs, number of words that have rare forms) of the sources."""
    words = [word for sentence in sentences for word in sentence.source if word.startswith(("adjective", "pair"))]
    return Counter(int(word.partition("~")[2]) for word in words if "~" in word), len(words)


@pytest.mark.parametrize("name", ["rules", "chain"])
def test_rare_forms_have_their_share_and_a_long_tail(tmp_path, name):
    ranks, words = rare_words(drawn(name, tmp_path / "data", rare=20, forms=300, test=2000))
    total, harmonic = ranks.total(), sum(1 / rank for rank in range(1, 301))
    assert abs(total / words - 0.2) < 4 * np.sqrt(0.2 * 0.8 / words)
    assert max(ranks) <= 300
    for rank in (1, 2, 5):
        expected = total / rank / harmonic
        assert abs(ranks[rank] - expected) < 4 * np.sqrt(expected)
    tail = total * sum(1 / rank for rank in range(101, 301)) / harmonic
    assert abs(sum(count for rank, count in ranks.items() if rank > 100) - tail) < 4 * np.sqrt(tail)


@pytest.mark.parametrize("name", ["rules", "chain"])
def test_rare_forms_are_shown_in_the_place_of_the_common_ones_and_tell_nothing_more(tmp_path, name):
    sentences = drawn(name, tmp_path / "data", rare=50, forms=1, test=2000)
    common, rare = Counter(), Counter()
    for sentence in sentences:
        for word in sentence.source:
            if word.startswith(("adjective", "pair")):
                (rare if "~" in word else common)[word.partition("~")[0]] += 1
    assert set(common) == set(rare)
    assert all(abs(common[word] - rare[word]) < 5 * np.sqrt(common[word] + rare[word]) for word in common)
    assert not any("~" in word for sentence in sentences for word in sentence.target)


@pytest.mark.parametrize("name", ["rules", "chain"])
def test_without_rare_words_the_number_of_forms_changes_nothing(tmp_path, name):
    first, second = (drawn(name, tmp_path / str(forms), rare=0, forms=forms) for forms in (1, 50))
    assert first == second


def test_the_rarest_forms_are_met_too_seldom_to_be_learnt(tmp_path):
    """The bound of a perfect reader: words whose form no rule asked for in the training can only be guessed."""
    params = {"units": 8, "rare": 20, "forms": 300, "sentences": 8000}
    train, test = (drawn("rules", tmp_path / split, split, **params) for split in ("train", "test"))
    asked = Counter(form for sentence in train for form in asked_for(sentence))
    wanted = [form for sentence in test for form in asked_for(sentence)]
    unmet = 100 * np.mean([not asked[form] for form in wanted])
    assert 2 < unmet < 10


def asked_for(sentence: language.Sentence) -> list[str]:
    """The adjectives, in the form that is shown, that the rules of a sentence ask for."""
    places = [(place, re.match(r"n([137])", sentence.source[place])) for place in nouns(sentence)]
    return [sentence.source[place - int(rule[1])] for place, rule in places if rule]


@pytest.mark.parametrize(
    ("name", "params"), [("rules", {"units": 4}), ("chain", {"order": "monotone"}), ("rules", {"rare": 20})]
)
def test_a_seed_draws_the_same_sentences_and_another_seed_others(tmp_path, name, params):
    first, again, other = (
        prepare(name, tmp_path / str(n), SIZES | params | {"seed": seed})["checksum"]
        for n, seed in enumerate((5, 5, 6))
    )
    assert first == again != other


def test_no_sentence_of_the_test_is_one_of_the_training(tmp_path):
    """Those of one unit or of a chain of three may recur by chance, but hardly do."""
    for name in ("rules", "chain"):
        train, test = (drawn(name, tmp_path / name / split, split) for split in ("train", "test"))
        known = {" ".join(sentence.source) for sentence in train}
        assert sum(" ".join(sentence.source) in known for sentence in test) <= 1


@pytest.mark.parametrize(
    ("name", "params"),
    [
        *(("rules", {"units": units}) for units in (-4, 0, 1, 5, 104)),
        *(("chain", {"keys": keys}) for keys in (-1, 0, 3, 101)),
        *(("chain", {"order": order}) for order in ("", "Permuted", "reversed")),
        *((name, {key: 0}) for name in ("rules", "chain") for key in ("sentences", "valid", "test")),
        *(("rules", {"reach": reach}) for reach in (-1, 0, 2, 5, 8, "3")),
        *((name, {"seed": -1}) for name in ("rules", "chain")),
        *((name, {"rare": rare}) for name in ("rules", "chain") for rare in (-1, 51, 100, 2.5, True)),
        *((name, {"forms": forms}) for name in ("rules", "chain") for forms in (-1, 0, 1001)),
        *(("rules", {key: value}) for key, value in (("units", "12"), ("match", 1), ("unit", 4), ("seed", "run"))),
        ("chain", {"keys": 12.0}),
    ],
)
def test_parameters_that_no_probe_can_have_are_refused_in_one_line(tmp_path, name, params):
    with pytest.raises(UserError) as caught:
        prepare(name, tmp_path / "data", SIZES | params)
    assert "\n" not in str(caught.value) and next(iter(params)) in str(caught.value)
    assert not (tmp_path / "data").exists()


def test_the_smallest_and_the_largest_probes_can_be_drawn(tmp_path):
    few = {"sentences": 2, "valid": 1, "test": 1}
    for n, (name, params) in enumerate(
        [
            ("rules", {"units": 4}),
            ("rules", {"units": 100, "match": True, "rare": 50, "forms": 1000}),
            ("rules", {"units": 4, "rare": 1, "forms": 1}),
            ("chain", {"keys": 4}),
            ("chain", {"keys": 100}),
        ]
    ):
        manifest = prepare(name, tmp_path / str(n), few | params)
        assert set(manifest["rules"]) >= {"first" if name == "chain" else "n1"}


def test_the_guesses_of_the_manifest_are_one_of_the_answers():
    assert rules.GUESS["n1"] == 100 / rules.ADJECTIVES and rules.GUESS["match"] == 100 / rules.VALUES
    assert rules.GUESS["sense"] == 100 / rules.SCENES


BYTES = """
import tempfile
from pathlib import Path
from plugins.datasets.prepare import prepare

for name in ("chain", "rules"):
    with tempfile.TemporaryDirectory() as folder:
        print(prepare(name, Path(folder) / "data", {"sentences": 200, "valid": 20, "test": 20, "seed": 5})["checksum"])
"""


def test_the_bytes_are_the_same_under_other_instruction_sets():
    few = "AVX512F AVX512CD AVX512_SKX AVX512_CLX AVX512_CNL AVX512_ICL AVX2 FMA3"
    checksums = set()
    for off in ({}, {"NPY_DISABLE_CPU_FEATURES": few, "ATEN_CPU_CAPABILITY": "default", "ONEDNN_MAX_CPU_ISA": "SSE41"}):
        command = [sys.executable, "-W", "ignore", "-c", BYTES]
        run = subprocess.run(command, env=os.environ | off, capture_output=True, text=True, check=True)
        checksums.add(tuple(run.stdout.split()))
    assert len(checksums) == 1 and len(checksums.pop()) == 2
