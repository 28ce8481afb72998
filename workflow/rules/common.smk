"""The runs table and what the rules ask of it. Whatever concerns experiments/ itself is in plugins/suite/catalog.py."""

import json
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path

# The packages of this checkout come first, whatever else is installed.
sys.path.insert(0, str(workflow.basedir))

from plugins.runner import device
from plugins.suite import jobs as inputs
from plugins.suite import sources
from plugins.suite import catalog as experiments
from plugins.suite.errors import UserError

# Jobs run in the environment that runs snakemake; conda's, if asked for, lies beneath it.
shell.prefix(f"set -euo pipefail; PATH={shlex.quote(str(Path(sys.executable).parent))}:$PATH; ")


def or_one_line(call, *args):
    """What `call` returns; a fault that the user can mend ends snakemake with its one line."""
    try:
        return call(*args)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)


RUNS = or_one_line(experiments.runs_table, {key: value for key, value in config.items() if key != "keep_gaps"})
SCALE = config["scale"]
STUDIES = config["studies"]
ALL_STUDIES = experiments.studies()
# Arms that share their runs (`same_as`) are one job.
RUN_AT = {run.metrics: run for run in RUNS}
PUBLISHED = inputs.published()
GPUS_PER_RUN = int(config["device"] == "cuda" or (config["device"] == "auto" and bool(device.visible())))
# Not among the params of its rule: whether a file was downloaded does not change the data.
FETCH = "--fetch" if experiments.flag(config["fetch"]) else ""
# What stands below a figure, by kind.
CAPTIONS = experiments.read_yaml(Path("analysis/captions.yaml"))
# Figures that every study has; a study's rules.smk may add its own kinds.
FIGURES = {study: ["tradeoff", "differences"] for study in ALL_STUDIES}
# Figures made of the pictures that runs leave; published results hold copies of them.
PICTURES = {study: inputs.picture_figures(study) for study in ALL_STUDIES}
ANALYSIS = sorted(str(path) for path in Path("analysis").glob("*.py"))


wildcard_constraints:
    scale="mini|small|paper",
    where="(published/)?(mini|small|paper)",
    study="|".join(ALL_STUDIES),
    dataset="[a-z0-9_]+",
    seed="[0-9]+",
    kind="(?!predictions_|attention_)[a-z_]+",
    picture="(predictions|attention)_[a-z]+",


def spec_of(wildcards):
    """The resolved run of a training job."""
    return or_one_line(
        experiments.resolve,
        wildcards.scale,
        wildcards.study,
        wildcards.ablation,
        wildcards.arm,
        int(wildcards.seed),
    )


def data_manifest(wildcards):
    """The manifest of the data that a training job reads."""
    return f"results/data/{wildcards.scale}/{experiments.data_folder(spec_of(wildcards)['data'])}/manifest.json"


def pretraining(wildcards):
    """The run from whose weights a training job starts; most start from none."""
    return spec_of(wildcards).get("pretrained", [])


def of_dataset(look_up):
    """`look_up` of the data set of a folder, as the recipes of this scale give it."""
    return lambda wildcards: or_one_line(look_up, wildcards.scale, wildcards.dataset, STUDIES)


def wanted_metrics(study=None):
    """What the runs of a study (of all) declare; with keep_gaps only what is there."""
    paths = [path for path, run in RUN_AT.items() if study in (None, run.study)]
    return [path for path in paths if is_there(path)] if config.get("keep_gaps") else paths


def is_there(metrics):
    """Whether a run has finished, and the one that it started from still is: else asking for it would train."""
    start = or_one_line(experiments.resolve_metrics_path, metrics).get("pretrained", metrics)
    return Path(metrics).is_file() and Path(start).is_file()


def study_outputs(where, study):
    """Tables, figures, comparison and verdicts of one study."""
    return [
        f"results/{where}/tables/{study}/summary.md",
        f"results/{where}/tables/{study}/comparison.md",
        f"results/{where}/tables/{study}/claims.md",
        *[f"results/{where}/figures/{study}/{kind}.png" for kind in FIGURES[study]],
        *[
            f"results/{where}/figures/{study}/{picture}.png"
            for picture in PICTURES[study]
            if not where.startswith("published/")
        ],
    ]


def overviews(where):
    """The pictures of all studies that share a task."""
    return [f"results/{where}/figures/overview/{task}.png" for task in inputs.shared_tasks(studies_at(where))]


def studies_at(where):
    """The studies that a scale's report covers."""
    return PUBLISHED[where.removeprefix("published/")] if where.startswith("published/") else STUDIES


def show_gaps():
    """After a failure: the same tables and figures from what there is, with the gaps shown as `failed` or `missing`."""
    if config.get("keep_gaps"):
        return
    with tempfile.NamedTemporaryFile("w", suffix=".json") as settings:
        json.dump(config | {"keep_gaps": True}, settings)
        settings.flush()
        again = ["snakemake", "--nolock", "--quiet", "all", "--cores", "1", "--configfile", settings.name]
        subprocess.run([sys.executable, "-m", *again], check=False)
    subprocess.run([sys.executable, "-m", "analysis.status"], check=False)
