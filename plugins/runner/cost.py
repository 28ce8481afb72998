"""What models cost at paper size, on the meta device: python -m plugins.runner.cost --study S [--scale paper].

Prints one JSON list: every arm whose study has a recipe at that scale, then the entries of experiments/<S>/models.yaml
that can be built. Nothing is trained, no data are read, no memory is taken. `analysis.cost` sets the published numbers
beside these.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import sys

from plugins.runner.engines import load_engine
from plugins.runner.measure import count_macs, count_parameters, omit_attention_products, one_example
from plugins.suite.catalog import arm_specs, model_specs, studies
from plugins.suite.errors import UserError


def main(argv: list[str] | None = None) -> int:
    """Returns 0, or 2 when the user must mend something."""
    parser = argparse.ArgumentParser(prog="python -m plugins.runner.cost", description=__doc__.split("\n")[0])
    parser.add_argument("--study", required=True, choices=studies())
    parser.add_argument("--scale", default="paper", choices=["mini", "small", "paper"])
    args = parser.parse_args(argv)
    try:
        # The frameworks print while they build; only the list may reach standard output.
        with contextlib.redirect_stdout(sys.stderr):
            records = study_costs(args.study, args.scale)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    json.dump(records, sys.stdout, indent=1)
    print()
    return 0


def study_costs(study: str, scale: str) -> list[dict]:
    """A record (model, arm, task, macs_input, params, macs) for each arm, then for each model of a table."""
    arms = [
        {"model": f"{name}/{arm}", "arm": f"{name}/{arm}"} | cost(spec) for name, arm, spec in arm_specs(study, scale)
    ]
    models = []
    if scale == "paper":
        models = [{"model": entry["model"], "arm": ""} | cost(spec, entry) for entry, spec in model_specs(study)]
    return arms + models


def cost(spec: dict, entry: dict | None = None) -> dict:
    """Parameters and multiply-adds of one example; without what `entry` says that the published count leaves out."""
    spec = spec | {"measure": one_example(spec["measure"])}
    model, forward = load_engine(spec).cost_model(spec)
    leaves_out = (entry or {}).get("leaves_out", [])
    with omit_attention_products(model) if "attention_products" in leaves_out else contextlib.nullcontext():
        macs = count_macs(model.eval(), forward)
    return {"task": spec["task"], "macs_input": spec["measure"], "params": count_parameters(model), "macs": macs}


if __name__ == "__main__":
    sys.exit(main())
