"""BLEU of parts of a test set: the released translations, buckets, intervals, faults of files."""

import os
from pathlib import Path

import numpy as np
import pytest
import sacrebleu
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis import details, sentences
from analysis.__main__ import main
from plugins.suite.errors import UserError

DATA = Path(os.environ.get("CONVATTN_DATA_ROOT", Path(__file__).resolve().parents[3].parent / "shared" / "data"))
IWSLT = DATA / "iwslt14-deen-test"
# Recomputed from the released translations, by source words (specification of MUSE, section 7, item 10).
BY_LENGTH = [38.34, 36.43, 34.82, 34.14, 33.83, 35.14, 39.55, 25.59]


@pytest.mark.skipif(not IWSLT.is_dir(), reason="no iwslt14-deen-test: set CONVATTN_DATA_ROOT")
def test_released_translations_score_as_printed():
    files = ("muse_official_hypotheses.en.tok", "reference.en.tok", "source.de.tok")
    hypotheses, references, sources = sentences.aligned(*(IWSLT / name for name in files))
    statistics = sentences.statistics_of(hypotheses, references, "none", lower_case=True)
    assert round(sentences.corpus_bleu(statistics.sum(0)), 2) == 36.28
    lengths = [len(line.split()) for line in sources]
    cut = sentences.paper_buckets(lengths)
    by_length = [sentences.corpus_bleu(statistics[sentences.inside(lengths, bucket)].sum(0)) for bucket in cut]
    assert [round(score, 2) for score in by_length] == BY_LENGTH
    assert [int(sentences.inside(lengths, bucket).sum()) for bucket in cut[-2:]] == [6, 2]


WORDS = st.lists(st.sampled_from("abcd"), min_size=1, max_size=12).map(" ".join)


@given(st.lists(st.tuples(WORDS, WORDS), min_size=1, max_size=8))
@settings(max_examples=30, deadline=None)
def test_summed_statistics_are_sacrebleu_s_corpus_score(pairs):
    hypotheses, references = map(list, zip(*pairs, strict=True))
    statistics = sentences.statistics_of(hypotheses, references, "none", lower_case=False)
    theirs = sacrebleu.BLEU(tokenize="none", force=True).corpus_score(hypotheses, [references]).score
    assert sentences.corpus_bleu(statistics.sum(0)) == pytest.approx(theirs)


@given(st.lists(st.integers(1, 60), min_size=1, max_size=80), st.integers(1, 6))
@settings(max_examples=60, deadline=None)
def test_every_sentence_falls_in_one_bucket(lengths, count):
    for cut in (sentences.quantile_buckets(lengths, count), sentences.paper_buckets([*lengths, 130])):
        hits = sum(sentences.inside(lengths, bucket).astype(int) for bucket in cut)
        assert (hits == 1).all()
    assert len(sentences.quantile_buckets(lengths, count)) <= count


def invented(seed: int, worse: float = 0.0) -> np.ndarray:
    """Statistics of 200 sentences of ten words, of which some are right."""
    rng = np.random.default_rng(seed)
    right = np.clip(rng.binomial(10, 0.7 - worse, 200), 4, 10)
    rows = [[10, 10, r, max(r - 1, 0), max(r - 2, 0), max(r - 3, 0), 10, 9, 8, 7] for r in right]
    return np.array(rows)


def test_a_paired_interval_is_narrower_and_finds_the_difference():
    a, b = invented(0), invented(0).copy()
    b[:60, 2:6] = np.maximum(b[:60, 2:6] - 1, 0)
    gap = sentences.paired(a, b)
    assert gap.low > 0 and gap.low <= gap.value <= gap.high
    whole = sentences.bleu(a)
    assert gap.high - gap.low < whole.high - whole.low
    assert sentences.paired(a, a) == sentences.Interval(0.0, 0.0, 0.0)
    with pytest.raises(ValueError, match="must be of one test set"):
        sentences.paired(a, a[:5])


def test_details_become_metrics():
    statistics = invented(1)
    words = [5] * 50 + [8] * 50 + [12] * 50 + [30] * 50
    kept = {
        "sentences": {"source_words": words, "bleu": statistics.tolist()},
        "gates": {"encoder.0": [0.5, 0.5], "encoder.1": [0.4, 0.6], "decoder.0": [0.1, 0.9]},
    }
    metrics = details.derived(kept)
    assert metrics["bleu_length_4"] == sentences.corpus_bleu(statistics[150:].sum(0))
    assert metrics["bleu_length_span"] == pytest.approx(metrics["bleu_length_4"] - metrics["bleu_length_1"])
    assert metrics["gate_slope"] == pytest.approx(-0.1)
    assert details.derived({}) == {} and details.derived({"gates": {}}) == {}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"one\ntwo\n", "1 lines, but .* has 2; align the files"),
        (b"", "empty; a line a sentence is needed"),
        (b"caf\xe9\n", r"h:1: not UTF-8"),
    ],
)
def test_faults_of_files_are_one_line(tmp_path, content, message):
    (tmp_path / "h").write_bytes(content)
    (tmp_path / "r").write_bytes(b"one\n")
    with pytest.raises(UserError, match=message) as error:
        main(["sentences", "--hypotheses", str(tmp_path / "h"), "--references", str(tmp_path / "r")])
    assert "\n" not in str(error.value)


def test_the_command_prints_and_writes(tmp_path, capsys):
    for name in ("h", "r", "s"):
        (tmp_path / name).write_text("a b c d e\nf g h i j k\n")
    arguments = [f"--{option}={tmp_path / name}" for option, name in (("hypotheses", "h"), ("references", "r"))]
    main(["sentences", *arguments, f"--sources={tmp_path / 's'}", "--buckets=quantiles", f"--json={tmp_path / 'out'}"])
    assert "100.00 [100.00, 100.00]" in capsys.readouterr().out
    with pytest.raises(UserError, match="needs --sources"):
        main(["sentences", *arguments, "--buckets=paper"])
