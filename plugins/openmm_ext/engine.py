"""Engine of the OpenMMLab studies: the life of a run inside mmengine's own Runner.

`config` makes the mmengine config, `hooks` what a training does beside mmengine's loop, a module of `tasks` what
differs between detection, segmentation and classification.
"""

from __future__ import annotations

import sys
import time
from contextlib import contextmanager, nullcontext
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import torch
from mmengine.config import Config
from mmengine.hooks import EMAHook
from mmengine.registry import MODELS, init_default_scope
from mmengine.runner import Runner
from torch.overrides import TorchFunctionMode

from plugins.openmm_ext import checkpoints, curves
from plugins.openmm_ext.checkpoints import last_checkpoint as last_checkpoint
from plugins.openmm_ext.config import build_config, read_config, read_written, task_of, write_config
from plugins.openmm_ext.hooks import network, reseed
from plugins.openmm_ext.loading import UnfitCheckpoint, UnreadableImage
from plugins.openmm_ext.path_leads import path_leads, path_scales, path_squares
from plugins.suite.data import check_once, read_manifest
from plugins.suite.errors import UserError

# The runner that trained in this process, by the run's folder, until `evaluate` scores with it.
_trained: dict[Path, Runner] = {}


class NoVisualizer:
    """What mmengine's runner and loops ask of a visualizer, without the figures of matplotlib that it starts with."""

    dataset_meta = None

    def add_config(self, config: Config) -> None:
        """Nothing: no back end keeps it."""


class ConfiguredRunner(Runner):
    """mmengine's runner without what a run has already or does not use: a copy of the config, a survey of the machine
    (both are in the run's record) and a visualizer."""

    def dump_config(self) -> None:
        """Nothing: `write_config` has done it."""

    def _log_env(self, env_cfg: dict) -> None:
        """Nothing: metrics.json holds the machine, `config.py` the settings."""

    def build_visualizer(self, visualizer: dict | None = None) -> NoVisualizer:
        """One that draws nothing: a run's pictures are those of `pictures`."""
        return NoVisualizer()


def command(spec: dict, data: Path, run_dir: Path) -> list[str]:
    """The package's own training tool on the run's `config.py`."""
    package = Path(find_spec(task_of(spec).SCOPE).origin).parent
    tool = [str(package / ".mim" / "tools" / "train.py"), str(Path(run_dir) / "config.py")]
    gpus = spec["train"]["gpus"]
    if gpus == 1:
        return [sys.executable, *tool]
    together = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={gpus}"]
    return [sys.executable, *together, *tool, "--launcher", "pytorch"]


def train(spec: dict, data: Path, run_dir: Path) -> dict:
    """Train to `train.updates` on `train.gpus` GPUs, from the newest whole checkpoint of the folder if there is one;
    that it is this run's, the caller has seen to.

    Returns the training loss over the last tenth of the updates, the loss on the validation split, that of a stream
    (`curves.stream_loss`; one process alone), the settings that matter, and the seconds of training, those before a
    restart included. Raises UserError for data or weights that cannot be used.
    """
    begin = time.perf_counter()
    data, run_dir = Path(data).resolve(), Path(run_dir).resolve()
    check_data(spec, data)
    settings, folder, curve = spec["train"], run_dir / "checkpoints", run_dir / "curves.jsonl"
    cfg = write_config(spec, data, run_dir)
    start = checkpoints.newest_checkpoint(folder)
    if start:
        print(f"resume from {start}", flush=True)
        curves.trim(curve, int(start.stem.removeprefix("update_")))
        begin -= curves.seconds_of_updates(curve)
    if settings["gpus"] == 1:
        runner = train_process(cfg.filename, start)
    else:
        train_together(cfg.filename, start, settings["gpus"])
        runner = scoring_runner(cfg, run_dir)
    with readable_errors():
        train_loss = curves.last_training_loss(curve, settings["updates"])
        losses = {"train": train_loss, "valid": validation_loss(runner, spec["seed"])}
        if settings["gpus"] == 1:
            drawn = settings["updates"] * cfg.train_dataloader.batch_size
            losses |= curves.stream_loss(curve, settings["updates"], drawn, len(runner.train_dataloader.dataset))
    checkpoints.keep_newest(folder, 1)
    # A moving average scores with other weights than the network has: they are in the checkpoint.
    if not any(isinstance(hook, EMAHook) for hook in runner.hooks):
        _trained[run_dir] = runner
    return {"losses": losses, "settings": _settings(spec, cfg), "seconds": time.perf_counter() - begin}


def _settings(spec: dict, cfg: Config) -> dict:
    """What has to be equal for two arms to be compared."""
    settings = {key: spec["train"][key] for key in ("updates", "batch", "lr", "warmup")}
    pretrained = "pretrained" in spec or cfg.model.get("pretrained") or cfg.model.backbone.get("init_cfg")
    settings["backbone"] = "pretrained" if pretrained else "from scratch"
    if "train_fraction" in spec["model"]:
        settings["train_fraction"] = spec["model"]["train_fraction"]
    if spec["train"]["gpus"] > 1:
        settings["gpus"] = spec["train"]["gpus"]
    return settings


def train_process(config: str, start: Path | None, launcher: str = "none") -> Runner:
    """Train what a written config says, from the checkpoint `start` where one is given; returns the runner."""
    cfg = read_written(config)
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
        message = failure.message if isinstance(failure.message, str) else failure.message["message"]
        if message.startswith("UserError: "):
            raise UserError(message.removeprefix("UserError: ")) from error
        raise RuntimeError(f"process {process} of {gpus} failed: {message}") from error


def train_one_of_many(config: str, start: Path | None) -> None:
    """What each process of `train_together` does; an exception reaches it through torch's error file."""
    from torch.distributed.elastic.multiprocessing.errors import record

    record(lambda: train_process(config, start, launcher="pytorch"))()


def build_runner(cfg: Config) -> Runner:
    """A runner with fresh weights, nothing loaded yet."""
    return ConfiguredRunner.from_cfg(cfg)


def scoring_runner(cfg: Config, run_dir: Path) -> Runner:
    """A runner with the weights with which the training in `run_dir` ended, without what a training does beside."""
    cfg.load_from, cfg.custom_hooks = str(last_checkpoint(run_dir)), None
    with readable_errors(cfg.load_from):
        runner = build_runner(cfg)
        runner.load_or_resume()
    return runner


def evaluate(spec: dict, data: Path, run_dir: Path) -> dict:
    """Score the weights with which the training ended on `evaluate.split` with the package's own metric.

    Returns metrics, primary, losses (none), settings, `items` (a column of the split's images each) and details:
    `curve` (see `curves.curve`), `chance` (see the task) and, for networks that have them, `path_scales`
    and `path_lead_rms` (see `path_leads`, over the scored split).
    With `evaluate.matched_loss`, <primary>_at_matched_loss is the validation score at that training loss, missing where
    the training never came down to it.
    """
    data, run_dir = Path(data).resolve(), Path(run_dir).resolve()
    task = task_of(spec)
    runner = _trained.pop(run_dir, None) or scoring_runner(write_config(spec, data, run_dir), run_dir)
    with readable_errors():
        with path_squares(network(runner)) as squares:
            metric, scores, results = scores_of(runner)
        if task.write_pictures:
            task.write_pictures(runner.model, runner.test_dataloader.dataset, run_dir / "pictures")
    metrics, items = task.scored(scores, results, metric)
    curve = curves.curve(run_dir / "curves.jsonl", task.METRICS)
    if spec["evaluate"].get("matched_loss"):
        matched = curves.score_at_loss(curve["train_loss"], curve[task.PRIMARY], spec["evaluate"]["matched_loss"])
        if matched is not None:
            metrics[f"{task.PRIMARY}_at_matched_loss"] = round(matched, 4)
    scorer = f"{task.SCOPE} {import_module(task.SCOPE).__version__} {runner.cfg.test_evaluator.type}"
    details = {"curve": curve, "chance": task.chance(results, runner.cfg.model), **getattr(metric, "facts", {})}
    if scales := path_scales(network(runner)):
        details |= {"path_scales": scales, "path_lead_rms": path_leads(network(runner), squares)}
    return {
        "metrics": metrics,
        "primary": task.PRIMARY,
        "losses": {},
        "settings": {"split": spec["evaluate"]["split"], "scorer": scorer},
        "details": details,
        "items": {"item": list(range(len(results))), **items},
    }


def scores_of(runner: Runner) -> tuple:
    """(the package's metric, its scores, what it kept of each image in the split's order) of the test split."""
    metric = runner.test_loop.evaluator.metrics[0]
    compute, kept = metric.compute_metrics, []

    def compute_and_keep(results: list) -> dict:
        kept.extend(results)
        return compute(results)

    metric.compute_metrics = compute_and_keep
    try:
        scores = runner.test()
    finally:
        metric.compute_metrics = compute
    return metric, scores, kept


def measured_model(spec: dict, data: Path | None):
    """A fresh model, an inference of one image and a training step on the fixed input of `spec["measure"]`.

    The classes are those of the data, or without data those of the recipe.

    For detection, the inference is backbone, neck, region head and box head on fixed proposals: what is left out
    (choice of proposals, suppression, thresholds) depends on the weights, not on the arm. The training step is the
    package's own loss on fixed boxes, with its backward pass.
    """
    task = task_of(spec)
    cfg = read_config(spec) if data is None else build_config(spec, Path(data).resolve())
    model = build_model(cfg, task.SCOPE)
    model.to("cuda" if torch.cuda.is_available() else "cpu")
    forward, loss = task.fixed_work(model, spec["measure"])

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
    """(model, forward of one image) of the recipe's config with the arm's operators, on the meta device; no data."""
    task = task_of(spec)
    model = build_model(read_config(spec), task.SCOPE, meta_device())
    return model, task.cost_forward(model, spec["measure"])


class _LinspaceOnCpu(TorchFunctionMode):
    def __torch_function__(self, function, types, args=(), kwargs=None):
        return function(*args, **(kwargs or {}) | ({"device": "cpu"} if function is torch.linspace else {}))


@contextmanager
def meta_device():
    """Models built within it take no memory. mmpretrain reads drop rates off a `linspace`, which keeps its numbers."""
    with torch.device("meta"), _LinspaceOnCpu():
        yield


def build_model(cfg: Config, scope: str, device=None):
    """The network of a config, with fresh weights; `device`: a context in which it is built, its imports are not."""
    for module in cfg.custom_imports["imports"]:
        import_module(module)
    init_default_scope(scope)
    with MODELS.switch_scope_and_registry(scope) as registry, device or nullcontext():
        return registry.build(cfg.model)


def validation_loss(runner: Runner, seed: int) -> float:
    """Mean loss over the validation split: training pipeline without its random steps, network in evaluation mode."""
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
    check_once(data, read_manifest(data / "manifest.json"), task_of(spec).annotation_error)


@contextmanager
def readable_errors(checkpoint: str | None = None):
    """Turn an unreadable image, or weights in `checkpoint` that do not fit, into the user's one line."""
    try:
        yield
    except UnreadableImage as error:
        raise UserError(str(error)) from error
    except UnfitCheckpoint as error:
        raise UserError(f"{checkpoint}: {error}; name weights of the same layout") from error
