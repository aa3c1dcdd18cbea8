"""Which setting won and where it came from: environment variables first, then the profiles in `~/.aws`.

A variable that is set but empty counts as not given. On the output side `OUTPUT_*` comes before the
input's. A key and its secret are one pair from one place; a session token belongs to the pair of its own
place and to no other. Credentials are chosen once and never tried in turn.
"""

import configparser
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias, TypeVar

from ovms_converter.errors import ConverterError, RequestError
from ovms_converter.storage.base import Side

__all__ = [
    "Anonymous",
    "AssumedRole",
    "AwsCredentials",
    "AwsKeys",
    "MachineRole",
    "Profile",
    "Setting",
    "WebIdentity",
    "aws_credentials",
    "aws_keys",
    "first",
    "is_on",
    "prefixes",
    "reported",
]

_TRUE = {"1", "true", "yes", "on", "y", "t"}
_FALSE = {"0", "false", "no", "off", "n", "f"}


@dataclass(frozen=True)
class Setting:
    """One setting that counts: what it decides, its value, and where the value came from."""

    name: str
    value: str = field(repr=False)
    origin: str
    secret: bool = False

    def __str__(self) -> str:
        """The value as it may be printed."""
        return "(hidden)" if self.secret else self.value


def first(environ: Mapping[str, str], name: str, *variables: str, secret: bool = False) -> Setting | None:
    """The first of these variables that holds something."""
    for variable in variables:
        value = environ.get(variable, "").strip()
        if value:
            return Setting(name, value, f"`{variable}`", secret)
    return None


def prefixes(side: Side) -> tuple[str, ...]:
    """The prefixes of variables that count on a side, the strongest first."""
    return ("OUTPUT_", "") if side is Side.OUTPUT else ("",)


def is_on(setting: Setting | None) -> bool | None:
    """A switch as a boolean, None if it is not given. Raises `RequestError` for any other word."""
    if setting is None:
        return None
    word = setting.value.lower()
    if word not in _TRUE | _FALSE:
        raise RequestError(f"{setting.origin} is `{setting.value}`, which is neither true nor false")
    return word in _TRUE


@dataclass(frozen=True)
class AwsKeys:
    """A key and its secret, with the session token that belongs to them."""

    key_id: str
    secret: str = field(repr=False)
    token: str | None = field(repr=False)
    origin: str


@dataclass(frozen=True)
class WebIdentity:
    """A role that a signed token in a file lets this process take (EKS's service accounts)."""

    role: str
    token_file: str
    session: str
    origin: str


@dataclass(frozen=True)
class MachineRole:
    """A role that the container's or the machine's own metadata service hands out.

    `url` is that of a container's service, None for the machine's; `authorization` is the container's token.
    """

    url: str | None
    authorization: str | None = field(repr=False)
    origin: str


@dataclass(frozen=True)
class AssumedRole:
    """A role that other credentials allow to take, for a while: `role_arn` and `source_profile`."""

    role: str
    session: str
    external_id: str | None = field(repr=False)
    base: "AwsKeys | AssumedRole"
    origin: str


@dataclass(frozen=True)
class Anonymous:
    """No credentials: requests are not signed."""

    origin: str


AwsCredentials: TypeAlias = AwsKeys | WebIdentity | AssumedRole | MachineRole | Anonymous


@dataclass(frozen=True)
class Profile:
    """One profile of `~/.aws/credentials` and `~/.aws/config`; `named` if `AWS_PROFILE` asks for it."""

    name: str
    values: Mapping[str, str] = field(repr=False)
    named: bool
    environ: Mapping[str, str] = field(repr=False, default_factory=dict)

    @property
    def origin(self) -> str:
        """What a person calls it."""
        return f"profile `{self.name}`"

    def setting(self, name: str, key: str) -> Setting | None:
        """One value of it."""
        value = self.values.get(key, "").strip()
        return Setting(name, value, self.origin) if value else None

    @classmethod
    def load(cls, environ: Mapping[str, str], prefix: str = "") -> "Profile":
        """The profile that `<prefix>AWS_PROFILE` names, else `default`, which may well be empty.

        Raises `RequestError` if a named one does not exist or a file cannot be parsed.
        """
        wanted = first(environ, "profile", f"{prefix}AWS_PROFILE")
        name = wanted.value if wanted else "default"
        found = cls._read(environ, name)
        if wanted and found is None:
            config, shared = _paths(environ)
            raise RequestError(
                f"{wanted.origin} names `{name}`, and neither `{config}` nor `{shared}` has it",
                hint="unset the variable, or add the profile",
            )
        return cls(name, found or {}, wanted is not None, environ)

    @staticmethod
    def _read(environ: Mapping[str, str], name: str) -> dict[str, str] | None:
        config, shared = _paths(environ)
        values: dict[str, str] | None = None
        for path, section in ((config, name if name == "default" else f"profile {name}"), (shared, name)):
            parser = _parsed(path)
            if parser.has_section(section):
                values = (values or {}) | dict(parser.items(section))
        return values

    def credentials(self, taken: tuple[str, ...] = ()) -> AwsCredentials | None:
        """The credentials in it, None if it has none. `taken` are the profiles that lead here.

        Raises `RequestError` for a kind that needs another program.
        """
        if "source_profile" in self.values and self.values.get("role_arn") and self.name not in taken:
            return self._assumed(taken)
        if keys := self._keys():
            return keys
        role, token_file = self.values.get("role_arn"), self.values.get("web_identity_token_file")
        if role and token_file:
            session = self.values.get("role_session_name") or "ovms-converter"
            return WebIdentity(role, token_file, session, self.origin)
        for kind in ("credential_process", "sso_session", "sso_start_url", "credential_source"):
            if kind in self.values and (self.named or taken):
                raise self._not_done(kind)
        return None

    def _keys(self) -> AwsKeys | None:
        key = self.values.get("aws_access_key_id", "").strip()
        secret = self.values.get("aws_secret_access_key", "").strip()
        if bool(key) != bool(secret):
            raise RequestError(f"{self.origin} has a key without its secret, or a secret without its key")
        if key:
            return AwsKeys(key, secret, self.values.get("aws_session_token", "").strip() or None, self.origin)
        return None

    def _not_done(self, kind: str) -> RequestError:
        return RequestError(
            f"{self.origin} gets its keys by `{kind}`, which this program does not do",
            hint="set the variables that `aws configure export-credentials --format env` prints",
        )

    def _assumed(self, taken: tuple[str, ...]) -> AssumedRole:
        """The role of this profile, to be taken with the keys of another one, or of this one itself.

        Raises `RequestError` if there are none, or if taking it needs a person.
        """
        if "mfa_serial" in self.values:
            raise self._not_done("mfa_serial")
        name = self.values["source_profile"].strip()
        source = Profile(name, self._read(self.environ, name) or {}, named=False, environ=self.environ)
        base = source.credentials((*taken, self.name))
        if not isinstance(base, AwsKeys | AssumedRole):
            raise RequestError(
                f"{self.origin} takes its role with profile `{name}`, which has no keys",
                hint="give that profile `aws_access_key_id` and `aws_secret_access_key`",
            )
        session = self.values.get("role_session_name") or "ovms-converter"
        external = self.values.get("external_id")
        return AssumedRole(self.values["role_arn"], session, external, base, self.origin)


def _paths(environ: Mapping[str, str]) -> tuple[Path, Path]:
    """The files of profiles: configuration and credentials."""
    home = Path(environ.get("HOME") or "~").expanduser()
    config = environ.get("AWS_CONFIG_FILE") or home / ".aws" / "config"
    shared = environ.get("AWS_SHARED_CREDENTIALS_FILE") or home / ".aws" / "credentials"
    return Path(config).expanduser(), Path(shared).expanduser()


def _parsed(path: Path) -> configparser.RawConfigParser:
    parser = configparser.RawConfigParser(default_section="\0none")
    try:
        parser.read(path, encoding="utf-8")
    except (configparser.Error, OSError, UnicodeDecodeError):
        raise RequestError(f"`{path}` is no readable configuration of AWS profiles") from None
    return parser


def aws_keys(environ: Mapping[str, str], prefix: str) -> AwsKeys | None:
    """The pair in `<prefix>AWS_ACCESS_KEY_ID` and `<prefix>AWS_SECRET_ACCESS_KEY`.

    Raises `RequestError` if only one of them is given: half a pair is a mistake, and another half would not
    fit.
    """
    names = (f"{prefix}AWS_ACCESS_KEY_ID", f"{prefix}AWS_SECRET_ACCESS_KEY")
    key, secret = (environ.get(name, "").strip() for name in names)
    if bool(key) != bool(secret):
        given, lacking = names if key else names[::-1]
        raise RequestError(
            f"`{given}` is set and `{lacking}` is not: they are one pair", hint="set both, or neither"
        )
    if not key:
        return None
    return AwsKeys(
        key, secret, environ.get(f"{prefix}AWS_SESSION_TOKEN", "").strip() or None, f"`{names[0]}`"
    )


def aws_credentials(environ: Mapping[str, str], side: Side, *, is_aws: bool) -> AwsCredentials:
    """The credentials for an S3 endpoint, in the order in which AWS's own programs look for them.

    On the output side `OUTPUT_AWS_*` (pair, then profile); then `AWS_*` pair, `AWS_PROFILE`, web identity,
    the default profile, a container's role; the machine's role only if `is_aws`, that is for AWS itself and
    on one of its machines; else none. `awsAnonymousCredential` (KServe) and `AWS_SKIP_SIGNATURE` mean none
    at once.
    """
    if side is Side.OUTPUT:
        found = aws_keys(environ, "OUTPUT_") or _named_profile(environ, "OUTPUT_")
        if found:
            return found
    switch = first(
        environ, "anonymous", "awsAnonymousCredential", "AWS_SKIP_SIGNATURE", "AWS_NO_SIGN_REQUEST"
    )
    if switch and is_on(switch):
        return Anonymous(switch.origin)
    return (
        aws_keys(environ, "")
        or _named_profile(environ, "")
        or _web_identity(environ)
        or Profile.load(environ).credentials()
        or (_machine_role(environ) if is_aws else None)
        or Anonymous("no credentials are set")
    )


def _named_profile(environ: Mapping[str, str], prefix: str) -> AwsCredentials | None:
    if not first(environ, "profile", f"{prefix}AWS_PROFILE"):
        return None
    profile = Profile.load(environ, prefix)
    return profile.credentials()


def _web_identity(environ: Mapping[str, str]) -> WebIdentity | None:
    role = first(environ, "role", "AWS_ROLE_ARN")
    token_file = first(environ, "token file", "AWS_WEB_IDENTITY_TOKEN_FILE")
    if not role or not token_file:
        return None
    session = environ.get("AWS_ROLE_SESSION_NAME", "").strip() or "ovms-converter"
    return WebIdentity(role.value, token_file.value, session, role.origin)


_CONTAINER_HOST = "http://169.254.170.2"
_VENDOR = Path("/sys/class/dmi/id/sys_vendor")


def _machine_role(environ: Mapping[str, str]) -> MachineRole | None:
    """A container's role, or the machine's if this is one of Amazon's: no other network is ever asked."""
    url = first(environ, "url", "AWS_CONTAINER_CREDENTIALS_FULL_URI")
    relative = first(environ, "url", "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI")
    token_file = first(environ, "token", "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE")
    token = environ.get("AWS_CONTAINER_AUTHORIZATION_TOKEN", "").strip() or None
    if relative or url:
        if token_file:
            try:
                token = Path(token_file.value).read_text(encoding="utf-8").strip()
            except OSError as error:
                raise RequestError(
                    f"{token_file.origin} names a file that cannot be read: {error.strerror}"
                ) from None
        found = relative or url
        assert found
        return MachineRole(_CONTAINER_HOST + relative.value if relative else found.value, token, found.origin)
    if is_on(first(environ, "metadata", "AWS_EC2_METADATA_DISABLED")):
        return None
    try:
        vendor = _VENDOR.read_text(encoding="utf-8")
    except OSError:
        return None
    return (
        MachineRole(None, None, "the role of this EC2 machine") if vendor.startswith("Amazon EC2") else None
    )


Keys = TypeVar("Keys")


def reported(provider: Callable[[], Keys], without_keys: list[ConverterError]) -> Callable[[], Keys]:
    """The provider of a client's keys, which also leaves the reason why it has none: obstore does not pass it
    on.
    """

    def keys() -> Keys:
        try:
            found = provider()
        except ConverterError as error:
            without_keys.append(error)
            raise
        without_keys.clear()
        return found

    return keys
