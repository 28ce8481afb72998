rule tabulate:
    """Tables of every ablation as CSV, Markdown and LaTeX."""
    input:
        runs="results/{where}/tables/{study}/runs.csv",
        details="results/{where}/tables/{study}/details.json",
        definitions=lambda w: jobs.study_files(w.study, "ablations"),
        sources=ANALYSIS,
    output:
        report(
            "results/{where}/tables/{study}/summary.md",
            caption="../report/tables.rst",
            category="{study}",
            labels={"item": "tables", "scale": "{where}"},
        ),
    log:
        "results/logs/{where}/tabulate/{study}.log",
    conda:
        "../../environment.yml"
    shell:
        "python -m analysis.tables --runs-csv {input.runs:q} --study {wildcards.study:q}"
        " --out results/{wildcards.where:q}/tables"
        " &> {log:q}"


rule plot:
    """One kind of figure of a study as SVG, PDF and PNG."""
    input:
        runs="results/{where}/tables/{study}/runs.csv",
        details="results/{where}/tables/{study}/details.json",
        definitions=lambda w: jobs.study_files(w.study, "ablations"),
        reference="experiments/{study}/reference.csv",
        sources=ANALYSIS,
    output:
        report(
            "results/{where}/figures/{study}/{kind}.png",
            caption="../report/figure.rst",
            category="{study}",
            labels={"item": "{kind}", "scale": "{where}"},
        ),
        "results/{where}/figures/{study}/{kind}.svg",
        "results/{where}/figures/{study}/{kind}.pdf",
    log:
        "results/logs/{where}/plot/{study}/{kind}.log",
    conda:
        "../../environment.yml"
    params:
        caption=lambda w: CAPTIONS[w.kind],
    shell:
        "python -m analysis.figures --runs-csv {input.runs:q} --study {wildcards.study:q} --kind {wildcards.kind:q}"
        " --out results/{wildcards.where:q}/figures"
        " &> {log:q}"


rule show_pictures:
    """What the trained networks predict and where they look, from the pictures that runs leave."""
    input:
        runs="results/{scale}/tables/{study}/runs.csv",
        definitions=lambda w: jobs.study_files(w.study, "ablations"),
        sources=ANALYSIS,
    output:
        report(
            "results/{scale}/figures/{study}/{picture}.png",
            caption="../report/pictures.rst",
            category="{study}",
            labels={"item": "{picture}", "scale": "{scale}"},
        ),
    log:
        "results/logs/{scale}/show_pictures/{study}/{picture}.log",
    conda:
        "../../environment.yml"
    shell:
        "python -m analysis.pictures --runs-csv {input.runs:q} --study {wildcards.study:q} --figure {wildcards.picture:q}"
        " --runs results/runs/{wildcards.scale:q} --out results/{wildcards.scale:q}/figures"
        " &> {log:q}"


rule compare:
    """Ours beside the paper's numbers and those of the official code or toolbox."""
    input:
        runs="results/{where}/tables/{study}/runs.csv",
        definitions=lambda w: jobs.study_files(w.study, "ablations"),
        reference="experiments/{study}/reference.csv",
        sources=ANALYSIS,
    output:
        report(
            "results/{where}/tables/{study}/comparison.md",
            caption="../report/comparison.rst",
            category="{study}",
            labels={"item": "beside the published numbers", "scale": "{where}"},
        ),
        "results/{where}/tables/{study}/comparison.csv",
    log:
        "results/logs/{where}/compare/{study}.log",
    conda:
        "../../environment.yml"
    shell:
        "python -m analysis.compare --runs-csv {input.runs:q} --study {wildcards.study:q}"
        " --out results/{wildcards.where:q}/tables/{wildcards.study:q}/comparison"
        " &> {log:q}"


rule judge_claims:
    """A verdict for every numbered claim of the paper: supported, contradicted, undecided or not comparable."""
    input:
        runs="results/{where}/tables/{study}/runs.csv",
        definitions=lambda w: jobs.study_files(w.study, "ablations"),
        claims="experiments/{study}/claims.yaml",
        reference="experiments/{study}/reference.csv",
        sources=ANALYSIS,
    output:
        report(
            "results/{where}/tables/{study}/claims.md",
            caption="../report/claims.rst",
            category="{study}",
            labels={"item": "claims", "scale": "{where}"},
        ),
        "results/{where}/tables/{study}/claims.csv",
    log:
        "results/logs/{where}/judge_claims/{study}.log",
    conda:
        "../../environment.yml"
    shell:
        "python -m analysis.claims --runs-csv {input.runs:q} --study {wildcards.study:q}"
        " --out results/{wildcards.where:q}/tables/{wildcards.study:q}/claims"
        " &> {log:q}"


rule show_all_studies:
    """Every arm of the studies that share a task in one picture: metric against parameters and multiply-adds."""
    input:
        runs=lambda w: [f"results/{w.where}/tables/{study}/runs.csv" for study in studies_at(w.where)],
        definitions=lambda w: [path for study in studies_at(w.where) for path in jobs.study_files(study, "ablations")],
        sources=ANALYSIS,
    output:
        report(
            "results/{where}/figures/overview/{task}.png",
            caption="../report/overview.rst",
            category="overview",
            labels={"item": "{task}", "scale": "{where}"},
        ),
        "results/{where}/figures/overview/{task}.svg",
        "results/{where}/figures/overview/{task}.pdf",
    log:
        "results/logs/{where}/show_all_studies/{task}.log",
    conda:
        "../../environment.yml"
    shell:
        "python -m analysis.overview --dir results/{wildcards.where:q} --task {wildcards.task:q}"
        " --out results/{wildcards.where:q}/figures/overview"
        " &> {log:q}"


rule write_report:
    """One page for a scale: what was run, verdicts, figures, tables, gaps (Markdown and HTML)."""
    input:
        lambda w: [path for study in studies_at(w.where) for path in study_outputs(w.where, study)],
        lambda w: overviews(w.where),
    output:
        page="results/{where}/report.md",
        html="results/{where}/report.html",
    log:
        "results/logs/{where}/write_report.log",
    conda:
        "../../environment.yml"
    shell:
        "python -m analysis.report --dir results/{wildcards.where:q} --out {output.page:q}" " &> {log:q}"
