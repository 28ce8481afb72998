"""BLEU of parts of a test set, with intervals, from sacrebleu's sentence statistics.

A row of statistics is what sacrebleu sums over a corpus: hypothesis length, reference length, matches of 1- to 4-grams,
totals of 1- to 4-grams. Intervals are 95 %, from RESAMPLES bootstrap samples of sentences; paired tests draw the same
sentences for both systems. They say how sure one test set makes us of two given models, not how models vary by seed.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import sacrebleu

from plugins.suite.errors import UserError

RESAMPLES = 1000
LEVEL = 0.95
PAPER_STEP, PAPER_LAST = 15, 105
QUANTILES = 4


@dataclass(frozen=True)
class Interval:
    """A value with its bootstrap interval."""

    value: float
    low: float
    high: float


def corpus_bleu(total: Sequence[int]) -> float:
    """BLEU (0..100) of summed statistics, exponential smoothing as in sacrebleu's default."""
    total = [int(number) for number in total]
    return sacrebleu.BLEU.compute_bleu(total[2:6], total[6:10], total[0], total[1], smooth_method="exp").score


def resampled(statistics: np.ndarray, seed: int = 0) -> np.ndarray:
    """BLEU of RESAMPLES bootstrap samples of the sentences (rows); the same sentences for the same seed and number."""
    count = len(statistics)
    draws = np.random.default_rng(seed).multinomial(count, np.full(count, 1 / count), size=RESAMPLES)
    return np.array([corpus_bleu(total) for total in draws @ statistics])


def bleu(statistics: np.ndarray) -> Interval:
    """Corpus BLEU with its interval."""
    return _interval(corpus_bleu(statistics.sum(0)), resampled(statistics))


def paired(ours: np.ndarray, other: np.ndarray) -> Interval:
    """BLEU of ours minus that of the other on the same sentences. ValueError unless there are as many."""
    if len(ours) != len(other):
        raise ValueError(f"{len(ours)} and {len(other)} sentences: paired statistics must be of one test set")
    return _interval(corpus_bleu(ours.sum(0)) - corpus_bleu(other.sum(0)), resampled(ours) - resampled(other))


def _interval(value: float, samples: np.ndarray) -> Interval:
    low, high = np.quantile(samples, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Interval(value, float(low), float(high))


def paper_buckets(lengths: Sequence[int]) -> list[tuple[int, int]]:
    """The buckets of MUSE's figures 2 and 7, 1-15, 16-30 ... 91-105 words and above, as far as they hold sentences."""
    edges = [(low, low + PAPER_STEP - 1) for low in range(1, PAPER_LAST, PAPER_STEP)]
    edges.append((PAPER_LAST + 1, max(PAPER_LAST + 1, *lengths)))
    return [(low, high) for low, high in edges if any(low <= length <= high for length in lengths)]


def quantile_buckets(lengths: Sequence[int], count: int = QUANTILES) -> list[tuple[int, int]]:
    """Up to `count` buckets [shortest, longest] of about as many sentences; sentences of one length stay together."""
    ordered = sorted(lengths)
    edges = sorted({ordered[-(-len(ordered) * k // count) - 1] for k in range(1, count + 1)})
    return list(zip([ordered[0], *(edge + 1 for edge in edges[:-1])], edges, strict=True))


def inside(lengths: Sequence[int], bucket: tuple[int, int]) -> np.ndarray:
    """Which sentences fall into a bucket, as a mask."""
    lengths = np.asarray(lengths)
    return (lengths >= bucket[0]) & (lengths <= bucket[1])


def read_lines(path: Path) -> list[str]:
    """Lines of a UTF-8 text. Raises UserError that names the file and, for a wrong encoding, the line."""
    try:
        content = path.read_bytes()
    except OSError as problem:
        raise UserError(f"{path}: cannot be read: {problem.strerror}") from problem
    lines = content.split(b"\n")
    lines = lines[:-1] if lines[-1] == b"" else lines
    decoded = []
    for number, line in enumerate(lines, 1):
        try:
            decoded.append(line.decode("utf-8").rstrip("\r"))
        except UnicodeDecodeError as problem:
            raise UserError(f"{path}:{number}: not UTF-8 ({problem.reason}); convert the file") from problem
    return decoded


def aligned(*paths: Path) -> list[list[str]]:
    """The lines of files that belong together. Raises UserError unless they have as many lines, at least one."""
    texts = [read_lines(path) for path in paths]
    for path, lines in zip(paths, texts, strict=True):
        if not lines:
            raise UserError(f"{path}: empty; a line a sentence is needed")
        if len(lines) != len(texts[0]):
            raise UserError(f"{path}: {len(lines)} lines, but {paths[0]} has {len(texts[0])}; align the files")
    return texts


def statistics_of(hypotheses: list[str], references: list[str], tokenise: str, lower_case: bool) -> np.ndarray:
    """Sentence statistics, S x 10, and nothing else of sacrebleu's scorer."""
    scorer = sacrebleu.BLEU(tokenize=tokenise, lowercase=lower_case, force=True)
    return np.array(scorer._extract_corpus_statistics(hypotheses, [references]), dtype=np.int64)


def table_of(statistics: np.ndarray, lengths: Sequence[int], buckets: list[tuple[int, int]]) -> list[dict]:
    """A record {words, sentences, bleu, low, high} a bucket."""
    records = []
    for low, high in buckets:
        part = statistics[inside(lengths, (low, high))]
        score = bleu(part)
        record = {"words": f"{low}-{high}", "sentences": len(part), "bleu": score.value}
        records.append(record | {"low": score.low, "high": score.high})
    return records
