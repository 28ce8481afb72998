"""The whole DAG on tiny experiments: what it makes, and exactly what reruns when something changes."""

import csv
import json
import shutil
from contextlib import contextmanager

import pytest
import yaml

from analysis import scores
from plugins.suite import catalog, items, schema, sources

TRANSFORMER, MUSE = "muse/tiny/transformer/seed1", "muse/tiny/muse/seed1"
ATTENTION = "spatial_attention/tiny/0010/seed1"
SENTENCES = "spatial_attention/tiny_translation/0110/seed1"
MASKS = "spatial_attention/tiny_segmentation/0100/seed1"
CLASSES = "coatnet/tiny/pre/seed1"
RUNS = (TRANSFORMER, MUSE, ATTENTION, SENTENCES, MASKS, CLASSES)


@contextmanager
def changed(project, path: str, change):
    """A file of the project with its text changed, put back afterwards."""
    file = project.root / path
    before = file.read_bytes()
    file.write_text(change(before.decode()))
    try:
        yield
    finally:
        file.write_bytes(before)


def test_a_run_leaves_metrics_that_fit_the_schema(finished):
    for run in RUNS:
        metrics = finished.metrics(run)
        schema.parse(schema.Metrics, metrics, run)
        assert metrics["status"] == "done" and metrics["cost"]["macs"] > 0
        folder = finished.root / "results/runs/mini" / run
        assert {"spec.yaml", "train.log", "curves.jsonl"} <= {path.name for path in folder.iterdir()}
        assert any(line.startswith("# ") for line in (folder / "train.log").read_text().splitlines())


def test_tables_figures_verdicts_and_report(finished):
    results = finished.root / "results/mini"
    for study in ("muse", "spatial_attention"):
        for name in (
            "runs.csv",
            "summary.md",
            "comparison.md",
            "comparison.csv",
            "arms.csv",
            "tiny.tex",
        ):
            assert (results / "tables" / study / name).stat().st_size > 0
    for suffix in ("svg", "pdf", "png"):
        assert (results / f"figures/muse/lengths.{suffix}").stat().st_size > 1000
    for name in ("ledger.csv", "ledger.md", "figures/forest.png", "ledger.html", "report.html"):
        assert (results / name).stat().st_size > 1000
    assert 'id="run-mini-muse-tiny-muse-seed1"' in (results / "ledger.html").read_text()
    with (results / "tables/muse/runs.csv").open() as handle:
        rows = list(csv.DictReader(handle))
    assert [(row["arm"], row["status"]) for row in rows] == [("transformer", "done"), ("muse", "done")]
    assert "transformer" in (results / "report.md").read_text()


def test_snakemakes_own_report_is_one_page(finished):
    done = finished.snakemake("--report", "page.html")
    assert done.returncode == 0, done.stderr[-2000:]
    page = (finished.root / "page.html").read_text()
    assert "multiply-adds" in page and "lengths" in page
    assert "Begin with" in page and "at what cost" in page  # the text that it opens on


def test_the_second_call_has_nothing_to_do(finished):
    done = finished.snakemake()
    assert done.returncode == 0 and "Nothing to be done" in done.stdout + done.stderr


def test_the_declared_sources_are_those_that_a_run_imports(finished, monkeypatch):
    monkeypatch.chdir(finished.root)
    catalog.forget()
    for run in RUNS:
        resolved = catalog.resolve_metrics_path(f"results/runs/mini/{run}/metrics.json")
        declared = {path for path in sources.run_sources(resolved) if path.startswith("plugins/")}
        assert declared == set(finished.metrics(run)["provenance"]["sources"]), run
    catalog.forget()


@pytest.mark.parametrize(
    ("path", "reruns"),
    [
        ("plugins/operators/muse.py", {MUSE}),
        # The 1-D form takes its position code from the 2-D one.
        ("plugins/operators/generalized_attention.py", {ATTENTION, SENTENCES, MASKS}),
        ("plugins/operators/generalized_attention_1d.py", {SENTENCES}),
        ("plugins/openmm_ext/tasks/segmentation.py", {MASKS}),
        ("plugins/operators/coatnet.py", {CLASSES}),
        ("plugins/openmm_ext/engine.py", {ATTENTION, MASKS, CLASSES}),
        ("plugins/fairseq_ext/engine.py", {TRANSFORMER, MUSE, SENTENCES}),
        ("plugins/runner/measure.py", set(RUNS)),
        ("plugins/operators/acmix.py", set()),
        ("analysis/arms.py", set()),
    ],
)
def test_editing_a_file_reruns_exactly_the_runs_that_use_it(finished, path, reruns):
    with changed(finished, path, lambda text: text + "\n# edited\n"):
        assert finished.planned() == reruns


def test_touching_every_source_reruns_nothing(finished):
    for path in (finished.root / "plugins").rglob("*.py"):
        path.touch()
    assert finished.planned() == set()


def test_an_arm_or_a_seed_more_runs_only_that(finished):
    with changed(
        finished, "experiments/spatial_attention/ablations/tiny.yaml", lambda text: text.replace("extra", "core")
    ):
        assert finished.planned() == {"spatial_attention/tiny/w-o/seed1"}
    assert finished.planned(config=("seeds=[1,2]",)) == {run.replace("seed1", "seed2") for run in RUNS}


def test_a_new_ablation_is_one_file(finished):
    text = (finished.root / "experiments/muse/ablations/tiny.yaml").read_text()
    new = yaml.safe_load(text) | {"baseline": "wide"}
    new["arms"] = {
        "wide": {"priority": "core", "set": {"ffn_width": 24}},
        "same": {"same_as": "tiny/muse"},
    }
    file = finished.root / "experiments/muse/ablations/width.yaml"
    file.write_text(yaml.safe_dump(new, sort_keys=False))
    try:
        assert finished.planned() == {"muse/width/wide/seed1"}
    finally:
        file.unlink()


def test_a_pretrained_arm_waits_for_its_start_and_follows_its_changes(finished):
    text = (finished.root / "experiments/coatnet/ablations/tiny.yaml").read_text()
    new = yaml.safe_load(text) | {"baseline": "tuned"}
    new["arms"] = {"tuned": {"priority": "core", "pretrained": "tiny/pre", "set": {"coatnet": {"image_size": 96}}}}
    file = finished.root / "experiments/coatnet/ablations/transfer.yaml"
    file.write_text(yaml.safe_dump(new, sort_keys=False))
    tuned = "coatnet/transfer/tuned/seed1"
    try:
        assert finished.planned() == {tuned}
        assert finished.planned(config=("seeds=[2]", "arms=[transfer/*]")) == {
            run.replace("seed1", "seed2") for run in (CLASSES, tuned)
        }
        recipe = "experiments/coatnet/ablations/tiny.yaml"
        with changed(finished, recipe, lambda text: text.replace("relative: pre", "relative: post")):
            assert finished.planned() == {CLASSES, tuned}
    finally:
        file.unlink()


def test_titles_and_labels_rerun_nothing(finished):
    change = {"text": lambda text: text.replace("Two arms", "Another title").replace("extra", "extra\n    label: none")}
    with changed(finished, "experiments/spatial_attention/ablations/tiny.yaml", change["text"]):
        assert finished.planned() == set()


def test_same_seed_same_numbers_and_another_folder(finished, fresh):
    wanted = f"results/runs/mini/{MUSE}/metrics.json"
    assert fresh.snakemake(wanted).returncode == 0
    first, second = finished.metrics(MUSE), fresh.metrics(MUSE)
    for part in ("metrics", "losses", "settings", "data"):
        assert first[part] == second[part]


def test_a_failing_arm_is_shown_and_the_others_go_on(fresh):
    def break_one(content):
        content["arms"]["muse"]["set"]["heads"] = 3  # does not divide the width

    fresh.edit("experiments/muse/ablations/tiny.yaml", break_one)
    done = fresh.snakemake(config=("studies=[muse]",))
    assert done.returncode != 0
    with (fresh.root / "results/mini/tables/muse/runs.csv").open() as handle:
        rows = {row["arm"]: row for row in csv.DictReader(handle)}
    assert rows["transformer"]["status"] == "done"
    assert rows["muse"]["status"] == "failed" and rows["muse"]["error"]
    assert "failed" in (fresh.root / "results/mini/tables/muse/summary.md").read_text()
    assert not (fresh.root / f"results/runs/mini/{MUSE}/metrics.json").exists()
    assert (fresh.root / "results/mini/figures/muse").is_dir()
    assert (fresh.root / "results/mini/report.html").is_file()


def test_a_folder_with_a_shells_words_as_name_is_refused(fresh):
    (fresh.root / "experiments/`touch written`/ablations").mkdir(parents=True)
    done = fresh.snakemake("-n")
    assert done.returncode != 0 and "must be named in at most 64 small letters" in done.stderr
    assert not (fresh.root / "written").exists()


def test_a_key_that_a_configuration_gives_twice_is_one_line(fresh):
    file = fresh.root / "twice.yaml"
    file.write_text("seeds: [1]\nseeds: [2]\n")
    done = fresh.snakemake("-n", "--configfile", str(file))
    errors = [line for line in done.stderr.splitlines() if line.startswith("error:")]
    assert errors == [f"error: {file}: line 2: 'seeds' is given twice (first in line 1); rename or remove one"]


def test_a_clone_draws_the_published_figures_without_training(finished, fresh):
    published = fresh.root / "results/published/mini"
    published.mkdir(parents=True)
    lines = [json.dumps(finished.metrics(run), sort_keys=True) for run in (TRANSFORMER, MUSE)]
    (published / "metrics.jsonl").write_text("\n".join(lines) + "\n")
    runs = finished.root / "results/runs/mini"
    kept = [items.read(runs / run / items.NAME).assign(run=run) for run in (TRANSFORMER, MUSE)]
    (published / items.NAME).write_bytes(scores.parquet_of(kept))
    done = fresh.snakemake("figures")
    assert done.returncode == 0, done.stderr[-2000:]
    assert (published / "figures/muse/lengths.pdf").is_file() and (published / "report.html").is_file()
    assert 'id="run-mini-muse-tiny-muse-seed1"' in (fresh.root / "results/published/ledger.html").read_text()
    assert not (fresh.root / "results/runs").exists()
    shutil.rmtree(published / "figures")
    assert fresh.planned("figures") == set()


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        (("studies=[mus]",), "did you mean 'muse'"),
        (("seeds=1",), "seeds: 1 does not fit; it must be a list"),
        (("studies=['muse/']",), "studies.0: 'muse/' does not fit"),
        (("arms=[muse, 'tiny/msue']",), "arms: 'tiny/msue' fits no arm"),
        (("scale=huge",), "scale"),
        (("scale=small", "studies=[muse]"), "no recipe for scale 'small'"),
    ],
)
def test_a_wrong_word_on_the_command_line_is_one_line(fresh, config, expected):
    (fresh.root / "experiments/muse/configs/translation-small.yaml").unlink()
    done = fresh.snakemake("-n", config=config)
    assert done.returncode != 0
    errors = [line for line in done.stderr.splitlines() if line.startswith("error:")]
    assert len(errors) == 1 and expected in errors[0] and "Traceback" not in done.stderr


def test_data_that_is_not_there_is_one_line(fresh):
    done = fresh.snakemake(
        "results/data/small/bccd/manifest.json",
        config=("scale=small", "studies=[spatial_attention]", "data_root=/nowhere"),
    )
    assert done.returncode != 0
    assert "data_root /nowhere: no such folder" in done.stdout + done.stderr


def test_missing_originals_are_fetched_only_when_asked(fresh):
    """The command of the rule, and that asking for it is no reason to prepare data again."""
    call = ("-np", "results/data/small/multi30k_de_en/manifest.json")
    config = ("scale=small", "studies=[muse]", "data_root=/nowhere")
    assert "--fetch" not in fresh.snakemake(*call, config=config).stdout
    asked = fresh.snakemake(*call, config=(*config, "fetch=true")).stdout
    assert "/multi30k_de_en --data-root /nowhere --fetch --params" in asked
    done = fresh.snakemake(*call, config=(*config, "fetch=perhaps"))
    assert "error: configuration: fetch: 'perhaps' does not fit" in done.stderr


def test_fetching_prepares_nothing_again(fresh):
    manifest = "results/data/mini/mini_translation/manifest.json"
    assert fresh.snakemake(manifest).returncode == 0
    done = fresh.snakemake("-n", manifest, config=("fetch=true",))
    assert done.returncode == 0 and "Nothing to be done" in done.stdout + done.stderr


def test_an_altered_data_file_stops_the_run(fresh):
    assert fresh.snakemake("results/data/mini/mini_translation/manifest.json").returncode == 0
    text = fresh.root / "results/data/mini/mini_translation/text/test.velu"
    text.write_text(text.read_text()[:-20])
    done = fresh.snakemake(f"results/runs/mini/{TRANSFORMER}/metrics.json")
    assert done.returncode != 0
    assert "test.velu" in done.stdout + done.stderr
