# convattn: do the published ablations on mixing convolution and attention hold, by how much, and at what cost?
#
#   snakemake --cores all                    what experiments/config.yaml says: the mini scale, core arms
#   snakemake --cores all muse               one study
#   snakemake --cores all tour               a first look in five minutes: experiments/tour.yaml
#   snakemake --cores all figures            tables and figures of the published results, without training
#   snakemake --cores all costs              parameters and multiply-adds at paper size beside the printed ones
#   snakemake --report report.html           one offline page after a run
configfile: "experiments/config.yaml"


report: "workflow/report/workflow.rst"


include: "workflow/rules/common.smk"


##### targets #####


rule all:
    """Every study of the configuration, up to the page of the ledger and the report."""
    default_target: True
    input:
        f"results/{SCALE}/ledger.html",
        f"results/{SCALE}/report.html",


for study in ALL_STUDIES:

    rule:
        name:
            study
        input:
            study_outputs(SCALE, study),
        message:
            "One study: its runs, tables and figures."


rule tour:
    """A first look: one probe of each study, some arms, one seed."""
    input:
        "results/tour/ledger.html",


rule figures:
    """Tables, figures, verdicts and reports of the published results, without training."""
    input:
        "results/published/ledger.html",
        [f"results/published/{scale}/report.html" for scale in PUBLISHED],


rule costs:
    """Parameters and multiply-adds of every arm and model at paper size, beside the printed ones."""
    input:
        expand("results/paper/cost/{study}.md", study=ALL_STUDIES),


rule report:
    """The report of the configuration's scale."""
    input:
        f"results/{SCALE}/report.html",


##### steps #####


include: "workflow/rules/data.smk"
include: "workflow/rules/train.smk"
include: "workflow/rules/measure.smk"
include: "workflow/rules/collect.smk"
include: "workflow/rules/report.smk"


onstart:
    keep_engines_warm()
    show_progress()


onsuccess:
    show_outcome()


onerror:
    show_gaps()
