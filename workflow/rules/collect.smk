rule list_runs:
    """Write down which runs there should be, and the configuration that asks for them; gaps show against it."""
    output:
        expected="results/{scale}/expected.json",
        configuration="results/{scale}/configuration.json",
    log:
        "results/logs/{scale}/list_runs.log",
    priority: 100  # `python -m analysis status` reads it while the runs go on
    params:
        runs=lambda w: jobs.expected(RUNS),
        configuration={"command": COMMAND, "configuration": dict(config)},
    run:
        jobs.write_expected(output.expected, params.runs)
        files.write_json(Path(output.configuration), params.configuration)


rule collect:
    """Gather the runs of a study into one tidy table."""
    input:
        expected="results/{scale}/expected.json",
        metrics=lambda w: wanted_metrics(w.study),
        sources=ANALYSIS,
    output:
        runs="results/{scale}/tables/{study}/runs.csv",
        details="results/{scale}/tables/{study}/details.json",
        per_item="results/{scale}/tables/{study}/items.parquet",
    log:
        "results/logs/{scale}/collect/{study}.log",
    conda:
        "../../environment.yml"
    shell:
        "python -m analysis collect --expected {input.expected:q} --study {wildcards.study:q} --out {output.runs:q}"
        " &> {log:q}"


rule collect_published:
    """The same table from the committed metrics of published runs."""
    input:
        metrics="results/published/{scale}/metrics.jsonl",
        per_item=lambda w: present(f"results/published/{w.scale}/items.parquet"),
        sources=ANALYSIS,
    output:
        runs="results/published/{scale}/tables/{study}/runs.csv",
        details="results/published/{scale}/tables/{study}/details.json",
        per_item="results/published/{scale}/tables/{study}/items.parquet",
    log:
        "results/logs/published/{scale}/collect/{study}.log",
    conda:
        "../../environment.yml"
    shell:
        "python -m analysis collect --metrics {input.metrics:q} --study {wildcards.study:q} --out {output.runs:q}"
        " &> {log:q}"


rule summarise_arms:
    """Every arm's mean, difference to its baseline and intervals, computed once for all that show them."""
    input:
        runs="results/{where}/tables/{study}/runs.csv",
        per_item="results/{where}/tables/{study}/items.parquet",
        definitions=lambda w: jobs.study_files(w.study, "ablations"),
        sources=ANALYSIS,
    output:
        "results/{where}/tables/{study}/arms.csv",
    log:
        "results/logs/{where}/summarise_arms/{study}.log",
    conda:
        "../../environment.yml"
    shell:
        "python -m analysis arms results/{wildcards.where:q} --study {wildcards.study:q} &> {log:q}"
