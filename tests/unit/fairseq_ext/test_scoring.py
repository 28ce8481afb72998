"""Pseudo-values of corpus BLEU against the score of the corpus without each sentence; accuracy of words by rule."""

from __future__ import annotations

import numpy as np
import pytest
import sacrebleu
import torch

from plugins.fairseq_ext.scoring import chance_by_metric, score, score_rules
from plugins.suite.errors import UserError

REFERENCES = ["the cat sat on the mat", "a dog ran over the green hill", "we are here again today", "it is so"]
HYPOTHESES = ["the cat sat on a mat", "a dog ran over the hill", "we were here again", "it is so"]
SOURCES = ["s s", "s s s", "s", "s s s s"]


def scored(*chosen):
    sources, hypotheses, references = ([lines[i] for i in chosen] for lines in (SOURCES, HYPOTHESES, REFERENCES))
    return score(sources, hypotheses, references, "none")


def test_scores_are_sacrebleu_s():
    metrics, items, settings = scored(0, 1, 2, 3)
    bleu = sacrebleu.BLEU(tokenize="none").corpus_score(HYPOTHESES, [REFERENCES]).score
    assert metrics == {"bleu": bleu, "chrf": sacrebleu.CHRF().corpus_score(HYPOTHESES, [REFERENCES]).score}
    assert items["source_words"] == [2, 3, 1, 4] and items["item"] == [0, 1, 2, 3]
    assert {len(row) for row in items["bleu"]} == {10} and {len(row) for row in items["chrf"]} == {18}
    assert "tok:none" in settings["scorer"]


def test_a_sentence_s_score_is_what_the_corpus_gains_by_it():
    metrics, items, _ = scored(0, 1, 2, 3)
    for left_out, value in enumerate(items["score"]):
        without, _, _ = scored(*(i for i in range(4) if i != left_out))
        assert value == pytest.approx(4 * metrics["bleu"] - 3 * without["bleu"])
    assert np.std(items["score"]) > 0


def test_a_single_sentence_scores_what_its_corpus_does():
    metrics, items, _ = scored(0)
    assert items["score"] == pytest.approx([metrics["bleu"]])


##### rules #####

PAD, EOS = 1, 2
RULES = {"near": 12.5, "far": 50.0}
TARGETS = [[5, 6, 7, EOS], [8, 9, EOS]]
TAGS = ["near - far", "far near"]


class Guesser:
    """A model whose likeliest words are given: the targets, but for the places (sentence, word) that are wrong."""

    class decoder:  # noqa: N801 - the attribute of a fairseq model
        padding_idx = PAD

    def __init__(self, wrong=()):
        self.wrong = set(wrong)

    def __call__(self, src_tokens):
        rows = src_tokens[:, 0].tolist()
        guesses = [[4 if (row, n) in self.wrong else w for n, w in enumerate(TARGETS[row])] for row in rows]
        width = max(map(len, guesses))
        words = torch.tensor([[*guess, *[PAD] * (width - len(guess))] for guess in guesses])
        return (torch.nn.functional.one_hot(words, 10).float(),)


def batch(*rows):
    width = max(len(TARGETS[row]) for row in rows)
    return {
        "id": torch.tensor(rows),
        "net_input": {"src_tokens": torch.tensor(rows)[:, None]},
        "target": torch.tensor([[*TARGETS[row], *[PAD] * (width - len(TARGETS[row]))] for row in rows]),
    }


@pytest.fixture
def tagged(tmp_path):
    for name, lines in (("tags", TAGS), ("strata", ["length1", "length2"])):
        (tmp_path / name).mkdir()
        (tmp_path / name / "test").write_text("".join(f"{line}\n" for line in lines))
    return tmp_path


def test_each_tagged_word_counts_for_its_rule_and_no_other(tagged):
    """Sentence 0: near right, an untagged word wrong, far wrong; sentence 1: both right; the end is not scored."""
    model = Guesser({(0, 1), (0, 2), (1, 2)})
    metrics, items, details = score_rules(model, [batch(1, 0)], tagged, "test", RULES)
    assert items == {
        "rules": [["near", "far"]] * 2,
        "right": [[1, 0], [1, 1]],
        "total": [[1, 1], [1, 1]],
        "stratum": ["length1", "length2"],
    }
    assert metrics["accuracy"] == 75 and metrics["accuracy_near"] == 100 and metrics["accuracy_far"] == 50
    assert metrics["accuracy_far_length1"] == 0 and metrics["accuracy_far_length2"] == 100
    assert details == {
        "near": {"accuracy": 100.0, "chance": 12.5, "words": 2},
        "far": {"accuracy": 50.0, "chance": 50.0, "words": 2},
    }
    assert chance_by_metric(details) == {"accuracy": 31.25, "accuracy_near": 12.5, "accuracy_far": 50.0}


def test_batches_and_their_padding_do_not_change_the_scores_of_rules(tagged):
    model = Guesser({(0, 0), (1, 1)})
    together = score_rules(model, [batch(0, 1)], tagged, "test", RULES)
    assert together == score_rules(model, [batch(1), batch(0)], tagged, "test", RULES)


def test_a_tag_too_few_or_too_many_is_refused(tagged):
    for tags in ("near far", "near - far far"):
        (tagged / "tags" / "test").write_text(f"{tags}\n{TAGS[1]}\n")
        with pytest.raises(UserError, match="tags/test:1: not one tag a target word"):
            score_rules(Guesser(), [batch(0, 1)], tagged, "test", RULES)
