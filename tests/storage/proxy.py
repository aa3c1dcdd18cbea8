"""A proxy that breaks connections on purpose, between a client and a real server."""

import contextlib
import re
import select
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

__all__ = ["Fault", "Proxy", "running_proxy"]


@dataclass
class Fault:
    """One fault and how often it happens; `times=None` is for ever.

    `after`   bytes of an answer that pass first: small answers, such as listings, never get there
    `kind`    cut (reset), truncate (orderly end), stall (silence), flip (one bit), 503, longer, shorter (a
              wrong Content-Length), lost (the request arrives, its answer does not), flip-sent (one bit of a
              request, at `after`), answer (another answer than the server's), mute (the request is read and
              never answered)
    `method`  of the requests that `503`, `answer`, `mute`, `lost` and `flip-sent` hit; `spared` is how many
              of them pass first
    `target`  what the path and query of requests that get another answer, or none, hold
    `seconds` for so long it happens, from the first time on
    `then`    the fault that follows a break or a silence
    """

    kind: str
    after: int = 0
    times: int | None = 1
    method: bytes = b""
    spared: int = 0
    target: bytes = b""
    answer: bytes = b"HTTP/1.1 503 Slow Down\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
    seconds: float | None = None
    then: "Fault | None" = None
    happened: int = 0
    _began: float = 0.0
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def strikes(self) -> bool:
        """Whether it happens now; counts it."""
        with self._lock:
            if self.spared:
                self.spared -= 1
                return False
            if self.times is not None and self.happened >= self.times:
                return False
            if self.seconds is not None:
                self._began = self._began or time.monotonic()
                if time.monotonic() > self._began + self.seconds:
                    return False
            self.happened += 1
            return True


class Proxy:
    """Listens on a port of its own and passes bytes on, with faults."""

    def __init__(self, upstream: str) -> None:
        host, _, port = upstream.rpartition("//")[2].partition(":")
        self._upstream = (host, int(port))
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.endpoint = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self.fault = Fault("none", times=0)
        self.dead = False
        self.answered = 0
        """Bytes that were passed to clients so far."""
        self.gets = 0
        """GET requests so far."""
        self.connections = 0
        self._stopped = threading.Event()
        self._threads: list[threading.Thread] = []
        self._start(self._accept)

    def close(self) -> None:
        """Stop and wait for every thread."""
        self._stopped.set()
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for thread in self._threads:
            thread.join()

    def _start(self, work: Callable[[], None]) -> None:
        thread = threading.Thread(target=work)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while not self._stopped.is_set():
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            if self.dead:
                _reset(client)
                continue
            self.connections += 1
            server = socket.create_connection(self._upstream)
            connection = _Connection(self, client, server, self._stopped)
            self._start(connection.requests)
            self._start(connection.answers)


class _Connection:
    """One client's connection and the one to the server that belongs to it."""

    def __init__(
        self, proxy: Proxy, client: socket.socket, server: socket.socket, stopped: threading.Event
    ) -> None:
        self._proxy = proxy
        self._client = client
        self._server = server
        self._stopped = stopped
        self._method = b""
        self._passed = 0
        self._taken = 0
        self._struck = False

    def requests(self) -> None:
        """Pass requests on, or answer them here with 503."""
        while data := self._received(self._client):
            fault = self._proxy.fault
            if self._proxy.dead:
                break
            if match := re.match(rb"(GET|HEAD|PUT|POST|DELETE) (\S+)", data):
                self._method, self._passed, self._taken, self._struck = match[1], 0, 0, False
                self._proxy.gets += self._method == b"GET"
                meant = self._method.startswith(fault.method) and fault.target in match[2]
                if fault.kind in ("503", "answer") and meant and fault.strikes():
                    with contextlib.suppress(OSError):
                        self._client.sendall(fault.answer)
                    break
                if fault.kind == "mute" and meant and fault.strikes():
                    self._proxy.fault = fault.then or fault
                    self._stopped.wait()
                    break
            place = fault.after - self._taken
            self._taken += len(data)
            if fault.kind == "flip-sent" and self._method == fault.method and 0 <= place < len(data):
                data = _flipped(data, place) if fault.strikes() else data
            try:
                self._server.sendall(data)
            except OSError:
                break
        self._end()

    def answers(self) -> None:
        """Pass answers on, as far as the fault lets them."""
        while data := self._received(self._server):
            fault = self._proxy.fault
            if self._proxy.dead:
                break
            if fault.kind in ("longer", "shorter"):
                data = self._wrong_length(data, fault)
            if fault.kind == "lost" and self._method.startswith(fault.method) and fault.strikes():
                break
            due = fault.after <= self._passed + len(data) and fault.after > 0 and not self._struck
            if due and fault.kind in ("cut", "truncate", "stall", "flip") and fault.strikes():
                self._struck = True
                self._proxy.fault = fault.then or fault
                place = max(0, fault.after - self._passed - 1)
                if fault.kind == "flip":
                    data = _flipped(data, place)
                else:
                    self._sent(data[:place])
                    if fault.kind == "stall":
                        self._stopped.wait()
                    if fault.kind == "cut":
                        _reset(self._client)
                    break
            self._passed += len(data)
            if not self._sent(data):
                break
        self._end()

    def _wrong_length(self, data: bytes, fault: Fault) -> bytes:
        match = re.search(rb"(?i)content-length: (\d{7,})", data)
        if match and fault.strikes():
            told = int(match[1]) + (1000 if fault.kind == "longer" else -1000)
            return data[: match.start(1)] + str(told).encode() + data[match.end(1) :]
        return data

    def _received(self, end: socket.socket) -> bytes:
        # The other thread of this connection may close the socket at any moment.
        with contextlib.suppress(OSError, ValueError):
            while not self._stopped.is_set():
                if select.select([end], [], [], 0.2)[0]:
                    return end.recv(1 << 16)
        return b""

    def _sent(self, data: bytes) -> bool:
        try:
            self._client.sendall(data)
        except OSError:
            return False
        self._proxy.answered += len(data)
        return True

    def _end(self) -> None:
        for end in (self._client, self._server):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()


def _flipped(data: bytes, place: int) -> bytes:
    return data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]


def _reset(connection: socket.socket) -> None:
    """Close so that the other end sees a reset, not an orderly end."""
    with contextlib.suppress(OSError):
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connection.close()


@contextlib.contextmanager
def running_proxy(upstream: str) -> Iterator[Proxy]:
    """A proxy before a server, until the block ends."""
    proxy = Proxy(upstream)
    try:
        yield proxy
    finally:
        proxy.close()
