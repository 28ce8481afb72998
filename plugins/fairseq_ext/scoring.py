"""Scores of a translated split, and what each of its sentences contributes to them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
import sacrebleu
import torch

from plugins.suite import files
from plugins.suite.errors import UserError
from plugins.suite.items import rule_metrics


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


def score_rules(model, batches: Iterable[Mapping], data: Path, split: str, rules: Mapping) -> tuple[dict, dict, dict]:
    """(metrics, items, details) of the target words that rules decide, given the true words before each.

    `rules`: {rule: accuracy in percent of guessing}, of the manifest; tags/<split> names the rule of each target word,
    strata/<split> the stratum of each sentence. batches: fairseq samples with the target padded on the right.
    metrics: as plugins.suite.items.rule_metrics. items: a column a list, one value a sentence. details: by rule
    its accuracy, that of guessing, and the number of words.
    UserError where a tag line has not one tag a target word.
    """
    tags = [line.split() for line in _lines(data / "tags" / split)]
    strata = _lines(data / "strata" / split)
    places, counts = {rule: place for place, rule in enumerate(rules)}, Counter()
    right, total = np.zeros((2, len(tags), len(rules)), dtype=int)
    with torch.no_grad():
        for sample in batches:
            hits = model(**sample["net_input"])[0].argmax(-1).eq(sample["target"]).tolist()
            lengths = sample["target"].ne(model.decoder.padding_idx).sum(1).tolist()
            for sentence, words, length in zip(sample["id"].tolist(), hits, lengths, strict=True):
                if length != len(tags[sentence]) + 1:  # the end of the sentence has no tag
                    raise UserError(f"{data / 'tags' / split}:{sentence + 1}: not one tag a target word; prepare again")
                for tag, hit in zip(tags[sentence], words, strict=False):
                    if tag in places:
                        right[sentence, places[tag]] += hit
                        total[sentence, places[tag]] += 1
                        counts[tag, strata[sentence], bool(hit)] += 1
    metrics = rule_metrics(counts)
    items = {
        "rules": [list(rules)] * len(tags),
        "right": right.tolist(),
        "total": total.tolist(),
        "stratum": strata,
    }
    details = {
        rule: {
            "accuracy": metrics.get(f"accuracy_{rule}"),
            "chance": chance,
            "words": int(total[:, places[rule]].sum()),
        }
        for rule, chance in rules.items()
    }
    return metrics, items, details


def chance_by_metric(rules: Mapping[str, Mapping]) -> dict[str, float]:
    """Accuracy of guessing, in percent: `accuracy`, over all words, and each `accuracy_<rule>`; of `score_rules`."""
    words = sum(rule["words"] for rule in rules.values())
    overall = sum(rule["chance"] * rule["words"] for rule in rules.values()) / words
    return {"accuracy": overall, **{f"accuracy_{name}": rule["chance"] for name, rule in rules.items()}}


def _lines(path: Path) -> list[str]:
    return files.read_text(path).splitlines()
