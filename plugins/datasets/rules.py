"""Probe *rules*: units of words whose translations hang on what stands at a set distance, anywhere, or nowhere else.

Mechanism: which reach a layer has. A source sentence is a scene word and 1 to `units` units of four adjectives and a
noun; a noun has a type that says by which rule it is translated. The target is the scene, then for each unit its mark
and its noun's translation:

    lexical     by the noun alone
    n1, n3, n7  by the adjective 1, 3 or 7 words before the noun (n7: of the unit before); none beyond `reach`
    sense       by the noun and the scene word, at the start of the sentence
    match       by the definer (code, value) anywhere in the sentence that has the noun's code (`match: true`, which
                takes the place of n7: definers stand between units)

Nouns name the rule, adjectives are drawn for each place by itself: which of the four is asked for only the offset
tells, and the answer to n1, n3, n7 and match is one of eight: 12.5 % by guessing. An arm that knows which adjectives
stand in a unit, but not their order, guesses among four. `sense` has two answers a noun: 50 % without the scene.
With `rare`, that many adjectives in 100 are shown in one of `forms` rare forms, whose frequencies fall as 1 / rank:
what such a word means has to be learnt from the few sentences whose rule asks for it. So no arm has all words right:
forms that the training never asks for (of 300 with `rare: 20`, one asked word in sixteen) are guessed, others are known
the better, the earlier an arm finds the offset. No distance is easier for it: forms are drawn for each place alike.
Difficulty a word does not depend on the length of the sentence; strata are quarters of the range of units, of equal
size. Controls: `lexical`, which needs nothing, and n1, which the smallest kernel sees.
"""

from functools import partial
from pathlib import Path

import numpy as np

from plugins.datasets import language
from plugins.datasets.prepare import Source

DEFAULTS = {
    "seed": 1,
    "sentences": 6000,
    "valid": 300,
    "test": 1000,
    "units": 12,
    "reach": 7,
    "match": False,
    "rare": 0,
    "forms": 300,
}
# As many of each stratum.
LIMITS = {
    "units": [4, 8, 12, 16, 20, 24, 28, 32, 36, 40, 44, 48, 52, 56, 60, 64, 68, 72, 76, 80, 84, 88, 92, 96, 100],
    "reach": [1, 3, 7],
    "rare": (0, 50),
    "forms": (1, 1000),
}
DRAWN_FOR_EACH_RUN = True
ADJECTIVES, NOUNS, SCENES, CODES, VALUES = 8, 8, 2, 6, 8
DISTANCES = {"n1": 1, "n3": 3, "n7": 7}
RULES = ("lexical", *DISTANCES, "sense")
GUESS = {"lexical": 100 / NOUNS, "sense": 100 / SCENES, "match": 100 / VALUES}
GUESS |= dict.fromkeys(DISTANCES, 100 / ADJECTIVES)
STRATA = 4


def build(folder: Path, params: dict, source: Source) -> dict:
    """Writes the folder; returns the facts of its manifest."""
    rules = rules_of(params["reach"], params["match"])
    draw = partial(sentence, units=params["units"], rules=rules, rare=params["rare"], forms=params["forms"])
    return language.build(folder, params, draw, {rule: GUESS[rule] for rule in rules})


def rules_of(reach: int, match: bool) -> list[str]:
    """The rules of a data set whose longest distance is `reach`; `match` takes the place of n7."""
    rules = [rule for rule in RULES if DISTANCES.get(rule, 0) <= reach]
    return [rule for rule in rules if rule != "n7"] + ["match"] if match else rules


def sentence(generator: np.random.Generator, units: int, rules: list[str], rare: int, forms: int) -> language.Sentence:
    """One sentence; its stratum is drawn first, so that all are equally frequent."""
    stratum = int(generator.integers(STRATA))
    step = units // STRATA
    count = int(generator.integers(stratum * step + 1, (stratum + 1) * step + 1))
    scene = int(generator.integers(SCENES))
    adjectives = generator.integers(0, ADJECTIVES, size=(count, 4))
    nouns = generator.integers(0, NOUNS, size=count)
    chosen = [_rule(generator, rules, unit) for unit in range(count)]
    values = generator.integers(0, VALUES, size=CODES)
    endings = iter(language.draw_forms(generator, 4 * count, rare, forms))
    words, answers, asked = [f"scene{scene}"], [], []
    for unit, (noun, rule) in enumerate(zip(nouns, chosen, strict=True)):
        words += [f"adjective{a}{next(endings)}" for a in adjectives[unit]]
        if rule == "match":
            code = int(noun) % CODES
            asked.append(code)
            words.append(f"match{code}")
            answers.append(f"value{values[code]}")
        else:
            words.append(f"{rule}{noun}")
            answers.append(_answer(rule, int(noun), scene, adjectives, unit))
    for code in dict.fromkeys(asked):
        # Before any unit, so that distances inside units stay.
        at = 1 + 5 * int(generator.integers(count))
        words.insert(_unit_start(words, at), f"definer{code}:{values[code]}")
    target = [f"scene{scene}", *(word for answer in answers for word in ("unit", answer))]
    tags = [language.UNSCORED, *(tag for rule in chosen for tag in (language.UNSCORED, rule))]
    return language.Sentence(words, target, tags, f"length{stratum + 1}")


def _rule(generator: np.random.Generator, rules: list[str], unit: int) -> str:
    """A rule for a unit; the first unit has no word 7 before its noun that is an adjective."""
    allowed = [rule for rule in rules if unit or rule != "n7"]
    return allowed[int(generator.integers(len(allowed)))]


def _answer(rule: str, noun: int, scene: int, adjectives: np.ndarray, unit: int) -> str:
    if rule == "lexical":
        return f"thing{noun}"
    if rule == "sense":
        return f"sense{noun}:{scene}"
    if rule == "n7":
        # Noun, four adjectives, the noun before, and two of its adjectives: the third of the unit before.
        return f"quality{adjectives[unit - 1, 2]}"
    return f"quality{adjectives[unit, 4 - DISTANCES[rule]]}"


def _unit_start(words: list[str], at: int) -> int:
    """The nearest place at or after `at` where a unit begins, definers that were put in before counted."""
    while at < len(words) and not words[at - 1].startswith(("scene", *RULES, "match")):
        at += 1
    return at
