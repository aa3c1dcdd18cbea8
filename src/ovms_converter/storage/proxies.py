"""Through which proxy a server is reached: the variables that curl, Python and Go's programs read."""

import ipaddress
from collections.abc import Mapping

from ovms_converter.errors import RequestError
from ovms_converter.storage.http_url import HttpUrl

__all__ = ["proxy_for"]


def proxy_for(url: HttpUrl, environ: Mapping[str, str]) -> str | None:
    """The proxy that `HTTP_PROXY`, `HTTPS_PROXY`, `ALL_PROXY`, `NO_PROXY` (lower case first) ask for.

    Raises `RequestError` for a proxy that is not http(s).
    """
    variable = f"{url.scheme}_proxy"
    proxy = _either_case(environ, variable) or _either_case(environ, "all_proxy")
    if not proxy or _bypassed(url, _either_case(environ, "no_proxy")):
        return None
    if "://" not in proxy:
        proxy = f"http://{proxy}"
    if proxy.split("://", 1)[0].lower() not in {"http", "https"}:
        raise RequestError(
            f"the proxy in `{variable.upper()}` is not an http or https one",
            hint="name an http:// proxy, or add the host to NO_PROXY",
        )
    return proxy


def _either_case(environ: Mapping[str, str], name: str) -> str:
    return (environ.get(name) or environ.get(name.upper()) or "").strip()


def _bypassed(url: HttpUrl, rules: str) -> bool:
    """Whether NO_PROXY has the host: `*`, a name with its subdomains, `host:port`, an address, a network."""
    try:
        address = ipaddress.ip_address(url.host)
    except ValueError:
        address = None
    for rule in rules.lower().replace(",", " ").split():
        if rule == "*":
            return True
        if address is not None and _in_network(address, rule):
            return True
        name, colon, port = rule.rpartition(":")
        if colon and port.isdigit():
            if int(port) != url.port:
                continue
            rule = name
        rule = rule.strip("[]").removeprefix("*").lstrip(".")
        if rule and (url.host == rule or (address is None and url.host.endswith("." + rule))):
            return True
    return False


def _in_network(address: ipaddress.IPv4Address | ipaddress.IPv6Address, rule: str) -> bool:
    try:
        return address in ipaddress.ip_network(rule, strict=False)
    except ValueError:
        return False
