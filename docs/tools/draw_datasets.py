"""Draws the pictures of plugins/datasets/README.md from the generators: python -m docs.tools.draw_datasets [FOLDER]."""

import sys
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.colors import ListedColormap
from matplotlib.patches import Patch, Rectangle

from plugins.datasets import (
    bright,
    chirality,
    direction,
    mini_shapes,
    mini_translation,
    probe,
    twin,
    two_paths,
    warp,
    windows,
)
from plugins.datasets import scenes as small_scenes

# Told apart by people who see red and green alike; the first is the background.
PALETTE = ["#1d1f24", "#3b8fd9", "#f0a830", "#d1495b", "#b59ae0", "#5fc9a8"]
OF_THE_README = Path(__file__).resolve().parents[2] / "plugins" / "datasets" / "pictures"
EXAMPLE = "often this old dog who see some cat , guard a bank outdoors ."


def main(folder: Path) -> None:
    plt.rcParams.update({"font.family": "DejaVu Sans", "savefig.bbox": "tight", "savefig.pad_inches": 0.08})
    scenes(folder / "mini_shapes_scenes.png")
    crops(folder / "mini_shapes_classes.png")
    alignment(folder / "mini_translation_example.png")
    lengths(folder / "mini_translation_lengths.png")
    probes(folder / "probes.png")


def scenes(path: Path, columns: int = 6, seed: int = 11) -> None:
    """Detection images with their boxes above, segmentation masks below."""
    rng = np.random.default_rng(seed)
    figure, axes = plt.subplots(
        2, columns, figsize=(1.75 * columns, 3.55), gridspec_kw={"wspace": 0.04, "hspace": 0.04}
    )
    classes = mini_shapes.CLASSES
    for above, below in axes.T:
        kinds, night = mini_shapes.draw(rng, 3)
        drawn = mini_shapes.scene(rng, 96, kinds, night, 22, 40)
        above.imshow(drawn.image)
        below.imshow(drawn.mask, cmap=ListedColormap(PALETTE[: len(classes) + 1]), vmin=0, vmax=len(classes))
        for kind, x, y, width, height, _ in drawn.boxes:
            colour = PALETTE[kind + 1]
            above.add_patch(Rectangle((x - 0.5, y - 0.5), width, height, fill=False, edgecolor="white", linewidth=2.6))
            above.add_patch(Rectangle((x - 0.5, y - 0.5), width, height, fill=False, edgecolor=colour, linewidth=1.5))
    for axis in axes.flat:
        axis.set_axis_off()
    named = [Patch(color=PALETTE[kind + 1], label=name) for kind, name in enumerate(classes)]
    figure.legend(handles=named, loc="lower center", ncols=len(classes), frameon=False, bbox_to_anchor=(0.5, -0.02))
    _save(figure, path)


def crops(path: Path, columns: int = 7, seed: int = 5) -> None:
    """Classification images, a row a class."""
    rng = np.random.default_rng(seed)
    classes = mini_shapes.CLASSES
    figure, axes = plt.subplots(
        len(classes),
        columns,
        figsize=(1.12 * columns, 1.15 * len(classes)),
        gridspec_kw={"wspace": 0.05, "hspace": 0.05},
    )
    for kind, row in enumerate(axes):
        for column, axis in enumerate(row):
            night = {"day": False, "night": True}.get(classes[kind], column % 2 == 1)
            axis.imshow(mini_shapes.scene(rng, 64, [kind], night, 22, 40).image)
            axis.set(xticks=[], yticks=[], frame_on=False)
        row[0].set_ylabel(classes[kind], rotation=0, ha="right", va="center", fontsize=11)
    _save(figure, path)


# Title, module, side of what a labelled token sees by itself (pixels).
PROBES = (
    ("bright", bright, 5), ("twin", twin, 5), ("direction", direction, 5), ("warp", warp, 3),
    ("windows", windows, 1), ("two paths", two_paths, 1), ("chirality", chirality, 3), ("scenes", small_scenes, 4),
)  # fmt: skip


def probes(path: Path, seed: int = 4) -> None:
    """An image of each probe without noise: what a labelled token sees by itself (solid), and what else decides."""
    figure, axes = plt.subplots(2, 4, figsize=(8.4, 4.7), gridspec_kw={"wspace": 0.06, "hspace": 0.2})
    for axis, (title, module, sight) in zip(axes.flat, PROBES, strict=True):
        batch = module.draw(np.random.default_rng(seed), 1, noise=0)
        image, labels = batch.images[0], batch.labels[0]
        stride = image.shape[0] // labels.shape[0]
        tokens = np.argwhere(labels != probe.UNLABELLED)
        row, column = tokens[len(tokens) // 2]
        axis.imshow(image, interpolation="nearest")
        centre = np.array([row, column]) * stride + (stride - 1) / 2
        _box(axis, centre, sight, "white", "-")
        for at, side in _deciding(title, image, labels, (row, column), stride):
            _box(axis, np.array(at, float), side, PALETTE[2], (0, (2, 1)))
            axis.annotate(
                "", at[::-1], centre[::-1], arrowprops={"arrowstyle": "->", "color": PALETTE[2], "shrinkA": 6}
            )
        axis.set_title(title, fontsize=11)
        axis.set_axis_off()
    _save(figure, path)


def _box(axis, centre: np.ndarray, side: float, colour: str, style) -> None:
    y, x = centre - side / 2
    axis.add_patch(Rectangle((x, y), side, side, fill=False, edgecolor="black", linewidth=3))
    axis.add_patch(Rectangle((x, y), side, side, fill=False, edgecolor=colour, linewidth=1.6, linestyle=style))


def _deciding(title: str, image: np.ndarray, labels: np.ndarray, token: tuple, stride: int) -> list[tuple]:
    """((row, column) of its centre in pixels, its side) of each thing elsewhere that decides the label of a token."""
    values = image.astype(int) - 128
    y, x = token
    if title in ("bright", "direction", "scenes", "chirality"):
        shown = values[..., 1]
        rows, columns = np.nonzero(shown == shown.max())
        return [((rows.mean(), columns.mean()), 5)]
    if title == "twin":
        own = values[y * stride, x * stride, 1:]
        alike = np.argwhere((values[..., 1:] == own).all(-1))
        far = alike[np.abs(alike - [y * stride, x * stride]).max(1) > bright.ITEM]
        return [(tuple(far.mean(0)), 5)]
    if title == "two paths":
        types = np.abs(values[..., 0]) > 100
        own = np.argwhere(types & (np.sign(values[..., 0]) == np.sign(values[y, x, 0])))
        return [(tuple(own[np.abs(own - [y, x]).sum(1).argmin()]), 1.4), ((y, x - 1), 1.0), ((y, x + 1), 1.0)]
    if title == "windows":
        direction_of = np.abs(windows.COMPASS - values[y, x, :2]).sum(1).argmin()
        step = windows.STEPS[direction_of] * ((abs(values[y, x, 2]) + 20) // 40)
        return [((y + step[0], x + step[1]), 1.4)]
    heading = (np.abs(warp.SHOWN - values[y, x, 1]) + np.abs(np.roll(warp.SHOWN, -6) - values[y, x, 2])).argmin()
    marker = np.argwhere((values[..., 1] > 100) & (values[..., 2] > 100)).mean(0)
    return [((y + warp.STEP[heading], x + warp.STEP[(heading + 6) % 24]), 1.4), (tuple(marker), 4)]


def alignment(path: Path) -> None:
    """One sentence, its translation, and which word comes from which."""
    source = EXAMPLE.split()
    target = mini_translation.translate(" ".join(mini_translation.VELU[gloss] for gloss in source)).split()
    stems = {mini_translation.TORAM[gloss]: gloss for gloss in mini_translation.TORAM}
    meanings = [_meaning(word, stems) for word in target]
    origin = {sense: noun for noun, pair in mini_translation.SENSES.items() for sense in pair}
    figure, axis = plt.subplots(figsize=(10.5, 2.9))
    step = (len(target) - 1) / (len(source) - 1)
    for place, (gloss, word) in enumerate(zip(source, (mini_translation.VELU[g] for g in source), strict=True)):
        axis.text(place * step, 1.13, gloss, ha="center", va="bottom", fontsize=9, color="#6b7280", style="italic")
        axis.text(place * step, 1.0, word, ha="center", va="bottom", fontsize=11.5, weight="bold")
    for place, (meaning, word) in enumerate(zip(meanings, target, strict=True)):
        start = source.index(origin.get(meaning, meaning)) * step
        colour = {"dog": "#d1495b", "guard": "#d1495b", "outdoors": "#3b8fd9", "shore": "#3b8fd9"}.get(
            meaning, "#c3c8d1"
        )
        axis.plot([start, place], [0.96, 0.3], color=colour, linewidth=1.8 if colour != "#c3c8d1" else 1.1, zorder=1)
        axis.text(place, 0.24, word, ha="center", va="top", fontsize=11.5, weight="bold")
        axis.text(place, 0.1, meaning, ha="center", va="top", fontsize=9, color="#6b7280", style="italic")
    _bow(axis, meanings.index("dog"), meanings.index("guard"), 0.2, "#d1495b")
    _bow(axis, meanings.index("outdoors"), meanings.index("shore"), 0.36, "#3b8fd9")
    axis.text(11.2, -0.24, "the verb agrees with its subject", ha="center", va="top", color="#d1495b", fontsize=9.5)
    axis.text(2.2, -0.4, "the scene picks the sense", ha="center", va="top", color="#3b8fd9", fontsize=9.5)
    axis.set(xlim=(-0.6, len(target) - 0.4), ylim=(-0.52, 1.25))
    axis.set_axis_off()
    _save(figure, path)


def _meaning(word: str, stems: dict[str, str]) -> str:
    """The meaning of a Toram word, its ending cut off where it has one."""
    return next(stems[word[: len(word) - cut]] for cut in (0, 1, 2) if word[: len(word) - cut] in stems)


def _bow(axis, start: int, end: int, depth: float, colour: str) -> None:
    turn = np.linspace(0, np.pi, 60)
    axis.plot(start + (end - start) * (1 - np.cos(turn)) / 2, -0.04 - depth * np.sin(turn), color=colour, linewidth=1.4)


def lengths(path: Path) -> None:
    """How long the sentences of a training set are."""
    words = [len(line.split()) for line in mini_translation.sentences(12000, 1)]
    figure, axis = plt.subplots(figsize=(5.2, 2.1))
    axis.hist(words, bins=np.arange(4.5, 61.5), color="#3b8fd9", edgecolor="white", linewidth=0.4)
    axis.set(xlabel="words in the sentence", ylabel="sentences of 12,000", xlim=(4, 61), yscale="log")
    axis.spines[["top", "right"]].set_visible(False)
    _save(figure, path)


def _save(figure, path: Path) -> None:
    """Few colours keep the picture small; neither date nor version goes into the file."""
    from io import BytesIO

    from PIL import Image

    path.parent.mkdir(parents=True, exist_ok=True)
    drawn = BytesIO()
    figure.savefig(drawn, dpi=130, format="png")
    plt.close(figure)
    Image.open(drawn).convert("RGB").quantize(96, dither=Image.Dither.NONE).save(path, optimize=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else OF_THE_README)
