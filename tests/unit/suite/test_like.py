"""`like`: an ablation, or a recipe, that takes over another one and says only what differs."""

import pytest

from plugins.suite import catalog
from plugins.suite.errors import UserError
from tests.unit.suite.conftest import RECIPE

HEAD = "like: toy\ntitle: Another\n"


def arms(toy, text: str) -> dict:
    toy.write("ablations/other.yaml", HEAD + text)
    return catalog.ablations("toy")["other"].model_dump(exclude_unset=True)["arms"]


def test_an_ablation_takes_over_keys_and_arms(toy):
    toy.write("ablations/other.yaml", HEAD)
    other, base = catalog.ablations("toy")["other"], catalog.ablations("toy")["toy"]
    assert other.title == "Another" and other.paper == base.paper and other.baseline == "w/o"
    assert other.arms == base.arms


def test_what_stands_in_the_file_is_laid_over_arm_by_arm(toy):
    merged = arms(
        toy, 'arms: {"0010": {label: E3, set: {attention: {spatial_range: 3}}}, new: {priority: core, set: {}}}\n'
    )
    assert merged["0010"] == {
        "priority": "core", "label": "E3", "set": {"attention": {"terms": "0010", "spatial_range": 3}},
    }  # fmt: skip
    assert list(merged) == ["w/o", "0010", "0010+dcn", "again", "new"]


def test_one_key_reaches_every_arm_that_has_a_set(toy):
    merged = arms(toy, "every_arm: {priority: extra, set: {attention: {spatial_range: 5}}}\n")
    assert merged["0010"]["set"] == {"attention": {"terms": "0010", "spatial_range": 5}}
    assert {body.get("priority") for body in merged.values()} == {"extra", None}
    assert merged["again"] == {"same_as": "toy/0010"}


def test_null_drops_an_arm_or_a_key(toy):
    merged = arms(toy, "baseline: '0010'\narms: {w/o: null}\n")
    assert "w/o" not in merged
    toy.write("ablations/toy.yaml", (toy.folder / "ablations/toy.yaml").read_text() + "note: n\n")
    toy.write("ablations/other.yaml", HEAD + "note: null\n")
    assert catalog.ablations("toy")["other"].note is None and catalog.ablations("toy")["toy"].note == "n"


def test_an_arm_that_shares_runs_now_has_no_set_and_the_reverse(toy):
    merged = arms(toy, 'arms: {"0010": {same_as: toy/0010}, again: {priority: core, set: {}}}\n')
    assert merged["0010"] == {"same_as": "toy/0010"} and merged["again"] == {"priority": "core", "set": {}}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("like: toi\n", "other.yaml: like: there is no 'toi'; did you mean 'toy'"),
        ("like: [toy]\n", "other.yaml: like: there is no ['toy']"),
        ("like: other\n", "like: other -> other goes in a circle"),
        (HEAD + "arms: {nothing: null}\n", "arms.nothing: null drops an arm, but there is none"),
        (HEAD + "arms: []\n", "arms: must be a mapping of keys, is list"),
        (HEAD + "arms: {w/o: 3}\n", "arms.w/o: must be a mapping of keys, is 3"),
        (HEAD + "every_arm: {sett: {}}\n", "every_arm: unknown key 'sett'; did you mean 'set'"),
        (HEAD + "every_arm: {set: {coatnet: {}}}\n", "'coatnet' is an option of classification"),
        (HEAD + "task: detection\n", "arms.0010.set.attention: unknown key 'spatial_rang'"),
        ("every_arm: {}\ntitle: t\n", "every_arm: goes with `like` alone"),
    ],
)
def test_a_fault_is_one_line(toy, text, expected):
    if "spatial_rang" in expected:
        text += 'arms: {"0010": {set: {attention: {spatial_rang: 1}}}}\n'
    toy.write("ablations/other.yaml", text)
    with pytest.raises(UserError) as caught:
        catalog.ablations("toy")
    assert expected in str(caught.value) and "other.yaml" in str(caught.value), str(caught.value)


def test_a_recipe_takes_over_another_and_replaces_its_data_whole(toy):
    toy.write("configs/wide-mini.yaml", "like: translation-mini\nmodel: {width: x2}\ndata: {name: mini_translation}\n")
    base, wide = (catalog.recipe("toy", name, "mini") for name in ("translation", "wide"))
    assert wide["model"] == base["model"] | {"width": 32} and wide["data"] == {"name": "mini_translation"}
    assert wide["train"] == base["train"]


def test_a_recipe_takes_over_one_of_another_study(toy):
    other = toy.root / "experiments" / "other" / "configs"
    other.mkdir(parents=True)
    (other / "base-mini.yaml").write_text(RECIPE)
    toy.write("configs/wide-mini.yaml", "like: other/base-mini\ntrain: {updates: 6}\n")
    assert catalog.recipe("toy", "wide", "mini")["train"]["updates"] == 6


@pytest.mark.parametrize(
    ("like", "expected"),
    [
        ("translatoin-mini", "there is no 'toy/translatoin-mini'; did you mean 'toy/translation-mini'"),
        ("wide-mini", "toy/wide-mini -> toy/wide-mini goes in a circle"),
        ("../../etc/passwd", "like: '../../etc/passwd' does not fit"),
        ("[1]", "like: [1] does not fit"),
    ],
)
def test_a_recipe_that_is_like_nothing_is_one_line(toy, like, expected):
    toy.write("configs/wide-mini.yaml", f"like: {like}\n")
    with pytest.raises(UserError) as caught:
        catalog.recipe("toy", "wide", "mini")
    assert expected in str(caught.value) and "wide-mini.yaml" in str(caught.value), str(caught.value)
