"""From a PyTorch program to an OpenVINO graph with a name for each of its inputs and outputs."""

import re
from collections.abc import Sequence

import openvino as ov
from openvino import opset13

from ovms_converter.errors import UnsupportedModelError
from ovms_converter.formats.torch_naming import output_names
from ovms_converter.frameworks.torch_exported import ExportedProgram
from ovms_converter.frameworks.torch_ports import Settled
from ovms_converter.frameworks.torch_script import ScriptProgram
from ovms_converter.frameworks.torch_values import Input, leaves

__all__ = ["graph"]

_TYPES = {
    "bool": ov.Type.boolean,
    "bfloat16": ov.Type.bf16,
    "float16": ov.Type.f16,
    "float32": ov.Type.f32,
    "float64": ov.Type.f64,
    "int8": ov.Type.i8,
    "int16": ov.Type.i16,
    "int32": ov.Type.i32,
    "int64": ov.Type.i64,
    "uint8": ov.Type.u8,
}
"""PyTorch's names of element types → OpenVINO's."""


def graph(
    program: ExportedProgram | ScriptProgram, settled: Settled, own: Sequence[str], asked: Sequence[str]
) -> ov.Model:
    """The graph, its ports in the program's order.

    `asked` are the names that the outputs get if there are as many, else `own`. Raises
    `UnsupportedModelError` for operations that OpenVINO does not have.
    """
    front_end = ov.frontend.FrontEndManager().load_by_framework("pytorch")
    unsupported = [port for port in settled.inputs if port.type not in _TYPES]
    if unsupported:
        raise UnsupportedModelError(
            f"`{unsupported[0].name}` is {unsupported[0].type}, a type that OpenVINO lacks"
        )
    try:
        decoder = program.decoder(settled.inputs)  # the front end does not keep it alive
        source = front_end.load(decoder)
        places = source.get_inputs()[-len(settled.inputs) or None :]
        for place, port in zip(places, settled.inputs, strict=True):
            source.set_partial_shape(
                place, ov.PartialShape([-1 if size is None else size for size in port.shape or ()])
            )
            source.set_element_type(place, _TYPES[port.type or "float32"])
        model = _with_unread(program.completed(front_end.convert(source)), places, settled.inputs)
    except (RuntimeError, ov.frontend.OpConversionFailure, ov.frontend.GeneralFailure) as error:
        raise _refused(str(error), exported=isinstance(program, ExportedProgram)) from None
    _name_inputs(model, settled.inputs)
    found = leaves(settled.result) if settled.result is not None else None
    count = len(model.outputs)
    if found is not None and len(found) != count:
        raise UnsupportedModelError(
            f"OpenVINO makes {count} outputs of the program's {len(found)}",
            hint="return tensors, or a tuple, list or dictionary of tensors",
        )
    keys = [key for key, _ in found] if found is not None else [None] * count
    _name_outputs(model, output_names(keys, {port.name for port in settled.inputs}, own, asked))
    return model


def _refused(text: str, exported: bool) -> UnsupportedModelError:
    """The operations without a rule, or what failed, out of the front end's long message."""
    rules = re.search(r"No conversion rule found for operations: ([^\n]+)", text)
    if rules:
        other = "" if exported else "with `torch.export.export` and `torch.export.save`, or "
        names = sorted({name.strip() for name in rules[1].split(",") if name.strip()})
        return UnsupportedModelError(
            f"OpenVINO has no rule for {', '.join(f'`{name}`' for name in names[:8])} of this program",
            hint=f"export it {other}as ONNX with `torch.onnx.export(..., dynamo=True)`",
        )
    reasons = re.search(r"with a message:\s*([^\n]+)", text)
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    told = reasons[1] if reasons else (lines[-1] if lines else "no reason given")
    return UnsupportedModelError(
        f"OpenVINO does not convert the program: {told[:300]}",
        hint="export it as ONNX with `torch.onnx.export(..., dynamo=True)` and convert that file",
    )


def _with_unread(model: ov.Model, places: Sequence[ov.frontend.Place], ports: Sequence[Input]) -> ov.Model:
    """The graph with the inputs that the front end left out because nothing reads them."""
    kept = {name: node for node in model.get_parameters() for name in node.output(0).get_names()}
    found = [next((kept[name] for name in place.get_names() if name in kept), None) for place in places]
    if len(kept) == len(ports) or sum(node is not None for node in found) != len(model.get_parameters()):
        return model
    parameters = [
        opset13.parameter(
            [-1 if size is None else size for size in port.shape or ()], _TYPES[port.type or "float32"]
        )
        if node is None
        else node
        for node, port in zip(found, ports, strict=True)
    ]
    return ov.Model(model.get_results(), parameters, model.get_friendly_name())


def _name_inputs(model: ov.Model, ports: Sequence[Input]) -> None:
    parameters = model.get_parameters()
    if len(parameters) != len(ports):
        raise UnsupportedModelError(
            f"OpenVINO makes {len(parameters)} inputs of the program's {len(ports)}",
            hint="export it with tensors for arguments, without lists and dictionaries",
        )
    for parameter, port in zip(parameters, ports, strict=True):
        parameter.set_friendly_name(port.name)
        parameter.output(0).get_tensor().set_names({port.name})


def _name_outputs(model: ov.Model, names: Sequence[str]) -> None:
    """One name each; an output that is another one, or an input, gets a tensor of its own."""
    taken: set[tuple[str, int]] = set()
    for result, name in zip(model.get_results(), names, strict=True):
        port = result.input_value(0)
        place = (port.get_node().get_name(), port.get_index())
        if place in taken or port.get_node().get_type_name() == "Parameter":
            separate = opset13.convert(port, port.get_element_type().get_type_name())
            result.input(0).replace_source_output(separate.output(0))
            port = separate.output(0)
        taken.add(place)
        port.get_tensor().set_names({name})
    model.validate_nodes_and_infer_types()
