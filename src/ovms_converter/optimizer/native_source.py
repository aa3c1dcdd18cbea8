"""TFLite, PaddlePaddle and IR: read whole, and then edited on OpenVINO's own graph.

Their front ends cannot cut a graph, and tensors keep their names while it is read, so inputs, outputs,
shapes and constants are set on what was read.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ovms_converter.errors import CorruptModelError, ModelError, RequestError
from ovms_converter.formats.local import mapped
from ovms_converter.formats.paddle import read_paddle
from ovms_converter.formats.tree import Window
from ovms_converter.optimizer.native import READ_IT_ELSEWHERE, Model, native_errors, opset13, ov
from ovms_converter.optimizer.ports import split_port
from ovms_converter.optimizer.shapes import partial_shape, sizes
from ovms_converter.optimizer.source import InputPoint, Plan, PlannedInput, Tensor
from ovms_converter.optimizer.suggestions import counted

__all__ = ["FRAMEWORKS", "EditedModel", "NativeSource"]

FRAMEWORKS: Mapping[str, str] = {"tflite": "tflite", "paddle": "paddle", "openvino.ir": "ir"}
"""The format → the name of its front end."""


class NativeSource:
    """A model of one of `FRAMEWORKS`.

    A tensor's name in the result is the one that a server shows that reads the source itself: the first in
    alphabetical order of those that it has, but for IR of releases before 2022, the name of the operation.
    """

    def __init__(self, path: Path, framework: str) -> None:
        self.framework = framework
        self._path = path
        model = self._read()
        old = framework == "ir" and _is_old_ir(path)
        self._input_names = _public(model.inputs, old)
        self._output_names = _public(model.outputs, old)
        self.inputs: Sequence[Tensor] = _tensors(model.inputs, self._input_names)
        self.outputs: Sequence[Tensor] = _tensors(model.outputs, self._output_names)
        self._places = _places(model)
        self._nodes = {node.get_friendly_name(): node for node in model.get_ops()}
        self._aliases = {
            alias: name
            for port, name in zip(
                (*model.outputs, *model.inputs), (*self._output_names, *self._input_names), strict=True
            )
            for alias in _names_at(port)
        } | {name: name for name in (*self._output_names, *self._input_names)}

    def find_input(self, name: str) -> InputPoint | None:
        """An input by any of its names, else a tensor, an operation's first input, or a port."""
        known = self._aliases.get(name)
        if known is not None and known in self._input_names:
            return InputPoint(known, original=True)
        place = self._place(name, inside=True)
        if place is None:
            return None
        if place.get_node().get_type_name() == "Constant":
            raise RequestError(
                f"`{name}` is a constant of the model, not a place where data enters",
                hint="name a tensor that depends on the model's inputs",
                parameter="input",
            )
        if place.get_node().get_type_name() == "Parameter":
            return InputPoint(self._aliases[place.get_node().get_friendly_name()], original=True)
        return InputPoint(name, original=False)

    def find_output(self, name: str) -> str | None:
        """An output by any of its names, else a tensor, an operation's first output, or a port."""
        known = self._aliases.get(name)
        if known in self._output_names:
            return known
        place = self._place(name, inside=False)
        if place is None:
            return None
        own = (self._aliases.get(str(alias)) for alias in place.get_names())
        return next((each for each in own if each in self._output_names), name)

    def names(self) -> Sequence[str]:
        """The names of all ends, tensors and operations."""
        return [*self._aliases, *self._places, *self._nodes]

    def name_of_place(self, names: Sequence[str]) -> str:
        """Places are called by their names in the result."""
        return names[0]

    def prepare(self, plan: Plan, scratch: Path) -> Path:
        """The file itself: it is edited after it was read."""
        del plan, scratch
        return self._path

    def edited(self, plan: Plan) -> "EditedModel":
        """The model, read again, with its ends where the plan wants them."""
        model = self._read()
        self._places = _places(model)
        self._nodes = {node.get_friendly_name(): node for node in model.get_ops()}
        parameters = dict(zip(self._input_names, (port.get_node() for port in model.inputs), strict=True))
        results = dict(zip(self._output_names, model.get_results(), strict=True))
        added = {
            name: opset13.result(self._known(name, inside=False))
            for name in plan.outputs
            if name not in results
        }
        for cut in plan.cuts:
            parameters[cut.point.name] = _cut(self._known(cut.typed, inside=True), cut)
        return EditedModel(model, parameters, results | added)

    def _read(self) -> Model:
        try:
            return self._read_whole()
        except ModelError:
            weights = self._path.with_suffix(".bin")
            if self.framework != "ir" or weights.exists():
                raise
            raise CorruptModelError(
                f"`{self._path.name}` has its weights in `{weights.name}`, which is missing",
                hint="store the two files beside each other, with the same name but for the ending",
            ) from None

    def _read_whole(self) -> Model:
        with native_errors("the model cannot be read", hint=READ_IT_ELSEWHERE):
            if self.framework == "ir":
                # this also brings IR of releases before 2022 into today's form
                return ov.Core().read_model(str(self._path))
            front_end = ov.frontend.FrontEndManager().load_by_framework(self.framework)
            model = front_end.convert(front_end.load(str(self._path)))
        return _as_fed(model, self._path) if self.framework == "paddle" else model

    def _known(self, name: str, *, inside: bool) -> ov.Output:
        place = self._place(name, inside=inside)
        assert place is not None
        return place

    def _place(self, name: str, *, inside: bool) -> ov.Output | None:
        """The tensor of a name; of an operation the first input (`inside`) or output."""
        if name in self._places:
            return self._places[name]
        node = self._nodes.get(name)
        if node is not None:
            return node.input_value(0) if inside and node.get_input_size() else node.output(0)
        in_port, node_name, out_port = split_port(name)
        node = self._nodes.get(node_name)
        if node is None or (in_port is None and out_port is None):
            return None
        port, count = (
            (in_port, node.get_input_size()) if in_port is not None else (out_port, node.get_output_size())
        )
        if port is None or port >= count:
            raise RequestError(
                f"`{name}`: the operation `{node_name}` has "
                f"{counted(node.get_input_size(), 'input')} and {counted(node.get_output_size(), 'output')}",
                hint="`0:node` is the first input, `node:0` the first output",
            )
        return node.input_value(port) if in_port is not None else node.output(port)


class EditedModel:
    """A model that was read, with the methods of a front end's `InputModel` that set shapes and constants."""

    def __init__(
        self, model: Model, parameters: Mapping[str, ov.Node], results: Mapping[str, ov.Node]
    ) -> None:
        self._model = model
        self._parameters = dict(parameters)
        self._results = results

    def get_inputs(self) -> list["_Place"]:
        """The inputs, those that were cut open included."""
        return [_Place(name) for name in self._parameters]

    def get_partial_shape(self, place: "_Place") -> ov.PartialShape:
        """The shape of an input."""
        return self._parameters[place.name].get_output_partial_shape(0)

    def get_element_type(self, place: "_Place") -> ov.Type:
        """The element type of an input."""
        return self._parameters[place.name].get_output_element_type(0)

    def set_partial_shape(self, place: "_Place", shape: ov.PartialShape) -> None:
        """Change the shape of an input."""
        self._parameters[place.name].set_partial_shape(shape)

    def set_tensor_value(self, place: "_Place", array: npt.NDArray[np.generic]) -> None:
        """Put a constant in the place of an input."""
        parameter = self._parameters.pop(place.name)
        _redirect(parameter.output(0), opset13.constant(array).output(0))

    def convert(self) -> Model:
        """The model with one name for each input and output, those of the source that are left first."""
        model = Model(
            list(self._results.values()),
            list(self._model.get_sinks()),
            list(self._parameters.values()),
            self._model.get_friendly_name(),
        )
        model.validate_nodes_and_infer_types()
        for name, node in self._results.items():
            node.input_value(0).get_tensor().add_names({name})
        for name, node in self._parameters.items():
            node.output(0).get_tensor().set_names({name})
        return model


class _Place:
    """An input by its name."""

    def __init__(self, name: str) -> None:
        self.name = name

    def get_names(self) -> list[str]:
        """Its one name."""
        return [self.name]


def _cut(place: ov.Output, cut: PlannedInput) -> ov.Node:
    """A new input in the place of a tensor, of its shape and type if no others were asked for."""
    shape = partial_shape(cut.shape) if cut.shape is not None else place.get_partial_shape()
    kind = getattr(ov.Type, cut.type) if cut.type else place.get_element_type()
    parameter = opset13.parameter(shape, kind, name=cut.point.name)
    _redirect(place, parameter.output(0))
    return parameter


def _redirect(old: ov.Output, new: ov.Output) -> None:
    for reader in list(old.get_target_inputs()):
        reader.replace_source_output(new)


def _is_old_ir(path: Path) -> bool:
    """Whether the IR is of a release before 2022, which knew tensors by the names of operations."""
    with path.open("rb") as stream:
        head = stream.read(4096)
    return b'version="10"' in head[head.find(b"<net") :].partition(b">")[0]


def _names_at(port: ov.Output) -> set[str]:
    """What a tensor may be called: its names, its operation, and both without the number of a port."""
    names = {str(name) for name in port.get_names()} | {_operation_at(port)}
    return names | {name.removesuffix(":0") for name in names}


def _operation_at(port: ov.Output) -> str:
    """The name of the operation that an input or output is, or shows."""
    node = port.get_node()
    source = node.input_value(0).get_node() if node.get_type_name() == "Result" else node
    return str(source.get_friendly_name())


def _public(ports: Sequence[ov.Output], old: bool) -> list[str]:
    """One name for each port, no two of them the same."""
    found: list[str] = []
    for port in ports:
        names = sorted(str(name) for name in port.get_names())
        operation = _operation_at(port)
        names = [operation, *names] if old or not names else [*names, operation]
        free = [name for name in names if name not in found]
        found.append(free[0] if free else f"{operation}/{len(found)}")
    return found


def _tensors(ports: Sequence[ov.Output], names: Sequence[str]) -> list[Tensor]:
    return [
        Tensor(name, str(port.get_element_type().get_type_name()), sizes(port.get_partial_shape()))
        for port, name in zip(ports, names, strict=True)
    ]


def _as_fed(model: Model, program: Path) -> Model:
    """The model with its inputs in PaddlePaddle's order, which its front end turns round."""
    if len(model.inputs) == 1:
        return model
    fed = mapped(
        program, lambda data: read_paddle(Window(lambda start, size: bytes(data[start:][:size]), len(data)))
    )
    places = {tensor.name: place for place, tensor in enumerate(fed.inputs)}
    ports = sorted(
        model.inputs, key=lambda port: min(places.get(name, len(places)) for name in _names_at(port))
    )
    parameters = [port.get_node() for port in ports]
    return Model(model.get_results(), model.get_sinks(), parameters, model.get_friendly_name())


def _places(model: Model) -> dict[str, ov.Output]:
    """Every tensor by every name that it has."""
    return {
        str(name): port
        for node in model.get_ops()
        if node.get_type_name() != "Result"
        for port in node.outputs()
        for name in port.get_names()
    }
