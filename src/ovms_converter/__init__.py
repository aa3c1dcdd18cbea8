"""Turns a trained model at a URL into a model repository that OpenVINO Model Server serves.

>>> import ovms_converter
>>> ovms_converter.convert("s3://bucket/model", "s3://bucket/model/ovms", batch=1).url  # doctest: +SKIP
's3://bucket/model/ovms'
"""

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from ovms_converter import events
from ovms_converter._version import __version__
from ovms_converter.errors import ConverterError

if TYPE_CHECKING:
    from ovms_converter.pipeline import Outcome

__all__ = ["ConverterError", "__version__", "convert"]


def convert(
    input_model: str,
    output_model: str | None = None,
    *,
    environ: Mapping[str, str] | None = None,
    listener: events.Listener = events.ignore,
    **parameters: str | bool | float | Sequence[int] | None,
) -> "Outcome":
    """Convert the model at a URL or path and publish it as a new version; what the command `convert` does.

    `parameters` are the command's, by name (`batch=1`, `mean_values="[127.5]"`, `input_shape=[1, 9]`).
    `environ` holds the credentials, by default the process's environment; `FUSEML_*` variables are not read.
    `listener` is called with each event of `ovms_converter.events`, from any thread.

    Raises a `ConverterError`: `RequestError` before anything was started, others as their class says.
    """
    from ovms_converter.pipeline import run
    from ovms_converter.request import Given, build_request

    values = {"input_model": input_model, "output_model": output_model} | parameters
    given = {name: Given(_text(value), "argument") for name, value in values.items() if value is not None}
    return run(build_request(given), environ=os.environ if environ is None else environ, listener=listener)


def _text(value: object) -> str:
    """A Python value as it would be typed."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return value
    if isinstance(value, Sequence):
        return f"[{','.join(map(str, value))}]"
    return str(value)
