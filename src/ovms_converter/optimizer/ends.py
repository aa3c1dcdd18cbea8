"""The inputs and outputs of an openvino model: which there are, in which order, and one public name for each.

Front ends leave several names on a tensor, none, or the same ones on two outputs, and transformations move
names about. A server shows whatever is left, so the names are known beside the model and set again after
every change.
"""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

from ovms_converter.errors import ModelError, RequestError
from ovms_converter.optimizer.native import Model, opset13, ov
from ovms_converter.optimizer.source import GraphSource, Plan
from ovms_converter.optimizer.suggestions import did_you_mean, listed

__all__ = ["Ends", "arrange", "check_served", "ends_of", "meant", "name_ends"]

SERVED = frozenset(
    ("f64", "f32", "f16", "bf16", "i64", "i32", "i16", "i8", "u64", "u32", "u16", "u8", "boolean", "string")
)
"""Element types of tensors that a client can exchange with the server: those that its APIs have names for
(`KFSDataType` and `TFSDataType` of its sources).
"""


@dataclass(frozen=True)
class Ends:
    """The public names of a model's inputs and outputs, in its order."""

    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


def arrange(model: Model, source: GraphSource, plan: Plan) -> tuple[Model, Ends]:
    """Drop what the plan leaves out, put the inputs and outputs in its order, and tell their names.

    Raises `ModelError` if nothing is left, `RequestError` if an input is missing in `input`.
    """
    wanted = plan.outputs or tuple(tensor.name for tensor in source.outputs)
    results = _named_results(model, wanted)
    lost = [] if plan.outputs else [name for name in wanted if name not in results]
    if lost and results:
        raise ModelError(
            f"OpenVINO loses the output `{lost[0]}` when it reads the model; it may be a constant",
            hint=f"name the outputs to keep: `--output {','.join(results)}`",
        )
    known = {tensor.name for tensor in source.inputs} | {planned.point.name for planned in plan.inputs}
    parameters = _named_parameters(model, source, known)
    if plan.outputs:
        results = {name: results[name] for name in plan.outputs if name in results}
    if plan.outputs or plan.cuts or plan.listed or plan.frozen:
        frozen = {planned.point.name for planned in plan.frozen}
        used = _used(list(results.values()))
        dropping = bool(plan.outputs or plan.cuts or plan.listed)
        kept = {
            name: node
            for name, node in parameters.items()
            if name not in frozen and (not dropping or node.get_name() in used)
        }
        _refuse_unneeded(plan, kept)
        parameters = _in_order(kept, plan)
    if not results or not parameters:
        what = "outputs" if not results else "inputs"
        if what == "inputs" and plan.inputs:
            raise RequestError(
                "no input is left to feed: all are constants or cut off",
                hint=f"its inputs are {', '.join(map(str, source.inputs))}",
                parameter="input",
            )
        raise ModelError(f"the model has no {what}", hint="OpenVINO Model Server cannot serve such a model")
    _separate(list(results.values()))
    sinks = list(model.get_sinks())
    model = Model(list(results.values()), sinks, list(parameters.values()), model.get_friendly_name())
    model.validate_nodes_and_infer_types()
    ends = Ends(tuple(parameters), tuple(results))
    name_ends(model, ends)
    return model, ends


def name_ends(model: Model, ends: Ends) -> None:
    """Give every input and output its one public name; the order of `ends` is the model's.

    Tensors inside lose theirs: a device that fuses operations gives the names of all of them to the last one.
    """
    for node in model.get_ops():
        for port in node.outputs():
            if port.get_names():
                port.get_tensor().set_names(set())
    for port, name in zip((*model.inputs, *model.outputs), (*ends.inputs, *ends.outputs), strict=True):
        port.get_tensor().set_names({name})


def check_served(model: Model) -> tuple[str, ...]:
    """What is to be told of inputs of types that no client can send.

    Raises `ModelError` for an output of such a type: OpenVINO also rounds to some of them wrongly.
    """
    for port in model.outputs:
        kind = port.get_element_type().get_type_name()
        if kind not in SERVED:
            raise ModelError(
                f"the output `{port.get_any_name()}` is of the type {kind}, "
                "which OpenVINO Model Server exchanges with no client",
                hint="cut the model there with `--output`, or export it with floating-point outputs",
            )
    return tuple(
        f"no client of OpenVINO Model Server can send `{port.get_any_name()}`, which is of the type {kind}"
        for port in model.inputs
        if (kind := port.get_element_type().get_type_name()) not in SERVED
    )


def ends_of(model: Model) -> Ends:
    """The names of a model whose inputs and outputs have one each."""
    inputs, outputs = (
        tuple(str(port.get_any_name()) for port in ports) for ports in (model.inputs, model.outputs)
    )
    return Ends(inputs, outputs)


def meant(source: GraphSource, typed: str, available: Sequence[str], parameter: str) -> str:
    """Which of the `available` public names a name means: itself, or what mo would have called it."""
    if typed in available:
        return typed
    with suppress(RequestError):
        point = source.find_input(typed)
        if point is not None and point.name in available:
            return point.name
    with suppress(RequestError):
        output = source.find_output(typed)
        if output is not None and output in available:
            return output
    if typed.removesuffix(":0") in available:
        return typed.removesuffix(":0")
    raise RequestError(
        f"`{parameter}` names `{typed}`, and the model has no such input or output",
        hint=did_you_mean(typed, available) or f"it has {listed(available)}",
        parameter=parameter,
    )


def _named_results(model: Model, wanted: Sequence[str]) -> dict[str, ov.Node]:
    """The `Result` nodes by public name, in the model's order; outputs of one tensor share its names."""
    found: dict[str, ov.Node] = {}
    results = list(model.get_results())
    for position, result in enumerate(results):
        names = result.output(0).get_names() | result.input_value(0).get_names()
        free = [name for name in wanted if name in names and name not in found]
        if not free and len(results) == len(wanted):
            free = [wanted[position]]
        found[free[0] if free else min(names, default=result.get_friendly_name())] = result
    return found


def _named_parameters(model: Model, source: GraphSource, known: set[str]) -> dict[str, ov.Node]:
    """The inputs by public name, in the model's order.

    One that is handed on as it is may bear its output's name alone: then it is the source's in its place.
    """
    parameters = list(model.get_parameters())
    found = [_public_name(node, known) for node in parameters]
    if len(parameters) == len(source.inputs):
        for position, tensor in enumerate(source.inputs):
            if found[position] not in known and tensor.name not in found:
                found[position] = tensor.name
    return dict(zip(found, parameters, strict=True))


def _public_name(parameter: ov.Node, known: set[str]) -> str:
    names = parameter.output(0).get_names()
    return str(min(names & known or names, default=parameter.get_friendly_name()))


def _in_order(kept: dict[str, ov.Node], plan: Plan) -> dict[str, ov.Node]:
    """The order of `input`, unless that is just the model's own inputs: then the model's order, as in mo."""
    if not plan.listed:
        return kept
    listed_names = [planned.point.name for planned in plan.inputs if planned.value is None]
    missing = [name for name in kept if name not in listed_names]
    if missing:
        raise RequestError(
            f"`input` leaves out {listed(missing)}, which the outputs need",
            hint="list it too, give it a value (`name->1`), or cut the model behind it",
            parameter="input",
        )
    if all(planned.point.original for planned in plan.inputs):
        return kept
    return {name: kept[name] for name in listed_names if name in kept}


def _refuse_unneeded(plan: Plan, kept: Mapping[str, ov.Node]) -> None:
    """Raise `RequestError` if an input is named beside a cut that leaves no use for it, as mo did."""
    cuts = [planned.typed for planned in plan.cuts if planned.value is None]
    unneeded = [
        planned.typed
        for planned in plan.inputs
        if planned.point.original and planned.value is None and planned.point.name not in kept
    ]
    if cuts and unneeded:
        raise RequestError(
            f"`input` names `{unneeded[0]}`, on which nothing depends behind the cut at {listed(cuts)}",
            hint="leave it out of `input`",
            parameter="input",
        )


def _used(results: list[ov.Node]) -> set[str]:
    """The unique names of all nodes that the results depend on."""
    seen: set[str] = set()
    waiting = results
    while waiting:
        node = waiting.pop()
        if node.get_name() in seen:
            continue
        seen.add(node.get_name())
        waiting += [value.get_node() for value in node.input_values()]
    return seen


def _separate(results: list[ov.Node]) -> None:
    """Put an operation without effect before outputs that would share their tensor, and so their name."""
    taken: set[tuple[str, int]] = set()
    for result in results:
        port = result.input_value(0)
        place = (port.get_node().get_name(), port.get_index())
        if place in taken or port.get_node().get_type_name() == "Parameter":
            separate = opset13.convert(port, port.get_element_type().get_type_name())
            result.input(0).replace_source_output(separate.output(0))
        taken.add(place)
