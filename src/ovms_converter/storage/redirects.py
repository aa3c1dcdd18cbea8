"""Redirects to another server, where the credentials in use would go along.

obstore follows redirects, and has no option against that. `Authorization` stays behind, so plain keys and
bearer tokens need nothing of this. A session token of S3's (`x-amz-security-token`) goes to whatever server
is named, and so does Azure's shared access signature, in the `Referer`. Two things keep them at home:

- one unsigned request of our own before the first signed one, whose answer tells where the server leads;
- `clients.client_options(..., at_home=True)`: the client reaches no other host, whatever the server answers
  to what is signed, except through a proxy that the user names.
"""

import threading
from collections import defaultdict
from collections.abc import Callable, Mapping

from ovms_converter.errors import LocationError
from ovms_converter.storage.clients import ask
from ovms_converter.storage.http_url import HttpUrl
from ovms_converter.storage.network import Network
from ovms_converter.storage.proxies import proxy_for

__all__ = ["Advice", "elsewhere", "refusal", "refuse_redirects", "site"]

Advice = Callable[[HttpUrl, str | None], str]
"""Where a server leads, and the region that it names for the bucket → the hint for who wants just that."""

_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_LOCKS: defaultdict[tuple[str, str | None], threading.Lock] = defaultdict(threading.Lock)
_ASKED: set[tuple[str, str | None]] = set()
"""URL and proxy of what was asked in this process, and leads nowhere else."""


def refuse_redirects(url: str, network: Network, advice: Advice) -> None:
    """Ask for `url`, a bucket's own, without any credentials, once in this process; no answer is no redirect,
    as the request that follows tells better.

    Raises `LocationError` if the server redirects to another host, port or scheme.
    """
    from urllib3.exceptions import HTTPError

    key = (url, proxy_for(HttpUrl.parse(url), network.proxies))
    with _LOCKS[key]:
        if key in _ASKED:
            return
        try:
            answer = ask("HEAD", url, network, patience=0)
        except HTTPError:
            pass
        else:
            target = elsewhere(url, answer.status, answer.headers)
            if target is not None:
                raise refusal(url, target, advice(target, answer.headers.get("x-amz-bucket-region")))
        _ASKED.add(key)


def elsewhere(url: str, status: int, headers: Mapping[str, str]) -> HttpUrl | None:
    """The other host, port or scheme that an answer to a request for `url` redirects to, None if to none.

    Raises `LocationError` for one that is not http(s).
    """
    if status not in _REDIRECTS or "location" not in headers:
        return None
    asked = HttpUrl.parse(url)
    target = asked.joined(headers["location"])
    return target if target.origin != asked.origin else None


def refusal(url: str, target: HttpUrl, hint: str) -> LocationError:
    """The error that names both servers, without what else a redirect holds: it may be a signature."""
    return LocationError(
        f"`{site(HttpUrl.parse(url))}` redirects to `{site(target)}`, and credentials are not sent there",
        hint=hint,
    )


def site(url: HttpUrl) -> str:
    """Scheme, host and port, as they may be printed."""
    shown = f"{url.scheme}://{url.authority}"
    return "".join(letter if letter.isprintable() and letter != "`" else "?" for letter in shown)
