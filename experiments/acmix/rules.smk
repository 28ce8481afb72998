# Figures of this study beyond those that every study has, and the times of the shift's forms on this machine.
FIGURES["acmix"] += ["path_scales", "shift_timing"]


ruleorder: plot_shift_timing > plot


def shift_times(wildcards):
    """Measured at a plain scale; what was published with the runs otherwise, if it was."""
    path = f"results/{wildcards.where}/tables/acmix/shift_timing.json"
    return path if not wildcards.where.startswith("published/") or Path(path).is_file() else []


rule time_shifts:
    """Milliseconds of the forms of ACmix's shift, one thread."""
    input:
        "benchmarks/shifts.py",
        "plugins/operators/acmix.py",
        "plugins/operators/checks.py",
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
        times=shift_times,
        runs="results/{where}/tables/acmix/runs.csv",
        definitions=lambda w: inputs.study_files("acmix", "ablations"),
        sources=ANALYSIS,
    output:
        report(
            "results/{where}/figures/acmix/shift_timing.png",
            caption="../../workflow/report/figure.rst",
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
        " --out results/{wildcards.where}/figures"
        " &> {log:q}"
