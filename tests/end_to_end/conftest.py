"""A copy of the project with experiments so small that the whole DAG runs in a minute."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

REPOSITORY = Path(__file__).resolve().parents[2]
PARTS = [
    "Snakefile",
    "analysis",
    "experiments",
    "plugins",
    "profiles",
    "workflow",
    "environment.yml",
    "requirements.lock",
]
TRANSLATION = {
    "model": {"layers": 1, "width": 16, "ffn_width": 16, "heads": 2},
    "train": {"updates": 4, "max_tokens": 400, "warmup": 1, "save_every": 2, "log_every": 1},
}
# Runs share a data set, so every recipe gets it as small.
DATA = {
    "mini_translation": {"sentences": 400, "valid": 20, "test": 20},
    "mini_shapes": {"train": 8, "val": 4, "test": 4, "per_class": 2},
}
SHORT = {"updates": 2, "batch": 2, "warmup": 1, "log_every": 1, "checkpoint_every": 1}
TINY = {
    "muse/configs/translation-mini.yaml": TRANSLATION,
    "spatial_attention/configs/translation-mini.yaml": TRANSLATION,
    "spatial_attention/configs/detection-mini.yaml": {
        "train": SHORT,
        "measure": {"height": 64, "width": 64, "batch": 1, "proposals": 10},
    },
    "spatial_attention/configs/segmentation-mini.yaml": {
        "train": SHORT,
        "measure": {"height": 64, "width": 64, "batch": 1},
    },
    "coatnet/configs/classification-mini.yaml": {
        "model": {"coatnet": {"widths": [8, 8, 16, 32, 32], "blocks": {"C-C-T-T": [1, 1, 1, 1, 1]}}},
        "train": {**SHORT, "score_every": 1},
        "measure": {"height": 64, "width": 64, "batch": 2},
    },
    "config.yaml": {"studies": ["muse", "spatial_attention", "coatnet"], "arms": "core", "seeds": [1]},
}
ABLATIONS = {
    "muse/tiny": {
        "title": "Two arms",
        "paper": "none",
        "task": "translation",
        "baseline": "transformer",
        "arms": {
            "transformer": {"priority": "core", "set": {"parallel": False, "convolution": None}},
            "muse": {"priority": "core", "set": {"parallel": True, "convolution": {"kernels": [3]}}},
        },
    },
    "spatial_attention/tiny": {
        "title": "Two arms",
        "paper": "none",
        "task": "detection",
        "baseline": "w/o",
        "arms": {
            "w/o": {"priority": "extra", "set": {}},
            "0010": {"priority": "core", "set": {"attention": {"terms": "0010", "kv_stride": 2}}},
        },
    },
    "spatial_attention/tiny_translation": {
        "title": "One arm",
        "paper": "none",
        "task": "translation",
        "baseline": "0110",
        "arms": {"0110": {"priority": "core", "set": {"attention": {"terms": "0110"}, "deformable": True}}},
    },
    "spatial_attention/tiny_segmentation": {
        "title": "One arm",
        "paper": "none",
        "task": "segmentation",
        "baseline": "0100",
        "arms": {"0100": {"priority": "core", "set": {"attention": {"terms": "0100", "kv_stride": 2}}}},
    },
    "coatnet/tiny": {
        "title": "One arm",
        "paper": "none",
        "task": "classification",
        "baseline": "pre",
        "arms": {"pre": {"priority": "core", "set": {"coatnet": {"relative": "pre"}}}},
    },
}


def claims(task: str, **check) -> dict:
    """The claims of a study: one, of one part."""
    part = {"id": "a", "says": "This is so.", "task": task, "level": "trained", "check": check}
    return {"paper": "none", "claims": [{"id": 1, "says": "This is so.", "published": "unread", "parts": [part]}]}


CLAIMS = {
    "muse": claims("translation", better="tiny/muse", than="tiny/transformer"),
    "spatial_attention": claims("detection", better="tiny/0010", than="tiny/w/o"),
    "coatnet": claims("classification", value="tiny/pre", metric="top1", above=20),
}


class Project:
    """A working copy: `snakemake(...)` runs in it, `edit(...)` changes one of its YAML files."""

    def __init__(self, root: Path):
        self.root = root

    def snakemake(self, *words: str, config: tuple[str, ...] = ()) -> subprocess.CompletedProcess:
        overrides = ["--config", *config] if config else []
        return subprocess.run(
            [sys.executable, "-m", "snakemake", "--cores", "2", *words, *overrides],
            cwd=self.root,
            capture_output=True,
            text=True,
            check=False,
        )

    def planned(self, *words: str, config: tuple[str, ...] = ()) -> set[str]:
        """The runs that a dry run would train, as study/ablation/arm/seed."""
        done = self.snakemake("-n", *words, config=config)
        assert done.returncode == 0, done.stderr
        paths = [line.rpartition(" ")[2] for line in done.stdout.splitlines() if ": Train results/runs/" in line]
        return {str(Path(path).parent.relative_to("results/runs/mini")) for path in paths}

    def edit(self, path: str | Path, change) -> None:
        file = self.root / path
        content = yaml.safe_load(file.read_text())
        change(content)
        file.write_text(yaml.safe_dump(content, sort_keys=False))

    def metrics(self, run: str) -> dict:
        return json.loads((self.root / "results/runs/mini" / run / "metrics.json").read_text())


def make_project(root: Path) -> Project:
    """The tiny project, nothing run yet."""
    for part in PARTS:
        source = REPOSITORY / part
        ignore = shutil.ignore_patterns("__pycache__")
        shutil.copytree(source, root / part, ignore=ignore) if source.is_dir() else shutil.copy(source, root / part)
    shutil.rmtree(root / "experiments/plans", ignore_errors=True)  # they name claims of the real studies
    project = Project(root)
    for path in sorted((root / "experiments").glob("*/configs/*-mini.yaml")):
        project.edit(path.relative_to(root), _shrink_data)
    for path, change in TINY.items():
        project.edit(f"experiments/{path}", lambda content, change=change: _lay_over(content, change))
    for study in {name.split("/")[0] for name in ABLATIONS}:
        shutil.rmtree(root / "experiments" / study / "ablations")
        (root / "experiments" / study / "ablations").mkdir()
        # Nothing published of these arms, no models to count.
        reference = root / "experiments" / study / "reference.csv"
        reference.write_text(reference.read_text().splitlines(keepends=True)[0])
        (root / "experiments" / study / "models.yaml").unlink(missing_ok=True)
        project.edit(f"experiments/{study}/study.yaml", lambda content: content.pop("proxy", None))
        (root / "experiments" / study / "claims.yaml").write_text(yaml.safe_dump(CLAIMS[study], sort_keys=False))
    for name, ablation in ABLATIONS.items():
        study, file = name.split("/")
        path = root / "experiments" / study / "ablations" / f"{file}.yaml"
        path.write_text(yaml.safe_dump(ablation, sort_keys=False))
    return project


def _shrink_data(recipe: dict) -> None:
    """Makes a recipe's data small; one that is like another may have none of its own."""
    if "data" in recipe:
        recipe["data"].update(DATA.get(recipe["data"]["name"], {}))


def _lay_over(content: dict, change: dict) -> None:
    for key, value in change.items():
        if isinstance(value, dict):
            _lay_over(content.setdefault(key, {}), value)
        else:
            content[key] = value


@pytest.fixture
def fresh(tmp_path) -> Project:
    """A tiny project of the test's own."""
    return make_project(tmp_path)


@pytest.fixture(scope="session")
def finished(tmp_path_factory) -> Project:
    """A tiny project whose DAG ran once; tests that change it put it back."""
    project = make_project(tmp_path_factory.mktemp("finished"))
    done = project.snakemake()
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return project
