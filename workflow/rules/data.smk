rule prepare_data:
    """Generate a mini data set, or check and convert a public one."""
    input:
        sources=of_dataset(jobs.dataset_sources),
    output:
        manifest="results/data/{scale}/{dataset}/manifest.json",
    log:
        "results/logs/{scale}/prepare_data/{dataset}.log",
    conda:
        "../../environment.yml"
    threads: of_dataset(jobs.dataset_workers)
    resources:
        # Not a parameter: what is there already need not be prepared again.
        fetch=FETCH,
        machine=1,
    params:
        folder=subpath(output.manifest, parent=True),
        name=of_dataset(jobs.dataset_name),
        values=of_dataset(jobs.dataset_values),
        root=[] if config["data_root"] is None else ["--data-root", config["data_root"]],
        # What was made by other sources, parameters or versions is made again.
        generator=of_dataset(jobs.dataset_generator),
    shell:
        "python -m plugins.datasets {params.name:q} {params.folder:q} {params.root:q} {resources.fetch}"
        " --params {params.values:q} &> {log:q}"
