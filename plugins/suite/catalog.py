"""From the files of `experiments/` to the runs of the suite.

A run is (scale, study, ablation, arm, seed). What it does follows from that identity alone: the base recipe
`experiments/<study>/configs/<recipe>-<scale>.yaml`, with the arm's `set` merged into its `model` and every default
filled in. The Snakefile lists the runs with `runs_table`, the runner resolves one of them again with `resolve`; both
read the same files, each once a process. Every fault of a file is one line: the file, the key, the rule, the nearest
valid spelling. What the files may say stands in plugins/suite/schema.py and docs/experiments.md.
"""

from __future__ import annotations

import copy
import fnmatch
import hashlib
import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from plugins.suite import data, schema
from plugins.suite.errors import UserError
from plugins.suite.files import nearest, read_yaml
from plugins.suite.options import ARM_OPTIONS
from plugins.suite.schema import Ablation, Arm, Study
from plugins.suite.typed import parse

EXPERIMENTS = Path("experiments")
RUN_SEED = "run"
CORE = "core:"  # in front of a pattern of arms
FACTOR = re.compile(r"x[0-9]+(\.[0-9]+)?", re.ASCII)
NAME = re.compile(r"[a-z][a-z0-9_]{0,63}", re.ASCII)
# The keys of a resolved run before its recipe's.
IDENTITY = ("scale", "study", "ablation", "arm", "seed", "task")


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


def slug(arm: str) -> str:
    """The arm's name as a folder: `w/o` becomes `w-o`."""
    return arm.replace("/", "-")


def forget() -> None:
    """Drops what was read: the next look reads the files again."""
    for cached in (_content, _study, _ablations, _recipe, _resolved):
        cached.cache_clear()


@cache
def _content(path: Path) -> dict:
    """A YAML file, read once a process; nobody may change what is returned. `path` is absolute: see `_read`."""
    return read_yaml(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path)


def _read(path: Path) -> dict:
    return _content(path.absolute())


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


##### studies and ablations #####


def studies(experiments: Path | None = None) -> list[str]:
    """Every study: a folder of `experiments/` with ablations. UserError for one whose name is none."""
    root = experiments or EXPERIMENTS
    names = sorted(path.parent.name for path in root.glob("*/ablations"))
    for name in names:
        _check_name(root / name, name)
    return names


def study(name: str) -> Study:
    """What a study says of itself in study.yaml. UserError where it names ablations or arms that there are not."""
    _check_study(name, EXPERIMENTS)
    facts = _study(EXPERIMENTS.absolute(), name)
    for place, entry in enumerate(facts.proxy):
        _check_proxy(entry, ablations(name), f"{EXPERIMENTS / name / 'study.yaml'}: proxy.{place}")
    return facts


def _check_proxy(entry: schema.ProxyEntry, known: Mapping[str, Ablation], where: str) -> None:
    for name in (entry.probe, *entry.stands_for):
        if name not in known:
            raise UserError(f"{where}: no ablation '{name}'{nearest(name, known)}")
    published = {arm for name in entry.stands_for for arm in known[name].arms}
    for arm, ours in entry.arms.items():
        for name, arms in ((arm, published), (ours, known[entry.probe].arms)):
            if name not in arms:
                raise UserError(f"{where}.arms: no arm '{name}'{nearest(name, arms)}")


# The caches' first argument tells one folder of studies from another; files are named by their relative paths.
@cache
def _study(_root: Path, name: str) -> Study:
    path = EXPERIMENTS / name / "study.yaml"
    return parse(Study, _read(path), path)


def ablations(study: str, experiments: Path | None = None) -> dict[str, Ablation]:
    """The checked ablations of a study by name, in the order of their names, `like` carried out.

    Each arm's `set` is in the types of its task's options. UserError for the first fault of any of them.
    """
    root = experiments or EXPERIMENTS
    _check_study(study, root)
    return _ablations(root.absolute(), root, study)


def _check_study(study: str, root: Path) -> None:
    """UserError unless there is such a study."""
    if not NAME.fullmatch(study) or not (root / study / "ablations").is_dir():
        raise UserError(f"{root}: no study {study!r}{nearest(study, studies(root))}")


def _check_name(path: Path, name: str) -> None:
    if not NAME.fullmatch(name):
        raise UserError(f"{str(path)!r}: must be named in at most 64 small letters, digits and _, a letter first")


@cache
def _ablations(_root: Path, shown: Path, study: str) -> dict[str, Ablation]:
    folder = shown / study / "ablations"
    paths = {path.stem: path for path in sorted(folder.glob("*.yaml")) if not path.name.startswith(".")}
    if not paths:
        raise UserError(f"{folder}: holds no ablation file (*.yaml)")
    contents: dict[str, dict] = {}
    for name, path in paths.items():
        _check_name(path, name)
        contents[name] = _read(path)
    checked: dict[str, Ablation] = {}
    # Those that others are like go first, so that a fault is told of the file that has it.
    for name in sorted(paths, key=lambda name: len(_likes(contents, name, paths[name]))):
        checked[name] = _ablation(_with_like(contents, name, paths[name]), paths[name])
    checked = {name: checked[name] for name in paths}
    for name, ablation in checked.items():
        for arm in ablation.arms:
            _home(checked, name, arm, paths[name])
            _pretraining(checked, name, arm, paths[name])
    return checked


def _likes(contents: dict[str, dict], name: str, path: Path) -> list[str]:
    """The ablations that an ablation is `like`, one behind the other."""
    chain = [name]
    while "like" in contents[chain[-1]]:
        here = path.with_name(f"{chain[-1]}.yaml")
        chain.append(_known_like(contents[chain[-1]]["like"], contents, chain, here))
    return chain[1:]


def _with_like(contents: dict[str, dict], name: str, path: Path) -> dict:
    """The content of an ablation file laid over that of the ablation it is `like`, if it is like one."""
    content = contents[name]
    if "like" not in content:
        if "every_arm" in content:
            raise UserError(f"{path}: every_arm: goes with `like` alone; put it into the arms")
        return content
    base = _with_like(contents, content["like"], path.with_name(f"{content['like']}.yaml"))
    kept = {key: value for key, value in (base | content).items() if value is not None and key not in PARTS}
    return kept | {"arms": _arms_like(base.get("arms"), content, path)}


# The keys of an ablation file with `like` that do not simply take the place of the other's.
PARTS = ("like", "every_arm", "arms")


def _known_like(like: Any, known: Iterable[str], chain: Iterable[str], path: Path) -> str:
    if not isinstance(like, str) or like not in known:
        raise UserError(f"{path}: like: there is no {like!r}{nearest(like, known)}")
    if like in chain:
        raise UserError(f"{path}: like: {' -> '.join([*chain, like])} goes in a circle")
    return like


def _arms_like(base: Any, content: dict, path: Path) -> dict:
    """The arms of an ablation that is `like` another: those of the other, `every_arm` over them, its own over both."""
    every = parse(schema.EveryArm, content.get("every_arm", {}), path, ("every_arm",))
    arms = copy.deepcopy(base) if isinstance(base, dict) else {}
    for body in arms.values():
        if isinstance(body, dict) and isinstance(body.get("set"), dict):
            body["set"] = merge(body["set"], every.set or {})
            body["priority"] = every.priority or body.get("priority")
    changes = content.get("arms", {})
    if not isinstance(changes, dict):
        raise UserError(f"{path}: arms: must be a mapping of keys, is {type(changes).__name__}")
    for arm, change in changes.items():
        if change is None:
            if arm not in arms:
                raise UserError(f"{path}: arms.{arm}: null drops an arm, but there is none{nearest(arm, arms)}")
            del arms[arm]
        else:
            arms[arm] = _arm_like(arms.get(arm, {}), change)
    return arms


def _arm_like(body: Any, change: Any) -> Any:
    """An arm with a change laid over it: `set` key by key; an arm that shares runs has no `set`, and the reverse."""
    if not isinstance(body, dict) or not isinstance(change, dict):
        return change
    ends = {"same_as": ("set", "priority", "pretrained"), "set": ("same_as",)}
    gone = {key for cause, keys in ends.items() if cause in change for key in keys}
    return merge({key: value for key, value in body.items() if key not in gone}, change)


def _ablation(content: dict, path: Path) -> Ablation:
    ablation = parse(Ablation, content, path)
    for key in ("baseline", "recommended"):
        arm = getattr(ablation, key)
        if arm is not None and arm not in ablation.arms:
            raise UserError(f"{path}: {key}: '{arm}' is not an arm{nearest(arm, ablation.arms)}")
    folders: dict[str, str] = {}
    for arm, body in ablation.arms.items():
        other = folders.setdefault(slug(arm), arm)
        if other != arm:
            raise UserError(f"{path}: arms '{other}' and '{arm}' would share the folder '{slug(arm)}'; rename one")
        if body.set is not None:
            body.set = _checked_set(ablation.task, body.set, path, ("arms", arm, "set"))
    return ablation


def _checked_set(task: str, options: dict, path: Path, at: tuple[str, ...]) -> dict:
    """Options in the types of their task; UserError that names the task of an option that belongs to another one."""
    for key in options:
        tasks = [name for name, known in ARM_OPTIONS.items() if key in known.model_fields]
        if tasks and task not in tasks:
            where = ".".join(at)
            raise UserError(f"{path}: {where}: '{key}' is an option of {', '.join(tasks)}, not of {task}; leave it out")
    return parse(ARM_OPTIONS[task], options, path, at).model_dump(exclude_unset=True)


def _home(known: dict[str, Ablation], ablation: str, arm: str, path: Path) -> tuple[str, str]:
    """(ablation, arm) whose folder holds an arm's runs."""
    target = known[ablation].arms[arm].same_as
    if target is None:
        return ablation, arm
    where = f"{path}: arms.{arm}.same_as"
    name, other = _named(known, target, where)
    if known[name].recipe_name != known[ablation].recipe_name:
        raise UserError(f"{where}: '{target}' has the recipe '{known[name].recipe_name}', this has another")
    return name, other


def _named(known: dict[str, Ablation], target: str, where: str) -> tuple[str, str]:
    """(ablation, arm) of `target`, <ablation>/<arm>; UserError, with `where`, unless it is an arm with a `set`."""
    name, _, other = target.partition("/")
    if name not in known or other not in known[name].arms:
        arms = [f"{ablation}/{arm}" for ablation, content in known.items() for arm in content.arms]
        raise UserError(f"{where}: no arm '{target}'{nearest(target, arms)}")
    if known[name].arms[other].same_as is not None:
        raise UserError(f"{where}: '{target}' is itself a same_as; name the arm that has a `set`")
    return name, other


def _pretraining(known: dict[str, Ablation], ablation: str, arm: str, path: Path) -> tuple[str, str] | None:
    """(ablation, arm) from whose weights an arm starts (`pretrained`); None for one that starts from scratch."""
    target = known[ablation].arms[arm].pretrained
    if target is None:
        return None
    where = f"{path}: arms.{arm}.pretrained"
    name, other = _named(known, target, where)
    if known[name].arms[other].pretrained is not None:
        raise UserError(f"{where}: '{target}' is itself pretrained; name an arm that starts from scratch")
    for task in (known[ablation].task, known[name].task):
        if task != "classification":
            raise UserError(f"{where}: '{target}': the task is {task}; only classification starts from another run")
    return name, other


def home(study: str, ablation: str, arm: str) -> tuple[str, str]:
    """(ablation, arm) whose folder holds an arm's runs: itself, or what its `same_as` names."""
    return _home(ablations(study), ablation, arm, _ablation_file(study, ablation))


def priority(study: str, ablation: str, arm: str) -> str:
    """core or extra: an arm's own word, or that of the arm that holds its runs."""
    known = ablations(study)
    return _priority(known, home(study, ablation, arm), known[ablation].arms[arm])


def _ablation_file(study: str, ablation: str) -> Path:
    return EXPERIMENTS / study / "ablations" / f"{ablation}.yaml"


##### runs #####


def runs_table(config: dict) -> list[Run]:
    """The runs that a configuration asks for, in the order of the files. Raises UserError on any fault of a file."""
    settings = configuration(config)
    table = []
    for study in settings.studies:
        known = ablations(study)
        for name, ablation in known.items():
            if not ablation.runs_at(settings.scale):
                continue
            recipe(study, ablation.recipe_name, settings.scale)
            path = _ablation_file(study, name)
            for arm, body in ablation.arms.items():
                place = _home(known, name, arm, path)
                if wanted(name, arm, _priority(known, place, body), settings.arms):
                    resolve(settings.scale, study, *place, settings.seeds[0])  # for its faults
                    label = body.label or arm
                    seeds = seeds_of(place, settings.seeds, settings.fewer)
                    table += [Run(settings.scale, study, name, arm, seed, label, place) for seed in seeds]
    _check_patterns(settings)
    if not table:
        raise UserError(
            f"configuration: arms {settings.arms!r} selects no arm of {', '.join(settings.studies)} at {settings.scale}"
        )
    return table


def configuration(config: Mapping) -> schema.Configuration:
    """The checked configuration, as the command line gives it too: numbers, true and false may come as text there."""
    content = _with_numbers(config)
    if isinstance(content.get("fewer"), Mapping):
        content["fewer"] = _with_numbers(content["fewer"])
    content["fetch"] = flag(content.get("fetch", False))
    return parse(schema.Configuration, content, "configuration")


def _with_numbers(content: Mapping) -> dict:
    """A mapping, the seeds in it as numbers."""
    seeds = content.get("seeds")
    return {**content, "seeds": [_number(seed) for seed in seeds]} if isinstance(seeds, list) else dict(content)


def _number(seed: Any) -> Any:
    """snakemake reads the list of --config 'seeds=[1,2]' as text."""
    return int(seed) if isinstance(seed, str) and re.fullmatch("[0-9]{1,10}", seed, re.ASCII) else seed


def flag(value: Any) -> Any:
    """snakemake reads the value of --config fetch=true as text."""
    return {"true": True, "false": False}.get(value, value) if isinstance(value, str) else value


def seeds_of(home: tuple[str, str], seeds: list[int], fewer: schema.Fewer | None) -> list[int]:
    """The seeds of the runs that an (ablation, arm) holds."""
    return fewer.seeds if fewer and any(_matches(pattern, *home) for pattern in fewer.arms) else seeds


def wanted(ablation: str, arm: str, priority: str, arms: str | list[str]) -> bool:
    """Whether a configuration's `arms` asks for an arm: core, all, or patterns of <arm> or <ablation>/<arm>.

    A pattern behind `core:` asks for core arms alone.
    """
    if isinstance(arms, str):
        return arms == "all" or priority == "core"
    return any(
        _matches(pattern, ablation, arm) and (priority == "core" or not pattern.startswith(CORE)) for pattern in arms
    )


def _matches(pattern: str, ablation: str, arm: str) -> bool:
    pattern = pattern.removeprefix(CORE)
    return any(fnmatch.fnmatchcase(name, pattern) for name in (arm, f"{ablation}/{arm}"))


def _check_patterns(settings: schema.Configuration) -> None:
    """UserError for a pattern that fits no arm of any study; those of studies that a call leaves out are fine."""
    if not isinstance(settings.arms, str):
        _check_each(settings.arms, settings, "arms", lambda body: True)
    if settings.fewer:
        _check_each(settings.fewer.arms, settings, "fewer.arms", lambda body: body.same_as is None)


def _check_each(patterns: list[str], settings: schema.Configuration, key: str, counts: Callable[[Arm], bool]) -> None:
    """UserError for the first of `patterns` that fits no arm that `counts`."""
    left = list(patterns)
    names: list[str] = []
    for study in [*settings.studies, *(name for name in studies() if name not in settings.studies)]:
        if not left:
            return
        for name, ablation in ablations(study).items():
            arms = [arm for arm, body in ablation.arms.items() if counts(body)]
            left = [pattern for pattern in left if not any(_matches(pattern, name, arm) for arm in arms)]
            names += [*arms, *(f"{name}/{arm}" for arm in arms)]
    if left:
        known = names if len(names) < 30 else []
        close = nearest(left[0], names)
        raise UserError(f"configuration: {key}: '{left[0]}' fits no arm{close if known or 'mean' in close else ''}")


def _priority(known: dict[str, Ablation], place: tuple[str, str], body: Arm) -> str:
    return body.priority or known[place[0]].arms[place[1]].priority or "extra"


##### recipes #####


def has_recipe(study: str, ablation: Ablation, scale: str) -> bool:
    """Whether the ablation is meant for that scale and its recipe exists there."""
    return ablation.runs_at(scale) and _recipe_file(study, f"{ablation.recipe_name}-{scale}").is_file()


def recipe(study: str, name: str, scale: str) -> dict:
    """The checked base recipe of a study at a scale, `like` carried out, as it stands there: without defaults."""
    path = _recipe_file(study, f"{name}-{scale}")
    if not path.is_file():
        have = sorted(p.stem.removeprefix(f"{name}-") for p in path.parent.glob(f"{name}-*.yaml"))
        raise UserError(
            f"{path}: study '{study}' has no recipe for scale '{scale}' (it has: {', '.join(have) or 'none'})"
        )
    return copy.deepcopy(_recipe(EXPERIMENTS.absolute(), study, f"{name}-{scale}"))


def recipes(study: str, scale: str) -> dict[str, dict]:
    """All recipes of a study at a scale, by file."""
    paths = sorted((EXPERIMENTS / study / "configs").glob(f"*-{scale}.yaml"))
    return {str(path): copy.deepcopy(_recipe(EXPERIMENTS.absolute(), study, path.stem)) for path in paths}


def _recipe_file(study: str, stem: str) -> Path:
    return EXPERIMENTS / study / "configs" / f"{stem}.yaml"


@cache
def _recipe(_root: Path, study: str, stem: str, chain: tuple[str, ...] = ()) -> dict:
    path = _recipe_file(study, stem)
    content = _recipe_content(study, stem, chain)
    kind = schema.recipe_type(content)
    if kind is None:
        parse(schema.Recipe, {key: content[key] for key in schema.Recipe.model_fields if key in content}, path)
    parse(kind, content, path)
    _check_data(content["data"], path)
    config = content["train"].get("config")
    if config and not (path.parent / config).is_file():
        have = [entry.name for entry in path.parent.glob("*.py")]
        raise UserError(f"{path}: train.config: there is no {path.parent / config}{nearest(config, have)}")
    return content


def _recipe_content(study: str, stem: str, chain: tuple[str, ...]) -> dict:
    """A recipe's file laid over the recipe that it is `like`: mappings key by key, `data` whole."""
    path = _recipe_file(study, stem)
    content = _read(path)
    if "like" not in content:
        return content
    like = parse(schema.RecipeLike, {"like": content["like"]}, path).like
    other, _, name = like.rpartition("/")
    other = other or study
    chain = (*chain, f"{study}/{stem}")
    have = {f"{other}/{entry.stem}" for entry in (EXPERIMENTS / other / "configs").glob("*.yaml")}
    _known_like(f"{other}/{name}", have, chain, path)
    base = dict(_recipe(EXPERIMENTS.absolute(), other, name, chain))
    if "data" in content:
        del base["data"]
    return merge(base, {key: value for key, value in content.items() if key != "like"})


def data_folder(given: dict) -> str:
    """The folder of a recipe's data set below results/data/<scale>: its name, its languages if any, its seed if any.

    With a seed, the other parameters stand before it, in the order of their names.
    """
    words = [given["name"], *(str(given[key]) for key in ("source", "target") if key in given)]
    if "seed" in given:
        words += [f"{key}_{_word(value)}" for key, value in sorted(given.items()) if key not in NOT_IN_FOLDER]
        words.append(str(given["seed"]))
    return "_".join(words)


# `workers` says how a data set is prepared, not what is in it.
NOT_IN_FOLDER = ("name", "source", "target", "seed", "workers")


def _word(value: Any) -> str:
    """A parameter as a part of a folder's name; what is no small letter or digit becomes _."""
    return re.sub("[^a-z0-9]", "_", str(value).lower())


def data_with_seed(given: dict, seed: int) -> dict:
    """A recipe's `data` with the run's seed in the place of `seed: run`."""
    return {**given, "seed": seed} if given.get("seed") == RUN_SEED else given


def data_in(given: dict, folder: str) -> dict | None:
    """A recipe's `data` as it stands in a folder, with that folder's seed; None where it is another's."""
    if given.get("seed") == RUN_SEED:
        seed = folder.rpartition("_")[2]
        given = data_with_seed(given, int(seed)) if re.fullmatch("[0-9]{1,10}", seed, re.ASCII) else given
    return given if data_folder(given) == folder else None


def _check_data(given: dict, path: Path) -> None:
    """UserError unless there is such a data set, it has these parameters, in these types and within their limits, and
    runs of different seeds share its items only where they may."""
    name = given["name"]
    try:
        drawn_for_each_run = data.declared(name)["DRAWN_FOR_EACH_RUN"]
    except UserError:
        raise UserError(f"{path}: data.name: no data set '{name}'{nearest(name, data.names())}") from None
    drawn = given.get("seed") == RUN_SEED
    problem = data.fault(name, {k: v for k, v in given.items() if k != "name" and not (drawn and k == "seed")})
    if problem:
        raise UserError(f"{path}: data.{problem[0]}: {problem[1]}")
    if not drawn and drawn_for_each_run:
        seed = given.get("seed", "is missing, it")
        raise UserError(f"{path}: data.seed: {seed} must be {RUN_SEED}, or runs of different seeds share their items")


##### resolved runs #####


def resolve(scale: str, study: str, ablation: str, arm: str, seed: int) -> dict:
    """Everything that decides the result of a run, and nothing else, defaults filled in. `arm`: the name or its slug.

    `pretrained` in it is the metrics.json of the run whose weights this one starts from: same seed, same scale.
    """
    return copy.deepcopy(_resolved(EXPERIMENTS.absolute(), scale, study, ablation, slug(arm), seed))


@cache
def _resolved(_root: Path, scale: str, study: str, ablation: str, arm_slug: str, seed: int) -> dict:
    known = ablations(study)
    if ablation not in known:
        raise UserError(f"{EXPERIMENTS / study / 'ablations'}: no ablation '{ablation}'{nearest(ablation, known)}")
    path, arms = _ablation_file(study, ablation), known[ablation].arms
    arm = next((name for name in arms if slug(name) == arm_slug), None)
    if arm is None:
        raise UserError(f"{path}: no arm '{arm_slug}'{nearest(arm_slug, arms)}")
    spec = recipe(study, known[ablation].recipe_name, scale)
    source = f"{path}: arms.{arm} on {known[ablation].recipe_name}-{scale}.yaml"
    if len(schema.ENGINE_TASKS[spec["engine"]]) > 1 and schema.task_of_recipe(spec) != known[ablation].task:
        theirs = schema.task_of_recipe(spec)
        raise UserError(f"{source}: task: {known[ablation].task}, but the recipe is for {theirs}; name another recipe")
    spec["model"] = merge(spec.get("model", {}), arms[arm].set or {})
    identity = {"scale": scale, "study": study, "ablation": ablation, "arm": arm, "seed": seed}
    start = _pretraining(known, ablation, arm, path)
    if start:
        spec["pretrained"] = Run(scale, study, *start, seed, label=start[1], home=start).metrics
    return completed(identity | {"task": known[ablation].task} | spec, source)


def completed(spec: dict, source: str = "spec") -> dict:
    """A hand-written resolved run, checked, with all defaults filled in. UserError, one line, names `source`.

    Options of `model` stay as they are given; `pretrained` and keys without a default stay absent.
    """
    engine = spec.get("engine")
    if not isinstance(engine, str) or engine not in schema.SPECS:
        raise UserError(f"{source}: engine: {engine!r} is not allowed{nearest(engine, schema.SPECS)}")
    task = spec.get("task")
    kind = schema.TASK_SPECS.get(task) if isinstance(task, str) else None
    checked = parse(kind or schema.SPECS[engine], spec, source)
    content = checked.model_dump() | {"model": checked.model.model_dump(exclude_unset=True)}
    content["data"] = data_with_seed(content["data"], content["seed"])
    return {key: content[key] for key in [*IDENTITY, *content] if key in content}


def arm_specs(study: str, scale: str) -> list[tuple[str, str, dict]]:
    """(ablation, arm, resolved spec) of every arm with a `set` of its own and a recipe at `scale`, in file order."""
    return [
        (name, arm, resolve(scale, study, name, arm, seed=1))
        for name, ablation in ablations(study).items()
        if has_recipe(study, ablation, scale)
        for arm, body in ablation.arms.items()
        if body.same_as is None
    ]


def model_entries(study: str) -> list[dict]:
    """The checked entries of experiments/<study>/models.yaml, the rows of the paper's model tables; none without it."""
    path = EXPERIMENTS / study / "models.yaml"
    if not path.is_file():
        return []
    entries = parse(schema.Models, _read(path), path).models
    for place, entry in enumerate(entries):
        if entry.set is not None:
            entry.set = _checked_set(entry.task, entry.set, path, ("models", str(place), "set"))
    return [entry.model_dump(exclude_unset=True) for entry in entries]


def model_specs(study: str) -> list[tuple[dict, dict]]:
    """(entry, resolved spec) of those rows that can be built."""
    pairs = []
    for entry in model_entries(study):
        if "set" not in entry:
            continue
        spec = recipe(study, entry.get("recipe", entry["task"]), "paper")
        spec["model"] = merge(spec.get("model", {}), entry["set"])
        spec["measure"] = merge(spec["measure"], entry.get("measure", {}))
        spec["train"] = merge(spec["train"], entry.get("train", {}))
        identity = {"scale": "paper", "study": study, "task": entry["task"], "seed": 1}
        source = f"{EXPERIMENTS / study / 'models.yaml'}: '{entry['model']}'"
        pairs.append((entry, completed(identity | spec, source)))
    return pairs


def resolve_metrics_path(path: str) -> dict:
    """The resolved run of a path results/runs/<scale>/<study>/<ablation>/<arm>/seed<k>/metrics.json."""
    parts = Path(path).parts
    if len(parts) < 8 or parts[-1] != "metrics.json" or not re.fullmatch("seed[0-9]{1,10}", parts[-2], re.ASCII):
        raise UserError(f"{path}: must be results/runs/<scale>/<study>/<ablation>/<arm>/seed<k>/metrics.json")
    scale, study, ablation, arm, seed = parts[-6:-1]
    return resolve(scale, study, ablation, arm, int(seed.removeprefix("seed")))


def digest(spec: dict) -> str:
    """A short name for the content of a resolved run: equal digests, equal runs (given data, sources and machine)."""
    return hashlib.sha256(json.dumps(spec, sort_keys=True).encode()).hexdigest()[:16]
