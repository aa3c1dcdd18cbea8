"""Profiles in `~/.aws`: keys, web identities, and roles that are taken with another profile's keys."""

import configparser
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ovms_converter.errors import RequestError
from ovms_converter.storage.credentials import AssumedRole, AwsCredentials, AwsKeys, WebIdentity
from ovms_converter.storage.settings import Setting, first

__all__ = ["Profile"]


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
