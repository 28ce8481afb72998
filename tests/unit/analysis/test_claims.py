"""claims.yaml: every part is typed, every arm exists, every fault is one line."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from plugins.suite import catalog, claims
from plugins.suite.claims import FORMS, NotTested
from plugins.suite.errors import UserError

KNOWN = claims.check_all()
TRAINED = {"id": "a", "says": "x", "task": "translation", "level": "trained"}


def content(*parts: dict, **changes: object) -> dict:
    return {"paper": "P", "claims": [{"id": 1, "says": "s", "published": "p", "parts": list(parts)}]} | changes


def fault(*parts: dict, **changes: object) -> str:
    with pytest.raises(UserError) as caught:
        claims.parse(content(*parts, **changes), Path("claims.yaml"))
    assert "\n" not in str(caught.value)
    return str(caught.value)


def arms_of(study: str, claim: int) -> set[str]:
    return {arm for owner, part in KNOWN[study].parts() if owner.id == claim for arm in part.arms()}


def test_all_sixty_three_claims_stand_there():
    assert {study: [claim.id for claim in content.claims] for study, content in KNOWN.items()} == {
        "aaconv": list(range(1, 14)),
        "acmix": list(range(1, 14)),
        "coatnet": list(range(1, 14)),
        "muse": list(range(1, 14)),
        "spatial_attention": list(range(1, 12)),
    }


def test_trained_parts_count_nothing():
    """Costs of a narrowed network can contradict no claim: they are exact, at the papers' sizes, or not there."""
    for content in KNOWN.values():
        for _, part in content.parts():
            if part.level == "trained" and not isinstance(part.check, NotTested):
                assert not part.metric.startswith("cost."), part


def test_every_form_is_used_and_speaks():
    used = {type(part.check).key for content in KNOWN.values() for _, part in content.parts()}
    assert used == set(FORMS)
    for content in KNOWN.values():
        for _, part in content.parts():
            assert part.check.text() or isinstance(part.check, NotTested)


def test_contrasts_take_one_arm_from_another():
    for content in KNOWN.values():
        for _, part in content.parts():
            weights = part.check.contrast()
            if weights and part.check.key != "value":
                assert sum(weights.values()) == pytest.approx(0), part.check
                assert set(weights) <= set(part.check.arms())


@pytest.mark.parametrize(
    ("study", "claim", "arms"),
    [
        ("muse", 1, ["depth/muse_deep", "depth/muse_simple_deep", "branches/muse_simple_wide"]),
        ("muse", 2, ["projection/shared_3_wide"]),
        ("muse", 5, ["kernels/concat", "kernels/growing"]),
        ("muse", 9, ["ffn/none_wide", "ffn/shared_7", "ffn/shared_15"]),
        ("muse", 12, ["branches_en_de/muse", "branches_en_fr/muse", "branches_en_vi/muse"]),
        ("spatial_attention", 1, [f"factors_{task}/0000" for task in ("detection", "segmentation", "translation")]),
        ("spatial_attention", 5, [f"factors_encoder_decoder/0{bits:03b}" for bits in range(1, 8)]),
        ("spatial_attention", 9, ["factors_translation/0010+deform", "factors_detection/w/o+dcn"]),
        ("coatnet", 5, ["relative_large/pre", "relative/vit,none"]),
        ("coatnet", 8, ["transfer_large/C-C-T-T,V0", "transfer_large/C-C-T-T,V1"]),
        ("coatnet", 11, ["stride_0/depthwise", "stride_1/depthwise", "stride_2/depthwise"]),
        ("aaconv", 1, ["depth/34+aa", "depth/50+aa", "depth/101+aa", "depth/152+aa"]),
        ("aaconv", 6, ["fractions/0.25+relative", "fractions/0.75+relative"]),
        ("aaconv", 9, ["fractions/0.25+sine", "positions_34/sine"]),
        (
            "acmix",
            4,
            ["resnets/26+acmix", "resnets/38+acmix", "resnets/50+acmix", "swins/tiny+acmix", "swins/small+acmix"],
        ),
        ("acmix", 9, ["paths/sum", "paths/convex"]),
        ("acmix", 11, ["groups/shared"]),
    ],
)
def test_a_claim_is_about_the_arms_of_the_paper(study, claim, arms):
    assert set(arms) <= arms_of(study, claim)


def test_an_ablation_may_have_another_name_at_a_scale():
    assert KNOWN["muse"].at("depth/muse_deep", "mini") == "depth/muse_deep"
    assert KNOWN["muse"].at("depth/muse_deep", "paper") == "depth_paper/muse_deep"


@pytest.fixture
def suite(tmp_path) -> Path:
    """A folder with one study, muse, and its ablation branches: muse, muse_simple, and another name of the first."""
    write_ablation(tmp_path, "branches", arms={"muse": {}, "muse_simple": {}, "again": "branches/muse"})
    return tmp_path


def write_ablation(root: Path, name: str, arms: dict, **keys: object) -> None:
    """An ablation file; an arm that is a text is another name of the arm that it names."""
    path = root / "muse" / "ablations" / f"{name}.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    facts = {"title": "t", "paper": "p", "task": "translation", "baseline": "muse"} if "like" not in keys else {}
    bodies = {
        arm: {"same_as": body}
        if isinstance(body, str)
        else {"priority": "core", "set": body}
        if body is not None
        else None
        for arm, body in arms.items()
    }
    path.write_text(yaml.safe_dump(facts | keys | {"arms": bodies}))
    catalog.forget()


def test_an_arm_that_vanished_is_one_line_with_the_nearest_name(suite):
    part = TRAINED | {"check": {"better": "branches/muse", "than": "branches/muse_simpel"}}
    (suite / "muse" / "claims.yaml").write_text(yaml.safe_dump(content(part)))
    with pytest.raises(
        UserError, match=r"claim 1, part a: no arm 'branches/muse_simpel'.*did you mean 'branches/muse_simple'"
    ) as caught:
        claims.check_all(suite)
    assert "\n" not in str(caught.value)


def test_a_reference_of_an_arm_that_vanished_is_one_line(suite):
    (suite / "muse" / "reference.csv").write_text("ablation,arm,value\n,,1\nbranches,muse,2\nbranches,mus,3\n")
    with pytest.raises(
        UserError, match=r"reference.csv:4: no arm 'branches/mus' in this suite; did you mean 'branches/muse'"
    ):
        claims.check_references("muse", suite)


def test_an_ablation_that_is_like_another_has_its_arms_scales_and_recipe(suite):
    write_ablation(
        suite, "more", {"muse_simple": None, "again": None, "z": {}}, like="branches", scales=["mini"], recipe="r"
    )
    known = claims.ablations("muse", suite)
    assert known["branches"].homes == {
        "muse": "branches/muse", "muse_simple": "branches/muse_simple", "again": "branches/muse",
    }  # fmt: skip
    assert known["more"].homes == {"muse": "more/muse", "z": "more/z"}
    assert (known["branches"].scales, known["branches"].recipe) == ((), "translation")
    assert (known["more"].scales, known["more"].recipe) == (("mini",), "r")


def test_a_fault_of_an_ablation_is_the_catalogues_line(suite):
    write_ablation(suite, "branches", {"muse": {"parallell": True}})
    with pytest.raises(UserError, match=r"muse/ablations/branches.yaml: arms.muse.set: unknown key 'parallell'"):
        claims.ablations("muse", suite)


@pytest.mark.parametrize(
    ("part", "expected"),
    [
        ({"check": {"better": "a/b", "then": "c/d"}}, r"part a: check.*(then|than)"),
        ({"check": {"beter": "a/b", "than": "c/d"}}, "exactly one of the keys that name a form"),
        ({"check": {"better": "a/b", "best": "a/b", "than": "c/d"}}, "exactly one of the keys that name a form"),
        ({"check": {"equal": ["a/b", "c/d"]}}, "needs `reference` and `margin"),
        ({"check": {"trend": ["a/b", "c/d"], "order": "falls"}}, "at least 3"),
        ({"check": {"value": "a/b", "metric": "m"}}, "needs 'above' or 'below'"),
        (
            {"check": {"ratio": ["a/b", "c/d"], "metric": "macs", "at_most": 1}},
            "is of level exact or printed, not trained",
        ),
        ({"check": {"spread": "a/b", "below": 0.2}}, "where its bounds come from"),
        ({"check": {"better": "a/b", "than": "c/d"}, "margin": {"share": 0.1, "why": "w"}}, "needs `reference`"),
        ({"check": {"better": "a/b", "than": "c/d"}, "tsk": 1}, "tsk"),
    ],
)
def test_a_fault_is_one_line_that_names_the_part(part, expected):
    line = fault(TRAINED | part)
    assert line.startswith("claims.yaml: claim 1, part a")
    assert re.search(expected, line)


def test_an_unknown_key_names_the_nearest():
    assert "did you mean 'than'" in fault(TRAINED | {"check": {"better": "a/b", "than": "c/d", "thn": 1}})
    assert "did you mean 'note'" in fault(TRAINED | {"check": {"better": "a/b", "than": "c/d"}, "nte": "x"})


def test_ids_stand_once():
    check = {"check": {"better": "a/b", "than": "c/d"}}
    assert "part a stands there twice" in fault(TRAINED | check, TRAINED | check)


def test_a_missing_key_is_named():
    assert "part a: says: this key is missing" in fault(
        {key: TRAINED[key] for key in ("id", "task", "level")} | {"check": {"not_tested": "x"}}
    )
