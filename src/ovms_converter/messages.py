"""What the processes of this program say to each other: one JSON object a line, errors by their class."""

import json
from collections.abc import Mapping

from ovms_converter.errors import (
    AmbiguousModelError,
    ConverterError,
    CorruptModelError,
    ModelError,
    RequestError,
    ResourceError,
    UnsupportedModelError,
    VerificationError,
)

__all__ = ["line", "restored"]

_ERRORS: Mapping[str, type[ConverterError]] = {
    kind.__name__: kind
    for kind in (
        AmbiguousModelError,
        CorruptModelError,
        ModelError,
        RequestError,
        ResourceError,
        UnsupportedModelError,
        VerificationError,
    )
}
"""Those that a child may end with: all else, a location's or an interruption, is not a child's to tell."""


def line(value: Mapping[str, object]) -> bytes:
    """One message, in ASCII whatever the locale is."""
    return json.dumps(value, ensure_ascii=True, separators=(",", ":")).encode() + b"\n"


def restored(kind: str, message: str, hint: str | None, parameter: str | None) -> ConverterError | None:
    """The error that a child ended with, of the class that `kind` names; None if no child may name it."""
    found = _ERRORS.get(kind)
    if found is None:
        return None
    if issubclass(found, RequestError):
        return found(message, hint=hint, parameter=parameter)
    return found(message, hint=hint)
