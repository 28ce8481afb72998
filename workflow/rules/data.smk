rule prepare_data:
    """Generate a mini data set, or check and convert a public one."""
    input:
        sources=lambda w: inputs.dataset_sources(w.dataset),
    output:
        manifest="results/data/{scale}/{dataset}/manifest.json",
    log:
        "results/logs/{scale}/prepare_data/{dataset}.log",
    conda:
        "../../environment.yml"
    params:
        folder=subpath(output.manifest, parent=True),
        values=data_parameters,
        root=[] if config["data_root"] is None else ["--data-root", config["data_root"]],
    shell:
        "python -m plugins.datasets {wildcards.dataset} {params.folder:q} {params.root:q} --params {params.values:q}"
        " &> {log:q}"
