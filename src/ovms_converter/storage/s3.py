"""`s3://`: Amazon S3 and every server that speaks its protocol."""

import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit

from ovms_converter.errors import ConverterError, RequestError
from ovms_converter.storage.aws_credentials import aws_credentials
from ovms_converter.storage.aws_signature import signed_headers
from ovms_converter.storage.base import Side
from ovms_converter.storage.clients import client_options, client_retries, own_settings_only
from ovms_converter.storage.credentials import (
    Anonymous,
    AssumedRole,
    AwsCredentials,
    AwsKeys,
    WebIdentity,
    reported,
)
from ovms_converter.storage.heads import S3Server, s3_head
from ovms_converter.storage.http_url import HttpUrl
from ovms_converter.storage.location import Location
from ovms_converter.storage.network import Network
from ovms_converter.storage.objectstore import ObjectDestination, ObjectSource
from ovms_converter.storage.obstore_bucket import ObstoreBucket
from ovms_converter.storage.profiles import Profile
from ovms_converter.storage.pulling import S3Puller
from ovms_converter.storage.redirects import Advice, FirstRead, refuse_redirects, site
from ovms_converter.storage.settings import Setting, first, is_on, prefixes
from ovms_converter.storage.store_errors import StoreNames
from ovms_converter.storage.witness import Witness

if TYPE_CHECKING:
    from obstore.store import S3Credential, S3Store

__all__ = ["S3Access", "checked_endpoint", "explain", "open_destination", "open_source", "s3_bucket"]

_AWS_HOST = re.compile(
    r"(?:.+\.)?s3[.-](?:(?:dualstack|fips)\.)?(?:([a-z]{2}(?:-[a-z]+)+-\d)\.)?amazonaws\.com(?:\.cn)?"
)
ADVICE = (
    "set `AWS_ACCESS_KEY_ID` and `AWS_SECRET_ACCESS_KEY`, for the output `OUTPUT_AWS_ACCESS_KEY_ID` and so on"
)


def open_source(location: Location, environ: Mapping[str, str]) -> ObjectSource:
    """An object or prefix to read. Raises `RequestError` for settings that contradict themselves."""
    access = S3Access.from_environment(environ, Side.INPUT)
    return ObjectSource(location, s3_bucket(location, access))


def open_destination(location: Location, environ: Mapping[str, str]) -> ObjectDestination:
    """A prefix to publish into. Raises `RequestError` for settings that contradict themselves."""
    access = S3Access.from_environment(environ, Side.OUTPUT)
    return ObjectDestination(location, s3_bucket(location, access))


def explain(location: Location, environ: Mapping[str, str], side: Side) -> tuple[Setting, ...]:  # noqa: ARG001 - as every scheme has it
    """The settings that count."""
    return S3Access.from_environment(environ, side).settings()


@dataclass(frozen=True)
class S3Access:
    """How an S3 server is reached: every setting that won, and where it came from.

    `endpoint`    URL without a slash at its end, None for Amazon's own
    `path_style`  whether the bucket stands in the path (`host/bucket/key`) or before the host
    `accelerated`  whether Amazon's accelerated endpoint is meant, where no other is named
    `token_service`  where a web identity or a role's other keys are exchanged
    """

    endpoint: Setting | None
    region: Setting
    credentials: AwsCredentials
    path_style: bool
    path_style_origin: str
    token_service: str
    network: Network
    accelerated: bool = False

    @classmethod
    def from_environment(cls, environ: Mapping[str, str], side: Side) -> "S3Access":
        """Resolve the settings of one side.

        Endpoint: `OUTPUT_S3_ENDPOINT` (output side), `S3_ENDPOINT`, `AWS_ENDPOINT_URL_S3`,
        `AWS_ENDPOINT_URL`, `MLFLOW_S3_ENDPOINT_URL`, the profile's, Amazon's. Credentials: see
        `aws_credentials`.
        """
        profile = Profile.load(environ)
        names = ["S3_ENDPOINT", "AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "MLFLOW_S3_ENDPOINT_URL"]
        variables = [*(["OUTPUT_S3_ENDPOINT"] if side is Side.OUTPUT else []), *names]
        found = first(environ, "endpoint", *variables) or profile.setting("endpoint", "endpoint_url")
        return cls.at(checked_endpoint(found) if found else None, environ, side, profile)

    @classmethod
    def at(
        cls,
        endpoint: Setting | None,
        environ: Mapping[str, str],
        side: Side,
        profile: Profile,
        credentials: AwsCredentials | None = None,
    ) -> "S3Access":
        """The access to a server that is already chosen."""
        aws = _AWS_HOST.fullmatch(urlsplit(endpoint.value).hostname or "") if endpoint else None
        regions = [
            f"{prefix}{name}" for prefix in prefixes(side) for name in ("AWS_REGION", "AWS_DEFAULT_REGION")
        ]
        region = first(environ, "region", *regions) or profile.setting("region", "region")
        if region is None and endpoint and aws and aws[1]:
            region = Setting("region", aws[1], f"the host in {endpoint.origin}")
        virtual = first(environ, "addressing", "S3_USER_VIRTUAL_BUCKET", "AWS_VIRTUAL_HOSTED_STYLE_REQUEST")
        is_virtual = is_on(virtual)
        region = region or Setting("region", "us-east-1", "default")
        sts = first(environ, "token service", "AWS_ENDPOINT_URL_STS", "AWS_STS_ENDPOINT")
        return cls(
            endpoint=endpoint,
            region=region,
            credentials=credentials
            or aws_credentials(environ, side, is_aws=endpoint is None or aws is not None),
            path_style=endpoint is not None if is_virtual is None else not is_virtual,
            path_style_origin=virtual.origin if virtual else "default",
            token_service=sts.value.rstrip("/") if sts else f"https://sts.{region.value}.{_domain(region)}",
            network=Network.from_environment(environ),
            accelerated=bool(is_on(first(environ, "acceleration", "S3_USE_ACCELERATE"))),
        )

    def url(self, bucket: str) -> str:
        """The URL that requests for a bucket go to."""
        if self.endpoint is None:
            domain = _domain(self.region)
            # A dot in a bucket's name does not fit the one level of Amazon's wildcard certificate.
            if self.path_style or "." in bucket:
                return f"https://s3.{self.region.value}.{domain}"
            if self.accelerated:
                return f"https://{bucket}.s3-accelerate.{domain}"
            return f"https://{bucket}.s3.{self.region.value}.{domain}"
        if self.path_style:
            return self.endpoint.value
        scheme, _, host = self.endpoint.value.partition("://")
        return f"{scheme}://{bucket}.{host}"

    def is_path_style(self, bucket: str) -> bool:
        """Whether requests for this bucket name it in their path."""
        return self.path_style or (self.endpoint is None and "." in bucket)

    def bucket_url(self, bucket: str) -> str:
        """The URL of a bucket itself."""
        url = self.url(bucket)
        return f"{url}/{quote(bucket)}" if self.is_path_style(bucket) else f"{url}/"

    @property
    def has_token(self) -> bool:
        """Whether the keys come with a session token, as far as can be told before they are fetched."""
        keys = self.credentials
        return bool(keys.token) if isinstance(keys, AwsKeys) else not isinstance(keys, Anonymous)

    def settings(self) -> tuple[Setting, ...]:
        """What counts and why, for a person who looks for a mistake."""
        endpoint = self.endpoint or Setting("endpoint", "Amazon S3", "default")
        style = Setting("addressing", "path" if self.path_style else "virtual host", self.path_style_origin)
        keys = self.credentials
        shown = keys.key_id if isinstance(keys, AwsKeys) else type(keys).__name__
        return (
            endpoint,
            self.region,
            style,
            Setting("credentials", shown, keys.origin),
            *(
                [Setting("session token", "", keys.origin, secret=True)]
                if isinstance(keys, AwsKeys) and keys.token
                else []
            ),
            *self.network.settings(),
        )


def _domain(region: Setting) -> str:
    return "amazonaws.com.cn" if region.value.startswith("cn-") else "amazonaws.com"


def checked_endpoint(endpoint: Setting) -> Setting:
    """The endpoint without a slash at its end. Raises `RequestError` if it is no URL of a server."""
    parts = urlsplit(endpoint.value)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise RequestError(
            f"{endpoint.origin} holds no `http://` or `https://` URL",
            hint="write it with its scheme, like `http://host:9000`",
        )
    if parts.username or parts.query:
        raise RequestError(f"{endpoint.origin} carries credentials in its URL", hint=ADVICE)
    return Setting(endpoint.name, endpoint.value.rstrip("/"), endpoint.origin)


def s3_bucket(location: Location, access: S3Access, bucket_url: str | None = None) -> ObstoreBucket:
    """The bucket of a location behind a server that speaks S3's protocol."""
    credentials = access.credentials
    names = StoreNames(
        bucket=bucket_url or f"{location.scheme}://{location.container}",
        endpoint=access.endpoint.value if access.endpoint else access.url(location.container),
        credentials=None if isinstance(credentials, Anonymous) else credentials.origin,
        advice=ADVICE,
    )
    without_keys: list[ConverterError] = []
    keys: Callable[[], S3Credential] | None = None
    if not isinstance(credentials, Anonymous):
        keys = _at_home(_provider(credentials, access), location.container, access)
    provider = reported(keys, without_keys) if keys else None
    patient = _store(location.container, access, provider, patient=True)
    once = _store(location.container, access, provider, patient=False)
    url = access.bucket_url(location.container)
    server = S3Server(url, keys, access.region.value, access.network)
    first_read: FirstRead | None = None
    if access.has_token:
        advice = _advice(location.container, access)
        first_read = FirstRead(url, _readable(patient), access.network, advice)
    return ObstoreBucket(
        patient,
        once,
        names,
        etag_is_md5=True,
        witness=Witness(s3_head(server)),
        puller=S3Puller(server),
        without_keys=without_keys,
        before_read=first_read,
    )


def _readable(store: "S3Store") -> Callable[[str], Awaitable[str]]:
    """A function that makes the URL by which an object is read."""

    async def signed(key: str) -> str:
        from obstore import sign_async

        return await sign_async(store, "GET", key, timedelta(minutes=5))

    return signed


def _store(
    bucket: str, access: S3Access, provider: "Callable[[], S3Credential] | None", *, patient: bool
) -> "S3Store":
    """obstore's client. It would read `AWS_*` variables by itself, so everything that matters here is
    given.
    """
    from obstore.store import S3Store

    url = access.url(bucket)
    more: dict[str, Any] = {"credential_provider": provider} if provider else {}
    with own_settings_only("AWS_"):
        return S3Store(
            bucket,
            config={
                "endpoint": url,
                "aws_endpoint_url_s3": url,
                "region": access.region.value,
                "virtual_hosted_style_request": not access.is_path_style(bucket),
                "skip_signature": provider is None,
            },
            client_options=client_options(url, access.network, at_home=access.has_token),
            retry_config=client_retries(patient=patient),
            **more,
        )


def _at_home(
    provider: "Callable[[], S3Credential]", bucket: str, access: S3Access
) -> "Callable[[], S3Credential]":
    """The provider, which hands no session token out for a server that would send it on to another one."""
    url = access.bucket_url(bucket)

    def keys() -> "S3Credential":
        found = provider()
        if found.get("token"):
            held = AwsKeys(found["access_key_id"], found["secret_access_key"], found["token"], "")
            refuse_redirects(url, access.network, _advice(bucket, access), lambda: (url, signed(held)))
        return found

    def signed(held: AwsKeys) -> Mapping[str, str]:
        now = datetime.now(timezone.utc)
        return signed_headers("HEAD", url, held, region=access.region.value, service="s3", now=now)

    return keys


def _advice(bucket: str, access: S3Access) -> Advice:
    """What to do about a redirect."""

    def advice(target: HttpUrl, region: str | None) -> str:
        amazon = _AWS_HOST.fullmatch(target.host)
        region = region or (amazon[1] if amazon else None)
        if region and re.fullmatch(r"[a-z0-9-]+", region):
            return f"set `AWS_REGION={region}`"
        variable = access.endpoint.origin if access.endpoint else ""
        variable = variable.strip("`") if variable.startswith("`") else "S3_ENDPOINT"
        return f"if it is to be trusted, set `{variable}={site(target).replace(f'://{bucket}.', '://')}`"

    return advice


def _provider(credentials: AwsCredentials, access: S3Access) -> "Callable[[], S3Credential]":
    """What obstore asks for keys whenever it needs some."""
    if isinstance(credentials, AwsKeys):
        keys: S3Credential = {
            "access_key_id": credentials.key_id,
            "secret_access_key": credentials.secret,
            "token": credentials.token,
            "expires_at": None,
        }
        return lambda: keys
    from ovms_converter.storage import aws_roles

    if isinstance(credentials, WebIdentity):
        return aws_roles.web_identity(credentials, access.token_service, access.network)
    if isinstance(credentials, AssumedRole):
        return aws_roles.assumed_role(credentials, access.token_service, access.region.value, access.network)
    assert not isinstance(credentials, Anonymous)
    return aws_roles.machine_role(credentials)
