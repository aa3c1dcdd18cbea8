"""From what the user typed to places in the graph."""

from collections.abc import Iterable, Sequence

from ovms_converter.errors import RequestError
from ovms_converter.optimizer.arguments import OptimizerArguments
from ovms_converter.optimizer.source import GraphSource, InputPoint, Plan, PlannedInput, unknown_name
from ovms_converter.optimizer.suggestions import counted, listed

__all__ = ["make_plan"]


def make_plan(source: GraphSource, arguments: OptimizerArguments) -> Plan:
    """Find every name of `input`, `input_shape`, `output` and `freeze_placeholder_with_value` in the graph.

    Raises `RequestError` for a name that is not there, and if the numbers of inputs and shapes differ.
    """
    frozen = {entry.name: entry.value for entry in arguments.freeze_placeholder_with_value}
    planned: list[PlannedInput] = []
    for entry in arguments.input:
        if entry.name:
            value = frozen.pop(entry.name, entry.value)
            fixed_by = "input" if entry.value is not None else "freeze_placeholder_with_value"
            point = _point(source, entry.name, "input")
            planned.append(PlannedInput(entry.name, point, entry.shape, entry.type, value, fixed_by))
    for name, value in frozen.items():
        point = _point(source, name, "freeze_placeholder_with_value")
        planned.append(PlannedInput(name, point, value=value))
    _refuse_same(((each.typed, each.point.name) for each in planned), "input")
    planned += _by_position(source, arguments, {each.point.name for each in planned})
    _check_frozen_shapes(planned)
    outputs = tuple(_output(source, name) for name in arguments.output)
    _refuse_same(zip(arguments.output, outputs, strict=True), "output")
    _refuse_output_of_cut(source, outputs, planned)
    named = {entry.name for entry in arguments.input if entry.name}
    fed = any(each.typed in named and each.value is None for each in planned)
    return Plan(tuple(planned), fed, outputs)


def _point(source: GraphSource, name: str, parameter: str) -> InputPoint:
    return source.find_input(name) or unknown_name(source, name, parameter)


def _output(source: GraphSource, name: str) -> str:
    return source.find_output(name) or unknown_name(source, name, "output")


def _refuse_same(places: Iterable[tuple[str, str]], parameter: str) -> None:
    """Raise `RequestError` if two typed names mean one place; each pair is what was typed and the place."""
    known: dict[str, str] = {}
    for typed, place in places:
        first = known.setdefault(place, typed)
        if first is not typed:
            raise RequestError(
                f"`{first}` and `{typed}` are the same place in the model",
                hint="name it once",
                parameter=parameter,
            )


def _refuse_output_of_cut(source: GraphSource, outputs: Sequence[str], planned: list[PlannedInput]) -> None:
    """Raise `RequestError` if `input` cuts off an output, which `output` names or else the model has."""
    cuts = {each.point.name: each.typed for each in planned if not each.point.original}
    for output in outputs or [tensor.name for tensor in source.outputs]:
        if output in cuts:
            raise RequestError(
                f"the output `{output}` is cut off by `{cuts[output]}` in `input`, so nothing computes it",
                hint="name outputs behind the cut with `output`",
                parameter="input",
            )


def _by_position(source: GraphSource, arguments: OptimizerArguments, known: set[str]) -> list[PlannedInput]:
    """The shapes and types that were given without names, for the inputs that are left, in order."""
    shapes = [(shape, None) for shape in arguments.input_shape]
    entries = [(entry.shape, entry.type) for entry in arguments.input if not entry.name]
    if not (shapes or entries):
        return []
    free = [tensor.name for tensor in source.inputs if tensor.name not in known]
    parameter = "input_shape" if shapes else "input"
    if shapes and entries:
        if any(shape is not None for shape, _ in entries) or len(shapes) != len(entries):
            raise RequestError(
                "`input` and `input_shape` do not fit together",
                hint="give every shape once",
                parameter=parameter,
            )
        entries, shapes = [(shape, kind) for (shape, _), (_, kind) in zip(shapes, entries, strict=True)], []
    given = entries or shapes
    if len(given) != len(free):
        raise RequestError(
            f"`{parameter}` gives {counted(len(given), 'shape')}, and the model has "
            f"{counted(len(free), 'input')}: {listed(free)}",
            hint="give one shape for each of them, or name the input: `input` = `name[1,3,224,224]`",
            parameter=parameter,
        )
    return [
        PlannedInput(name, InputPoint(name, original=True), shape, kind)
        for name, (shape, kind) in zip(free, given, strict=True)
    ]


def _check_frozen_shapes(planned: list[PlannedInput]) -> None:
    for each in planned:
        if each.value is not None and each.shape is not None and each.shape.elements != len(each.value.items):
            raise RequestError(
                f"`{each.typed}` gets {len(each.value.items)} values, but its shape is `{each.shape}`",
                hint="for example `bias[3]->[1 2 3]`",
                parameter="input",
            )
