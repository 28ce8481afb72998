"""``python -m analysis.overview``: every arm of several studies in one picture, metric against parameters and MACs.

One figure a task, <out>/<task>.{svg,pdf,png}, of the studies whose runs stand below --dir (tables/<study>/runs.csv).
Each study brings its own recipe (optimiser, updates, augmentation), so points of two studies differ by more than their
networks; only runs on the same data are drawn together, those of the data that most arms have.
"""

import json
import math
from pathlib import Path

import pandas as pd
from matplotlib.axes import Axes

from analysis import figures, loading, report, stats, style, summary, text
from analysis.loading import Ablation
from analysis.summary import ArmSummary

COSTS = {"params": "parameters", "macs": "multiply-adds of one example"}
UNITS = {"params": "", "macs": "MACs"}
ROOMY, CROWD = 14, 24  # arms: more than these make the figure larger, leave names out
Points = list[tuple[Ablation, ArmSummary]]


def points(frame: pd.DataFrame, ablations: list[Ablation]) -> Points:
    """The finished arms that report the primary metric of most, each once, with both costs."""
    found = figures.finished(frame, ablations)
    metrics = [arm.metric for _, arm in found]
    common = max(dict.fromkeys(metrics), key=metrics.count, default="")
    return [
        (ablation, arm)
        for ablation, arm in found
        if arm.metric == common and not any(math.isnan(arm.costs[cost]) for cost in COSTS)
    ]


def distinct_names(found: Points) -> list[str]:
    """The arms' labels; those that a study has in several panels ("1111") say which ("1111, encoder")."""
    keys = [(ablation.study, arm.label) for ablation, arm in found]
    return [
        f"{arm.label}, {ablation.panel.rpartition(', ')[2]}" if keys.count(key) > 1 else arm.label
        for (ablation, arm), key in zip(found, keys, strict=True)
    ]


def on_the_same_data(frame: pd.DataFrame, ablations: list[Ablation]) -> pd.DataFrame:
    """The finished rows of these ablations on the data (checksum, and share of it) that most of them have."""
    kept = [summary.ablation_rows(frame, a) for a in ablations]
    rows = pd.concat(kept) if kept else frame.iloc[:0]
    done = rows[rows["status"] == "done"]
    if done.empty or "data.checksum" not in done:
        return done
    share = done.get("settings.train_fraction", pd.Series(1.0, done.index)).fillna(1.0).astype(float)
    data = done["data.checksum"] + share.map(" {:g}".format)
    return done[data == data.mode().iloc[0]]


def per_example(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows with the multiply-adds of one example: recipes count them over batches of their own."""
    batches = rows["cost.macs_input"].map(lambda found: json.loads(found)["batch"])
    return rows.assign(**{"cost.macs": pd.to_numeric(rows["cost.macs"]) / batches})


def draw(frame: pd.DataFrame, ablations: list[Ablation], base: Path) -> None:
    """The figure of one task to base.{svg,pdf,png}: a panel a cost, a colour a study, the frontier over all of them."""
    rows = on_the_same_data(frame, ablations)
    found = points(rows if rows.empty else per_example(rows), ablations)
    studies = list(dict.fromkeys(ablation.study for ablation, _ in found))
    # Names need room.
    width, height = (6.2, 5.6) if len(found) > ROOMY else (5.0, 4.2)
    with style.figure(len(COSTS), width, height, legend=2) as (made, panels, key):
        shared = "recipes differ between studies" if len(studies) > 1 else "one study"
        line = f"{summary.provenance_line(rows)} · data {summary.data_line(rows)} · {figures.BARS} · {shared}"
        style.footer(made, line if found else "no finished runs")
        for axes, cost in zip(panels, COSTS, strict=True):
            if found:
                _panel(axes, found, studies, cost)
            else:
                style.empty(axes, "no finished run")
        handles = [
            key.scatter([], [], label=study, color=style.PALETTE[i], marker=style.MARKERS[i], s=30)
            for i, study in enumerate(studies)
        ]
        handles += key.plot([], [], color=style.FRONTIER, lw=1, linestyle=style.DASHES[0], label="Pareto frontier")
        style.legend(key, handles, len(handles))
        style.save(made, base)


def _panel(axes: Axes, found: Points, studies: list[str], cost: str) -> None:
    """One cost; in a crowd only the arms on the frontier are named."""
    divisor, unit = text.scaled([arm.costs[cost] for _, arm in found], UNITS[cost])
    at = [(arm.costs[cost] / divisor, arm.mean) for _, arm in found]
    bars, labels, names = [], [], distinct_names(found)
    frontier = stats.frontier([x for x, _ in at], [y for _, y in at])
    for index, ((ablation, arm), (x, y)) in enumerate(zip(found, at, strict=True)):
        study = studies.index(ablation.study)
        look = {"color": style.PALETTE[study], "marker": style.MARKERS[study]}
        axes.scatter(x, y, s=30, zorder=3, edgecolors="white", linewidths=0.7, **look)
        if not math.isnan(arm.half_width):
            axes.errorbar(x, y, arm.half_width, color=look["color"], elinewidth=0.7, alpha=0.5, zorder=2)
            bars.append(((x, y - arm.half_width), (x, y + arm.half_width)))
        if index in frontier or len(found) <= CROWD:
            labels.append((x, y, names[index]))
    best = [at[i] for i in frontier]
    axes.plot(*zip(*best, strict=True), color=style.FRONTIER, linewidth=1, linestyle=style.DASHES[0], zorder=1)
    axes.margins(x=0.1, y=0.1)
    if axes.get_ylim()[0] < 0 <= min(y for _, y in at):
        axes.set_ylim(bottom=0)  # an interval may reach below, no score does
    axes.set_xlabel(f"{COSTS[cost]} ({unit})" if unit else COSTS[cost])
    axes.set_ylabel(text.metric_label(found[0][1].metric))
    style.place_labels(axes, labels, [*zip(best, best[1:], strict=False), *bars])


def main(argv: list[str] | None = None) -> int:
    parser = loading.parser(__doc__, runs=False)
    parser.add_argument("--dir", type=Path, required=True, help="folder of the scale, with tables/")
    parser.add_argument("--task", required=True, help="the task whose arms are drawn")
    parser.add_argument("--out", type=Path, required=True, help="folder of the figure")
    args = parser.parse_args(argv)
    frame = report.read_all(args.dir)
    ablations = [a for a in loading.load_ablations(args.experiments).values() if a.task == args.task]
    draw(frame, ablations, args.out / args.task)
    return 0


if __name__ == "__main__":
    loading.cli(main)
