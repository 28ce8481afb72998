rule list_runs:
    """Write down which runs there should be; gaps show against it."""
    output:
        expected="results/{scale}/expected.json",
    log:
        "results/logs/{scale}/list_runs.log",
    priority: 100  # `analysis.status` reads it while the runs go on
    params:
        runs=lambda w: jobs.expected(RUNS),
    run:
        jobs.write_expected(output.expected, params.runs)


rule collect:
    """Gather the runs of a study into one tidy table."""
    input:
        expected="results/{scale}/expected.json",
        metrics=lambda w: wanted_metrics(w.study),
    output:
        runs="results/{scale}/tables/{study}/runs.csv",
        details="results/{scale}/tables/{study}/details.json",
    log:
        "results/logs/{scale}/collect/{study}.log",
    conda:
        "../../environment.yml"
    shell:
        "python -m analysis.collect --expected {input.expected:q} --study {wildcards.study:q} --out {output.runs:q}"
        " &> {log:q}"


rule collect_published:
    """The same table from the committed metrics of published runs."""
    input:
        metrics="results/published/{scale}/metrics.jsonl",
    output:
        runs="results/published/{scale}/tables/{study}/runs.csv",
        details="results/published/{scale}/tables/{study}/details.json",
    log:
        "results/logs/published/{scale}/collect/{study}.log",
    conda:
        "../../environment.yml"
    shell:
        "python -m analysis.collect --metrics {input.metrics:q} --study {wildcards.study:q} --out {output.runs:q}"
        " &> {log:q}"
