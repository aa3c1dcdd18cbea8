"""Which credentials count for an S3 endpoint: environment variables first, then the profiles in `~/.aws`.

A key and its secret are one pair from one place; a session token belongs to the pair of its own place and to
no other. Credentials are chosen once and never tried in turn.
"""

from collections.abc import Mapping
from pathlib import Path

from ovms_converter.errors import RequestError
from ovms_converter.storage.base import Side
from ovms_converter.storage.credentials import Anonymous, AwsCredentials, AwsKeys, MachineRole, WebIdentity
from ovms_converter.storage.profiles import Profile
from ovms_converter.storage.settings import first, is_on

__all__ = ["aws_credentials", "aws_keys"]


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
