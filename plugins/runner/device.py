"""Hands out accelerators: a run takes the first devices that no other run on this machine holds."""

from __future__ import annotations

import contextlib
import fcntl
import os
import tempfile
import time
from pathlib import Path

from plugins.suite.errors import UserError


def visible() -> list[str]:
    """Ids of the NVIDIA devices that this process may use, told without starting CUDA."""
    chosen = os.environ.get("CUDA_VISIBLE_DEVICES")
    if chosen is not None:
        return [device for device in chosen.split(",") if device and device != "-1"]
    return sorted(path.name.removeprefix("nvidia") for path in Path("/dev").glob("nvidia[0-9]*"))


@contextlib.contextmanager
def take(wanted: str, count: int = 1):
    """Yields "cpu" or "cuda" for `wanted` = auto | cpu | cuda; `count` CUDA devices are this process's own.

    Must come before torch starts CUDA: the device is chosen through CUDA_VISIBLE_DEVICES.
    """
    devices = [] if wanted == "cpu" else visible()
    if 1 < count > len(devices):
        raise UserError(
            f"train.gpus: the recipe trains on {count} GPUs and {len(devices)} can be had; lower it "
            "(for fairseq, raise train.update_freq by as much)"
        )
    if not devices:
        if wanted == "cuda":
            raise UserError("device: cuda was asked for and no GPU is visible; use device=cpu or a machine with a GPU")
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
        yield "cpu"
        return
    with _lock(devices, count) as held:
        os.environ["CUDA_VISIBLE_DEVICES"] = ",".join(held)
        yield "cuda"


@contextlib.contextmanager
def _lock(devices: list[str], count: int):
    """Waits until `count` of the devices are free together; it never holds fewer, or two runs could wait for ever."""
    while True:
        with contextlib.ExitStack() as stack:
            held: list[str] = []
            for device in devices:
                if len(held) < count and _free(device, stack):
                    held.append(device)
            if len(held) == count:
                yield held
                return
        time.sleep(5)


def _free(device: str, stack: contextlib.ExitStack) -> bool:
    """Whether the device could be locked; it is until `stack` ends."""
    folder = Path(tempfile.gettempdir())
    handle = (folder / f"convattn-gpu-{device.replace('/', '-')}.{os.getuid()}.lock").open("a")
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        handle.close()
        return False
    stack.enter_context(handle)
    return True
