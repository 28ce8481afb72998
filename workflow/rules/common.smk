"""The runs table and what the rules ask of it. Whatever concerns experiments/ itself is in plugins/suite/catalog.py."""

import atexit
import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

# The packages of this checkout come first, whatever else is installed.
sys.path.insert(0, str(workflow.basedir))

from analysis import progress, scan
from plugins.runner import device, warm
from plugins.suite import catalog, files, jobs, sources
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


def check_figures(study):
    """UserError where study.yaml names a figure that there is not."""
    for figure in catalog.study(study).figures:
        if figure not in CAPTIONS:
            raise UserError(f"experiments/{study}/study.yaml: figures: no '{figure}'{files.nearest(figure, CAPTIONS)}")


# snakemake itself reads a configuration's last of two equal keys; here that is a fault.
for path in workflow.configfiles:
    or_one_line(files.read_yaml, Path(path))
RUNS = or_one_line(catalog.runs_table, config)
SCALE = config["scale"]
STUDIES = config["studies"]
ALL_STUDIES = or_one_line(catalog.studies)
# Arms that share their runs (`same_as`) are one job.
RUN_AT = {run.metrics: run for run in RUNS}
PUBLISHED = jobs.published()
TOUR = Path("experiments/tour.yaml")
GPUS_PER_RUN = int(config["device"] == "cuda" or (config["device"] == "auto" and bool(device.visible())))
# Not among the params of its rule: whether a file was downloaded does not change the data.
FETCH = "--fetch" if catalog.flag(config["fetch"]) else ""
# What stands below a figure; some are drawn once a task.
CAPTIONS = {name: entry.constants["CAPTION"] for name, entry in scan.entries(scan.FIGURES).items()}
CAPTIONS |= {f"{name}_{task}": CAPTIONS[name] for name in CAPTIONS for task in ("detection", "segmentation")}
for name in ALL_STUDIES:
    or_one_line(check_figures, name)
# The call that this configuration stands for, for the record of what is published.
COMMAND = "snakemake --cores all --config " + " ".join(
    shlex.quote(f"{key}={json.dumps(value)}") for key, value in config.items()
)
ANALYSIS = sorted(str(path) for pattern in ("*.py", "*.html", "*.js") for path in Path("analysis").rglob(pattern))
# Where a page of its own is made of a ledger: after a run, and of all that is published.
LEDGERS = "published|mini|small|paper"


wildcard_constraints:
    scale="mini|small|paper",
    where="(published/)?(mini|small|paper)",
    study="|".join(ALL_STUDIES),
    ablation="[a-z][a-z0-9_]*",
    arm="[A-Za-z0-9][A-Za-z0-9+._,-]*",
    dataset="[a-z][a-z0-9_]*",
    seed="[0-9]+",


def spec_of(wildcards):
    """The resolved run of a training job."""
    return or_one_line(
        catalog.resolve,
        wildcards.scale,
        wildcards.study,
        wildcards.ablation,
        wildcards.arm,
        int(wildcards.seed),
    )


def data_manifest(wildcards):
    """The manifest of the data that a training job reads."""
    return f"results/data/{wildcards.scale}/{catalog.data_folder(spec_of(wildcards)['data'])}/manifest.json"


def pretraining(wildcards):
    """The run from whose weights a training job starts; most start from none."""
    return spec_of(wildcards).get("pretrained", [])


def of_dataset(look_up):
    """`look_up` of the data set of a folder, as the recipes of this scale give it."""
    return lambda wildcards: or_one_line(look_up, wildcards.scale, wildcards.dataset, STUDIES)


def wanted_metrics(study):
    """What the runs of a study declare."""
    return [path for path, run in RUN_AT.items() if run.study == study]


def present(path):
    """A file as an input, if it is there."""
    return path if Path(path).is_file() else []


def study_outputs(where, study):
    """Tables, figures and comparison of one study."""
    tables = f"results/{where}/tables/{study}"
    return [f"{tables}/summary.md", f"{tables}/comparison.md", f"results/{where}/figures/{study}"]


def studies_at(where):
    """The studies that a scale's report covers."""
    return PUBLISHED[where.removeprefix("published/")] if where.startswith("published/") else STUDIES


def scale_folders(where):
    """The folders of one scale each that a ledger covers."""
    return [f"results/published/{scale}" for scale in PUBLISHED] if where == "published" else [f"results/{where}"]


def below_tables(where, name):
    """A table of every study of the scales that a ledger covers."""
    folders = scale_folders(where)
    return [f"{folder}/tables/{study}/{name}" for folder in folders for study in studies_of(folder)]


def studies_of(folder):
    """The studies of the folder of a scale."""
    return studies_at(folder.removeprefix("results/"))


def shown_on_page(where):
    """Runs, arms and figures that the page of a ledger shows."""
    figures = [f"{folder}/figures/{study}" for folder in scale_folders(where) for study in studies_of(folder)]
    return [*below_tables(where, "runs.csv"), *below_tables(where, "arms.csv"), *figures]


def show_gaps():
    """After a failure: tables, figures and report of what there is, with the gaps shown as `failed` or `missing`.

    A run that failed keeps the rules behind it from starting; each step says in one line what it cannot do.
    """
    if Path(f"results/{SCALE}/expected.json").is_file():
        for command in (["rebuild", f"results/{SCALE}"], ["status"]):
            subprocess.run([sys.executable, "-m", "analysis", *command], check=False)


def keep_engines_warm():
    """Lets the runs on this machine start as children of processes that have imported their engine."""
    if workflow.is_main_process and workflow.local_exec:
        os.environ.setdefault(warm.SWITCH, str(os.getpid()))


def show_progress():
    """While the runs go on: a line for each that finishes, with its metric, its seconds and the time left."""
    planned = [str(job.output[0]) for job in workflow.dag.needrun_jobs() if job.rule.name == "train"]
    progress.start(planned)


def show_outcome():
    """Behind all that snakemake says at the end: the verdicts counted in words, and where the pages are."""
    folder = f"results/{'tour' if 'tour' in workflow.dag_settings.targets else SCALE}"
    if Path(f"{folder}/ledger.csv").is_file():
        command = [sys.executable, "-m", "analysis", "page", folder, "--outcome"]
        atexit.register(subprocess.run, command, check=False)


def tour_runs():
    """The runs of a first look: some arms of one probe of each study."""
    changes = or_one_line(files.read_yaml, TOUR)
    return or_one_line(catalog.runs_table, {**config, **changes})
