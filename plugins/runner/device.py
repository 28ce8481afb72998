"""Hands out accelerators: a run takes the first devices that no other run on this machine holds."""

from __future__ import annotations

import contextlib
import fcntl
import os
import sys
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
    """Waits until `count` of the devices are free together; it never holds fewer, or two runs could wait for ever.

    One line says that it waits, for what, and whose lock it is: anybody on the machine may hold one.
    """
    announced = False
    while True:
        with contextlib.ExitStack() as stack:
            held = []
            for device in devices:
                if len(held) < count and _free(device, stack):
                    held.append(device)
            if len(held) == count:
                yield held
                return
        if not announced:
            busy = ", ".join(f"{device} ({_owner(device)})" for device in devices if device not in held)
            print(
                f"waiting for {count} GPU(s): the locks of {busy} in {tempfile.gettempdir()} are held; "
                "end those runs, or set CUDA_VISIBLE_DEVICES to other devices",
                file=sys.stderr,
                flush=True,
            )
            announced = True
        time.sleep(5)


def lock_file(device: str) -> Path:
    """The lock of a device, one for all users of the machine."""
    return Path(tempfile.gettempdir()) / f"convattn-gpu-{device.replace('/', '-')}.lock"


def _owner(device: str) -> str:
    """Whose process made the lock's file."""
    try:
        return f"made by {lock_file(device).owner()}"
    except (KeyError, OSError):
        return "made by an unknown user"


def _free(device: str, stack: contextlib.ExitStack) -> bool:
    """Whether the device could be locked; it is until `stack` ends.

    The file may be another user's: it is opened for reading, which a lock needs no more than, and no link is followed.
    """
    path = lock_file(device)
    try:
        handle = os.open(path, os.O_RDONLY | os.O_CREAT | os.O_NOFOLLOW, 0o644)
    except PermissionError:
        # In a shared folder the kernel may refuse O_CREAT on another user's file even where it exists.
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
    except OSError as error:
        raise UserError(
            f"{path}: cannot be opened as the lock of GPU {device} ({error.strerror}); remove it"
        ) from error
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(handle)
        return False
    stack.callback(os.close, handle)
    return True
