"""A SLURM cluster on this machine: a controller and three virtual nodes, all of the user's own, in one folder.

    with Cluster(folder) as cluster:
        subprocess.run(["sbatch", ...], env=cluster.environment)

Needs Debian's packages slurm-wlm and munge. Nothing of a cluster that the machine belongs to is touched: key, socket,
ports, state and configuration are this folder's, and what was started is ended by its own id.
"""

from __future__ import annotations

import os
import pwd
import secrets
import shutil
import socket
import subprocess
import time
from pathlib import Path

NODES = ("node1", "node2", "node3")
PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "squeue", "scancel", "scontrol")
# linuxproc and task/none: no cgroups, which containers lack. config_overrides: nodes may claim more than there is.
CONFIGURATION = """\
ClusterName=convattn
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
CredType=cred/munge
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool/%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SlurmdParameters=config_overrides
SchedulerParameters=sched_interval=2,batch_sched_delay=1
ReturnToService=2
KillWait=5
MinJobAge=600
NodeName={nodes} NodeHostname={host} NodeAddr=127.0.0.1 Port=[{ports[1]}-{ports[3]}] \
  CPUs={cpus} RealMemory={memory} State=UNKNOWN
PartitionName=cpu Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""


def missing() -> list[str]:
    """The programs of SLURM and munge that this machine lacks."""
    return [name for name in PROGRAMS if _program(name) is None]


def _program(name: str) -> str | None:
    return shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")


class Cluster:
    """Starts on entering, ends on leaving. `cpus`, `memory` (MB): of each of the three nodes."""

    def __init__(self, folder: Path, cpus: int = 2, memory: int = 8000) -> None:
        self.folder, self.cpus, self.memory = folder.resolve(), cpus, memory
        path = f"{self.folder / 'bin'}:{os.environ.get('PATH', '')}"
        self.environment = {**os.environ, "SLURM_CONF": str(self.folder / "slurm.conf"), "PATH": path}
        self._processes: list[subprocess.Popen] = []

    def __enter__(self) -> Cluster:
        self._configure()
        try:
            socket_, key = self.folder / "munge.socket", self.folder / "munge.key"
            names = [f"--{n}-file={self.folder / f'munged.{n}'}" for n in ("pid", "log", "seed")]
            self._start("munged", "--foreground", "--force", f"--socket={socket_}", f"--key-file={key}", *names)
            self._until(socket_.exists, "munged")
            self._start("slurmctld", "-D")
            for node in NODES:
                self._start("slurmd", "-D", "-N", node)
            self._until(lambda: self.states().count("idle") == len(NODES), "three idle nodes")
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for process in reversed(self._processes):
            process.terminate()
        for process in reversed(self._processes):
            try:
                process.wait(timeout=15)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def call(self, name: str, *words: str) -> str:
        """The output of one of SLURM's programs. CalledProcessError where it fails."""
        done = subprocess.run(
            [_program(name), *words], env=self.environment, capture_output=True, text=True, check=True, timeout=60
        )
        return done.stdout.strip()

    def states(self) -> list[str]:
        """The state of every node; empty while the controller does not answer."""
        done = subprocess.run(
            [_program("sinfo"), "-h", "-N", "-o", "%T"],
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
        )
        return done.stdout.split() if done.returncode == 0 else []

    def jobs(self, state: str = "RUNNING") -> list[tuple[str, str, str]]:
        """(id, comment, node) of every job in a state."""
        lines = self.call("squeue", "-h", "-t", state, "-o", "%i|%k|%N").splitlines()
        return [tuple(line.split("|")) for line in lines]

    def _configure(self) -> None:
        for name in ("bin", "state", *(f"spool/{node}" for node in NODES)):
            (self.folder / name).mkdir(parents=True)
        self.folder.chmod(0o755)  # munged refuses a socket in a folder that others may write to
        key = self.folder / "munge.key"
        key.touch(mode=0o600)
        key.write_bytes(secrets.token_bytes(1024))
        names = {"host": socket.gethostname().split(".")[0], "user": pwd.getpwuid(os.getuid()).pw_name}
        text = CONFIGURATION.format(
            folder=self.folder, ports=_ports(1 + len(NODES)), nodes=f"node[1-{len(NODES)}]",
            cpus=self.cpus, memory=self.memory, **names,
        )  # fmt: skip
        (self.folder / "slurm.conf").write_text(text)
        # snakemake's plugin takes all SLURM_* from a job before it calls srun, which then looks in /etc.
        srun = self.folder / "bin/srun"
        srun.write_text(f'#!/bin/sh\nSLURM_CONF={self.folder}/slurm.conf exec {_program("srun")} "$@"\n')
        srun.chmod(0o755)

    def _start(self, name: str, *words: str) -> None:
        log = (self.folder / f"{name}{len(self._processes)}.out").open("w")
        with log:
            process = subprocess.Popen(
                [_program(name), *words], env=self.environment, stdout=log, stderr=log, start_new_session=True
            )
        self._processes.append(process)

    def _until(self, holds, what: str, seconds: float = 60) -> None:
        end = time.monotonic() + seconds
        while not holds():
            dead = [process for process in self._processes if process.poll() is not None]
            if dead or time.monotonic() > end:
                logs = "\n".join(f"{path.name}: {path.read_text()[-600:]}" for path in self.folder.glob("*.out"))
                raise RuntimeError(f"no {what} after {seconds:.0f} s; dead: {[p.args[0] for p in dead]}\n{logs}")
            time.sleep(0.2)


def _ports(count: int) -> list[int]:
    """Free ports of this machine, one after another, as the nodes' range is written."""
    for first in range(20000 + os.getpid() % 10000, 60000, count):
        try:
            for port in range(first, first + count):
                with socket.socket() as trial:
                    trial.bind(("127.0.0.1", port))
        except OSError:
            continue
        return list(range(first, first + count))
    raise RuntimeError("no free ports")
