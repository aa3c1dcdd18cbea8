"""`gs://`: Google Cloud Storage, by Google's own credentials, by HMAC keys through its S3 protocol, or by
none.

    1. `STORAGE_EMULATOR_HOST`: an emulator, without credentials
    2. on the output side, the pair `OUTPUT_AWS_*` as HMAC keys
    3. `GOOGLE_APPLICATION_CREDENTIALS`, `GOOGLE_SERVICE_ACCOUNT`, `GOOGLE_SERVICE_ACCOUNT_KEY`, then the file
    that
       `gcloud auth application-default login` leaves
    4. the pair `AWS_*` as HMAC keys, at `S3_ENDPOINT` if the input itself is `gs://`, else at Google
    5. the metadata server, on a machine of Google's
    6. none: public buckets
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from ovms_converter.errors import RequestError
from ovms_converter.storage.aws_credentials import aws_keys
from ovms_converter.storage.base import Side
from ovms_converter.storage.bucket import Bucket
from ovms_converter.storage.clients import client_options, client_retries, own_settings_only
from ovms_converter.storage.credentials import AwsKeys
from ovms_converter.storage.heads import google_head
from ovms_converter.storage.location import Location
from ovms_converter.storage.network import Network
from ovms_converter.storage.objectstore import ObjectDestination, ObjectSource
from ovms_converter.storage.obstore_bucket import ObstoreBucket
from ovms_converter.storage.profiles import Profile
from ovms_converter.storage.s3 import S3Access, checked_endpoint, s3_bucket
from ovms_converter.storage.settings import Setting, first, is_on
from ovms_converter.storage.store_errors import StoreNames
from ovms_converter.storage.witness import Witness

if TYPE_CHECKING:
    from obstore.store import GCSConfig, GCSStore

__all__ = ["GoogleAccess", "explain", "open_destination", "open_source"]

_GOOGLE = "https://storage.googleapis.com"
_ADVICE = (
    "set `GOOGLE_APPLICATION_CREDENTIALS`, or HMAC keys in `AWS_ACCESS_KEY_ID` and `AWS_SECRET_ACCESS_KEY`"
)
_PRODUCT = Path("/sys/class/dmi/id/product_name")
_KINDS = {"service_account": "service_account", "authorized_user": "application_credentials"}
"""`type` in a file of credentials → the setting of obstore that takes such a file."""


def open_source(location: Location, environ: Mapping[str, str]) -> ObjectSource:
    """An object or prefix to read. Raises `RequestError` for settings that contradict themselves."""
    return ObjectSource(location, GoogleAccess.from_environment(environ, Side.INPUT).bucket(location))


def open_destination(location: Location, environ: Mapping[str, str]) -> ObjectDestination:
    """A prefix to publish into. Raises `RequestError` for settings that contradict themselves."""
    return ObjectDestination(location, GoogleAccess.from_environment(environ, Side.OUTPUT).bucket(location))


def explain(location: Location, environ: Mapping[str, str], side: Side) -> tuple[Setting, ...]:  # noqa: ARG001 - as every scheme has it
    """The settings that count."""
    return GoogleAccess.from_environment(environ, side).settings()


@dataclass(frozen=True)
class GoogleAccess:
    """How Google's storage is reached. At most one of the first four is set; none of them means unsigned
    requests.

    `emulator`  base URL of an emulator's JSON API
    `hmac`      access by S3's protocol
    `file`      a file of credentials, or their text where `is_text`; `kind` is the `type` in it
    `machine`   where it was seen that this machine has a role of its own
    """

    network: Network
    emulator: Setting | None = None
    hmac: S3Access | None = None
    file: Setting | None = None
    kind: str = ""
    is_text: bool = False
    machine: str | None = None

    @classmethod
    def from_environment(cls, environ: Mapping[str, str], side: Side) -> "GoogleAccess":
        """Resolve the settings of one side, in the order that this module tells."""
        network = Network.from_environment(environ)
        emulator = first(environ, "emulator", "STORAGE_EMULATOR_HOST")
        if emulator:
            url = emulator.value if "://" in emulator.value else f"http://{emulator.value}"
            return cls(network, emulator=Setting("emulator", url.rstrip("/"), emulator.origin))
        own = aws_keys(environ, "OUTPUT_") if side is Side.OUTPUT else None
        if own:
            return cls(network, hmac=_hmac(own, environ, side))
        text = first(environ, "credentials", "GOOGLE_SERVICE_ACCOUNT_KEY", secret=True)
        found = _named_file(environ) or text or _left_by_gcloud(environ)
        if found:
            return cls(network, file=found, kind=_kind(found, is_text=found is text), is_text=found is text)
        keys = aws_keys(environ, "")
        if keys:
            return cls(network, hmac=_hmac(keys, environ, side))
        return cls(network, machine=_machine(environ))

    def bucket(self, location: Location) -> Bucket:
        """The bucket of a location."""
        if self.emulator:
            from ovms_converter.storage.gcs_json import JsonBucket

            return JsonBucket(location.container, self.emulator.value)
        if self.hmac:
            return s3_bucket(location, self.hmac)
        names = StoreNames(
            bucket=f"gs://{location.container}",
            endpoint=_GOOGLE,
            credentials=self.file.origin if self.file else self.machine,
            advice=_ADVICE,
        )
        patient, once = (self._store(location.container, patient=wanted) for wanted in (True, False))
        # Google's ETags are MD5 digests too, but of composed objects, and of those with keys of their own.
        base = f"{self._url()}/{location.container}"
        head = google_head(patient, base, self.network, signs=names.credentials is not None)
        return ObstoreBucket(patient, once, names, etag_is_md5=True, witness=Witness(head))

    def settings(self) -> tuple[Setting, ...]:
        """What counts and why, for a person who looks for a mistake."""
        if self.emulator:
            return (self.emulator,)
        if self.hmac:
            return self.hmac.settings()
        if self.file:
            shown = self.kind if self.is_text else f"{self.kind} in {self.file.value}"
            credentials = Setting("credentials", shown, self.file.origin)
        elif self.machine:
            credentials = Setting("credentials", "the machine's own role", self.machine)
        else:
            credentials = Setting("credentials", "Anonymous", "no credentials are set")
        return (Setting("endpoint", _GOOGLE, "default"), credentials, *self.network.settings())

    def _url(self) -> str:
        """The server's URL: a file of credentials may name another one."""
        return (_base_url(self.file, is_text=self.is_text) if self.file else None) or _GOOGLE

    def _store(self, bucket: str, *, patient: bool) -> "GCSStore":
        from obstore.store import GCSStore

        config: GCSConfig = {"skip_signature": not self.file and not self.machine}
        if self.file and self.is_text:
            config["service_account_key"] = self.file.value
        elif self.file and self.kind == "service_account":
            config["service_account"] = self.file.value
        elif self.file:
            config["application_credentials"] = self.file.value
        with own_settings_only("GOOGLE_"):
            return GCSStore(
                bucket,
                config=config,
                client_options=client_options(self._url(), self.network),
                retry_config=client_retries(patient=patient),
            )


def _hmac(keys: AwsKeys, environ: Mapping[str, str], side: Side) -> S3Access:
    """Google's storage by S3's protocol, as the pair of keys wants it."""
    names = ("OUTPUT_S3_ENDPOINT",) if side is Side.OUTPUT else ("S3_ENDPOINT",)
    given = first(environ, "endpoint", *names)
    if given and (urlsplit(given.value).hostname or "").endswith(".amazonaws.com"):
        # An image that presets Amazon's own endpoint did not mean Google's buckets by it.
        given = None
    endpoint = checked_endpoint(given) if given else Setting("endpoint", _GOOGLE, "default")
    return S3Access.at(endpoint, environ, side, Profile("default", {}, False), keys)


def _named_file(environ: Mapping[str, str]) -> Setting | None:
    """The file of credentials that is named. Raises `RequestError` if it is missing."""
    named = first(
        environ,
        "credentials",
        "GOOGLE_APPLICATION_CREDENTIALS",
        "GOOGLE_SERVICE_ACCOUNT",
        "GOOGLE_SERVICE_ACCOUNT_PATH",
    )
    if named and not Path(named.value).is_file():
        raise RequestError(
            f"{named.origin} names `{named.value}`, which is no file", hint="unset it, or mount the file"
        )
    return named


def _left_by_gcloud(environ: Mapping[str, str]) -> Setting | None:
    """The file that `gcloud auth application-default login` leaves."""
    home = environ.get("CLOUDSDK_CONFIG") or f"{environ.get('HOME') or '~'}/.config/gcloud"
    path = Path(home).expanduser() / "application_default_credentials.json"
    return Setting("credentials", str(path), f"`{path}`") if path.is_file() else None


def _content(file: Setting, *, is_text: bool) -> Mapping[str, object]:
    try:
        found = json.loads(file.value if is_text else Path(file.value).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        found = None
    if not isinstance(found, dict):
        raise RequestError(f"{file.origin} holds no JSON of Google credentials")
    return found


def _kind(file: Setting, *, is_text: bool) -> str:
    """The `type` of credentials. Raises `RequestError` for one that is not supported."""
    kind = str(_content(file, is_text=is_text).get("type", "service_account"))
    if kind not in _KINDS or (is_text and kind != "service_account"):
        raise RequestError(
            f"{file.origin} holds credentials of type `{kind}`, which are not supported",
            hint="use a service account's key, HMAC keys in `AWS_*`, or the machine's own role",
        )
    return kind


def _base_url(file: Setting, *, is_text: bool) -> str | None:
    url = _content(file, is_text=is_text).get("gcs_base_url")
    return url if isinstance(url, str) else None


def _machine(environ: Mapping[str, str]) -> str | None:
    """Where it is seen that a metadata server is there; nothing is asked to find out."""
    named = first(environ, "metadata", "GCE_METADATA_HOST", "GCE_METADATA_ROOT", "GCE_METADATA_IP")
    if named:
        return named.origin
    if is_on(first(environ, "metadata", "NO_GCE_CHECK")):
        return None
    try:
        product = _PRODUCT.read_text(encoding="utf-8")
    except OSError:
        return None
    return "the role of this Google machine" if product.startswith("Google") else None
