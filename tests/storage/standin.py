"""A stand-in for stores that tell checksums which no server at hand tells rightly: CRC-32C, CRC-64/NVME,
Google's. It shows what the program does with such answers, not what these stores answer.
"""

import contextlib
import re
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit

__all__ = ["Asked", "Store", "Stored", "running_store"]

_LISTING = (
    '<?xml version="1.0"?><ListBucketResult><Name>b</Name><Prefix></Prefix><KeyCount>0</KeyCount>'
    "<MaxKeys>1000</MaxKeys><IsTruncated>false</IsTruncated></ListBucketResult>"
)


@dataclass
class Stored:
    """An object.

    `told`    headers that a HEAD gives that asks for checksums, or any HEAD if they are Google's
    `parts`   the sizes that HEADs of its parts tell; `shown` is how many of them do
    `status`  of the answer to a HEAD that asks for checksums
    `flips`   at which byte each of the next downloads is damaged
    """

    data: bytes
    etag: str
    told: Mapping[str, str] = field(default_factory=dict)
    parts: tuple[int, ...] = ()
    shown: int = 10_000
    status: int = 200
    flips: list[int] = field(default_factory=list)


@dataclass(frozen=True)
class Asked:
    """One request; header names are in lower case."""

    method: str
    key: str
    query: Mapping[str, list[str]]
    headers: Mapping[str, str]


class Store:
    """The store's content and what was asked of it. `hold` lets a HEAD for checksums wait for it."""

    def __init__(self) -> None:
        self.endpoint = ""
        self.objects: dict[str, Stored] = {}
        self.asked: list[Asked] = []
        self.redirect = ""
        self.hold: threading.Event | None = None
        self.downloaded = threading.Event()

    def of(self, method: str) -> list[Asked]:
        """The requests of an object by this method."""
        return [asked for asked in self.asked if asked.method == method and asked.key in self.objects]

    @property
    def downloads(self) -> int:
        """How often an object was brought from its beginning; a look at the first byte does not count."""
        ranges = [asked.headers.get("range", "bytes=0-") for asked in self.of("GET")]
        return sum(each.startswith("bytes=0-") and each != "bytes=0-0" for each in ranges)

    @property
    def for_checksums(self) -> list[Asked]:
        """The HEADs that ask for checksums, of objects or their parts."""
        return [
            asked
            for asked in self.of("HEAD")
            if "x-amz-checksum-mode" in asked.headers or "partNumber" in asked.query
        ]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    store: Store

    def log_message(self, format: str, *args: object) -> None:
        """Nothing is printed."""

    def _begin(self) -> tuple[Stored | None, Asked]:
        parts = urlsplit(self.path)
        virtual = parts.netloc.startswith("b.")
        key = unquote(parts.path)[1:] if virtual else unquote(parts.path).partition("/b/")[2]
        headers = {name.lower(): value for name, value in self.headers.items()}
        asked = Asked(self.command, key, parse_qs(parts.query), headers)
        self.store.asked.append(asked)
        return self.store.objects.get(key), asked

    def _answer(self, status: int, headers: Mapping[str, str], body: bytes = b"") -> None:
        self.send_response(status)
        for name, value in ({"Content-Length": str(len(body))} | dict(headers)).items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def do_HEAD(self) -> None:
        stored, asked = self._begin()
        if stored is None:
            return self._answer(404, {})
        headers = {"ETag": stored.etag, "Last-Modified": "Mon, 02 Nov 2026 10:00:00 GMT"}
        if "partNumber" in asked.query:
            number = int(asked.query["partNumber"][0])
            if number > min(len(stored.parts), stored.shown):
                return self._answer(403, {})
            told = {"x-amz-mp-parts-count": str(len(stored.parts))}
            return self._answer(206, headers | told | {"Content-Length": str(stored.parts[number - 1])})
        asks = asked.headers.get("x-amz-checksum-mode") == "ENABLED"
        signed = re.search("SignedHeaders=([^,]*)", asked.headers.get("authorization", ""))
        if asks and signed and "x-amz-checksum-mode" not in signed[1].split(";"):
            # So do Amazon's.
            return self._answer(403, {})
        if asks and self.store.hold and not self.store.hold.wait(20):
            return self._answer(404, {})
        if asks and self.store.redirect:
            return self._answer(307, {"Location": f"{self.store.redirect}{self.path}"})
        if asks and stored.status != 200:
            return self._answer(stored.status, {})
        told = {n: v for n, v in stored.told.items() if asks or n.startswith("x-goog-")}
        return self._answer(200, headers | {"Content-Length": str(len(stored.data))} | told)

    def do_GET(self) -> None:
        stored, asked = self._begin()
        if stored is None:
            body = (
                _LISTING.encode() if "list-type" in asked.query else b"<Error><Code>NoSuchKey</Code></Error>"
            )
            return self._answer(200 if "list-type" in asked.query else 404, {}, body)
        data, status, headers = stored.data, 200, {"ETag": stored.etag}
        headers["Last-Modified"] = "Mon, 02 Nov 2026 10:00:00 GMT"
        if match := re.fullmatch(r"bytes=(\d+)-(\d+)", asked.headers.get("range", "")):
            start, end = int(match[1]), min(int(match[2]) + 1, len(data))
            status, headers["Content-Range"] = 206, f"bytes {start}-{end - 1}/{len(data)}"
        else:
            start, end = 0, len(data)
        damaged = bytearray(data[start:end])
        if stored.flips and start <= stored.flips[0] < end:
            damaged[stored.flips.pop(0) - start] ^= 1
        with contextlib.suppress(OSError):
            self._answer(status, headers, bytes(damaged))
        if end == len(data):
            self.store.downloaded.set()
        return None


@contextlib.contextmanager
def running_store() -> Iterator[Store]:
    """A store with one bucket, `b`, until the block ends."""
    store = Store()
    handler = type("Handler", (_Handler,), {"store": store})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    store.endpoint = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield store
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
