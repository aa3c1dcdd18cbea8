"""Requests that write over http(s), and those that look before and after.

Nothing is followed: a body or password goes to the server that the user named, and nowhere else. A request
is repeated where that can only have the same effect again: `PUT`, `DELETE` and `MKCOL` of one path can.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from ovms_converter.errors import (
    AccessDeniedError,
    ConverterError,
    LocationError,
    NotFoundError,
    ResourceError,
    UnavailableError,
)
from ovms_converter.storage.http_client import WORTH_ANOTHER_TRY, Answer, HttpClient
from ovms_converter.storage.http_retry import Broken, Patience, retry_after
from ovms_converter.storage.http_url import HttpUrl

__all__ = ["Body", "HttpServer", "Reply", "refusal"]

_MAKES_NONE = frozenset({400, 405, 415, 501})
"""Answers to `MKCOL` of a server that does not make directories, or has this one already."""
_IGNORED_BYTES = 64 << 10
"""Of a body that nobody asked for, so much is read to keep the connection."""
_GONE = frozenset({404, 410})
_LOCKED = 423
"""Of servers with WebDAV; some lock a path for as long as a request for it takes."""


@dataclass(frozen=True)
class Body:
    """What is sent: its bytes, made anew for each try, and how many they are."""

    parts: Callable[[], Iterable[bytes]]
    size: int


@dataclass(frozen=True)
class Reply:
    """An answer, whatever it says; header names in lower case. `repeated` if earlier tries had none."""

    status: int
    reason: str
    headers: Mapping[str, str]
    body: bytes = field(default=b"", repr=False)
    repeated: bool = False

    @property
    def is_success(self) -> bool:
        """Whether the server did what was asked."""
        return 200 <= self.status < 300

    @property
    def is_gone(self) -> bool:
        """Whether nothing is there."""
        return self.status in _GONE

    @property
    def size(self) -> int | None:
        """`Content-Length`, None if there is none."""
        text = self.headers.get("content-length", "")
        return int(text) if text.isascii() and text.isdigit() else None


class HttpServer:
    """The server of one destination. `secret_headers` go to it alone, as every request does."""

    def __init__(self, client: HttpClient, secret_headers: Mapping[str, str]) -> None:
        self._client = client
        self._secret_headers = secret_headers

    def ask(
        self,
        method: str,
        url: HttpUrl,
        headers: Mapping[str, str] | None = None,
        *,
        body: Body | None = None,
        limit: int = 0,
    ) -> Reply:
        """One request, with retries; of a success's body up to `limit` bytes are kept.

        Raises `UnavailableError` after the retries, `AccessDeniedError` for a proxy or server that asks who
        it is, and `LocationError` for a redirect or a body that is larger.
        """
        patience = Patience(self._client.limits, str(url))
        repeated = False
        while True:
            try:
                reply = self._once(method, url, headers or {}, body, limit, repeated=repeated)
            except Broken as broken:  # noqa: PERF203 - a network is slower than a try
                patience.failed(broken)
                repeated = True
            else:
                if reply.status in {401, 407} or 300 <= reply.status < 400:
                    raise self.refusal(reply, method, url)
                return reply

    def make_directory(self, url: HttpUrl) -> bool:
        """Make a directory and those above it that are missing; whether this one was made just now.

        False if it was there, or the server makes none by itself. Raises as `ask` does, and what else the
        server refuses with.
        """
        reply = self.ask("MKCOL", url)
        above = parent_of(url)
        if reply.status in {404, 409} and above:
            self.make_directory(above)
            reply = self.ask("MKCOL", url)
        if reply.is_success:
            return True
        if reply.status in _MAKES_NONE | {404, 409}:
            return False
        raise self.refusal(reply, "MKCOL", url)

    def delete(self, url: HttpUrl) -> None:
        """Remove a file; one that is gone already is no error. Raises what the server refuses with."""
        reply = self.ask("DELETE", url)
        if not reply.is_success and not reply.is_gone:
            raise self.refusal(reply, "DELETE", url)

    def refusal(self, reply: Reply, method: str, url: HttpUrl) -> ConverterError:
        """See `refusal`."""
        return refusal(reply, method, url, bool(url.authorization or self._secret_headers))

    def _once(
        self, method: str, url: HttpUrl, asked: Mapping[str, str], body: Body | None, limit: int, *,
        repeated: bool,
    ) -> Reply:  # fmt: skip
        length = {"content-length": str(body.size)} if body else {}
        response = self._client.send(
            method, url, {**asked, **length, **self._secret_headers}, body.parts() if body else None
        )
        headers = {name.lower(): value for name, value in response.headers.items()}
        status, reason = response.status, response.reason or ""
        with Answer(url, status, headers, response) as answer:
            if status in WORTH_ANOTHER_TRY or status == _LOCKED:
                raise Broken(f"the server answers {status} {reason}".strip(), retry_after(headers))
            if limit and 200 <= status < 300:
                return Reply(status, reason, headers, answer.body(limit), repeated)
            ignored = 0
            for piece in answer.chunks():
                ignored += len(piece)
                if ignored > _IGNORED_BYTES:
                    break
        return Reply(status, reason, headers, repeated=repeated)


def parent_of(url: HttpUrl) -> HttpUrl | None:
    """The directory that holds this one; None for a server's root."""
    above = url.path.rstrip("/").rpartition("/")[0]
    return url.with_path(f"{above}/") if url.path.strip("/") else None


def refusal(reply: Reply, method: str, url: HttpUrl, credentials_sent: bool) -> ConverterError:
    """What a refusal means to the user."""
    status = f"{reply.status} {reply.reason}".strip()
    if 300 <= reply.status < 400:
        return _redirected(reply, method, url)
    if reply.status in {401, 403}:
        return AccessDeniedError(
            f"access to `{url}` is denied: {method} is answered with {status}",
            hint="check the user name and password or token, and whether it may write"
            if credentials_sent
            else "give credentials as `USER:PASSWORD@` before the host, or headers as `HOST-headers`",
        )
    if reply.status == 407:
        return AccessDeniedError(
            f"the proxy asks for a password on the way to `{url}`",
            hint="put it as `USER:PASSWORD@` before the proxy's host in HTTP_PROXY / HTTPS_PROXY",
        )
    if reply.status in {405, 501}:
        return LocationError(
            f"`{url}` does not take {method}: {status}",
            hint="the server has to take PUT and DELETE, as WebDAV does; or give a directory, s3://, gs:// "
            "or az://",
        )
    if reply.is_gone:
        return NotFoundError(f"there is nothing at `{url}`: {status}", hint="check the path of the URL")
    if reply.status == 413:
        return LocationError(
            f"`{url}` is larger than its server allows: {status}", hint="raise the server's limit of a body"
        )
    if reply.status == 507:
        return ResourceError(f"no space is left at `{url}`: {status}", hint="make room on the server")
    if reply.status >= 500:
        return UnavailableError(f"`{url}` is not available: {status}", hint="try again later")
    return LocationError(f"`{url}` refuses {method}: {status}")


def _redirected(reply: Reply, method: str, url: HttpUrl) -> LocationError:
    to = ""
    if "location" in reply.headers:
        target = url.joined(reply.headers["location"])
        shown = "".join(letter if letter.isprintable() and letter != "`" else "?" for letter in str(target))
        to = f" to `{shown}`"
    return LocationError(
        f"`{url}` redirects {method}{to}, and what is written is not sent on",
        hint="give the final address itself if it is to be trusted",
    )
