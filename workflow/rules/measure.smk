rule count_costs:
    """Parameters and multiply-adds at paper size beside the printed ones, on the meta device."""
    input:
        definitions=lambda w: inputs.study_files(w.study, "ablations") + inputs.study_files(w.study, "configs"),
        models=lambda w: [p for p in inputs.study_files(w.study, ".") if p.endswith("models.yaml")],
        reference="experiments/{study}/reference.csv",
        schemas=sorted(str(path) for path in Path("workflow/schemas").glob("*.yaml")),
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
        "python -m analysis cost --study {wildcards.study} --json {output.json:q} --markdown {output.table:q}"
        " &> {log:q}"
