"""convattn plan: what is going to be judged, registered before the runs: what a budget of core hours can decide
(--budget), or all that a list of arms can (--arms). Or what a configuration takes (--forecast)."""

import argparse
import shlex
import sys
from pathlib import Path

from analysis import forecasts, ledger, listings, plans, runs
from analysis.evidence import trained
from analysis.plans import FOLDER
from plugins.suite import catalog, claims
from plugins.suite.errors import UserError
from plugins.suite.files import one_line

NAME = "plan"
HELP = "register a plan from a budget (--budget) or a list of arms (--arms), or forecast a run (--forecast)"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the command."""
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--budget", type=float, metavar="HOURS", help="core hours that the runs may take")
    what.add_argument("--forecast", action="store_true", help="hours and disk of a plain configuration instead")
    what.add_argument(
        "--arms", nargs="+", metavar="PATTERN", help="all that these <ablation>/<arm> can decide, such as 'probe_*/*'"
    )
    parser.add_argument("--seeds", type=int, nargs="+", metavar="SEED", help="of the runs, with --arms")
    parser.add_argument("--fewer", type=int, nargs="+", metavar="SEED", help="some of them, for arms that are not core")
    parser.add_argument("--scale", choices=ledger.SCALES, help="mini by default; of the configuration with --forecast")
    parser.add_argument("--name", help="of the plan: experiments/plans/NAME.yaml (default: <scale>-<k>)")
    parser.add_argument("--study", help="parts of this study only")
    parser.add_argument("--dry-run", action="store_true", help="show the plan and register nothing")
    parser.add_argument("--csv", type=Path, metavar="FILE", help="also write the table of all parts")
    parser.add_argument(
        "--configfile", type=Path, nargs="*", default=[], metavar="FILE", help="laid over experiments/config.yaml"
    )
    parser.add_argument("--results", type=Path, default=Path("results"), help="folder of the results (results)")


def run(args: argparse.Namespace) -> int:
    """Registers the plan, or prints the forecast."""
    if args.arms:
        return listed(args)
    if args.seeds or args.fewer:
        raise UserError("--seeds and --fewer: go with --arms; a budget finds its own")
    return forecast(args) if args.forecast else budget(args)


def forecast(args: argparse.Namespace) -> int:
    """`--forecast`."""
    config = forecasts.configuration(args.configfile, {"scale": args.scale} if args.scale else {})
    print(forecasts.forecast_text(forecasts.forecast(config, args.results), config["scale"]))
    return 0


def budget(args: argparse.Namespace) -> int:
    """`--budget`."""
    hours, scale = forecasts.check_budget(args.budget), args.scale or "mini"
    hand = forecasts.at_hand(scale, args.results)
    rows = [need for need in forecasts.needs(scale, hand) if args.study in (None, need.study)]
    known = forecasts.seconds_by_arm(hand)
    choice = forecasts.choose(rows, hours, known)
    frame = forecasts.table(rows, choice, known)
    if args.csv:
        runs.write_csv(args.csv, frame)
    print(f"{len(rows)} trained parts at {scale}; runs at hand: {', '.join(str(s.path) for s in hand) or 'none'}\n")
    if frame.get("seeds") is not None and frame["seeds"].notna().any():
        print(forecasts.markdown(frame))
    for line in forecasts.pilots(rows, scale):
        print(line)
    if choice is None:
        print(f"no part can be planned within {hours:g} core hours; nothing is registered")
        return 0
    register(args, choice, scale, hours, hand)
    return 0


def register(args: argparse.Namespace, choice: forecasts.Choice, scale: str, hours: float, hand: list) -> None:
    """Writes the plan and says how to run it."""
    name = args.name or forecasts.free_name(scale, FOLDER)
    plan = forecasts.plan_of(choice, name, scale, forecasts.first_fresh_seed(hand))
    # The whole configuration has to be one that snakemake takes.
    table = catalog.runs_table(forecasts.configuration([], plans.content(plan)))
    count = len({each.metrics for each in table})
    said = f"{len(choice.parts)} parts, {choice.seeds} seeds, {count} runs, about {choice.hours:.2f} core hours"
    made_of = ", ".join(str(each.path) for each in hand)
    basis = f"power {forecasts.POWER:.0%} for the effects of {made_of}; at least {trained.MIN_SEEDS} seeds."
    write(args, plan, said, basis)


def listed(args: argparse.Namespace) -> int:
    """`--arms`."""
    if not args.seeds:
        raise UserError("--seeds: is missing; give the seeds of the runs, such as --seeds 1 2 3")
    scale = args.scale or "mini"
    rows = listings.arms_at(scale, [args.study] if args.study else catalog.studies(), args.arms)
    name = args.name or forecasts.free_name(scale, FOLDER)
    plan = listings.plan_of(name, scale, rows, args.seeds, args.fewer)
    known = forecasts.tuned_seconds() | forecasts.seconds_by_arm(forecasts.at_hand(scale, args.results))
    said = listings.said(plan, listings.runs_of(plan, rows), known)
    write(args, plan, said, "every trained part that these arms hold; the effects were not known.")
    return 0


def write(args: argparse.Namespace, plan: plans.Plan, said: str, basis: str) -> None:
    """Registers a plan and says how to run it; nothing is written in a dry run."""
    if args.dry_run:
        print(f"would register {plan.name}: {said}")
        return
    command = shlex.join(["convattn", "plan", *sys.argv[2:]]) if "plan" in sys.argv[1:2] else "convattn plan"
    path = FOLDER / f"{plan.name}.yaml"
    comment = (
        f"Registered before its runs, by: {one_line(command)}\n"
        f"{said}; {basis}\n"
        f"Run it: snakemake --cores all --configfile {path}"
    )
    plans.write(plan, FOLDER, claims.check_all(), comment)
    print(f"{path}: registered: {said}\nrun it: snakemake --cores all --configfile {path}")
