"""Turns a trained model at a URL into a model repository that OpenVINO Model Server serves.

>>> import ovms_converter
>>> ovms_converter.convert("s3://bucket/model", "s3://bucket/model/ovms", batch=1).url  # doctest: +SKIP
's3://bucket/model/ovms'
"""

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, TypeAlias, TypeGuard

from ovms_converter import events
from ovms_converter._version import __version__
from ovms_converter.errors import ConverterError, RequestError

if TYPE_CHECKING:
    from ovms_converter.pipeline import Outcome

__all__ = ["ConverterError", "__version__", "convert"]

_Item: TypeAlias = str | float | Sequence[float | None] | None
_Value: TypeAlias = str | os.PathLike[str] | float | Sequence[_Item] | Mapping[str, _Item] | None


def convert(
    input_model: str | os.PathLike[str],
    output_model: str | os.PathLike[str] | None = None,
    *,
    environ: Mapping[str, str] | None = None,
    listener: events.Listener = events.ignore,
    **parameters: _Value,
) -> "Outcome":
    """Convert the model at a URL or path and publish it as a new version; what the command `convert` does.

    `parameters` are the command's, by name, as they would be typed or as Python has them:
    `mean_values="image[1,2,3]"` or `{"image": [1, 2, 3]}`, `input_shape=[None, 9]`, `output=["a", "b"]`.
    `environ` holds the credentials, by default the process's environment; `FUSEML_*` variables are not read.
    `listener` is called with each event of `ovms_converter.events`, from any thread.

    Raises a `ConverterError`: `RequestError` before anything was started, others as their class says.
    """
    from ovms_converter.pipeline import run
    from ovms_converter.request import Given, build_request

    values: dict[str, _Value] = {"input_model": input_model, "output_model": output_model, **parameters}
    given = {
        name: Given(_text(value, name), "argument") for name, value in values.items() if value is not None
    }
    return run(build_request(given), environ=os.environ if environ is None else environ, listener=listener)


def _text(value: object, name: str) -> str:
    """A Python value as it would be typed. Raises `RequestError` for bytes."""
    if value is None:
        return "?"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, bytes | bytearray):
        raise RequestError(
            f"`{name}` is given as bytes", hint="give a text: `.decode()` makes one of bytes", parameter=name
        )
    if isinstance(value, Mapping):
        return ",".join(
            f"{key}{'' if _is_list(item) else '='}{_text(item, name)}" for key, item in value.items()
        )
    if not _is_list(value):
        return str(value)
    items = ",".join(_text(item, name) for item in value)
    are_names_or_lists = value and all(isinstance(item, str | Sequence) for item in value)
    return items if are_names_or_lists else f"[{items}]"


def _is_list(value: object) -> TypeGuard[Sequence[object]]:
    return isinstance(value, Sequence) and not isinstance(value, str)
