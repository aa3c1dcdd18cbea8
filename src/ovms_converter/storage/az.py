"""`az://container/path` and its other spellings: Azure Blob Storage.

    1. `AZURE_STORAGE_CONNECTION_STRING`
    2. the account in the URL, else `AZURE_STORAGE_ACCOUNT` or `AZURE_STORAGE_ACCOUNT_NAME`, with
       `AZURE_STORAGE_KEY`/`_ACCESS_KEY`/`_ACCOUNT_KEY`, else `AZURE_STORAGE_SAS_TOKEN`, else a client's
       secret (`AZURE_CLIENT_ID`, `_SECRET`, `_TENANT_ID`, also `AZ_*`), else workload identity
       (`AZURE_FEDERATED_TOKEN_FILE`), else none

An account in the URL that is not the one of the connection string gets none of its credentials.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import quote

from ovms_converter.errors import ConverterError, RequestError
from ovms_converter.storage.az_bucket import AzureContainer, signed_by_key, signed_by_store, with_token
from ovms_converter.storage.base import Side
from ovms_converter.storage.clients import client_options, client_retries, own_settings_only
from ovms_converter.storage.credentials import reported
from ovms_converter.storage.http_url import HttpUrl
from ovms_converter.storage.location import Location
from ovms_converter.storage.network import Network
from ovms_converter.storage.objectstore import ObjectDestination, ObjectSource
from ovms_converter.storage.redirects import FirstRead, refuse_redirects, site
from ovms_converter.storage.settings import Setting, first
from ovms_converter.storage.store_errors import StoreNames

if TYPE_CHECKING:
    from obstore.store import AzureConfig, AzureSASToken, AzureStore

__all__ = ["AzureAccess", "explain", "open_destination", "open_source"]

_ADVICE = "set `AZURE_STORAGE_CONNECTION_STRING`, or `AZURE_STORAGE_ACCOUNT` and `AZURE_STORAGE_KEY`"
_LARGE = 8 << 20
_EMULATOR = (
    "AccountName=devstoreaccount1;BlobEndpoint=http://127.0.0.1:10000/devstoreaccount1;AccountKey="
    "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
)
"""What `UseDevelopmentStorage=true` stands for; the key is public and the same everywhere."""


def open_source(location: Location, environ: Mapping[str, str]) -> ObjectSource:
    """A blob or prefix to read. Raises `RequestError` if no account is named."""
    return ObjectSource(location, AzureAccess.from_environment(environ, location).bucket(location))


def open_destination(location: Location, environ: Mapping[str, str]) -> ObjectDestination:
    """A prefix to publish into. Raises `RequestError` if no account is named."""
    return ObjectDestination(location, AzureAccess.from_environment(environ, location).bucket(location))


def explain(location: Location, environ: Mapping[str, str], side: Side) -> tuple[Setting, ...]:  # noqa: ARG001 - as every scheme has it
    """The settings that count; both sides have the same."""
    return AzureAccess.from_environment(environ, location).settings()


@dataclass(frozen=True)
class AzureAccess:
    """How a storage account is reached.

    `kind`    obstore's word for the credentials, "" for none; `secrets` are its settings for them
    `origin`  where the credentials came from
    """

    account: Setting
    endpoint: Setting
    kind: str
    secrets: tuple[Setting, ...]
    network: Network

    @classmethod
    def from_environment(cls, environ: Mapping[str, str], location: Location) -> "AzureAccess":
        """Resolve the settings, in the order that this module tells."""
        network = Network.from_environment(environ)
        in_url = location.account.partition(".")[0]
        given = first(environ, "connection string", "AZURE_STORAGE_CONNECTION_STRING", secret=True)
        parts = _connection_string(given) if given else {}
        if given and parts and in_url in ("", parts.get("AccountName")):
            return cls._from_connection_string(parts, given.origin, network)
        account = Setting("account", in_url, "the URL") if in_url else first(
            environ, "account", "AZURE_STORAGE_ACCOUNT", "AZURE_STORAGE_ACCOUNT_NAME"
        )  # fmt: skip
        if account is None:
            raise RequestError(f"no storage account is named for `{location}`", hint=_ADVICE)
        host = location.account.replace(".dfs.", ".blob.") or f"{account.value}.blob.core.windows.net"
        endpoint = first(environ, "endpoint", "AZURE_STORAGE_ENDPOINT") if not in_url else None
        endpoint = endpoint or Setting("endpoint", f"https://{host}", account.origin)
        kind, secrets = _credentials(environ)
        return cls(account, endpoint, kind, secrets, network)

    @classmethod
    def _from_connection_string(
        cls, parts: Mapping[str, str], origin: str, network: Network
    ) -> "AzureAccess":
        account = parts.get("AccountName", "")
        suffix = parts.get("EndpointSuffix", "core.windows.net")
        protocol = parts.get("DefaultEndpointsProtocol", "https")
        endpoint = parts.get("BlobEndpoint") or f"{protocol}://{account}.blob.{suffix}"
        key, sas = parts.get("AccountKey"), parts.get("SharedAccessSignature")
        secret = (
            Setting("account_key", key, origin, True) if key else Setting("sas_key", sas or "", origin, True)
        )
        return cls(
            Setting("account", account or endpoint, origin),
            Setting("endpoint", endpoint.rstrip("/"), origin),
            "access_key" if key else "sas_token" if sas else "",
            (secret,) if key or sas else (),
            network,
        )

    def bucket(self, location: Location) -> AzureContainer:
        """The container of a location."""
        names = StoreNames(
            bucket=f"az://{location.container}",
            endpoint=self.endpoint.value,
            credentials=self.secrets[0].origin if self.secrets else None,
            advice=_ADVICE,
        )
        without_keys: list[ConverterError] = []
        patient, once = (
            self._store(location.container, without_keys, patient=wanted) for wanted in (True, False)
        )
        base, large = f"{self.endpoint.value}/{location.container}", 0
        secret = self.secrets[0].value if self.secrets else ""
        if self.kind == "access_key":
            signed = signed_by_key(base, self.account.value, location.container, secret)
        elif self.kind in ("sas_token", ""):
            signed = with_token(base, secret)
        else:
            # Each of these URLs costs a request for a key.
            signed, large = signed_by_store(patient, names), _LARGE
        return AzureContainer(
            patient,
            once,
            names,
            signed,
            self.network,
            asks_from=large,
            advice=self._advice,
            without_keys=without_keys,
            before_read=FirstRead(base, partial(signed, "HEAD"), self.network, self._advice)
            if self.kind == "sas_token"
            else None,
        )

    def settings(self) -> tuple[Setting, ...]:
        """What counts and why, for a person who looks for a mistake."""
        origin = self.secrets[0].origin if self.secrets else "no credentials are set"
        return (
            self.account,
            self.endpoint,
            Setting("credentials", self.kind or "Anonymous", origin),
            *self.network.settings(),
        )

    def _store(self, container: str, without_keys: list[ConverterError], *, patient: bool) -> "AzureStore":
        from obstore.store import AzureStore

        has_token = self.kind == "sas_token"
        settings: dict[str, str | bool] = {
            "account_name": self.account.value,
            "endpoint": self.endpoint.value,
            "skip_signature": not self.kind,
        }
        more: dict[str, Any] = {}
        if has_token:
            more["credential_provider"] = reported(self._at_home(container), without_keys)
        elif self.kind:
            settings |= {"credential_type": self.kind}
            settings |= {setting.name: setting.value for setting in self.secrets}
        with own_settings_only("AZURE_"):
            return AzureStore(
                container,
                config=cast("AzureConfig", settings),
                client_options=client_options(self.endpoint.value, self.network, at_home=has_token),
                retry_config=client_retries(patient=patient),
                **more,
            )

    def _at_home(self, container: str) -> "Callable[[], AzureSASToken]":
        """What obstore asks for the signature, which is not for a server that would send it on to another."""
        url = f"{self.endpoint.value}/{quote(container)}?restype=container"
        token: AzureSASToken = {"sas_token": self.secrets[0].value, "expires_at": None}

        def keys() -> "AzureSASToken":
            refuse_redirects(url, self.network, self._advice, lambda: (f"{url}&{token['sas_token']}", {}))
            return token

        return keys

    def _advice(self, target: HttpUrl, region: str | None = None) -> str:  # noqa: ARG002 - as `Advice` has it
        """What to do about a redirect to `target`."""
        if self.endpoint.origin == "`AZURE_STORAGE_CONNECTION_STRING`":
            where = f"name it as `BlobEndpoint` in {self.endpoint.origin}"
        elif self.endpoint.origin == "the URL":
            where = "name it as the host of the URL"
        else:
            where = f"set `AZURE_STORAGE_ENDPOINT={site(target)}`, with the path that belongs to it"
        return f"if it is to be trusted, {where}"


def _connection_string(given: Setting) -> dict[str, str]:
    """The parts of a connection string. Raises `RequestError` if it is none."""
    parts = dict(part.split("=", 1) for part in given.value.split(";") if "=" in part)
    if parts.get("UseDevelopmentStorage", "").lower() == "true":
        parts = dict(part.split("=", 1) for part in _EMULATOR.split(";"))
    if not parts.get("AccountName") and not parts.get("BlobEndpoint"):
        raise RequestError(
            f"{given.origin} names no `AccountName`", hint="copy it from the account's page `Access keys`"
        )
    return parts


def _credentials(environ: Mapping[str, str]) -> tuple[str, tuple[Setting, ...]]:
    """The kind of the credentials that are set, and obstore's settings for them."""
    key = first(
        environ,
        "account_key",
        "AZURE_STORAGE_KEY",
        "AZURE_STORAGE_ACCESS_KEY",
        "AZURE_STORAGE_ACCOUNT_KEY",
        secret=True,
    )
    if key:
        return "access_key", (key,)
    sas = first(environ, "sas_key", "AZURE_STORAGE_SAS_TOKEN", "AZURE_STORAGE_SAS_KEY", secret=True)
    if sas:
        return "sas_token", (Setting(sas.name, sas.value.lstrip("?"), sas.origin, True),)
    client = first(environ, "client_id", "AZURE_CLIENT_ID", "AZ_CLIENT_ID")
    tenant = first(environ, "tenant_id", "AZURE_TENANT_ID", "AZ_TENANT_ID")
    secret = first(environ, "client_secret", "AZURE_CLIENT_SECRET", "AZ_CLIENT_SECRET", secret=True)
    token_file = first(environ, "federated_token_file", "AZURE_FEDERATED_TOKEN_FILE")
    if client and tenant and secret:
        return "client_secret", (client, tenant, secret)
    if client and tenant and token_file:
        return "workload_identity", (client, tenant, token_file)
    return "", ()
