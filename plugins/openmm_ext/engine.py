"""Engine of the OpenMMLab studies: resolved spec -> mmengine config -> mmengine's own Runner.

A recipe names a config (`train.config`, a file of `experiments/<study>/configs/`) that inherits from the installed
package. This module adds what the spec decides: operators, data, seed, length of the training, and `train.options`
(dotted keys, as in mmengine's `--cfg-options`). The learning rate follows the config's own schedule, stretched to the
length of the training. The result is written to `config.py` in the run's folder and is complete in itself: `command()`
trains it with the package's own tool.

What differs between detection, segmentation and classification stands in a `Task` and in the module that it names.
"""

import copy
import hashlib
import json
import os
import pickle
import sys
import time
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

from plugins.suite.data import read_manifest
from plugins.suite.errors import UserError

ROOT = Path(__file__).resolve().parents[2]
HOOKS = "plugins.openmm_ext.hooks"
# What reading a damaged checkpoint raises.
UNREADABLE = (OSError, RuntimeError, EOFError, KeyError, ValueError, pickle.UnpicklingError)


@dataclass(frozen=True)
class Task:
    """What one kind of task needs beyond the common part.

    scope: the package and its registry scope. glue: module with `WORDS`, `place_operators`, `place_data`,
    `annotation_error`, `fixed_work` and `cost_forward`. metrics: ours -> (the package's key, factor). primary: one of
    ours. pictures: what a run's pictures show, "boxes" or "masks"; None for none.
    """

    scope: str
    glue: str
    metrics: dict[str, tuple[str, float]]
    primary: str
    pictures: str | None = None


TASKS = {
    "detection": Task(
        scope="mmdet",
        glue="plugins.openmm_ext.tasks.detection",
        metrics={
            "box_ap": ("coco/bbox_mAP", 100),
            "box_ap50": ("coco/bbox_mAP_50", 100),
            "box_ap75": ("coco/bbox_mAP_75", 100),
        },
        primary="box_ap",
        pictures="boxes",
    ),
    "classification": Task(
        scope="mmpretrain",
        glue="plugins.openmm_ext.tasks.classification",
        metrics={"top1": ("accuracy/top1", 1), "top5": ("accuracy/top5", 1)},
        primary="top1",
    ),
    "segmentation": Task(
        scope="mmseg",
        glue="plugins.openmm_ext.tasks.segmentation",
        metrics={"miou": ("mIoU", 1), "pixel_accuracy": ("aAcc", 1), "class_accuracy": ("mAcc", 1)},
        primary="miou",
        pictures="masks",
    ),
}


def command(spec: dict, data: Path, run_dir: Path) -> list[str]:
    """The package's own training tool on the run's `config.py`."""
    package = Path(find_spec(TASKS[spec["task"]].scope).origin).parent
    tool = [str(package / ".mim" / "tools" / "train.py"), str(Path(run_dir) / "config.py")]
    gpus = spec["train"].get("gpus", 1)
    if gpus == 1:
        return [sys.executable, *tool]
    together = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={gpus}"]
    return [sys.executable, *together, *tool, "--launcher", "pytorch"]


def train(spec: dict, data: Path, run_dir: Path) -> dict:
    """Train to `train.updates`, from the newest whole checkpoint if there is one, on `train.gpus` GPUs (default 1).

    Returns the training loss over the last tenth of the updates, the loss on the validation split, and the seconds of
    training, those before a restart included. Raises UserError for data or checkpoints that cannot be used.
    """
    begin = time.perf_counter()
    data, run_dir = Path(data).resolve(), Path(run_dir).resolve()
    check_data(spec, data)
    updates, checkpoints = spec["train"]["updates"], run_dir / "checkpoints"
    cfg = write_config(spec, data, run_dir)
    start = newest_checkpoint(checkpoints, identity(spec, data))
    if start:
        print(f"resume from {start}", flush=True)
        begin -= seconds_of_updates(run_dir, int(start.stem.removeprefix("update_")))
    elif "pretrained" in spec:
        check_weights(cfg.load_from)
    gpus = spec["train"].get("gpus", 1)
    if gpus == 1:
        runner = train_process(cfg.filename, start)
    else:
        train_together(cfg.filename, start, gpus)
        cfg.load_from = str(last_checkpoint(run_dir))
        runner = build_runner(cfg)
        runner.load_or_resume()
    with readable_errors():
        losses = {"train": last_training_loss(run_dir, updates), "valid": validation_loss(runner, spec["seed"])}
    for path in sorted(checkpoints.glob("update_*.pth"))[:-1]:
        path.unlink()
    pretrained = "pretrained" in spec or cfg.model.get("pretrained") or cfg.model.backbone.get("init_cfg")
    settings = {key: spec["train"][key] for key in ("updates", "batch", "lr", "warmup")}
    settings["backbone"] = "pretrained" if pretrained else "from scratch"
    if "train_fraction" in spec["model"]:
        settings["train_fraction"] = spec["model"]["train_fraction"]
    if gpus > 1:
        settings["gpus"] = gpus
    return {"losses": losses, "settings": settings, "seconds": time.perf_counter() - begin}


def seconds_of_updates(run_dir: Path, last: int) -> float:
    """Seconds that the updates up to `last` took, by curves.jsonl: without start, validation and checkpoints.
    Later lines, which the restart writes again, are dropped."""
    from plugins.openmm_ext.hooks import trim_curves

    curves = run_dir / "curves.jsonl"
    trim_curves(curves, last)
    lines = [json.loads(line) for line in curves.read_text().splitlines()] if curves.is_file() else []
    updates = [0, *(line["update"] for line in lines)]
    return sum(line["seconds"] * (line["update"] - before) for line, before in zip(lines, updates, strict=False))


def train_process(config: str, start: Path | None, launcher: str = "none"):
    """Train what a written config says, from the checkpoint `start` where one is given; returns the runner."""
    from mmengine.config import Config

    cfg = Config.fromfile(config)
    cfg.launcher = launcher
    if start:
        cfg.resume, cfg.load_from = True, str(start)
    with readable_errors(cfg.load_from):
        runner = build_runner(cfg)
        runner.train()
    return runner


def train_together(config: str, start: Path | None, gpus: int) -> None:
    """`train_process` in a process a GPU, which mmengine's launcher joins; raises what the first to fail raised."""
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    # Port 0: any that is free.
    meeting = {"run_id": "training", "rdzv_backend": "c10d", "rdzv_endpoint": "localhost:0"}
    launch = LaunchConfig(1, 1, gpus, max_restarts=0, **meeting)
    try:
        elastic_launch(launch, train_one_of_many)(config, start)
    except ChildFailedError as error:
        process, failure = error.get_first_failure()
        # A process that was killed left a line, one that raised a dictionary.
        said = failure.message if isinstance(failure.message, str) else failure.message["message"]
        if said.startswith("UserError: "):
            raise UserError(said.removeprefix("UserError: ")) from error
        raise RuntimeError(f"process {process} of {gpus} failed: {said}") from error


def train_one_of_many(config: str, start: Path | None) -> None:
    """What each process of `train_together` does; an exception reaches it through torch's error file."""
    from torch.distributed.elastic.multiprocessing.errors import record

    record(lambda: train_process(config, start, launcher="pytorch"))()


def evaluate(spec: dict, data: Path, run_dir: Path) -> dict:
    """Score the last checkpoint on the split `evaluate.split` (default test) with the package's own metric.

    `details.curve` is `scored_curve`. With `evaluate.matched_loss`, <primary>_at_matched_loss is the validation score
    at that training loss, missing where the training never came down to it.
    """
    from plugins.openmm_ext.hooks import path_scales

    data, run_dir = Path(data).resolve(), Path(run_dir).resolve()
    task = TASKS[spec["task"]]
    cfg = write_config(spec, data, run_dir)
    cfg.load_from = str(last_checkpoint(run_dir))
    for key in ("train_dataloader", "train_cfg", "optim_wrapper", "param_scheduler", "custom_hooks"):
        cfg[key] = None
    with readable_errors(cfg.load_from):
        runner = build_runner(cfg)
        write_config(spec, data, run_dir)  # mmengine's runner has put the one without the training in its place
        scores = runner.test()
        if task.pictures:
            from plugins.openmm_ext.pictures import write_pictures

            write_pictures(runner.model, runner.test_dataloader.dataset, run_dir / "pictures", task.pictures)
    metrics = {ours: round(float(scores[theirs]) * factor, 4) for ours, (theirs, factor) in task.metrics.items()}
    curve = scored_curve(run_dir, task)
    if "matched_loss" in spec["evaluate"]:
        matched = score_at_loss(curve["train_loss"], curve[task.primary], spec["evaluate"]["matched_loss"])
        if matched is not None:
            metrics[f"{task.primary}_at_matched_loss"] = round(matched, 4)
    scorer = f"{task.scope} {import_module(task.scope).__version__} {cfg.test_evaluator.type}"
    settings = {"split": spec["evaluate"].get("split", "test"), "scorer": scorer}
    found = {"path_scales": path_scales(runner.model), "curve": curve if curve["update"] else {}}
    details = {key: value for key, value in found.items() if value}
    return {"metrics": metrics, "primary": task.primary, "losses": {}, "settings": settings, "details": details}


def measured_model(spec: dict, data: Path | None):
    """A fresh model, one inference and one training step on the fixed input of `spec["measure"]`.

    The classes are those of the data, or without data those of the recipe.

    For detection, the inference is backbone, neck, region head and box head on fixed proposals: what is left out
    (choice of proposals, suppression, thresholds) depends on the weights, not on the arm. The training step is the
    package's own loss on fixed boxes, with its backward pass.
    """
    import torch

    task = TASKS[spec["task"]]
    cfg = read_config(spec) if data is None else build_config(spec, Path(data).resolve())
    model = build_model(cfg, task.scope)
    model.to("cuda" if torch.cuda.is_available() else "cpu")
    forward, loss = import_module(task.glue).fixed_work(model, spec["measure"])

    def inference():
        model.eval()
        with torch.no_grad():
            return forward()

    def train_step():
        model.train()
        model.zero_grad(set_to_none=True)
        total, _ = model.parse_losses(loss())
        total.backward()

    return model, inference, train_step


def cost_model(spec: dict):
    """(model, forward) of the recipe's config with the arm's operators, on the meta device; no data are needed."""
    from plugins.runner.measure import meta_device

    task = TASKS[spec["task"]]
    model = build_model(read_config(spec), task.scope, meta_device())
    return model, import_module(task.glue).cost_forward(model, spec["measure"])


def build_model(cfg, scope: str, device=None):
    """The network of a config, with fresh weights; `device`: a context in which it is built, its imports are not."""
    from mmengine.registry import MODELS, init_default_scope

    import_parts(cfg)
    init_default_scope(scope)
    with MODELS.switch_scope_and_registry(scope) as registry, device or nullcontext():
        return registry.build(cfg.model)


def read_config(spec: dict):
    """The recipe's config with its options and the operators of the spec's words.

    UserError for a word that the task does not know.
    """
    from mmengine.config import Config
    from mmengine.config.utils import MODULE2PACKAGE

    # mmengine looks `mmseg::` up by the distribution's name, which is not that of the maintained fork; the module's is.
    MODULE2PACKAGE["mmseg"] = "mmseg"
    cfg = Config.fromfile(base_config(spec))
    cfg.merge_from_dict(spec["train"].get("options", {}))
    glue = import_module(TASKS[spec["task"]].glue)
    unknown = sorted(word for word, value in spec["model"].items() if value is not None and word not in glue.WORDS)
    if unknown:
        raise UserError(
            f"model.{unknown[0]}: not known to the task {spec['task']}; it knows {', '.join(sorted(glue.WORDS))}"
        )
    operators = glue.place_operators(cfg.model, spec["model"])
    imports = cfg.get("custom_imports", {}).get("imports", [])
    cfg.custom_imports = {"imports": [*imports, HOOKS, *operators], "allow_failed_imports": False}
    return cfg


def base_config(spec: dict) -> Path:
    """The mmengine config that the recipe names."""
    path = ROOT / "experiments" / spec["study"] / "configs" / spec["train"]["config"]
    if not path.is_file():
        raise UserError(f"{path}: named by train.config but missing; name a file of that folder")
    return path


def build_config(spec: dict, data: Path):
    """The whole mmengine config of a run but for its folder."""
    task, settings = TASKS[spec["task"]], spec["train"]
    glue = import_module(task.glue)
    for key in ("checkpoint_every", "score_every"):
        if settings.get(key, 0) % settings["log_every"]:
            raise UserError(
                f"train.{key}={settings[key]}: must be a multiple of "
                f"log_every={settings['log_every']}, so that a resumed run writes the same curve"
            )
    cfg = read_config(spec)
    manifest = read_manifest(data / "manifest.json")
    for key in ("val_dataloader", "val_evaluator", "val_cfg"):
        cfg[key] = None
    if "score_every" in settings:
        glue.place_data(cfg, str(data), manifest, "val")
        cfg.val_dataloader, cfg.val_evaluator = copy.deepcopy(cfg.test_dataloader), copy.deepcopy(cfg.test_evaluator)
        cfg.val_cfg = {"type": "ValLoop"}
    glue.place_data(cfg, str(data), manifest, spec["evaluate"].get("split", "test"))
    if settings["batch"] % settings.get("gpus", 1):
        raise UserError(f"train.batch={settings['batch']}: must be a multiple of train.gpus={settings['gpus']}")
    cfg.train_dataloader.batch_size = settings["batch"] // settings.get("gpus", 1)
    cfg.train_dataloader.sampler = {"type": "InfiniteSampler", "shuffle": True, "seed": spec["seed"]}
    if "train_fraction" in spec["model"]:
        cfg.train_dataloader.dataset.fraction = spec["model"]["train_fraction"]
    updates = settings["updates"]
    cfg.param_scheduler = stretched(cfg.param_scheduler, cfg.train_cfg, updates, settings["warmup"])
    cfg.optim_wrapper.optimizer.lr = settings["lr"]
    cfg.train_cfg = {
        "type": "IterBasedTrainLoop",
        "max_iters": updates,
        "val_begin": updates + 1,  # CurvesHook validates
        # A batch sampler that sorts by shape cannot be wound forward without loading: such a run starts the data anew.
        "fast_forward_on_resume": "batch_sampler" in cfg.train_dataloader,
    }
    cfg.randomness = {"seed": spec["seed"]}
    # None takes a hook out: nothing is drawn, timed or logged twice.
    cfg.default_hooks = {"timer": None, "logger": None, "checkpoint": None, "sampler_seed": None}
    cfg.visualizer = {"type": "Visualizer", "vis_backends": None}
    cfg.custom_hooks = [
        *(cfg.get("custom_hooks") or []),
        {"type": "CurvesHook", "interval": settings["log_every"], "score_every": settings.get("score_every")},
        {"type": "AtomicCheckpointHook", "interval": settings["checkpoint_every"], "identity": identity(spec, data)},
        {"type": "ReseedHook", "seed": spec["seed"]},
    ]
    if "pretrained" in spec:
        cfg.load_from = str(last_checkpoint(Path(spec["pretrained"]).parent))
        cfg.custom_hooks.append({"type": "FreshHeadHook"})
    return cfg


def stretched(schedule: list[dict], train_cfg: dict, updates: int, warmup: int) -> list[dict]:
    """A config's schedule over its epochs or iterations, laid over `updates`, its linear warm-up over `warmup`.

    Milestones keep their place in proportion; what sets in after the warm-up sets in after ours.
    """
    length = train_cfg.get("max_epochs") or train_cfg["max_iters"]
    found = []
    for entry in [schedule] if isinstance(schedule, dict) else schedule:
        entry = {key: value for key, value in entry.items() if key not in ("convert_to_iter_based", "T_max")}
        if entry["type"] == "LinearLR":
            entry |= {"begin": 0, "end": warmup}
        else:
            entry |= {"begin": warmup if entry.get("begin") else 0, "end": updates}
        if entry["begin"] >= entry["end"]:
            raise UserError(f"train.warmup={warmup}: must be at least 1 and less than updates={updates}")
        if "milestones" in entry:
            entry["milestones"] = [updates * milestone // length for milestone in entry["milestones"]]
        found.append(entry | {"by_epoch": False})
    return found


def write_config(spec: dict, data: Path, run_dir: Path):
    """Build the config, write it to `run_dir/config.py` and return what a reader of that file gets."""
    from mmengine.config import Config

    cfg = build_config(spec, data)
    cfg.work_dir = str(run_dir)
    run_dir.mkdir(parents=True, exist_ok=True)
    temporary = run_dir / ".config.py"
    cfg.dump(temporary)
    os.replace(temporary, run_dir / "config.py")
    return Config.fromfile(run_dir / "config.py")


def import_parts(cfg) -> None:
    """Import what `custom_imports` names, as reading a written config does."""
    for module in cfg.custom_imports["imports"]:
        import_module(module)


def build_runner(cfg):
    from mmengine.runner import Runner

    return Runner.from_cfg(cfg)


def identity(spec: dict, data: Path) -> str:
    """SHA-256 of what a checkpoint depends on."""
    parts = {key: spec.get(key) for key in ("task", "data", "model", "train", "seed", "pretrained")}
    parts["checksum"] = read_manifest(data / "manifest.json")["checksum"]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def last_checkpoint(run_dir: Path) -> Path:
    """The weights with which the training of a run ended; UserError where they are not there."""
    folder = run_dir.resolve() / "checkpoints"
    found = sorted(folder.glob("update_*.pth"))
    if not found:
        raise UserError(f"{folder}: holds no checkpoint; remove metrics.json beside it and train that run again")
    return found[-1]


def check_weights(path: str) -> None:
    """UserError for a file that cannot be read as weights alone; mmengine would then unpickle whatever it holds."""
    import torch

    try:
        torch.load(path, map_location="cpu", weights_only=True)
    except UNREADABLE as error:
        raise UserError(
            f"{path}: damaged checkpoint ({str(error).splitlines()[0]}); remove that run's folder and train it again"
        ) from error


def newest_checkpoint(folder: Path, expected: str) -> Path | None:
    """The newest whole checkpoint; a damaged one is removed and named in the log. UserError for another run's."""
    import torch

    for path in sorted(folder.glob("update_*.pth"), reverse=True):
        try:
            found = torch.load(path, map_location="cpu", weights_only=True)["meta"].get("identity")
        except UNREADABLE as error:
            print(f"{path}: damaged checkpoint ({str(error).splitlines()[0]}), taking the one before", flush=True)
            path.unlink()
            continue
        if found != expected:
            raise UserError(f"{path}: written by other settings or data; remove the folder to train anew")
        return path
    return None


def last_training_loss(run_dir: Path, updates: int) -> float:
    """Mean of the training loss over the last tenth of the updates (at least the last line)."""
    lines = [json.loads(line) for line in (run_dir / "curves.jsonl").read_text().splitlines()]
    late = [line["train_loss"] for line in lines if line["update"] > 0.9 * updates]
    return sum(late) / len(late)


def scored_curve(run_dir: Path, task: Task) -> dict[str, list[float]]:
    """The points of a training at which the validation split was scored: `update`, `train_loss` (mean since the point
    before) and the task's metrics."""
    curve = {key: [] for key in ("update", "train_loss", *task.metrics)}
    since = []
    for line in map(json.loads, (run_dir / "curves.jsonl").read_text().splitlines()):
        since.append(line["train_loss"])
        if "valid" in line:
            curve["update"].append(line["update"])
            curve["train_loss"].append(round(sum(since) / len(since), 5))
            for ours, (theirs, factor) in task.metrics.items():
                curve[ours].append(round(line["valid"][theirs] * factor, 4))
            since = []
    return curve


def score_at_loss(losses: list[float], scores: list[float], loss: float) -> float | None:
    """The score where the training loss first falls to `loss`, between two points linearly; None where it never does.

    A curve that starts below has no such point either.
    """
    for i in range(1, len(losses)):
        if losses[i] <= loss < losses[i - 1]:
            share = (losses[i - 1] - loss) / (losses[i - 1] - losses[i])
            return scores[i - 1] + share * (scores[i] - scores[i - 1])
    return None


def validation_loss(runner, seed: int) -> float:
    """Mean loss over the validation split: training pipeline without its random steps, network in evaluation mode."""
    import torch

    from plugins.openmm_ext.hooks import reseed

    reseed(seed, 0)
    loader = dict(runner.cfg.train_dataloader)  # a Config's own `update` would mix the two data sets
    loader |= {"sampler": {"type": "DefaultSampler", "shuffle": False}, "dataset": runner.cfg.valid_dataset}
    loader["batch_size"] = runner.cfg.get("valid_batch_size", loader["batch_size"])
    runner.model.eval()
    total, count = 0.0, 0
    with torch.no_grad():
        for batch in runner.build_dataloader(loader):
            size = len(batch["inputs"])
            batch = runner.model.data_preprocessor(batch, training=False)
            loss, _ = runner.model.parse_losses(runner.model(**batch, mode="loss"))
            total, count = total + float(loss) * size, count + size
    return total / count


def check_data(spec: dict, data: Path) -> None:
    """UserError that names the first file, or annotation, that a training would stumble over."""
    manifest = read_manifest(data / "manifest.json")
    problem = import_module(TASKS[spec["task"]].glue).annotation_error(data, manifest)
    if problem:
        raise UserError(f"{problem}; prepare the data again")


@contextmanager
def readable_errors(checkpoint: str | None = None):
    """Turn an unreadable image, or weights in `checkpoint` that do not fit, into the user's one line."""
    from plugins.openmm_ext.loading import UnfitCheckpoint, UnreadableImage

    try:
        yield
    except UnreadableImage as error:
        raise UserError(str(error)) from error
    except UnfitCheckpoint as error:
        raise UserError(f"{checkpoint}: {error}; name weights of the same layout") from error
