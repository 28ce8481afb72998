rule tabulate:
    """Tables of every ablation as CSV, Markdown and LaTeX."""
    input:
        arms="results/{where}/tables/{study}/arms.csv",
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
        "python -m analysis tables results/{wildcards.where:q} --study {wildcards.study:q} &> {log:q}"


rule plot:
    """The figures of a study as SVG, PDF and PNG; one that has nothing to show in these results is left out."""
    input:
        arms="results/{where}/tables/{study}/arms.csv",
        details="results/{where}/tables/{study}/details.json",
        definitions=lambda w: jobs.study_files(w.study, "ablations") + [f"experiments/{w.study}/study.yaml"],
        reference="experiments/{study}/reference.csv",
        sources=ANALYSIS,
    output:
        report(
            directory("results/{where}/figures/{study}"),
            patterns=["{figure}.png"],
            caption="../report/figure.rst",
            category="{study}",
            labels={"item": "{figure}", "scale": "{where}"},
        ),
    log:
        "results/logs/{where}/plot/{study}.log",
    conda:
        "../../environment.yml"
    params:
        captions=CAPTIONS,
    shell:
        "python -m analysis figures results/{wildcards.where:q} --study {wildcards.study:q} &> {log:q}"


rule compare:
    """Ours beside the paper's numbers and those of the official code or toolbox."""
    input:
        arms="results/{where}/tables/{study}/arms.csv",
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
        "python -m analysis compare results/{wildcards.where:q} --study {wildcards.study:q} &> {log:q}"


rule judge_claims:
    """A verdict for every part of every claim, on the runs of one scale and on what can be counted or proved."""
    input:
        runs=lambda w: [f"results/{w.where}/tables/{study}/runs.csv" for study in studies_at(w.where)],
        costs=lambda w: [] if w.where.startswith("published/") else expand(rules.count_costs.output.json, study=STUDIES),
        claims=expand("experiments/{study}/claims.yaml", study=ALL_STUDIES),
        reference=expand("experiments/{study}/reference.csv", study=ALL_STUDIES),
        sources=ANALYSIS,
    output:
        "results/{where}/ledger.csv",
        report(
            "results/{where}/ledger.md",
            caption="../report/claims.rst",
            category="claims",
            labels={"item": "verdicts", "scale": "{where}"},
        ),
    log:
        "results/logs/{where}/judge_claims.log",
    conda:
        "../../environment.yml"
    shell:
        "python -m analysis ledger results/{wildcards.where:q} --out results/{wildcards.where:q} &> {log:q}"


rule judge_published:
    """One ledger of all published results: each trained part at every scale, and what needs no training."""
    input:
        runs=[f"results/published/{scale}/tables/{study}/runs.csv" for scale in PUBLISHED for study in PUBLISHED[scale]],
        costs=sorted(str(path) for path in Path("results/published/paper").rglob("*.json")),
        timings=sorted(str(path) for path in Path("results/published/timing").rglob("*.json")),
        claims=expand("experiments/{study}/claims.yaml", study=ALL_STUDIES),
        reference=expand("experiments/{study}/reference.csv", study=ALL_STUDIES),
        sources=ANALYSIS,
    output:
        "results/published/ledger.csv",
        report(
            "results/published/ledger.md",
            caption="../report/claims.rst",
            category="claims",
            labels={"item": "verdicts", "scale": "all published"},
        ),
    log:
        "results/logs/published/judge_published.log",
    conda:
        "../../environment.yml"
    params:
        folders=[f"results/published/{scale}" for scale in PUBLISHED],
    shell:
        "python -m analysis ledger {params.folders:q} --out results/published &> {log:q}"


rule draw_forest:
    """Every decided part beside the published effect, all studies in one figure and each by itself."""
    input:
        ledger="results/{where}/ledger.csv",
        sources=ANALYSIS,
    output:
        report(
            "results/{where}/figures/forest.png",
            caption="../report/forest.rst",
            category="claims",
            labels={"item": "forest of decided parts", "scale": "{where}"},
        ),
    log:
        "results/logs/{where}/draw_forest.log",
    wildcard_constraints:
        where=LEDGERS,
    conda:
        "../../environment.yml"
    shell:
        "python -m analysis forest results/{wildcards.where:q} &> {log:q}"


rule rank_proxies:
    """How far each scale orders arms as the papers do: Kendall's tau of our effects with the published ones."""
    input:
        arms=lambda w: below_tables(w.where, "arms.csv"),
        definitions=[path for study in ALL_STUDIES for path in jobs.study_files(study, "ablations")],
        studies=expand("experiments/{study}/study.yaml", study=ALL_STUDIES),
        reference=expand("experiments/{study}/reference.csv", study=ALL_STUDIES),
        sources=ANALYSIS,
    output:
        "results/{where}/proxy.csv",
        report(
            "results/{where}/proxy.md",
            caption="../report/proxy.rst",
            category="claims",
            labels={"item": "our order beside the published one", "scale": "{where}"},
        ),
    log:
        "results/logs/{where}/rank_proxies.log",
    wildcard_constraints:
        where=LEDGERS,
    conda:
        "../../environment.yml"
    params:
        folders=lambda w: scale_folders(w.where),
    shell:
        "python -m analysis proxy {params.folders:q} --out results/{wildcards.where:q} &> {log:q}"


rule write_page:
    """The page of a ledger: verdicts, their evidence, runs and figures, in one file that can be mailed."""
    input:
        ledger="results/{where}/ledger.csv",
        forest="results/{where}/figures/forest.png",
        proxy="results/{where}/proxy.csv",
        shown=lambda w: shown_on_page(w.where),
        sources=ANALYSIS,
    output:
        report(
            "results/{where}/ledger.html",
            caption="../report/claims.rst",
            category="claims",
            labels={"item": "page of the ledger", "scale": "{where}"},
        ),
    log:
        "results/logs/{where}/write_page.log",
    wildcard_constraints:
        where=LEDGERS,
    conda:
        "../../environment.yml"
    shell:
        "python -m analysis page results/{wildcards.where:q} &> {log:q}"


rule write_report:
    """One page for a scale: what was run, gaps, figures, tables (Markdown and HTML)."""
    input:
        lambda w: [path for study in studies_at(w.where) for path in study_outputs(w.where, study)],
        "results/{where}/ledger.md",
    output:
        page="results/{where}/report.md",
        html="results/{where}/report.html",
    log:
        "results/logs/{where}/write_report.log",
    conda:
        "../../environment.yml"
    shell:
        "python -m analysis report results/{wildcards.where:q} &> {log:q}"


rule take_tour:
    """Tables, verdicts and page of the tour's runs. One seed decides no trained part: it shows what arms come to."""
    input:
        metrics=lambda w: [run.metrics for run in tour_runs()],
        list=TOUR,
        sources=ANALYSIS,
    output:
        expected="results/tour/expected.json",
        page="results/tour/ledger.html",
    log:
        "results/logs/tour/take_tour.log",
    run:
        jobs.write_expected(output.expected, jobs.expected(tour_runs()))
        shell("python -m analysis rebuild results/tour &> {log:q}")
