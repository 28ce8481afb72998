"""What runs keep beside single numbers (`details` of metrics.json): passed on as details.json, and made into metrics.

    bleu_length_1 ..    BLEU of the quarters of the test set by source words, shortest first (1 holds the shortest)
    bleu_length_span    that of the longest quarter minus that of the shortest
    gate_slope          least-squares slope over the encoder's layers of the smallest kernel's learnt weight
    conv_lead_first, conv_lead_last     ACmix: mean of |beta| - |alpha| over the first and the last third of the layers
    conv_lead_first_rms, conv_lead_last_rms     the same of `path_lead_rms`, log2 of what the convolution adds to what
                        attention adds, root mean squares

The numbers are made here, not by the run, so that another cut of the test set needs no run. What sentences score
(`sentences`: source_words, bleu) comes from the run's items.parquet.
"""

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from plugins.suite.errors import UserError
from plugins.suite.files import read_json, write_text

NAME = "details.json"


def with_sentences(details: Mapping, items: pd.DataFrame | None) -> dict:
    """`details` with the sentence statistics of a translation run's items; as they are where there are no items."""
    if items is None or "bleu" not in items:
        return dict(details)
    rows = {"source_words": items["source_words"].tolist(), "bleu": [list(map(int, row)) for row in items["bleu"]]}
    return {**details, "sentences": rows}


def derived(details: Mapping) -> dict[str, float]:
    """Metrics that follow from the details of a run; {} where it has none."""
    metrics = {}
    if details.get("sentences"):
        from analysis import sentences  # sacrebleu takes a second to import

        words, statistics = lengths_of(details), statistics_of(details)
        cut = sentences.quantile_buckets(words)
        by_length = [sentences.corpus_bleu(statistics[sentences.inside(words, b)].sum(0)) for b in cut]
        metrics = {f"bleu_length_{index}": score for index, score in enumerate(by_length, 1)}
        metrics["bleu_length_span"] = by_length[-1] - by_length[0]
    gates = encoder_gates(details)
    if len(gates) > 1:
        metrics["gate_slope"] = float(np.polyfit(range(len(gates)), gates, 1)[0])
    scales = path_scales(details)
    if len(scales) > 2:
        lead, third = scales[:, 1] - scales[:, 0], len(scales) // 3
        metrics |= {"conv_lead_first": float(lead[:third].mean()), "conv_lead_last": float(lead[-third:].mean())}
    leads = [lead for _, lead in details.get("path_lead_rms") or []]
    if len(leads) > 2:
        third = len(leads) // 3
        metrics["conv_lead_first_rms"] = float(np.mean(leads[:third]))
        metrics["conv_lead_last_rms"] = float(np.mean(leads[-third:]))
    return metrics


def lengths_of(details: Mapping) -> list[int]:
    """Words of the source of every test sentence."""
    return details["sentences"]["source_words"]


def statistics_of(details: Mapping) -> np.ndarray:
    """Sentence statistics, S x 10 (see analysis.sentences)."""
    return np.array(details["sentences"]["bleu"], dtype=np.int64)


def gates_of(details: Mapping, stack: str) -> list[float]:
    """Weight of the smallest kernel in each layer of a stack ("encoder", "decoder"), lowest first; [] without any."""
    gates = details.get("gates") or {}
    layers = sorted((int(name.split(".")[1]), weights) for name, weights in gates.items() if name.startswith(stack))
    return [weights[0] for _, weights in layers]


def encoder_gates(details: Mapping) -> list[float]:
    """`gates_of` the encoder."""
    return gates_of(details, "encoder")


def path_scales(details: Mapping) -> np.ndarray:
    """layers x (|alpha|, |beta|), first layer first; no rows where a run learns no scales."""
    return np.abs(np.array([pair for _, pair in details.get("path_scales") or []], dtype=float)).reshape(-1, 2)


def write(path: Path, details: Mapping[str, Mapping]) -> None:
    """{run: details} of finished runs, as JSON."""
    write_text(path, json.dumps({run: value for run, value in details.items() if value}, sort_keys=True) + "\n")


def beside(runs_csv: Path) -> dict[str, dict]:
    """{run: details} of the runs of a runs.csv. Raises UserError when the file is missing or no such thing."""
    path = runs_csv.with_name(NAME)
    details = read_json(path)
    if not isinstance(details, Mapping):
        raise UserError(f"{path}: must map runs to details; let snakemake write it again")
    return dict(details)
