"""Real relays before a real server: one that ends TLS, and an HTTP proxy that notes what it is asked for."""

import contextlib
import re
import socket
import ssl
import threading
from collections.abc import Callable, Iterator

__all__ = ["Relay", "running_http_proxy", "running_tls_front"]

_SECONDS = 20


class Relay:
    """Listens on a free port; `asked` holds the first line of each connection to it."""

    def __init__(self, serve: Callable[["Relay", socket.socket], None]) -> None:
        self.asked: list[str] = []
        self._serve = serve
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._sockets: list[socket.socket] = []
        self._threads: list[threading.Thread] = []
        self._start(self._accept)

    def close(self) -> None:
        """Stop and wait for every thread."""
        for end in (self._listener, *self._sockets):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join()
        for end in (self._listener, *self._sockets):
            end.close()

    def joined(self, client: socket.socket, host: str, port: int, first: bytes = b"") -> None:
        """Pass bytes in both directions until either end is done; `first` goes to the server before."""
        server = self._kept(socket.create_connection((host, port), timeout=_SECONDS))
        server.sendall(first)
        self._start(lambda: _pass(server, client))
        _pass(client, server)

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                client.settimeout(_SECONDS)
                self._start(self._guarded(self._kept(client)))

    def _guarded(self, client: socket.socket) -> Callable[[], None]:
        def work() -> None:
            # A client that refuses the certificate leaves in the middle.
            with contextlib.suppress(OSError):
                self._serve(self, client)

        return work

    def _kept(self, end: socket.socket) -> socket.socket:
        self._sockets.append(end)
        return end

    def _start(self, work: Callable[[], None]) -> None:
        thread = threading.Thread(target=work)
        self._threads.append(thread)
        thread.start()


def _pass(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError, ValueError):
        while data := source.recv(1 << 16):
            target.sendall(data)
    for end in (source, target):
        with contextlib.suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)


@contextlib.contextmanager
def running_tls_front(upstream: str, context: ssl.SSLContext) -> Iterator[Relay]:
    """A relay that speaks TLS to clients and plain HTTP to the server."""
    host, _, port = upstream.rpartition("//")[2].partition(":")

    def serve(relay: Relay, client: socket.socket) -> None:
        with context.wrap_socket(client, server_side=True) as secure:
            relay.joined(secure, host, int(port))

    yield from _running(serve)


@contextlib.contextmanager
def running_http_proxy() -> Iterator[Relay]:
    """A proxy for `CONNECT host:port` and for `GET http://host:port/…`, one request a connection."""

    def serve(relay: Relay, client: socket.socket) -> None:
        head = b""
        while b"\r\n\r\n" not in head:
            data = client.recv(1 << 16)
            if not data:
                return
            head += data
        line, _, rest = head.partition(b"\r\n")
        relay.asked.append(line.decode())
        method, target, _ = line.decode().split(" ")
        match = re.fullmatch(r"(?:http://)?([^/:]+):(\d+)(/.*)?", target)
        assert match
        if method == "CONNECT":
            client.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
            relay.joined(client, match[1], int(match[2]))
        else:
            plain = f"{method} {match[3]} HTTP/1.1\r\nConnection: close\r\n".encode() + rest
            relay.joined(client, match[1], int(match[2]), plain)

    yield from _running(serve)


def _running(serve: Callable[[Relay, socket.socket], None]) -> Iterator[Relay]:
    relay = Relay(serve)
    try:
        yield relay
    finally:
        relay.close()
