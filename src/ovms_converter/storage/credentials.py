"""The kinds of credentials for a server that speaks S3's protocol."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeAlias, TypeVar

from ovms_converter.errors import ConverterError

__all__ = [
    "Anonymous",
    "AssumedRole",
    "AwsCredentials",
    "AwsKeys",
    "MachineRole",
    "WebIdentity",
    "reported",
]


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
