"""What a directory on an http(s) server holds: by WebDAV where the server has it, else by its index pages."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from urllib.parse import quote

from ovms_converter.errors import LocationError
from ovms_converter.storage.base import Entry
from ovms_converter.storage.http_url import HttpUrl
from ovms_converter.storage.http_writing import Body, HttpServer, Reply
from ovms_converter.storage.index_page import IndexLimits, endless, links_of
from ovms_converter.storage.webdav import QUESTION, Child, children_of, moment

__all__ = ["HttpListing", "below"]

_PAGE_BYTES = 16 << 20
_AT_ONCE = 8


def below(directory: HttpUrl, path: str, *, is_directory: bool = False) -> HttpUrl:
    """The URL of `path` (POSIX, decoded) in a directory, whose path ends in a slash."""
    return directory.with_path(directory.path + quote(path) + ("/" if is_directory else ""))


class HttpListing:
    """Lists directories of one server. Their URLs end in a slash."""

    def __init__(self, server: HttpServer, limits: IndexLimits | None = None) -> None:
        self._server = server
        self._limits = limits or IndexLimits()
        self._facts: dict[str, Child] = {}
        self.is_webdav: bool | None = None
        """Whether the server answers to PROPFIND; None before it was asked for something that is there."""

    def children(self, directory: HttpUrl, *, is_new: bool = True) -> tuple[Child, ...] | None:
        """What is directly in a directory, None if it is not there. An index page tells no sizes.

        `is_new` if another run may be making it at this moment.

        Raises `LocationError` if the server tells in neither way, and what else it refuses with.
        """
        reply: Reply | None = None
        if self.is_webdav is not False:
            headers = {"depth": "1", "content-type": "application/xml; charset=utf-8"}
            body = Body(lambda: (QUESTION,), len(QUESTION))
            reply = self._server.ask("PROPFIND", directory, headers, body=body, limit=_PAGE_BYTES)
            if reply.status == 207:
                self.is_webdav = True
                return children_of(reply.body, directory)
            if self.is_webdav and reply.is_gone:
                return None
            if self.is_webdav:
                raise self._server.refusal(reply, "PROPFIND", directory)
            if reply.status in {405, 501}:
                self.is_webdav = False
        # What PROPFIND did not find may be there by now, made by another run.
        return self._of_page(directory, is_new=is_new and reply is not None and reply.is_gone)

    def _of_page(self, directory: HttpUrl, *, is_new: bool) -> tuple[Child, ...] | None:
        reply = self._server.ask("GET", directory, limit=_PAGE_BYTES)
        if reply.is_gone:
            return None
        page = reply.body.decode("utf-8", "replace") if reply.is_success else ""
        links = links_of(page, directory)
        if links is None and is_new:
            return self.children(directory, is_new=False)
        if links is None:
            raise LocationError(
                f"`{directory}` lists no files, neither by WebDAV nor as an index page",
                hint="switch one of them on at the server, and check what the credentials may read: without "
                "a list versions cannot be numbered",
            )
        return tuple(Child(link.name, link.is_directory) for link in links)

    def files(self, root: HttpUrl) -> tuple[Entry, ...]:
        """All files below a directory with their sizes, sorted; none if it is not there.

        Raises as `children` does.
        """
        found = dict(self._walk(root))
        unknown = [path for path, child in found.items() if child.size is None]
        with ThreadPoolExecutor(_AT_ONCE, "http-head") as pool:
            children = pool.map(lambda path: self._looked_up(root, path), unknown)
            looked = dict(zip(unknown, children, strict=True))
        entries = []
        for path, listed in found.items():
            child = looked.get(path, listed)
            if child:
                entries.append(Entry(path, child.size, child.etag, child.modified))
        return tuple(sorted(entries))

    def forget(self, directory: HttpUrl) -> None:
        """Ask again for the sizes of what is in a directory: it is written to."""
        for known in [known for known in self._facts if known.startswith(directory.path)]:
            del self._facts[known]

    def _walk(self, root: HttpUrl) -> Iterator[tuple[str, Child]]:
        waiting = [""]
        pages = files = 0
        while waiting:
            prefix = waiting.pop()
            pages += 1
            directory = root.with_path(root.path + quote(prefix))
            if prefix.count("/") > self._limits.depth or pages > self._limits.pages:
                raise endless(root, self._limits)
            for child in self.children(directory) or ():
                if child.is_directory:
                    waiting.append(f"{prefix}{child.name}/")
                    continue
                files += 1
                if files > self._limits.files:
                    raise endless(root, self._limits)
                yield prefix + child.name, child

    def _looked_up(self, root: HttpUrl, path: str) -> Child | None:
        """A file with its size, which an index page rounds; None if it is gone. A version's files do not
        change.
        """
        url = below(root, path)
        known = self._facts.get(url.path)
        if known:
            return known
        reply = self._server.ask("HEAD", url)
        if reply.is_gone:
            return None
        child = Child(path, is_directory=False)
        if reply.is_success:
            modified = moment(reply.headers.get("last-modified", ""))
            etag = reply.headers.get("etag") or None
            child = replace(child, size=reply.size, etag=etag, modified=modified)
            self._facts[url.path] = child
        return child
