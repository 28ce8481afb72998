"""Translation runs: a spec as fairseq options, training, averaging, beam search and scoring, in one process.

Training is fairseq's own `train`; nothing of it is replaced. Two of its options are set because a run must be
repeatable: batches are drawn anew each epoch (a resumed run otherwise sees other batches), and batch sizes need not be
multiples of 8 (fairseq silently leaves out the last batch, so the longest sentences, of all three splits).
Losses are negative log-likelihoods in nats per target token, end-of-sentence included, without label smoothing.
"""

import json
import logging
import math
import os
import pickle
import re
import sys
import time
from pathlib import Path

import sacrebleu
import torch
from fairseq import checkpoint_utils, options, tasks, utils
from fairseq.data import Dictionary
from fairseq.dataclass.configs import GenerationConfig
from fairseq.dataclass.utils import convert_namespace_to_omegaconf
from fairseq.distributed import utils as distributed_utils
from fairseq.tasks.translation import TranslationTask
from fairseq_cli import train as fairseq_train
from torch.overrides import TorchFunctionMode

from plugins.fairseq_ext import safe_load as safe_load
from plugins.fairseq_ext.details import dispersion, sentence_statistics
from plugins.suite.errors import UserError
from plugins.suite.sources import ATTENTION_WORDS, ROOT

DEFORMABLE_KERNEL = 3
NATS = math.log(2)
TRAIN_DEFAULTS = {
    "update_freq": 1,
    "lr_scheduler": "inverse_sqrt",
    "lr_period": None,
    "warmup_init_lr": 1e-7,
    "adam_betas": [0.9, 0.98],
    "weight_decay": 0.0,
    "clip_norm": 0.0,
    "label_smoothing": 0.1,
    "attention_dropout": 0.0,
    "input_dropout": 0.0,
    "weight_dropout": 0.1,
    "share_embeddings": "none",
    "log_every": 50,
    "fp16": False,
    "gpus": 1,
    "keep_checkpoints": False,
}
TRAIN_REQUIRED = ("updates", "max_tokens", "lr", "warmup", "save_every")
EVALUATE_DEFAULTS = {"split": "test", "beam": 5, "lenpen": 1.0, "averaged_checkpoints": 1, "max_tokens": 4000}
SHARING = {"none": [], "decoder": ["--share-decoder-input-output-embed"], "all": ["--share-all-embeddings"]}


def command(spec: dict, data: Path, run_dir: Path) -> list[str]:
    """The `fairseq-train` call of a run, for the root of the repository; UserError for a spec that it cannot say."""
    return ["fairseq-train", *_arguments(spec, _manifest(data), data, run_dir)]


def train(spec: dict, data: Path, run_dir: Path) -> dict:
    """Trains, or goes on from the newest whole checkpoint; that it is this run's, the runner has seen to.

    Returns losses, the settings that matter, and the seconds of training, those before a restart included.

    Writes run_dir/checkpoints and a line of run_dir/curves.jsonl per logged, validated and finished stretch of updates.
    """
    arguments = _arguments(spec, _manifest(data), data, run_dir)
    folder = run_dir / "checkpoints"
    trained = folder / "trained.json"
    if trained.is_file():
        return json.loads(trained.read_text(encoding="utf-8"))
    folder.mkdir(parents=True, exist_ok=True)
    resumed, checkpoint = _newest(folder)
    _truncate_curves(run_dir / "curves.jsonl", resumed)
    if checkpoint:
        print(f"resuming from {checkpoint.name}, update {resumed}", flush=True)
        arguments += ["--restore-file", str(checkpoint)]
    if resumed < spec["train"]["updates"]:
        _run_fairseq(arguments, spec, run_dir, resumed)
        resumed, checkpoint = _newest(folder)
    state = _load(checkpoint)
    if resumed != spec["train"]["updates"]:
        raise RuntimeError(f"{folder}: training ended at update {resumed} of {spec['train']['updates']}")
    result = {
        "losses": _losses(state),
        "settings": _settings(spec, data),
        "seconds": state["extra_state"]["previous_training_time"],
    }
    _write_json(trained, result)
    return result


def evaluate(spec: dict, data: Path, run_dir: Path) -> dict:
    """Averages the last checkpoints, translates the test split, scores it; hypotheses go to run_dir/hypotheses.txt."""
    knobs = _knobs(spec, "evaluate")
    manifest = _manifest(data)
    folder = run_dir / "checkpoints"
    averaged, count = _average(folder, spec)
    model, cfg, task = _load_model(averaged, data)
    valid_loss = _validation_loss(model, task, cfg)
    hypotheses = _translate(model, task, knobs, manifest)
    path = run_dir / "hypotheses.txt"
    _write_text(path, "".join(f"{line}\n" for line in hypotheses))
    sources, references = (
        (data / "text" / f"{knobs['split']}.{manifest[side]}").read_text(encoding="utf-8").splitlines()
        for side in ("source_lang", "target_lang")
    )
    bleu = sacrebleu.BLEU(tokenize=manifest["tokenise"])
    chrf = sacrebleu.CHRF()
    metrics = {
        "bleu": bleu.corpus_score(hypotheses, [references]).score,
        "chrf": chrf.corpus_score(hypotheses, [references]).score,
    }
    details = {
        "sentences": sentence_statistics(bleu, sources, hypotheses, references),
        "gates": gate_weights(model.state_dict()),
        "dispersion": dispersion(
            model, _batches(task, knobs["split"], knobs["max_tokens"], model), task.source_dictionary.pad()
        ),
    }
    if not _train_knobs(spec)["keep_checkpoints"]:
        for old in folder.glob("checkpoint*"):
            old.unlink()
    return {
        "metrics": metrics,
        "primary": "bleu",
        "losses": {"valid": valid_loss},
        "details": details,
        "settings": {
            "split": knobs["split"],
            "beam": knobs["beam"],
            "lenpen": knobs["lenpen"],
            "averaged_checkpoints": count,
            "batch_target_tokens": _target_tokens_per_update(task, _train_knobs(spec)),
            "scorer": str(bleu.get_signature()),
            "chrf_scorer": str(chrf.get_signature()),
            "loss_unit": "nats per target token",
        },
    }


def measured_model(spec: dict, data: Path):
    """(model, forward, train_step) of a fresh model; spec["measure"] = {tokens: T, batch: B}.

    forward: encoder and decoder over B random sentences of T tokens on both sides, teacher forced, no gradient.
    train_step: the same in training mode with label-smoothed loss and backward pass; no optimiser step.
    """
    cfg = _config(_arguments(spec, _manifest(data), data, Path("unused")))
    task = tasks.setup_task(cfg.task)
    model = task.build_model(cfg.model)
    criterion = task.build_criterion(cfg.criterion)
    sample = _random_sample(task, spec["measure"]["tokens"], spec["measure"]["batch"])
    if torch.cuda.is_available():
        model, sample = model.cuda(), utils.move_to_cuda(sample)

    def forward():
        model.eval()
        with torch.no_grad():
            return model(**sample["net_input"])[0]

    def train_step():
        model.train()
        model.zero_grad()
        loss, _, _ = criterion(model, sample)
        loss.backward()
        return loss

    return model, forward, train_step


def cost_model(spec: dict):
    """(model, forward) on the meta device, for dictionaries of spec["measure"]'s source_types and target_types.

    forward: one teacher-forced pass over `batch` sentences of `tokens` tokens on both sides.
    """
    languages, size = {"source_lang": "source", "target_lang": "target"}, spec["measure"]
    cfg = _config(_arguments(spec, languages, Path("unused"), Path("unused")))
    source = _dictionary(size["source_types"])
    target = source if size["target_types"] == size["source_types"] else _dictionary(size["target_types"])
    task = TranslationTask(cfg.task, source, target)
    with torch.device("meta"):
        model = task.build_model(cfg.model)
    words = torch.full((size["batch"], size["tokens"]), target.eos(), device="meta")
    lengths = torch.full((size["batch"],), size["tokens"])

    def forward():
        with _NoPadding():
            return model(words, lengths, words)

    return model, forward


class _NoPadding(TorchFunctionMode):
    """Answers fairseq's question whether a batch holds padding, which a tensor without content cannot, with no."""

    def __torch_function__(self, function, types, args=(), kwargs=None):
        if function is torch.Tensor.any and args[0].is_meta:
            return torch.tensor(False)
        return function(*args, **(kwargs or {}))


def _dictionary(types: int) -> Dictionary:
    """A dictionary of that many types, special symbols included."""
    words = Dictionary()
    for index in range(types - len(words)):
        words.add_symbol(f"type{index}")
    return words


def _arguments(spec: dict, manifest: dict, data: Path, run_dir: Path) -> list[str]:
    train, seed = _train_knobs(spec), spec["seed"]
    pairs = {
        "source-lang": manifest["source_lang"],
        "target-lang": manifest["target_lang"],
        "task": "translation",
        **_model_options(spec["model"], train),
        "criterion": "label_smoothed_cross_entropy",
        "label-smoothing": train["label_smoothing"],
        "optimizer": "adam",
        "adam-betas": "({}, {})".format(*train["adam_betas"]),
        "weight-decay": train["weight_decay"],
        "clip-norm": train["clip_norm"],
        "lr": train["lr"],
        "lr-scheduler": train["lr_scheduler"],
        "warmup-updates": train["warmup"],
        "warmup-init-lr": train["warmup_init_lr"],
        **_schedule(train),
        "max-tokens": train["max_tokens"],
        "update-freq": train["update_freq"],
        "max-update": train["updates"],
        "required-batch-size-multiple": 1,
        "update-epoch-batch-itr": True,
        "num-workers": 0,
        "data-buffer-size": 0,
        "seed": seed,
        "save-dir": os.path.relpath(run_dir / "checkpoints"),
        "save-interval-updates": train["save_every"],
        "keep-interval-updates": _kept(spec),
        "keep-last-epochs": _kept(spec),
        "validate-interval": 1_000_000,
        "validate-interval-updates": train["save_every"],
        "log-format": "json",
        "log-interval": train["log_every"],
        "distributed-world-size": train["gpus"],
    }
    arguments = [os.path.relpath(data / "bin")]
    for name, value in pairs.items():
        arguments += [f"--{name}", str(value)]
    arguments += ["--no-last-checkpoints", *SHARING[train["share_embeddings"]]]
    if not (spec["model"].get("convolution") or {}).get("mask_padding", True):
        arguments.append("--convolve-padding")
    if spec["model"].get("released_parameters"):
        arguments.append("--released-parameters")
    if train["fp16"]:
        arguments.append("--fp16")
    if train["gpus"] > 1:
        # Otherwise the first process sends the others a pickle that the safe `torch.load` refuses.
        arguments.append("--load-checkpoint-on-all-dp-ranks")
    if not torch.cuda.is_available():
        arguments.append("--cpu")
    return arguments


def _schedule(train: dict) -> dict:
    """What the cosine schedule needs more: it falls from `lr` to where its warm-up began, over `lr_period` updates."""
    if train["lr_scheduler"] != "cosine":
        return {}
    return {"lr-period-updates": train["lr_period"], "min-lr": train["warmup_init_lr"]}


def _model_options(model: dict, train: dict) -> dict:
    """The operator-level words as options. The plain Transformer is fairseq's own and needs no --user-dir."""
    shape, ffn_width = {}, model["ffn_width"] + _widening(model)
    for side in ("encoder", "decoder"):
        shape[f"{side}-layers"] = model["layers"]
        shape[f"{side}-embed-dim"] = model["width"]
        shape[f"{side}-ffn-embed-dim"] = ffn_width
        shape[f"{side}-attention-heads"] = model["heads"]
    shape |= {"dropout": model["dropout"], "attention-dropout": train["attention_dropout"]}
    convolution, ffn = model.get("convolution"), model.get("ffn", "own")
    if ATTENTION_WORDS & model.keys():
        return {
            "user-dir": os.path.relpath(ROOT / "plugins" / "fairseq_ext"),
            "arch": "spatial_attention",
            **shape,
            **_attention_options(model),
        }
    if not model.get("parallel", False):
        if convolution or ffn != "own":
            raise UserError(
                "model.parallel: false is the plain Transformer: no convolution, its own ffn; set parallel to true"
            )
        return {"arch": "transformer", **shape}
    if ffn == "shared" and not convolution:
        raise UserError("model.ffn: shared means shared with the convolution; set model.convolution too")
    switches = {"convolution-kernels": "[]", "ffn": ffn, "initialisation": model.get("initialisation", "default")}
    if convolution:
        switches |= {
            "convolution-kernels": _listed(convolution.get("kernels", [])),
            "convolution-kind": convolution.get("kind", "dynamic"),
            "convolution-projection": convolution.get("projection", "shared"),
            "convolution-combine": convolution.get("combine", "gate"),
            "weight-dropout": train["weight_dropout"],
        }
        if convolution.get("stacks"):
            switches["convolution-stacks"] = _quoted(convolution["stacks"])
        if convolution.get("per_layer"):
            switches["convolution-per-layer"] = _listed(_spread(convolution["per_layer"], model["layers"]))
    return {
        "user-dir": os.path.relpath(ROOT / "plugins" / "fairseq_ext"),
        "arch": "muse",
        **shape,
        "input-dropout": train["input_dropout"],
        **switches,
    }


def _attention_options(model: dict) -> dict:
    """The words of the attention study as options. A word that is absent leaves fairseq's own attention in place."""
    if model.get("parallel") or model.get("convolution"):
        raise UserError("model.parallel and model.convolution are MUSE's; leave them out where attention is exchanged")
    attention, dynamic = model.get("attention"), model.get("dynamic_convolution")
    exchanged = {"attention", "deformable", "dynamic_convolution"} & model.keys()
    stacks = model.get("stacks", ["encoder", "decoder"])
    return {
        "self-attention-terms": attention["terms"] if attention else "none" if exchanged else "own",
        "self-attention-stacks": _quoted(stacks),
        "self-attention-range": (attention or {}).get("spatial_range", -1),
        "deformable-kernel": DEFORMABLE_KERNEL if model.get("deformable") else 0,
        "dynamic-kernel": dynamic["kernel"] if dynamic else 0,
        "encoder-attention-terms": (model.get("encoder_attention") or {}).get("terms", "own"),
    }


def _spread(sizes: list[int], layers: int) -> list[int]:
    """The sizes in their order, each for as equal a share of the layers as whole layers allow."""
    return [sizes[layer * len(sizes) // layers] for layer in range(layers)]


def _widening(model: dict) -> int:
    """By how much the FFN grows so that a model without convolution has the parameters of one with these kernels.

    A gated convolution with shared projection adds d^2 + d H sum(K) + n to a layer, a unit of FFN width 2 d + 1.
    """
    kernels = model.get("ffn_widened_for")
    if not kernels:
        return 0
    width = model["width"]
    return round((width**2 + width * model["heads"] * sum(kernels) + len(kernels)) / (2 * width + 1))


def _quoted(words: list[str]) -> str:
    return f"[{','.join(map(repr, words))}]"


def _listed(numbers: list[int]) -> str:
    return f"[{','.join(map(str, numbers))}]"


def _kept(spec: dict) -> int:
    """Checkpoints to keep: those to average, and at least two, so that a truncated one has one before it."""
    return max(2, _knobs(spec, "evaluate")["averaged_checkpoints"])


def _train_knobs(spec: dict) -> dict:
    knobs = _knobs(spec, "train")
    for key in TRAIN_REQUIRED:
        if key not in knobs:
            raise UserError(f"train.{key}: missing in the recipe of {spec['task']} at scale {spec['scale']}; add it")
    if knobs["updates"] % knobs["save_every"]:
        raise UserError(
            f"train.save_every: {knobs['save_every']} must divide train.updates {knobs['updates']}; change one of them"
        )
    if knobs["share_embeddings"] not in SHARING:
        raise UserError(f"train.share_embeddings: {knobs['share_embeddings']!r} must be one of {', '.join(SHARING)}")
    if knobs["lr_scheduler"] not in ("inverse_sqrt", "cosine"):
        raise UserError(f"train.lr_scheduler: {knobs['lr_scheduler']!r} must be one of inverse_sqrt, cosine")
    if (knobs["lr_scheduler"] == "cosine") != (knobs["lr_period"] is not None):
        raise UserError("train.lr_period: the updates of a cosine after its warm-up; set it with lr_scheduler: cosine")
    return knobs


def _knobs(spec: dict, section: str) -> dict:
    defaults = TRAIN_DEFAULTS if section == "train" else EVALUATE_DEFAULTS
    known = {*defaults, *(TRAIN_REQUIRED if section == "train" else ())}
    for key in spec[section]:
        if key not in known:
            raise UserError(f"{section}.{key}: unknown to the fairseq engine; known are {', '.join(sorted(known))}")
    return {**defaults, **spec[section]}


def _manifest(data: Path) -> dict:
    path = data / "manifest.json"
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(
            f"{path}: no manifest, the data set was not prepared; run `python -m plugins.datasets` first"
        ) from None
    for key in ("source_lang", "target_lang", "tokenise", "checksum"):
        if key not in manifest:
            raise UserError(f"{path}: key {key!r} is missing; this is no translation data set")
    for language in (manifest["source_lang"], manifest["target_lang"]):
        if not (data / "bin" / f"dict.{language}.txt").is_file():
            raise UserError(f"{data / 'bin' / f'dict.{language}.txt'}: missing; prepare the data again")
    return manifest


def _config(arguments: list[str]):
    """fairseq's configuration of a command line, without fairseq looking at this process's own."""
    argv, sys.argv = sys.argv, ["fairseq-train"]
    try:
        parser = options.get_training_parser()
        return convert_namespace_to_omegaconf(options.parse_args_and_arch(parser, input_args=arguments))
    finally:
        sys.argv = argv


def _run_fairseq(arguments: list[str], spec: dict, run_dir: Path, resumed: int) -> None:
    """Trains in this process or, with several GPUs, in one process a GPU, as fairseq itself decides."""
    words = {"run_dir": run_dir, "updates": spec["train"]["updates"], "resumed": resumed}
    distributed_utils.call_main(_config(arguments), _train_process, **words)


def _train_process(cfg, run_dir: Path, updates: int, resumed: int) -> None:
    """fairseq's training of one process; the first one keeps the curves. A spawned one finds it by its module's name,
    and importing this module also makes its checkpoint loading safe."""
    if not distributed_utils.is_master(cfg.distributed_training):
        return fairseq_train.main(cfg)
    recorder = Recorder(run_dir, updates, resumed)
    logger = logging.getLogger("fairseq.logging.progress_bar")
    logger.setLevel(logging.INFO)  # whoever set logging up before fairseq may have asked for less
    logger.addHandler(recorder)
    try:
        fairseq_train.main(cfg)
    finally:
        logger.removeHandler(recorder)


class Recorder(logging.Handler):
    """Turns fairseq's JSON log records into lines of curves.jsonl; prints how far the run is and what is left."""

    def __init__(self, run_dir: Path, updates: int, resumed: int):
        super().__init__()
        self.curves, self.folder = run_dir / "curves.jsonl", run_dir / "checkpoints"
        self.updates, self.resumed, self.started = updates, resumed, time.monotonic()

    def emit(self, record):
        if record.name == "train_inner":
            stats = json.loads(record.getMessage())
            update = int(stats["num_updates"])
            self.write(update, train_loss=_nats(stats["nll_loss"]), lr=float(stats["lr"]))
            self.estimate(update)
        elif record.name == "valid":
            stats = json.loads(record.getMessage())
            self.write(int(stats["valid_num_updates"]), valid_loss=_nats(stats["valid_nll_loss"]))
        elif record.name == "train":
            stats = json.loads(record.getMessage())
            gates = self.gates()
            if gates:
                self.write(int(stats["train_num_updates"]), epoch=stats["epoch"], gates=gates)

    def estimate(self, update: int) -> None:
        rate = (time.monotonic() - self.started) / max(1, update - self.resumed)
        left = rate * (self.updates - update)
        print(f"update {update} of {self.updates}, {rate:.2f} s each, about {left:.0f} s left", flush=True)

    def gates(self) -> dict:
        """{"encoder.0": [weight of each kernel], ...} of the newest checkpoint; empty where kernels are not weighed."""
        checkpoint = max(self.folder.glob("checkpoint*.pt"), key=lambda path: path.stat().st_mtime_ns)
        return gate_weights(_load(checkpoint)["model"])

    def write(self, update: int, **values) -> None:
        with open(self.curves, "a", encoding="utf-8") as file:
            file.write(json.dumps({"update": update, **values}) + "\n")


def gate_weights(parameters: dict) -> dict[str, list[float]]:
    """The learnt weights of the kernels, {"encoder.<layer>": [...], "decoder.<layer>": [...]}, from a model's state."""
    gates = {}
    for name, value in parameters.items():
        match = re.fullmatch(r"(encoder|decoder)\.layers\.(\d+)\.self_attn\.gate", name)
        if match and value.numel() > 1:
            gates[f"{match[1]}.{match[2]}"] = value.float().softmax(0).tolist()
    return gates


def _nats(bits: str) -> float:
    return float(bits) * NATS


def _checkpoints(folder: Path) -> list[tuple[int, Path]]:
    """(updates, file) of the whole checkpoints of a run, oldest first, one per update; names the truncated ones."""
    found = {}
    for path in sorted(folder.glob("checkpoint*.pt")):
        if not re.fullmatch(r"checkpoint(\d+|_\d+_\d+)\.pt", path.name):
            continue
        state = _load(path)
        if state is None:
            print(f"{path}: truncated or unreadable, left aside; an earlier checkpoint is used", flush=True)
            continue
        found[state["optimizer_history"][-1]["num_updates"]] = path
    return sorted(found.items())


def _newest(folder: Path) -> tuple[int, Path | None]:
    checkpoints = _checkpoints(folder)
    return checkpoints[-1] if checkpoints else (0, None)


def _load(path: Path) -> dict | None:
    """A checkpoint's state on the CPU, or None when the file is not whole. Plain data and allowed classes only."""
    try:
        return torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except (RuntimeError, EOFError, OSError, KeyError, ValueError, pickle.UnpicklingError):
        return None


def _losses(state: dict) -> dict:
    """Mean loss of the last epoch's updates, from fairseq's own meters in the last checkpoint."""
    meters = {key: value for _, key, _, value in state["extra_state"]["metrics"]["train"]}
    loss = meters["nll_loss"]
    return {"train": float(loss["sum"]) / float(loss["count"]) * NATS}


def _settings(spec: dict, data: Path) -> dict:
    train, manifest = _train_knobs(spec), _manifest(data)
    keys = ("updates", "max_tokens", "update_freq", "lr", "lr_scheduler", "warmup", "label_smoothing", "weight_decay")
    rare = [key for key in ("gpus", "lr_period") if train[key] != TRAIN_DEFAULTS[key]]
    return {
        **{key: train[key] for key in (*keys, *rare)},
        "dropout": spec["model"]["dropout"],
        "share_embeddings": train["share_embeddings"],
        "subword": manifest.get("subword"),
        "dictionary_types": manifest.get("counts", {}).get("types"),
    }


def _target_tokens_per_update(task, train: dict) -> float:
    """The effective batch: mean over an epoch, end-of-sentence included."""
    task.load_dataset("train")
    dataset = task.dataset("train")
    indices = dataset.ordered_indices()
    batches = dataset.batch_by_size(indices, max_tokens=train["max_tokens"], required_batch_size_multiple=1)
    return round(int(dataset.tgt_sizes.sum()) / math.ceil(len(batches) / (train["update_freq"] * train["gpus"])), 1)


def _average(folder: Path, spec: dict) -> tuple[Path, int]:
    """Mean of the parameters of the last checkpoints saved at multiples of save_every, as one checkpoint file."""
    path = folder / "averaged.pt"
    every, wanted = spec["train"]["save_every"], _knobs(spec, "evaluate")["averaged_checkpoints"]
    files = [file for updates, file in _checkpoints(folder) if updates % every == 0][-wanted:]
    if not files and (state := _load(path)):
        return path, state["averaged_checkpoints"]
    if not files:
        raise UserError(f"{folder}: no checkpoint to evaluate; delete the folder and run again")
    states = [_load(file) for file in files]
    merged = states[-1]
    mean = {}
    for name, last in merged["model"].items():
        if last.is_floating_point():
            mean[name] = (sum(state["model"][name].double() for state in states) / len(states)).to(last.dtype)
        else:
            mean[name] = last.clone()
    merged = {key: value for key, value in merged.items() if key != "last_optimizer_state"}
    merged |= {"model": mean, "averaged_checkpoints": len(states)}
    temporary = path.with_suffix(".tmp")
    torch.save(merged, temporary)
    os.replace(temporary, path)
    return path, len(states)


def _load_model(path: Path, data: Path):
    state = checkpoint_utils.load_checkpoint_to_cpu(str(path), {"data": str(data / "bin")})
    cfg = state["cfg"]
    task = tasks.setup_task(cfg.task)
    sides = {"encoder": task.source_dictionary, "decoder": task.target_dictionary}
    for side, dictionary in sides.items():
        rows = state["model"][f"{side}.embed_tokens.weight"].shape[0]
        if rows != len(dictionary):
            raise UserError(
                f"{path}: the {side} has {rows} embeddings but the dictionary in {data / 'bin'} has {len(dictionary)} "
                "words; train again or prepare the data as it was"
            )
    (model,), _, _ = checkpoint_utils.load_model_ensemble_and_task([str(path)], task=task, state=state)
    if torch.cuda.is_available():
        model.cuda()
    return model.eval(), cfg, task


def _batches(task, split: str, max_tokens: int, model):
    task.load_dataset(split)
    iterator = task.get_batch_iterator(
        task.dataset(split),
        max_tokens=max_tokens,
        max_positions=utils.resolve_max_positions(task.max_positions(), model.max_positions()),
        ignore_invalid_inputs=False,
        required_batch_size_multiple=1,
    )
    for sample in iterator.next_epoch_itr(shuffle=False):
        yield utils.move_to_cuda(sample) if torch.cuda.is_available() else sample


def _validation_loss(model, task, cfg) -> float:
    """Nats per target token of the averaged model on the validation split, without label smoothing."""
    criterion = task.build_criterion(cfg.criterion)
    loss, tokens = 0.0, 0
    for sample in _batches(task, "valid", cfg.dataset.max_tokens, model):
        _, _, output = task.valid_step(sample, model, criterion)
        loss += float(output["nll_loss"])
        tokens += output["ntokens"]
    return loss / tokens


def _translate(model, task, knobs: dict, manifest: dict) -> list[str]:
    """Best hypothesis of every sentence of the split, in corpus order, subwords joined."""
    generator = task.build_generator([model], GenerationConfig(beam=knobs["beam"], lenpen=knobs["lenpen"]))
    lines = {}
    for sample in _batches(task, knobs["split"], knobs["max_tokens"], model):
        hypotheses = task.inference_step(generator, [model], sample)
        for sentence, best in zip(sample["id"].tolist(), hypotheses, strict=True):
            lines[sentence] = task.target_dictionary.string(best[0]["tokens"].int().cpu(), manifest.get("subword"))
    return [lines[index] for index in range(len(lines))]


def _random_sample(task, tokens: int, batch: int) -> dict:
    """A batch of random sentences of `tokens` tokens, the last one end-of-sentence; the same for every run."""
    random = torch.Generator().manual_seed(0)

    def side(dictionary):
        words = torch.randint(dictionary.nspecial, len(dictionary), (batch, tokens), generator=random)
        words[:, -1] = dictionary.eos()
        return words

    source, target = side(task.source_dictionary), side(task.target_dictionary)
    return {
        "net_input": {
            "src_tokens": source,
            "src_lengths": torch.full((batch,), tokens),
            "prev_output_tokens": target.roll(1, dims=1),
        },
        "target": target,
        "ntokens": batch * tokens,
    }


def _truncate_curves(path: Path, update: int) -> None:
    """Drops the lines that a killed run wrote after the checkpoint that it goes on from."""
    if not path.is_file():
        return
    kept = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            if json.loads(line)["update"] <= update:
                kept.append(line + "\n")
        except ValueError:
            break  # the kill cut this line short
    _write_text(path, "".join(kept))


def _write_json(path: Path, value: dict) -> None:
    _write_text(path, json.dumps(value, indent=1) + "\n")


def _write_text(path: Path, text: str) -> None:
    """Whole or not at all."""
    temporary = path.with_name(path.name + ".tmp")
    temporary.write_text(text, encoding="utf-8")
    os.replace(temporary, path)
