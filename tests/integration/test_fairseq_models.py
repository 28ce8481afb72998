"""MUSE as a fairseq model: parameter totals of the released logs, every arm, incremental decoding, padding, options."""

import contextlib
from argparse import Namespace
from functools import cache
from pathlib import Path

import pytest
import torch
from fairseq import tasks, utils
from fairseq.data import Dictionary
from fairseq.models import ARCH_CONFIG_REGISTRY, ARCH_MODEL_REGISTRY, MODEL_DATACLASS_REGISTRY
from fairseq.optim import build_optimizer
from fairseq.optim.lr_scheduler import build_lr_scheduler
from omegaconf import OmegaConf

from plugins.fairseq_ext import engine as fairseq_engine
from plugins.fairseq_ext.options import configuration, training_options
from plugins.runner.measure import count_macs
from plugins.suite.catalog import arm_specs, data_folder, resolve

ROOT = Path(__file__).resolve().parents[2]
SMALL = {"layers": 2, "width": 16, "ffn_width": 24, "heads": 2, "dropout": 0.0}


@pytest.fixture(scope="module", autouse=True)
def user_dir():
    """The repository as current folder, the user-dir loaded, one thread."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with contextlib.chdir(ROOT):
        utils.import_user_module(Namespace(user_dir="plugins/fairseq_ext"))
        yield
    torch.set_num_threads(threads)


def dictionary(types):
    """A dictionary with `types` entries, special symbols included."""
    words = Dictionary()
    for index in range(types - len(words)):
        words.add_symbol(f"w{index}")
    return words


def task_of(source, target):
    return tasks.translation.TranslationTask(tasks.translation.TranslationConfig(), source, target)


def build(arch, source, target, **options):
    args = Namespace(**options)
    ARCH_CONFIG_REGISTRY[arch](args)
    if arch != "transformer":
        args = MODEL_DATACLASS_REGISTRY["muse"](**vars(args))
    return ARCH_MODEL_REGISTRY[arch].build_model(args, task_of(source, target))


def count(model):
    return sum(parameter.numel() for parameter in model.parameters())


@pytest.mark.parametrize(
    ("arch", "types", "total"),
    [("muse_iwslt_de_en", (8848, 6632), 48_193_584), ("muse_wmt_en_fr_big", (44512, None), 252_088_368)],
)
def test_parameter_totals_are_those_of_the_released_logs(arch, types, total):
    source = dictionary(types[0])
    target = dictionary(types[1]) if types[1] else source
    with torch.device("meta"):
        model = build(arch, source, target, released_parameters=True)
    assert count(model) == total


SIZES = {
    f"{side}_{key}": value
    for side in ("encoder", "decoder")
    for key, value in {"embed_dim": 16, "ffn_embed_dim": 24, "layers": 2, "attention_heads": 2}.items()
}
LANGUAGES = {"source_lang": "source", "target_lang": "target"}
STUDIES = ("muse", "spatial_attention")
SCALES = ("mini", "small", "paper")
# Arms that differ from tested ones only in the stack that they leave alone.
ONE_STACK = ("factors_translation_encoder", "factors_translation_decoder")


def arms():
    """Every translation arm with runs of its own; of those for one stack, two."""
    with contextlib.chdir(ROOT):
        rows = [
            (study, *row) for study in STUDIES for row in arm_specs(study, "mini") if row[2]["task"] == "translation"
        ]
    kept = [row[:3] for row in rows if row[1] not in ONE_STACK or row[2] in ("w/o", "0110")]
    return [pytest.param(*row, id="-".join(row)) for row in kept]


@cache
def arm_model(study, ablation, arm):
    """(model of an arm at a tiny size, dictionary), in evaluation mode, from the engine's own command line."""
    spec = resolve("mini", study, ablation, arm, 1)
    words = dictionary(30)
    spec["model"] |= SMALL
    cfg = configuration(training_options(spec, LANGUAGES, Path("data"), Path("run")))
    torch.manual_seed(0)
    model = tasks.translation.TranslationTask(cfg.task, words, words).build_model(cfg.model)
    for layer in [*model.encoder.layers, *model.decoder.layers]:
        for name, parameter in layer.named_parameters():
            if name.endswith("offset.weight"):  # starts at zero: taps would not move
                torch.nn.init.normal_(parameter, std=0.3)
    return model.eval(), words


def batch(words, lengths=(7, 4)):
    """Right-padded random source and target sentences, ended by end-of-sentence, and the shifted target."""
    generator = torch.Generator().manual_seed(1)
    tokens = torch.full((len(lengths), max(lengths)), words.pad())
    for row, length in enumerate(lengths):
        tokens[row, :length] = torch.randint(words.nspecial, len(words), (length,), generator=generator)
        tokens[row, length - 1] = words.eos()
    previous = tokens.roll(1, dims=1)
    previous[:, 0] = words.eos()
    return tokens, torch.tensor(lengths), previous


@pytest.mark.parametrize(("study", "ablation", "arm"), arms())
def test_every_arm_trains_and_decodes_step_by_step_as_at_once(study, ablation, arm):
    model, words = arm_model(study, ablation, arm)
    source, lengths, previous = batch(words)
    at_once, _ = model(source, lengths, previous)
    at_once.sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())
    state = {}
    with torch.no_grad():
        encoded = model.encoder(source, lengths)
        for step in range(1, 5):
            logits, _ = model.decoder(previous[:, :step], encoder_out=encoded, incremental_state=state)
            torch.testing.assert_close(logits[:, 0], at_once[:, step - 1], atol=2e-5, rtol=1e-4)


def padded_on_the_left(tokens, words):
    """The same sentences with their padding before them."""
    order = tokens.ne(words.pad()).int().argsort(dim=1, stable=True)
    return tokens.gather(1, order)


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize(("study", "ablation", "arm"), arms())
def test_what_a_batch_pads_changes_nothing(study, ablation, arm, side):
    """fairseq pads the source on the left unless told otherwise; the target always stands on the left."""
    model, words = arm_model(study, ablation, arm)
    source, lengths, previous = batch(words)
    alone, _ = model(source[1:, :4], lengths[1:], previous[1:, :4])
    if side == "left":
        source = padded_on_the_left(source, words)
    together, _ = model(source, lengths, previous)
    torch.testing.assert_close(together[1, :4], alone[0], atol=2e-5, rtol=1e-4)


def test_every_pattern_stands_in_both_attentions():
    """So that the tests over arms leave none of the 15 sums of terms out."""
    patterns = {f"{number:04b}" for number in range(1, 16)}
    for ablation in ("factors_translation", "factors_encoder_decoder"):
        assert patterns <= {arm for _, name, arm in (case.values for case in arms()) if name == ablation}


def test_padding_leaks_only_when_asked_for():
    words = dictionary(30)
    torch.manual_seed(0)
    model = build("muse", words, words, convolve_padding=True, **SIZES).eval()
    source, lengths, previous = batch(words)
    together, _ = model(source, lengths, previous)
    alone, _ = model(source[1:, :4], lengths[1:], previous[1:, :4])
    assert (together[1, :4] - alone[0]).abs().max() > 1e-4


def test_beam_search_follows_the_reordered_state():
    """Scores that beam search reports are those of the finished sentences, decoded at once."""
    model, words = arm_model("muse", "branches", "muse")
    task = task_of(words, words)
    generator = task.build_generator([model], Namespace(beam=3, max_len_b=8, lenpen=1.0))
    source, lengths, previous = batch(words)
    sample = {"net_input": {"src_tokens": source, "src_lengths": lengths}}
    for row, hypotheses in enumerate(generator.generate([model], sample)):
        tokens = hypotheses[0]["tokens"][None]
        shifted = torch.cat((tokens.new_full((1, 1), words.eos()), tokens[:, :-1]), 1)
        length = lengths[row : row + 1]
        logits, _ = model(source[row : row + 1, : int(length)], length, shifted)
        scores = logits.log_softmax(-1).gather(2, tokens[..., None])[0, :, 0]
        torch.testing.assert_close(scores, hypotheses[0]["positional_scores"], atol=1e-4, rtol=1e-4)


def test_without_self_attention_its_block_is_gone():
    model, _ = arm_model("spatial_attention", "factors_translation", "w/o")
    names = [name for name, _ in model.named_parameters()]
    assert not [name for name in names if "self_attn" in name] and [name for name in names if "encoder_attn" in name]
    model, _ = arm_model("spatial_attention", "factors_translation_encoder", "w/o")
    names = [name for name, _ in model.named_parameters()]
    assert not [name for name in names if "encoder.layers.0.self_attn" in name]
    assert [name for name in names if "decoder.layers.0.self_attn" in name]


@pytest.mark.parametrize("kernels", [[], [3, 15]])
def test_fused_matrices_change_nothing(kernels):
    words = dictionary(30)
    torch.manual_seed(0)
    model = build("muse", words, words, fuse_matrices=True, convolution_kernels=kernels, **SIZES).eval()
    source, lengths, previous = batch(words)
    parameters = set(model.state_dict())
    with torch.no_grad():
        plain, _ = model(source, lengths, previous)
        model.prepare_for_inference_(OmegaConf.create({"generation": {"beam": 1, "print_alignment": None}}))
        assert model.encoder.layers[0].fused and model.decoder.layers[0].fused
        torch.testing.assert_close(model(source, lengths, previous)[0], plain, atol=2e-5, rtol=1e-4)
        state, encoded = {}, model.encoder(source, lengths)
        for step in range(1, 5):
            logits, _ = model.decoder(previous[:, :step], encoder_out=encoded, incremental_state=state)
            torch.testing.assert_close(logits[:, 0], plain[:, step - 1], atol=2e-5, rtol=1e-4)
    assert set(model.state_dict()) == parameters


def test_a_kernel_a_layer_needs_as_many_as_there_are_layers():
    with pytest.raises(ValueError, match="must have one size for each of 12 layers"):
        build("muse_iwslt_de_en", dictionary(10), dictionary(10), convolution_per_layer=[3, 7])


def recipes():
    """Every translation recipe of the suite, with an arm that uses it."""
    with contextlib.chdir(ROOT):
        rows = [(study, *row) for study in STUDIES for scale in SCALES for row in arm_specs(study, scale)]
        cases = {}
        for study, ablation, arm, spec in rows:
            if spec["engine"] == "fairseq":
                cases.setdefault((study, spec["scale"], data_folder(spec["data"])), (ablation, arm))
    return [pytest.param(*key[:2], *value, id="-".join(key)) for key, value in cases.items()]


@pytest.mark.parametrize(("study", "scale", "ablation", "arm"), recipes())
def test_every_recipe_is_a_command_that_fairseq_takes(study, scale, ablation, arm):
    spec = resolve(scale, study, ablation, arm, 1)
    arguments = training_options(spec, LANGUAGES, Path("data"), Path("run"))
    train, cfg = spec["train"], configuration(arguments)
    gpus = train["gpus"]
    assert arguments[arguments.index("--distributed-world-size") + 1] == str(gpus)
    assert cfg.distributed_training.distributed_world_size == gpus
    assert cfg.optimization.update_freq == [train["update_freq"]] and cfg.optimization.lr == [train["lr"]]
    assert cfg.optimization.clip_norm == train["clip_norm"]
    assert cfg.lr_scheduler._name == {"linear": "polynomial_decay"}.get(train["lr_scheduler"], train["lr_scheduler"])
    assert not cfg.task.left_pad_source


def test_the_cosine_falls_to_where_its_warm_up_began():
    """The rate of WMT14 En-De: 1e-7, 0.001 after 10,000 updates, and back at the last of 30,000."""
    spec = resolve("paper", "muse", "branches_en_de", "muse", 1)
    cfg = configuration(training_options(spec, LANGUAGES, ROOT, ROOT))
    model = torch.nn.Linear(1, 1)
    scheduler = build_lr_scheduler(cfg.lr_scheduler, build_optimizer(cfg.optimizer, model.parameters()))
    rates = [scheduler.step_update(update) for update in (0, 10000, 20000, 29999)]
    assert rates == pytest.approx([1e-7, 1e-3, (1e-3 + 1e-7) / 2, 1e-7], rel=1e-3)
    assert spec["train"]["lr_period"] + spec["train"]["warmup"] == spec["train"]["updates"]


def test_the_linear_schedule_falls_to_nothing_at_the_last_update():
    spec = resolve("mini", "muse", "probe_rules", "muse", 1)
    cfg = configuration(training_options(spec, LANGUAGES, ROOT, ROOT))
    model = torch.nn.Linear(1, 1)
    scheduler = build_lr_scheduler(cfg.lr_scheduler, build_optimizer(cfg.optimizer, model.parameters()))
    lr, warmup, updates = (spec["train"][key] for key in ("lr", "warmup", "updates"))
    points = (1, warmup, (warmup + updates) // 2, updates)
    assert [scheduler.step_update(point) for point in points] == pytest.approx([lr / warmup, lr, lr / 2, 0])


def test_costs_are_of_one_sentence_whatever_the_batch():
    """Twice the tokens are twice the words, twice the batch nothing."""
    spec = resolve("mini", "spatial_attention", "factors_encoder_decoder", "1111", 1)
    counts = []
    for tokens, sentences in ((8, 1), (8, 5), (16, 1)):
        spec["measure"] = {"tokens": tokens, "batch": sentences, "source_types": 30, "target_types": 30}
        model, forward = fairseq_engine.cost_model(spec)
        assert tuple(forward()[0].shape) == (1, tokens, 30)
        counts.append(count_macs(model.eval(), forward))
    assert counts[0] == counts[1] < counts[2] / 2


def test_released_padding_stands_where_the_release_has_it():
    spec = resolve("mini", "muse", "branches", "muse", 1)
    spec["model"]["convolution"]["mask_padding"] = False
    cfg = configuration(training_options(spec, LANGUAGES, Path("data"), Path("run")))
    assert cfg.task.left_pad_source and cfg.model.convolve_padding
