"""How clients are set up, obstore's and our own: certificates, time-outs, retries."""

import contextlib
import ipaddress
import os
import re
import ssl
import threading
from collections.abc import Iterator, Mapping
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ovms_converter._version import __version__
from ovms_converter.storage.http_connection import add_authorities, through
from ovms_converter.storage.http_url import HttpUrl
from ovms_converter.storage.network import Network
from ovms_converter.storage.proxies import proxy_for

if TYPE_CHECKING:
    from obstore.store import ClientConfig, RetryConfig
    from urllib3 import BaseHTTPResponse, PoolManager

__all__ = [
    "NOWHERE",
    "ask",
    "client_options",
    "client_retries",
    "connections",
    "own_settings_only",
]

NOWHERE = "127.0.0.1:0"
"""Where a client is sent that must not go where it wants: nobody can listen on port 0."""

_HOST_NAME = re.compile(r"(?:[a-z0-9_-]+\.)*[a-z_][a-z0-9_-]*")
"""Names that every client understands alike: not `127.1`, nothing with letters beyond ASCII."""


def client_options(url: str, network: Network, *, at_home: bool = False) -> "ClientConfig":
    """The options of a client for the server at `url`; `at_home` if it holds what other hosts must not see
    (see `redirects`). Raises `RequestError` for a proxy of another kind.
    """
    server = HttpUrl.parse(url)
    proxy = proxy_for(server, network.proxies)
    # Told in any case: without a proxy, the client would look into this process's own environment.
    excluded = network.no_proxy if proxy else "*,0.0.0.0/0,::/0"
    if at_home and not proxy and _is_plain(server.host):
        # A server that redirects to a name below its own is believed; the client cannot tell them apart.
        excluded = server.host
    options: ClientConfig = {
        "allow_http": url.startswith("http://"),
        "connect_timeout": timedelta(seconds=network.connect_seconds),
        # How long a whole request takes depends on its size; silence is what tells a dead connection.
        "timeout": timedelta(days=1),
        "read_timeout": timedelta(seconds=network.idle_seconds),
        "user_agent": f"ovms-converter/{__version__}",
        "proxy_url": proxy or f"http://{NOWHERE}",
        "proxy_excludes": excluded,
    }
    if not network.verify:
        options["allow_invalid_certificates"] = True
    if network.ca_bundle:
        options["root_certificate"] = Path(network.ca_bundle.value).read_bytes()
    return options


def _is_plain(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return _HOST_NAME.fullmatch(host) is not None
    return True


def client_retries(*, patient: bool) -> "RetryConfig":
    """What a client repeats by itself: nothing if it is not `patient`."""
    return {
        "max_retries": 6 if patient else 0,
        "retry_timeout": timedelta(seconds=60),
        "backoff": {
            "init_backoff": timedelta(milliseconds=100),
            "max_backoff": timedelta(seconds=4),
            "base": 2,
        },
    }


def ask(
    method: str,
    url: str,
    network: Network | None = None,
    *,
    headers: Mapping[str, str] | None = None,
    body: str | None = None,
    patience: int = 3,
    pool: "PoolManager | None" = None,
) -> "BaseHTTPResponse":
    """The answer to one small request, whatever its status, tried again `patience` times.

    It goes over connections of the `pool`, if there is one; without that and a `network`, straight. Raises
    `urllib3.exceptions.HTTPError`.
    """
    import urllib3

    retries = urllib3.Retry(
        patience, backoff_factor=0.3, status_forcelist=(429, 500, 503), raise_on_status=False
    )
    with contextlib.nullcontext(pool) if pool else connections(url, network) as used:
        return used.request(method, url, headers=headers, body=body, redirect=False, retries=retries)


def connections(url: str, network: Network | None, at_once: int = 1) -> "PoolManager":
    """Connections of our own to the server at `url`, so many of them kept. Without a `network` they go
    straight.

    Raises `RequestError` for a proxy of another kind than HTTP's, and a CA file that cannot be used.
    """
    import urllib3

    proxy = proxy_for(HttpUrl.parse(url), network.proxies) if network else None
    options: dict[str, Any] = {"timeout": network.idle_seconds if network else 10, "maxsize": at_once}
    if any(each.startswith("https:") for each in (url, proxy or "")):
        options["ssl_context"] = _trusted(network)
    return through(proxy, **options) if proxy else urllib3.PoolManager(**options)


def _trusted(network: Network | None) -> ssl.SSLContext:
    """The system's authorities and those that are named, as obstore has it."""
    context = ssl.create_default_context()
    if network and network.ca_bundle:
        add_authorities(context, network.ca_bundle.value, network.ca_bundle.origin)
    if network and not network.verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


_ENVIRONMENT = threading.Lock()


@contextlib.contextmanager
def own_settings_only(prefix: str) -> Iterator[None]:
    """Hide set-but-empty variables while a client is made: obstore reads them by itself and takes "" for a
    value.

    Other values of the environment do no harm, as every setting that matters is given explicitly.
    """
    with _ENVIRONMENT:
        empty = [name for name, value in os.environ.items() if name.startswith(prefix) and not value.strip()]
        hidden = {name: os.environ.pop(name) for name in empty}
        try:
            yield
        finally:
            os.environ.update(hidden)
