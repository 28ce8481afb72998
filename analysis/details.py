"""What runs keep beside single numbers (`details` of metrics.json): passed on as details.json, and made into metrics.

    bleu_length_1 ..    BLEU of the quarters of the test set by source words, shortest first (1 holds the shortest)
    bleu_length_span    that of the longest quarter minus that of the shortest
    gate_slope          least-squares slope over the encoder's layers of the smallest kernel's learnt weight
    conv_lead_first, conv_lead_last     ACmix: mean of |beta| - |alpha| over the first and the last third of the layers

The numbers are made here, not by the run, so that another cut of the test set needs no run.
"""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np

from analysis import loading, sentences
from analysis.loading import AnalysisError

NAME = "details.json"


def derived(value: Mapping) -> dict[str, float]:
    """Metrics that follow from the details of a metrics.json; {} where it has none."""
    details = value.get("details") or {}
    found = {}
    if details.get("sentences"):
        words, statistics = lengths_of(details), statistics_of(details)
        cut = sentences.quantile_buckets(words)
        by_length = [sentences.corpus_bleu(statistics[sentences.inside(words, b)].sum(0)) for b in cut]
        found = {f"bleu_length_{index}": score for index, score in enumerate(by_length, 1)}
        found["bleu_length_span"] = by_length[-1] - by_length[0]
    gates = encoder_gates(details)
    if len(gates) > 1:
        found["gate_slope"] = float(np.polyfit(range(len(gates)), gates, 1)[0])
    scales = path_scales(details)
    if len(scales) > 2:
        lead, third = scales[:, 1] - scales[:, 0], len(scales) // 3
        found |= {"conv_lead_first": float(lead[:third].mean()), "conv_lead_last": float(lead[-third:].mean())}
    return found


def lengths_of(details: Mapping) -> list[int]:
    """Words of the source of every test sentence."""
    return details["sentences"]["source_words"]


def statistics_of(details: Mapping) -> np.ndarray:
    """Sentence statistics, S x 10 (see analysis.sentences)."""
    return np.array(details["sentences"]["bleu"], dtype=np.int64)


def encoder_gates(details: Mapping) -> list[float]:
    """Weight of the smallest kernel in each encoder layer, lowest first; [] where kernels are not weighed."""
    gates = details.get("gates") or {}
    layers = sorted((int(name.split(".")[1]), weights) for name, weights in gates.items() if name.startswith("encoder"))
    return [weights[0] for _, weights in layers]


def path_scales(details: Mapping) -> np.ndarray:
    """layers x (|alpha|, |beta|), first layer first; no rows where a run learns no scales."""
    return np.abs(np.array([pair for _, pair in details.get("path_scales") or []], dtype=float)).reshape(-1, 2)


def write(path: Path, values: Iterable[Mapping]) -> None:
    """The details of finished runs, by run, as JSON."""
    found = {
        loading.run_name(v["study"], v["ablation"], v["arm"], v["seed"]): v["details"]
        for v in sorted(values, key=loading.identity)
        if v.get("details")
    }
    loading.write_text(path, json.dumps(found, sort_keys=True) + "\n")


def beside(runs_csv: Path) -> dict[str, dict]:
    """{run: details} of the runs of a runs.csv. Raises AnalysisError when the file is missing or no such thing."""
    path = runs_csv.with_name(NAME)
    found = loading.read_json(path)
    if not isinstance(found, Mapping):
        raise AnalysisError(f"{path}: must map runs to details; write it with python -m analysis.collect")
    return dict(found)
