"""A tracking server's REST API: where it is, who asks, and what its answers mean.

Calls and answers: MLflow 1.30 to 3.18. Settings are those of MLflow's own client.
"""

import base64
import json
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import cast
from urllib.parse import quote, urlencode

from ovms_converter.errors import (
    AccessDeniedError,
    ConverterError,
    LocationError,
    NotFoundError,
    RequestError,
)
from ovms_converter.storage.http_client import HttpClient, Refused, told
from ovms_converter.storage.http_connection import add_authorities, trusted_context
from ovms_converter.storage.http_head import looks_like_html
from ovms_converter.storage.http_resource import Resource
from ovms_converter.storage.http_retry import HttpLimits
from ovms_converter.storage.http_url import HttpUrl
from ovms_converter.storage.settings import first, is_on

__all__ = ["Json", "TrackingServer"]

Json = Mapping[str, object]

_API = "/api/2.0/mlflow/"
_ARTIFACTS = "/api/2.0/mlflow-artifacts/artifacts"
_ANSWER_BYTES = 64 << 20
_UNKNOWN = frozenset({"RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"})


@dataclass(frozen=True)
class _Problem:
    """What an error answer of MLflow tells."""

    code: str = ""
    message: str = field(default="", repr=False)


class TrackingServer:
    """The server at `base`, reached by `client`; `headers` with the credentials go to it and nowhere else."""

    def __init__(self, client: HttpClient, base: HttpUrl, headers: Mapping[str, str]) -> None:
        self.client = client
        self._base = base
        self._headers = headers

    @classmethod
    def from_environment(
        cls, environ: Mapping[str, str], host: str = "", limits: HttpLimits | None = None
    ) -> "TrackingServer":
        """The server of `MLFLOW_TRACKING_URI`, or the one at `host` if that is given.

        Credentials go to `host` only if it is the tracking server's, or if no tracking server is set. Raises
        `RequestError` for settings that are missing, wrong or contradict each other.
        """
        text = environ.get("MLFLOW_TRACKING_URI", "").strip()
        base = _tracking_url(text) if text or not host else None
        if host:
            own = base is not None and base.authority == HttpUrl.parse(f"{base.scheme}://{host}").authority
            if not own:
                scheme = base.scheme if base is not None else "http"
                named = HttpUrl.parse(f"{scheme}://{host}")
                headers = {} if base is not None else _credentials(environ)
                return cls(_client(environ, limits), named, headers)
        assert base is not None, "without a host the tracking server is required"
        return cls(_client(environ, limits), base, _credentials(environ))

    @property
    def shown(self) -> str:
        """The server's address as it may be printed."""
        return str(self._base).rstrip("/")

    def get(self, call: str, query: Mapping[str, str], what: str) -> Json:
        """The answer to a GET of this call of the API; `what` is asked for, for the error.

        Raises `NotFoundError`, `AccessDeniedError`, `LocationError` or `UnavailableError`.
        """
        return self._ask(self._url(_API + call, query), what)

    def post(self, call: str, content: Json, what: str) -> Json:
        """The answer to a POST that changes nothing at the server. Raises as `get` does."""
        return self._ask(self._url(_API + call, {}), what, json.dumps(content).encode())

    def artifacts(self, path: str) -> Json:
        """One level of the artifacts that are read through the server. Raises as `get` does."""
        return self._ask(self._url(_ARTIFACTS, {"path": path}), f"artifacts at `{path}`")

    def artifact(self, path: str) -> Resource:
        """One file of them."""
        return Resource(self.client, self._url(f"{_ARTIFACTS}/{quote(path)}", {}), self._headers)

    def _url(self, path: str, query: Mapping[str, str]) -> HttpUrl:
        base = self._base.path.rstrip("/")
        return replace(self._base, path=base + path, query=urlencode(query, quote_via=quote))

    def _ask(self, url: HttpUrl, what: str, body: bytes | None = None) -> Json:
        headers = {"accept": "application/json"} | ({"content-type": "application/json"} if body else {})
        try:
            _, _, answer = self.client.get(
                url,
                headers,
                limit=_ANSWER_BYTES,
                secret_headers=self._headers,
                method="POST" if body else "GET",
                body=body,
            )
        except Refused as refused:
            raise self._meaning(refused, what) from None
        try:
            content = json.loads(answer)
        except ValueError:
            content = None
        if not isinstance(content, dict):
            page = "a web page, perhaps to sign in," if looks_like_html(answer[:4096]) else "something else"
            raise LocationError(
                f"`{self.shown}` does not answer as an MLflow server: {page} came in place of JSON",
                hint="check MLFLOW_TRACKING_URI, and set MLFLOW_TRACKING_TOKEN if the server wants one",
            )
        return cast(Json, content)

    def _meaning(self, refused: Refused, what: str) -> ConverterError:
        """The error that an answer of this server means."""
        if refused.status == 403 and "Invalid Host header" in refused.snippet:
            return AccessDeniedError(
                f"the MLflow server at `{self.shown}` does not answer to the host name `{self._base.host}`: "
                "403 Invalid Host header",
                hint=f"start it with `--allowed-hosts {self._base.authority}`, or use its IP address",
            )
        if refused.status in {401, 403}:
            return AccessDeniedError(
                f"the MLflow server at `{self.shown}` denies access to {what}: {refused}",
                hint="set MLFLOW_TRACKING_TOKEN, or MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD"
                if not self._headers
                else "check the credentials in MLFLOW_TRACKING_*, and what they may read",
            )
        problem = _problem(refused.snippet)
        if problem.code in _UNKNOWN and ("not found" in problem.message.lower() or refused.status == 404):
            return NotFoundError(
                f"the MLflow server at `{self.shown}` has no {what}",
                hint="check the name at the server; a deleted run or version counts as none",
            )
        if refused.status == 404:
            return NotFoundError(
                f"the MLflow server at `{self.shown}` does not know the call for {what}",
                hint="check MLFLOW_TRACKING_URI; aliases need MLflow 2.3 or newer, `models:/m-…` MLflow 3",
            )
        if problem.code:
            return LocationError(
                f"the MLflow server at `{self.shown}` refuses to tell {what}: {problem.code}",
            )
        return told(refused, self.shown)


def _problem(text: str) -> _Problem:
    try:
        content = json.loads(text)
    except ValueError:
        return _Problem()
    if not isinstance(content, dict):
        return _Problem()
    code = str(content.get("error_code", ""))
    return _Problem(
        code if code.isascii() and code.replace("_", "").isalnum() else "", str(content.get("message", ""))
    )


def _tracking_url(text: str) -> HttpUrl:
    if not text:
        raise RequestError(
            "`MLFLOW_TRACKING_URI` is not set, and an MLflow URI is read through its server",
            hint="set MLFLOW_TRACKING_URI=https://host:port",
        )
    try:
        return replace(HttpUrl.parse(text), query="")
    except RequestError:
        raise RequestError(
            "`MLFLOW_TRACKING_URI` is not the http(s) URL of a tracking server",
            hint="databases and directories are not read: start `mlflow server` on them, and give its URL",
        ) from None


def _credentials(environ: Mapping[str, str]) -> dict[str, str]:
    """The header for user and password, else for the token: MLflow's own order."""
    user = environ.get("MLFLOW_TRACKING_USERNAME", "").strip()
    password = environ.get("MLFLOW_TRACKING_PASSWORD", "").strip()
    token = environ.get("MLFLOW_TRACKING_TOKEN", "").strip()
    if user and password:
        pair = base64.b64encode(f"{user}:{password}".encode()).decode("ascii")
        return {"authorization": f"Basic {pair}"}
    if user or password:
        missing = "PASSWORD" if user else "USERNAME"
        raise RequestError(f"`MLFLOW_TRACKING_{missing}` is missing: user name and password are a pair")
    return {"authorization": f"Bearer {token}"} if token else {}


def _client(environ: Mapping[str, str], limits: HttpLimits | None) -> HttpClient:
    insecure = is_on(first(environ, "certificates", "MLFLOW_TRACKING_INSECURE_TLS"))
    authorities = first(environ, "CA bundle", "MLFLOW_TRACKING_SERVER_CERT_PATH")
    certificate = first(environ, "client certificate", "MLFLOW_TRACKING_CLIENT_CERT_PATH")
    if insecure and authorities:
        raise RequestError(
            "`MLFLOW_TRACKING_INSECURE_TLS` and `MLFLOW_TRACKING_SERVER_CERT_PATH` contradict each other",
            hint="unset one of them",
        )

    def context() -> ssl.SSLContext:
        context = trusted_context(environ)
        if authorities:
            add_authorities(context, authorities.value, authorities.origin)
        if certificate:
            try:
                context.load_cert_chain(certificate.value)
            except OSError:
                raise RequestError(
                    f"{certificate.origin} names `{certificate.value}`, which is no certificate with its key"
                ) from None
        if insecure:
            import warnings

            from urllib3.exceptions import InsecureRequestWarning

            # The user asked for it by name: a warning for every request tells nothing new.
            warnings.simplefilter("ignore", InsecureRequestWarning)
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        return context

    return HttpClient(environ, limits or HttpLimits.from_environment(environ), context)
