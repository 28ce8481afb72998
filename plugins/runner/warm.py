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
import selectors
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
    # With more threads, libraries keep some of their own from their import on.
    if not os.environ.get(SWITCH, "").strip("0").isdigit() or spec["threads"] > 1:
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


class Server:
    """The warm process's loop over its socket, its clients, its children and the process that it works for."""

    def __init__(self, listener: socket.socket, path: Path, stamps: list) -> None:
        self.path, self.stamps, self.children = path, stamps, {}
        self.listening = True
        self.events = selectors.DefaultSelector()
        self.listener = listener
        self.owner = os.pidfd_open(int(os.environ[SWITCH]))
        self._watch(listener, self._accept)
        self._watch(self.owner, self._close)

    def serve(self) -> list[str] | None:
        """Serves until there is no more to do. In each child it returns the run's arguments."""
        while True:
            ready = self.events.select(IDLE)
            if not self.children and not ready:
                self._close()
            # One at a time: it may take the others with it.
            arguments = ready[0][0].data() if ready else None
            if arguments is not None:
                return arguments
            if not self.children and not self.listening:
                return None

    def _watch(self, source, answer) -> None:
        self.events.register(source, selectors.EVENT_READ, answer)

    def _forget(self, source: socket.socket) -> None:
        self.events.unregister(source)
        source.close()

    def _accept(self) -> None:
        client, _ = self.listener.accept()
        self._watch(client, lambda: self._fork(client))

    def _close(self) -> None:
        if self.listening:
            with _alone():
                self.path.unlink(missing_ok=True)
            self._forget(self.listener)
            self.events.unregister(self.owner)
            self.listening = False

    def _fork(self, client: socket.socket) -> list[str] | None:
        """Starts the run that a client asks for. One that gets no answer runs it itself."""
        message, streams, _, _ = socket.recv_fds(client, LONGEST, 3)
        try:
            if len(streams) != 3 or not self._is_fit():
                return self._forget(client)
            server, child = os.getpid(), os.fork()
            if child == 0:
                self._become_run(server, streams)
                return json.loads(message)
            self.children[child] = client
            ended = os.pidfd_open(child)
            self._watch(ended, lambda: self._report(child, ended))
            self.events.modify(client, selectors.EVENT_READ, lambda: self._pass_on(child))
            _send(client, STARTED)
        finally:
            for stream in streams:
                os.close(stream)

    def _is_fit(self) -> bool:
        names = [path.read_text().strip() for path in Path("/proc/self/task").glob("*/comm")]
        return self.stamps == _stamps() and len([name for name in names if name != HARMLESS]) == 1

    def _become_run(self, server: int, streams: list[int]) -> None:
        """In a child: it dies with the server, has the client's input and output, and nothing of the server's."""
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
        if os.getppid() != server:
            os.kill(os.getpid(), signal.SIGKILL)
        for source in list(self.events.get_map().values()):
            os.close(source.fd) if isinstance(source.fileobj, int) else source.fileobj.close()
        self.events.close()
        for number, stream in enumerate(streams):
            os.dup2(stream, number)

    def _pass_on(self, child: int) -> None:
        """Passes on a client's signal; a client that is gone is one that was killed."""
        client = self.children[child]
        try:
            message = client.recv(1)
        except OSError:
            message = b""
        os.kill(child, message[0] if message else signal.SIGKILL)
        if not message:
            self.events.unregister(client)

    def _report(self, child: int, ended: int) -> None:
        client = self.children.pop(child)
        _, status = os.waitpid(child, 0)
        _send(client, str(os.waitstatus_to_exitcode(status)).encode())
        self.events.unregister(ended)
        os.close(ended)
        if client in self.events.get_map():
            self.events.unregister(client)
        client.close()


def _send(client: socket.socket, message: bytes) -> None:
    """To a client that may be gone; the loop hears of that by itself."""
    try:
        client.send(message)
    except OSError:
        return


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
    arguments = Server(listener, Path(path), stamps).serve()
    if arguments is None:
        return 0
    sys.argv = [runner.__file__, *arguments]
    return runner.main(arguments)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
