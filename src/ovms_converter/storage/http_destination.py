"""A directory on an http(s) server that takes `PUT` and `DELETE`, as WebDAV servers do, as a destination."""

import contextlib
import secrets
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath

from ovms_converter.errors import AccessDeniedError, LocationError, NotFoundError, RequestError
from ovms_converter.storage.base import PROBE, SMALL_FILE, Entry, Listing, Progress, Source
from ovms_converter.storage.disk import disk_error
from ovms_converter.storage.http import HttpSource
from ovms_converter.storage.http_client import HttpClient, extra_headers
from ovms_converter.storage.http_listing import HttpListing, below
from ovms_converter.storage.http_publication import HttpPublication, remove_empty_directory
from ovms_converter.storage.http_resource import Resource
from ovms_converter.storage.http_retry import HttpLimits
from ovms_converter.storage.http_url import HttpUrl
from ovms_converter.storage.http_writing import Body, HttpServer, parent_of
from ovms_converter.storage.location import Location, why_unsafe

__all__ = ["HttpDestination"]

_PROBE_TEXT = b"may this be written?\n"
_LITTLE_PATIENCE = HttpLimits(connect_seconds=2, idle_seconds=5, attempts=2, wait_budget=1)
"""For taking back what was written: a person may wait, or a cluster that kills before long."""


class HttpDestination:
    """A directory that holds published directories."""

    def __init__(
        self, location: Location, environ: Mapping[str, str], limits: HttpLimits | None = None
    ) -> None:
        """Raises `RequestError` for a URL with a query, which may be a signature: of one request or file."""
        self.location = location
        self._environ = environ
        self._limits = limits or HttpLimits.from_environment(environ)
        url = HttpUrl.parse(location.text)
        if url.query:
            raise RequestError(
                f"`{location}` has a query, and no directory can be written by such a URL",
                hint="a presigned URL is for one file: give the directory's own URL, with credentials as "
                "`USER:PASSWORD@` before the host or as `HOST-headers`",
                parameter="output_model",
            )
        self._root = url.with_path(url.path.rstrip("/") + "/")
        self._server = self._new_server(self._limits)
        self._listing = HttpListing(self._server)

    def check_writable(self) -> None:
        """See `Destination.check_writable`: a small file is written and removed, and the directory has to be
        listed meanwhile. If it is not there, a directory is made where the first one would have to be.
        """
        name = f"{PROBE}{secrets.token_hex(6)}"
        if self._probe(below(self._root, name)):
            return
        above = parent_of(self._root)
        while above:
            directory = below(above, name, is_directory=True)
            reply = self._server.ask("MKCOL", directory)
            if reply.is_success:
                with self._removing(directory):
                    if not self._probe(below(directory, name)):
                        break
                return
            if reply.status in {400, 405, 501}:
                break
            if reply.status not in {404, 409}:
                raise self._server.refusal(reply, "MKCOL", directory)
            above = parent_of(above)
        raise NotFoundError(
            f"`{self._root}` is not there, and its server makes no directories",
            hint="make the directory at the server, or check the path of the URL",
        )

    def list(self) -> tuple[Entry, ...]:
        """See `Destination.list`."""
        return self._listing.files(self._root)

    def read(self, path: str, limit: int = SMALL_FILE) -> bytes:
        """See `Destination.read`."""
        url = self._file(path)
        reply = self._server.ask("GET", url, limit=limit)
        if reply.is_gone:
            raise NotFoundError(f"there is no `{path}` below `{self.location}`")
        if not reply.is_success:
            raise self._server.refusal(reply, "GET", url)
        return reply.body

    def as_source(self) -> Source:
        """See `Destination.as_source`."""
        return _Published(self, self._environ, self._limits)

    def siblings(self) -> tuple[str, ...]:
        """See `Destination.siblings`; none where the directory above cannot be listed."""
        above = parent_of(self._root)
        if above is None:
            return ()
        own = self.url_of("").name
        try:
            children = HttpListing(self._server).children(above)
        except LocationError:
            return ()
        names = {child.name for child in children or ()}
        return tuple(sorted(name for name in names if name.startswith(own) and name != own))

    def scratch(self) -> Path | None:
        """See `Destination.scratch`: a server has none."""
        return None

    def publish(self, directory: str, files: Mapping[str, Path], progress: Progress) -> None:
        """See `Destination.publish`.

        A server that makes no directories and ignores conditions still refuses what is listed; two runs at
        the same moment can meet there.
        """
        self._check(directory)
        url = below(self._root, directory, is_directory=True)
        self._listing.forget(url)
        publication = HttpPublication(self._server, self._listing, url, files, progress)
        try:
            publication.run()
        except BaseException as error:
            publication.clean_up(error, self._new_server(_LITTLE_PATIENCE))
            if isinstance(error, OSError):
                raise disk_error(error, str(error.filename)) from None
            raise

    def copy_from(self, source: Source) -> None:
        """See `Destination.copy_from`: there is no request to copy that servers have in common."""

    def remove(self, paths: Sequence[str]) -> None:
        """See `Destination.remove`; over WebDAV, directories that become empty go too."""
        directories = {parent for path in paths for parent in PurePosixPath(path).parents[:-1]}
        for path in paths:
            self._server.delete(self._file(path))
        for directory in sorted(directories, reverse=True):
            url = below(self._root, directory.as_posix(), is_directory=True)
            self._listing.forget(url)
            with contextlib.suppress(LocationError):
                remove_empty_directory(self._server, self._listing, url)

    def url_of(self, path: str) -> HttpUrl:
        """The URL of a file below the location; of "" the location's own."""
        return below(self._root, path)

    def _probe(self, url: HttpUrl) -> bool:
        """Write a file and remove it; False if its directory is not there. Raises if that is not listed."""
        reply = self._server.ask("PUT", url, body=Body(lambda: (_PROBE_TEXT,), len(_PROBE_TEXT)))
        if reply.status in {404, 409}:
            return False
        if not reply.is_success:
            raise self._server.refusal(reply, "PUT", url)
        with self._removing(url):
            directory = parent_of(url)
            if directory and self._listing.children(directory) is None:
                raise LocationError(
                    f"`{directory}` takes files and does not list them",
                    hint="switch WebDAV (PROPFIND) or index pages on at the server: without a list versions "
                    "cannot be numbered",
                )
        return True

    @contextlib.contextmanager
    def _removing(self, url: HttpUrl) -> Iterator[None]:
        """Remove what the probe made, in any case. Who may write but not remove can publish all the same."""
        try:
            yield
        finally:
            with contextlib.suppress(AccessDeniedError):
                self._server.delete(url)

    def _file(self, path: str) -> HttpUrl:
        self._check(path)
        return below(self._root, path)

    def _check(self, path: str) -> None:
        reason = why_unsafe(path)
        if reason:
            raise LocationError(f"`{path}` {reason}: it is not below `{self.location}`")

    def _new_server(self, limits: HttpLimits) -> HttpServer:
        return HttpServer(HttpClient(self._environ, limits), extra_headers(self._environ, self._root))


class _Published(HttpSource):
    """What is at a destination, listed as the destination lists it."""

    def __init__(self, destination: HttpDestination, environ: Mapping[str, str], limits: HttpLimits) -> None:
        location = destination.location
        super().__init__(replace(location, text=f"{location.text.rstrip('/')}/"), environ, limits)
        self._destination = destination

    def _look(self) -> Listing:
        entries = self._destination.list()
        self._resources = {
            entry.path: Resource(self._client, self._destination.url_of(entry.path), self._secret_headers)
            for entry in entries
        }
        return Listing(False, entries)
