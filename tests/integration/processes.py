"""A training of several processes on the CPU, as the tests of the OpenMMLab tasks start it."""

import pytest
import torch
from torch.distributed.elastic.multiprocessing.errors import record

from plugins.openmm_ext import engine

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
