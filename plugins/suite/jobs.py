"""What the DAG's jobs depend on: the sources of a run, the parameters of a data set, the list of runs.

Pure look-ups for the rules of `workflow/`; nothing heavy is imported.
"""

from __future__ import annotations

import json
from pathlib import Path

from plugins.suite import catalog, data, files, sources
from plugins.suite.catalog import EXPERIMENTS, Run, data_folder, studies
from plugins.suite.errors import UserError
from plugins.suite.files import read_yaml


def dataset_name(scale: str, folder: str, wanted: list[str]) -> str:
    """The name of the data set of a folder below results/data/<scale>."""
    return _dataset(scale, folder, wanted)["name"]


def dataset_values(scale: str, folder: str, wanted: list[str]) -> list[str]:
    """Its parameters as key=value words."""
    data = _dataset(scale, folder, wanted)
    return [f"{key}={json.dumps(value)}" for key, value in data.items() if key != "name"]


def dataset_workers(scale: str, folder: str, wanted: list[str]) -> int:
    """How many processes prepare it."""
    return _dataset(scale, folder, wanted).get("workers", 1)


def dataset_sources(scale: str, folder: str, wanted: list[str]) -> list[str]:
    """The files that preparing it imports."""
    name = dataset_name(scale, folder, wanted)
    module = f"plugins.datasets.{name}"
    if sources.module_file(module) is None:
        raise UserError(f"data.name: no data set '{name}'; there must be a file plugins/datasets/{name}.py")
    return list(sources.closure(frozenset({"plugins.datasets.__main__", module})))


def _dataset(scale: str, folder: str, wanted: list[str]) -> dict:
    """What the recipes of one scale say of the data set of a folder; those that share it must agree."""
    found: dict[str, dict] = {}
    for study in wanted:
        for path in sorted((EXPERIMENTS / study / "configs").glob(f"*-{scale}.yaml")):
            data = read_yaml(path).get("data", {})
            if "name" in data and data_folder(data) == folder:
                found[str(path)] = data
    if not found:
        raise UserError(
            f"results/data/{scale}/{folder}: no recipe of {', '.join(wanted)} at scale {scale} has such data"
        )
    first, *others = found.items()
    for path, values in others:
        if values != first[1]:
            raise UserError(f"{path}: data '{folder}' differs from {first[0]}; the runs share it, so make them equal")
    return first[1]


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


def picture_figures(study: str) -> list[str]:
    """The figures made of what the runs of a study leave in `pictures/`, as analysis/pictures.py names them."""
    found = set()
    for path in study_files(study, "ablations"):
        content = read_yaml(Path(path))
        if content.get("task") in ("detection", "segmentation"):
            found.add(f"predictions_{content['task']}")
            if any((arm.get("set") or {}).get("attention") for arm in content["arms"].values()):
                found.add(f"attention_{content['task']}")
    return sorted(found)


def shared_tasks(wanted: list[str]) -> list[str]:
    """The tasks that more than one of these studies has."""
    of = [{read_yaml(Path(path))["task"] for path in study_files(study, "ablations")} for study in wanted]
    return sorted(task for task in set().union(*of) if sum(task in tasks for tasks in of) > 1)


def shift_times(where: str) -> str | list[str]:
    """The times of ACmix's shift: measured at a plain scale; what was published with the runs otherwise, if it was."""
    path = f"results/{where}/tables/acmix/shift_timing.json"
    return path if not where.startswith("published/") or Path(path).is_file() else []


def dataset_generator(scale: str, folder: str, wanted: list[str]) -> str:
    """The digest of what makes the data set of a folder: where it is another than before, the data are made again."""
    content = _dataset(scale, folder, wanted)
    return data.generator_digest(content["name"], {key: value for key, value in content.items() if key != "name"})


def timed_data(study: str, recipe: str, scale: str) -> str:
    """The manifest of the data set of a recipe whose arms are timed."""
    return f"results/data/{scale}/{catalog.data_folder(catalog.recipe(study, recipe, scale)['data'])}/manifest.json"


def timed_sources(study: str, recipe: str, scale: str) -> list[str]:
    """The files that timing the arms of a recipe imports."""
    paths = set(sources.closure(frozenset({"plugins.runner.timing"})))
    for ablation, _, spec in catalog.arm_specs(study, scale):
        if catalog.ablations(study)[ablation].recipe_name == recipe:
            paths |= set(sources.run_sources(spec))
    return sorted(paths)


def published() -> dict[str, list[str]]:
    """The studies that have published runs, by scale."""
    found: dict[str, list[str]] = {}
    for path in sorted(Path("results/published").glob("*/metrics.jsonl")):
        lines = [json.loads(line) for line in path.read_text().splitlines() if line.strip()]
        have = {line["study"] for line in lines}
        found[path.parent.name] = [study for study in studies() if study in have]
    return found
