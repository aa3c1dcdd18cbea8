"""Servers that take PUT: two real ones with WebDAV, and a stand-in for those that have index pages alone.

The stand-in shows what the program does with such answers, not what any such server answers.
"""

import contextlib
import html
import io
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from socketserver import ThreadingMixIn
from typing import Any
from urllib.parse import quote, unquote, urlsplit
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from http_servers import run_handler
from servers import free_port, served, tool

__all__ = ["PutSite", "Site", "run_put_site", "run_rclone_webdav", "run_wsgidav"]


@dataclass
class Site:
    """A server and the directory that it serves. `asked` are method and path of the requests, if told."""

    endpoint: str
    root: Path
    asked: list[tuple[str, str]] = field(default_factory=list)

    def url(self, path: str, user: str = "") -> str:
        return f"{self.endpoint.replace('://', f'://{user}', 1)}/{path}"

    def tree(self) -> dict[str, bytes]:
        """Every file by its path."""
        files = [path for path in self.root.rglob("*") if path.is_file()]
        return {path.relative_to(self.root).as_posix(): path.read_bytes() for path in sorted(files)}

    def directories(self) -> list[str]:
        return sorted(p.relative_to(self.root).as_posix() for p in self.root.rglob("*") if p.is_dir())


class _QuietHandler(WSGIRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        pass


class _ThreadingServer(ThreadingMixIn, WSGIServer):
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that leaves early is what some tests are about."""


@contextlib.contextmanager
def run_wsgidav(directory: Path, users: dict[str, str] | None = None) -> Iterator[Site]:
    """WsgiDAV: WebDAV with `If-None-Match`; with `users` it asks for name and password."""
    from wsgidav.wsgidav_app import WsgiDAVApp

    directory.mkdir(exist_ok=True)
    mapping: Any = {"*": {name: {"password": word} for name, word in users.items()} if users else True}
    app: Any = WsgiDAVApp(
        {
            "provider_mapping": {"/": str(directory)},
            "simple_dc": {"user_mapping": mapping},
            "http_authenticator": {"accept_basic": True, "accept_digest": False, "default_to_digest": False},
            "verbose": 0,
            "logging": {"enable": False},
        }
    )
    site = Site("", directory)

    def counted(environ: dict[str, Any], start_response: Any) -> Any:
        site.asked.append((environ["REQUEST_METHOD"], environ["PATH_INFO"]))
        # The server of the standard library does not end a body by itself.
        body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        environ["wsgi.input"] = io.BytesIO(body)
        return app(environ, start_response)

    with make_server("127.0.0.1", 0, counted, _ThreadingServer, _QuietHandler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        site.endpoint = f"http://127.0.0.1:{server.server_port}"
        try:
            yield site
        finally:
            server.shutdown()
            thread.join()


@contextlib.contextmanager
def run_rclone_webdav(directory: Path) -> Iterator[Site]:
    """`rclone serve webdav`, which ignores `If-None-Match`."""
    root = directory / "served"
    root.mkdir()
    port = free_port()
    command = [
        tool("rclone"), "serve", "webdav", str(root), "--addr", f"127.0.0.1:{port}",
        "--config", str(directory / "rclone.conf"), "--dir-cache-time", "0s",
    ]  # fmt: skip
    with served(command, port, directory / f"rclone-{port}.log"):
        yield Site(f"http://127.0.0.1:{port}", root)


@dataclass
class PutSite(Site):
    """The stand-in: PUT makes directories, GET of one is an index page, there is no PROPFIND and no MKCOL.

    `conditions`  whether `If-None-Match` counts
    `lists`       what a directory answers: 200 with a page, or this status
    `answers`     (method, end of the path) → status and headers that are answered instead, once or always
    `damages`     whether a stored body loses its last byte
    `digests`     headers of every HEAD
    """

    conditions: bool = True
    lists: int = 200
    answers: dict[tuple[str, str], tuple[int, dict[str, str]]] = field(default_factory=dict)
    damages: bool = False
    digests: dict[str, str] = field(default_factory=dict)
    headers: list[dict[str, str]] = field(default_factory=list)


class _PutHandler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    timeout = 20
    site: PutSite

    def log_message(self, format: str, *args: object) -> None:
        pass

    def handle_any(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        path = unquote(urlsplit(self.path).path)
        self.site.asked.append((self.command, path))
        self.site.headers.append({name.lower(): value for name, value in self.headers.items()})
        for (method, end), (status, headers) in self.site.answers.items():
            if method == self.command and path.endswith(end):
                return self.answer(status, headers=headers)
        act = getattr(self, f"act_{self.command.lower()}", None)
        if act is None:
            return self.answer(405)
        act(self.site.root / path.strip("/"), body)
        return None

    do_GET = do_HEAD = do_PUT = do_DELETE = do_MKCOL = do_PROPFIND = handle_any

    def answer(self, status: int, body: bytes = b"", headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in ({"Content-Length": str(len(body))} | (headers or {})).items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def act_put(self, target: Path, body: bytes) -> None:
        if self.site.conditions and self.headers.get("if-none-match") == "*" and target.exists():
            return self.answer(412)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(body[:-1] if self.site.damages else body)
        return self.answer(201)

    def act_delete(self, target: Path, _body: bytes) -> None:
        if not target.is_file():
            return self.answer(404)
        target.unlink()
        return self.answer(204)

    def act_get(self, target: Path, _body: bytes) -> None:
        if target.is_dir():
            if self.site.lists != 200:
                return self.answer(self.site.lists)
            names = [path.name + "/" * path.is_dir() for path in sorted(target.iterdir())]
            links = "".join(f'<a href="{quote(name)}">{html.escape(name)}</a>\n' for name in names)
            return self.answer(200, f"<title>Index of x</title><a href='../'>..</a>{links}".encode())
        if not target.is_file():
            return self.answer(404)
        return self.answer(200, target.read_bytes(), self.site.digests)

    act_head = act_get


@contextlib.contextmanager
def run_put_site(directory: Path) -> Iterator[PutSite]:
    """The stand-in, serving a directory."""
    directory.mkdir(exist_ok=True)
    site = PutSite("", directory)
    with run_handler(type("Handler", (_PutHandler,), {"site": site})) as port:
        site.endpoint = f"http://127.0.0.1:{port}"
        yield site
