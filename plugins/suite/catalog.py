"""From the files of `experiments/` to the runs of the suite.

A run is (scale, study, ablation, arm, seed). What it does follows from that identity alone: the base recipe
`experiments/<study>/configs/<task>-<scale>.yaml`, with the arm's `set` merged into its `model`. The Snakefile lists
the runs with `runs_table`, the runner resolves one of them again with `resolve`; both read the same files.
Every fault of a file is one line: the file, the key, the rule, the nearest valid spelling.
"""

from __future__ import annotations

import copy
import fnmatch
import hashlib
import json
import re
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml
from jsonschema import Draft202012Validator

from plugins.suite.errors import UserError
from plugins.suite.files import nearest, read_yaml

EXPERIMENTS = Path("experiments")
FACTOR = re.compile(r"x[0-9]+(\.[0-9]+)?")
SCHEMAS = Path("workflow/schemas")


@lru_cache
def _validator(name: str) -> Draft202012Validator:
    model = yaml.safe_load((SCHEMAS / "model.schema.yaml").read_text())
    schema = yaml.safe_load((SCHEMAS / f"{name}.schema.yaml").read_text())
    # Every schema that speaks of operators says `model: {$ref: "#/$defs/model"}`; the words are defined once.
    schema.setdefault("$defs", {}).update(model=model, **model.pop("$defs"))
    return Draft202012Validator(schema)


def _message(error) -> str:
    where = ".".join(str(part) for part in error.absolute_path)
    prefix = f"{where}: " if where else ""
    if error.validator == "additionalProperties":
        known = list(error.schema.get("properties", {}))
        unknown = next(key for key in error.instance if key not in known)
        return f"{prefix}unknown key '{unknown}'{nearest(str(unknown), known)}"
    if error.validator == "required":
        missing = next(key for key in error.validator_value if key not in error.instance)
        return f"{prefix}key '{missing}' is missing"
    if error.validator == "enum":
        known = [str(value) for value in error.validator_value]
        return f"{prefix}{error.instance!r} is not allowed{nearest(str(error.instance), known)}"
    rule = error.schema.get("description") or error.schema.get("title")
    if error.validator in ("pattern", "type", "anyOf", "oneOf") and rule:
        return f"{prefix}{error.instance!r} does not fit; it must be {rule}"
    return f"{prefix}{error.message}"


def validate(content: dict, schema: str, source: Path) -> None:
    """Raises UserError, one line, for the first fault of `content` against workflow/schemas/<schema>.schema.yaml."""
    errors = sorted(_validator(schema).iter_errors(content), key=lambda e: [str(p) for p in e.absolute_path])
    if errors:
        raise UserError(f"{source}: {_message(errors[0])}")


def merge(base: dict, change: dict) -> dict:
    """`base` with `change` laid over it: mappings key by key, "x2" as twice the base's number, all else replaced."""
    merged = copy.deepcopy(base)
    for key, value in change.items():
        if isinstance(value, dict) and isinstance(merged.get(key), dict):
            merged[key] = merge(merged[key], value)
        elif isinstance(value, str) and FACTOR.fullmatch(value) and isinstance(merged.get(key), int):
            merged[key] = round(merged[key] * float(value[1:]))
        else:
            merged[key] = copy.deepcopy(value)
    return merged


def slug(arm: str) -> str:
    """The arm's name as a folder: `w/o` becomes `w-o`."""
    return arm.replace("/", "-")


@dataclass(frozen=True)
class Run:
    """One arm with one seed. `home` is the ablation and arm whose folder holds it (`same_as`), most often itself."""

    scale: str
    study: str
    ablation: str
    arm: str
    seed: int
    label: str
    home: tuple[str, str]

    @property
    def folder(self) -> str:
        ablation, arm = self.home
        return f"results/runs/{self.scale}/{self.study}/{ablation}/{slug(arm)}/seed{self.seed}"

    @property
    def metrics(self) -> str:
        return f"{self.folder}/metrics.json"


def studies() -> list[str]:
    """Every study: a folder of `experiments/` with ablations."""
    return sorted(path.parent.name for path in EXPERIMENTS.glob("*/ablations"))


@lru_cache
def _ablations(study: str) -> dict[str, dict]:
    folder = EXPERIMENTS / study / "ablations"
    if not folder.is_dir():
        raise UserError(f"experiments: no study '{study}'{nearest(study, studies())}")
    found = {}
    for path in sorted(folder.glob("*.yaml")):
        content = read_yaml(path)
        validate(content, "ablation", path)
        _check_arms(content, path)
        found[path.stem] = content
    if not found:
        raise UserError(f"{folder}: holds no ablation file (*.yaml)")
    for name, content in found.items():
        for arm, body in content["arms"].items():
            _home(found, name, arm, body, folder / f"{name}.yaml")
            _pretraining(found, name, arm, body, folder / f"{name}.yaml")
    return found


def _check_arms(content: dict, path: Path) -> None:
    arms = content["arms"]
    for key in ("baseline", "recommended"):
        arm = content.get(key)
        if arm is not None and arm not in arms:
            raise UserError(f"{path}: {key} '{arm}' is not an arm{nearest(arm, [*arms])}")
    folders: dict[str, str] = {}
    for arm in arms:
        other = folders.setdefault(slug(arm), arm)
        if other != arm:
            raise UserError(f"{path}: arms '{other}' and '{arm}' would share the folder '{slug(arm)}'; rename one")


def _home(found: dict[str, dict], ablation: str, arm: str, body: dict, path: Path) -> tuple[str, str]:
    target = body.get("same_as")
    if target is None:
        return ablation, arm
    where = f"{path}: arms.{arm}.same_as"
    name, other = _named(found, target, where)
    if recipe_name(found[name]) != recipe_name(found[ablation]):
        raise UserError(f"{where}: '{target}' has the recipe '{recipe_name(found[name])}', this has another")
    return name, other


def _named(found: dict[str, dict], target: str, where: str) -> tuple[str, str]:
    """(ablation, arm) of `target`, <ablation>/<arm>; UserError, with `where`, unless it is an arm with a `set`."""
    name, _, other = target.partition("/")
    if name not in found or other not in found[name]["arms"]:
        known = [f"{n}/{a}" for n, c in found.items() for a in c["arms"]]
        raise UserError(f"{where}: no arm '{target}'{nearest(target, known)}")
    if "same_as" in found[name]["arms"][other]:
        raise UserError(f"{where}: '{target}' is itself a same_as; name the arm that has a `set`")
    return name, other


def _pretraining(found: dict[str, dict], ablation: str, arm: str, body: dict, path: Path) -> tuple[str, str] | None:
    """(ablation, arm) from whose weights an arm starts (`pretrained`); None for one that starts from scratch."""
    target = body.get("pretrained")
    if target is None:
        return None
    where = f"{path}: arms.{arm}.pretrained"
    name, other = _named(found, target, where)
    if "pretrained" in found[name]["arms"][other]:
        raise UserError(f"{where}: '{target}' is itself pretrained; name an arm that starts from scratch")
    for task in (found[ablation]["task"], found[name]["task"]):
        if task != "classification":
            raise UserError(f"{where}: '{target}': the task is {task}; only classification starts from another run")
    return name, other


def _wanted(ablation: str, arm: str, priority: str, arms: str | list[str]) -> bool:
    """Whether a configuration's `arms` asks for an arm: core, all, or patterns of <arm> or <ablation>/<arm>."""
    if isinstance(arms, str):
        return arms == "all" or priority == "core"
    names = (arm, f"{ablation}/{arm}")
    return any(fnmatch.fnmatchcase(name, pattern) for name in names for pattern in arms)


def _priority(found: dict[str, dict], home: tuple[str, str], body: dict) -> str:
    return body.get("priority") or found[home[0]]["arms"][home[1]].get("priority", "extra")


def _number(seed: Any) -> Any:
    """snakemake reads the list of --config 'seeds=[1,2]' as text."""
    return int(seed) if isinstance(seed, str) and seed.isdecimal() else seed


def flag(value: Any) -> Any:
    """snakemake reads the value of --config fetch=true as text."""
    return {"true": True, "false": False}.get(value, value) if isinstance(value, str) else value


def runs_table(config: dict) -> list[Run]:
    """The runs that a configuration asks for, in the order of the files. Raises UserError on any fault of a file."""
    config = config | {"seeds": [_number(seed) for seed in config.get("seeds") or []]}
    config["fetch"] = flag(config.get("fetch", False))
    validate(config, "config", Path("configuration"))
    table = []
    for study in config["studies"]:
        found = _ablations(study)
        for name, content in found.items():
            if not _at_scale(content, config["scale"]):
                continue
            recipe(study, recipe_name(content), config["scale"])
            path = EXPERIMENTS / study / "ablations" / f"{name}.yaml"
            for arm, body in content["arms"].items():
                home = _home(found, name, arm, body, path)
                if _wanted(name, arm, _priority(found, home, body), config["arms"]):
                    label = body.get("label", arm)
                    table += [Run(config["scale"], study, name, arm, s, label, home) for s in config["seeds"]]
    if not table:
        raise UserError(f"configuration: arms {config['arms']!r} selects no arm of {', '.join(config['studies'])}")
    return table


def recipe_name(ablation: dict) -> str:
    """The recipe of an ablation's runs: named after its task unless it says otherwise (another language pair)."""
    return ablation.get("recipe", ablation["task"])


def _at_scale(ablation: dict, scale: str) -> bool:
    return scale in ablation.get("scales", [scale])


def has_recipe(study: str, ablation: dict, scale: str) -> bool:
    """Whether the ablation is meant for that scale and its recipe exists there."""
    path = EXPERIMENTS / study / "configs" / f"{recipe_name(ablation)}-{scale}.yaml"
    return _at_scale(ablation, scale) and path.is_file()


@lru_cache
def recipe(study: str, task: str, scale: str) -> dict:
    """The checked base recipe of a study's task at a scale."""
    path = EXPERIMENTS / study / "configs" / f"{task}-{scale}.yaml"
    if not path.is_file():
        have = sorted(p.stem.removeprefix(f"{task}-") for p in path.parent.glob(f"{task}-*.yaml"))
        raise UserError(
            f"{path}: study '{study}' has no recipe for scale '{scale}' (it has: {', '.join(have) or 'none'})"
        )
    content = read_yaml(path)
    validate(content, "recipe", path)
    return content


def data_folder(data: dict) -> str:
    """The folder of a recipe's data set below results/data/<scale>: its name, then its languages or seed, if any."""
    return "_".join([data["name"], *(str(data[key]) for key in ("source", "target", "seed") if key in data)])


def resolve(scale: str, study: str, ablation: str, arm: str, seed: int) -> dict:
    """Everything that decides the result of a run, and nothing else. `arm` is the name or its slug.

    `pretrained` in it is the metrics.json of the run whose weights this one starts from: same seed, same scale.
    """
    found = _ablations(study)
    if ablation not in found:
        raise UserError(f"experiments/{study}/ablations: no ablation '{ablation}'{nearest(ablation, list(found))}")
    arms = found[ablation]["arms"]
    name = next((known for known in arms if slug(known) == slug(arm)), None)
    if name is None:
        path = f"experiments/{study}/ablations/{ablation}.yaml"
        raise UserError(f"{path}: no arm '{arm}'{nearest(arm, list(arms))}")
    task = found[ablation]["task"]
    spec = copy.deepcopy(recipe(study, recipe_name(found[ablation]), scale))
    spec["model"] = merge(spec.get("model", {}), arms[name].get("set", {}))
    path = EXPERIMENTS / study / "ablations" / f"{ablation}.yaml"
    validate(spec, "recipe", path)
    start = _pretraining(found, ablation, name, arms[name], path)
    if start:
        spec["pretrained"] = Run(scale, study, *start, seed, label=start[1], home=start).metrics
    return {"scale": scale, "study": study, "ablation": ablation, "arm": name, "seed": seed, "task": task} | spec


def arm_specs(study: str, scale: str) -> list[tuple[str, str, dict]]:
    """(ablation, arm, resolved spec) of every arm with a `set` of its own and a recipe at `scale`, in file order."""
    return [
        (name, arm, resolve(scale, study, name, arm, seed=1))
        for name, content in _ablations(study).items()
        if has_recipe(study, content, scale)
        for arm, body in content["arms"].items()
        if "same_as" not in body
    ]


def model_entries(study: str) -> list[dict]:
    """The checked entries of experiments/<study>/models.yaml, the rows of the paper's model tables; none without it."""
    path = EXPERIMENTS / study / "models.yaml"
    if not path.is_file():
        return []
    content = read_yaml(path)
    validate(content, "models", path)
    return content["models"]


def model_specs(study: str) -> list[tuple[dict, dict]]:
    """(entry, resolved spec) of those rows that can be built."""
    found = []
    for entry in model_entries(study):
        if "set" not in entry:
            continue
        spec = copy.deepcopy(recipe(study, entry.get("recipe", entry["task"]), "paper"))
        spec["model"] = merge(spec.get("model", {}), entry["set"])
        spec["measure"] = merge(spec.get("measure", {}), entry.get("measure", {}))
        spec["train"] = merge(spec["train"], entry.get("train", {}))
        validate(spec, "recipe", EXPERIMENTS / study / "models.yaml")
        found.append((entry, {"scale": "paper", "study": study, "task": entry["task"], "seed": 1} | spec))
    return found


def resolve_metrics_path(path: str) -> dict:
    """The resolved run of a path results/runs/<scale>/<study>/<ablation>/<arm>/seed<k>/metrics.json."""
    parts = Path(path).parts
    if len(parts) < 8 or parts[-1] != "metrics.json" or not parts[-2].removeprefix("seed").isdigit():
        raise UserError(f"{path}: must be results/runs/<scale>/<study>/<ablation>/<arm>/seed<k>/metrics.json")
    scale, study, ablation, arm, seed = parts[-6:-1]
    return resolve(scale, study, ablation, arm, int(seed.removeprefix("seed")))


def digest(spec: dict) -> str:
    """A short name for the content of a resolved run: equal digests, equal runs (given data, sources and machine)."""
    return hashlib.sha256(json.dumps(spec, sort_keys=True).encode()).hexdigest()[:16]
