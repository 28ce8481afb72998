"""Runs as children of a process that has imported their engine: the same numbers, and nothing lost or left behind.

The project lies deeper than the path of a socket may be long.
"""

import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from plugins.runner.warm import SWITCH
from tests.end_to_end.conftest import make_project

FAIRSEQ, MMSEG = "muse/tiny/muse/seed1", "spatial_attention/tiny_segmentation/0100/seed1"
PATIENCE = 240  # seconds, on a machine that is busy


class Runs:
    """Two runs of a tiny project, made in processes of their own, to be made again.

    `owner`: what stands for snakemake.
    """

    def __init__(self, root: Path):
        root.mkdir()
        self.project = make_project(root)
        self.folders = {run: root / "results/runs/mini" / run for run in (FAIRSEQ, MMSEG)}
        done = self.project.snakemake(
            *(str((path / "metrics.json").relative_to(root)) for path in self.folders.values())
        )
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
        self.cold = {run: self.project.metrics(run) for run in self.folders}
        self.owner = subprocess.Popen(["sleep", "3600"])

    def start(self, run: str) -> subprocess.Popen:
        command = shlex.split(self.cold[run]["provenance"]["command"])[1:]
        threads = {name: "1" for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")}
        environment = os.environ | threads | {SWITCH: str(self.owner.pid)}
        return subprocess.Popen(
            [sys.executable, *command], cwd=self.project.root, env=environment, stderr=subprocess.PIPE, text=True
        )

    def child(self, run: str) -> int:
        """The process of the last run."""
        return int((self.folders[run] / "run.lock").read_text().removeprefix("pid "))

    def started(self, run: str) -> tuple[subprocess.Popen, int]:
        """A run that is training beyond its last checkpoint, and its child."""
        log = self.folders[run] / "train.log"
        before = log.read_text().count("resuming from") if log.is_file() else 0
        has_checkpoint = any(self.folders[run].glob("checkpoints/*.pt"))
        client = self.start(run)
        if has_checkpoint:
            wait_for(lambda: log.read_text().count("resuming from") > before)
        else:
            wait_for(lambda: any(self.folders[run].glob("checkpoints/*.pt")))
        assert self.child(run) != client.pid
        return client, self.child(run)

    def interrupted(self, number: int) -> tuple[int, str]:
        """The exit status and the recorded error of a run whose client gets a signal."""
        client, child = self.started(FAIRSEQ)
        client.send_signal(number)
        status = client.wait(PATIENCE)
        assert not is_alive(child)
        return status, json.loads((self.folders[FAIRSEQ] / "error.json").read_text())["error"]

    def sockets(self) -> set[str]:
        """The names of the sockets."""
        return {path.name for path in (self.project.root / "results/.warm").iterdir()} - {"lock"}

    def servers(self) -> list[int]:
        """The warm processes and their children."""
        inside = []
        for process in Path("/proc").glob("[0-9]*"):
            try:
                words, folder = (process / "cmdline").read_bytes().split(b"\0"), os.readlink(process / "cwd")
            except OSError:
                continue
            if b"plugins.runner.warm" in words and folder == str(self.project.root):
                inside.append(int(process.name))
        return inside


def wait_for(condition) -> None:
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, "it does not come"
        time.sleep(0.05)


def is_alive(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


def parent(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    runs = Runs(tmp_path_factory.mktemp("warm") / ("deep" * 30))
    yield runs
    runs.owner.kill()
    runs.owner.wait()
    wait_for(lambda: not runs.servers())
    assert not runs.sockets()


@pytest.fixture
def long(runs):
    """The fairseq run, too long to be waited for."""
    runs.project.edit(
        "experiments/muse/configs/translation-mini.yaml", lambda recipe: recipe["train"].update(updates=10**6)
    )
    shutil.rmtree(runs.folders[FAIRSEQ])
    return runs


@pytest.mark.parametrize("run", [FAIRSEQ, MMSEG])
def test_a_warm_run_leaves_what_a_cold_one_does(runs, run):
    shutil.rmtree(runs.folders[run])
    client = runs.start(run)
    assert client.wait(PATIENCE) == 0 and client.stderr.read() == ""
    assert runs.child(run) != client.pid and not is_alive(runs.child(run))
    assert lasting(runs.project.metrics(run)) == lasting(runs.cold[run])


def lasting(metrics: dict) -> dict:
    """Without what is another one each time."""
    record = {key: value for key, value in metrics["provenance"].items() if key not in ("started", "finished")}
    return {key: value for key, value in metrics.items() if key != "wall_s"} | {"provenance": record}


def test_changed_sources_are_served_by_another_process(runs):
    assert runs.start(FAIRSEQ).wait(PATIENCE) == 0
    before = runs.sockets()
    (runs.project.root / "plugins/operators/muse.py").touch()
    assert runs.start(FAIRSEQ).wait(PATIENCE) == 0
    assert runs.sockets() - before


def test_without_a_living_owner_a_run_is_cold(runs, monkeypatch):
    for owner in ("0", "", str(2**22 + 1)):
        monkeypatch.setattr(runs, "owner", type("Owner", (), {"pid": owner}))
        client = runs.start(FAIRSEQ)
        assert client.wait(PATIENCE) == 0 and runs.child(FAIRSEQ) == client.pid


def test_whatever_is_killed_ends_the_run_which_resumes(long):
    client, child = long.started(FAIRSEQ)
    client.kill()
    wait_for(lambda: not is_alive(child))

    client, child = long.started(FAIRSEQ)
    os.kill(child, signal.SIGKILL)
    assert client.wait(PATIENCE) == -signal.SIGKILL

    client, child = long.started(FAIRSEQ)
    os.kill(parent(parent(child)), signal.SIGKILL)
    assert client.wait(PATIENCE) == 1 and "it resumes" in client.stderr.read()
    wait_for(lambda: not is_alive(child))
    assert not (long.folders[FAIRSEQ] / "error.json").exists()

    assert long.interrupted(signal.SIGTERM) == (1, "SystemExit: terminated")
    assert long.interrupted(signal.SIGINT) == (-signal.SIGINT, "interrupted")
