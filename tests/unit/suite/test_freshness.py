"""A result is fresh where this checkout would make it, and stale, with the reason, where it would not."""

import copy
import json
import shutil

import pytest

from plugins.suite import catalog, data, freshness, sources

RUN = ("mini", "coatnet", "transfer", "C-C-T-T", 1)


def fresh(scale, study, ablation, arm, seed):
    """What a metrics.json of this checkout would say of itself, as far as freshness looks."""
    spec = catalog.resolve(scale, study, ablation, arm, seed)
    params = {key: value for key, value in spec["data"].items() if key != "name"}
    value = {key: spec[key] for key in freshness.IDENTITY} | {
        "schema": 2,
        "data": {
            "name": spec["data"]["name"],
            "checksum": "0" * 64,
            "generator": data.generator_digest(spec["data"]["name"], params),
        },
        "provenance": {
            "commit": "0123456789abcdef",
            "spec_sha256": catalog.digest(spec),
            "sources_sha256": sources.code_digest(sources.result_sources(spec)),
        },
    }
    if "pretrained" in spec:
        start = catalog.resolve_metrics_path(spec["pretrained"])
        value["pretrained"] = fresh(*(start[key] for key in freshness.IDENTITY))
    return value


@pytest.fixture(scope="module")
def value():
    return fresh(*RUN)


def change(value, path, to):
    changed = copy.deepcopy(value)
    *above, last = path.split(".")
    place = changed
    for key in above:
        place = place[key]
    place[last] = to
    return changed


def test_what_this_checkout_makes_is_fresh(value):
    assert freshness.staleness(value) == ""
    assert freshness.staleness(json.loads(json.dumps(value))) == ""


@pytest.mark.parametrize(
    ("path", "to", "reason"),
    [
        ("schema", 1, "made before generators were recorded"),
        ("arm", "C-C-T-Q", "cannot be made by this checkout: experiments/coatnet/ablations/transfer.yaml: no arm"),
        ("study", "coatnot", "cannot be made by this checkout: experiments: no study 'coatnot'"),
        ("scale", "tiny", "cannot be made by this checkout"),
        ("provenance.spec_sha256", "f" * 16, "its recipe changed since commit 01234567"),
        ("provenance.sources_sha256", "f" * 16, "its sources changed since commit 01234567"),
        ("data.generator", "f" * 16, "its data set mini_shapes is made by other sources, parameters or versions now"),
        ("data.name", "wmt14", "its data set is wmt14, the recipe asks for mini_shapes"),
        ("pretrained.data.generator", "f" * 16, "the run that it starts from: its data set mini_shapes is made by"),
        ("pretrained", None, "its record is not whole"),
        ("data", {}, "its record is not whole (KeyError"),
        ("provenance", [], "its record is not whole (TypeError"),
    ],
)
def test_anything_else_is_stale_for_a_reason_in_one_line(value, path, to, reason):
    said = freshness.staleness(change(value, path, to))
    assert reason in said and "\n" not in said


@pytest.mark.parametrize(
    ("addition", "stale"),
    [("", False), ("# another remark\n", False), ("X = 1\n", True)],
)
def test_wording_does_not_make_a_result_stale_and_code_does(value, tmp_path, monkeypatch, addition, stale):
    operator = sources.ROOT / "plugins/operators/coatnet.py"
    for folder in ("plugins", "experiments"):
        shutil.copytree(sources.ROOT / folder, tmp_path / folder, ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "plugins/operators/coatnet.py").write_text(operator.read_text() + addition)
    monkeypatch.setattr(sources, "ROOT", tmp_path)
    assert ("its sources changed" in freshness.staleness(value)) == stale
    assert bool(freshness.staleness(value)) == stale


def test_published_lines_of_before_are_stale():
    lines = (sources.ROOT / "results/published/mini/metrics.jsonl").read_text().splitlines()
    for line in map(json.loads, lines):
        if line["schema"] == 1:
            assert freshness.staleness(line) == "made before generators were recorded"
