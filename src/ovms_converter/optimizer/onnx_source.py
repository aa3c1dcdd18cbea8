"""An ONNX model: its ends, its names by Model Optimizer's rules, and the file that the front end reads."""

import mmap
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ovms_converter.errors import CorruptModelError, ModelError, RequestError
from ovms_converter.formats.onnx import CLASSICAL_DOMAIN
from ovms_converter.formats.wire import Field, bytes_field, fields
from ovms_converter.optimizer import onnx_graph, sidecar
from ovms_converter.optimizer.classical.lowering import Lowered, lowered_graph
from ovms_converter.optimizer.constants import frozen_array
from ovms_converter.optimizer.native import READ_IT_ELSEWHERE, native_errors, ov
from ovms_converter.optimizer.onnx_graph import OnnxValue
from ovms_converter.optimizer.ports import split_port
from ovms_converter.optimizer.repairs import ONNX_REPAIRS, by_operation
from ovms_converter.optimizer.repairs.onnx_functions import FUNCTIONS, MODEL_FUNCTION, Functions
from ovms_converter.optimizer.repairs.onnx_nodes import asked_opset, opset_import, repaired_graph
from ovms_converter.optimizer.repairs.translation import OPSET_IMPORT, extensions
from ovms_converter.optimizer.source import InputPoint, Plan, PlannedInput, Tensor
from ovms_converter.optimizer.suggestions import counted
from ovms_converter.optimizer.values import Dimension

__all__ = ["OnnxSource"]

_WORTH_A_SIDECAR = 1 << 20
"""Bytes of weights inside the model from which they are read through references."""


_PLAIN_OPSET = 13
"""The version of ONNX's own operation set for a model that has operators of ai.onnx.ml alone."""


@dataclass(frozen=True)
class _Rewritten:
    """A `GraphProto`, and what changes with it in the model: operation sets more, and fields left out."""

    graph: bytes
    opsets: bytes = b""
    left_out: frozenset[int] = frozenset()


class OnnxSource:
    """An `.onnx` file. Tensors keep their names in the result.

    Operations that OpenVINO would read wrongly are replaced, unless `repair` is False; `repairs` names what
    the prepared model needed, once it is read, and `notes` what else changed.
    """

    framework = "onnx"

    def __init__(self, path: Path, *, repair: bool = True) -> None:
        self._path = path
        self._model = _map(path)
        self._opset = asked_opset(self._model)
        self._repair = repair
        self._repairs = by_operation(ONNX_REPAIRS, self._opset or 1) if repair else {}
        self._moved: frozenset[str] = frozenset()
        self.repairs: set[str] = set()
        self.notes: tuple[str, ...] = ()
        self._graph = onnx_graph.read_graph(self._model)
        self._nodes = {node.name: node for node in reversed(self._graph.nodes) if node.name}
        self._produced = self._graph.producers
        self._probed: Mapping[str, OnnxValue] = {}
        self.inputs: Sequence[Tensor] = _tensors(self._graph.inputs)
        self.outputs: Sequence[Tensor] = _tensors(self._graph.outputs)

    def find_input(self, name: str) -> InputPoint | None:
        """A tensor by its name, else the first input of a node, else a port (mo 2024.6's order)."""
        tensor = name if self._is_tensor(name) else self._tensor_at(name, default_input=True)
        if tensor is None:
            return None
        if any(tensor == each.name for each in self.inputs):
            return InputPoint(tensor, original=True)
        if tensor not in self._produced:
            raise RequestError(
                f"`{name}` is a constant of the model, not a place where data enters",
                hint="name a tensor that depends on the model's inputs",
                parameter="input",
            )
        return InputPoint(tensor, original=False)

    def find_output(self, name: str) -> str | None:
        """A tensor by its name, else the first output of a node, else a port."""
        tensor = name if self._is_tensor(name) else self._tensor_at(name, default_input=False)
        if tensor in self._graph.initializers and not any(tensor == each.name for each in self.outputs):
            raise RequestError(
                f"`{name}` is a constant of the model, not something that it computes",
                hint="name a tensor that depends on the model's inputs",
                parameter="output",
            )
        return tensor

    def names(self) -> Sequence[str]:
        """The names of all inputs, nodes and their outputs."""
        return [*(tensor.name for tensor in self.inputs), *self._nodes, *self._produced]

    def name_of_place(self, names: Sequence[str]) -> str:
        """The front end uses the tensor's own name."""
        return names[0]

    def front_end(self) -> ov.frontend.FrontEnd:
        """What reads the prepared model, with the rules of our own that its repairs need."""
        front_end = ov.frontend.FrontEndManager().load_by_framework(self.framework)
        moved = [each for each in ONNX_REPAIRS if each.name in self._moved]
        for extension in extensions(moved, self.repairs):
            front_end.add_extension(extension)
        return front_end

    def prepare(self, plan: Plan, scratch: Path) -> Path:
        """The file itself if it can be read as it is, else a rewritten one that refers to its weights."""
        if any(self._is_unknown(planned) for planned in (*plan.cuts, *plan.frozen)):
            self._probed = self._probe(self.prepare(Plan(), scratch))
        weights = sidecar.Weights()
        start = self._graph_start()
        edited = bool(plan.cuts or plan.frozen or plan.outputs)
        if not edited:
            onnx_graph.check_computable(self._graph)
        graph = self._extract(plan, weights, start) if edited else weights.graph(self._graph.data, start)
        made = self._rewritten(graph) if self._repair else _Rewritten(graph)
        if made.graph is graph and not edited and weights.moved < _WORTH_A_SIDECAR:
            return self._path
        scratch.mkdir(parents=True, exist_ok=True)
        directory = Path(tempfile.mkdtemp(prefix="onnx-", dir=scratch))
        self._place_external_files(directory)
        weights.place(self._path, directory)
        prepared = directory / "ovms-converter.onnx"
        prepared.unlink(missing_ok=True)
        prepared.write_bytes(
            b"".join(
                bytes_field(item.number, made.graph)
                if item.number == onnx_graph.MODEL_GRAPH
                else bytes(self._model[item.start : item.end])
                for item in fields(self._model)
                if item.number not in made.left_out
            )
            + made.opsets
            + OPSET_IMPORT
        )
        return prepared

    def _rewritten(self, graph: bytes) -> "_Rewritten":
        """A graph with functions inlined, repairs applied, operators of ai.onnx.ml lowered, in this order."""
        opsets, left_out = b"", frozenset[int]()
        functions = Functions(self._model)
        inlined = functions.put_in_place(memoryview(graph))
        if inlined is not None:
            graph, opsets, left_out = inlined, functions.opsets, frozenset((MODEL_FUNCTION,))
            self.repairs.add(FUNCTIONS.name)
        present = {name: each for name, each in self._repairs.items() if name.encode() in graph}
        repaired = repaired_graph(memoryview(graph), present)
        if repaired is not None:
            graph, names = repaired
            self._moved = frozenset(
                each.name
                for repairs in present.values()
                for each in repairs
                if each.translate and each.name in names
            )
            self.repairs |= names - self._moved
        lowered = self._lowered(graph)
        if lowered is not None:
            graph, self.notes = lowered.graph, lowered.notes
            self.repairs |= lowered.repairs
            opsets += opset_import(_PLAIN_OPSET) if self._opset is None else b""
        return _Rewritten(graph, opsets, left_out)

    def _lowered(self, graph: bytes) -> Lowered | None:
        """The graph without operators of ai.onnx.ml; None if it has none."""
        version = asked_opset(self._model, (CLASSICAL_DOMAIN,)) or 1
        return lowered_graph(memoryview(graph), self._opset or _PLAIN_OPSET, version)

    def _probe(self, path: Path) -> dict[str, OnnxValue]:
        """Types and shapes of all tensors as OpenVINO infers them; nothing if it cannot read the model."""
        found: dict[str, OnnxValue] = {}
        try:
            with native_errors("the model cannot be read", hint=READ_IT_ELSEWHERE):
                front_end = self.front_end()
                operations = front_end.convert(front_end.load(str(path))).get_ordered_ops()
        except ModelError:
            return found
        for operation in operations:
            for port in operation.outputs():
                shape = port.get_partial_shape()
                sizes = None
                if shape.rank.is_static:
                    sizes = tuple(size.get_length() if size.is_static else None for size in shape)
                for name in port.get_names():
                    found[name] = OnnxValue(name, str(port.get_element_type().get_type_name()), sizes)
        return found

    def _place_external_files(self, directory: Path) -> None:
        """Put the external data beside the rewritten graph; all of it must lie in the model's directory."""
        base = self._path.parent.resolve()
        for external in set(sidecar.external_files(self._graph.data)):
            original = base / external
            if not original.is_file():
                raise CorruptModelError(f"the external data `{external}` of the ONNX model is missing")
            if not original.resolve().is_relative_to(base):
                raise CorruptModelError(
                    f"the external data `{external}` lies outside of the model's directory"
                )
            sidecar.place_file(original, directory / external)

    def _graph_start(self) -> int:
        return [item.payload for item in fields(self._model) if item.number == onnx_graph.MODEL_GRAPH][-1]

    def _is_tensor(self, name: str) -> bool:
        return (
            name in self._produced
            or name in self._graph.initializers
            or any(name == tensor.name for tensor in self.inputs)
        )

    def _tensor_at(self, name: str, *, default_input: bool) -> str | None:
        if name in self._nodes:
            node = self._nodes[name]
            ports: Sequence[str] = node.inputs if default_input and node.inputs else node.outputs
            return next(filter(None, ports), None)
        in_port, node_name, out_port = split_port(name)
        # a node without a name goes by that of its output, as in mo
        found = self._nodes.get(node_name) or self._produced.get(node_name)
        if found is None or (in_port is None and out_port is None):
            return None
        ports, port = (found.inputs, in_port) if in_port is not None else (found.outputs, out_port)
        if port is None or port >= len(ports) or not ports[port]:
            raise RequestError(
                f"`{name}`: the node `{node_name}` has {counted(len(found.inputs), 'input')} and "
                f"{counted(len(found.outputs), 'output')}",
                hint="`0:node` is the first input, `node:0` the first output",
                parameter="input" if default_input else "output",
            )
        return ports[port]

    def _extract(self, plan: Plan, weights: sidecar.Weights, start: int) -> bytes:
        """The `GraphProto` between the planned inputs and outputs."""
        outputs = plan.outputs or tuple(tensor.name for tensor in self.outputs)
        moved_inputs = {planned.point.name: planned for planned in (*plan.cuts, *plan.frozen)}
        nodes, tensors = onnx_graph.needed(self._graph, outputs, moved_inputs)
        rewritten = (
            onnx_graph.GRAPH_INPUT,
            onnx_graph.GRAPH_OUTPUT,
            onnx_graph.GRAPH_VALUE_INFO,
        )

        def keep(item: Field) -> bool:
            if item.number == onnx_graph.GRAPH_NODE:
                return item.start in nodes
            if item.number == onnx_graph.GRAPH_INITIALIZER:
                name = onnx_graph.initializer_name(item)
                return name in tensors and name not in moved_inputs
            return item.number not in rewritten

        parts = [weights.graph(self._graph.data, start, keep)]
        parts += [
            bytes_field(onnx_graph.GRAPH_INITIALIZER, self._constant(planned)) for planned in plan.frozen
        ]
        parts += [
            bytes_field(onnx_graph.GRAPH_INPUT, onnx_graph.encode_value(self._cut(planned)))
            for planned in plan.cuts
            if planned.value is None
        ]
        cutting = bool(plan.outputs or plan.cuts)
        for value in self._graph.inputs:
            wanted = value.name not in moved_inputs and (value.name in tensors or not cutting)
            if wanted and value.place is not None:
                parts.append(bytes_field(onnx_graph.GRAPH_INPUT, value.place.data))
        for name in outputs:
            declared = self._graph.values.get(name) or OnnxValue(name, None, None)
            encoded = onnx_graph.encode_value(OnnxValue(name, declared.type, None))
            parts.append(bytes_field(onnx_graph.GRAPH_OUTPUT, encoded))
        return b"".join(parts)

    def _is_unknown(self, planned: PlannedInput) -> bool:
        """Whether the front end must find out the type or shape of a tensor."""
        declared = self._graph.values.get(planned.point.name)
        kind = planned.type or (declared and declared.type)
        return kind is None or (planned.shape is None and (declared is None or declared.shape is None))

    def _known(self, name: str) -> OnnxValue:
        """What the front end found out of a tensor, or what the file says."""
        return self._probed.get(name) or self._graph.values.get(name) or OnnxValue(name, None, None)

    def _cut(self, planned: PlannedInput) -> OnnxValue:
        name = planned.point.name
        known = self._known(name)
        shape = known.shape
        if planned.shape is not None:
            shape = tuple(_size(dimension) for dimension in planned.shape.dimensions)
        return OnnxValue(name, planned.type or known.type or "f32", shape)

    def _constant(self, planned: PlannedInput) -> bytes:
        known = self._known(planned.point.name)
        array = frozen_array(planned, known.type, known.shape)
        element_type = str(ov.Type(array.dtype).get_type_name())
        return onnx_graph.encode_tensor(planned.point.name, element_type, array.shape, array.tobytes())


def _tensors(values: Iterable[OnnxValue]) -> list[Tensor]:
    return [Tensor(value.name, value.type, value.shape) for value in values]


def _size(dimension: Dimension) -> int | None:
    return dimension.low if dimension.static else None


def _map(path: Path) -> memoryview:
    """The bytes of a file, mapped; an empty file cannot be mapped."""
    try:
        with path.open("rb") as stream:
            return memoryview(mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ))
    except ValueError:
        raise CorruptModelError(f"`{path.name}` is empty") from None
