"""One request over http(s): redirects followed by hand, credentials kept at home, every answer judged.

urllib3 is asked to do nothing by itself (no redirect, no retry, no decoding): what it would do there is not
what a converter of models needs.
"""

import contextlib
import json
import ssl
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from weakref import WeakSet

from ovms_converter._version import __version__
from ovms_converter.errors import (
    AccessDeniedError,
    ConverterError,
    LocationError,
    NotFoundError,
    RequestError,
    UnavailableError,
)
from ovms_converter.storage.http_connection import Connections, certificate_problem
from ovms_converter.storage.http_retry import Broken, HttpLimits, Patience, retry_after
from ovms_converter.storage.http_url import HttpUrl

if TYPE_CHECKING:
    from urllib3 import BaseHTTPResponse

__all__ = ["WORTH_ANOTHER_TRY", "Answer", "HttpClient", "Refused", "extra_headers", "told"]

_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_MAX_REDIRECTS = 10
WORTH_ANOTHER_TRY = frozenset({408, 425, 429, 500, 502, 503, 504})
"""What a server answers that may be able to do it a little later."""
_CHUNK = 256 << 10
_SNIPPET = 2048


class Refused(Exception):  # noqa: N818 - callers turn it into the error that fits
    """The server answered with a status that is no success; `snippet` is the start of what it said."""

    def __init__(
        self, url: HttpUrl, status: int, reason: str, snippet: str, *, credentials_sent: bool
    ) -> None:
        super().__init__(f"{status} {reason}")
        self.url = url
        self.status = status
        self.reason = reason
        self.snippet = snippet
        self.credentials_sent = credentials_sent


@dataclass
class Answer:
    """A successful answer whose body is still to be read. Use it as a context manager.

    `url` is where it came from in the end; `headers` have lower-case names.
    """

    url: HttpUrl
    status: int
    headers: Mapping[str, str]
    response: "BaseHTTPResponse" = field(repr=False)
    _read: int = 0
    _ended: bool = False

    def __enter__(self) -> "Answer":
        return self

    def __exit__(self, *exception: object) -> None:
        # A connection with unread bytes on it is of no use to the next request.
        if self._ended or self._read == self.length:
            self.response.release_conn()
        else:
            self.response.close()

    @property
    def length(self) -> int | None:
        """`Content-Length` in bytes, None if it is not told. Raises `LocationError` where it is no number."""
        text = self.headers.get("content-length")
        if text is None or "chunked" in self.headers.get("transfer-encoding", "").lower():
            return None
        if not text.isascii() or not text.isdigit():
            raise LocationError(f"`{self.url}` answers with a length that is no number")
        return int(text)

    def chunks(self, size: int = _CHUNK) -> Iterator[bytes]:
        """The body in pieces of at most `size` bytes. Raises `Broken` where it ends or stalls too early."""
        import urllib3

        while True:
            try:
                chunk = self.response.read(size, decode_content=False)
            except urllib3.exceptions.ReadTimeoutError:
                raise Broken("the connection went silent") from None
            except (urllib3.exceptions.HTTPError, OSError) as problem:
                raise Broken(_transient(problem)) from None
            if not chunk:
                self._ended = True
                return
            self._read += len(chunk)
            yield chunk

    def body(self, limit: int) -> bytes:
        """The whole body. Raises `LocationError` if it has more than `limit` bytes, and `Broken`."""
        pieces: list[bytes] = []
        total = 0
        for chunk in self.chunks():
            total += len(chunk)
            if total > limit:
                raise LocationError(
                    f"`{self.url}` answers with more than {limit >> 20} MiB where little is expected"
                )
            pieces.append(chunk)
        return b"".join(pieces)


class HttpClient:
    """Sends requests for one source. Safe to use from several threads."""

    def __init__(
        self,
        environ: Mapping[str, str],
        limits: HttpLimits,
        context: Callable[[], ssl.SSLContext] | None = None,
    ) -> None:
        self.limits = limits
        self._live: WeakSet[BaseHTTPResponse] = WeakSet()
        self._connections = Connections(
            environ,
            per_host=max(limits.files, limits.streams),
            connect_seconds=limits.connect_seconds,
            idle_seconds=limits.idle_seconds,
            context=context,
        )

    def once(
        self,
        url: HttpUrl,
        headers: Mapping[str, str],
        *,
        secret_headers: Mapping[str, str] | None = None,
        method: str = "GET",
        body: bytes | None = None,
    ) -> Answer:
        """One try. `secret_headers` go to `url`'s own scheme, host and port only, as its password does.

        Raises `Broken` where another try may help, `Refused` for a final status, `LocationError` for a
        redirect or certificate that must not be trusted.
        """
        home = url.origin
        secrets: Mapping[str, str] = {} if secret_headers is None else secret_headers
        for _ in range(_MAX_REDIRECTS + 1):
            response = self.send(method, url, {**headers, **secrets}, body)
            answer_headers = {name.lower(): value for name, value in response.headers.items()}
            if response.status not in _REDIRECTS or "location" not in answer_headers:
                with_credentials = bool(url.authorization or secrets) or "authorization" in headers
                return self._judged(url, response, answer_headers, credentials_sent=with_credentials)
            response.close()
            url = _followed(url, answer_headers["location"])
            if url.origin != home:
                secrets = {}
        raise LocationError(f"`{url}` redirects more than {_MAX_REDIRECTS} times")

    def _judged(
        self,
        url: HttpUrl,
        response: "BaseHTTPResponse",
        headers: Mapping[str, str],
        *,
        credentials_sent: bool,
    ) -> Answer:
        """A success as what it is. Raises `Broken` or `Refused` for anything else."""
        if response.status in {200, 206}:
            self._live.add(response)
            return Answer(url, response.status, headers, response)
        snippet, reason = _start_of(response), response.reason or ""
        if response.status in WORTH_ANOTHER_TRY:
            raise Broken(f"the server answers {response.status} {reason}".strip(), retry_after(headers))
        raise Refused(url, response.status, reason, snippet, credentials_sent=credentials_sent)

    def get(
        self,
        url: HttpUrl,
        headers: Mapping[str, str],
        *,
        limit: int,
        secret_headers: Mapping[str, str] | None = None,
        method: str = "GET",
        body: bytes | None = None,
    ) -> tuple[HttpUrl, Mapping[str, str], bytes]:
        """A small answer, whole, with retries: its final URL, headers and body of at most `limit` bytes.

        Raises `UnavailableError` after the retries, `Refused` and `LocationError` as `once` does.
        """
        patience = Patience(self.limits, str(url))
        while True:
            try:
                with self.once(
                    url, headers, secret_headers=secret_headers, method=method, body=body
                ) as answer:
                    return answer.url, answer.headers, answer.body(limit)
            except Broken as broken:  # noqa: PERF203 - a network is slower than a try
                patience.failed(broken)

    def break_off(self) -> None:
        """End every body that is being read, from another thread: its reader sees a broken connection."""
        for response in list(self._live):
            # One that has ended meanwhile has no connection any more; urllib3 says so in three ways.
            with contextlib.suppress(OSError, ValueError, RuntimeError):
                response.shutdown()

    def send(
        self, method: str, url: HttpUrl, headers: Mapping[str, str], body: bytes | Iterable[bytes] | None
    ) -> "BaseHTTPResponse":
        """One request, with the password of `url` unless the headers authorize it; nothing is followed.

        Raises `Broken`, `LocationError` for a certificate that is not trusted, `RequestError`.
        """
        import urllib3
        from urllib3 import exceptions

        sent = {"user-agent": f"ovms-converter/{__version__}", "accept-encoding": "identity", **headers}
        if url.authorization and "authorization" not in sent:
            sent["authorization"] = url.authorization
        try:
            return self._connections.pool(url).request(
                method,
                url.target,
                headers=sent,
                body=body,
                redirect=False,
                preload_content=False,
                retries=False,
            )
        except exceptions.SSLError as problem:
            raise certificate_problem(problem, url) from None
        except exceptions.ProxyError as problem:
            if isinstance(problem.original_error, exceptions.SSLError):
                raise certificate_problem(problem.original_error, url) from None
            raise Broken(f"the proxy does not pass it on ({_transient(problem.original_error)})") from None
        except exceptions.LocationValueError:
            raise RequestError(f"`{url}` is not a URL that can be asked for") from None
        except (exceptions.NewConnectionError, exceptions.ConnectTimeoutError) as problem:
            raise Broken(_transient(problem), reached=False) from None
        except (urllib3.exceptions.HTTPError, OSError) as problem:
            raise Broken(_transient(problem)) from None


def _followed(url: HttpUrl, reference: str) -> HttpUrl:
    """Where a redirect leads. Raises `LocationError` where it must not be followed."""
    following = url.joined(reference)
    if url.scheme == "https" and following.scheme == "http":
        raise LocationError(
            f"`{url}` redirects from https to http, to `{following}`",
            hint="give the final address itself if it is to be trusted",
        )
    return following


def told(refused: Refused, shown: str) -> ConverterError:
    """The error that a refusal means to the user; `shown` names what was asked for."""
    status = f"{refused.status} {refused.reason}".strip()
    elsewhere = f" (at `{refused.url}`)" if str(refused.url) != shown else ""
    if refused.status in {404, 410}:
        return NotFoundError(
            f"there is nothing at `{shown}`{elsewhere}: {status}", hint="check the path of the URL"
        )
    if refused.status in {401, 403}:
        if refused.url.is_signed_for_one_file:
            hint = (
                "the signature of this link may have expired or be made for something else: make a new link"
            )
        elif refused.credentials_sent:
            hint = "check the user name and password or token, and what it may read"
        elif elsewhere:
            hint = "credentials are not sent on to another server: give the final address itself"
        else:
            hint = "give credentials as `USER:PASSWORD@` before the host, or a presigned link"
        return AccessDeniedError(f"access to `{shown}` is denied{elsewhere}: {status}", hint=hint)
    if refused.status == 407:
        return AccessDeniedError(
            f"the proxy asks for a password on the way to `{shown}`",
            hint="put it as `USER:PASSWORD@` before the proxy's host in HTTP_PROXY / HTTPS_PROXY",
        )
    if refused.status >= 500 and refused.status != 501:
        return UnavailableError(f"`{shown}` is not available{elsewhere}: {status}", hint="try again later")
    expired = "make a new link: this one may have expired" if refused.url.is_signed_for_one_file else None
    return LocationError(f"`{shown}` cannot be read{elsewhere}: {status}", hint=expired)


def extra_headers(environ: Mapping[str, str], url: HttpUrl) -> dict[str, str]:
    """Headers for one host from `<host>-headers`, a JSON object, as KServe's storage initializer reads it.

    They are secrets: sent to that host only. Raises `RequestError` where the value is no such object.
    """
    variable = f"{url.host}-headers"
    text = environ.get(variable, "").strip()
    if not text:
        return {}
    try:
        headers = json.loads(text)
    except ValueError:
        headers = None
    if not isinstance(headers, dict) or not all(isinstance(value, str) for value in headers.values()):
        raise RequestError(
            f"`{variable}` is not a JSON object of header names and values",
            hint=f"""for example {variable}='{{"Private-Token": "…"}}'""",
        )
    return {name.lower(): value for name, value in headers.items()}


def _start_of(response: "BaseHTTPResponse") -> str:
    """The first bytes of an error page, for what it tells about the cause; closes the connection."""
    import urllib3

    try:
        start = response.read(_SNIPPET, decode_content=False)
    except (urllib3.exceptions.HTTPError, OSError):
        start = b""
    finally:
        response.close()
    return start.decode("utf-8", "replace")


def _transient(problem: BaseException) -> str:
    """A failed connection in plain words; urllib3's own messages name objects and URLs with their queries."""
    from urllib3 import exceptions

    if isinstance(problem, exceptions.NameResolutionError):
        return "its host name cannot be resolved"
    if isinstance(problem, exceptions.NewConnectionError):
        return "no connection (refused or unreachable)"
    if isinstance(problem, exceptions.ConnectTimeoutError):
        return "no connection within the time limit"
    if isinstance(problem, exceptions.ReadTimeoutError):
        return "no answer within the time limit"
    if isinstance(problem, exceptions.ProtocolError | ConnectionError):
        return "the connection ended too early"
    if isinstance(problem, OSError) and "Tunnel connection failed" in str(problem):
        return str(problem)
    return "the connection failed"
