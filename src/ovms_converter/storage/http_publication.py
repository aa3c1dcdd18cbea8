"""One directory on its way to an http(s) server: the first file claims it, the last one completes it.

A server that makes directories (`MKCOL`) makes each only once, and so tells which of two runs was first, also
where it ignores `If-None-Match`. `rclone serve webdav` does neither: what is there is looked up before it is
written, and the claim once more before each further file.
"""

import contextlib
import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path

from ovms_converter.errors import AlreadyExistsError, ConverterError, UnavailableError
from ovms_converter.storage.base import SMALL_FILE, Progress
from ovms_converter.storage.http_digest import Digests, expected_digests
from ovms_converter.storage.http_listing import HttpListing, below
from ovms_converter.storage.http_retry import Broken
from ovms_converter.storage.http_url import HttpUrl
from ovms_converter.storage.http_writing import Body, HttpServer, Reply

__all__ = ["HttpPublication", "remove_empty_directory"]

_CHUNK = 1 << 20
_IF_ABSENT = {"if-none-match": "*"}
_ASKED_DIGESTS = {"want-repr-digest": "sha-256=9, sha-512=5", "want-digest": "sha-256, sha-512;q=0.5"}
_UNKNOWN_METHOD = frozenset({403, 405, 501})


class _ClaimLostError(AlreadyExistsError):
    """What this run had written is gone: another run took it for dead."""


class HttpPublication:
    """One directory, `url`, whose path ends in a slash."""

    def __init__(
        self,
        server: HttpServer,
        listing: HttpListing,
        url: HttpUrl,
        files: Mapping[str, Path],
        progress: Progress,
    ) -> None:
        self._server = server
        self._listing = listing
        self._url = url
        self._files = dict(files)
        self._progress = progress
        self._made = False
        self._written: list[str] = []

    def run(self) -> None:
        """Claim, fill, complete. Raises `AlreadyExistsError` if the directory is there, or another run's."""
        if self._listing.children(self._url):
            raise AlreadyExistsError(f"`{self._url}` exists already")
        self._made = self._server.make_directory(self._url)
        if not self._made and self._listing.children(self._url) is not None:
            raise AlreadyExistsError(f"`{self._url}` exists already")
        names = list(self._files)
        for name in names[:1]:
            self._store(name, only_if_absent=True)
        for name in names[1:]:
            self._confirm_claim(names[0])
            self._store(name, only_if_absent=name == names[-1])

    def clean_up(self, error: BaseException, server: HttpServer) -> None:
        """Take back what was written, as far as the server lets us.

        `server` is the same with little patience.
        """
        others = isinstance(error, AlreadyExistsError) and not isinstance(error, _ClaimLostError)
        if others:
            return
        with contextlib.suppress(ConverterError):
            for name in self._written[::-1]:
                server.delete(below(self._url, name))
            if self._made:
                remove_empty_directory(server, HttpListing(server), self._url)

    def _confirm_claim(self, name: str) -> None:
        """Raise if the first file is not the one that this run wrote. Who may only write cannot look."""
        url, path = below(self._url, name), self._files[name]
        reply = self._server.ask("GET", url, limit=path.stat().st_size + SMALL_FILE)
        if reply.is_gone:
            raise _lost(url)
        if reply.is_success and reply.body != path.read_bytes():
            raise AlreadyExistsError(f"`{url}` was written by another run at the same moment")

    def _store(self, name: str, *, only_if_absent: bool) -> None:
        """Store one file and see that it is there whole."""
        url, path = below(self._url, name), self._files[name]
        if only_if_absent and self._server.ask("HEAD", url).is_success:
            raise AlreadyExistsError(f"`{url}` exists already")
        size = path.stat().st_size
        # In a directory that this run made, all is its own; elsewhere only what was stored for certain.
        if self._made or not only_if_absent:
            self._written.append(name)
        sent = _Sent(path, self._progress)
        headers = {"content-type": "application/octet-stream"} | (_IF_ABSENT if only_if_absent else {})
        reply = self._server.ask("PUT", url, headers, body=Body(sent.parts, size))
        if reply.status == 412 and reply.repeated and self._holds(url, path):
            reply = self._server.ask("HEAD", url)
        elif reply.status == 412:
            raise AlreadyExistsError(f"`{url}` exists already")
        if reply.status in {404, 409} and (self._made or self._written):
            raise _lost(url)
        if not reply.is_success:
            raise self._server.refusal(reply, "PUT", url)
        if name not in self._written:
            self._written.append(name)
        self._compare(url, path, size)

    def _compare(self, url: HttpUrl, path: Path, size: int) -> None:
        """Compare length, and a digest if the server gives one, with what was sent."""
        stored = self._server.ask("HEAD", url, _ASKED_DIGESTS)
        if stored.is_gone:
            raise _lost(url)
        if stored.status in _UNKNOWN_METHOD:
            return
        if not stored.is_success:
            raise self._server.refusal(stored, "HEAD", url)
        if stored.size not in (None, size):
            raise UnavailableError(
                f"`{url}` was stored with {size:,} bytes and has {stored.size:,}",
                hint="another program may write there; try again",
            )
        if not _fits(path, stored):
            raise UnavailableError(
                f"`{url}` was stored with other bytes than were sent",
                hint="something on the way changes them; try again",
            )

    def _holds(self, url: HttpUrl, path: Path) -> bool:
        """Whether what is stored is this file: a request whose answer got lost may have stored it."""
        size = path.stat().st_size
        reply = self._server.ask("GET", url, limit=size + _CHUNK)
        same = hashlib.sha256(reply.body).digest() == hashlib.sha256(path.read_bytes()).digest()
        return reply.is_success and same


class _Sent:
    """A file's bytes as they are sent, perhaps several times; progress counts each once."""

    def __init__(self, path: Path, progress: Progress) -> None:
        self._path = path
        self._progress = progress
        self._told = 0

    def parts(self) -> Iterator[bytes]:
        """The bytes from the beginning."""
        position = 0
        with self._path.open("rb") as file:
            while part := file.read(_CHUNK):
                yield part
                position += len(part)
                if position > self._told:
                    self._progress(position - self._told)
                    self._told = position


def remove_empty_directory(server: HttpServer, listing: HttpListing, url: HttpUrl) -> None:
    """Remove a directory in which nothing is, if the server has WebDAV; others keep theirs.

    `DELETE` takes what is in a directory along, so it must be one in which no other run begins to write: a
    version's, whose number is taken as long as the directory is there. Raises what the server refuses with.
    """
    if listing.children(url) == () and listing.is_webdav:
        server.delete(url)


def _fits(path: Path, stored: Reply) -> bool:
    told = expected_digests(stored.headers, whole=True)
    if not told:
        return True
    digests = Digests(told)
    with path.open("rb") as file:
        while part := file.read(_CHUNK):
            digests.update(part)
    try:
        digests.check()
    except Broken:
        return False
    return True


def _lost(url: HttpUrl) -> _ClaimLostError:
    return _ClaimLostError(
        f"`{url}` was removed as soon as it was stored",
        hint="another run may have published the same meanwhile; run again",
    )
