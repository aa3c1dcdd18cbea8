"""An S3-compatible store in this process, on a free loopback port, that forgets everything at its end."""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import urllib3

from ovms_converter.errors import InternalError, RequestError
from ovms_converter.storage import open_source
from ovms_converter.storage.base import Entry
from ovms_converter.storage.location import Location

__all__ = ["BUCKET", "Entry", "Store", "throw_away_store"]

BUCKET = "demo"
_NO_PROXY = {"NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1"}
"""Also set for this process: the HTTP client of the object stores reads it there."""
_CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": "demo",
    "AWS_SECRET_ACCESS_KEY": "demo-secret",
    "AWS_REGION": "us-east-1",
}


@dataclass(frozen=True)
class Store:
    """A running store with one empty bucket, `demo`; `endpoint` is what goes into `S3_ENDPOINT`."""

    endpoint: str

    @property
    def environ(self) -> dict[str, str]:
        """The variables with which a program reaches it."""
        return {"S3_ENDPOINT": self.endpoint, **_NO_PROXY, **_CREDENTIALS}

    def put_tree(self, directory: Path, prefix: str) -> None:
        """Put every file below a directory under a prefix."""
        with urllib3.PoolManager() as http:
            for path in sorted(path for path in directory.rglob("*") if path.is_file()):
                key = f"{prefix}/{path.relative_to(directory).as_posix()}"
                _put(http, f"{self.endpoint}/{BUCKET}/{quote(key)}", path.read_bytes())

    def entries(self, prefix: str) -> tuple[Entry, ...]:
        """What lies under a prefix."""
        return open_source(self._location(prefix), self.environ).list().entries

    def fetch(self, prefix: str, paths: list[str], directory: Path) -> None:
        """Bring files under a prefix into a directory."""
        open_source(self._location(prefix), self.environ).fetch(paths, directory, _uncounted)

    @staticmethod
    def _location(prefix: str) -> Location:
        return Location.parse(f"s3://{BUCKET}/{prefix}")


def _put(http: urllib3.PoolManager, url: str, body: bytes = b"") -> None:
    answer = http.request("PUT", url, body=body)
    if answer.status != 200:
        raise InternalError(f"the demo's own store answers {answer.status} to `{url}`")


def _uncounted(count: int) -> None:
    """Progress that nobody looks at."""


@contextmanager
def throw_away_store() -> Iterator[Store]:
    """Start a store and stop it again. Raises `RequestError` if the extra `demo` is not installed."""
    try:
        from moto.server import ThreadedMotoServer
    except ImportError:
        raise RequestError(
            "the demo starts an S3-compatible server of its own, and none is installed",
            hint="pip install 'ovms-converter[demo]'",
        ) from None
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    os.environ.update(_NO_PROXY)
    server = ThreadedMotoServer("127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        store = Store(f"http://{host}:{port}")
        with urllib3.PoolManager() as http:
            _put(http, f"{store.endpoint}/{BUCKET}")
        yield store
    finally:
        server.stop()
