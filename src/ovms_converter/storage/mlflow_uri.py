"""MLflow's own URIs, taken apart."""

import re
from dataclasses import dataclass
from typing import TypeAlias

from ovms_converter.errors import RequestError
from ovms_converter.storage.location import Location

__all__ = ["Artifacts", "LoggedModel", "MlflowUri", "RegisteredModel", "RunArtifacts", "parse_uri"]

_LOGGED_MODEL = re.compile(r"m-[0-9a-f]{32}")
_HINT = "write `runs:/RUN_ID/PATH`, `models:/NAME/VERSION`, `models:/NAME@ALIAS` or `mlflow-artifacts:/PATH`"


@dataclass(frozen=True)
class RunArtifacts:
    """`runs:/<run_id>/<path>`: what a run logged; `path` may be empty."""

    run_id: str
    path: str


@dataclass(frozen=True)
class RegisteredModel:
    """`models:/<name>/<version or stage>` or `models:/<name>@<alias>`, with a `path` inside the model or "".

    Exactly one of `version` (a number as text), `stage` (`latest` for the newest version) and `alias` is set.
    """

    name: str
    path: str
    version: str | None = None
    stage: str | None = None
    alias: str | None = None


@dataclass(frozen=True)
class LoggedModel:
    """`models:/m-<32 hex digits>`: a model of MLflow 3 before anybody registered it."""

    model_id: str
    path: str


@dataclass(frozen=True)
class Artifacts:
    """`mlflow-artifacts:/<path>` or `mlflow-artifacts://<host>/<path>`: read through that server.

    `host` is "" for the tracking server.
    """

    host: str
    path: str


MlflowUri: TypeAlias = RunArtifacts | RegisteredModel | LoggedModel | Artifacts


def parse_uri(location: Location) -> MlflowUri:
    """What an MLflow location names. Raises `RequestError` where it has no form that MLflow knows."""
    if location.scheme == "mlflow-artifacts":
        return Artifacts(location.container, location.path)
    if location.container:
        raise RequestError(f"`{location}` names a host, and an MLflow URI of this kind has none", hint=_HINT)
    first, _, rest = location.path.partition("/")
    if location.scheme == "runs" and first:
        return RunArtifacts(first, rest)
    if location.scheme == "models" and first:
        return _model(location, first, rest)
    raise RequestError(f"`{location}` is not an MLflow URI", hint=_HINT)


def _model(location: Location, first: str, rest: str) -> MlflowUri:
    if _LOGGED_MODEL.fullmatch(first):
        return LoggedModel(first, rest)
    name, at, alias = first.partition("@")
    if at and name and alias:
        return RegisteredModel(name, rest, alias=alias)
    choice, _, path = rest.partition("/")
    if at or not choice:
        raise RequestError(
            f"`{location}` names a model, but not which version of it",
            hint=f"write `models:/{name}/1`, `models:/{name}@ALIAS` or `models:/{name}/latest`",
        )
    if choice.isascii() and choice.isdigit():
        return RegisteredModel(name, path, version=choice)
    return RegisteredModel(name, path, stage=choice)
