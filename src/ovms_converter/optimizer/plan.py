"""From what the user typed to places in the graph."""

from ovms_converter.errors import RequestError
from ovms_converter.optimizer.arguments import OptimizerArguments
from ovms_converter.optimizer.source import GraphSource, InputPoint, Plan, PlannedInput, unknown_name
from ovms_converter.optimizer.suggestions import listed

__all__ = ["make_plan"]


def make_plan(source: GraphSource, arguments: OptimizerArguments) -> Plan:
    """Find every name of `input`, `input_shape`, `output` and `freeze_placeholder_with_value` in the graph.

    Raises `RequestError` for a name that is not there, and if the numbers of inputs and shapes differ.
    """
    frozen = {entry.name: entry.value for entry in arguments.freeze_placeholder_with_value}
    planned: list[PlannedInput] = []
    for entry in arguments.input:
        if entry.name:
            value = entry.value or frozen.pop(entry.name, None)
            point = _point(source, entry.name, "input")
            planned.append(PlannedInput(entry.name, point, entry.shape, entry.type, value))
    for name, value in frozen.items():
        point = _point(source, name, "freeze_placeholder_with_value")
        planned.append(PlannedInput(name, point, value=value))
    _refuse_same_place(planned)
    planned += _by_position(source, arguments, {each.point.name for each in planned})
    _check_frozen_shapes(planned)
    outputs = tuple(_output(source, name) for name in arguments.output)
    return Plan(tuple(planned), any(entry.name for entry in arguments.input), outputs)


def _point(source: GraphSource, name: str, parameter: str) -> InputPoint:
    return source.find_input(name) or unknown_name(source, name, parameter)


def _output(source: GraphSource, name: str) -> str:
    return source.find_output(name) or unknown_name(source, name, "output")


def _refuse_same_place(planned: list[PlannedInput]) -> None:
    typed: dict[str, str] = {}
    for each in planned:
        first = typed.setdefault(each.point.name, each.typed)
        if first is not each.typed:
            raise RequestError(
                f"`{first}` and `{each.typed}` are the same place in the model",
                hint="name it once",
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
            f"`{parameter}` gives {len(given)} shapes, and the model has {len(free)} inputs: {listed(free)}",
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
