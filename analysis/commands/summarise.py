"""runs.csv -> arms.csv beside it (see analysis.arms)."""

from analysis import arms, options, runs, scores
from analysis.results import ARMS, RUNS
from analysis.studies import ablations

NAME = "arms"
HELP = "summarise every arm once, for tables, figures and verdicts"


def add_arguments(parser) -> None:
    options.results(parser)
    options.study(parser)


def run(args) -> int:
    for path in options.tables(args, RUNS):
        frame = runs.read_runs(path)
        chosen = ablations(path.parent.name).values()
        summaries = arms.summarise(frame, chosen, scores.read(path.with_name(scores.NAME)))
        runs.write_csv(path.with_name(ARMS), arms.to_frame(summaries))
        compared = sum(arm.has_difference for arm in summaries)
        print(f"{path.with_name(ARMS)}: {len(summaries)} arms, {compared} held against their baselines")
    return 0
