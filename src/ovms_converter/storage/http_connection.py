"""How a server is reached: over which connections, and whose certificates are believed."""

import ssl
import threading
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from ovms_converter.errors import LocationError, RequestError
from ovms_converter.storage.http_url import HttpUrl
from ovms_converter.storage.network import Network
from ovms_converter.storage.proxies import proxy_for

if TYPE_CHECKING:
    import urllib3

__all__ = ["Connections", "add_authorities", "certificate_problem", "through", "trusted_context"]


class Connections:
    """The open connections to all servers of one source: a pool, and one more for each proxy.

    `context` makes the TLS settings when they are first needed; by default they are `trusted_context`'s.
    """

    def __init__(
        self,
        environ: Mapping[str, str],
        *,
        per_host: int,
        connect_seconds: float,
        idle_seconds: float,
        context: Callable[[], ssl.SSLContext] | None = None,
    ) -> None:
        self._environ = environ
        self._per_host = per_host
        self._connect_seconds = connect_seconds
        self._idle_seconds = idle_seconds
        self._new_context = context or (lambda: trusted_context(environ))
        self._context: ssl.SSLContext | None = None
        self._lock = threading.Lock()
        self._pools: dict[str | None, urllib3.PoolManager] = {}

    def pool(self, url: HttpUrl) -> "urllib3.PoolManager":
        """The pool that serves this URL. Raises `RequestError` for a CA file or proxy that cannot be used."""
        proxy = proxy_for(url, self._environ)
        with self._lock:
            if proxy not in self._pools:
                self._pools[proxy] = self._new_pool(proxy)
            return self._pools[proxy]

    def _new_pool(self, proxy: str | None) -> "urllib3.PoolManager":
        import urllib3

        if self._context is None:
            self._context = self._new_context()
        timeout = urllib3.Timeout(connect=self._connect_seconds, read=self._idle_seconds)
        if proxy is None:
            return urllib3.PoolManager(
                maxsize=self._per_host, retries=False, timeout=timeout, ssl_context=self._context
            )
        return through(
            proxy,
            maxsize=self._per_host,
            retries=False,
            timeout=timeout,
            ssl_context=self._context,
            proxy_ssl_context=self._context,
        )


def through(proxy: str, **options: Any) -> "urllib3.ProxyManager":
    """A pool behind a proxy, with the user name and password in its URL, which urllib3 does not send."""
    import urllib3

    address = HttpUrl.parse(proxy)
    return urllib3.ProxyManager(
        f"{address.scheme}://{address.authority}",
        proxy_headers={"proxy-authorization": address.authorization} if address.authorization else None,
        **options,
    )


def trusted_context(environ: Mapping[str, str]) -> ssl.SSLContext:
    """The TLS settings: certificates are always checked, against the system's CAs and those of the CA bundle.

    Raises `RequestError` that names the variable if its file is not there or holds no certificate.
    """
    context = ssl.create_default_context()
    bundle = Network.from_environment(environ).ca_bundle
    if bundle is not None:
        add_authorities(context, bundle.value, bundle.origin)
    return context


def add_authorities(context: ssl.SSLContext, path: str, origin: str) -> None:
    """Trust the CA certificates of a PEM file too. Raises `RequestError` if it is none."""
    try:
        context.load_verify_locations(cafile=path)
    except OSError as problem:
        what = (
            problem.strerror
            if problem.errno and not isinstance(problem, ssl.SSLError)
            else "it is no PEM file"
        )
        raise RequestError(
            f"{origin} names `{path}`, which cannot be used: {what}", hint="unset it, or name a PEM file"
        ) from None


def certificate_problem(problem: BaseException, url: HttpUrl) -> LocationError:
    """What a failed TLS handshake means to the user; the same try would fail again."""
    cause: BaseException | None = problem
    while cause is not None and not isinstance(cause, ssl.SSLError):
        nested = next((each for each in cause.args if isinstance(each, BaseException)), None)
        cause = nested or cause.__cause__ or cause.__context__
    where = f"{url.host}:{url.port}"
    if isinstance(cause, ssl.SSLCertVerificationError):
        reason = cause.verify_message.rstrip(".")
        if "ostname mismatch" in reason or "IP address mismatch" in reason:
            hint = "use the host name that the certificate was made for"
        elif "expired" in reason or "not yet valid" in reason:
            hint = "renew the server's certificate, or set this machine's clock"
        else:
            hint = "if the server's CA is your own, point SSL_CERT_FILE at a PEM file with its certificate"
        return LocationError(f"the certificate of `{where}` is not trusted: {reason}", hint=hint)
    reason = cause.reason if isinstance(cause, ssl.SSLError) and cause.reason else "the handshake failed"
    return LocationError(
        f"no TLS with `{where}`: {reason}", hint="check the port, and whether the server speaks http:// there"
    )
