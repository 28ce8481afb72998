"""What the DAG's jobs depend on: the sources of a run, the parameters of a data set, the list of runs.

Pure look-ups for the rules of `workflow/`; nothing heavy is imported.
"""

from __future__ import annotations

import json
from pathlib import Path

from plugins.runner import sources, state
from plugins.runner.errors import UserError
from plugins.runner.spec import EXPERIMENTS, Run, read_yaml, studies

# What every run imports beyond the runner's own module-level imports.
COMMON = {"plugins.runner.__main__", "plugins.runner.sources", "plugins.runner.measure", "plugins.datasets.manifest"}
FAIRSEQ = {"plugins.runner.fairseq_engine", "plugins.fairseq_ext", "plugins.fairseq_ext.models.muse"}
OPENMM = {"plugins.runner.openmm_engine", "plugins.openmm_ext.training", "plugins.openmm_ext.loading"}
GLUE = {"mmdet": "plugins.openmm_ext.detection"}


def engine_modules(spec: dict) -> set[str]:
    """The modules that the engine imports for this run, by the words of its model."""
    model = spec["model"]
    if spec["engine"] == "fairseq":
        extended = model.get("parallel") or model.get("convolution") or model.get("ffn", "own") != "own"
        layers = {"plugins.fairseq_ext.muse_layers", "plugins.operators.muse"}
        return FAIRSEQ | (layers if extended else set())
    operators = {f"plugins.openmm_ext.{word}" for word in openmm_operators(model)}
    return OPENMM | {GLUE[spec["engine"]]} | operators


def openmm_operators(model: dict) -> list[str]:
    """The modules of plugins/openmm_ext that register what a model's words ask for."""
    return (["generalized_attention"] if model.get("attention") else []) + (
        ["deform_conv"] if model.get("deformable") else []
    )


def run_sources(spec: dict) -> list[str]:
    """The files that a run reads of this project: the modules it imports, and the mmengine config it starts from."""
    files = list(sources.closure(frozenset(COMMON | engine_modules(spec))))
    if "config" in spec["train"]:
        files.append(str(EXPERIMENTS / spec["study"] / "configs" / spec["train"]["config"]))
    return files


def dataset_sources(name: str) -> list[str]:
    """The files that preparing a data set imports."""
    module = f"plugins.datasets.{name}"
    if sources.module_file(module) is None:
        raise UserError(f"data.name: no data set '{name}'; there must be a file plugins/datasets/{name}.py")
    return list(sources.closure(frozenset({"plugins.datasets.__main__", module})))


def data_parameters(scale: str, name: str, wanted: list[str]) -> list[str]:
    """The parameters of a data set as key=value words. Recipes of one scale that share a data set must agree on them."""
    found: dict[str, dict] = {}
    for study in wanted:
        for path in sorted((EXPERIMENTS / study / "configs").glob(f"*-{scale}.yaml")):
            data = read_yaml(path).get("data", {})
            if data.get("name") == name:
                found[str(path)] = {key: value for key, value in data.items() if key != "name"}
    first, *others = found.items()
    for path, values in others:
        if values != first[1]:
            raise UserError(f"{path}: data '{name}' differs from {first[0]}; the runs share it, so make them equal")
    return [f"{key}={json.dumps(value)}" for key, value in first[1].items()]


def expected(runs: list[Run]) -> list[dict]:
    """The runs as `analysis` wants them: identity, label, and where each one's metrics go."""
    keys = ("scale", "study", "ablation", "arm", "seed", "label")
    return [{key: getattr(run, key) for key in keys} | {"path": run.metrics} for run in runs]


def write_expected(path: str, runs: list[dict]) -> None:
    """Writes the list of runs that there should be."""
    state.write_json(Path(path), runs)


def study_files(study: str, folder: str) -> list[str]:
    """The YAML files of one folder of a study."""
    return sorted(str(path) for path in (EXPERIMENTS / study / folder).glob("*.yaml"))


def published() -> dict[str, list[str]]:
    """The studies that have published runs, by scale."""
    found: dict[str, list[str]] = {}
    for path in sorted(Path("results/published").glob("*/metrics.jsonl")):
        lines = [json.loads(line) for line in path.read_text().splitlines() if line.strip()]
        have = {line["study"] for line in lines}
        found[path.parent.name] = [study for study in studies() if study in have]
    return found
