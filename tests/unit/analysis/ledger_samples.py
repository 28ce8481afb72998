"""Invented runs with known answers for the tests of the ledger, and withdrawn ones as if fresh. Not results."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from analysis import runs, scores, sentences
from analysis.evidence.scored import Study
from plugins.suite import claims
from plugins.suite.claims import Part

CHANCE = {"loss": math.log(10), "metric": 10.0}
# The first published runs of scale mini, withdrawn since: what they led to must not come back.
WITHDRAWN = Path(__file__).with_name("withdrawn")


def part(check: Mapping, task: str = "classification", **fields: object) -> Part:
    """A trained part with this check."""
    return Part.model_validate({"id": "a", "says": "x", "task": task, "level": "trained", "check": check, **fields})


def row(arm: str, seed: int, value: float, **changes: object) -> dict:
    """A line of runs.csv of a finished classification run."""
    ablation, _, name = arm.partition("/")
    return {
        "scale": "mini", "study": "coatnet", "ablation": ablation, "arm": name, "seed": seed, "status": "done",
        "stale": math.nan, "run": f"coatnet/{ablation}/{name}/seed{seed}", "task": "classification",
        "engine": "mmpretrain", "primary": "top1", "metrics.top1": value, "losses.train": 0.5, "losses.valid": 0.6,
        "settings.updates": 400, "data.name": "probe", "data.checksum": f"{seed:064x}", "data.generator": "g1",
        "provenance.commit": "1a2b3c4d5e6f", "provenance.sources_sha256": f"s-{arm}",
    } | changes  # fmt: skip


def study(
    means: Mapping[str, float],
    seeds: int = 5,
    sd: float = 1.0,
    n_items: int = 1000,
    scale: str = "mini",
    details: Mapping[str, Mapping] | None = None,
    changes: Mapping[str, Mapping] | None = None,
) -> Study:
    """Runs of arms with these means of top1: residuals of spread `sd` that sum to zero in each arm, data by seed.

    `details`, `changes`: by arm, laid over the details and the row of its runs.
    """
    rows, kept, items = [], {}, {}
    rng = np.random.default_rng(7)
    for arm, mean in means.items():
        residuals = rng.standard_normal(seeds)
        residuals = sd * (residuals - residuals.mean()) / (residuals.std(ddof=1) if seeds > 1 and sd else 1.0)
        for seed in range(1, seeds + 1):
            right = round((mean + (residuals[seed - 1] if seeds > 1 else 0.0)) * n_items / 100)
            line = row(arm, seed, 100 * right / n_items, scale=scale, **(changes or {}).get(arm, {}))
            rows.append(line)
            updates = list(range(20, 401, 20))
            curve = {"update": updates, "top1": [min(1.0, u / 200) * line["metrics.top1"] for u in updates]}
            curve["train_loss"] = [2.3 * math.exp(-u / 60) for u in curve["update"]]
            kept[line["run"]] = {"chance": CHANCE, "curve": curve, **(details or {}).get(arm, {})}
            items[line["run"]] = right_or_wrong(right, n_items, seed)
    homes = {arm: arm for arm in means}
    return Study("coatnet", scale, pd.DataFrame(rows), homes, {}, lambda r: kept[r["run"]], lambda r: items[r["run"]])


def right_or_wrong(right: int, n: int, seed: int) -> pd.DataFrame:
    """Items of which just `right` are right, in an order of the seed's own."""
    scores = np.zeros(n)
    scores[np.random.default_rng(seed).permutation(n)[:right]] = 100.0
    return pd.DataFrame({"item": np.arange(n), "score": scores})


def withdrawn(name: str, scale: str = "mini") -> Study:
    """The withdrawn runs of a study as if they were fresh, of one source, and had kept their items: what the gates and
    the statistics would say of them if nothing else were wrong.

    Translation kept its sentences, so that items are real; for pictures, just as many are right as were.
    """
    ablations = claims.ablations(name)
    homes = {f"{ablation}/{arm}": home for ablation, known in ablations.items() for arm, home in known.homes.items()}
    recipes = {ablation: known.recipe for ablation, known in ablations.items()}
    values = [json.loads(line) for line in (WITHDRAWN / f"{scale}.jsonl").read_text().splitlines()]
    values = [value for value in values if value["study"] == name]
    rows, details, items = [], {}, {}
    for value in values:
        run = runs.run_name(name, value["ablation"], value["arm"], value["seed"])
        line = {key: value[key] for key in (*runs.IDENTITY, "status", "task", "engine", "primary")}
        for section in ("metrics", "losses", "settings", "data", "provenance"):
            line |= runs.flatten(value[section], section)
        rows.append(line | {"run": run, "stale": "", "provenance.sources_sha256": "one"})
        details[run] = _with_chance(value)
        items[run] = _items(value)
    frame = pd.DataFrame(rows)
    return Study(name, scale, frame, homes, recipes, lambda r: details[r["run"]], lambda r: items[r["run"]])


def write_folder(folder: Path, shown: Study) -> None:
    """The runs of a study as a published folder of their scale: tables, metrics.jsonl and items.parquet."""
    rows = [line | {"label": line["arm"], "error": "", "path": ""} for line in shown.frame.to_dict("records")]
    runs.write_csv(folder / "tables" / shown.name / "runs.csv", runs.tidy(rows))
    kept = [{**{key: line[key] for key in runs.IDENTITY}, "details": dict(shown.details(line))} for line in rows]
    with (folder / "metrics.jsonl").open("a") as stream:
        stream.writelines(json.dumps(value) + "\n" for value in kept)
    scored = {line["run"]: items for line in rows if (items := shown.items(line)) is not None}
    parquet = folder / "items.parquet"
    before = [pd.read_parquet(parquet)] if parquet.is_file() else []
    parquet.write_bytes(scores.parquet_of([*before, *(frame.assign(run=run) for run, frame in scored.items())]))


def _with_chance(value: Mapping) -> dict:
    kept = dict(value.get("details") or {})
    if value["task"] == "classification":
        classes = {"mini_shapes": 5, "cifar10": 10, "cifar100": 100}[value["data"]["name"]]
        kept["chance"] = {"loss": math.log(classes), "metric": 100 / classes}
    elif value["task"] == "translation":
        types = value["settings"].get("dictionary_types", {"toram": 152})  # of the same data, where it was not recorded
        kept["chance"] = {"loss": math.log(max(types.values())), "metric": 0.0}
    return kept


def _items(value: Mapping) -> pd.DataFrame | None:
    if value["task"] == "classification":
        n = {"mini_shapes": 200, "cifar10": 10_000}.get(value["data"]["name"], 200)
        items = right_or_wrong(round(value["metrics"]["top1"] * n / 100), n, value["seed"])
        return items.assign(top5=np.arange(n) < round(value["metrics"]["top5"] * n / 100))
    kept = (value.get("details") or {}).get("sentences")
    if value["task"] != "translation" or not kept:
        return None
    statistics = np.array(kept["bleu"], dtype=np.int64)
    total = statistics.sum(0)
    whole, n = sentences.corpus_bleu(total), len(statistics)
    left_out = np.array([sentences.corpus_bleu(total - line) for line in statistics])
    score = n * whole - (n - 1) * left_out
    frame = pd.DataFrame({"item": np.arange(n), "score": score, "source_words": kept["source_words"]})
    frame["bleu"] = list(statistics)
    return frame


def verdicts(ledger: pd.DataFrame, study: str, claim: int, parts: Sequence[str] = ()) -> list[str]:
    """The verdicts of some parts of a claim, each once a level."""
    lines = ledger[(ledger["study"] == study) & (ledger["claim"] == claim)]
    return list(lines[lines["part"].isin(parts)]["verdict"] if parts else lines["verdict"])
