"""Temporary AWS keys: a web identity or other keys exchanged at Amazon's token service, or a role of the
container or machine.

obstore can do both, but reads the process's environment for it and takes a set-but-empty variable for a key.
"""

import json
import re
from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlencode

from ovms_converter.errors import AccessDeniedError, ConverterError, UnavailableError
from ovms_converter.storage.aws_signature import signed_headers
from ovms_converter.storage.clients import ask
from ovms_converter.storage.credentials import AssumedRole, AwsKeys, MachineRole, WebIdentity
from ovms_converter.storage.network import Network

if TYPE_CHECKING:
    from obstore.store import S3Credential

__all__ = ["assumed_role", "machine_role", "web_identity"]

_MACHINE = "http://169.254.169.254"


def web_identity(identity: WebIdentity, token_service: str, network: Network) -> "Callable[[], S3Credential]":
    """A provider that exchanges the token in the identity's file for keys, again whenever they expire.

    `token_service` is the URL of AWS's Security Token Service.
    """

    def keys() -> "S3Credential":
        try:
            token = Path(identity.token_file).read_text(encoding="utf-8").strip()
        except OSError as error:
            raise AccessDeniedError(
                f"the token file of {identity.origin} cannot be read: {error.strerror}",
                hint="check `AWS_WEB_IDENTITY_TOKEN_FILE`",
            ) from None
        query = {
            "Action": "AssumeRoleWithWebIdentity",
            "Version": "2011-06-15",
            "RoleArn": identity.role,
            "RoleSessionName": identity.session,
            "WebIdentityToken": token,
        }
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        text = _ask("POST", f"{token_service}/", identity.origin, headers, urlencode(query), network)
        return _in_answer(text, identity.origin)

    return keys


def assumed_role(
    role: AssumedRole, token_service: str, region: str, network: Network
) -> "Callable[[], S3Credential]":
    """A provider that takes a role with other keys, again whenever those of the role expire."""

    def keys() -> "S3Credential":
        if isinstance(role.base, AssumedRole):
            held = assumed_role(role.base, token_service, region, network)()
            base = AwsKeys(held["access_key_id"], held["secret_access_key"], held["token"], role.base.origin)
        else:
            base = role.base
        query = {
            "Action": "AssumeRole",
            "Version": "2011-06-15",
            "RoleArn": role.role,
            "RoleSessionName": role.session,
            **({"ExternalId": role.external_id} if role.external_id else {}),
        }
        body, url = urlencode(query), f"{token_service}/"
        headers = signed_headers(
            "POST",
            url,
            base,
            region=region,
            service="sts",
            now=datetime.now(timezone.utc),
            headers={"content-type": "application/x-www-form-urlencoded"},
            body=body,
        )
        return _in_answer(_ask("POST", url, role.origin, headers, body, network), role.origin)

    return keys


def _in_answer(text: str, origin: str) -> "S3Credential":
    """The keys in an answer of the token service."""
    found = {
        name: match[1]
        for name in ("AccessKeyId", "SecretAccessKey", "SessionToken", "Expiration")
        if (match := re.search(rf"<{name}>\s*([^<]+?)\s*</{name}>", text))
    }
    return _credential(found, found.get("SessionToken"), origin)


def machine_role(role: MachineRole) -> "Callable[[], S3Credential]":
    """A provider that asks the container's service, or the machine's (IMDSv2), for the role's keys."""

    def keys() -> "S3Credential":
        if role.url:
            headers = {"Authorization": role.authorization} if role.authorization else {}
            text = _ask("GET", role.url, role.origin, headers)
        else:
            seconds = {"X-aws-ec2-metadata-token-ttl-seconds": "300"}
            token = _ask("PUT", f"{_MACHINE}/latest/api/token", role.origin, seconds)
            headers = {"X-aws-ec2-metadata-token": token}
            base = f"{_MACHINE}/latest/meta-data/iam/security-credentials/"
            name = _ask("GET", base, role.origin, headers).split("\n")[0].strip()
            text = _ask("GET", base + name, role.origin, headers)
        found = json.loads(text)
        return _credential(found, found.get("Token"), role.origin)

    return keys


def _credential(found: dict[str, str], token: str | None, origin: str) -> "S3Credential":
    try:
        return {
            "access_key_id": found["AccessKeyId"],
            "secret_access_key": found["SecretAccessKey"],
            "token": token,
            "expires_at": datetime.fromisoformat(found["Expiration"].replace("Z", "+00:00")),
        }
    except (KeyError, ValueError):
        raise AccessDeniedError(f"the answer for {origin} holds no keys") from None


def _ask(
    method: str,
    url: str,
    origin: str,
    headers: dict[str, str],
    body: str | None = None,
    network: Network | None = None,
) -> str:
    """The text of an answer with status 200."""
    from urllib3.exceptions import HTTPError

    try:
        answer = ask(method, url, network, headers=headers, body=body)
    except HTTPError:
        raise UnavailableError(f"the service that gives out the keys for {origin} does not answer") from None
    if answer.status != 200:
        raise _refused(origin, answer.status, answer.data.decode(errors="replace"))
    return answer.data.decode()


def _refused(origin: str, status: int, text: str) -> ConverterError:
    code = re.search(r"<Code>(\w+)</Code>", text)
    if status >= 500 or status == 429:
        return UnavailableError(f"the service that gives out the keys for {origin} answered {status}")
    return AccessDeniedError(
        f"no keys for {origin}: answered {status}{f' ({code[1]})' if code else ''}",
        hint="check the role, its trust policy and the token",
    )
