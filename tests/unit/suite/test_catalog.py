"""Ablation files, recipes and configurations: what they resolve to, and the one line that each fault gets."""

from pathlib import Path

import pytest

from plugins.suite import catalog, files, jobs
from plugins.suite.errors import UserError
from tests.unit.suite.conftest import ABLATION, RECIPE

REPOSITORY = Path(__file__).resolve().parents[3]
CONFIG = {"scale": "mini", "studies": ["toy"], "arms": "core", "seeds": [1], "data_root": None, "device": "cpu"}
TRANSFER = """
title: A toy
paper: Table 0
task: classification
baseline: source
arms:
  source: {priority: extra, set: {}}
  tuned: {priority: core, pretrained: toy/source, set: {train_fraction: 0.5}}
  again: {same_as: toy/source}
"""


def test_core_arms_and_seeds_become_runs(toy):
    table = catalog.runs_table(CONFIG | {"seeds": [1, 2]})
    assert [(run.arm, run.seed) for run in table] == [
        ("w/o", 1),
        ("w/o", 2),
        ("0010", 1),
        ("0010", 2),
        ("again", 1),
        ("again", 2),
    ]
    assert table[0].metrics == "results/runs/mini/toy/toy/w-o/seed1/metrics.json"
    assert table[4].metrics == table[2].metrics


def test_seeds_as_the_command_line_gives_them(toy):
    assert {run.seed for run in catalog.runs_table(CONFIG | {"seeds": ["3", "4"]})} == {3, 4}


def test_some_arms_may_have_fewer_seeds(toy):
    fewer = {"seeds": ["1"], "arms": ["toy/0010"]}
    table = catalog.runs_table(CONFIG | {"seeds": [1, 2], "fewer": fewer})
    # `again` shares the runs of 0010, and so its seeds.
    assert [(run.arm, run.seed) for run in table] == [("w/o", 1), ("w/o", 2), ("0010", 1), ("again", 1)]


def test_arms_by_name_and_all(toy):
    assert {run.arm for run in catalog.runs_table(CONFIG | {"arms": ["00*"]})} == {"0010", "0010+dcn"}
    assert len(catalog.runs_table(CONFIG | {"arms": "all"})) == 4
    assert {run.arm for run in catalog.runs_table(CONFIG | {"arms": ["toy/w/o"]})} == {"w/o"}
    core = {run.arm for run in catalog.runs_table(CONFIG | {"arms": "core"})}
    assert {run.arm for run in catalog.runs_table(CONFIG | {"arms": ["core:toy/*"]})} == core
    some = {run.arm for run in catalog.runs_table(CONFIG | {"arms": ["core:00*", "w/o"]})}
    assert some == (core & {"0010"}) | {"w/o"}


def test_an_arm_is_merged_into_the_recipe(toy):
    resolved = catalog.resolve_metrics_path("results/runs/mini/toy/toy/0010/seed7/metrics.json")
    assert resolved["model"]["attention"] == {"spatial_range": 2, "terms": "0010"} and resolved["model"]["width"] == 16
    assert resolved["seed"] == 7 and resolved["arm"] == "0010" and resolved["train"]["updates"] == 3


def test_titles_notes_and_labels_do_not_change_the_digest(toy):
    before = catalog.digest(catalog.resolve("mini", "toy", "toy", "0010", 1))
    toy.write(
        "ablations/toy.yaml",
        ABLATION.replace("A toy", "Another title").replace(
            "priority: core, set: {att", "priority: core, note: n, label: l, set: {att"
        ),
    )
    assert catalog.digest(catalog.resolve("mini", "toy", "toy", "0010", 1)) == before
    toy.write("ablations/toy.yaml", ABLATION.replace("spatial_range: 2", "spatial_range: 1"))
    assert catalog.digest(catalog.resolve("mini", "toy", "toy", "0010", 1)) != before


def test_a_pretrained_arm_names_the_run_of_its_seed_and_scale(toy):
    toy.write("ablations/toy.yaml", TRANSFER)
    tuned, source = (catalog.resolve("mini", "toy", "toy", arm, 3) for arm in ("tuned", "source"))
    assert tuned["pretrained"] == "results/runs/mini/toy/toy/source/seed3/metrics.json"
    assert catalog.resolve_metrics_path(tuned["pretrained"]) == source and "pretrained" not in source
    toy.write("ablations/toy.yaml", TRANSFER.replace(", pretrained: toy/source", ""))
    assert catalog.digest(catalog.resolve("mini", "toy", "toy", "tuned", 3)) != catalog.digest(tuned)


def networks(options: dict) -> dict:
    """The options of a CoAtNet that decide its weights but for the size of their tables."""
    return {key: value for key, value in options["coatnet"].items() if key != "image_size"}


@pytest.mark.parametrize("scale", ["mini", "small", "paper"])
def test_every_pretrained_arm_of_the_suite_has_the_network_of_its_start(monkeypatch, scale):
    monkeypatch.chdir(REPOSITORY)
    pretrained = [tuned for _, _, tuned in catalog.arm_specs("coatnet", scale) if "pretrained" in tuned]
    assert len(pretrained) == 11
    for tuned in pretrained:
        start = catalog.resolve_metrics_path(tuned["pretrained"])
        assert networks(start["model"]) == networks(tuned["model"])
        larger = tuned["model"]["coatnet"]["image_size"] > start["model"]["coatnet"]["image_size"]
        assert start["data"] != tuned["data"] or larger


FAULTS = {
    "misspelt key": (
        ABLATION.replace("spatial_range", "spatial_rang"),
        ["toy.yaml", "spatial_rang", "did you mean 'spatial_range'"],
    ),
    "unknown top key": (ABLATION.replace("title:", "titel:"), ["toy.yaml", "titel", "did you mean 'title'"]),
    "wrong type": (ABLATION.replace("spatial_range: 2", "spatial_range: two"), ["toy.yaml", "spatial_range", "two"]),
    "pattern 2010": (ABLATION.replace('terms: "0010", s', 'terms: "2010", s'), ["terms", "2010", "four bits"]),
    "pattern 11": (ABLATION.replace('terms: "0010", s', 'terms: "11", s'), ["terms", "11", "four bits"]),
    "pattern without quotes": (ABLATION.replace('terms: "0010", s', "terms: 1111, s"), ["terms", "1111", "four bits"]),
    "arm twice": (ABLATION + '  "0010": {priority: core, set: {}}\n', ["toy.yaml", "0010", "given twice"]),
    "arm without quotes": (ABLATION.replace('"0010":', "0011:"), ["toy.yaml", "quotes"]),
    "arms that share a folder": (ABLATION + "  w-o: {priority: core, set: {}}\n", ["w/o", "w-o", "rename"]),
    "baseline that is no arm": (ABLATION.replace("baseline: w/o", "baseline: without"), ["baseline", "without"]),
    "same_as nowhere": (ABLATION.replace("toy/0010}", "toy/0011}"), ["same_as", "toy/0011", "did you mean"]),
    "set and same_as": (ABLATION.replace("same_as: toy/0010", "same_as: toy/0010, set: {}, priority: core"), ["again"]),
    "pretrained on nothing": (TRANSFER.replace("toy/source", "toy/sorce"), ["tuned.pretrained", "did you mean 'toy/s"]),
    "pretrained on a same_as": (TRANSFER.replace("toy/source", "toy/again"), ["tuned.pretrained", "itself a same_as"]),
    "pretrained on itself": (TRANSFER.replace("toy/source", "toy/tuned"), ["tuned.pretrained", "itself pretrained"]),
    "pretrained translation": (
        TRANSFER.replace("task: classification", "task: translation").replace("train_fraction: 0.5", ""),
        ["tuned.pretrained", "task is translation", "only classification"],
    ),
    "pretrained same_as": (
        TRANSFER.replace("{same_as: toy/source}", "{same_as: toy/source, pretrained: toy/source}"),
        ["arms.again.pretrained", "does not go with same_as"],
    ),
    "neither set nor same_as": (ABLATION.replace("again: {same_as: toy/0010}", "again: {}"), ["again"]),
    "an arm that ends in a line break": (ABLATION + '  "a\\n": {priority: core, set: {}}\n', ["arms", "does not fit"]),
    "an option of another task": (
        ABLATION.replace("deformable: true", "coatnet: {size: 0}"),
        ["arms.0010+dcn.set: 'coatnet' is an option of classification, probe, not of translation"],
    ),
    "not yaml": ("arms: [", ["toy.yaml", "not valid YAML"]),
    "a list": ("- 1\n", ["toy.yaml", "mapping"]),
    "an unsafe tag": ("title: !!python/object/apply:os.system [ls]\n", ["toy.yaml", "not valid YAML"]),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_faulty_ablation_is_one_line(toy, name):
    text, expected = FAULTS[name]
    toy.write("ablations/toy.yaml", text)
    with pytest.raises(UserError) as caught:
        catalog.runs_table(CONFIG)
    line = str(caught.value)
    assert "\n" not in line
    for part in expected:
        assert part in line, line


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"scale": "tiny"}, ["scale", "tiny"]),
        ({"scale": "small"}, ["translation-small.yaml", "no recipe for scale 'small'", "mini"]),
        ({"studies": ["toi"]}, ["toi", "did you mean 'toy'"]),
        ({"sede": [1]}, ["sede", "did you mean 'seeds'"]),
        ({"seeds": "x"}, ["seeds"]),
        ({"arms": ["nothing"]}, ["arms: 'nothing' fits no arm"]),
        ({"arms": ["toy/0010", "toy/00I0"]}, ["'toy/00I0' fits no arm; did you mean 'toy/0010'"]),
        ({"seeds": 1}, ["seeds: 1 does not fit; it must be a list, each a whole number"]),
        ({"seeds": ["\u00b2"]}, ["seeds.0: '\u00b2' does not fit"]),
        ({"fewer": {"seeds": [2], "arms": ["w/o"]}}, ["fewer.seeds: 2 is not one of seeds [1]"]),
        ({"fewer": {"seeds": [1], "arms": ["again"]}}, ["fewer.arms: 'again' fits no arm"]),
        ({"fewer": [1]}, ["fewer", "mapping"]),
        ({"seeds": [1, 1]}, ["seeds: 1 is given twice"]),
        ({"studies": ["toy/"]}, ["studies.0: 'toy/' does not fit", "small letters"]),
        ({"arms": [10]}, ["arms"]),
    ],
)
def test_a_faulty_configuration_is_one_line(toy, change, expected):
    with pytest.raises(UserError) as caught:
        catalog.runs_table(CONFIG | change)
    assert "\n" not in str(caught.value)
    for part in expected:
        assert part in str(caught.value), str(caught.value)


@pytest.mark.parametrize(
    "path", ["metrics.json", "a/b/c/d/e/f/g/h.json", "results/runs/mini/toy/toy/w-o/seedx/metrics.json"]
)
def test_a_path_that_is_no_run(toy, path):
    with pytest.raises(UserError, match="must be results/runs"):
        catalog.resolve_metrics_path(path)


@pytest.mark.parametrize("scale", ["mini", "small", "paper"])
def test_every_ablation_of_the_suite_resolves(monkeypatch, scale):
    """All arms, and that the recipes that share a data set agree on it."""
    monkeypatch.chdir(REPOSITORY)
    studies = catalog.studies()
    table = catalog.runs_table(CONFIG | {"studies": studies, "arms": "all", "scale": scale})
    resolved = [catalog.resolve(scale, run.study, *run.home, 1) for run in table]
    assert all(run["engine"] for run in resolved)
    for folder in {catalog.data_folder(run["data"]) for run in resolved}:
        assert jobs.dataset_values(scale, folder, studies) is not None


def test_the_paper_scale_has_every_language_pair(monkeypatch):
    monkeypatch.chdir(REPOSITORY)
    config = files.read_yaml(REPOSITORY / "experiments/config.yaml") | files.read_yaml(
        REPOSITORY / "experiments/paper.yaml"
    )
    table = catalog.runs_table(config | {"arms": "all"})
    pairs = {
        catalog.data_folder(catalog.resolve("paper", run.study, *run.home, 1)["data"])
        for run in table
        if run.study == "muse"
    }
    assert pairs == {"iwslt14_de_en", "iwslt15_en_vi", "wmt14_en_de", "wmt14_en_fr"}
    for folder in {catalog.data_folder(catalog.resolve("paper", run.study, *run.home, 1)["data"]) for run in table}:
        assert jobs.dataset_sources("paper", folder, config["studies"])


def test_the_languages_or_the_seed_of_a_data_set_are_part_of_its_folder(toy):
    assert catalog.data_folder({"name": "mini_translation", "sentences": 100}) == "mini_translation"
    assert catalog.data_folder({"name": "mini_shapes", "seed": 2}) == "mini_shapes_2"
    assert catalog.data_folder({"name": "multi30k", "source": "de", "target": "en"}) == "multi30k_de_en"


def test_data_with_a_seed_have_their_other_parameters_in_the_name_of_the_folder(toy):
    assert catalog.data_folder({"name": "rules", "seed": 3}) == "rules_3"
    folder = catalog.data_folder({"name": "rules", "seed": 3, "units": 4, "match": True})
    assert folder == "rules_match_true_units_4_3"
    assert catalog.data_folder({"name": "chain", "seed": "run", "order": "monotone"}) == "chain_order_monotone_run"


@pytest.mark.parametrize("seed", ["runs", "1"])
def test_a_seed_that_is_neither_a_number_nor_run_is_refused(toy, seed):
    toy.write("configs/translation-mini.yaml", RECIPE.replace("sentences: 100", f"sentences: 100, seed: '{seed}'"))
    with pytest.raises(UserError, match=r"data\.seed: '.*' must be of type int"):
        catalog.resolve("mini", "toy", "toy", "w/o", 1)


def test_recipes_share_a_data_set_only_when_they_agree(toy):
    assert jobs.dataset_values("mini", "mini_translation", ["toy"]) == ["sentences=100"]
    toy.write("configs/other-mini.yaml", RECIPE.replace("sentences: 100", "sentences: 100, seed: 2"))
    assert jobs.dataset_values("mini", "mini_translation", ["toy"]) == ["sentences=100"]
    assert jobs.dataset_name("mini", "mini_translation_sentences_100_2", ["toy"]) == "mini_translation"
    toy.write("configs/other-mini.yaml", RECIPE.replace("sentences: 100", "sentences: 99"))
    with pytest.raises(UserError, match=r"translation-mini\.yaml: data 'mini_translation' differs from .*other-mini"):
        jobs.dataset_values("mini", "mini_translation", ["toy"])
    with pytest.raises(UserError, match="no recipe of toy at scale mini has such data"):
        jobs.dataset_sources("mini", "mini_translatoin", ["toy"])


def test_a_data_set_can_be_drawn_anew_for_every_seed(toy):
    toy.write("configs/translation-mini.yaml", RECIPE.replace("sentences: 100", "sentences: 100, seed: run"))
    specs = {seed: catalog.resolve("mini", "toy", "toy", "0010", seed) for seed in (1, 12)}
    assert {seed: spec["data"]["seed"] for seed, spec in specs.items()} == {1: 1, 12: 12}
    folders = {seed: catalog.data_folder(spec["data"]) for seed, spec in specs.items()}
    assert folders[12] == "mini_translation_sentences_100_12"
    assert jobs.dataset_values("mini", folders[12], ["toy"]) == ["sentences=100", "seed=12"]
    assert jobs.timed_data("toy", "translation", "mini").endswith("/mini_translation_sentences_100_1/manifest.json")
    # Other parameters, another folder: neither is taken for the other.
    toy.write("configs/other-mini.yaml", RECIPE.replace("sentences: 100", "sentences: 99, seed: run"))
    assert jobs.dataset_values("mini", "mini_translation_sentences_99_12", ["toy"]) == ["sentences=99", "seed=12"]
    assert jobs.dataset_values("mini", folders[12], ["toy"]) == ["sentences=100", "seed=12"]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("{name: bright, seed: 7}", "data.seed: 7 must be run, or runs of different seeds share their items"),
        ("{name: bright}", "data.seed: is missing, it must be run, or runs of different seeds share their items"),
        ("{name: bright, seed: run, test: 0}", "data.test: 0 must be at least 1"),
        ("{name: bright, seed: run, marker: left}", "data.marker: 'left' must be one of far, near"),
        ("{name: direction, seed: run, margin: -2}", "data.margin: -2 must be one of 0, 2, 4"),
        ("{name: chain, seed: run, keys: 101}", "data.keys: 101 must be between 4 and 100"),
        ("{name: rules, seed: run, units: 6}", "data.units: 6 must be one of 4, 8, 12"),
        ("{name: mini_shapes, size: 48, largest: 40.0}", "data.largest: 40.0 must be between 22 and 33.6"),
        ("{name: mini_shapes, smallest: 41.0}", "data.largest: 40.0 must be between 41 and 44.8"),
    ],
)
def test_data_that_cannot_be_drawn_are_one_line_before_anything_runs(toy, given, message):
    toy.write("configs/marks-mini.yaml", PROBE.replace("{name: bright, seed: run}", given))
    toy.write("ablations/probe.yaml", PROBES)
    with pytest.raises(UserError) as caught:
        catalog.runs_table(CONFIG)
    assert f"configs/marks-mini.yaml: {message}" in str(caught.value) and "\n" not in str(caught.value)


def test_another_word_is_no_seed(toy):
    toy.write("configs/translation-mini.yaml", RECIPE.replace("sentences: 100", "seed: ran"))
    with pytest.raises(UserError, match="data.seed: 'ran' must be of type int"):
        catalog.resolve("mini", "toy", "toy", "0010", 1)


PROBE = """
engine: mmseg
task: probe
threads: 1
data: {name: bright, seed: run}
train: {config: scratch.py, updates: 3, batch: 2, lr: 0.01, warmup: 1, log_every: 1, checkpoint_every: 1}
measure: {height: 24, width: 24}
"""
PROBES = """
title: A probe
paper: none
task: probe
recipe: marks
baseline: w/o
arms:
  w/o: {priority: core, set: {}}
  window: {priority: core, set: {attention: {terms: "0100", window: 3}}}
"""


def test_one_engine_does_two_tasks_told_apart_by_the_recipe(toy):
    toy.write("configs/marks-mini.yaml", PROBE)
    toy.write("ablations/probe.yaml", PROBES)
    spec = catalog.resolve("mini", "toy", "probe", "window", 3)
    assert (spec["task"], spec["engine"], spec["data"]["seed"]) == ("probe", "mmseg", 3)
    toy.write("configs/marks-mini.yaml", PROBE.replace("task: probe\n", ""))
    with pytest.raises(UserError, match="task: probe, but the recipe is for segmentation; name another recipe"):
        catalog.resolve("mini", "toy", "probe", "window", 3)
    toy.write("configs/marks-mini.yaml", PROBE)
    toy.write("ablations/probe.yaml", PROBES.replace("task: probe", "task: segmentation").replace("A probe", "Masks"))
    with pytest.raises(UserError, match="task: segmentation, but the recipe is for probe; name another recipe"):
        catalog.resolve("mini", "toy", "probe", "w/o", 3)


@pytest.mark.parametrize(
    ("options", "rule"),
    [
        ('{attention: {terms: "0100", window: 4}}', "window: 4 must be odd"),
        ('{attention: {terms: "0100", window: 3, spatial_range: 1}}', "another kind of limit than spatial_range"),
        ('{attention: {terms: "0100"}, acmix: {mix: free}}', "acmix: takes the same place as attention"),
        ("{coatnet: {layout: ViT_REL, image_size: 8}, deformable: true}", "is a whole network"),
        ("{aaconv: {nu: 0.5}}", "aaconv.side: is missing"),
        ("{attention: {window: 3}}", "attention.terms: is missing"),
        ("{dynamic_convolution: {heads: 2}}", "dynamic_convolution.kernel: is missing"),
    ],
)
def test_layers_of_a_probe_that_do_not_go_together(toy, options, rule):
    toy.write("configs/marks-mini.yaml", PROBE)
    toy.write("ablations/probe.yaml", PROBES.replace('{attention: {terms: "0100", window: 3}}', options))
    with pytest.raises(UserError, match=rule):
        catalog.resolve("mini", "toy", "probe", "window", 3)


def test_a_study_folder_whose_name_a_shell_would_read_is_refused(toy):
    (toy.root / "experiments" / "`touch x`" / "ablations").mkdir(parents=True)
    with pytest.raises(UserError, match="must be named in at most 64 small letters"):
        catalog.studies()


def test_every_study_of_the_suite_says_what_it_is(monkeypatch):
    monkeypatch.chdir(REPOSITORY)
    for name in catalog.studies():
        study = catalog.study(name)
        assert "arXiv" in study.paper and {"tradeoff", "differences"} <= set(study.figures)
        assert {ablation.task for ablation in catalog.ablations(name).values()} == set(study.metric)


def test_a_run_is_resolved_once_a_process_and_each_caller_gets_its_own(toy, monkeypatch):
    first = catalog.resolve("mini", "toy", "toy", "w/o", 1)
    first["train"]["updates"] = 0
    monkeypatch.setattr(catalog, "read_yaml", lambda path: pytest.fail(f"{path} is read again"))
    assert catalog.resolve("mini", "toy", "toy", "w-o", 1)["train"]["updates"] == 3


def test_a_resolved_run_holds_every_default_and_no_key_that_is_off(toy):
    resolved = catalog.resolve("mini", "toy", "toy", "w/o", 1)
    assert list(resolved)[:6] == ["scale", "study", "ablation", "arm", "seed", "task"] and "pretrained" not in resolved
    assert resolved["train"]["adam_betas"] == [0.9, 0.98] and resolved["train"]["lr_period"] is None
    assert resolved["evaluate"] == {
        "split": "test", "beam": 5, "lenpen": 1.0, "averaged_checkpoints": 1, "max_tokens": 4000,
    }  # fmt: skip
    assert resolved["measure"] == {"tokens": 8, "batch": 1}
    assert catalog.completed(resolved) == resolved
