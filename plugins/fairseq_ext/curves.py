"""curves.jsonl, which a training writes line by line, and `details.curve`, which is made of it.

Losses are negative log-likelihoods in nats per target token, end-of-sentence included, without label smoothing.
"""

from __future__ import annotations

import json
import logging
import math
import time
from pathlib import Path

from plugins.fairseq_ext import checkpoints
from plugins.fairseq_ext.details import gate_weights
from plugins.suite import files

NATS = math.log(2)
FILE = "curves.jsonl"


class Recorder(logging.Handler):
    """Turns fairseq's JSON log records into lines of curves.jsonl; prints how far the run is and what is left.

    A line holds `update` and what was logged there: train_loss (mean since the line before) and lr, valid_loss, or, at
    the end of an epoch, epoch and gates (the weight of each kernel by layer, where kernels are weighed).
    """

    def __init__(self, run_dir: Path, updates: int, resumed: int):
        super().__init__()
        self.curves, self.folder = run_dir / FILE, run_dir / "checkpoints"
        self.updates, self.resumed, self.started = updates, resumed, time.monotonic()

    def emit(self, record):
        if record.name == "train_inner":
            stats = json.loads(record.getMessage())
            update = int(stats["num_updates"])
            self.write(update, train_loss=float(stats["nll_loss"]) * NATS, lr=float(stats["lr"]))
            self.estimate(update)
        elif record.name == "valid":
            stats = json.loads(record.getMessage())
            self.write(int(stats["valid_num_updates"]), valid_loss=float(stats["valid_nll_loss"]) * NATS)
        elif record.name == "train":
            stats = json.loads(record.getMessage())
            update, epoch = int(stats["train_num_updates"]), stats["epoch"]
            path = self.folder / f"checkpoint_{epoch}_{update}.pt"
            path = path if path.exists() else self.folder / f"checkpoint{epoch}.pt"
            gates = gate_weights(checkpoints.load(path)["model"])
            if gates:
                self.write(update, epoch=epoch, gates=gates)

    def estimate(self, update: int) -> None:
        rate = (time.monotonic() - self.started) / max(1, update - self.resumed)
        left = rate * (self.updates - update)
        print(f"update {update} of {self.updates}, {rate:.2f} s each, about {left:.0f} s left", flush=True)

    def write(self, update: int, **values) -> None:
        with open(self.curves, "a", encoding="utf-8") as file:
            file.write(json.dumps({"update": update, **values}) + "\n")


def truncate(run_dir: Path, update: int) -> None:
    """Drops the lines that a killed run wrote after the checkpoint where it resumes."""
    path = run_dir / FILE
    if path.is_file():
        kept = [line for line in _lines(path) if line["update"] <= update]
        files.write_text(path, "".join(json.dumps(line) + "\n" for line in kept))


def curve(run_dir: Path) -> dict[str, list]:
    """{update, train_loss, valid_loss} of a training, one value an update where either was logged; None where not."""
    rows: dict[int, dict] = {}
    for line in _lines(run_dir / FILE):
        losses = {name: line[name] for name in ("train_loss", "valid_loss") if name in line}
        if losses:
            rows.setdefault(line["update"], {}).update(losses)
    updates = sorted(rows)
    return {"update": updates} | {
        name: [rows[update].get(name) for update in updates] for name in ("train_loss", "valid_loss")
    }


def _lines(path: Path) -> list[dict]:
    """The lines of a curve up to one that a kill cut short."""
    lines = []
    for text in files.read_text(path).splitlines():
        try:
            lines.append(json.loads(text))
        except ValueError:
            break
    return lines
