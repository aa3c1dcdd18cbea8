"""Read what an MLflow URI names: ask the tracking server where it is, then read it there.

Where it is may be a store (`s3://…`), a directory that this machine sees too, or the server itself
(`mlflow-artifacts:`).
"""

import re
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path

from ovms_converter.errors import ConverterError, LocationError, NotFoundError, RequestError
from ovms_converter.storage.base import FetchedTree, Listing, Progress, Source
from ovms_converter.storage.http_retry import HttpLimits
from ovms_converter.storage.location import SCHEMES, Location
from ovms_converter.storage.mlflow_artifacts import ArtifactSource
from ovms_converter.storage.mlflow_server import Json, TrackingServer
from ovms_converter.storage.mlflow_uri import Artifacts, LoggedModel, RegisteredModel, RunArtifacts, parse_uri

__all__ = ["MlflowSource", "open_source", "resolve"]

_MAX_STEPS = 5
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):")


def open_source(location: Location, environ: Mapping[str, str]) -> "MlflowSource":
    """A source for an MLflow URI. Raises `RequestError` where it or a setting is wrong."""
    return MlflowSource(location, environ)


class MlflowSource:
    """A `Source` that learns from the tracking server, when it is first used, which other source to read."""

    def __init__(
        self, location: Location, environ: Mapping[str, str], limits: HttpLimits | None = None
    ) -> None:
        self._location = location
        self._environ = environ
        self._uri = parse_uri(location)
        host = self._uri.host if isinstance(self._uri, Artifacts) else ""
        self._server = TrackingServer.from_environment(environ, host, limits)
        self._limits = limits
        self._lock = threading.Lock()
        self._found: Source | None = None

    @property
    def location(self) -> Location:
        """Where this reads."""
        return self._location

    def list(self) -> Listing:
        """All files of the model or directory that the URI names."""
        return self._source().list()

    def read(self, path: str, start: int = 0, length: int | None = None) -> bytes:
        """Up to `length` bytes of one file from offset `start`; all of the rest if `length` is None."""
        return self._source().read(path, start, length)

    def size_of(self, path: str) -> int | None:
        """See `Source.size_of`."""
        return self._source().size_of(path)

    def reads_parts(self, path: str) -> bool:
        """See `Source.reads_parts`."""
        return self._source().reads_parts(path)

    def fetch(self, paths: Sequence[str], directory: Path, progress: Progress) -> FetchedTree:
        """Bring these files below `directory`."""
        return self._source().fetch(paths, directory, progress)

    @property
    def place(self) -> str | None:
        """See `Source.place`: where the tracking server says that the files are."""
        return self._source().place

    def etag(self, path: str) -> str | None:
        """See `Source.etag`."""
        return self._source().etag(path)

    def has_still(self, etags: Mapping[str, str]) -> bool:
        """See `Source.has_still`."""
        return self._source().has_still(etags)

    def _source(self) -> Source:
        with self._lock:
            if self._found is None:
                self._found = self._find()
            return self._found

    def _find(self) -> Source:
        place = self._location if isinstance(self._uri, Artifacts) else resolve(self._location, self._server)
        if place.scheme == "mlflow-artifacts":
            uri = parse_uri(place)
            assert isinstance(uri, Artifacts)
            server = self._server
            if uri.host and place != self._location:
                server = TrackingServer.from_environment(self._environ, uri.host, self._limits)
            return ArtifactSource(self._location, server, uri.path)
        from ovms_converter.storage import open_source as open_any

        if place.scheme == "file" and not Path(place.path).exists():
            raise NotFoundError(
                f"`{self._location}` is at `{place.path}` on the tracking server's disk, not on this machine",
                hint="start the server with `--artifacts-destination`, or mount that disk here",
            )
        return open_any(place, self._environ)


def resolve(location: Location, server: TrackingServer) -> Location:
    """Where the files of an MLflow URI are: a location that is no `runs:` or `models:` one.

    Raises `NotFoundError`, `AccessDeniedError`, `UnavailableError`, or `LocationError` for a place that
    nobody here can read.
    """
    place = location
    for _ in range(_MAX_STEPS):
        if place.scheme not in {"runs", "models"}:
            return place
        place = _place(_artifact_uri(place, server), location)
    raise LocationError(f"the tracking server sends `{location}` from one MLflow URI to the next")


def _place(uri: str, location: Location) -> Location:
    """The location that the server tells. Raises `LocationError` if it is none that is read here."""
    scheme = _SCHEME.match(uri)
    # Of a relative path the parser would make one of this machine: `dbfs:/models` is none.
    problem = f"`{scheme[1]}:` is not known here" if scheme and scheme[1].lower() not in SCHEMES else None
    try:
        place = Location.parse(uri)
    except RequestError as refusal:
        problem = refusal.message
    if problem:
        raise LocationError(
            f"the tracking server tells a place for `{location}` that cannot be read: {problem}",
            hint="read are s3://, gs://, az://, http(s)://, mlflow-artifacts:/ and directories",
        )
    return place


def _artifact_uri(location: Location, server: TrackingServer) -> str:
    uri = parse_uri(location)
    if isinstance(uri, RunArtifacts):
        return _of_run(uri, server)
    if isinstance(uri, LoggedModel):
        return _below(_text(_logged_model(uri.model_id, server), "artifact_uri"), uri.path)
    assert isinstance(uri, RegisteredModel), "artifacts are a place already"
    version = uri.version or _version(uri, server)
    answer = server.get(
        "model-versions/get-download-uri",
        {"name": uri.name, "version": version},
        f"version {version} of the model `{uri.name}`",
    )
    return _below(_text(answer, "artifact_uri"), uri.path)


def _version(uri: RegisteredModel, server: TrackingServer) -> str:
    """The number of the version that an alias or stage stands for, the newest of several."""
    if uri.alias is not None:
        what = f"model `{uri.name}` with the alias `{uri.alias}`"
        answer = server.get("registered-models/alias", {"name": uri.name, "alias": uri.alias}, what)
        return _text(_object(answer, "model_version"), "version")
    stage = uri.stage or "latest"
    content: Json = {"name": uri.name}
    if stage.lower() != "latest":
        content = {"name": uri.name, "stages": [stage]}
    answer = server.post("registered-models/get-latest-versions", content, f"model `{uri.name}`")
    versions = [_text(version, "version") for version in _objects(answer, "model_versions")]
    if not versions:
        where = "any version" if stage.lower() == "latest" else f"a version in the stage `{stage}`"
        raise NotFoundError(
            f"the model `{uri.name}` at `{server.shown}` does not have {where}",
            hint="stages are Production, Staging, Archived, None; an alias is `models:/NAME@ALIAS`",
        )
    return max(versions, key=lambda version: (len(version), version))


def _of_run(uri: RunArtifacts, server: TrackingServer) -> str:
    """The place of a run's artifact. Since MLflow 3 a model is beside the run, and the run names it."""
    answer = server.get("runs/get", {"run_id": uri.run_id}, f"run `{uri.run_id}`")
    run = _object(answer, "run")
    name, _, rest = uri.path.partition("/")
    outputs = run.get("outputs")
    models = _objects(outputs, "model_outputs") if isinstance(outputs, dict) else []
    for model in reversed(models):
        info = _logged_model(_text(model, "model_id"), server)
        if name and info.get("name") == name:
            return _below(_text(info, "artifact_uri"), rest)
    return _below(_text(_object(run, "info"), "artifact_uri"), uri.path)


def _logged_model(model_id: str, server: TrackingServer) -> Json:
    answer = server.get(f"logged-models/{model_id}", {}, f"logged model `{model_id}`")
    return _object(_object(answer, "model"), "info")


def _below(uri: str, path: str) -> str:
    return f"{uri.rstrip('/')}/{path}" if path else uri


def _object(content: Json, key: str) -> Json:
    value = content.get(key)
    if not isinstance(value, dict):
        raise _odd_answer(key)
    return value


def _objects(content: Json, key: str) -> Sequence[Json]:
    value = content.get(key, [])
    if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
        raise _odd_answer(key)
    return value


def _text(content: Json, key: str) -> str:
    value = content.get(key)
    if not isinstance(value, str | int) or not str(value).strip():
        raise _odd_answer(key)
    return str(value).strip()


def _odd_answer(key: str) -> ConverterError:
    return LocationError(
        f"the tracking server's answer has no usable `{key}`",
        hint="check that MLFLOW_TRACKING_URI is an MLflow server",
    )
