"""Storage: a URL ↔ files on this machine. One module a scheme; it is imported when a location of its scheme
is opened.

A module of a scheme has `open_source(location, environ) -> Source` and, if the scheme can be written,
`open_destination(location, environ) -> Destination`, and `explain(location, environ, side)` if it has
settings. Opening reads settings and reaches no server.
"""

import importlib
from collections.abc import Mapping
from types import ModuleType

from ovms_converter.errors import RequestError
from ovms_converter.storage.base import Destination, Side, Source
from ovms_converter.storage.location import Location
from ovms_converter.storage.settings import Setting

__all__ = ["MODULES", "explain", "open_destination", "open_source"]

MODULES = {
    "file": "local",
    "s3": "s3",
    "gs": "gs",
    "az": "az",
    "http": "http",
    "https": "http",
    "runs": "mlflow",
    "models": "mlflow",
    "mlflow-artifacts": "mlflow",
}
"""Scheme → the module of this package that serves it."""


def open_source(location: Location, environ: Mapping[str, str]) -> Source:
    """The location as something to read, with the credentials that `environ` has for it.

    Raises `RequestError` if the settings contradict themselves.
    """
    source: Source = _module(location).open_source(location, environ)
    return source


def open_destination(
    location: Location, environ: Mapping[str, str], source: Location | None = None
) -> Destination:
    """The location as something to write, with `OUTPUT_*` settings before the input's.

    `source` is the input's location, if there is one: `S3_ENDPOINT` is also a `gs://` output's only if it
    was the `gs://` input's. Raises `RequestError` if the scheme cannot be written or the settings contradict
    themselves.
    """
    module = _module(location)
    if not hasattr(module, "open_destination"):
        raise RequestError(
            f"nothing can be written to `{location}`: `{location.scheme}` is only read",
            hint="give a destination with `s3://`, `gs://`, `az://`, `http(s)://` or a local path",
            parameter="output_model",
        )
    if (
        source
        and source.scheme == location.scheme == "gs"
        and not environ.get("OUTPUT_S3_ENDPOINT", "").strip()
    ):
        environ = {**environ, "OUTPUT_S3_ENDPOINT": environ.get("S3_ENDPOINT", "")}
    destination: Destination = module.open_destination(location, environ)
    return destination


def explain(location: Location, environ: Mapping[str, str], side: Side) -> tuple[Setting, ...]:
    """Every setting that counts for a location, where it came from, and no secret: what `doctor` prints.

    Raises `RequestError` where opening it would.
    """
    module = _module(location)
    if not hasattr(module, "explain"):
        return ()
    settings: tuple[Setting, ...] = module.explain(location, environ, side)
    return settings


def _module(location: Location) -> ModuleType:
    return importlib.import_module(f"ovms_converter.storage.{MODULES[location.scheme]}")
