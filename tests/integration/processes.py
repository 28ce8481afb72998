"""What the tests of the OpenMMLab tasks do in processes of their own: trainings of several, and a list of imports."""

import sys
from pathlib import Path

import pytest
import torch
from torch.distributed.elastic.multiprocessing.errors import record

from plugins.openmm_ext import engine
from plugins.suite.sources import ROOT

# Without GPUs: no device to bind, and no buffers to send on their own.
WRAPPER = {"model_wrapper_cfg": {"type": "MMDistributedDataParallel", "device_ids": None, "broadcast_buffers": False}}


@record
def one_of_many_on_cpus(config, start):
    """Takes the place of `train_one_of_many`: mmengine's launcher would choose GPUs."""
    torch.distributed.init_process_group("gloo")
    engine.train_process(config, start, launcher="pytorch")


def assert_shared(together, alone):
    """The curves of two processes are those of a training in one, up to what each process draws for itself."""
    assert [line["update"] for line in together] == [line["update"] for line in alone]
    # The first update is the same network on the same batch of two, here a half each.
    assert together[0]["train_loss"] == pytest.approx(alone[0]["train_loss"], rel=0.2) and together != alone


def imported_sources() -> list[str]:
    """The files of `plugins` that this process has imported, relative to the repository and sorted."""
    paths = {Path(module.__file__).resolve() for module in list(sys.modules.values()) if getattr(module, "__file__", 0)}
    return sorted(str(path.relative_to(ROOT)) for path in paths if path.is_relative_to(ROOT / "plugins"))
