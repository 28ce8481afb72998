rule train:
    """Train, evaluate and measure one arm with one seed; a killed run goes on from its last checkpoint."""
    input:
        data=data_manifest,
        pretrained=pretraining,
        sources=lambda w: or_one_line(sources.run_sources, spec_of(w)),
    output:
        metrics="results/runs/{scale}/{study}/{ablation}/{arm}/seed{seed}/metrics.json",
    log:
        "results/logs/{scale}/train/{study}/{ablation}/{arm}/seed{seed}.log",
    conda:
        "../../environment.yml"
    threads: lambda w: spec_of(w)["threads"]
    resources:
        machine=1,
        gpu=lambda w: GPUS_PER_RUN * spec_of(w)["train"]["gpus"],
    params:
        spec=lambda w: catalog.digest(spec_of(w)),
        device=config["device"],
    # In the place of the list of all inputs.
    message:
        "Train {output.metrics}"
    shell:
        "python -m plugins.runner {output.metrics:q} --data {input.data:q} --device {params.device:q} --spec {params.spec:q}"
        " &> {log:q}"
