"""An http(s) URL taken apart: what is asked for, what is printed, whose the credentials are."""

import base64
import re
from dataclasses import dataclass, field, replace
from urllib.parse import parse_qs, quote, unquote, unquote_to_bytes, urljoin, urlsplit

from ovms_converter.errors import LocationError, RequestError
from ovms_converter.storage.location import why_unsafe

__all__ = ["HttpUrl", "decoded_name"]

_DEFAULT_PORTS = {"http": 80, "https": 443}
_URL_CHARACTERS = "!#$%&'()*+,-./:;=?@[]_~"
"""What `quote` leaves alone in a URL that is encoded already: RFC 3986 reserved, unreserved and `%`."""

_SIGNATURES = frozenset({"x-amz-signature", "x-goog-signature", "signature"})
_SIGNED = frozenset(
    {
        "awsaccesskeyid", "expires", "googleaccessid", "key-pair-id", "policy", "signature",
        "se", "si", "sig", "sip", "ske", "skoid", "sks", "skt", "sktid", "skv", "sp", "spr", "sr", "st", "sv",
    }
)  # fmt: skip
"""Parameters of signed URLs, lower case: S3's and CloudFront's old ones, Google's, Azure's SAS."""


@dataclass(frozen=True)
class HttpUrl:
    """An absolute URL. `str()` shows neither user name, password nor query: it may be printed.

    `scheme`  http or https
    `host`    name or address, lower case, IPv6 without brackets
    `port`    always a number, 80 or 443 if the URL gives none
    `path`    percent-encoded, starts with a slash
    `query`   percent-encoded, without `?`; often a signature
    `authorization`  the value of the header that the user's `name:password@` stands for
    """

    scheme: str
    host: str
    port: int
    path: str
    query: str = field(default="", repr=False)
    authorization: str | None = field(default=None, repr=False)

    @classmethod
    def parse(cls, text: str) -> "HttpUrl":
        """Take a URL apart. Raises `RequestError`, which does not show it, where it is not http(s)."""
        try:
            parts = urlsplit(text.strip())
            port = parts.port
        except ValueError as problem:
            raise RequestError(f"not a URL that can be used: {_no_secret(str(problem))}") from None
        scheme = parts.scheme.lower()
        if scheme not in _DEFAULT_PORTS:
            raise RequestError(f"`{scheme}` is not http or https")
        if not parts.hostname:
            raise RequestError(f"the URL names no host: `{scheme}://…`")
        return cls(
            scheme=scheme,
            host=parts.hostname.lower(),
            port=_DEFAULT_PORTS[scheme] if port is None else port,
            path=quote(parts.path or "/", safe=_URL_CHARACTERS),
            query=quote(parts.query, safe=_URL_CHARACTERS),
            authorization=_basic(parts.netloc),
        )

    @property
    def authority(self) -> str:
        """`host[:port]`, the port only where it is not the scheme's own."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _DEFAULT_PORTS[self.scheme] else f"{host}:{self.port}"

    @property
    def origin(self) -> tuple[str, str, int]:
        """What must be the same for a credential to be sent: scheme, host and port."""
        return self.scheme, self.host, self.port

    @property
    def target(self) -> str:
        """The URL that is asked for: with its query, without user name and password."""
        query = f"?{self.query}" if self.query else ""
        return f"{self.scheme}://{self.authority}{self.path}{query}"

    def __str__(self) -> str:
        return f"{self.scheme}://{self.authority}{self.path}"

    @property
    def name(self) -> str:
        """The last name of the path, decoded. Raises `LocationError` if it is no file name."""
        last = self.path.rstrip("/").rsplit("/", 1)[-1]
        return decoded_name(last, str(self)) if last else ""

    @property
    def is_directory(self) -> bool:
        """True if the path ends in a slash."""
        return self.path.endswith("/")

    @property
    def is_signed_for_one_file(self) -> bool:
        """True for a presigned URL: its signature is of no use for a neighbour.

        S3 and Google sign one object. An Azure SAS may be for a container or account (`sr` not `b`), and then
        serves all files.
        """
        values = {key.lower(): value for key, value in parse_qs(self.query, keep_blank_values=True).items()}
        if _SIGNATURES & values.keys():
            return True
        return "sig" in values and values.get("sr") in (["b"], ["bs"], ["bv"])

    @property
    def is_only_signed(self) -> bool:
        """True if the query is a signature and nothing else: without it, the URL names the same file."""
        names = {name.lower() for name in parse_qs(self.query, keep_blank_values=True)}
        return self.is_signed_for_one_file and all(
            name.startswith(("x-amz-", "x-goog-")) or name in _SIGNED for name in names
        )

    def joined(self, reference: str) -> "HttpUrl":
        """Where a redirect or link leads; credentials stay behind unless the server is the same.

        Raises `LocationError` for a target that is no http(s) URL: `file:`, `ftp:`, `data:`.
        """
        try:
            target = HttpUrl.parse(urljoin(self.target, reference))
        except (RequestError, ValueError) as refusal:
            why = refusal.message if isinstance(refusal, RequestError) else "it is no URL"
            raise LocationError(f"`{self}` leads to what cannot be followed: {why}") from None
        return replace(target, authorization=self.authorization if target.origin == self.origin else None)

    def neighbour(self, path: str) -> "HttpUrl":
        """The URL of `path` (POSIX, decoded) in this URL's directory, with the same query and credentials."""
        directory = self.path[: self.path.rindex("/") + 1]
        return replace(self, path=directory + quote(path))

    def with_path(self, path: str) -> "HttpUrl":
        """The same server and query, another path (percent-encoded)."""
        return replace(self, path=path)


def decoded_name(segment: str, where: str) -> str:
    """One percent-encoded path segment as a file name.

    Raises `LocationError` where it is none: `..`, with a slash, backslash or control character, no UTF-8, too
    long.
    """
    try:
        name = unquote_to_bytes(segment).decode("utf-8")
    except UnicodeDecodeError:
        raise LocationError(f"`{where}` has a name that is not UTF-8: `{segment}`") from None
    if why_unsafe(name) or "/" in name or "\\" in name:
        raise LocationError(f"`{where}` has a name that is no file name: `{segment}`")
    return name


def _basic(authority: str) -> str | None:
    userinfo, at, _ = authority.rpartition("@")
    if not at or not userinfo:
        return None
    user, _, password = userinfo.partition(":")
    pair = f"{unquote(user)}:{unquote(password)}".encode()
    return "Basic " + base64.b64encode(pair).decode("ascii")


def _no_secret(problem: str) -> str:
    """What `urlsplit` says, without the piece of the URL that it quotes."""
    return re.sub(r"(['\"]).*\1", "…", problem)
