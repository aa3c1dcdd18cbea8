"""As much of an S3 server as copying takes, and as fast as it can be: what is left is the client's own cost.

    python benchmarks/floor_server.py DIRECTORY PORT

Objects are files below `DIRECTORY/BUCKET`, sent with `sendfile`. Nothing is checked: neither keys nor
signatures nor digests, and no condition is honoured. For benchmarks on a machine of one's own alone.
"""

import http.server
import os
import re
import shutil
import socketserver
import sys
import uuid
from http import HTTPStatus
from pathlib import Path
from typing import ClassVar
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape

_XMLNS = "http://s3.amazonaws.com/doc/2006-03-01/"
_BLOCK = 1 << 20


class Handler(http.server.BaseHTTPRequestHandler):
    """One connection. The S3 API's reference tells what each request means."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    root: ClassVar[Path]

    def do_GET(self) -> None:
        """An object, a part of it, or a listing of a prefix in one page."""
        path, query = self._target()
        if query.keys() & {"list-type", "prefix"}:
            self._listing(path, query.get("prefix", [""])[0])
        elif "location" in query:
            self._answer(xml=f'<LocationConstraint xmlns="{_XMLNS}"/>')
        else:
            self._object(path, body=True)

    def do_HEAD(self) -> None:
        """An object's size and ETag."""
        self._object(self._target()[0], body=False)

    def do_PUT(self) -> None:
        """An object, or a part of one on its way."""
        path, query = self._target()
        if "partNumber" in query:
            path = self._upload(query) / f"{int(query['partNumber'][0]):05}"
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("wb") as file:
            for block in self._body():
                file.write(block)
        self._answer(headers={"ETag": _etag(path)})

    def do_POST(self) -> None:
        """Begin or complete an upload in parts."""
        path, query = self._target()
        body = b"".join(self._body())
        if "uploads" in query:
            upload = uuid.uuid4().hex
            self._upload({"uploadId": [upload]}).mkdir(parents=True)
            xml = f"<UploadId>{upload}</UploadId>"
            self._answer(
                xml=f'<InitiateMultipartUploadResult xmlns="{_XMLNS}">{xml}</InitiateMultipartUploadResult>'
            )
            return
        assert body
        directory = self._upload(query)
        first, *others = sorted(directory.iterdir())
        with first.open("r+b") as whole:
            os.lseek(whole.fileno(), 0, os.SEEK_END)
            for part in others:
                with part.open("rb") as file:
                    while os.sendfile(whole.fileno(), file.fileno(), None, _BLOCK * 64):
                        pass
                part.unlink()
        path.parent.mkdir(parents=True, exist_ok=True)
        first.rename(path)
        shutil.rmtree(directory)
        xml = f"<ETag>{escape(_etag(path))}</ETag>"
        self._answer(
            xml=f'<CompleteMultipartUploadResult xmlns="{_XMLNS}">{xml}</CompleteMultipartUploadResult>'
        )

    def log_message(self, format: str, *arguments: object) -> None:
        """Say nothing."""

    def _target(self) -> tuple[Path, dict[str, list[str]]]:
        parts = urlsplit(self.path)
        return self.root / unquote(parts.path).strip("/"), parse_qs(parts.query, keep_blank_values=True)

    def _upload(self, query: dict[str, list[str]]) -> Path:
        return self.root / ".uploads" / query["uploadId"][0]

    def _body(self) -> "Blocks":
        length = int(self.headers.get("content-length") or 0)
        return Blocks(self, length, chunked="x-amz-decoded-content-length" in self.headers)

    def _listing(self, bucket: Path, prefix: str) -> None:
        directory = bucket / prefix.rpartition("/")[0]
        paths = sorted(path for path in directory.rglob("*") if path.is_file())
        items = "".join(
            f"<Contents><Key>{escape(path.relative_to(bucket).as_posix())}</Key>"
            f"<LastModified>2026-01-01T00:00:00.000Z</LastModified><ETag>{escape(_etag(path))}</ETag>"
            f"<Size>{path.stat().st_size}</Size><StorageClass>STANDARD</StorageClass></Contents>"
            for path in paths
            if path.relative_to(bucket).as_posix().startswith(prefix)
        )
        head = f"<Name>{bucket.name}</Name><Prefix>{escape(prefix)}</Prefix><MaxKeys>1000</MaxKeys>"
        head += f"<KeyCount>{items.count('<Key>')}</KeyCount><IsTruncated>false</IsTruncated>"
        self._answer(xml=f'<ListBucketResult xmlns="{_XMLNS}">{head}{items}</ListBucketResult>')

    def _object(self, path: Path, *, body: bool) -> None:
        if path.parent == self.root and path.is_dir():
            self._answer()
            return
        if not path.is_file():
            xml = "<Error><Code>NoSuchKey</Code></Error>" if body else ""
            self._answer(HTTPStatus.NOT_FOUND, xml=xml)
            return
        size = path.stat().st_size
        start, end, status = 0, size, HTTPStatus.OK
        headers = {
            "ETag": _etag(path),
            "Last-Modified": "Thu, 01 Jan 2026 00:00:00 GMT",
            "Accept-Ranges": "bytes",
        }
        if match := re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("range", "")):
            start, end = int(match[1]), min(size, int(match[2]) + 1 if match[2] else size)
            status = HTTPStatus.PARTIAL_CONTENT
            headers["Content-Range"] = f"bytes {start}-{end - 1}/{size}"
        self._head(status, {**headers, "Content-Length": str(end - start)})
        if body:
            self.wfile.flush()
            with path.open("rb") as file:
                while start < end:
                    start += os.sendfile(self.connection.fileno(), file.fileno(), start, end - start)

    def _answer(
        self, status: HTTPStatus = HTTPStatus.OK, *, xml: str = "", headers: "dict[str, str] | None" = None
    ) -> None:
        data = xml.encode()
        self._head(
            status, {"Content-Type": "application/xml", "Content-Length": str(len(data)), **(headers or {})}
        )
        self.wfile.write(data)

    def _head(self, status: HTTPStatus, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()


class Blocks:
    """The blocks of a request's body; `chunked` is Amazon's own framing with a signature for each chunk."""

    def __init__(self, handler: Handler, length: int, *, chunked: bool) -> None:
        self._file = handler.rfile
        self._left = length
        self._chunked = chunked

    def __iter__(self) -> "Blocks":
        return self

    def __next__(self) -> bytes:
        if self._chunked:
            size = int(self._file.readline().split(b";")[0] or b"0", 16)
            data = self._file.read(size)
            while not data and self._file.readline().strip():
                pass  # the trailers
            if data:
                self._file.readline()
        else:
            data = self._file.read(min(self._left, _BLOCK))
            self._left -= len(data)
        if not data:
            raise StopIteration
        return data


class Server(socketserver.ThreadingMixIn, http.server.HTTPServer):
    """A thread for each connection."""

    daemon_threads = True
    request_queue_size = 256

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that leaves is nothing to tell of."""


def _etag(path: Path) -> str:
    """What changes with the file; `-1` makes it the kind that is no digest."""
    status = path.stat()
    return f'"{status.st_mtime_ns:016x}{status.st_size:016x}-1"'


def main() -> int:
    """Serve until somebody ends this process."""
    Handler.root = Path(sys.argv[1])
    Server(("127.0.0.1", int(sys.argv[2])), Handler).serve_forever()
    return 0


if __name__ == "__main__":
    sys.exit(main())
