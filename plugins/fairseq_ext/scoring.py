"""Scores of a translated split, and what each of its sentences contributes to them."""

from __future__ import annotations

import numpy as np
import sacrebleu


def score(sources: list[str], hypotheses: list[str], references: list[str], tokenise: str) -> tuple[dict, dict, dict]:
    """(metrics, items, settings) of translations, one line a sentence; `tokenise` is sacrebleu's tokeniser.

    metrics: corpus BLEU and chrF, 0 to 100. items: a column a list, one value a sentence: `score`, the jackknife
    pseudo-value of corpus BLEU; `source_words`; and sacrebleu's sufficient statistics, from which the scores of any
    part of the split follow: `bleu` (lengths of hypothesis and reference, then matches and totals of 1- to 4-grams)
    and `chrf` (n-grams of hypothesis, of reference, and in common, of each order).
    """
    bleu, chrf = sacrebleu.BLEU(tokenize=tokenise), sacrebleu.CHRF()
    statistics = {
        "bleu": bleu._extract_corpus_statistics(hypotheses, [references]),
        "chrf": chrf._extract_corpus_statistics(hypotheses, [references]),
    }
    metrics = {
        "bleu": bleu.corpus_score(hypotheses, [references]).score,
        "chrf": chrf.corpus_score(hypotheses, [references]).score,
    }
    items = {
        "item": list(range(len(sources))),
        "score": pseudo_values(bleu, np.array(statistics["bleu"])),
        "source_words": [len(line.split()) for line in sources],
        **{name: [list(map(int, row)) for row in rows] for name, rows in statistics.items()},
    }
    settings = {"scorer": str(bleu.get_signature()), "chrf_scorer": str(chrf.get_signature())}
    return metrics, items, settings


def pseudo_values(bleu: sacrebleu.BLEU, statistics: np.ndarray) -> list[float]:
    """n theta - (n - 1) theta_without_i of every sentence i, theta being corpus BLEU; `statistics` is n x 10.

    Their mean estimates theta less its bias, and their spread over sqrt(n) is its standard error (Quenouille, Tukey).
    """
    n, total = len(statistics), statistics.sum(0)

    def theta(counts: np.ndarray) -> float:
        return bleu._compute_score_from_stats(counts.tolist()).score

    if n == 1:
        return [theta(total)]
    whole = n * theta(total)
    return [whole - (n - 1) * theta(total - row) for row in statistics]
