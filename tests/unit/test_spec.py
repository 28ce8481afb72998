"""Ablation files, recipes and configurations: what they resolve to, and the one line that each fault gets."""

import shutil
from pathlib import Path

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from plugins.suite import catalog as spec
from plugins.suite import jobs as inputs
from plugins.suite.errors import UserError

REPOSITORY = Path(__file__).resolve().parents[2]
CONFIG = {"scale": "mini", "studies": ["toy"], "arms": "core", "seeds": [1], "data_root": None, "device": "cpu"}
ABLATION = """
title: A toy
paper: Table 0
task: translation
baseline: w/o
arms:
  w/o: {priority: core, set: {}}
  "0010": {priority: core, set: {attention: {terms: "0010", kv_stride: 2}}}
  0010+dcn: {priority: extra, set: {attention: {terms: "0010"}, deformable: true}}
  again: {same_as: toy/0010}
"""
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
RECIPE = """
engine: fairseq
threads: 1
data: {name: mini_translation, sentences: 100}
model: {attention: {heads: 4}, width: 16}
train: {updates: 3}
"""


@pytest.fixture
def toy(tmp_path, monkeypatch):
    """A folder with one study; call it with other texts to replace its files."""
    shutil.copytree(REPOSITORY / "workflow" / "schemas", tmp_path / "workflow" / "schemas")
    monkeypatch.chdir(tmp_path)

    def write(ablation: str = ABLATION, recipe: str = RECIPE, name: str = "toy") -> Path:
        for folder in ("ablations", "configs"):
            (tmp_path / "experiments" / "toy" / folder).mkdir(parents=True, exist_ok=True)
        (tmp_path / f"experiments/toy/ablations/{name}.yaml").write_text(ablation)
        (tmp_path / "experiments/toy/configs/translation-mini.yaml").write_text(recipe)
        spec._ablations.cache_clear()
        spec.recipe.cache_clear()
        return tmp_path

    write()
    return write


def test_core_arms_and_seeds_become_runs(toy):
    table = spec.runs_table(CONFIG | {"seeds": [1, 2]})
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
    assert {run.seed for run in spec.runs_table(CONFIG | {"seeds": ["3", "4"]})} == {3, 4}


def test_arms_by_name_and_all(toy):
    assert {run.arm for run in spec.runs_table(CONFIG | {"arms": ["00*"]})} == {"0010", "0010+dcn"}
    assert len(spec.runs_table(CONFIG | {"arms": "all"})) == 4
    assert {run.arm for run in spec.runs_table(CONFIG | {"arms": ["toy/w/o", "other/*"]})} == {"w/o"}


def test_an_arm_is_merged_into_the_recipe(toy):
    resolved = spec.resolve_metrics_path("results/runs/mini/toy/toy/0010/seed7/metrics.json")
    assert resolved["model"] == {"attention": {"heads": 4, "terms": "0010", "kv_stride": 2}, "width": 16}
    assert resolved["seed"] == 7 and resolved["arm"] == "0010" and resolved["train"] == {"updates": 3}


def test_titles_notes_and_labels_do_not_change_the_digest(toy):
    before = spec.digest(spec.resolve("mini", "toy", "toy", "0010", 1))
    toy(
        ABLATION.replace("A toy", "Another title").replace(
            "priority: core, set: {att", "priority: core, note: n, label: l, set: {att"
        )
    )
    assert spec.digest(spec.resolve("mini", "toy", "toy", "0010", 1)) == before
    toy(ABLATION.replace("kv_stride: 2", "kv_stride: 1"))
    assert spec.digest(spec.resolve("mini", "toy", "toy", "0010", 1)) != before


def test_a_pretrained_arm_names_the_run_of_its_seed_and_scale(toy):
    toy(TRANSFER)
    (Path("experiments/toy/configs/classification-mini.yaml")).write_text(RECIPE)
    spec.recipe.cache_clear()
    tuned, source = (spec.resolve("mini", "toy", "toy", arm, 3) for arm in ("tuned", "source"))
    assert tuned["pretrained"] == "results/runs/mini/toy/toy/source/seed3/metrics.json"
    assert spec.resolve_metrics_path(tuned["pretrained"]) == source and "pretrained" not in source
    toy(TRANSFER.replace(", pretrained: toy/source", ""))
    assert spec.digest(spec.resolve("mini", "toy", "toy", "tuned", 3)) != spec.digest(tuned)


def networks(words: dict) -> dict:
    """The words of a CoAtNet that decide its weights but for the size of their tables."""
    return {key: value for key, value in words["coatnet"].items() if key != "image_size"}


@pytest.mark.parametrize("scale", ["mini", "small", "paper"])
def test_every_pretrained_arm_of_the_suite_has_the_network_of_its_start(monkeypatch, scale):
    monkeypatch.chdir(REPOSITORY)
    spec._ablations.cache_clear()
    spec.recipe.cache_clear()
    pretrained = [tuned for _, _, tuned in spec.arm_specs("coatnet", scale) if "pretrained" in tuned]
    assert len(pretrained) == 11
    for tuned in pretrained:
        start = spec.resolve_metrics_path(tuned["pretrained"])
        assert networks(start["model"]) == networks(tuned["model"])
        larger = tuned["model"]["coatnet"]["image_size"] > start["model"]["coatnet"]["image_size"]
        assert start["data"] != tuned["data"] or larger


FAULTS = {
    "misspelt key": (ABLATION.replace("kv_stride", "kv_strid"), ["toy.yaml", "kv_strid", "did you mean 'kv_stride'"]),
    "unknown top key": (ABLATION.replace("title:", "titel:"), ["toy.yaml", "titel", "did you mean 'title'"]),
    "wrong type": (ABLATION.replace("kv_stride: 2", "kv_stride: two"), ["toy.yaml", "kv_stride", "two"]),
    "pattern 2010": (ABLATION.replace('terms: "0010", k', 'terms: "2010", k'), ["terms", "2010", "four bits"]),
    "pattern 11": (ABLATION.replace('terms: "0010", k', 'terms: "11", k'), ["terms", "11", "four bits"]),
    "pattern without quotes": (ABLATION.replace('terms: "0010", k', "terms: 1111, k"), ["terms", "1111", "four bits"]),
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
        TRANSFER.replace("task: classification", "task: translation"),
        ["tuned.pretrained", "task is translation", "only classification"],
    ),
    "pretrained same_as": (
        TRANSFER.replace("{same_as: toy/source}", "{same_as: toy/source, pretrained: toy/source}"),
        ["again", "with `same_as` alone"],
    ),
    "neither set nor same_as": (ABLATION.replace("again: {same_as: toy/0010}", "again: {}"), ["again"]),
    "not yaml": ("arms: [", ["toy.yaml", "not valid YAML"]),
    "a list": ("- 1\n", ["toy.yaml", "mapping"]),
    "an unsafe tag": ("title: !!python/object/apply:os.system [ls]\n", ["toy.yaml", "not valid YAML"]),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_faulty_ablation_is_one_line(toy, name):
    text, words = FAULTS[name]
    toy(text)
    with pytest.raises(UserError) as caught:
        spec.runs_table(CONFIG)
    line = str(caught.value)
    assert "\n" not in line
    for word in words:
        assert word in line, line


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"scale": "tiny"}, ["scale", "tiny"]),
        ({"scale": "small"}, ["translation-small.yaml", "no recipe for scale 'small'", "mini"]),
        ({"studies": ["toi"]}, ["toi", "did you mean 'toy'"]),
        ({"sede": [1]}, ["sede", "did you mean 'seeds'"]),
        ({"seeds": "x"}, ["seeds"]),
        ({"arms": ["nothing"]}, ["nothing", "selects no arm"]),
        ({"arms": [10]}, ["arms"]),
    ],
)
def test_a_faulty_configuration_is_one_line(toy, change, words):
    with pytest.raises(UserError) as caught:
        spec.runs_table(CONFIG | change)
    assert "\n" not in str(caught.value)
    for word in words:
        assert word in str(caught.value), str(caught.value)


@pytest.mark.parametrize(
    "path", ["metrics.json", "a/b/c/d/e/f/g/h.json", "results/runs/mini/toy/toy/w-o/seedx/metrics.json"]
)
def test_a_path_that_is_no_run(toy, path):
    with pytest.raises(UserError, match="must be results/runs"):
        spec.resolve_metrics_path(path)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.text(max_size=200) | VALUES.map(yaml.safe_dump))
def test_any_text_gives_one_line_or_a_table(toy, text):
    folder = toy()
    (folder / "experiments/toy/ablations/toy.yaml").write_text(text, encoding="utf-8", errors="replace")
    spec._ablations.cache_clear()
    try:
        spec.runs_table(CONFIG)
    except UserError as error:
        assert str(error).strip()


@pytest.mark.parametrize("scale", ["mini", "small", "paper"])
def test_every_ablation_of_the_suite_resolves(monkeypatch, scale):
    """All arms, and that the recipes that share a data set agree on it."""
    monkeypatch.chdir(REPOSITORY)
    spec._ablations.cache_clear()
    spec.recipe.cache_clear()
    studies = spec.studies()
    table = spec.runs_table(CONFIG | {"studies": studies, "arms": "all", "scale": scale})
    resolved = [spec.resolve(scale, run.study, *run.home, 1) for run in table]
    assert all(run["engine"] for run in resolved)
    for folder in {spec.data_folder(run["data"]) for run in resolved}:
        assert inputs.dataset_values(scale, folder, studies) is not None


def test_the_paper_scale_has_every_language_pair(monkeypatch):
    monkeypatch.chdir(REPOSITORY)
    config = spec.read_yaml(REPOSITORY / "experiments/config.yaml") | spec.read_yaml(
        REPOSITORY / "experiments/paper.yaml"
    )
    table = spec.runs_table(config | {"arms": "all"})
    pairs = {
        spec.data_folder(spec.resolve("paper", run.study, *run.home, 1)["data"]) for run in table if run.study == "muse"
    }
    assert pairs == {"iwslt14_de_en", "iwslt15_en_vi", "wmt14_en_de", "wmt14_en_fr"}
    for folder in {spec.data_folder(spec.resolve("paper", run.study, *run.home, 1)["data"]) for run in table}:
        assert inputs.dataset_sources("paper", folder, config["studies"])


def test_the_languages_or_the_seed_of_a_data_set_are_part_of_its_folder(toy):
    assert spec.data_folder({"name": "mini_translation", "sentences": 100}) == "mini_translation"
    assert spec.data_folder({"name": "mini_shapes", "seed": 2}) == "mini_shapes_2"
    assert spec.data_folder({"name": "multi30k", "source": "de", "target": "en"}) == "multi30k_de_en"


def test_recipes_share_a_data_set_only_when_they_agree(toy):
    root = toy()
    assert inputs.dataset_values("mini", "mini_translation", ["toy"]) == ["sentences=100"]
    other = root / "experiments/toy/configs/other-mini.yaml"
    other.write_text(RECIPE.replace("sentences: 100", "sentences: 100, source: b, target: a"))
    assert inputs.dataset_values("mini", "mini_translation", ["toy"]) == ["sentences=100"]
    assert inputs.dataset_name("mini", "mini_translation_b_a", ["toy"]) == "mini_translation"
    other.write_text(RECIPE.replace("sentences: 100", "sentences: 99"))
    with pytest.raises(UserError, match=r"translation-mini\.yaml: data 'mini_translation' differs from .*other-mini"):
        inputs.dataset_values("mini", "mini_translation", ["toy"])
    with pytest.raises(UserError, match="no recipe of toy at scale mini has such data"):
        inputs.dataset_sources("mini", "mini_translatoin", ["toy"])
