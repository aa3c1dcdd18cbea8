"""An HTTP server on loopback that serves bytes as told, faults included, and remembers what it was asked."""

import contextlib
import re
import socket
import ssl
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

__all__ = ["Asked", "FaultyServer", "Page", "run_faulty", "run_handler"]

RANGE = re.compile(r"bytes=(\d+)-(\d*)")


@dataclass
class Page:
    """What is at one path, and what is wrong with it.

    `length`     what Content-Length says: the truth (None), nothing ("none"), or this number
    `cut_after`  break the connection after so many bytes of a body, `cuts` times (None: always)
    `stall_after`  fall silent after so many bytes, `stalls` times
    `statuses`   answer the first requests with these, in order
    `flips`      how many answers come with one bit turned over
    """

    body: bytes = b""
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    etag: str | None = '"v1"'
    modified: str | None = None
    ranges: bool = True
    chunked: bool = False
    length: int | str | None = None
    cut_after: int | None = None
    cuts: int | None = None
    stall_after: int | None = None
    stalls: int = 1
    statuses: list[int] = field(default_factory=list)
    flips: int = 0
    redirect: str | None = None
    authorization: str | None = None
    on_request: Callable[["Page"], None] | None = None


@dataclass(frozen=True)
class Asked:
    """One request that arrived; header names in lower case."""

    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def path(self) -> str:
        return urlsplit(self.target).path


class FaultyServer:
    """Serves `pages` by path; `asked` are the requests in order of arrival, `sent` the bytes of bodies."""

    def __init__(self) -> None:
        self.sent = 0
        self.pages: dict[str, Page] = {}
        self.asked: list[Asked] = []
        self.released = threading.Event()
        self.lock = threading.Lock()
        self.scheme = "http"
        self.port = 0

    def url(self, path: str = "/", *, user: str = "", host: str = "127.0.0.1") -> str:
        return f"{self.scheme}://{user}{host}:{self.port}{path}"

    def ranges(self) -> list[str]:
        """The ranges that were asked for, in order."""
        return [asked.headers["range"] for asked in self.asked if "range" in asked.headers]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    site: FaultyServer

    def log_message(self, format: str, *args: object) -> None:
        pass

    def do_GET(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        headers = {name.lower(): value for name, value in self.headers.items()}
        # A request through a proxy names the whole URL.
        with self.site.lock:
            self.site.asked.append(Asked(self.command, self.path, headers, body))
            page = self.site.pages.get(urlsplit(self.path).path)
            if page is not None and page.on_request is not None:
                page.on_request(page)
            status = page.statuses.pop(0) if page is not None and page.statuses else None
        if page is None:
            self.plain(404, b"nothing here")
        elif status is not None:
            self.plain(status, b"<html>error page</html>", page.headers)
        elif page.authorization is not None and headers.get("authorization") != page.authorization:
            self.plain(401, b"who are you?", {"www-authenticate": "Basic"})
        elif page.redirect is not None:
            self.plain(302 if page.status == 200 else page.status, b"", {"location": page.redirect})
        else:
            self.serve(page, headers)

    do_POST = do_GET
    do_PUT = do_GET

    def do_HEAD(self) -> None:
        self.plain(403, b"")

    def plain(self, status: int, body: bytes, headers: Mapping[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def serve(self, page: Page, asked: Mapping[str, str]) -> None:
        begin, end, status = 0, len(page.body), page.status
        if asked.get("if-match", page.etag) != page.etag:
            return self.plain(412, b"")
        if page.etag and asked.get("if-none-match") == page.etag:
            return self.plain(304, b"", {"etag": page.etag})
        match = RANGE.fullmatch(asked.get("range", ""))
        fresh = asked.get("if-range") in (None, page.modified, page.etag)
        if match and page.ranges and fresh:
            begin = int(match[1])
            end = min(end, int(match[2]) + 1) if match[2] else end
            if begin >= len(page.body):
                return self.plain(416, b"", {"content-range": f"bytes */{len(page.body)}"})
            status = 206
        self.send_response(status)
        if status == 206:
            self.send_header("content-range", f"bytes {begin}-{end - 1}/{len(page.body)}")
        for name, value in page.headers.items():
            self.send_header(name, value)
        if page.etag:
            self.send_header("etag", page.etag)
        if page.modified:
            self.send_header("last-modified", page.modified)
        if page.chunked:
            self.send_header("transfer-encoding", "chunked")
        elif page.length != "none":
            self.send_header("content-length", str(end - begin if page.length is None else page.length))
        else:
            self.close_connection = True
        self.end_headers()
        self.send_body(page, page.body[begin:end])
        return None

    def send_body(self, page: Page, body: bytes) -> None:
        with self.site.lock:
            cut = page.cut_after is not None and page.cuts != 0 and len(body) > page.cut_after
            if cut and page.cuts is not None:
                page.cuts -= 1
            self.site.sent += len(body)
            stall = (
                not cut and page.stall_after is not None and page.stalls > 0 and len(body) > page.stall_after
            )
            page.stalls -= stall
            flip = page.flips > 0 and len(body) > 0
            page.flips -= flip
        if flip:
            body = bytes([body[0] ^ 1]) + body[1:]
        if cut:
            body = body[: page.cut_after]
        elif stall:
            body = body[: page.stall_after]
        with contextlib.suppress(ConnectionError):
            if page.chunked:
                for position in range(0, len(body), 50_000):
                    piece = body[position : position + 50_000]
                    self.wfile.write(f"{len(piece):x}\r\n".encode() + piece + b"\r\n")
                if not (cut or stall):
                    self.wfile.write(b"0\r\n\r\n")
            else:
                self.wfile.write(body)
        if stall:
            self.wfile.flush()
            self.site.released.wait()
        if cut or stall or page.length not in (None, "none"):
            self.close_connection = True
            with contextlib.suppress(OSError):
                self.connection.shutdown(socket.SHUT_RDWR)


class _Server(ThreadingHTTPServer):
    """Ends what is still connected when it stops: clients keep idle connections for their next request."""

    daemon_threads = False
    block_on_close = True

    def __init__(self, handler: Callable[..., BaseHTTPRequestHandler], host: str) -> None:
        self.connections: set[socket.socket] = set()
        super().__init__((host, 0), handler)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        self.connections.add(request)
        try:
            super().process_request_thread(request, client_address)
        finally:
            self.connections.discard(request)

    def server_close(self) -> None:
        for connection in list(self.connections):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        super().server_close()

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that leaves early is what many tests are about."""


@contextlib.contextmanager
def run_handler(
    handler: Callable[..., BaseHTTPRequestHandler],
    context: ssl.SSLContext | None = None,
    host: str = "127.0.0.1",
) -> Iterator[int]:
    """Serve with this handler class on a free loopback port, which is yielded."""
    with _Server(handler, host) as server:
        if context is not None:
            server.socket = context.wrap_socket(
                server.socket, server_side=True, do_handshake_on_connect=False
            )
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()
            thread.join()


@contextlib.contextmanager
def run_faulty(context: ssl.SSLContext | None = None) -> Iterator[FaultyServer]:
    """A server without pages yet; with a TLS context it speaks https."""
    site = FaultyServer()
    handler = type("Handler", (_Handler,), {"site": site, "timeout": 20})
    site.scheme = "https" if context else "http"
    with run_handler(handler, context) as port:
        site.port = port
        try:
            yield site
        finally:
            site.released.set()
