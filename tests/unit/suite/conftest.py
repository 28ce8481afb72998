"""A small study to read: two ablations, a recipe of each kind."""

from pathlib import Path

import pytest

from plugins.suite import catalog

STUDY = """
title: A toy
paper: none
metric: {translation: bleu, classification: top1}
figures: [tradeoff]
"""
ABLATION = """
title: A toy
paper: Table 0
task: translation
baseline: w/o
arms:
  w/o: {priority: core, set: {attention: null}}
  "0010": {priority: core, set: {attention: {terms: "0010", spatial_range: 2}}}
  0010+dcn: {priority: extra, set: {attention: {terms: "0010"}, deformable: true}}
  again: {same_as: toy/0010}
"""
RECIPE = """
engine: fairseq
threads: 1
data: {name: mini_translation, sentences: 100}
model: {attention: {spatial_range: 4}, layers: 1, width: 16, ffn_width: 16, heads: 2, dropout: 0.1}
train: {updates: 3, max_tokens: 100, lr: 0.01, warmup: 1, save_every: 3}
measure: {tokens: 8}
"""
IMAGES = """
engine: mmpretrain
threads: 1
data: {name: mini_shapes}
model: {coatnet: {size: 0, image_size: 64}}
train: {config: scratch.py, updates: 3, batch: 2, lr: 0.01, warmup: 1, log_every: 1, checkpoint_every: 1}
measure: {height: 64, width: 64}
"""


class Toy:
    """A folder with one study, `toy`; `write` replaces or adds one of its files."""

    def __init__(self, root: Path) -> None:
        self.root, self.folder = root, root / "experiments" / "toy"

    def write(self, name: str, text: str | bytes) -> Path:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        catalog.forget()
        return path


@pytest.fixture
def toy(tmp_path, monkeypatch) -> Toy:
    """The working folder of the test, with the study in it."""
    monkeypatch.chdir(tmp_path)
    study = Toy(tmp_path)
    files = {
        "study.yaml": STUDY,
        "ablations/toy.yaml": ABLATION,
        "configs/translation-mini.yaml": RECIPE,
        "configs/classification-mini.yaml": IMAGES,
        "configs/scratch.py": "",
    }
    for name, text in files.items():
        study.write(name, text)
    return study
