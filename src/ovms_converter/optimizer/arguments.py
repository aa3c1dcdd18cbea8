"""Model Optimizer's arguments as one frozen, checked value."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from functools import partial
from typing import Any

from ovms_converter.errors import RequestError
from ovms_converter.optimizer import syntax
from ovms_converter.optimizer.suggestions import counted, did_you_mean, listed
from ovms_converter.optimizer.values import (
    ChannelValues,
    Frozen,
    InputEntry,
    LayoutChange,
    Shape,
    Transformation,
)
from ovms_converter.parameters import Kind, Parameter, Support, by_name

__all__ = ["OptimizerArguments"]


@dataclass(frozen=True)
class OptimizerArguments:
    """What to do with the model.

    A field is named as its parameter, and it is empty, None or False if that was not given.

    `input` holds the shapes of `input_shape` if both were given, and `input_shape` is empty then.
    `no_ops` are the accepted arguments without an effect, each with its value.
    """

    input: tuple[InputEntry, ...] = ()
    input_shape: tuple[Shape, ...] = ()
    output: tuple[str, ...] = ()
    batch: int | None = None
    static_shape: bool = False
    freeze_placeholder_with_value: tuple[Frozen, ...] = ()
    saved_model_tags: tuple[str, ...] = ()
    signature: str | None = None
    rename: tuple[tuple[str, str], ...] = ()
    mapping_config: bool = False
    mean_values: tuple[ChannelValues, ...] = ()
    scale_values: tuple[ChannelValues, ...] = ()
    scale: float | None = None
    reverse_input_channels: bool = False
    layout: tuple[LayoutChange, ...] = ()
    source_layout: tuple[LayoutChange, ...] = ()
    target_layout: tuple[LayoutChange, ...] = ()
    nhwc_to_nchw: bool = False
    disable_nhwc_to_nchw: bool = False
    data_type: str | None = None
    compress_to_fp16: bool | None = None
    transform: tuple[Transformation, ...] = ()
    log_level: str | None = None
    framework: str | None = None
    repairs: str | None = None
    no_ops: tuple[tuple[str, str], ...] = ()

    @classmethod
    def parse(cls, values: Mapping[str, str]) -> "OptimizerArguments":
        """Read values by parameter name, as text; an empty one counts as not given.

        Parameters that do not act on the model (`input_model`, ...) are left to others. Raises `RequestError`
        for a value that cannot be read, an argument that is refused and arguments that contradict each other.
        """
        known = by_name()
        given = {name: text.strip() for name, text in values.items() if text.strip()}
        read: dict[str, Any] = {}
        no_ops: list[tuple[str, str]] = []
        for name, text in given.items():
            parameter = known.get(name)
            if parameter is None:
                raise RequestError(
                    f"there is no parameter `{name}`", hint=did_you_mean(name, known), parameter=name
                )
            if parameter.support is Support.NO_OP:
                no_ops += _no_op(parameter, text)
            elif parameter.support is Support.REFUSED:
                _refuse(parameter, text)
            elif name in _READERS:
                read[name] = _READERS[name](text)
        arguments = cls(**_shapes_of_inputs(read), no_ops=tuple(sorted(no_ops)))
        _check(arguments, "input_shape" in read)
        return arguments

    def to_values(self) -> dict[str, str]:
        """Canonical text by parameter name; `parse` makes the same value of it."""
        values = dict(self.no_ops)
        for each in fields(self):
            value = getattr(self, each.name)
            if each.name != "no_ops" and value not in ((), None) and value is not each.default:
                values[each.name] = _text(value)
        return values

    @property
    def without_effect(self) -> tuple[str, ...]:
        """The names of the arguments that were accepted and change nothing in the result."""
        names = [name for name, _ in self.no_ops]
        if self.disable_nhwc_to_nchw:
            names.append("disable_nhwc_to_nchw")
        if self.mapping_config and not self.rename:
            names.append("mapping_config")
        return tuple(sorted(names))

    @property
    def half_precision(self) -> bool:
        """Whether the weights are stored as FP16."""
        if self.compress_to_fp16 is not None:
            return self.compress_to_fp16
        return self.data_type in ("FP16", "half")


def _choice(name: str) -> Callable[[str], str]:
    """A reader for one of the parameter's choices."""

    def read(text: str) -> str:
        choices = by_name()[name].choices
        if text in choices:
            return text
        raise RequestError(
            f"`{name}` is `{text}`; it is one of {listed(choices, 'or')}",
            hint=did_you_mean(text, choices) or _advice(name, text),
            parameter=name,
        )

    return read


def _advice(name: str, text: str) -> str:
    if name == "data_type" and text.lower() in ("int8", "int4", "i8", "u8", "i4", "u4"):
        return f"fewer bits are `weights`: `int{text[-1]}`"
    return f"for example `{by_name()[name].example}`"


def _log_level(text: str) -> str:
    return _choice("log_level")(text.upper())


_READERS: Mapping[str, Callable[[str], object]] = {
    "input": syntax.parse_inputs,
    "input_shape": syntax.parse_shapes,
    "output": lambda text: syntax.parse_names(text, "output"),
    "batch": lambda text: syntax.parse_positive(text, "batch"),
    "freeze_placeholder_with_value": syntax.parse_frozen,
    "saved_model_tags": lambda text: tuple(sorted(syntax.parse_names(text, "saved_model_tags"))),
    "signature": str,
    "rename": syntax.parse_renames,
    "mean_values": lambda text: syntax.parse_channels(text, "mean_values"),
    "scale_values": lambda text: syntax.parse_channels(text, "scale_values"),
    "scale": lambda text: syntax.parse_number(text, "scale"),
    "layout": lambda text: syntax.parse_layouts(text, "layout"),
    "source_layout": lambda text: syntax.parse_layouts(text, "source_layout"),
    "target_layout": lambda text: syntax.parse_layouts(text, "target_layout"),
    "data_type": _choice("data_type"),
    "transform": syntax.parse_transformations,
    "log_level": _log_level,
    "framework": _choice("framework"),
    "repairs": lambda text: _choice("repairs")(text) if text != "on" else None,
    **{
        name: partial(syntax.parse_flag, parameter=name)
        for name in (
            "static_shape",
            "reverse_input_channels",
            "nhwc_to_nchw",
            "disable_nhwc_to_nchw",
            "compress_to_fp16",
            "mapping_config",
        )
    },
}
"""How the text of each parameter is read."""


def _text(value: object) -> str:
    """The text of one field that its reader takes for the same value."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return repr(value)
    if isinstance(value, tuple):
        return ",".join("=".join(item) if isinstance(item, tuple) else str(item) for item in value)
    return str(value)


def _no_op(parameter: Parameter, text: str) -> list[tuple[str, str]]:
    """The argument as it goes into `no_ops`: nothing if it is a flag that was switched off."""
    if parameter.kind is not Kind.FLAG:
        return [(parameter.name, text)]
    return [(parameter.name, "true")] if syntax.parse_flag(text, parameter.name) else []


def _refuse(parameter: Parameter, text: str) -> None:
    """Raise the error of a refused argument; a flag that is switched off asks for nothing."""
    if parameter.kind is Kind.FLAG and not syntax.parse_flag(text, parameter.name):
        return
    raise RequestError(
        f"`{parameter.name}` cannot be honoured",
        hint=parameter.reason,
        parameter=parameter.name,
    )


def _shapes_of_inputs(read: dict[str, Any]) -> dict[str, Any]:
    """Give the shapes of `input_shape` to the entries of `input`, if there are both."""
    entries: tuple[InputEntry, ...] = read.get("input", ())
    shapes: tuple[Shape, ...] = read.get("input_shape", ())
    if not (entries and shapes):
        return read
    if any(entry.shape is not None for entry in entries):
        raise RequestError(
            "the shapes are given in both `input` and `input_shape`",
            hint="give every shape in one of them",
            parameter="input_shape",
        )
    if len(entries) != len(shapes):
        raise RequestError(
            f"`input` names {counted(len(entries), 'input')} and `input_shape` gives "
            f"{counted(len(shapes), 'shape')}",
            hint="give one shape for each entry of `input`, in the same order",
            parameter="input_shape",
        )
    shaped = tuple(replace(entry, shape=shape) for entry, shape in zip(entries, shapes, strict=True))
    return read | {"input": shaped, "input_shape": ()}


def _contradiction(first: str, second: str, why: str) -> RequestError:
    return RequestError(f"`{first}` and `{second}` are both given", hint=why, parameter=second)


def _check(arguments: OptimizerArguments, shapes_given: bool) -> None:
    """Refuse what contradicts itself, as far as that shows without the model."""
    if arguments.batch is not None and shapes_given:
        raise _contradiction("input_shape", "batch", "give one of them; the shape holds the batch size too")
    if arguments.batch is not None and any(entry.shape is not None for entry in arguments.input):
        raise _contradiction("batch", "input", "give the batch size or the shapes, not both")
    if arguments.scale is not None and arguments.scale_values:
        raise _contradiction("scale", "scale_values", "give one factor for all, or values for each input")
    for second in ("source_layout", "target_layout"):
        if arguments.layout and getattr(arguments, second):
            raise _contradiction("layout", second, "write both in `layout` with an arrow: `nhwc->nchw`")
    if arguments.nhwc_to_nchw and arguments.disable_nhwc_to_nchw:
        raise _contradiction("nhwc_to_nchw", "disable_nhwc_to_nchw", "leave one of them out")
    if arguments.compress_to_fp16 is not None and arguments.data_type is not None:
        asked = arguments.data_type in ("FP16", "half")
        if asked is not arguments.compress_to_fp16:
            raise _contradiction("data_type", "compress_to_fp16", "they ask for different precisions")
    _check_channels(arguments)
    _check_frozen(arguments)


def _check_channels(arguments: OptimizerArguments) -> None:
    if arguments.scale == 0 or any(0 in entry.values for entry in arguments.scale_values):
        name = "scale" if arguments.scale == 0 else "scale_values"
        raise RequestError(f"`{name}` divides by zero", hint="give a number that is not 0", parameter=name)
    for name in ("mean_values", "scale_values"):
        lists: tuple[ChannelValues, ...] = getattr(arguments, name)
        unnamed = [entry.values for entry in lists if not entry.name]
        if sorted(unnamed, key=lambda values: values[0]) != unnamed:
            raise RequestError(
                f"`{name}` has several lists without names, which Model Optimizer would sort by their first "
                "number instead of keeping their order",
                hint="write the name of its input before each list: `first[1,2,3],second[4,5,6]`",
                parameter=name,
            )
    scales = {entry.name: entry.values for entry in arguments.scale_values}
    for entry in arguments.mean_values:
        sizes = {len(entry.values), len(scales.get(entry.name, ())) or 1} - {1}
        if entry.name and len(sizes) > 1:
            raise RequestError(
                f"`{entry.name}` has {len(entry.values)} mean and {len(scales[entry.name])} scale values",
                hint="give one value for each channel in both, or a single one",
                parameter="scale_values",
            )


def _check_frozen(arguments: OptimizerArguments) -> None:
    for item in arguments.input:
        if item.value is None or item.shape is None:
            continue
        if item.shape.elements is None:
            problem = f"`{item.name}` gets a fixed value, so its shape `{item.shape}` must be fixed too"
        elif item.shape.elements != len(item.value.items):
            problem = f"`{item.name}` gets {len(item.value.items)} values, but its shape is `{item.shape}`"
        else:
            continue
        raise RequestError(problem, hint="for example `bias[3]->[1 2 3]`", parameter="input")
    fixed = {entry.name: entry.value for entry in arguments.input if entry.value is not None}
    for entry in arguments.freeze_placeholder_with_value:
        if fixed.get(entry.name, entry.value) != entry.value:
            raise RequestError(
                f"`{entry.name}` has two values: `{fixed[entry.name]}` in `input` and `{entry.value}`",
                hint="give its value once",
                parameter="freeze_placeholder_with_value",
            )
