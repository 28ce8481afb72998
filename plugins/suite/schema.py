"""What each file of the suite holds, typed: from configuration and recipe to metrics and manifest.

`parse(model, content, source)` is the way in; it raises the one-line `UserError`. Options of operators stand in
`plugins/suite/options.py`. docs/experiments.md is made of these models: `python -m plugins.suite.document`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, ConfigDict, Field, model_validator

from plugins.suite import options
from plugins.suite.typed import Strict, absent, described, fault, pattern, unique
from plugins.suite.typed import parse as parse

Scale = Literal["mini", "small", "paper"]
Task = Literal["translation", "detection", "segmentation", "classification", "probe"]
Engine = Literal["fairseq", "mmdet", "mmseg", "mmpretrain"]
# Names of studies, ablations, recipes and data sets become folders and words of shell commands.
Name = pattern("[a-z][a-z0-9_]{0,63}", "a name of small letters, digits and _")
ArmName = pattern(
    "[A-Za-z0-9][A-Za-z0-9+._/,-]{0,63}",
    "a name of letters, digits and + . _ / , -",
)
ArmPath = pattern("[a-z][a-z0-9_]*/[A-Za-z0-9][A-Za-z0-9+._/,-]*", "<ablation>/<arm>")
RecipeName = pattern(
    "([a-z][a-z0-9_]*/)?[a-z][a-z0-9_]*-(mini|small|paper)", "<recipe>-<scale>, or <study>/<recipe>-<scale>"
)
ConfigFile = pattern("[A-Za-z0-9_][A-Za-z0-9_.-]*[.]py", "the name of a Python file beside the recipe")
DottedKey = pattern("[A-Za-z_][A-Za-z0-9_]*([.][A-Za-z0-9_]+)*", "a dotted key")
Hex = pattern("[0-9a-f]+", "hexadecimal digits")
Text = pattern("(?s:.*[^ \t\r\n].*)", "text")
ENGINE_TASKS = {
    "fairseq": ("translation",),
    "mmdet": ("detection",),
    "mmseg": ("segmentation", "probe"),
    "mmpretrain": ("classification",),
}


def names(item: Any) -> Any:
    """A list of at least one item, each once."""
    return Annotated[list[item], Field(min_length=1), AfterValidator(unique)]


##### configuration and study #####


Seeds = names(Annotated[int, Field(ge=0, le=2**31 - 1)])


class Fewer(Strict):
    """Arms that are run with some of a configuration's seeds."""

    seeds: Seeds = described("their seeds, each one of the configuration's `seeds`")
    arms: names(Text) = described("patterns of <arm> or <ablation>/<arm>, of arms that hold runs of their own")


class Configuration(Strict):
    """experiments/config.yaml, overlaid by small.yaml, paper.yaml or --config key=value: what a plain call runs."""

    scale: Scale = described("generated data, real data that fits one machine, or the papers' own")
    studies: names(Name) = described("the studies to run: folders of experiments/")
    arms: Literal["core", "all"] | names(Text) = described(
        'core, all, or a list of patterns of <arm> or <ablation>/<arm>, in quotes, such as ["w/o", "00*", "kernels/*"]'
        '; "core:kernels/*" stands for the core arms alone'
    )
    seeds: Seeds = described("a run for each")
    fewer: Fewer = absent("arms with fewer seeds; all arms have all without it")
    data_root: Text | None = described("the folder of the public data sets, or null")
    fetch: bool = described("whether to download into data_root the originals that it lacks", False)
    device: Literal["auto", "cpu", "cuda"] = described("where to train; auto takes a GPU where there is one")
    tests: list[dict[str, Any]] = absent(
        "of a registered plan (experiments/plans/): the parts that its runs will judge"
    )
    spread: Literal["own", "pooled"] = absent("of a registered plan: whose spread judges; each arm's own without it")

    @model_validator(mode="after")
    def _some_of_the_seeds(self) -> Configuration:
        other = next((seed for seed in (self.fewer.seeds if self.fewer else []) if seed not in self.seeds), None)
        if other is not None:
            raise fault("fewer.seeds", f"{other} is not one of seeds {self.seeds}")
        return self


class ProxyEntry(Strict):
    """A probe that stands for published ablations: its arms are theirs of the same name."""

    probe: Name = described("the ablation of ours")
    stands_for: names(Name) = described("the ablations of this study whose published numbers its order is held against")
    metric: Text = described("the probe's metric")
    arms: dict[ArmName, ArmName] = described("{published arm: the probe's} where the names differ", {})


class Study(Strict):
    """experiments/<study>/study.yaml: what a study is."""

    title: Text = described("the study in one line")
    paper: Text = described("the paper: authors, title, arXiv number")
    metric: dict[Task, Text] = described("the metric of each of its tasks", min_length=1)
    figures: names(Name) = described("its figures, in the order of the report")
    proxy: list[ProxyEntry] = described("probes that stand for published ablations", [])


##### ablations #####


class Arm(Strict):
    """An arm: what it changes (`set`, with `priority`), or whose runs it shares (`same_as` alone)."""

    priority: Literal["core", "extra"] = absent("core arms run by default, extra ones when asked for")
    label: Text = absent("its name in tables and figures; the arm's name without it")
    note: Text = absent("what a reader should know")
    set: dict[str, Any] = absent("options of the operators, laid over the recipe's `model`; keyed by task, see below")
    pretrained: ArmPath = absent("classification: the arm of this study whose trained weights this one starts from")
    same_as: ArmPath = absent("the arm of this study whose runs this one shares")

    @model_validator(mode="after")
    def _one_kind(self) -> Arm:
        if self.same_as is not None:
            for key in ("set", "pretrained"):
                if getattr(self, key) is not None:
                    raise fault(key, "does not go with same_as, whose runs are shared as they are; remove one of them")
        elif self.set is None:
            raise fault("", "needs `set`, what it changes, or `same_as`, whose runs it shares")
        elif self.priority is None:
            raise fault("priority", "is missing; give core or extra")
        return self


class EveryArm(Strict):
    """Laid over each arm that an ablation takes over by `like`, under what its own `arms` say."""

    priority: Literal["core", "extra"] = absent("priority of each arm that has a `set`")
    set: dict[str, Any] = absent("options laid over those of each arm that has a `set`")


class Ablation(Strict):
    """experiments/<study>/ablations/<name>.yaml: one ablation, its arms, and what each changes."""

    like: Name = absent(
        "another ablation of this study: its keys and arms are taken over, and what stands here is laid over"
    )
    title: Text = described("the ablation in one line")
    paper: Text = described("the table, figure or section of the paper")
    task: Task = described("the task, which decides the options of `set`")
    recipe: Name = absent("the recipe's name where it is not the task's: configs/<recipe>-<scale>.yaml")
    scales: names(Scale) = absent("the only scales at which the ablation is run; all without it")
    panel: Text = absent("its panel in the trade-off figure; the task's without it")
    baseline: ArmName = described("the arm that the others are compared with")
    recommended: ArmName = absent("the arm that the paper recommends, ringed in the trade-off figure")
    note: Text = absent("what a reader should know")
    every_arm: EveryArm = absent("with `like`: what is laid over every arm that is taken over")
    arms: dict[ArmName, Arm] = described(
        "the arms by name, the order is the tables'; with `like`, null drops one", min_length=1
    )

    @property
    def recipe_name(self) -> str:
        """The recipe of its runs: named after the task unless it says otherwise (another language pair)."""
        return self.recipe or self.task

    def runs_at(self, scale: str) -> bool:
        """Whether it is meant for a scale."""
        return self.scales is None or scale in self.scales


##### recipes #####


class Data(Strict):
    """The data set of a recipe; further keys are the parameters of the set, those of DEFAULTS in its module.

    `seed: run`: the run's seed is the data's too, so that every seed has its own training and test items.
    """

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, bool | int | float | str]
    name: Name = described("a data set: plugins/datasets/<name>.py")

    @model_validator(mode="after")
    def _folder(self) -> Data:
        for key in ("source", "target", "seed"):
            value = (self.__pydantic_extra__ or {}).get(key, 0)
            if not re.fullmatch("[a-z0-9_]{1,32}", str(value), re.ASCII):
                raise fault(key, f"{value!r} names a folder: small letters, digits and _ alone, no negative number")
        return self


class FairseqTrain(Strict):
    """Training by fairseq-train: Adam, label-smoothed cross-entropy."""

    updates: int = described("length of the training", unit="updates", ge=1)
    max_tokens: int = described("most tokens of a batch, padding included, on one GPU", unit="tokens", ge=1)
    lr: float = described("highest learning rate", gt=0)
    warmup: int = described("linear warm-up", unit="updates", ge=1)
    save_every: int = described(
        "a checkpoint and a validation every so many, a divisor of updates", unit="updates", ge=1
    )
    update_freq: int = described("batches that make one update", 1, ge=1)
    lr_scheduler: Literal["inverse_sqrt", "cosine", "linear"] = described(
        "schedule after the warm-up; linear falls to 0 at the last update", "inverse_sqrt"
    )
    lr_period: Annotated[int, Field(ge=1)] | None = described(
        "length of the cosine, with lr_scheduler: cosine", None, "updates"
    )
    warmup_init_lr: float = described(
        "learning rate at the start of the warm-up, and at the end of a cosine", 1e-7, ge=0
    )
    adam_betas: Annotated[list[Annotated[float, Field(ge=0, lt=1)]], Field(min_length=2, max_length=2)] = described(
        "beta_1 and beta_2 of Adam", [0.9, 0.98]
    )
    weight_decay: float = described("weight decay", 0.0, ge=0)
    clip_norm: float = described("the gradient is scaled down to this norm, 0 for never", 0.0, ge=0)
    label_smoothing: float = described("share of the target that is spread over all types", 0.1, ge=0, lt=1)
    attention_dropout: float = described("dropout of attention weights", 0.0, ge=0, lt=1)
    input_dropout: float = described("MUSE: dropout of the convolution's input", 0.0, ge=0, lt=1)
    weight_dropout: float = described("MUSE: dropout of the convolution's kernel weights", 0.1, ge=0, lt=1)
    share_embeddings: Literal["none", "decoder", "all"] = described("which embedding tables are one", "none")
    log_every: int = described("a line of curves.jsonl every so many", 50, "updates", ge=1)
    fp16: bool = described("half precision, on GPUs", False)
    gpus: int = described("GPUs of one machine that share the run", 1, ge=1)
    keep_checkpoints: bool = described("whether checkpoints stay after the evaluation", False)

    @model_validator(mode="after")
    def _go_together(self) -> FairseqTrain:
        if self.updates % self.save_every:
            raise fault("save_every", f"{self.save_every} must divide updates {self.updates}; change one of them")
        if (self.lr_scheduler == "cosine") != (self.lr_period is not None):
            raise fault("lr_period", "is the length of a cosine: give it with lr_scheduler: cosine, and only then")
        if self.lr_scheduler == "linear" and self.warmup >= self.updates:
            raise fault("warmup", f"{self.warmup} must be less than updates {self.updates}")
        return self


class FairseqEvaluate(Strict):
    """Beam search and scores."""

    split: Literal["train", "valid", "test"] = described("the split that is translated and scored", "test")
    beam: int = described("width of the beam", 5, ge=1)
    lenpen: float = described("exponent of the length by which a hypothesis' score is divided", 1.0)
    averaged_checkpoints: int = described("the last checkpoints whose weights are averaged", 1, ge=1)
    max_tokens: int = described("most tokens of a batch", 4000, "tokens", ge=1)


class FairseqMeasure(Strict):
    """The input on which multiply-adds are counted."""

    tokens: int = described("length of both sentences", unit="tokens", ge=1)
    batch: int = described("sentences", 1, ge=1)
    source_types: int = absent("size of the source dictionary, for costs without data", "types", ge=8)
    target_types: int = absent("size of the target dictionary; the same table where both are equal", "types", ge=8)


class OpenMMTrain(Strict):
    """Training by mmengine, from a config of the package."""

    config: ConfigFile = described("the mmengine config to start from, in the study's configs/")
    updates: int = described("length of the training; the config's schedule is stretched to it", unit="updates", ge=1)
    batch: int = described("the whole batch, over all GPUs", unit="images", ge=1)
    lr: float = described("highest learning rate", gt=0)
    warmup: int = described("linear warm-up, less than updates", unit="updates", ge=0)
    log_every: int = described("a line of curves.jsonl every so many", unit="updates", ge=1)
    checkpoint_every: int = described("a checkpoint every so many, a multiple of log_every", unit="updates", ge=1)
    score_every: int = absent("the validation split is scored every so many, a multiple of log_every", "updates", ge=1)
    gpus: int = described("GPUs of one machine that share the run, a divisor of batch", 1, ge=1)
    options: dict[DottedKey, Any] = described("dotted keys of the config, as mmengine's --cfg-options", {})

    @model_validator(mode="after")
    def _go_together(self) -> OpenMMTrain:
        for key in ("checkpoint_every", "score_every"):
            if (getattr(self, key) or 0) % self.log_every:
                text = f"{getattr(self, key)} must be a multiple of log_every {self.log_every}"
                raise fault(key, f"{text}, so that a resumed run writes the same curve")
        if self.batch % self.gpus:
            raise fault("batch", f"{self.batch} must be a multiple of gpus {self.gpus}")
        if self.warmup >= self.updates:
            raise fault("warmup", f"{self.warmup} must be less than updates {self.updates}")
        return self


class OpenMMEvaluate(Strict):
    """Scores by the package's own metric."""

    split: Literal["train", "val", "test"] = described("the split that is scored", "test")
    matched_loss: float = absent("the training loss at which validation scores are compared too", gt=0)


class OpenMMMeasure(Strict):
    """The input on which multiply-adds are counted."""

    height: int = described("height of the images", unit="pixels", ge=1)
    width: int = described("width of the images", unit="pixels", ge=1)
    batch: int = described("images", 1, ge=1)


class DetectionMeasure(OpenMMMeasure):
    """The input on which a detector's multiply-adds are counted."""

    proposals: int = absent("detectors of two stages: regions of an image that the second one sees", ge=1)


class RecipeLike(Strict):
    """The one key of a recipe that is read before the others."""

    like: RecipeName = described("another recipe")


class Recipe(Strict):
    """experiments/<study>/configs/<recipe>-<scale>.yaml: how the arms of one task train at one scale."""

    like: RecipeName = absent(
        "another recipe: its keys are taken over (`data` whole), and what stands here is laid over"
    )
    engine: Engine = described("the framework, which decides the other keys")
    threads: int = described("processor threads of a run", ge=1, le=1024)
    data: Data = described("the data set and its parameters")


class FairseqRecipe(Recipe):
    """A recipe with engine: fairseq, for translation."""

    model: options.TranslationOptions = described("the options that every arm shares", options.TranslationOptions())
    train: FairseqTrain = described("training")
    evaluate: FairseqEvaluate = described("scoring", FairseqEvaluate())
    measure: FairseqMeasure = described("the input of the cost")


class DetectionRecipe(Recipe):
    """A recipe with engine: mmdet, for detection."""

    model: options.DetectionOptions = described("the options that every arm shares", options.DetectionOptions())
    train: OpenMMTrain = described("training")
    evaluate: OpenMMEvaluate = described("scoring", OpenMMEvaluate())
    measure: DetectionMeasure = described("the input of the cost")


class SegmentationRecipe(Recipe):
    """A recipe with engine: mmseg, for segmentation."""

    model: options.SegmentationOptions = described("the options that every arm shares", options.SegmentationOptions())
    train: OpenMMTrain = described("training")
    evaluate: OpenMMEvaluate = described("scoring", OpenMMEvaluate())
    measure: OpenMMMeasure = described("the input of the cost")


class ProbeRecipe(Recipe):
    """A recipe with engine: mmseg and task: probe, for image probes."""

    task: Literal["probe"] = described("tells it from a recipe for segmentation")
    model: options.ProbeOptions = described("the options that every arm shares", options.ProbeOptions())
    train: OpenMMTrain = described("training")
    evaluate: OpenMMEvaluate = described("scoring", OpenMMEvaluate())
    measure: OpenMMMeasure = described("the input of the cost")


class ClassificationRecipe(Recipe):
    """A recipe with engine: mmpretrain, for classification."""

    model: options.ClassificationOptions = described(
        "the options that every arm shares", options.ClassificationOptions()
    )
    train: OpenMMTrain = described("training")
    evaluate: OpenMMEvaluate = described("scoring", OpenMMEvaluate())
    measure: OpenMMMeasure = described("the input of the cost")


RECIPES: dict[str, type[Recipe]] = {
    "fairseq": FairseqRecipe,
    "mmdet": DetectionRecipe,
    "mmseg": SegmentationRecipe,
    "mmpretrain": ClassificationRecipe,
}
# Recipes of tasks that share an engine with another; they name their task.
TASK_RECIPES: dict[str, type[Recipe]] = {"probe": ProbeRecipe}


def recipe_type(content: Mapping) -> type[Recipe] | None:
    """The type of a recipe by the task that it names, or by its engine; None where it has no known engine."""
    engine, task = content.get("engine"), content.get("task")
    named = TASK_RECIPES.get(task) if isinstance(task, str) else None
    return named or (RECIPES.get(engine) if isinstance(engine, str) else None)


def task_of_recipe(content: Mapping) -> str:
    """The task of a checked recipe."""
    return content.get("task") or ENGINE_TASKS[content["engine"]][0]


class Identity(Strict):
    """Which run it is: the keys that stand before a recipe's in a resolved run."""

    scale: Scale = described("scale")
    study: Name = described("study")
    ablation: Name = absent("ablation; a row of models.yaml has none")
    arm: ArmName = absent("arm; a row of models.yaml has none")
    seed: int = described("seed of everything that is random", ge=0, le=2**31 - 1)
    task: Task = described("task")
    pretrained: Text = absent("metrics.json of the run whose weights this one starts from")

    @model_validator(mode="after")
    def _task_of_engine(self) -> Identity:
        tasks = ENGINE_TASKS[self.engine]
        if self.task not in tasks:
            does = " and ".join(tasks)
            raise fault("task", f"{self.task}, but the recipe's engine {self.engine} does {does}; name another recipe")
        return self


class FairseqSpec(FairseqRecipe, Identity):
    """A resolved run of fairseq."""

    model: options.TranslationModel = described("the operators")


class DetectionSpec(DetectionRecipe, Identity):
    """A resolved run of mmdet."""

    model: options.DetectionModel = described("the operators")


class SegmentationSpec(SegmentationRecipe, Identity):
    """A resolved run of mmseg."""

    model: options.SegmentationModel = described("the operators")


class ClassificationSpec(ClassificationRecipe, Identity):
    """A resolved run of mmpretrain."""

    model: options.ClassificationModel = described("the operators")


class ProbeSpec(ProbeRecipe, Identity):
    """A resolved run of an image probe."""

    model: options.ProbeModel = described("the operators")


SPECS: dict[str, type[Recipe]] = {
    "fairseq": FairseqSpec,
    "mmdet": DetectionSpec,
    "mmseg": SegmentationSpec,
    "mmpretrain": ClassificationSpec,
}
TASK_SPECS: dict[str, type[Recipe]] = {"probe": ProbeSpec}


##### the papers' model tables and numbers #####


class Printed(Strict):
    """The rows of reference.csv with the printed parameters and FLOPs."""

    table: Text = described("column `table`")
    model: Text = absent("column `model`")
    variant: Text = absent("column `variant`")
    dataset: Text = absent("column `dataset`")


class ModelEntry(Strict):
    """A row of the paper's model tables: one to build (`set`), or one with the reason why it is not (`note`)."""

    model: Text = described("the row's name, as the table has it")
    task: Task = described("the task, which decides the options of `set`")
    recipe: Name = absent("the recipe to start from where it is not the task's: configs/<recipe>-paper.yaml")
    set: dict[str, Any] = absent("options of the operators, laid over the recipe's `model`")
    train: dict[str, Any] = absent("laid over the recipe's `train`: settings that decide the model")
    measure: dict[str, Any] = absent("laid over the recipe's `measure`")
    printed: Printed = absent("where the printed numbers stand")
    flops_per_mac: Literal[1, 2] = absent("2 where the print counts a multiply-add twice")
    leaves_out: names(Literal["attention_products"]) = absent("what the print does not count")
    note: Text = absent("what a reader should know; why it is not built")

    @model_validator(mode="after")
    def _one_kind(self) -> ModelEntry:
        if self.set is None and (self.printed is None or self.note is None):
            raise fault("set", "is missing; without it `printed` and `note` say why the model is not built")
        return self


class Models(Strict):
    """experiments/<study>/models.yaml: the rows of the paper's model tables, counted without training."""

    models: list[ModelEntry] = described("the rows", min_length=1)


Digits = pattern("([-+]?[0-9]+([.][0-9]+)?([eE][-+]?[0-9]+)?)?", "a number in digits, or empty if nobody could read it")


class ReferenceRow(Strict):
    """A row of experiments/<study>/reference.csv: one published number of one source."""

    task: Task = described("task")
    ablation: str = described("the ablation of the arm that repeats it, or empty")
    arm: str = described("the arm that repeats it, or empty")
    table: Text = described("table or figure of the source")
    dataset: str = described("data set")
    model: str = described("model, as the source has it")
    variant: str = described("what tells it from other rows of the model")
    metric: Text = described("metric, by the suite's name where it has one")
    value: Digits = described("the number")
    unit: Text = described("its unit")
    source: Text = described("where it was read")
    confidence: Literal[
        "read-in-paper-text", "unread-in-paper", "official-repo", "official-log", "secondary-source"
    ] = described("how it was read")
    note: str = described("what a reader should know")

    @property
    def number(self) -> float | None:
        """The value; None where it is unread."""
        return float(self.value) if self.value else None

    @model_validator(mode="after")
    def _whole(self) -> ReferenceRow:
        if self.arm and not self.ablation:
            raise fault("ablation", f"is empty, but arm '{self.arm}' is named; give both or neither")
        if self.confidence == "unread-in-paper" and self.value:
            raise fault("value", "is given, but confidence says that nobody could read it")
        return self


##### results #####

Number = Annotated[float, Field()]
Seconds = Annotated[float, Field(ge=0)]
Whole = Annotated[int, Field(ge=0)]


class Cost(Strict):
    """What a model costs, without timings."""

    params: int = described("parameters, trained or not, shared ones once", ge=0)
    macs: float = described("multiply-adds of one example", ge=0)
    macs_counter: str = described("what counted them", "")
    macs_leaves_out: str = described("what is not counted", "")
    macs_input: str = described("the input, as JSON", "")


class Items(Strict):
    """The per-item results beside a metrics.json."""

    file: Literal["items.parquet"] = described("the file")
    n: int = described("items of the scored split", ge=1)
    sha256: Hex = described("of the file")


class MetricsData(Strict):
    """The data of a run."""

    name: Name = described("data set")
    checksum: Hex = described("of the manifest")
    generator: Hex = described("digest of the sources, parameters and versions that made it")


Commit = pattern("[0-9a-f]+|unknown", "a commit or unknown")


class Provenance(Strict):
    """Where and of what a result was made."""

    commit: Commit = described("git commit, or unknown")
    dirty: bool = described("whether a file that the run used differs from it")
    sources_sha256: Hex = described("digest of the files that decide the numbers")
    sources: list[str] = absent("those files; published runs leave them to the digest and the commit")
    spec_sha256: Hex = described("digest of the resolved run")
    versions: dict[str, str] = described("of Python and packages")
    device: str = described("processor or GPU")
    cpu_flags: list[str] = described("instruction sets of the processor")
    instruction_sets: dict[str, str] = described("those that torch and oneDNN use")
    blas: str = described("the library of matrix products")
    threads: int = described("processor threads", ge=1)
    started: str = described("time")
    finished: str = described("time")
    command: str = described("the engine's own command")


class Metrics(Strict):
    """results/runs/<scale>/<study>/<ablation>/<arm>/seed<k>/metrics.json, schema 2; a line of metrics.jsonl."""

    schema_: Literal[2] = described("of this file", alias="schema")
    scale: Scale = described("scale")
    study: Name = described("study")
    ablation: Name = described("ablation")
    arm: ArmName = described("arm")
    seed: int = described("seed", ge=0)
    task: Task = described("task")
    engine: Engine = described("engine")
    status: Literal["done"] = described("a run that failed leaves error.json")
    metrics: dict[str, Number] = described("scores; bleu, chrf, box_ap*, miou, top1, top5 in 0..100", min_length=1)
    primary: str = described("the one of them that tables compare")
    losses: dict[str, Number | None] = described("losses, in nats")
    details: dict[str, Any] = described("what figures and gates need beyond single numbers: curve, chance, ..")
    cost: Cost = described("what the model costs")
    wall_s: dict[str, Seconds | None] = described("wall time by part", unit="seconds")
    settings: dict[str, Any] = described("settings that matter to a reader")
    items: Items = described("the per-item results")
    data: MetricsData = described("the data")
    pretrained: dict[str, Any] = absent("the run whose weights this one started from, and their SHA-256")
    provenance: Provenance = described("where and of what it was made")

    @model_validator(mode="after")
    def _primary_is_there(self) -> Metrics:
        if self.primary not in self.metrics:
            raise fault("primary", f"'{self.primary}' is not among metrics {', '.join(sorted(self.metrics))}")
        return self


class Manifest(Strict):
    """results/data/<scale>/<folder>/manifest.json; further keys are facts that the engine of its task reads."""

    model_config = ConfigDict(extra="allow")
    name: Name = described("data set")
    params: dict[str, Any] = described("its parameters, defaults filled in")
    generator: Hex = absent("digest of the sources, parameters and versions that made it")
    checksum: Hex = described("SHA-256 over the lines 'hash  path'")
    counts: dict[str, Any] = described("items by split")
    skipped: dict[str, Any] = described("what the preparer left out, by reason")
    files: dict[str, pattern("[0-9a-f]{64}", "a SHA-256")] = described("SHA-256 by path")
