"""What is the same for every store that is reached over a network: certificates, time-outs, retries."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ovms_converter.errors import RequestError
from ovms_converter.storage.settings import Setting, first, is_on

__all__ = ["Network"]

_PROXIES = [
    name
    for lower in ("http_proxy", "https_proxy", "all_proxy", "no_proxy")
    for name in (lower, lower.upper())
]


@dataclass(frozen=True)
class Network:
    """How connections are made.

    `verify`     False if the user switched certificate checks off; `verify_origin` says how
    `ca_bundle`  a file of further certificates to trust
    `connect_seconds`, `idle_seconds`  until a connection stands; without a single byte on it
    `proxies`  the variables that name proxies, as they were given
    """

    verify: bool
    verify_origin: str
    ca_bundle: Setting | None
    connect_seconds: float
    idle_seconds: float
    proxies: Mapping[str, str] = field(default_factory=dict, repr=False)

    @classmethod
    def from_environment(cls, environ: Mapping[str, str]) -> "Network":
        """Read the variables that KServe, MLflow, AWS's and OpenSSL's programs use.

        Raises `RequestError` for a value that is none, or a bundle that does not exist.
        """
        verify = first(environ, "verify", "S3_VERIFY_SSL")
        ignore = first(environ, "verify", "MLFLOW_S3_IGNORE_TLS")
        if verify:
            checked, origin = is_on(verify) is not False, verify.origin
        else:
            checked, origin = is_on(ignore) is not True, ignore.origin if ignore else "default"
        return cls(
            verify=checked,
            verify_origin=origin,
            ca_bundle=_ca_bundle(environ),
            connect_seconds=_seconds(first(environ, "time-out", "S3_CONNECT_TIMEOUT"), 10),
            idle_seconds=_seconds(first(environ, "time-out", "S3_READ_TIMEOUT"), 20),
            proxies={name: environ[name] for name in _PROXIES if name in environ},
        )

    @property
    def no_proxy(self) -> str:
        """The hosts that are reached without a proxy, by commas."""
        return self.proxies.get("no_proxy") or self.proxies.get("NO_PROXY") or ""

    def settings(self) -> tuple[Setting, ...]:
        """What counts, for a person who looks for a mistake."""
        verify = Setting("certificates", "checked" if self.verify else "NOT checked", self.verify_origin)
        return (verify, self.ca_bundle) if self.ca_bundle else (verify,)


def _ca_bundle(environ: Mapping[str, str]) -> Setting | None:
    found = first(environ, "CA bundle", "AWS_CA_BUNDLE", "REQUESTS_CA_BUNDLE", "SSL_CERT_FILE")
    mount = first(environ, "CA bundle", "CA_BUNDLE_VOLUME_MOUNT_POINT")
    if found is None and mount and first(environ, "CA bundle", "CA_BUNDLE_CONFIGMAP_NAME"):
        # The name of the file is KServe's own convention.
        found = Setting(mount.name, f"{mount.value.rstrip('/')}/cabundle.crt", mount.origin)
    if found and not Path(found.value).is_file():
        raise RequestError(
            f"{found.origin} names `{found.value}`, which is no file", hint="unset it, or name a PEM file"
        )
    return found


def _seconds(setting: Setting | None, default: float) -> float:
    if setting is None:
        return default
    try:
        seconds = float(setting.value)
    except ValueError:
        seconds = 0
    if not 0 < seconds < 86_400:
        raise RequestError(f"{setting.origin} is `{setting.value}`, which is no number of seconds above 0")
    return seconds
