"""One setting of a store: which variable won, and where its value came from.

A variable that is set but empty counts as not given. On the output side `OUTPUT_*` comes before the input's.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from ovms_converter.errors import RequestError
from ovms_converter.storage.base import Side

__all__ = ["Setting", "first", "is_on", "prefixes"]

_TRUE = {"1", "true", "yes", "on", "y", "t"}
_FALSE = {"0", "false", "no", "off", "n", "f"}


@dataclass(frozen=True)
class Setting:
    """One setting that counts: what it decides, its value, and where the value came from."""

    name: str
    value: str = field(repr=False)
    origin: str
    secret: bool = False

    def __str__(self) -> str:
        """The value as it may be printed."""
        return "(hidden)" if self.secret else self.value


def first(environ: Mapping[str, str], name: str, *variables: str, secret: bool = False) -> Setting | None:
    """The first of these variables that holds something."""
    for variable in variables:
        value = environ.get(variable, "").strip()
        if value:
            return Setting(name, value, f"`{variable}`", secret)
    return None


def prefixes(side: Side) -> tuple[str, ...]:
    """The prefixes of variables that count on a side, the strongest first."""
    return ("OUTPUT_", "") if side is Side.OUTPUT else ("",)


def is_on(setting: Setting | None) -> bool | None:
    """A switch as a boolean, None if it is not given. Raises `RequestError` for any other word."""
    if setting is None:
        return None
    word = setting.value.lower()
    if word not in _TRUE | _FALSE:
        raise RequestError(f"{setting.origin} is `{setting.value}`, which is neither true nor false")
    return word in _TRUE
