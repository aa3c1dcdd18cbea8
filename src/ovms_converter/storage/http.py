"""Read a file, or a directory of files, over http(s).

A URL is one file unless its server answers with an index page of a directory. The name of a single file is
the last name of the URL's path, whatever a redirect leads to; its neighbours are asked for beside it.
"""

import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from pathlib import Path
from typing import TYPE_CHECKING

from ovms_converter.errors import (
    AccessDeniedError,
    ConverterError,
    LocationError,
    NotFoundError,
)
from ovms_converter.storage.base import Entry, FetchedFile, FetchedTree, Listing, Progress
from ovms_converter.storage.http_client import HttpClient, Refused, extra_headers, told
from ovms_converter.storage.http_download import download
from ovms_converter.storage.http_head import Head, looks_like_html
from ovms_converter.storage.http_resource import Resource
from ovms_converter.storage.http_retry import HttpLimits
from ovms_converter.storage.http_url import HttpUrl
from ovms_converter.storage.index_page import walk
from ovms_converter.storage.location import Location, why_unsafe

if TYPE_CHECKING:
    from ovms_converter.storage.http_destination import HttpDestination

__all__ = ["HttpSource", "fetch_all", "open_destination", "open_source"]

_PAGE_BYTES = 16 << 20


def open_source(location: Location, environ: Mapping[str, str]) -> "HttpSource":
    """A source for an http(s) URL. Raises `RequestError` where the URL or a setting cannot be used."""
    return HttpSource(location, environ)


def open_destination(location: Location, environ: Mapping[str, str]) -> "HttpDestination":
    """A destination for an http(s) URL. Raises `RequestError` where the URL or a setting cannot be used."""
    from ovms_converter.storage.http_destination import HttpDestination

    return HttpDestination(location, environ)


class HttpSource:
    """A `Source` for one file, with neighbours, or one directory with index pages."""

    def __init__(
        self, location: Location, environ: Mapping[str, str], limits: HttpLimits | None = None
    ) -> None:
        self._location = location
        self._url = HttpUrl.parse(location.text)
        self._client = HttpClient(environ, limits or HttpLimits.from_environment(environ))
        self._secret_headers = extra_headers(environ, self._url)
        self._lock = threading.Lock()
        self._resources: dict[str, Resource] = {}
        self._listing: Listing | None = None

    @property
    def location(self) -> Location:
        """Where this reads."""
        return self._location

    def list(self) -> Listing:
        """The file, or all files below the directory; their sizes are not known: index pages round them."""
        with self._lock:
            if self._listing is None:
                self._listing = self._look()
            return self._listing

    def read(self, path: str, start: int = 0, length: int | None = None) -> bytes:
        """Up to `length` bytes of one file from offset `start`; all of the rest if `length` is None."""
        return self._resource(path).read(start, length)

    def size_of(self, path: str) -> int | None:
        """See `Source.size_of`: index pages round it, the answer to a read tells it."""
        return self._resource(path).head().size

    def reads_parts(self, path: str) -> bool:
        """See `Source.reads_parts`."""
        return self._resource(path).reads_parts

    def fetch(self, paths: Sequence[str], directory: Path, progress: Progress) -> FetchedTree:
        """Bring these files below `directory`, several at once, large ones in parts at once."""

        def one(path: str, stop: threading.Event) -> FetchedFile:
            target = directory / path
            target.parent.mkdir(parents=True, exist_ok=True)
            size, sha256 = download(self._resource(path, stop), target, progress, stop)
            return FetchedFile(path, size, sha256)

        return FetchedTree(directory, fetch_all(paths, one, self._client))

    @property
    def place(self) -> str | None:
        """See `Source.place`: None if the URL has a query that may be a secret or choose the file."""
        return str(self._url) if not self._url.query or self._url.is_only_signed else None

    def etag(self, path: str) -> str | None:
        """See `Source.etag`: of a neighbour only if it is beside the URL itself, not where that leads."""
        with self._lock:
            resource, listing = self._resources.get(path), self._listing
        if resource is None or listing is None:
            return None
        listed = any(entry.path == path for entry in listing.entries)
        return resource.mark if listed or resource.is_at(self._url.neighbour(path)) else None

    def has_still(self, etags: Mapping[str, str]) -> bool:
        """See `Source.has_still`: a conditional GET for each file."""
        name = self._url.name
        if name in etags and self._listing is None:
            main = Resource(self._client, self._url, self._secret_headers)
            if not main.is_still(etags[name]):
                return False
            with self._lock:
                self._resources[name] = main
                self._listing = Listing(True, (Entry(name, None, etags[name]),))
        listing = self.list()
        return all(
            (path == name and listing.is_file) or self._known(path, listing).is_still(etag)
            for path, etag in etags.items()
        )

    def _known(self, path: str, listing: Listing) -> Resource:
        """A listed file, or a neighbour that was read earlier."""
        if listing.is_file or path not in self._resources:
            return Resource(self._client, self._url.neighbour(path), self._secret_headers)
        return self._resources[path]

    def _look(self) -> Listing:
        resource = self._found()
        head = resource.head()
        if looks_like_html(head.start):
            if not head.url.is_directory:
                raise _web_page(resource)
            files = walk(head.url, self._page)
            self._resources = {
                path: Resource(self._client, url, self._headers_for(url)) for path, url in files.items()
            }
            return Listing(False, tuple(Entry(path) for path in files))
        name = self._url.name
        if not name:
            raise LocationError(
                f"the URL `{self._url}` names no file",
                hint="give the URL of a model file, an archive or a directory",
            )
        self._resources[name] = resource
        return Listing(True, (Entry(name, head.size, head.tag),))

    def _found(self) -> Resource:
        """What is at the URL; a slash at its end that the server does not know changes nothing."""
        resource = Resource(self._client, self._url, self._secret_headers)
        bare = self._url.path.rstrip("/")
        try:
            resource.head()
        except NotFoundError:
            if not self._url.is_directory or not bare:
                raise
            resource = Resource(self._client, self._url.with_path(bare), self._secret_headers)
            resource.head()
        return resource

    def _page(self, url: HttpUrl) -> tuple[HttpUrl, str]:
        """An index page: where it came from in the end, and its HTML."""
        try:
            final, _, body = self._client.get(
                url, {}, limit=_PAGE_BYTES, secret_headers=self._headers_for(url)
            )
        except Refused as refused:
            raise told(refused, str(url)) from None
        return final, body.decode("utf-8", "replace")

    def _headers_for(self, url: HttpUrl) -> Mapping[str, str]:
        return self._secret_headers if url.origin == self._url.origin else {}

    def _resource(self, path: str, interrupted: threading.Event | None = None) -> Resource:
        """The file `path` of the listing, or else a neighbour of it. Raises `NotFoundError`."""
        listing = self.list()
        with self._lock:
            resource = self._resources.get(path)
        if resource is None:
            resource = self._neighbour(path, listing, interrupted)
            with self._lock:
                resource = self._resources.setdefault(path, resource)
        return resource

    def _neighbour(self, path: str, listing: Listing, interrupted: threading.Event | None) -> Resource:
        """A file beside the one that the URL names: where that really is, else where it was asked for.

        A page in the place of a neighbour is no neighbour: some servers answer everything with one.
        """
        reason = why_unsafe(path)
        if reason:
            raise LocationError(f"`{path}` {reason}: it is not read from beside `{self._url}`")
        if not listing.is_file:
            raise NotFoundError(f"there is no `{path}` in the directory `{self._url}`")
        main = self._resources[listing.entries[0].path]
        bases = [main.head().url, self._url]
        usable = [base for base in dict.fromkeys(bases) if not base.is_signed_for_one_file]
        if not usable:
            raise LocationError(
                f"`{path}` belongs to the model, but the link `{self._url}` is signed for one file only",
                hint="give an archive with all files of the model, or the URL of a directory",
            )
        refusal: ConverterError | None = None
        for base in usable:
            resource = Resource(self._client, base.neighbour(path), self._headers_for(base))
            try:
                if looks_like_html(resource.head(interrupted=interrupted).start):
                    raise _web_page(resource)
            except (NotFoundError, AccessDeniedError, LocationError) as problem:
                refusal = refusal or problem
            else:
                return resource
        assert refusal is not None
        raise refusal


def fetch_all(
    paths: Sequence[str], one: Callable[[str, threading.Event], FetchedFile], client: HttpClient
) -> tuple[FetchedFile, ...]:
    """Call `one` for every path, several at once; the first failure stops the others and is raised."""
    stop = threading.Event()
    with ThreadPoolExecutor(max(1, min(client.limits.files, len(paths))), "http-file") as pool:
        try:
            futures = [pool.submit(one, path, stop) for path in paths]
            done, _ = wait(futures, return_when=FIRST_EXCEPTION)
            for future in done:
                future.result()
            return tuple(future.result() for future in futures)
        except BaseException:
            stop.set()
            client.break_off()
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _web_page(resource: Resource) -> LocationError:
    head: Head = resource.head()
    elsewhere = f", from `{head.url}`" if str(head.url) != resource.shown else ""
    return LocationError(
        f"`{resource.shown}` gives a web page, not a file{elsewhere}",
        hint="it may be a sign-in or preview page: give the direct link to the file, or credentials as "
        "`USER:PASSWORD@` before the host",
    )
