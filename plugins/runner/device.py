"""Hands out accelerators: a run takes the first device that no other run on this machine holds."""

from __future__ import annotations

import contextlib
import fcntl
import os
import tempfile
import time
from pathlib import Path

from plugins.runner.errors import UserError


def visible() -> list[str]:
    """Ids of the NVIDIA devices that this process may use, told without starting CUDA."""
    chosen = os.environ.get("CUDA_VISIBLE_DEVICES")
    if chosen is not None:
        return [device for device in chosen.split(",") if device and device != "-1"]
    return sorted(path.name.removeprefix("nvidia") for path in Path("/dev").glob("nvidia[0-9]*"))


@contextlib.contextmanager
def take(wanted: str):
    """Yields "cpu" or "cuda" for `wanted` = auto | cpu | cuda; a CUDA device is this process's own until it ends.

    Must come before torch starts CUDA: the device is chosen through CUDA_VISIBLE_DEVICES.
    """
    devices = [] if wanted == "cpu" else visible()
    if not devices:
        if wanted == "cuda":
            raise UserError("device: cuda was asked for and no GPU is visible; use device=cpu or a machine with a GPU")
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
        yield "cpu"
        return
    with _lock_one(devices) as device:
        os.environ["CUDA_VISIBLE_DEVICES"] = device
        yield "cuda"


@contextlib.contextmanager
def _lock_one(devices: list[str]):
    folder = Path(tempfile.gettempdir())
    while True:
        for device in devices:
            handle = (folder / f"convattn-gpu-{device.replace('/', '-')}.{os.getuid()}.lock").open("a")
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                handle.close()
                continue
            with handle:
                yield device
                return
        time.sleep(5)
