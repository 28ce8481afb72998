"""The runs table and what the rules ask of it. Whatever concerns experiments/ itself is in plugins/suite/catalog.py."""

import shlex
import subprocess
import sys
from pathlib import Path

# The packages of this checkout come first, whatever else is installed.
sys.path.insert(0, str(workflow.basedir))

from plugins.runner import device
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


def figures_of(study):
    """The figures that a study names in study.yaml, those of `CAPTIONS` alone."""
    figures = catalog.study(study).figures
    for figure in figures:
        if figure not in CAPTIONS:
            raise UserError(f"experiments/{study}/study.yaml: figures: no '{figure}'{files.nearest(figure, CAPTIONS)}")
    return figures


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
GPUS_PER_RUN = int(config["device"] == "cuda" or (config["device"] == "auto" and bool(device.visible())))
# Not among the params of its rule: whether a file was downloaded does not change the data.
FETCH = "--fetch" if catalog.flag(config["fetch"]) else ""
# What stands below a figure, by kind.
CAPTIONS = or_one_line(files.read_yaml, Path("analysis/captions.yaml"))
FIGURES = {study: or_one_line(figures_of, study) for study in ALL_STUDIES}
# Figures made of the pictures that runs leave; published results hold copies of them.
PICTURES = {study: or_one_line(jobs.picture_figures, study) for study in ALL_STUDIES}
ANALYSIS = sorted(str(path) for path in Path("analysis").glob("*.py"))


wildcard_constraints:
    scale="mini|small|paper",
    where="(published/)?(mini|small|paper)",
    study="|".join(ALL_STUDIES),
    ablation="[a-z][a-z0-9_]*",
    arm="[A-Za-z0-9][A-Za-z0-9+._,-]*",
    dataset="[a-z][a-z0-9_]*",
    task="[a-z]+",
    seed="[0-9]+",
    kind="(?!predictions_|attention_)[a-z_]+",
    picture="(predictions|attention)_[a-z]+",


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
    return [f"results/{where}/figures/overview/{task}.png" for task in jobs.shared_tasks(studies_at(where))]


def studies_at(where):
    """The studies that a scale's report covers."""
    return PUBLISHED[where.removeprefix("published/")] if where.startswith("published/") else STUDIES


def show_gaps():
    """After a failure: tables, figures and report of what there is, with the gaps shown as `failed` or `missing`.

    A run that failed keeps the rules behind it from starting, so their commands are called here, one after the other;
    each says in one line what it cannot do.
    """
    if not Path(f"results/{SCALE}/expected.json").is_file():
        return
    for study in STUDIES:
        tables, runs = f"results/{SCALE}/tables", f"results/{SCALE}/tables/{study}/runs.csv"
        analyse("collect", expected=f"results/{SCALE}/expected.json", study=study, out=runs)
        analyse("tables", runs_csv=runs, study=study, out=tables)
        analyse("compare", runs_csv=runs, study=study, out=f"{tables}/{study}/comparison")
        analyse("claims", runs_csv=runs, study=study, out=f"{tables}/{study}/claims")
        for kind in FIGURES[study]:
            analyse("figures", runs_csv=runs, study=study, kind=kind, out=f"results/{SCALE}/figures")
        for picture in PICTURES[study]:
            options = {"runs": f"results/runs/{SCALE}", "out": f"results/{SCALE}/figures"}
            analyse("pictures", runs_csv=runs, study=study, figure=picture, **options)
    for task in jobs.shared_tasks(STUDIES):
        analyse("overview", dir=f"results/{SCALE}", task=task, out=f"results/{SCALE}/figures/overview")
    analyse("report", dir=f"results/{SCALE}", out=f"results/{SCALE}/report.md")
    analyse("status")


def analyse(module, **options):
    """`python -m analysis.<module>` with these options; what it prints goes where snakemake's output goes."""
    arguments = [part for name, value in options.items() for part in (f"--{name.replace('_', '-')}", value)]
    subprocess.run([sys.executable, "-m", f"analysis.{module}", *arguments], check=False)
