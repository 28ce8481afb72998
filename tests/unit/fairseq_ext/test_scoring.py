"""Pseudo-values of corpus BLEU against the score of the corpus without each sentence."""

from __future__ import annotations

import numpy as np
import pytest
import sacrebleu

from plugins.fairseq_ext.scoring import score

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
