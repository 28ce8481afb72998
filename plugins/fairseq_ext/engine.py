"""Translation runs: training, averaging, beam search and scoring with fairseq, in one process.

Training is fairseq's own `train`; nothing of it is replaced. `options` says which of its options a spec means,
`checkpoints` what is read of a training that was interrupted.
Losses are negative log-likelihoods in nats per target token, end-of-sentence included, without label smoothing.
"""

from __future__ import annotations

import logging
import math
from argparse import Namespace
from pathlib import Path

import torch
from fairseq import checkpoint_utils, tasks, utils
from fairseq.data import Dictionary
from fairseq.dataclass.configs import GenerationConfig
from fairseq.distributed import utils as distributed_utils
from fairseq.tasks.translation import TranslationTask
from fairseq_cli import train as fairseq_train
from torch.overrides import TorchFunctionMode

from plugins.fairseq_ext import checkpoints, curves
from plugins.fairseq_ext.details import gate_weights
from plugins.fairseq_ext.options import configuration, training_options, user_dir
from plugins.fairseq_ext.scoring import chance_by_metric, score, score_rules
from plugins.suite import files
from plugins.suite.data import MANIFEST, read_manifest
from plugins.suite.errors import UserError


def command(spec: dict, data: Path, run_dir: Path) -> list[str]:
    """The `fairseq-train` call of a run, for the root of the repository."""
    return ["fairseq-train", *training_options(spec, translation_manifest(data), data, run_dir)]


def translation_manifest(data: Path) -> dict:
    """The manifest of a prepared pair of languages; UserError where the folder holds something else."""
    path = data / MANIFEST
    manifest = read_manifest(path)
    for key in ("source_lang", "target_lang", "tokenise"):
        if key not in manifest:
            raise UserError(f"{path}: key '{key}' is missing; name a translation data set")
    for language in (manifest["source_lang"], manifest["target_lang"]):
        dictionary = data / "bin" / f"dict.{language}.txt"
        if not dictionary.is_file():
            raise UserError(f"{dictionary}: missing; prepare the data again")
    return manifest


def train(spec: dict, data: Path, run_dir: Path) -> dict:
    """Trains, or resumes from the newest whole checkpoint; that it is this run's, the runner has seen to.

    Returns losses, the settings that matter, and the seconds of training, those before a restart included. Writes
    run_dir/checkpoints and run_dir/curves.jsonl.
    """
    manifest, folder, updates = translation_manifest(data), run_dir / "checkpoints", spec["train"]["updates"]
    arguments = training_options(spec, manifest, data, run_dir)
    result = checkpoints.finished(folder, spec)
    if result:
        return result
    folder.mkdir(parents=True, exist_ok=True)
    resumed, checkpoint = checkpoints.resume_point(folder, spec)
    curves.truncate(run_dir, resumed)
    if checkpoint:
        print(f"resuming from {checkpoint.name}, update {resumed}", flush=True)
        arguments += ["--restore-file", str(checkpoint)]
    if resumed < updates:
        _run_fairseq(arguments, spec, run_dir, resumed)
        resumed, checkpoint = max(checkpoints.whole(folder).items(), default=(0, None))
    if resumed != updates:
        raise RuntimeError(f"{folder}: training ended at update {resumed} of {updates}")
    state = checkpoints.load(checkpoint)
    result = {
        "losses": {"train": _training_loss(state)},
        "settings": _settings(spec, manifest),
        "seconds": state["extra_state"]["previous_training_time"],
    }
    files.write_json(folder / checkpoints.TRAINED, result)
    return result


def _run_fairseq(arguments: list[str], spec: dict, run_dir: Path, resumed: int) -> None:
    """Trains in this process or, with several GPUs, in one process a GPU, as fairseq itself decides."""
    values = {"spec": spec, "run_dir": run_dir, "resumed": resumed}
    distributed_utils.call_main(configuration(arguments), _train_process, **values)


def _train_process(cfg, spec: dict, run_dir: Path, resumed: int) -> None:
    """fairseq's training of one process; the first one keeps checkpoints and curves. A spawned one finds it by its
    module's name, and importing this module also makes its checkpoint loading safe."""
    if not distributed_utils.is_master(cfg.distributed_training):
        return fairseq_train.main(cfg)
    recorder = curves.Recorder(run_dir, spec["train"]["updates"], resumed)
    logger = logging.getLogger("fairseq.logging.progress_bar")
    logger.setLevel(logging.INFO)  # whoever set logging up before fairseq may have asked for less
    logger.addHandler(recorder)
    try:
        with checkpoints.sealing(spec):
            fairseq_train.main(cfg)
    finally:
        logger.removeHandler(recorder)


def _training_loss(state: dict) -> float:
    """Mean loss of the last epoch's updates, from fairseq's own meters in the last checkpoint."""
    meters = {key: value for _, key, _, value in state["extra_state"]["metrics"]["train"]}
    loss = meters["nll_loss"]
    return float(loss["sum"]) / float(loss["count"]) * curves.NATS


def _settings(spec: dict, manifest: dict) -> dict:
    train = spec["train"]
    keys = ("updates", "max_tokens", "update_freq", "gpus", "lr", "lr_scheduler", "lr_period", "warmup")
    return {
        **{key: train[key] for key in (*keys, "label_smoothing", "weight_decay", "share_embeddings")},
        "dropout": spec["model"]["dropout"],
        "subword": manifest.get("subword"),
        "dictionary_types": manifest["counts"].get("types"),
    }


def evaluate(spec: dict, data: Path, run_dir: Path) -> dict:
    """Averages the last checkpoints, translates the test split, scores it; hypotheses go to run_dir/hypotheses.txt.

    Returns metrics, primary, losses, details, settings, and items: a column a list, one value a sentence.
    """
    options, manifest, folder = spec["evaluate"], translation_manifest(data), run_dir / "checkpoints"
    model, cfg, task = _load_model(checkpoints.average(folder, spec), spec, data)
    valid_loss = _validation_loss(model, task, cfg)
    hypotheses = _translate(model, task, options, manifest)
    files.write_text(run_dir / "hypotheses.txt", "".join(f"{line}\n" for line in hypotheses))
    sources, references = (
        files.read_text(data / "text" / f"{options['split']}.{manifest[side]}").splitlines()
        for side in ("source_lang", "target_lang")
    )
    metrics, items, scorers = score(sources, hypotheses, references, manifest["tokenise"])
    details = {
        "gates": gate_weights(model.state_dict()),
        "curve": curves.curve(run_dir),
        # Of a model that gives every type the same probability.
        "chance": {"loss": math.log(len(task.target_dictionary)), "metric": 0},
    }
    if manifest.get("rules"):
        by_rule, columns, details["rules"] = score_rules(
            model, _batches(task, options, model), data, options["split"], manifest["rules"]
        )
        metrics, items = metrics | by_rule, items | columns
        details["chance"]["metrics"] = chance_by_metric(details["rules"])
    if not spec["train"]["keep_checkpoints"]:
        checkpoints.remove(folder)
    return {
        "metrics": metrics,
        "primary": "bleu",
        "losses": {"valid": valid_loss},
        "details": details,
        "items": items,
        "settings": {
            **{key: options[key] for key in ("split", "beam", "lenpen")},
            "averaged_checkpoints": len(checkpoints.to_average(spec)),
            "batch_target_tokens": _target_tokens_per_update(task, spec["train"]),
            **scorers,
            "loss_unit": "nats per target token",
        },
    }


def _load_model(path: Path, spec: dict, data: Path):
    """(model, fairseq's configuration, task) of a checkpoint; UserError where the data have another dictionary."""
    # A process that did not train has not seen the architecture yet.
    utils.import_user_module(Namespace(user_dir=user_dir(spec["model"])))
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


def _batches(task, options: dict, model):
    """fairseq's batches of a split, in the split's order of lengths; `options` are those of evaluation."""
    task.load_dataset(options["split"])
    iterator = task.get_batch_iterator(
        task.dataset(options["split"]),
        max_tokens=options["max_tokens"],
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
    for sample in _batches(task, {"split": "valid", "max_tokens": cfg.dataset.max_tokens}, model):
        _, _, output = task.valid_step(sample, model, criterion)
        loss += float(output["nll_loss"])
        tokens += output["ntokens"]
    return loss / tokens


def _translate(model, task, options: dict, manifest: dict) -> list[str]:
    """Best hypothesis of every sentence of the split, in corpus order, subwords joined."""
    generator = task.build_generator([model], GenerationConfig(beam=options["beam"], lenpen=options["lenpen"]))
    lines = {}
    for sample in _batches(task, options, model):
        hypotheses = task.inference_step(generator, [model], sample)
        for sentence, best in zip(sample["id"].tolist(), hypotheses, strict=True):
            lines[sentence] = task.target_dictionary.string(best[0]["tokens"].int().cpu(), manifest.get("subword"))
    return [lines[index] for index in range(len(lines))]


def _target_tokens_per_update(task, train: dict) -> float:
    """The effective batch: mean over an epoch, end-of-sentence included."""
    task.load_dataset("train")
    dataset = task.dataset("train")
    indices = dataset.ordered_indices()
    batches = dataset.batch_by_size(indices, max_tokens=train["max_tokens"], required_batch_size_multiple=1)
    return round(int(dataset.tgt_sizes.sum()) / math.ceil(len(batches) / (train["update_freq"] * train["gpus"])), 1)


def measured_model(spec: dict, data: Path, batch: int = 1):
    """(model, forward, train_step) of a fresh model, on `batch` random sentences of spec["measure"]["tokens"] tokens.

    forward: encoder and decoder over the sentences on both sides, teacher forced, no gradient.
    train_step: the same in training mode with label-smoothed loss and backward pass; no optimiser step.
    """
    cfg = configuration(training_options(spec, translation_manifest(data), data, Path("unused")))
    task = tasks.setup_task(cfg.task)
    model = task.build_model(cfg.model)
    criterion = task.build_criterion(cfg.criterion)
    sample = random_sample(task, spec["measure"]["tokens"], batch)
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


def random_sample(task, tokens: int, batch: int) -> dict:
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


def cost_model(spec: dict):
    """(model, forward) on the meta device, for dictionaries of spec["measure"]'s source_types and target_types.

    forward: one teacher-forced pass over one sentence of `tokens` tokens on both sides.
    """
    languages, size = {"source_lang": "source", "target_lang": "target"}, spec["measure"]
    cfg = configuration(training_options(spec, languages, Path("unused"), Path("unused")))
    source = _dictionary(size["source_types"])
    target = source if size["target_types"] == size["source_types"] else _dictionary(size["target_types"])
    task = TranslationTask(cfg.task, source, target)
    with torch.device("meta"):
        model = task.build_model(cfg.model)
    words = torch.full((1, size["tokens"]), target.eos(), device="meta")
    lengths = torch.full((1,), size["tokens"])

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
