rule count_costs:
    """Parameters and multiply-adds at paper size beside the printed ones, on the meta device."""
    input:
        definitions=lambda w: jobs.study_files(w.study, "ablations") + jobs.config_files(w.study),
        models=lambda w: [p for p in jobs.study_files(w.study, ".") if p.endswith("models.yaml")],
        reference="experiments/{study}/reference.csv",
        plugins=sorted(str(path) for path in Path("plugins").rglob("*.py")),
        sources=["analysis/commands/costs.py", "analysis/reference.py"],
    output:
        json="results/paper/cost/{study}.json",
        table=report(
            "results/paper/cost/{study}.md",
            caption="../report/costs.rst",
            category="{study}",
            labels={"item": "costs at paper size", "scale": "paper"},
        ),
    log:
        "results/logs/paper/count_costs/{study}.log",
    conda:
        "../../environment.yml"
    shell:
        "python -m analysis cost --study {wildcards.study:q} --json {output.json:q} --markdown {output.table:q}"
        " &> {log:q}"


rule time_arms:
    """Times of one example and of a training step, all arms of a recipe in turns, with nothing else on the machine."""
    input:
        data=lambda w: or_one_line(jobs.timed_data, w.study, w.recipe, w.scale),
        sources=lambda w: or_one_line(jobs.timed_sources, w.study, w.recipe, w.scale),
    output:
        "results/{scale}/timing/{study}/{recipe}.json",
    log:
        "results/logs/{scale}/time_arms/{study}/{recipe}.log",
    wildcard_constraints:
        recipe="[a-zA-Z0-9_]+",
    conda:
        "../../environment.yml"
    resources:
        machine=100,  # all of it: trainings take 1 each
        gpu=GPUS_PER_RUN,
    params:
        device=config["device"],
        arms=lambda w: sorted({"/".join(run.home) for run in RUNS if run.study == w.study}),
    shell:
        "python -m plugins.runner.timing --study {wildcards.study:q} --recipe {wildcards.recipe:q}"
        " --scale {wildcards.scale:q} --data {input.data:q} --device {params.device:q} --out {output:q}"
        " --arms {params.arms:q}"
        " &> {log:q}"
