ruleorder: plot_shift_timing > plot


rule time_shifts:
    """Milliseconds of the forms of ACmix's shift, one thread."""
    input:
        "benchmarks/shifts.py",
        "plugins/operators/acmix.py",
        "plugins/operators/checks.py",
        "plugins/operators/kernels/__init__.py",
        "plugins/operators/kernels/local.py",
    output:
        "results/{scale}/tables/acmix/shift_timing.json",
    log:
        "results/logs/{scale}/time_shifts.log",
    conda:
        "../../environment.yml"
    shell:
        "python -m benchmarks.shifts --json {output:q} &> {log:q}"


rule plot_shift_timing:
    """The figure of those times."""
    input:
        times=lambda w: jobs.shift_times(w.where),
        runs="results/{where}/tables/acmix/runs.csv",
        definitions=lambda w: jobs.study_files("acmix", "ablations"),
        sources=ANALYSIS,
    output:
        report(
            "results/{where}/figures/acmix/shift_timing.png",
            caption="../report/figure.rst",
            category="acmix",
            labels={"item": "shift_timing", "scale": "{where}"},
        ),
        "results/{where}/figures/acmix/shift_timing.svg",
        "results/{where}/figures/acmix/shift_timing.pdf",
    log:
        "results/logs/{where}/plot/acmix/shift_timing.log",
    conda:
        "../../environment.yml"
    shell:
        "python -m analysis.figures --runs-csv {input.runs:q} --study acmix --kind shift_timing"
        " --out results/{wildcards.where:q}/figures"
        " &> {log:q}"
