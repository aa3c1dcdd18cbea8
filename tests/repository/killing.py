"""Real runs of the program that are killed at a known point."""

import contextlib
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping

__all__ = ["AT_OPERATION", "Gate", "convert_command", "gate_before", "run_to_its_end"]

AT_OPERATION = """
import os, runpy, signal, sys
below, stop_at, log = sys.argv[1], int(sys.argv[2]), sys.argv[3]
del sys.argv[1:4]
count = 0
def watch(event, arguments):
    global count
    if event not in ("os.mkdir", "os.rename", "os.link", "os.remove", "os.rmdir", "open"):
        return
    if event == "open" and not (isinstance(arguments[2], int) and arguments[0]):
        return
    if not any(str(argument).startswith(below) for argument in arguments[:2]):
        return
    count += 1
    if count == stop_at:
        os.kill(os.getpid(), signal.SIGKILL)
sys.addaudithook(watch)
try:
    runpy.run_module("ovms_converter", run_name="__main__", alter_sys=True)
finally:
    with open(log, "w") as file:
        file.write(str(count))
"""
"""A program that runs ours and kills itself just before the n-th operation on a file below a path. Its
arguments: the path, n (0 for never), a file for the number of operations; then ours.
"""


def convert_command(source: str, destination: str, *options: str) -> list[str]:
    """`ovms-converter convert` as a process."""
    return [sys.executable, "-m", "ovms_converter", "convert", source, destination, *options]


def run_to_its_end(
    command: list[str], environ: Mapping[str, str] | None = None
) -> "subprocess.CompletedProcess[str]":
    """Run a program as a shell would."""
    return subprocess.run(
        command,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        env=os.environ | dict(environ or {}),
    )


class Gate:
    """Passes bytes between a client and a server, and can stop everything at the n-th request.

    `requests` are the first lines of those that came, `returned` the bytes that the server answered with.
    `stop_at` is the number of the request, from 1; `passes` how much of it the server still gets: 0.0
    nothing, 0.5 half of what came with its first packet, 1.0 all of it, and its answer is lost.
    """

    def __init__(
        self, port: int, stop_at: int = 0, passes: float = 1.0, stop: Callable[[], None] = lambda: None
    ):
        self.requests: list[str] = []
        self.returned = 0
        self._target = port
        self._stop_at = stop_at
        self._passes = passes
        self._stop = stop
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        self._sockets: list[socket.socket] = []
        self._threads: list[threading.Thread] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._spawn(self._accept)

    def close(self) -> None:
        """End all connections."""
        self._stopped.set()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        with self._lock:
            sockets, self._sockets = self._sockets, []
        for one in sockets:
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join()
        for one in sockets:
            one.close()

    def _spawn(self, work: Callable[..., None], *arguments: socket.socket) -> None:
        thread = threading.Thread(target=work, args=arguments)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection(("127.0.0.1", self._target))
                with self._lock:
                    self._sockets += [client, server]
                self._spawn(self._forward, client, server)
                self._spawn(self._back, server, client)

    def _forward(self, client: socket.socket, server: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := client.recv(1 << 16):
                if self._is_the_one(data):
                    server.sendall(data[: int(len(data) * self._passes)])
                    self._stop()
                    if self._passes < 1:
                        server.shutdown(socket.SHUT_RDWR)
                    return
                server.sendall(data)
        with contextlib.suppress(OSError):
            server.shutdown(socket.SHUT_WR)

    def _is_the_one(self, data: bytes) -> bool:
        first = data.partition(b"\r\n")[0]
        if not first.endswith(b"HTTP/1.1"):
            return False
        with self._lock:
            self.requests.append(first.decode())
            return len(self.requests) == self._stop_at

    def _back(self, server: socket.socket, client: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := server.recv(1 << 16):
                with self._lock:
                    self.returned += len(data)
                client.sendall(data)
        with contextlib.suppress(OSError):
            client.shutdown(socket.SHUT_WR)


@contextlib.contextmanager
def gate_before(
    port: int, stop_at: int = 0, passes: float = 1.0, stop: Callable[[], None] = lambda: None
) -> Iterator[Gate]:
    """A gate in front of a server of this machine."""
    gate = Gate(port, stop_at, passes, stop)
    try:
        yield gate
    finally:
        gate.close()
