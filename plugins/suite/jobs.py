"""What the DAG's jobs depend on: the sources of a run, the parameters of a data set, the list of runs.

Pure look-ups for the rules of `workflow/`; nothing heavy is imported.
"""

from __future__ import annotations

import json
from pathlib import Path

from plugins.suite import catalog, data, files, sources
from plugins.suite.catalog import EXPERIMENTS, Run
from plugins.suite.errors import UserError


def dataset_name(scale: str, folder: str, wanted: list[str]) -> str:
    """The name of the data set of a folder below results/data/<scale>."""
    return _dataset(scale, folder, wanted)["name"]


def dataset_values(scale: str, folder: str, wanted: list[str]) -> list[str]:
    """Its parameters as key=value words."""
    return [f"{key}={json.dumps(value)}" for key, value in _dataset(scale, folder, wanted).items() if key != "name"]


def dataset_workers(scale: str, folder: str, wanted: list[str]) -> int:
    """How many processes prepare it."""
    return _dataset(scale, folder, wanted).get("workers", 1)


def dataset_sources(scale: str, folder: str, wanted: list[str]) -> list[str]:
    """The files that preparing it imports."""
    module = f"plugins.datasets.{dataset_name(scale, folder, wanted)}"
    return list(sources.closure(frozenset({"plugins.datasets.__main__", module})))


def _dataset(scale: str, folder: str, wanted: list[str]) -> dict:
    """What the recipes of one scale say of the data set of a folder; those that share it must agree."""
    sharing = [
        (path, content)
        for study in wanted
        for path, recipe in catalog.recipes(study, scale).items()
        if (content := catalog.data_in(recipe["data"], folder)) is not None
    ]
    if not sharing:
        raise UserError(
            f"results/data/{scale}/{folder}: no recipe of {', '.join(wanted)} at scale {scale} has such data"
        )
    (first, shared), *others = sharing
    for path, values in others:
        if values != shared:
            raise UserError(f"{path}: data '{folder}' differs from {first}; the runs share it, so make them equal")
    return shared


def expected(runs: list[Run]) -> list[dict]:
    """The runs as `analysis` wants them: identity, label, and where each one's metrics go."""
    keys = ("scale", "study", "ablation", "arm", "seed", "label")
    return [{key: getattr(run, key) for key in keys} | {"path": run.metrics} for run in runs]


def write_expected(path: str, runs: list[dict]) -> None:
    """Writes the list of runs that there should be."""
    files.write_json(Path(path), runs)


def study_files(study: str, folder: str) -> list[str]:
    """The YAML files of one folder of a study."""
    return sorted(str(path) for path in (EXPERIMENTS / study / folder).glob("*.yaml"))


def config_files(study: str) -> list[str]:
    """The recipes of a study and the mmengine configs that they may start from, those that studies share too."""
    folders = (EXPERIMENTS / study / "configs", EXPERIMENTS / "bases")
    return sorted(str(path) for folder in folders for path in folder.glob("*") if path.suffix in (".yaml", ".py"))


def dataset_generator(scale: str, folder: str, wanted: list[str]) -> str:
    """The digest of what makes the data set of a folder: where it is another than before, the data are made again."""
    content = _dataset(scale, folder, wanted)
    return data.generator_digest(content["name"], {key: value for key, value in content.items() if key != "name"})


def timed_data(study: str, recipe: str, scale: str) -> str:
    """The manifest of the data set of a recipe whose arms are timed; that of seed 1 where each seed has its own."""
    data = catalog.data_with_seed(catalog.recipe(study, recipe, scale)["data"], 1)
    return f"results/data/{scale}/{catalog.data_folder(data)}/manifest.json"


def timed_sources(study: str, recipe: str, scale: str) -> list[str]:
    """The files that timing the arms of a recipe imports."""
    paths = set(sources.closure(frozenset({"plugins.runner.timing"})))
    for ablation, _, spec in catalog.arm_specs(study, scale):
        if catalog.ablations(study)[ablation].recipe_name == recipe:
            paths |= set(sources.run_sources(spec))
    return sorted(paths)


def published() -> dict[str, list[str]]:
    """The studies that have published runs, by scale."""
    by_scale: dict[str, list[str]] = {}
    for path in sorted(Path("results/published").glob("*/metrics.jsonl")):
        lines = [json.loads(line) for line in path.read_text().splitlines() if line.strip()]
        have = {line["study"] for line in lines}
        by_scale[path.parent.name] = [study for study in catalog.studies() if study in have]
    return by_scale
