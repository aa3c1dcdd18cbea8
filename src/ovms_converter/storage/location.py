"""A URL or path as the user gave it, taken apart once."""

import os
import posixpath
import re
import unicodedata
from dataclasses import dataclass, field
from urllib.parse import quote, unquote, urlsplit

from ovms_converter.errors import RequestError
from ovms_converter.placeholders import advice, placeholder_in

__all__ = ["SCHEMES", "Location", "printable", "why_unsafe"]

SCHEMES = {
    "s3": "s3", "s3a": "s3", "s3n": "s3",
    "gs": "gs", "gcs": "gs",
    "az": "az", "azure": "az", "abfs": "az", "abfss": "az", "wasb": "az", "wasbs": "az",
    "http": "http", "https": "https", "file": "file",
    "runs": "runs", "models": "models", "mlflow-artifacts": "mlflow-artifacts",
}  # fmt: skip
"""Spelling in a URL → the scheme that serves it."""

_HIERARCHICAL = {"s3", "gs", "az", "http", "https"}
"""Schemes that need `//` and a bucket, container or host after it."""
_MLFLOW = {"runs", "models", "mlflow-artifacts"}
_AZURE_HOST = re.compile(r"[a-z0-9]+\.(blob|dfs)\.(core\.[a-z.]+|fabric\.microsoft\.com)")
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):(//)?")
_BUCKET = re.compile(r"[A-Za-z0-9._:$-]+")
"""What a name of a bucket or container is made of; `tenant:bucket` is one of Ceph's."""
_NAME_BYTES, _PATH_BYTES = 255, 4095
"""The longest name and path that Linux and its file systems take."""
_LINE_BREAKS = "\u2028\u2029"


@dataclass(frozen=True)
class Location:
    """Where a model is or goes.

    `text`    as given, outer white space stripped: what is reported back; may hold a secret, `str()` does not
    `scheme`  one of the values of `SCHEMES`
    `container`  bucket, container or host[:port]; "" for a file
    `path`    key or path in it, without a slash at its end or, in a store, at its start; never `.` or `..`.
              A file's is absolute. An http one is percent-encoded as given, all others are literal.
    `account` host of the Azure storage account, if the URL names one
    """

    text: str = field(repr=False)
    scheme: str
    container: str
    path: str
    account: str = ""

    @classmethod
    def parse(cls, text: str) -> "Location":
        """Take a URL or a local path apart.

        Raises `RequestError` for an unknown scheme, a placeholder that nobody filled in, a control character,
        `..` in a URL, or a URL without the bucket or host that its scheme needs.
        """
        text = text.strip()
        _refuse_leftovers(text)
        match = _SCHEME.match(text)
        word = match[1].lower() if match else ""
        if not match or (word not in SCHEMES and not match[2]):
            return cls(text, "file", "", _checked(text, _absolute(text)))
        scheme = SCHEMES.get(word)
        if scheme is None:
            raise RequestError(
                f"`{_redacted(text)}` has the scheme `{word}`, which is not known here",
                hint=f"known are {', '.join(f'`{name}`' for name in SCHEMES)} and local paths",
            )
        rest = text[match.end() :]
        if scheme == "file":
            return cls(text, "file", "", _checked(text, _file_path(text, rest, bool(match[2]))))
        if scheme in _MLFLOW:
            host, path = rest.split("/", 1) if match[2] and "/" in rest else ("", rest)
            return cls(text, scheme, host.rpartition("@")[2], _key(text, path.strip("/")))
        if not match[2]:
            raise RequestError(
                f"`{_redacted(text)}` lacks the two slashes after `{word}:`",
                hint=f"write `{word}://{rest.lstrip('/') or '…'}`",
            )
        if scheme in ("http", "https"):
            return cls._parse_http(text, scheme)
        return cls._parse_object(text, scheme, rest)

    @classmethod
    def _parse_http(cls, text: str, scheme: str) -> "Location":
        try:
            parts = urlsplit(text)
            host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
            host = f"{host}:{parts.port}" if host and parts.port else host
        except ValueError as error:
            raise RequestError(f"`{_redacted(text)}` is no valid URL: {error}") from None
        if not host:
            raise RequestError(f"`{_redacted(text)}` names no host", hint=f"write `{scheme}://host/path`")
        if not parts.query and not parts.username and _AZURE_HOST.fullmatch(host):
            container, _, key = parts.path.strip("/").partition("/")
            if container:
                return cls(text, "az", container, _key(text, unquote(key)), host)
        if ".." in unquote(parts.path).split("/"):
            raise _unsafe(text, "has `..` in its path")
        return cls(text, scheme, host, parts.path.strip("/"))

    @classmethod
    def _parse_object(cls, text: str, scheme: str, rest: str) -> "Location":
        container, _, key = rest.partition("/")
        container, at, account = container.partition("@")
        if at and scheme != "az":
            raise RequestError(
                f"`{_redacted(text)}` carries credentials before its bucket",
                hint="set `AWS_ACCESS_KEY_ID` and `AWS_SECRET_ACCESS_KEY`, and leave them out of the URL",
            )
        if not container:
            raise RequestError(
                f"`{_redacted(text)}` names no {'container' if scheme == 'az' else 'bucket'}",
                hint=f"write `{scheme}://{'container' if scheme == 'az' else 'bucket'}/path`",
            )
        if not _BUCKET.fullmatch(container):
            word = "container" if scheme == "az" else "bucket"
            raise RequestError(
                f"`{_redacted(text)}` names the {word} `{container}`, and no {word} has such a name",
                hint=f"names of {word}s are made of letters, digits, `.`, `-` and `_`",
            )
        if scheme == "az" and "?" in key:
            raise RequestError(
                f"`{_redacted(text)}` carries a query",
                hint="set `AZURE_STORAGE_SAS_TOKEN`, and leave the signature out of the URL",
            )
        return cls(text, scheme, container, _key(text, key.strip("/")), account)

    @property
    def name(self) -> str:
        """The last part of the path, "" for a whole bucket or host."""
        return self.path.rpartition("/")[2]

    @property
    def is_remote(self) -> bool:
        """Whether it is reached over a network."""
        return self.scheme != "file"

    def child(self, name: str) -> "Location":
        """The location `name` below this one; `name` is a relative POSIX path.

        Raises `RequestError` if it would lead out of this location.
        """
        reason = why_unsafe(name)
        if reason:
            raise RequestError(f"`{name}` {reason}: it cannot lie below `{self}`")
        query = ""
        base = self.text
        if self.scheme in ("http", "https"):
            base, mark, tail = self.text.partition("?")
            query, name = mark + tail, quote(name)
        path = f"{self.path}/{name}" if self.path.strip("/") else f"{self.path}{name}"
        return Location(f"{base.rstrip('/')}/{name}{query}", self.scheme, self.container, path, self.account)

    def contains(self, other: "Location") -> bool:
        """Whether `other` is this location or below it, as far as the two URLs tell."""
        if (self.scheme, self.container, self.account) != (other.scheme, other.container, other.account):
            return False
        own = self.path.rstrip("/")
        return not own or other.path.rstrip("/") == own or other.path.startswith(f"{own}/")

    @property
    def reported(self) -> str:
        """What the next step is told: the text as given, of http without user name, password and query."""
        return str(self) if self.scheme in ("http", "https") else self.text

    def __str__(self) -> str:
        """The text without user name, password and query."""
        return self.text if self.scheme == "file" else _redacted(self.text)


def why_unsafe(path: str) -> str | None:
    """Why a relative path from a store or archive may not be written below our directory; None if it may.

    >>> why_unsafe("variables/variables.index"), why_unsafe("a/../../b")
    (None, 'has `..` in it')
    """
    parts = path.split("/")
    if path.startswith("/"):
        return "is an absolute path"
    if "" in parts:
        return "has an empty part (`//`)" if path else "is empty"
    if ".." in parts:
        return "has `..` in it"
    if "." in parts:
        return "has `.` as a part"
    if any(_is_control(letter) for letter in path):
        return "has a control character in it"
    if not _is_utf8(path):
        return "has bytes in it that are no UTF-8"
    if any(len(part.encode()) > _NAME_BYTES for part in parts):
        return f"has a part of more than {_NAME_BYTES} bytes"
    return None


def _is_control(letter: str) -> bool:
    return unicodedata.category(letter) == "Cc" or letter in _LINE_BREAKS


def printable(name: str) -> str:
    """A name as it can be shown, whatever is in it: `\ufffd` stands for what no output takes."""
    return "".join(letter if letter.isprintable() else "\ufffd" for letter in name)


def _is_utf8(text: str) -> bool:
    """Whether a name is text: bytes of a file system that are not stand as lone surrogates in it."""
    return not any("\ud800" <= letter <= "\udfff" for letter in text)


def _refuse_leftovers(text: str) -> None:
    """Refuse what a workflow system left behind: nothing at all, a placeholder, a line break inside."""
    if not text:
        raise RequestError("a location is empty", hint="give a URL like `s3://bucket/model` or a local path")
    for letter in text:
        if _is_control(letter):
            name = {"\n": "a line break", "\r": "a carriage return", "\t": "a tab"}.get(
                letter, f"the control character U+{ord(letter):04X}"
            )
            shown = "".join("?" if _is_control(other) else other for other in text)
            raise RequestError(
                f"`{_redacted(shown)}` has {name} in it (shown as `?`)",
                hint="the step before this one probably wrote its result with a line break at its end",
            )
    if not _is_utf8(text):
        raise RequestError(
            f"`{_redacted(printable(text))}` has bytes in it that are no UTF-8 (shown as `\ufffd`)",
            hint="rename the file or directory: the result tells its name as text",
        )
    placeholder = placeholder_in(text)
    if placeholder:
        raise RequestError(
            f"the placeholder `{placeholder}` was left in `{_redacted(text)}`", hint=advice(placeholder)
        )


def _unsafe(text: str, reason: str) -> RequestError:
    return RequestError(
        f"`{_redacted(text)}` {reason}",
        hint="write the path as it is, with single slashes and without `.` and `..`",
    )


def _key(text: str, key: str) -> str:
    """An object's key, which no store and no client should read in two ways."""
    reason = why_unsafe(key) if key else None
    if reason:
        raise _unsafe(text, reason)
    return key


def _checked(text: str, path: str) -> str:
    """The path of a file, which some file system can have."""
    if any(len(part.encode()) > _NAME_BYTES for part in path.split("/")):
        raise _unsafe(text, f"has a part of more than {_NAME_BYTES} bytes")
    if len(path.encode()) > _PATH_BYTES:
        raise _unsafe(text, f"has more than {_PATH_BYTES} bytes")
    return path


def _file_path(text: str, rest: str, has_authority: bool) -> str:
    """The path of `file:/path`, `file:///path` or `file://localhost/path`."""
    host, path = "", rest
    if has_authority:
        host, slash, path = rest.partition("/")
        path = slash + path
    if host not in ("", "localhost") or not path.startswith("/"):
        raise RequestError(
            f"`{text}` names the host `{host}` or a relative path, and a file must be on this machine",
            hint="write `file:///absolute/path`, or the path alone",
        )
    return _absolute(unquote(path))


def _absolute(path: str) -> str:
    """An absolute path without `.`, `..` and a slash at its end; links are followed only before a `..`."""
    head, dots, tail = path.rpartition("/../") if "/../" in path else ("", "", path)
    if not dots and path.startswith("../"):
        head, dots, tail = ".", "/../", path[3:]
    try:
        if dots:
            path = posixpath.join(os.path.realpath(f"{head or '/'}/.."), tail)
        if path.rpartition("/")[2] == "..":
            path = os.path.realpath(path)
        return os.path.abspath(path)  # noqa: PTH100 (a link keeps its own name)
    except FileNotFoundError:
        raise RequestError(
            f"`{path}` is below the current directory, and that is not there any more",
            hint="change to a directory that is there, or write the whole path",
        ) from None


def _redacted(text: str) -> str:
    """A URL without user name, password and query."""
    base, mark, _ = text.partition("?")
    scheme, slashes, rest = base.partition("://")
    if slashes:
        host, slash, path = rest.partition("/")
        # `container@account` is how Azure writes a place, not a password.
        if "@" in host and (":" in host.partition("@")[0] or SCHEMES.get(scheme.lower()) != "az"):
            host = host.rpartition("@")[2]
        base = f"{scheme}://{host}{slash}{path}"
    return f"{base}?…" if mark else base
