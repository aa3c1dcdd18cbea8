"""The values of Model Optimizer's arguments. The grammar reads `str()` of each as the same value."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

__all__ = [
    "ELEMENT_TYPES",
    "ChannelValues",
    "Dimension",
    "Frozen",
    "InputEntry",
    "Layout",
    "LayoutChange",
    "Scalar",
    "Shape",
    "Transformation",
    "Value",
]

Scalar: TypeAlias = bool | int | float

ELEMENT_TYPES: Mapping[str, str] = {
    name: name
    for name in ("f64", "f32", "f16", "bf16", "i64", "i32", "i16", "i8", "u64", "u32", "u16", "u8", "boolean")
} | {"bool": "boolean"}
"""Spelling of an element type in `{}` → openvino's name of it."""


@dataclass(frozen=True)
class Dimension:
    """A dimension from `low` to `high`, both included; no `high` means no bound. Static if they are equal."""

    low: int = 0
    high: int | None = None

    @property
    def static(self) -> bool:
        """Whether there is one size only."""
        return self.low == self.high

    def __str__(self) -> str:
        if self.static:
            return str(self.low)
        if self == Dimension():
            return "?"
        return f"{self.low or ''}..{'' if self.high is None else self.high}"


@dataclass(frozen=True)
class Shape:
    """The dimensions of a tensor in the framework's own order; none for a scalar."""

    dimensions: tuple[Dimension, ...]

    @property
    def elements(self) -> int | None:
        """The number of elements, None if a dimension is not static."""
        count = 1
        for dimension in self.dimensions:
            if not dimension.static:
                return None
            count *= dimension.low
        return count

    def __str__(self) -> str:
        return f"[{','.join(map(str, self.dimensions))}]"


@dataclass(frozen=True)
class Value:
    """A constant: one number or truth value, or a list of them."""

    items: tuple[Scalar, ...]
    is_list: bool

    def __str__(self) -> str:
        text = " ".join(repr(item) for item in self.items)
        return f"[{text}]" if self.is_list else text


@dataclass(frozen=True)
class InputEntry:
    """One entry of `input`. No `name`: it goes by its position. `type` is openvino's name of the type."""

    name: str
    shape: Shape | None = None
    type: str | None = None
    value: Value | None = None

    def __str__(self) -> str:
        shape = "" if self.shape is None else str(self.shape)
        element = "" if self.type is None else f"{{{self.type}}}"
        value = "" if self.value is None else f"->{self.value}"
        return f"{self.name}{shape}{element}{value}"


@dataclass(frozen=True)
class Frozen:
    """One entry of `freeze_placeholder_with_value`."""

    name: str
    value: Value

    def __str__(self) -> str:
        return f"{self.name}->{self.value}"


@dataclass(frozen=True)
class ChannelValues:
    """One list of `mean_values` or `scale_values`: for each channel or for all; unnamed: by position."""

    name: str
    values: tuple[float, ...]

    def __str__(self) -> str:
        return f"{self.name}[{','.join(map(repr, self.values))}]"


@dataclass(frozen=True)
class Layout:
    """The names of a tensor's dimensions, in capitals; `?` is any one, `...` any number of them."""

    dimensions: tuple[str, ...]

    def __str__(self) -> str:
        return f"[{','.join(self.dimensions)}]"


@dataclass(frozen=True)
class LayoutChange:
    """The layout that an input or output has in the model and shall have; unnamed: by position."""

    name: str
    source: Layout | None
    target: Layout | None = None

    def __str__(self) -> str:
        source = "" if self.source is None else str(self.source)
        target = "" if self.target is None else f"->{self.target}"
        change = source + target
        return f"{self.name}({change})" if self.name else change


@dataclass(frozen=True)
class Transformation:
    """One entry of `transform`: its name and its arguments, of which a mapping is a tuple of pairs."""

    name: str
    arguments: tuple[tuple[str, bool | tuple[tuple[str, str], ...]], ...] = ()

    def __str__(self) -> str:
        if not self.arguments:
            return self.name
        shown = (
            f"{key}={dict(value) if isinstance(value, tuple) else value}" for key, value in self.arguments
        )
        return f"{self.name}[{';'.join(shown)}]"
