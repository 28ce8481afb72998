"""What trained networks do, to look at: <out>/<study>/<kind>_<task>.png from the pictures that runs leave.

predictions_<task>  the first images of the scored split: the truth, then the prediction of each arm
attention_<task>    where one query (the cross) looks: weights of all keys by the whole sum and by each of E1..E4 alone

An arm is shown by its lowest finished seed. `plugins.openmm_ext.pictures` writes the single pictures.
"""

import io
import textwrap
from pathlib import Path

import pandas as pd
from matplotlib import image as bitmaps
from matplotlib import pyplot as plt

from analysis import figures, loading, style, summary
from analysis.loading import Ablation

TASKS = ("detection", "segmentation")
KINDS = ("predictions", "attention")
TERMS = ("all", "E1", "E2", "E3", "E4")
IMAGES = 3
# Inches of one picture, arms that stand in one column before a second is begun.
SIDE, TALLEST = 1.15, 8


def names(ablations: list[Ablation]) -> list[str]:
    """The figures that a study with these ablations has."""
    tasks = {
        "predictions": {a.task for a in ablations},
        "attention": {a.task for a in ablations if any(arm.set.get("attention") for arm in a.arms.values())},
    }
    return [f"{kind}_{task}" for task in TASKS for kind in KINDS if task in tasks[kind]]


def shown(frame: pd.DataFrame, ablations: list[Ablation], runs: Path, needed: str) -> list[tuple[str, Path]]:
    """(label, folder of pictures) of every finished arm that left the picture `needed`."""
    found = []
    for _, arm in figures.finished(frame, ablations):
        folder = runs / sorted(arm.runs)[0] / f"seed{arm.seeds[0]}" / "pictures"
        if (folder / needed).is_file():
            found.append((arm.label, folder))
    return found


def draw(kind: str, frame: pd.DataFrame, ablations: list[Ablation], path: Path, runs: Path) -> None:
    """One figure of one task; says so where no run left a picture."""
    if kind == "predictions":
        arms = shown(frame, ablations, runs, "prediction_0.png")
        rows = [(label, [folder / f"prediction_{n}.png" for n in range(IMAGES)]) for label, folder in arms]
        if arms:
            rows.insert(0, ("truth", [arms[0][1] / f"truth_{n}.png" for n in range(IMAGES)]))
        heads = [f"image {n + 1}" for n in range(IMAGES)]
    else:
        arms = shown(frame, ablations, runs, "attention_0_all.png")
        rows = [(label, [folder / f"attention_0_{term}.png" for term in TERMS]) for label, folder in arms]
        heads = list(TERMS)
    line = f"{summary.provenance_line(frame[frame['task'] == ablations[0].task])} · lowest finished seed of each arm"
    _save_grid(rows, heads, line, path)


def _save_grid(rows: list[tuple[str, list[Path]]], heads: list[str], line: str, path: Path) -> None:
    """Rows of pictures in as many blocks side by side as keep the figure from growing tall."""
    blocks = max(1, -(-len(rows) // TALLEST))
    tall = max(1, -(-len(rows) // blocks))
    wide = len(heads)
    shape = next((bitmaps.imread(p).shape for _, paths in rows for p in paths if p.is_file()), (1, 1))
    aspect = shape[0] / shape[1]
    with plt.rc_context({"font.family": "DejaVu Sans", "font.size": 8}):
        made, axes = plt.subplots(
            tall, blocks * wide, squeeze=False, layout="constrained",
            figsize=(SIDE * blocks * wide + 0.3, SIDE * aspect * tall + 0.6),
        )  # fmt: skip
        for panel in axes.flat:
            panel.set_axis_off()
            panel.set_box_aspect(aspect)
        for index, (label, paths) in enumerate(rows):
            block, row = divmod(index, tall)
            for column, picture in enumerate(paths):
                panel = axes[row, block * wide + column]
                if picture.is_file():
                    panel.imshow(bitmaps.imread(picture))
                if row == 0:
                    panel.set_title(heads[column], fontsize=7)
                if column == 0:
                    panel.text(-0.06, 0.5, textwrap.fill(label, 16), rotation=90, ha="right", va="center",
                               fontsize=7, transform=panel.transAxes)  # fmt: skip
        if not rows:
            style.empty(axes[0, 0], "no finished run left pictures")
        style.footer(made, line)
        buffer = io.BytesIO()
        made.savefig(buffer, format="png", dpi=150, metadata=style.METADATA["png"])
        plt.close(made)
    loading.write_bytes(path, buffer.getvalue())


def main(argv: list[str] | None = None) -> int:
    parser = loading.parser(__doc__)
    parser.add_argument("--study", help="this study only")
    parser.add_argument("--figure", help="this one only, e.g. predictions_detection")
    parser.add_argument("--runs", type=Path, required=True, help="folder results/runs/<scale> with the pictures")
    parser.add_argument("--out", type=Path, required=True, help="folder of the figures")
    args = parser.parse_args(argv)
    frame = loading.read_runs(args.runs_csv)
    ablations = loading.load_ablations(args.experiments)
    for study in dict.fromkeys(a.study for a in summary.select(ablations, args.study)):
        mine = [a for a in ablations.values() if a.study == study]
        known = names(mine)
        if args.figure not in (None, *known):
            raise loading.AnalysisError(
                f"--figure: {study} has no '{args.figure}'; it has: {', '.join(known) or 'none'}"
            )
        for name in [args.figure] if args.figure else known:
            kind, task = name.split("_")
            draw(kind, frame, [a for a in mine if a.task == task], args.out / study / f"{name}.png", args.runs)
    return 0


if __name__ == "__main__":
    loading.cli(main)
