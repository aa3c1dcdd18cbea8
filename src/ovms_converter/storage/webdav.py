"""What a WebDAV server answers when it is asked for a directory's content (`PROPFIND`, RFC 4918, 9.1)."""

from dataclasses import dataclass, field
from datetime import datetime
from email.utils import parsedate_to_datetime
from xml.parsers import expat

from ovms_converter.errors import LocationError
from ovms_converter.storage.http_url import HttpUrl, decoded_name

__all__ = ["QUESTION", "Child", "children_of", "moment"]

QUESTION = (
    b'<?xml version="1.0" encoding="utf-8"?><propfind xmlns="DAV:"><prop><resourcetype/>'
    b"<getcontentlength/><getlastmodified/><getetag/></prop></propfind>"
)
"""The body of the request."""

_DEEPEST = 64
"""Elements inside each other; an answer has about six."""


@dataclass(frozen=True)
class Child:
    """A file or directory in a directory: its name, decoded, and for a file what the server tells of it."""

    name: str
    is_directory: bool
    size: int | None = None
    etag: str | None = None
    modified: datetime | None = None


def moment(text: str) -> datetime | None:
    """A date as HTTP writes it; None if it is none, or has no time zone."""
    try:
        found = parsedate_to_datetime(text)
    except (TypeError, ValueError):
        return None
    return found if found.tzinfo else None


def children_of(body: bytes, directory: HttpUrl) -> tuple[Child, ...]:
    """What an answer to a `PROPFIND` of `directory`, with `Depth: 1`, tells of what is directly in it.

    Raises `LocationError` if it is no such answer, declares a document type (no such answer does, and
    entities would come with it), or tells of something outside of the directory.
    """
    reader = _Reader()
    try:
        reader.parse(body)
    except (expat.ExpatError, ValueError) as problem:
        raise LocationError(
            f"`{directory}` answers to PROPFIND with what cannot be read: {problem}"
        ) from None
    found = [_child(response, directory) for response in reader.responses]
    return tuple(child for child in found if child)


@dataclass
class _Response:
    href: str = ""
    is_directory: bool = False
    facts: dict[str, str] = field(default_factory=dict)


_TEXTS = {f"DAV: {name}" for name in ("href", "getcontentlength", "getlastmodified", "getetag")}


class _Reader:
    """Collects the responses while expat parses."""

    def __init__(self) -> None:
        self.responses: list[_Response] = []
        self._open: list[str] = []
        self._text: list[str] = []

    def parse(self, body: bytes) -> None:
        parser = expat.ParserCreate(namespace_separator=" ")
        parser.StartElementHandler = self._start
        parser.EndElementHandler = self._end
        parser.CharacterDataHandler = self._text_goes_on
        parser.StartDoctypeDeclHandler = self._refuse_doctype
        parser.Parse(body, True)

    def _start(self, tag: str, _attributes: dict[str, str]) -> None:
        if not self._open and tag != "DAV: multistatus":
            raise ValueError("it does not begin with `multistatus`")
        if len(self._open) > _DEEPEST:
            raise ValueError(f"it has elements more than {_DEEPEST} deep")
        if tag == "DAV: response":
            self.responses.append(_Response())
        elif tag == "DAV: collection" and self._open[-1] == "DAV: resourcetype" and self.responses:
            self.responses[-1].is_directory = True
        self._open.append(tag)
        self._text = []

    def _end(self, tag: str) -> None:
        self._open.pop()
        if tag not in _TEXTS or not self.responses:
            return
        text, response = "".join(self._text).strip(), self.responses[-1]
        if tag != "DAV: href":
            response.facts[tag.removeprefix("DAV: ")] = text
        elif self._open[-1] == "DAV: response":
            response.href = text

    def _text_goes_on(self, text: str) -> None:
        self._text.append(text)

    def _refuse_doctype(self, *_declaration: object) -> None:
        raise ValueError("it declares a document type")


def _child(response: _Response, directory: HttpUrl) -> Child | None:
    """What a response is about; None if it is the directory itself.

    A server behind another may think that it is reached by another scheme or port: the host and path count.
    """
    target = directory.joined(response.href)
    own, path = _names(directory), _names(target)
    if target.host != directory.host or path[: len(own)] != own or len(path) > len(own) + 1:
        raise LocationError(
            f"`{directory}` tells of what is not in it: `{target}`",
            hint="a proxy before the server may change the path of a URL: give the server's own",
        )
    if len(path) == len(own):
        return None
    size = response.facts.get("getcontentlength", "")
    return Child(
        path[-1],
        response.is_directory,
        int(size) if size.isascii() and size.isdigit() and not response.is_directory else None,
        response.facts.get("getetag") or None,
        moment(response.facts.get("getlastmodified", "")),
    )


def _names(url: HttpUrl) -> list[str]:
    """The decoded names of a path: servers encode the same one differently."""
    return [decoded_name(segment, str(url)) for segment in url.path.split("/") if segment]
