"""A made-up language pair, Velu to Toram, whose rules are known to the last word, in text and binarised for fairseq.

The lexicon and the rules are fixed; the seed picks the sentences. `translate` parses a Velu sentence and writes the
one Toram sentence that the grammar gives it, so the translation is a function of the source. What the grammar asks of
a model: lexical translation, noun-adjective order, adjectives that agree with their noun (local), verbs at the end of
the clause that agree with a subject at its start (distant), and nouns whose sense hangs on a scene word that may
stand anywhere in the sentence and is told at the start of the translation. The README of this folder has the grammar
with examples.
"""

import random
from pathlib import Path

from plugins.datasets.binarise import binarise
from plugins.datasets.prepare import Source

SOURCE_LANG, TARGET_LANG = "velu", "toram"
DEFAULTS = {"sentences": 12000, "valid": 300, "test": 500, "seed": 1, "longest": 60}
LIMITS = {"sentences": (1, 1_000_000), "valid": (1, 100_000), "test": (1, 100_000), "longest": (10, 60)}
SHORTEST = 5

NOUNS = (
    "dog cat horse bird fish wolf child woman man king farmer baker tree river stone house bread boat road bell "
    "ring book lamp chair hammer cloud apple shirt"
).split()
# Nouns with two senses: which one is meant depends on the scene of the sentence.
SENSES = {
    "bank": ("shore", "vault"),
    "bat": ("flier", "club"),
    "seal": ("swimmer", "stamp"),
    "crane": ("wader", "hoist"),
    "pitch": ("resin", "field"),
    "spring": ("well", "coil"),
}
SCENES = {"outdoors": 0, "at-dawn": 0, "indoors": 1, "at-work": 1}
ADJECTIVES = "red old small tall warm quiet clever broken heavy green proud young".split()
VERBS = "see carry find follow paint sell hide wash call guard".split()
RESTS = "sleep fall sing arrive".split()
ADVERBS = "today often slowly never perhaps again".split()
PREPOSITIONS = "under near with behind inside".split()
SINGULAR, PLURAL = ("a", "this"), ("some", "many")
CONJUNCTIONS = "and but because".split()
WHO, OF, COMMA, STOP = "who", "of", ",", "."


def _spell(number: int, letters: tuple[str, str], vowel_first: bool) -> str:
    """A pronounceable word of four letters, another for each number below 2,500."""
    consonants, vowels = letters
    number = number * 779 % 2500
    syllables = []
    for _ in range(2):
        number, consonant = divmod(number, 10)
        number, vowel = divmod(number, 5)
        syllable = consonants[consonant] + vowels[vowel]
        syllables.append(syllable[::-1] if vowel_first else syllable)
    return "".join(syllables)


_INVARIANT = [*SCENES, *ADVERBS, *PREPOSITIONS, *SINGULAR, *PLURAL, *CONJUNCTIONS, WHO, OF]
_GLOSSES = [*NOUNS, *SENSES, *ADJECTIVES, *VERBS, *RESTS, *_INVARIANT]
_TARGET_NOUNS = [*NOUNS, *(sense for pair in SENSES.values() for sense in pair)]
_MEANINGS = [*_TARGET_NOUNS, *ADJECTIVES, *VERBS, *RESTS, *_INVARIANT]
# {gloss: word} of the two languages; a Toram verb or adjective is a stem here.
VELU = {gloss: _spell(i + 1, ("bdgklmprtv", "aeiou"), False) for i, gloss in enumerate(_GLOSSES)}
TORAM = {gloss: _spell(i + 1, ("fhjkmnrswz", "aeiou"), True) for i, gloss in enumerate(_MEANINGS)}
for _mark in (COMMA, STOP):
    VELU[_mark] = TORAM[_mark] = _mark
GLOSS = {word: gloss for gloss, word in VELU.items()}
# Each Toram noun has one of two classes; nothing in its form tells which.
NOUN_CLASS = {noun: (i * 5 // 3) % 2 for i, noun in enumerate(_TARGET_NOUNS)}
ADJECTIVE_ENDINGS = ("e", "i")
VERB_ENDINGS = {(0, "singular"): "a", (0, "plural"): "ar", (1, "singular"): "o", (1, "plural"): "or"}


def translate(sentence: str) -> str:
    """The Toram of a Velu sentence, both as words separated by blanks; ValueError where the sentence breaks the
    grammar.
    """
    try:
        glosses = [GLOSS[word] for word in sentence.split()]
    except KeyError as error:
        raise ValueError(f"{error.args[0]!r} is not a Velu word") from None
    scenes = [gloss for gloss in glosses if gloss in SCENES]
    if len(scenes) > 1:
        raise ValueError("a sentence has one scene word at most")
    sense = SCENES[scenes[0]] if scenes else None
    parser = _Parser([gloss for gloss in glosses if gloss not in SCENES], sense)
    return " ".join([*(TORAM[scene] for scene in scenes), *parser.sentence()])


class _Parser:
    """Recursive descent over Velu glosses; each method eats one phrase and returns its Toram words."""

    def __init__(self, glosses: list[str], sense: int | None):
        self.glosses, self.sense, self.at = glosses, sense, 0

    def peek(self) -> str:
        return self.glosses[self.at] if self.at < len(self.glosses) else "end of sentence"

    def take(self, allowed) -> str:
        gloss = self.peek()
        if gloss not in allowed:
            raise ValueError(f"word {self.at + 1}: {gloss!r} cannot stand here")
        self.at += 1
        return gloss

    def sentence(self) -> list[str]:
        """sentence -> clause (conjunction clause)* stop"""
        words = self.clause()
        while self.peek() in CONJUNCTIONS:
            words += [TORAM[self.take(CONJUNCTIONS)], *self.clause()]
        words.append(TORAM[self.take([STOP])])
        if self.at != len(self.glosses):
            raise ValueError("words after the full stop")
        return words

    def clause(self) -> list[str]:
        """clause -> [adverb] subject (verb object | rest) (preposition noun-phrase)*; the verb goes last, the adverb
        before it
        """
        adverb = [TORAM[self.take(ADVERBS)]] if self.peek() in ADVERBS else []
        subject, agreement = self.noun_phrase(relative=True)
        middle, verb = self.predicate(agreement)
        places = []
        while self.peek() in PREPOSITIONS:
            post = TORAM[self.take(PREPOSITIONS)]
            places += [*self.noun_phrase()[0], post]
        return [*subject, *places, *middle, *adverb, verb]

    def predicate(self, agreement) -> tuple[list[str], str]:
        """(Toram object, or none, and the verb that agrees with the subject)"""
        verb = self.take([*VERBS, *RESTS])
        middle = self.noun_phrase()[0] if verb in VERBS else []
        return middle, TORAM[verb] + VERB_ENDINGS[agreement]

    def noun_phrase(self, relative: bool = False) -> tuple[list[str], tuple[int, str]]:
        """noun-phrase -> determiner adjective* noun [of noun-phrase] [who predicate comma]; the owner goes first, the
        adjectives after the noun. Returns the words and the (class, number) of the noun."""
        determiner = self.take([*SINGULAR, *PLURAL])
        adjectives = []
        while self.peek() in ADJECTIVES:
            adjectives.append(self.take(ADJECTIVES))
        noun = self.noun()
        agreement = (NOUN_CLASS[noun], "singular" if determiner in SINGULAR else "plural")
        ending = ADJECTIVE_ENDINGS[agreement[0]]
        words = [TORAM[determiner], TORAM[noun], *(TORAM[adjective] + ending for adjective in adjectives)]
        if self.peek() == OF:
            of = TORAM[self.take([OF])]
            words = [*self.noun_phrase()[0], of, *words]
        if relative and self.peek() == WHO:
            who = TORAM[self.take([WHO])]
            middle, verb = self.predicate(agreement)
            words += [who, *middle, verb, TORAM[self.take([COMMA])]]
        return words, agreement

    def noun(self) -> str:
        noun = self.take([*NOUNS, *SENSES])
        if noun in NOUNS:
            return noun
        if self.sense is None:
            raise ValueError(f"{noun!r} needs a scene word in its sentence")
        return SENSES[noun][self.sense]


class _Writer:
    """Draws Velu sentences, as glosses, from the grammar that `_Parser` reads."""

    def __init__(self, seed: int):
        self.random = random.Random(seed)

    def sentence(self) -> list[str]:
        words = self.clause()
        while self.random.random() < 0.22:
            words += [self.random.choice(CONJUNCTIONS), *self.clause()]
        if any(word in SENSES for word in words) or self.random.random() < 0.1:
            words.insert(self.random.randint(0, len(words)), self.random.choice(list(SCENES)))
        return [*words, STOP]

    def clause(self) -> list[str]:
        words = [self.random.choice(ADVERBS)] if self.random.random() < 0.25 else []
        words += [*self.noun_phrase(relative=True), *self.predicate()]
        while self.random.random() < 0.2:
            words += [self.random.choice(PREPOSITIONS), *self.noun_phrase()]
        return words

    def predicate(self) -> list[str]:
        if self.random.random() < 0.3:
            return [self.random.choice(RESTS)]
        return [self.random.choice(VERBS), *self.noun_phrase()]

    def noun_phrase(self, relative: bool = False) -> list[str]:
        words = [self.random.choice(SINGULAR + PLURAL)]
        while self.random.random() < 0.3:
            words.append(self.random.choice(ADJECTIVES))
        words.append(self.random.choice(list(SENSES) if self.random.random() < 0.15 else NOUNS))
        if self.random.random() < 0.12:
            words += [OF, *self.noun_phrase()]
        if relative and self.random.random() < 0.15:
            words += [WHO, *self.predicate(), COMMA]
        return words


def sentences(number: int, seed: int, longest: int = DEFAULTS["longest"]) -> list[str]:
    """`number` different Velu sentences of SHORTEST to `longest` words."""
    writer, pairs = _Writer(seed), {}
    while len(pairs) < number:
        words = writer.sentence()
        if SHORTEST <= len(words) <= longest:
            pairs[" ".join(VELU[word] for word in words)] = None
    return list(pairs)


def build(folder: Path, params: dict, source: Source) -> dict:
    """Writes text/{train,valid,test}.{velu,toram} and bin/ into `folder`; returns the facts of the manifest.

    No sentence stands in two splits. `source` is not used: nothing is read.
    """
    sizes = {"train": params["sentences"], "valid": params["valid"], "test": params["test"]}
    velu = sentences(sum(sizes.values()), params["seed"], params["longest"])
    text = folder / "text"
    text.mkdir()
    start = 0
    for split, size in sizes.items():
        part = velu[start : start + size]
        start += size
        (text / f"{split}.{SOURCE_LANG}").write_text("".join(f"{line}\n" for line in part), encoding="utf-8")
        (text / f"{split}.{TARGET_LANG}").write_text("".join(f"{translate(line)}\n" for line in part), encoding="utf-8")
    types = binarise(text, folder / "bin", SOURCE_LANG, TARGET_LANG, list(sizes), joined=False)
    return {
        "task": "translation",
        "source_lang": SOURCE_LANG,
        "target_lang": TARGET_LANG,
        "subword": None,
        "tokenise": "none",
        "counts": {**sizes, "types": types},
        "skipped": {},
    }
