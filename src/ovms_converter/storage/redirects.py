"""Redirects to another server, where the credentials in use would go along.

obstore follows redirects, and has no option against that. `Authorization` stays behind, so plain keys and
bearer tokens need nothing of this. A session token of S3's (`x-amz-security-token`) goes to whatever server
is named, and so does Azure's shared access signature, in the `Referer`. Three things keep them at home:

- requests of our own, which follow nothing, and whose answers tell where the server leads: of the bucket
  before the first signed one, at first without and then with the credentials, as some servers redirect only
  what they have let in (`refuse_redirects`);
- one of an object, before the first is read: it may lie elsewhere than the listing (`FirstRead`);
- `clients.client_options(..., at_home=True)`: the client reaches no other host, whatever the server answers
  to what is signed, except through a proxy that the user names.
"""

import threading
from collections import defaultdict
from collections.abc import Awaitable, Callable, Mapping

from ovms_converter.errors import LocationError
from ovms_converter.storage.background import in_thread
from ovms_converter.storage.clients import ask, connections
from ovms_converter.storage.http_url import HttpUrl
from ovms_converter.storage.network import Network
from ovms_converter.storage.proxies import proxy_for

__all__ = ["Advice", "FirstRead", "Signed", "elsewhere", "refusal", "refuse_redirects", "site"]

Advice = Callable[[HttpUrl, str | None], str]
"""Where a server leads, and the region that it names for the bucket → the hint for who wants just that."""

Signed = Callable[[], tuple[str, Mapping[str, str]]]
"""URL and headers of a `HEAD` of the bucket with the credentials."""

_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_LOCKS: defaultdict[tuple[str, ...], threading.Lock] = defaultdict(threading.Lock)
_ASKED: set[tuple[str, ...]] = set()
"""What was asked in this process, of which bucket and through which proxy, and leads nowhere else."""


def refuse_redirects(url: str, network: Network, advice: Advice, signed: Signed) -> None:
    """Ask for `url`, a bucket's own, without any credentials and then with them, once in this process; no
    answer is no redirect, as the request that follows tells better.

    Raises `LocationError` if the server redirects to another host, port or scheme.
    """
    from urllib3.exceptions import HTTPError

    def look() -> None:
        for asked, headers in ((url, {}), signed()):
            try:
                answer = ask("HEAD", asked, network, headers=headers, patience=0)
            except HTTPError:
                continue
            _refuse(asked, answer.status, answer.headers, advice)

    _once(look, "bucket", url, proxy_for(HttpUrl.parse(url), network.proxies) or "")


class FirstRead:
    """Asks for a byte of the first object of `bucket`, its URL, that is read in this process, with the
    credentials, and follows nothing.

    `signed` makes the URL that an object is read by.
    """

    def __init__(
        self, bucket: str, signed: Callable[[str], Awaitable[str]], network: Network, advice: Advice
    ) -> None:
        self._key = ("object", bucket, proxy_for(HttpUrl.parse(bucket), network.proxies) or "")
        self._signed = signed
        self._network = network
        self._advice = advice

    async def __call__(self, key: str) -> None:
        """Ask before `key` is read. Raises `LocationError` for a redirect to another host, port or scheme."""
        if self._key not in _ASKED:
            url = await self._signed(key)
            await in_thread(_once, lambda: self._look(url), *self._key)

    def _look(self, url: str) -> None:
        from urllib3.exceptions import HTTPError

        with connections(url, self._network) as pool:
            try:
                answer = pool.request(
                    "GET",
                    url,
                    headers={"range": "bytes=0-0"},
                    redirect=False,
                    retries=False,
                    preload_content=False,
                )
            except HTTPError:
                return
            # The server may be sending all of it.
            answer.close()
        _refuse(url, answer.status, answer.headers, self._advice)


def _once(look: Callable[[], None], *key: str) -> None:
    """Call `look` unless it has returned before for this key; others wait for it meanwhile."""
    with _LOCKS[key]:
        if key not in _ASKED:
            look()
            _ASKED.add(key)


def _refuse(url: str, status: int, headers: Mapping[str, str], advice: Advice) -> None:
    target = elsewhere(url, status, headers)
    if target is not None:
        raise refusal(url, target, advice(target, headers.get("x-amz-bucket-region")))


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
