"""A resolved spec as options of `fairseq-train`: the same command line that a user could type.

Two of fairseq's options are set because a run must be repeatable: batches are drawn anew each epoch (a resumed run
otherwise sees other batches), and batch sizes need not be multiples of 8 (fairseq silently leaves out the last batch,
so the longest sentences, of all three splits). A third: padding stands on the right, where it moves no position.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import torch
from fairseq import options
from fairseq.dataclass.utils import convert_namespace_to_omegaconf

from plugins.fairseq_ext.checkpoints import kept
from plugins.suite.sources import ROOT

USER_DIR = ROOT / "plugins" / "fairseq_ext"
DEFORMABLE_KERNEL = 3
SHARING = {"none": [], "decoder": ["--share-decoder-input-output-embed"], "all": ["--share-all-embeddings"]}
# The model options that exchange self-attention, and those that exchange any. Null exchanges it for nothing, false does
# not exchange it.
SELF_ATTENTION_OPTIONS = frozenset({"attention", "deformable", "dynamic_convolution"})
ATTENTION_OPTIONS = SELF_ATTENTION_OPTIONS | {"encoder_attention"}


def training_options(spec: dict, languages: dict, data: Path, run_dir: Path) -> list[str]:
    """The options of a run. `languages` holds source_lang and target_lang; paths are relative to the current folder."""
    train, model = spec["train"], spec["model"]
    mask_padding = (model.get("convolution") or {}).get("mask_padding", True)
    pairs = {
        "source-lang": languages["source_lang"],
        "target-lang": languages["target_lang"],
        "task": "translation",
        **_model(model, train),
        "criterion": "label_smoothed_cross_entropy",
        "label-smoothing": train["label_smoothing"],
        "optimizer": "adam",
        "adam-betas": "({}, {})".format(*train["adam_betas"]),
        "weight-decay": train["weight_decay"],
        "clip-norm": train["clip_norm"],
        "lr": train["lr"],
        "warmup-updates": train["warmup"],
        **_schedule(train),
        "max-tokens": train["max_tokens"],
        "update-freq": train["update_freq"],
        "max-update": train["updates"],
        "required-batch-size-multiple": 1,
        "update-epoch-batch-itr": True,
        "num-workers": 0,
        "data-buffer-size": 0,
        "seed": spec["seed"],
        "save-dir": os.path.relpath(run_dir / "checkpoints"),
        "save-interval-updates": train["save_every"],
        "keep-interval-updates": kept(spec),
        "keep-last-epochs": kept(spec),
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
    # The switch turns fairseq's default, padding on the left, off. The released MUSE has it there, where it leaks.
    arguments.append("--left-pad-source" if mask_padding else "--convolve-padding")
    if model.get("released_parameters"):
        arguments.append("--released-parameters")
    if train["fp16"]:
        arguments.append("--fp16")
    if train["gpus"] > 1:
        # Otherwise the first process sends the others a pickle that the safe `torch.load` refuses.
        arguments.append("--load-checkpoint-on-all-dp-ranks")
    if not torch.cuda.is_available():
        arguments.append("--cpu")
    return arguments


def configuration(arguments: list[str]):
    """fairseq's configuration of a command line, without fairseq looking at this process's own.

    fairseq imports the `--user-dir` on the way.
    """
    argv, sys.argv = sys.argv, ["fairseq-train"]
    try:
        parser = options.get_training_parser()
        return convert_namespace_to_omegaconf(options.parse_args_and_arch(parser, input_args=arguments))
    finally:
        sys.argv = argv


def user_dir(model: dict) -> Path | None:
    """Where fairseq finds the model; None for the plain Transformer, which is fairseq's own."""
    return USER_DIR if model.get("parallel") or _exchanges(model, ATTENTION_OPTIONS) else None


def _exchanges(model: dict, options: frozenset[str]) -> bool:
    return any(option in options and value is not False for option, value in model.items())


def _schedule(train: dict) -> dict:
    """The schedule. A cosine falls from `lr` to where its warm-up began, over `lr_period` updates; `linear` falls to 0
    at the last update, which fairseq calls a polynomial of power 1, whose warm-up begins at 0."""
    if train["lr_scheduler"] == "linear":
        return {"lr-scheduler": "polynomial_decay", "power": 1.0, "total-num-update": train["updates"]}
    plain = {"lr-scheduler": train["lr_scheduler"], "warmup-init-lr": train["warmup_init_lr"]}
    if train["lr_scheduler"] != "cosine":
        return plain
    return plain | {"lr-period-updates": train["lr_period"], "min-lr": train["warmup_init_lr"]}


def _model(model: dict, train: dict) -> dict:
    """The architecture with its sizes and switches."""
    shape, ffn_width = {}, model["ffn_width"] + _widening(model)
    for side in ("encoder", "decoder"):
        shape[f"{side}-layers"] = model["layers"]
        shape[f"{side}-embed-dim"] = model["width"]
        shape[f"{side}-ffn-embed-dim"] = ffn_width
        shape[f"{side}-attention-heads"] = model["heads"]
    shape |= {"dropout": model["dropout"], "attention-dropout": train["attention_dropout"]}
    ours = user_dir(model)
    if ours is None:
        return {"arch": "transformer", **shape}
    switches = _muse(model, train) if model.get("parallel") else _spatial_attention(model)
    return {"user-dir": os.path.relpath(ours), **shape, **switches}


def _widening(model: dict) -> int:
    """By how much the FFN grows so that a model without convolution has the parameters of one with these kernels.

    A gated convolution with shared projection adds d^2 + d H sum(K) + n to a layer, a unit of FFN width 2 d + 1.
    """
    kernels = model.get("ffn_widened_for")
    if not kernels:
        return 0
    width = model["width"]
    return round((width**2 + width * model["heads"] * sum(kernels) + len(kernels)) / (2 * width + 1))


def _muse(model: dict, train: dict) -> dict:
    """MUSE; MUSE-simple where there is no convolution. Options that are absent keep the defaults of `--arch muse`."""
    convolution = model.get("convolution") or {}
    switches = {
        "arch": "muse",
        "input-dropout": train["input_dropout"],
        "weight-dropout": train["weight_dropout"],
        "convolution-kernels": _numbers(convolution.get("kernels", [])),
    }
    for option in ("ffn", "initialisation"):
        if option in model:
            switches[option] = model[option]
    for option in ("kind", "projection", "combine"):
        if option in convolution:
            switches[f"convolution-{option}"] = convolution[option]
    if convolution.get("stacks"):
        switches["convolution-stacks"] = _names(convolution["stacks"])
    if convolution.get("per_layer"):
        switches["convolution-per-layer"] = _numbers(spread(convolution["per_layer"], model["layers"]))
    return switches


def _spatial_attention(model: dict) -> dict:
    """Exchanged attention. An option that is absent leaves fairseq's own attention in place."""
    attention, dynamic = model.get("attention") or {}, model.get("dynamic_convolution") or {}
    exchanged = _exchanges(model, SELF_ATTENTION_OPTIONS)
    return {
        "arch": "spatial_attention",
        "self-attention-terms": attention.get("terms", "none" if exchanged else "own"),
        "self-attention-stacks": _names(model.get("stacks", ["encoder", "decoder"])),
        "self-attention-range": attention.get("spatial_range", -1),
        "deformable-kernel": DEFORMABLE_KERNEL if model.get("deformable") else 0,
        "dynamic-kernel": dynamic.get("kernel", 0),
        "encoder-attention-terms": (model.get("encoder_attention") or {}).get("terms", "own"),
    }


def spread(sizes: list[int], layers: int) -> list[int]:
    """The sizes in their order, each for as equal a share of the layers as whole layers allow."""
    return [sizes[layer * len(sizes) // layers] for layer in range(layers)]


def _names(names: list[str]) -> str:
    return f"[{','.join(map(repr, names))}]"


def _numbers(numbers: list[int]) -> str:
    return f"[{','.join(map(str, numbers))}]"
