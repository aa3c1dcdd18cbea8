"""Keep secrets out of everything that is printed, whoever wrote the text.

Two nets: the values of the variables that hold secrets, in every notation in which a text may carry them,
and the places in a text where secrets stand (a URL's user name, password and query, a signature, an
authorization header).
"""

import base64
import json
import re
from collections.abc import Iterator, Mapping
from urllib.parse import quote, quote_plus

__all__ = ["MASK", "Redactor"]

MASK = "***"

_SECRET_NAME = re.compile(
    r"SECRET|PASSWORD|PASSWD|PASSPHRASE|CONNECTION_STRING|CREDENTIALS?$|"
    r"(?:TOKEN|SAS|SAS_KEY|SIGNATURE|ACCESS_KEY|ACCOUNT_KEY|SERVICE_ACCOUNT_KEY|API_KEY|STORAGE_KEY|MASTER_KEY|PRIVATE_KEY)$|"
    r"-HEADERS$",
    re.IGNORECASE,
)
_KEY_NAME = re.compile(r"ACCESS_KEY_ID$", re.IGNORECASE)
_SHORTEST = 4
"""Values below this hide nothing and would mask every second word."""
_SHORT = 8
"""Values below this are masked only where they stand alone: `test` is a password, and part of many names."""
_SHORTEST_KEY = 12
"""Key ids below this are user names such as `minio`, which are no secret and part of many host names."""

_URL = re.compile(r"\b([A-Za-z][A-Za-z0-9+.-]*)://([^\s'\"`<>]*)")
_AZURE = {"az", "azure", "abfs", "abfss", "wasb", "wasbs"}
_MARKS = re.compile(
    r"((?:\bX-(?:Amz|Goog)-(?:Signature|Credential|Security-Token)|\bsig|\bSignature|\bAccountKey|"
    r"\bSharedAccessSignature|\bAWSAccessKeyId)=)[^\s&;,'\"`<>]+",
    re.IGNORECASE,
)
_HEADERS = re.compile(
    r"(\b(?:Authorization|Private-Token|X-Api-Key|Cookie)['\"]?\s*[:=]\s*)[^\r\n]+", re.IGNORECASE
)
_BEARER = re.compile(r"(\b(?:Bearer|Basic)\s+)[A-Za-z0-9+/=._~-]{8,}")
_PRIVATE_KEY = re.compile(
    r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)", re.DOTALL
)


class Redactor:
    """Masks secrets in texts."""

    def __init__(self, secrets: Mapping[str, bool]) -> None:
        """`secrets` maps each value to whether it is masked inside longer words too."""
        whole = sorted((value for value, inside in secrets.items() if inside), key=len, reverse=True)
        alone = sorted((value for value, inside in secrets.items() if not inside), key=len, reverse=True)
        patterns = [re.escape(value) for value in whole]
        patterns += [rf"(?<![\w./-]){re.escape(value)}(?![\w./-])" for value in alone]
        self._values = re.compile("|".join(patterns)) if patterns else None

    @classmethod
    def from_environment(cls, environ: Mapping[str, str]) -> "Redactor":
        """Know the values of all variables whose names say that they are secret."""
        secrets: dict[str, bool] = {}
        for name, value in environ.items():
            if name.upper().endswith(("_FILE", "_PATH", "_ENDPOINT", "_URL", "APPLICATION_CREDENTIALS")):
                continue
            if _SECRET_NAME.search(name):
                for notation in _notations(value):
                    if len(notation) >= _SHORTEST:
                        secrets[notation] = len(notation) >= _SHORT
            elif _KEY_NAME.search(name) and len(value.strip()) >= _SHORTEST_KEY:
                secrets[value.strip()] = True
        for user, password in _pairs(environ):
            secrets[base64.b64encode(f"{user}:{password}".encode()).decode()] = True
        return cls(secrets)

    def scrub(self, text: str) -> str:
        """The text without any secret that is known or stands where secrets stand."""
        if self._values:
            text = self._values.sub(MASK, text)
        text = _PRIVATE_KEY.sub(MASK, text)
        text = _HEADERS.sub(rf"\1{MASK}", text)
        text = _BEARER.sub(rf"\1{MASK}", text)
        text = _URL.sub(_without_userinfo_and_query, text)
        return _MARKS.sub(rf"\1{MASK}", text)


def _notations(value: str) -> Iterator[str]:
    """A secret as it may stand in a text: as it is, stripped, encoded for a URL or for JSON, in one line,
    and its parts.
    """
    plain = value.strip()
    for form in (value, plain):
        yield form
        yield quote(form, safe="")
        yield quote(form)
        yield quote_plus(form)
        yield json.dumps(form)[1:-1]
        yield json.dumps(form, ensure_ascii=False)[1:-1]
        yield repr(form)[1:-1]
        yield " ".join(form.split())
    if "AccountKey=" in plain or "SharedAccessSignature=" in plain:
        for part in plain.split(";"):
            name, _, secret = part.partition("=")
            if name in ("AccountKey", "SharedAccessSignature"):
                yield secret
    if plain.startswith("{"):
        yield from _json_parts(plain)


def _json_parts(text: str) -> Iterator[str]:
    """The secret members of a JSON object, such as a service account's key or extra headers."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return
    for name, member in found.items():
        if isinstance(member, str) and name not in (
            "type",
            "project_id",
            "auth_uri",
            "token_uri",
            "universe_domain",
        ):
            yield member
            yield json.dumps(member)[1:-1]


def _pairs(environ: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """User names with their passwords, which HTTP's basic authorization joins."""
    for name, password in environ.items():
        if name.upper().endswith("PASSWORD") and password:
            user = environ.get(re.sub("PASSWORD$", "USERNAME", name, flags=re.IGNORECASE), "")
            yield user, password


def _without_userinfo_and_query(match: re.Match[str]) -> str:
    scheme, rest = match[1], match[2]
    base, mark, _ = rest.partition("?")
    host, slash, path = base.partition("/")
    userinfo, at, server = host.rpartition("@")
    # `container@account` is how Azure writes a place.
    if at and not (scheme.lower() in _AZURE and ":" not in userinfo):
        host = f"{MASK}@{server}"
    return f"{scheme}://{host}{slash}{path}{f'?{MASK}' if mark else ''}"
