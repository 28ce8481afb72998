"""Image probes: the same bytes everywhere, no shortcut past the mechanism, bad parameters in one line."""

import hashlib
import importlib
import os
import subprocess
import sys

import numpy as np
import pytest

from plugins.datasets import bright, chirality, direction, probe, scenes, twin, two_paths, warp, windows
from plugins.datasets.prepare import prepare
from plugins.suite.errors import UserError

PROBES = ("bright", "twin", "direction", "windows", "two_paths", "chirality", "scenes", "warp")
FEW = {"train": 2, "val": 1, "test": 3}


def drawn(name: str, count: int, seed: int = 101, **options) -> probe.Batch:
    module = importlib.import_module(f"plugins.datasets.{name}")
    return module.draw(np.random.default_rng(seed), count, noise=module.DEFAULTS["noise"], **options)


@pytest.mark.parametrize("name", PROBES)
def test_a_folder_holds_arrays_of_all_splits_and_what_the_scorer_must_know(name, tmp_path):
    manifest = prepare(name, tmp_path / "data", {"seed": 5, **FEW})
    assert manifest["counts"]["test"]["images"] == 3 and manifest["task"] == "probe"
    labels = np.load(tmp_path / "data/arrays/test_labels.npy")
    images = np.load(tmp_path / "data/arrays/test_images.npy")
    known = labels[labels != probe.UNLABELLED]
    assert images.dtype == np.uint8 and images.shape[0] == len(labels) == 3
    assert len(known) and known.max() < len(manifest["mask_classes"])
    assert (labels != probe.UNLABELLED).any((1, 2)).all()
    assert manifest["chance"] == 100 / len(manifest["mask_classes"])
    assert all(manifest["chance"] <= bound <= 100 for bound in manifest["bounds"].values())


@pytest.mark.parametrize("name", PROBES)
def test_seeds_differ_and_a_larger_training_set_leaves_the_test_set_as_it_is(name, tmp_path):
    first = prepare(name, tmp_path / "a", {"seed": 5, **FEW})
    other = prepare(name, tmp_path / "b", {"seed": 6, **FEW})
    larger = prepare(name, tmp_path / "c", {"seed": 5, **FEW, "train": 4})
    path = "arrays/test_images.npy"
    assert first["files"][path] == larger["files"][path] != other["files"][path]


BYTES = """
import hashlib, importlib
import numpy as np
total = hashlib.sha256()
for name in {names}:
    module = importlib.import_module("plugins.datasets." + name)
    batch = module.draw(np.random.default_rng(7), 5, noise=module.DEFAULTS["noise"])
    for part in (batch.images, batch.labels, batch.groups):
        total.update(part.tobytes())
print(total.hexdigest())
"""


def test_the_bytes_are_the_same_under_other_instruction_sets():
    code, digests = BYTES.format(names=PROBES), set()
    for off in ("", "AVX512F AVX512CD AVX512_SKX AVX512_CLX AVX512_CNL AVX512_ICL AVX2 FMA3"):
        run = subprocess.run(
            [sys.executable, "-W", "ignore", "-c", code],
            env=os.environ | {"NPY_DISABLE_CPU_FEATURES": off},
            capture_output=True,
            text=True,
            check=True,
        )
        digests.add(run.stdout.strip())
    assert len(digests) == 1 and len(digests.pop()) == hashlib.sha256().digest_size * 2


@pytest.mark.parametrize("name", PROBES)
def test_labels_are_balanced(name):
    batch = drawn(name, 600)
    known = batch.labels[batch.labels != probe.UNLABELLED]
    shares = np.bincount(known) / len(known)
    assert abs(shares - 1 / len(shares)).max() < 0.04


##### shortcuts: linear read-outs without the mechanism stay near the stated bounds #####


def linear_accuracy(features: np.ndarray, labels: np.ndarray, classes: int) -> float:
    """Accuracy (%) on the second half of a ridge regression on one-hot labels fitted to the first half."""
    half = len(features) // 2
    x = (features - features[:half].mean(0)) / (features[:half].std(0) + 1e-6)
    x = np.hstack([x, np.ones((len(x), 1))])
    train, y = x[:half], np.eye(classes)[labels[:half]]
    weights = np.linalg.solve(train.T @ train + 10 * np.eye(x.shape[1]), train.T @ y)
    return 100 * float(((x[half:] @ weights).argmax(1) == labels[half:]).mean())


def tokens_and_statistics(
    batch: probe.Batch, patch: int, local: bool = True
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(own, whole, labels) of labelled tokens: a patch around each, with products; statistics of its image.

    Statistics: mean, mean square, mean absolute value of the channels, and of the differences along rows and columns
    pooled over the image, which is what global pooling of local features can know; `local`: with the differences, for
    probes whose network has convolutions before the layer.
    """
    images = batch.images.astype(float) / 64 - 2
    stride = images.shape[1] // batch.labels.shape[1]
    dy, dx = np.diff(images, axis=1), np.diff(images, axis=2)
    pooled = [
        f(part)
        for part in ((images, dy, dx) if local else (images,))
        for f in (lambda p: p.mean((1, 2)), lambda p: (p**2).mean((1, 2)))
    ]
    whole = np.hstack([*pooled, np.abs(images).max((1, 2))])
    n, y, x = np.nonzero(batch.labels != probe.UNLABELLED)
    reach = (patch - stride) // 2
    padded = np.pad(images, ((0, 0), (reach, patch), (reach, patch), (0, 0)))
    rows, columns = (
        (y * stride)[:, None, None] + np.arange(patch)[:, None],
        (x * stride)[:, None, None] + np.arange(patch),
    )
    own = padded[n[:, None, None], rows, columns].reshape(len(n), -1)
    own = np.hstack([own, own[:, :-1] * own[:, 1:], own[:, : -3 * patch] * own[:, 3 * patch :]])
    return own, whole[n], batch.labels[n, y, x].astype(int)


@pytest.mark.parametrize(
    ("name", "count", "patch", "local", "bound"),
    [
        ("bright", 700, 4, True, bright.TASK.bounds["the number of set states"]),
        ("twin", 500, 4, True, twin.TASK.bounds["the mean of the others"]),
        ("direction", 700, 4, True, direction.TASK.bounds["no position"]),
        ("windows", 60, 1, False, windows.TASK.bounds["no interaction"]),
        ("two_paths", 200, 1, False, two_paths.TASK.bounds["the mean of the states"]),
        ("chirality", 1500, 3, False, chirality.TASK.bounds["convolution alone"]),
        ("scenes", 1200, 4, True, scenes.TASK.bounds["the mean of the others"]),
        ("warp", 80, 3, True, warp.TASK.bounds["the field alone"]),
    ],
)
def test_a_patch_and_the_statistics_of_its_image_do_not_tell_the_label(name, count, patch, local, bound):
    batch = drawn(name, count)
    own, whole, labels = tokens_and_statistics(batch, patch, local)
    classes = importlib.import_module(f"plugins.datasets.{name}").TASK.classes
    assert linear_accuracy(np.hstack([own, whole]), labels, classes) < bound + 5


def test_position_tells_nothing_of_the_side_of_the_marker():
    """The place of an object says where most of the canvas lies; its own sight does not reach an edge."""
    batch = drawn("direction", 300)
    n, y, x = np.nonzero(batch.labels != probe.UNLABELLED)
    side = batch.images.shape[1]
    # Two 3 x 3 convolutions, the second with stride 2: token t sees the pixels 2 t - 2 .. 2 t + 2.
    assert min(2 * y.min(), 2 * x.min()) - 2 >= 0 and max(2 * y.max(), 2 * x.max()) + 2 < side


def test_windows_hold_what_their_bounds_say():
    batch = drawn("windows", 40)
    known = batch.labels != probe.UNLABELLED
    shares = [float((known & (batch.groups == radius)).sum() / known.sum()) for radius in range(3)]
    bounds = windows.TASK.bounds
    assert 50 + 50 * shares[0] == pytest.approx(bounds["window of 3"], abs=1)
    assert 50 + 50 * (shares[0] + shares[1]) == pytest.approx(bounds["window of 5"], abs=1)


def test_the_number_of_set_states_bounds_what_uniform_attention_can_know():
    """Counted over all states of four markers: the best guess of one of them from their number."""
    right = 0
    for states in range(16):
        count = bin(states).count("1")
        right += max(count, 4 - count) / 4
    assert 100 * right / 16 == bright.TASK.bounds["the number of set states"]


@pytest.mark.parametrize(
    ("name", "params", "rule"),
    [
        ("bright", {"train": 0}, "at least 1"),
        ("bright", {"marker": "nearby"}, "must be one of far, near"),
        ("twin", {"twins": "none"}, "must be one of far, near"),
        ("direction", {"margin": 3}, "must be one of 0, 2, 4"),
        ("windows", {"field": "rough"}, "must be one of iid, smooth"),
        ("chirality", {"side": "left"}, "must be one of marker, none"),
        ("scenes", {"marker": "two"}, "must be one of one, none"),
        ("warp", {"marker": "two"}, "must be one of one, none"),
        ("scenes", {"colour": 1}, "has no such parameter"),
    ],
)
def test_a_parameter_that_cannot_be_is_one_line(name, params, rule, tmp_path):
    with pytest.raises(UserError, match=rule) as caught:
        prepare(name, tmp_path / "data", {**FEW, **params})
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "options"),
    [("bright", {"near": True}), ("twin", {"near": True}), ("scenes", {"alone": True}), ("chirality", {"alone": True})],
)
def test_controls_have_the_shape_of_their_probe(name, options):
    control, base = drawn(name, 4, **options), drawn(name, 4)
    assert control.images.shape == base.images.shape
    assert ((control.labels != probe.UNLABELLED) == (base.labels != probe.UNLABELLED)).all()


def test_a_near_control_shows_the_answer_inside_the_object():
    batch = drawn("bright", 500, near=True)
    own, whole, labels = tokens_and_statistics(batch, 4)
    assert linear_accuracy(own, labels // 2, 2) > 99
