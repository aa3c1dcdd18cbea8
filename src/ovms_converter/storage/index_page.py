"""A directory over http: the index pages of nginx, Apache, lighttpd, Python's `http.server` and their like.

There is no standard for such a page. What all have in common: a heading that says so, and one relative link
per file or directory (with a slash at its end). Links that lead elsewhere, up, or sort the page are none of
those.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from html.parser import HTMLParser
from urllib.parse import urlsplit

from ovms_converter.errors import LocationError
from ovms_converter.storage.http_url import HttpUrl, decoded_name

__all__ = ["IndexLimits", "Link", "endless", "links_of", "walk"]

_HEADINGS = frozenset({"title", "h1", "h2"})
_SAYS_SO = re.compile(r"\b(?:index of|directory listing)\b", re.IGNORECASE)


@dataclass(frozen=True)
class IndexLimits:
    """How far a directory is followed before it is taken for an endless one."""

    depth: int = 32
    pages: int = 2_000
    files: int = 20_000


@dataclass(frozen=True)
class Link:
    """One file or directory of an index page: its name, decoded, and its URL's path, encoded."""

    name: str
    path: str
    is_directory: bool


def links_of(html: str, page: HttpUrl) -> tuple[Link, ...] | None:
    """The files and directories directly in the directory that `page` shows; None if it shows no directory.

    Raises `LocationError` for a name that is no file name, `..` behind an encoding among them.
    """
    parser = _Parser()
    parser.feed(html)
    parser.close()
    if not _SAYS_SO.search(parser.heading):
        return None
    found = {link.path: link for href in parser.hrefs if (link := _link(href, page)) is not None}
    return tuple(found.values())


def walk(
    root: HttpUrl, get_page: Callable[[HttpUrl], tuple[HttpUrl, str]], limits: IndexLimits | None = None
) -> dict[str, HttpUrl]:
    """All files below the directory `root`: path relative to it, decoded → URL. Sorted by path.

    `get_page` brings one page: where it came from in the end, and its HTML. Raises `LocationError` if a page
    is no index page, leads to another directory or server, or there are too many of them.
    """
    limits = limits or IndexLimits()
    files: dict[str, HttpUrl] = {}
    seen: set[str] = set()
    waiting = [("", root)]
    while waiting:
        prefix, url = waiting.pop()
        if prefix.count("/") > limits.depth or len(seen) >= limits.pages or len(files) > limits.files:
            raise endless(root, limits)
        final, html = get_page(url)
        if final.origin != root.origin or not final.path.startswith(root.path):
            raise LocationError(f"`{url}` leads out of the directory `{root}`, to `{final}`")
        if final.path in seen:
            continue
        seen.add(final.path)
        links = links_of(html, final)
        if links is None:
            raise LocationError(
                f"`{url}` gives a web page that lists no files",
                hint="give the direct link to a file, or switch directory listing on at the server",
            )
        for link in links:
            target = root.with_path(link.path)
            if link.is_directory:
                waiting.append((f"{prefix}{link.name}/", target))
            else:
                files[prefix + link.name] = target
    return dict(sorted(files.items()))


def endless(root: HttpUrl, limits: IndexLimits) -> LocationError:
    """The error for a directory in which there is more than the limits say."""
    return LocationError(
        f"the directory `{root}` does not end: it has over {limits.depth} levels, {limits.pages} "
        f"directories or {limits.files} files",
        hint="give the URL of the model's own directory; a link in it may lead back up",
    )


def _link(href: str, page: HttpUrl) -> Link | None:
    href = href.strip()
    try:
        parts = urlsplit(href)
    except ValueError:
        return None
    if not href or parts.query or parts.scheme not in {"", "http", "https"}:
        return None
    target = page.joined(href.partition("#")[0])
    if target.origin != page.origin or not target.path.startswith(page.path):
        return None
    segment, slash, deeper = target.path[len(page.path) :].partition("/")
    if not segment or deeper:
        return None
    return Link(decoded_name(segment, str(page)), target.path, bool(slash))


class _Parser(HTMLParser):
    """Collects the text of the headings and the targets of the links."""

    def __init__(self) -> None:
        super().__init__()
        self.hrefs: list[str] = []
        self.heading = ""
        self._in_heading = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in _HEADINGS:
            self._in_heading = True
            self.heading += " "
        elif tag == "a":
            self.hrefs += [value for name, value in attrs if name == "href" and value]

    def handle_endtag(self, tag: str) -> None:
        if tag in _HEADINGS:
            self._in_heading = False

    def handle_data(self, data: str) -> None:
        if self._in_heading:
            self.heading += data
