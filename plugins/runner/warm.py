"""A process that has imported an engine and forks a child for each run, which saves a short run most of its start.

`python -m plugins.runner` asks the one that listens below results/.warm and starts it where there is none. Such a
process trains nothing itself, so that a child is in the state of a process that has just imported its engine. It
serves runs of its engine and task that have its environment, folder, sources and packages; it ends after a minute
without work, or with the snakemake that it works for. A run that it cannot serve goes on in the process that asked.
"""

from __future__ import annotations

import ctypes
import fcntl
import gc
import hashlib
import importlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import sysconfig
from pathlib import Path

from plugins.suite.sources import OPENMM, ROOT

SWITCH = "CONVATTN_WARM"  # environment variable: the process id of the snakemake to work for; unset or 0: off
FOLDER = Path("results/.warm")  # of sockets; relative, because a socket's path has 107 bytes at most
IDLE = 60.0  # seconds
QUEUE, LONGEST, STARTED = 128, 65536, b"started"
# What runs import of packages on their way. Modules of this project are the engine's and the task's: a run's record
# names those that it has imported.
PACKAGES = ("torch.optim", "torch.utils.flop_counter", "pandas", "pyarrow.parquet")
# Threads do not survive a fork; this one, of pyarrow's allocator, is made again.
HARMLESS = "jemalloc_bg_thd"


def run(argv: list[str], spec: dict) -> int | None:
    """The exit status of a run in a warm process's child; None where nothing has run and the caller has to.

    SIGINT and SIGTERM reach the child. Whatever else ends this process ends the child by SIGKILL, and a signal that
    ended the child ends this process.
    """
    owner = os.environ.get(SWITCH, "")
    # With more threads, libraries keep some of their own from their import on.
    if spec["threads"] > 1 or not (owner.isdigit() and Path("/proc", owner).exists()):
        return None
    try:
        server = _connect(spec["engine"], spec["task"])
        socket.send_fds(server, [json.dumps(argv).encode()], [0, 1, 2])
        if server.recv(LONGEST) != STARTED:
            return None
    except OSError:
        return None
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda number, frame: server.send(bytes([number])))
    try:
        status = int(server.recv(LONGEST))
    except (OSError, ValueError):
        print(f"error: the process that ran {argv[0]} was ended; start again, it resumes", file=sys.stderr)
        return 1
    if status < 0:
        if -status != signal.SIGKILL:
            signal.signal(-status, signal.SIG_DFL)
        os.kill(os.getpid(), -status)
    return status


def _connect(engine: str, task: str) -> socket.socket:
    """A connection to the warm process of an engine and task, started if need be; OSError where there can be none."""
    FOLDER.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = FOLDER / _name(engine, task)
    with _alone():
        try:
            return _connection(path)
        except (FileNotFoundError, ConnectionRefusedError):
            path.unlink(missing_ok=True)  # of one that was killed
        with _socket() as listener:
            listener.bind(str(path))
            listener.listen(QUEUE)
            command = [sys.executable, "-m", "plugins.runner.warm", engine, task, str(path), str(listener.fileno())]
            silent = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.DEVNULL)
            subprocess.Popen(command, pass_fds=[listener.fileno()], start_new_session=True, **silent)
        return _connection(path)


def _socket() -> socket.socket:
    return socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)


def _connection(path: Path) -> socket.socket:
    connection = _socket()
    connection.setblocking(False)  # a full queue is an error, not a wait
    connection.connect(str(path))
    connection.setblocking(True)
    return connection


def _alone():
    """A file that is locked while it is open: one process at a time looks for, makes or removes a socket."""
    handle = (FOLDER / "lock").open("w")
    fcntl.flock(handle, fcntl.LOCK_EX)
    return handle


def _name(engine: str, task: str) -> str:
    """A socket's name: equal for runs that would import the same files in the same surroundings."""
    surroundings = [engine, task, os.uname().nodename, os.getcwd(), sys.executable, sorted(os.environ.items())]
    return hashlib.sha256(repr([surroundings, _stamps()]).encode()).hexdigest()[:16]


def _stamps() -> list:
    """The state of what a run may import: the project's files and the list of packages."""
    paths = [*sorted((ROOT / "plugins").rglob("*.py")), Path(sysconfig.get_path("purelib"))]
    return [(str(path), stat.st_mtime_ns, stat.st_size) for path in paths for stat in [path.stat()]]


def _serve(listener: socket.socket, path: Path, stamps: list) -> list[str] | None:
    """Serves until there is no more to do; in the process of a run it returns the run's arguments."""
    owner, children = os.pidfd_open(int(os.environ[SWITCH])), []
    while True:
        ready, _, _ = select.select([listener, owner], [], [], IDLE)
        children = [child for child in children if os.waitpid(child, os.WNOHANG) == (0, 0)]
        if owner in ready or not (ready or children):
            break
        if listener in ready:
            client, _ = listener.accept()
            # One that gets no answer runs by itself.
            child = _fork() if _is_alone() and stamps == _stamps() else None
            if child == 0:
                listener.close()
                os.close(owner)
                return _attend(client)
            children += [child] if child else []
            client.close()
    with _alone():
        path.unlink(missing_ok=True)
    listener.close()
    for child in children:
        os.waitpid(child, 0)
    return None


def _is_alone() -> bool:
    """Whether this process is one thread, so that a fork of it is whole."""
    names = [path.read_text().strip() for path in Path("/proc/self/task").glob("*/comm")]
    return len([name for name in names if name != HARMLESS]) == 1


def _fork() -> int:
    """os.fork, of a child that does not outlive this process."""
    parent, child = os.getpid(), os.fork()
    if child == 0:
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
        if os.getppid() != parent:
            os.kill(os.getpid(), signal.SIGKILL)
    return child


def _attend(client: socket.socket) -> list[str]:
    """Has a client's run done by a child, in which it returns the run's arguments; passes signals and status on."""
    message, streams, _, _ = socket.recv_fds(client, LONGEST, 3)
    if len(streams) != 3:
        os._exit(0)
    child = _fork()
    if child == 0:
        client.close()
        for number, stream in enumerate(streams):
            os.dup2(stream, number)
            os.close(stream)
        return json.loads(message)
    ended = os.pidfd_open(child)
    try:
        client.send(STARTED)
        while ended not in select.select([client, ended], [], [])[0]:
            number = client.recv(1)
            os.kill(child, number[0] if number else signal.SIGKILL)  # a client that is gone was killed
        client.send(str(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])).encode())
    finally:
        os._exit(0)


def main(engine: str, task: str, path: str, descriptor: str) -> int:
    """The warm process: 0 at its end; in a child, the run's exit status."""
    listener, stamps = socket.socket(fileno=int(descriptor)), _stamps()
    os.environ["CUDA_VISIBLE_DEVICES"] = ""  # as `device.take` sets it for a run on the processor, before any import
    runner = importlib.import_module("plugins.runner.__main__")
    runner.load_engine({"engine": engine})
    ours = [f"plugins.openmm_ext.tasks.{task}"] if engine in OPENMM else []
    for name in (*ours, "plugins.runner.measure", *PACKAGES):
        importlib.import_module(name)
    gc.collect()
    gc.freeze()  # children share its memory as long as they do not write to it
    arguments = _serve(listener, Path(path), stamps)
    if arguments is None:
        return 0
    sys.argv = [runner.__file__, *arguments]
    return runner.main(arguments)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
