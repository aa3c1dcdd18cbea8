"""AWS's Signature Version 4, for requests that obstore does not make.

The rules: https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html
"""

import hashlib
import hmac
from collections.abc import Mapping
from datetime import datetime
from urllib.parse import urlsplit

from ovms_converter.storage.credentials import AwsKeys

__all__ = ["signed_headers"]


def signed_headers(
    method: str,
    url: str,
    keys: AwsKeys,
    *,
    region: str,
    service: str,
    now: datetime,
    headers: Mapping[str, str] | None = None,
    body: str = "",
) -> dict[str, str]:
    """The headers of a request: those that are given, in lower case, and what signs all of them.

    The path of `url` stands in it as the service takes it, and the query is sorted. `now` is in UTC.
    """
    parts = urlsplit(url)
    moment = now.strftime("%Y%m%dT%H%M%SZ")
    digest = hashlib.sha256(body.encode()).hexdigest()
    told = {
        **(headers or {}),
        "host": parts.netloc,
        "x-amz-date": moment,
        **({"x-amz-content-sha256": digest} if service == "s3" else {}),
        **({"x-amz-security-token": keys.token} if keys.token else {}),
    }
    told = dict(sorted(told.items()))
    names = ";".join(told)
    lines = (f"{name}:{value}" for name, value in told.items())
    request = "\n".join([method, parts.path, parts.query, *lines, "", names, digest])
    scope = f"{moment[:8]}/{region}/{service}/aws4_request"
    text = f"AWS4-HMAC-SHA256\n{moment}\n{scope}\n{hashlib.sha256(request.encode()).hexdigest()}"
    key = f"AWS4{keys.secret}".encode()
    for part in (*scope.split("/"), text):
        key = hmac.digest(key, part.encode(), hashlib.sha256)
    credential = f"Credential={keys.key_id}/{scope}, SignedHeaders={names}, Signature={key.hex()}"
    return told | {"authorization": f"AWS4-HMAC-SHA256 {credential}"}
