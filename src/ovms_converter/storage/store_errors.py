"""What an object store's client says, told as an error of this package.

obstore keeps the store's answer only in the text of its exceptions, so the status and the `<Code>` are read
from there; nothing else of that text is ever shown.
"""

import re
from dataclasses import dataclass

from ovms_converter.errors import (
    AccessDeniedError,
    AlreadyExistsError,
    ConverterError,
    LocationError,
    NotFoundError,
    UnavailableError,
)
from ovms_converter.storage.clients import NOWHERE

__all__ = [
    "BusyError",
    "RangeIgnoredError",
    "SourceChangedError",
    "StoreNames",
    "changed",
    "refused",
    "translate",
]


class SourceChangedError(UnavailableError):
    """An object is not the one that was listed any more: another try starts from the new one."""


class BusyError(UnavailableError):
    """The store has enough for now; `wait` is after how many seconds it wants to be asked again, if known."""

    def __init__(self, message: str, *, hint: str | None = None, wait: float | None = None) -> None:
        super().__init__(message, hint=hint)
        self.wait = wait


class RangeIgnoredError(UnavailableError):
    """The server sends the whole object when a part was asked for; it is read as one stream then."""


@dataclass(frozen=True)
class StoreNames:
    """How a store is called in messages.

    `bucket`    URL of the bucket or container, `s3://models`
    `endpoint`  the server's URL
    `credentials`  where the credentials came from, None if there are none
    `advice`    what to set if there are none
    """

    bucket: str
    endpoint: str
    credentials: str | None
    advice: str


_STATUS = re.compile(r"status code: (\d{3})")
_CODE = re.compile(r"<Code>\s*(\w+)\s*</Code>|\"code\":\s*\"(\w+)\"")
_EXPECTED_REGION = re.compile(r"expecting '([a-z0-9-]+)'|<Region>([a-z0-9-]+)</Region>")
_BAD_PATH = re.compile(r'Path \\?"(.*?)\\?"')
_CERTIFICATE = re.compile(r"certificate|UnknownIssuer|InvalidCertificate|self-signed", re.IGNORECASE)

_KEYS_REFUSED = {
    "AccessDenied": "the store denies it",
    "AllAccessDisabled": "the store denies it",
    "AuthenticationFailed": "the signature or token is wrong",
    "AuthorizationFailure": "the store denies it",
    "ExpiredToken": "the session token has expired",
    "InvalidAccessKeyId": "the store does not know this access key",
    "InvalidToken": "the session token is wrong",
    "RequestTimeTooSkewed": "the clocks of this machine and the store differ too much",
    "SignatureDoesNotMatch": "the secret does not fit the access key",
    "TokenRefreshRequired": "the session token has expired",
    "UnsupportedAlgorithm": "the store wants signed requests",
}
_ARCHIVED = {"BlobArchived", "BlobBeingRehydrated", "InvalidObjectState"}
_DAMAGED = {"BadDigest", "IncompleteBody", "Md5Mismatch", "XAmzContentSHA256Mismatch"}
"""A store's words for what did not arrive as it was sent: status 400, and worth another try."""
_BUSY = {"ServerBusy", "ServiceUnavailable", "SlowDown"}
_FAILED = {"InternalError", "RequestTimeout"}
"""What may come with a status that says otherwise: 400, or 200 when an upload is completed."""
_TRANSPORT = (
    ("dns error", "its host name cannot be resolved"),
    ("Connection refused", "nobody listens there"),
    ("ConnectionRefused", "nobody listens there"),
    ("TimedOut", "it stopped answering"),
    ("timed out", "it stopped answering"),
    ("Timeout", "it stopped answering"),
    ("ConnectionReset", "it broke the connection off"),
    ("IncompleteMessage", "it broke the connection off"),
    ("UnexpectedEof", "it broke the connection off"),
    ("Connect", "no connection can be made"),
)


def translate(error: Exception, names: StoreNames, key: str) -> ConverterError:
    """The error for what happened to `key` ("" for the bucket itself); an error of this package passes
    unchanged.
    """
    if isinstance(error, ConverterError):
        return error
    text = str(error)
    status = int(match[1]) if (match := _STATUS.search(text)) else 0
    code = next(filter(None, match.groups()), "") if (match := _CODE.search(text)) else ""
    url = f"{names.bucket}/{key}" if key else names.bucket
    kind = type(error).__name__
    if kind == "AlreadyExistsError":
        return AlreadyExistsError(f"`{url}` exists already")
    if kind in ("PreconditionError", "NotModifiedError") or status == 412:
        return changed(names, key)
    if "non-partial response" in text or kind == "NotPartial":
        return RangeIgnoredError(f"`{names.endpoint}` ignores ranges")
    if kind in ("InvalidPathError", "ValueError"):
        return _unsafe_key(names, text)
    if kind in ("FileNotFoundError", "NotFoundError"):
        status = status or 404
    elif kind in ("PermissionDeniedError", "UnauthenticatedError"):
        status = status or 403
    elif "redirect without LOCATION" in text:
        status = 301
    return refused(names, key, status, code, text) if status or code else _no_answer(names, text)


def refused(names: StoreNames, key: str, status: int, code: str, text: str = "") -> ConverterError:
    """The error for a store's answer: its status, its own word for the cause, and what else it says."""
    url = f"{names.bucket}/{key}" if key else names.bucket
    if code in ("NoSuchBucket", "ContainerNotFound", "ContainerBeingDeleted"):
        return NotFoundError(
            f"there is no bucket `{names.bucket}` at `{names.endpoint}`",
            hint="check its name and the endpoint; buckets are not created here",
        )
    if status == 404:
        return NotFoundError(f"there is no `{url}` at `{names.endpoint}`", hint="check the spelling")
    if code == "AuthorizationHeaderMalformed" or status in (301, 307):
        region = (
            next(filter(None, match.groups()), None) if (match := _EXPECTED_REGION.search(text)) else None
        )
        return LocationError(
            f"`{names.bucket}` is in another region than the one that was asked",
            hint=f"set `AWS_REGION={region}`" if region else "set `AWS_REGION` to the bucket's region",
        )
    if code in _ARCHIVED:
        return LocationError(
            f"`{url}` lies in an archive of `{names.endpoint}`, from where it cannot be read",
            hint="restore it first, or move it to a class of storage that is read at once",
        )
    if status in (401, 403) or code in _KEYS_REFUSED:
        return _denied(names, url, code)
    if code in _DAMAGED:
        return UnavailableError(
            f"`{url}` did not reach `{names.endpoint}` as it was sent ({code})", hint="try again"
        )
    answer = " ".join(filter(None, (str(status or ""), code and f"({code})")))
    if status in (429, 503) or code in _BUSY:
        return BusyError(f"`{names.endpoint}` answered {answer} for `{url}`", hint="try again later")
    if status >= 500 or code in _FAILED:
        return UnavailableError(f"`{names.endpoint}` answered {answer} for `{url}`", hint="try again later")
    return LocationError(f"`{names.endpoint}` refused `{url}` with {answer}")


def changed(names: StoreNames, key: str) -> SourceChangedError:
    """An object is another one than was listed."""
    return SourceChangedError(
        f"`{names.bucket}/{key}` changed while it was read", hint="run again to read the new one"
    )


def _denied(names: StoreNames, url: str, code: str) -> AccessDeniedError:
    why = _KEYS_REFUSED.get(code, "the store denies it")
    if names.credentials is None:
        return AccessDeniedError(f"no access to `{url}` without credentials: {why}", hint=names.advice)
    clock = code == "RequestTimeTooSkewed"
    return AccessDeniedError(
        f"no access to `{url}` with the credentials from {names.credentials}: {why}",
        hint="set this machine's clock" if clock else "check these credentials and what they allow",
    )


def _unsafe_key(names: StoreNames, text: str) -> LocationError:
    found = _BAD_PATH.search(text)
    key = "".join(letter if letter.isprintable() else "?" for letter in found[1]) if found else "?"
    return LocationError(
        f"`{names.bucket}` holds an object whose key is no safe path: `{key}`",
        hint="rename or remove it; keys with `..`, `//` or control characters are not read",
    )


def _no_answer(names: StoreNames, text: str) -> ConverterError:
    if NOWHERE in text:
        return LocationError(
            f"`{names.endpoint}` redirects to another host, and credentials are not sent there",
            hint="name that host itself as the endpoint if it is to be trusted",
        )
    if _CERTIFICATE.search(text):
        return LocationError(
            f"the certificate of `{names.endpoint}` is not trusted",
            hint="name the file of its authority in `AWS_CA_BUNDLE` or `SSL_CERT_FILE`",
        )
    why = next((words for sign, words in _TRANSPORT if sign in text), "the exchange with it broke")
    return UnavailableError(
        f"`{names.endpoint}` is not available: {why}",
        hint="check the endpoint and the network, then try again",
    )
