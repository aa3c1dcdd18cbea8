"""A SavedModel or frozen graph: one signature of one meta graph, and names by Model Optimizer's rules."""

import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from ovms_converter.errors import CorruptModelError, ModelError, RequestError, UnsupportedModelError
from ovms_converter.formats.base import TensorSpec
from ovms_converter.formats.frozen import graph_ends
from ovms_converter.formats.local import mapped
from ovms_converter.formats.saved_model import DATA_TYPES, MetaGraph, Signature, read_saved_model
from ovms_converter.formats.wire import Message
from ovms_converter.optimizer import saved_model_patch as patch
from ovms_converter.optimizer.arguments import OptimizerArguments
from ovms_converter.optimizer.ports import split_port
from ovms_converter.optimizer.saved_model_choice import (
    DEFAULT_SIGNATURE,
    choose_meta_graph,
    choose_signature,
)
from ovms_converter.optimizer.saved_model_functions import Functions, InnerNode
from ovms_converter.optimizer.saved_model_nodes import read_nodes, split_tensor
from ovms_converter.optimizer.saved_model_variables import fresh_names, names_collide
from ovms_converter.optimizer.source import InputPoint, Plan, PlannedInput, Tensor
from ovms_converter.optimizer.suggestions import counted

__all__ = ["SavedModelSource", "read_frozen_graph"]

_NUMBERED: Mapping[int, str] = {number: name for name, number in patch.TYPE_NUMBERS.items()}
_OPENVINO_NAMES: Mapping[str, str] = {
    DATA_TYPES[number]: name for name, number in patch.TYPE_NUMBERS.items()
} | {"string": "string"}

_VARIABLES = ("Variable", "VariableV2", "VarHandleOp")


@dataclass(frozen=True)
class _Place:
    """A node that was named, with the port if one was; `inner` if it is inside a function."""

    node: Message
    in_port: int | None
    out_port: int | None
    inner: InnerNode | None

    @property
    def sources(self) -> list[str]:
        """What the node reads, without control inputs."""
        return [source for source in self.node.texts(3) if not source.startswith("^")]

    @property
    def type(self) -> str:
        """openvino's name of the type that the node works on; `f32` if it does not tell."""
        for attribute in self.node.messages(5):
            if attribute.text(1) in ("T", "dtype"):
                number = attribute.message(2).integer(6)
                return _NUMBERED.get(number, "f32")
        return "f32"


class SavedModelSource:
    """A SavedModel directory. Inputs and outputs are named by the keys of the signature."""

    framework = "tf"

    def __init__(self, path: Path, arguments: OptimizerArguments) -> None:
        self._path = path
        metas = mapped(path / "saved_model.pb", read_saved_model)
        self._meta = choose_meta_graph(metas, arguments.saved_model_tags)
        self._signature = choose_signature(self._meta, arguments.signature)
        self._must_patch = len(metas) > 1 or self._signature.name != DEFAULT_SIGNATURE
        self._read_ends(self._signature)

    def _read_ends(self, signature: Signature) -> None:
        self._functions = Functions(self._meta.graph)
        self.inputs: Sequence[Tensor] = _tensors(signature.inputs, signature.input_tensors)
        self.outputs: Sequence[Tensor] = _tensors(signature.outputs, signature.output_tensors)
        self._input_keys = _aliases(signature.input_tensors, self.inputs)
        self._output_keys = _aliases(signature.output_tensors, self.outputs)
        self._cut_tensors: dict[str, str] = {}
        if not self.outputs:
            raise ModelError(
                f"the signature `{signature.name}` has no outputs, so nothing is left to compute",
                hint="export the model with a signature that has outputs",
            )

    @cached_property
    def _nodes(self) -> Mapping[str, Message]:
        """The nodes of the main graph by name; few conversions ask for one, and they take ten MiB."""
        return {node.text(1): node for node in Message(self._meta.graph).messages(1)}

    def find_input(self, name: str) -> InputPoint | None:
        """A key of the signature or its graph tensor, else a node or a port, inside functions as well."""
        if name in self._input_keys:
            return InputPoint(self._input_keys[name], original=True)
        return InputPoint(name, original=False) if self._place(name) is not None else None

    def find_output(self, name: str) -> str | None:
        """A key of the signature or its graph tensor, else a node or a port, inside functions as well."""
        if name in self._output_keys:
            return self._output_keys[name]
        return name if self._place(name) is not None else None

    def names(self) -> Sequence[str]:
        """The keys of the signature and the nodes of the graph."""
        return [*self._input_keys, *self._output_keys, *self._nodes]

    def name_of_place(self, names: Sequence[str]) -> str:
        """The front end uses the graph tensor, or the key of the signature."""
        known = {**self._input_keys, **self._cut_tensors}
        return next((known[name] for name in names if name in known), names[0])

    def prepare(self, plan: Plan, scratch: Path) -> Path:
        """The directory itself if the front end reads it right, else a patched one."""
        collide = names_collide(self._meta)
        if not (plan.cuts or plan.outputs or collide or self._must_patch):
            return self._path
        nodes = {node.name: node for node in read_nodes(self._meta.graph)}
        fresh = fresh_names(self._meta, nodes) if collide else {}
        self._functions = Functions(self._meta.graph)
        cuts = [self._cut(planned) for planned in plan.cuts]
        self._cut_tensors = {f"{cut.placeholder}:0": cut.key for cut in cuts}
        tensors = self._signature.output_tensors
        outputs = {key: tensors.get(key) or self._graph_tensor(key) for key in plan.outputs or tensors}
        scratch.mkdir(parents=True, exist_ok=True)
        directory = Path(tempfile.mkdtemp(prefix="saved-model-", dir=scratch))
        patch.write_saved_model(
            self._meta,
            nodes,
            self._path,
            directory,
            {key: tensor for key, tensor in self._signature.input_tensors.items() if tensor},
            {key: tensor for key, tensor in outputs.items() if tensor},
            cuts,
            fresh,
            self._functions,
        )
        return directory

    def _place(self, name: str) -> _Place | None:
        """The node that a name means, or the port of one; None if there is neither."""
        for in_port, node, out_port in ((None, name, None), split_port(name)):
            if node in self._nodes:
                return _Place(self._nodes[node], in_port, out_port, None)
            calls = (split_tensor(tensor)[0] for tensor in self._signature.output_tensors.values())
            inner = self._functions.find(dict.fromkeys(calls), node)
            if inner is not None:
                return _Place(self._functions.node(inner), in_port, out_port, inner)
        return None

    def _known_place(self, name: str) -> _Place:
        """The place of a name that was found before, which must have the port."""
        place = self._place(name)
        assert place is not None
        if place.in_port is not None and place.in_port >= len(place.sources):
            raise RequestError(
                f"`{name}`: the node `{place.node.text(1)}` has {counted(len(place.sources), 'input')}",
                hint="`0:node` is the first input, `node:0` the first output",
            )
        return place

    def _graph_tensor(self, name: str) -> str:
        """The graph tensor of an output inside the graph: `node`, `node:1`, or what feeds `0:node`."""
        place = self._known_place(name)
        if place.inner is not None:
            kind = patch.TYPE_NUMBERS[place.type]
            if place.in_port is None:
                return self._functions.add_output(place.inner, place.out_port or 0, kind)
            return self._functions.add_result(place.inner, place.sources[place.in_port], kind)
        if place.in_port is None:
            return f"{place.node.text(1)}:{place.out_port or 0}"
        node, output = split_tensor(place.sources[place.in_port])
        return f"{node}:{output}"

    def _cut(self, planned: PlannedInput) -> patch.GraphCut:
        """A name without a port cuts the first input of the node; a node without inputs is cut behind it."""
        place = self._known_place(planned.typed)
        in_port, out_port = place.in_port, place.out_port
        if in_port is None and out_port is None:
            in_port, out_port = (0, None) if place.sources else (None, 0)
        shape = None if place.inner else self._shape_at(place, in_port, out_port)
        if planned.shape is not None:
            shape = tuple(each.low if each.static else None for each in planned.shape.dimensions)
        node, kind = place.node.text(1), planned.type or place.type
        cut = patch.GraphCut(planned.typed, node, in_port, out_port, kind, shape, place.inner is not None)
        if place.inner is not None:
            number = patch.TYPE_NUMBERS[kind]
            self._functions.add_input(place.inner, in_port, out_port, number, cut.placeholder)
        return cut

    def _shape_at(
        self, place: _Place, in_port: int | None, out_port: int | None
    ) -> tuple[int | None, ...] | None:
        """What the exporter noted of the shape of a tensor of the main graph, if it did."""
        producer, port = place.node, out_port or 0
        if in_port is not None:
            name, port = split_tensor(place.sources[in_port])
            producer = self._nodes.get(name, producer)
        for attribute in producer.messages(5):
            listing = attribute.message(2).message(1) if attribute.text(1) == "_output_shapes" else None
            shapes = listing.messages(7) if listing else []
            if port < len(shapes) and not shapes[port].integer(3):
                sizes = [sum(size.integers(1)[-1:]) for size in shapes[port].messages(2)]
                return tuple(None if size < 0 else size for size in sizes)
        return None


class _FrozenGraphSource(SavedModelSource):
    """A frozen `GraphDef`: its placeholders are the inputs, what nothing consumes are the outputs."""

    def __init__(self, meta: MetaGraph, path: Path) -> None:
        self._path = path
        self._meta = meta
        self._signature = _ends_of_graph(meta)
        self._must_patch = True
        self._read_ends(self._signature)

    def prepare(self, plan: Plan, scratch: Path) -> Path:
        """A SavedModel around the graph. Raises `UnsupportedModelError` if its variables are no constants."""
        variables = [name for name, node in self._nodes.items() if node.text(2) in _VARIABLES]
        if variables and not (plan.cuts or plan.outputs):
            raise UnsupportedModelError(
                f"the graph is not frozen: it has no values for {counted(len(variables), 'variable')}, first "
                f"`{variables[0]}`",
                hint="convert the SavedModel instead, or freeze the graph with its checkpoint first",
            )
        return super().prepare(plan, scratch)


def read_frozen_graph(path: Path) -> SavedModelSource:
    """A TensorFlow 1 `.pb` whose variables are constants. Raises `CorruptModelError` if it is none."""
    return _FrozenGraphSource(mapped(path, patch.meta_graph_around), path)


def _ends_of_graph(meta: MetaGraph) -> Signature:
    placeholders, names = graph_ends(Message(meta.graph).messages(1))
    if not names:
        raise CorruptModelError("the file holds no TensorFlow graph with outputs")
    specs = tuple(TensorSpec(each.name, each.type, None) for each in placeholders)
    inputs, outputs = (
        {name: f"{name}:0" for name in ends} for ends in ([each.name for each in specs], names)
    )
    ends = tuple(TensorSpec(name, "", None) for name in names)
    return Signature(DEFAULT_SIGNATURE, "", specs, ends, inputs, outputs)


def _tensors(specs: Iterable[TensorSpec], graph_tensors: Mapping[str, str]) -> list[Tensor]:
    # the order in which the front end has them, too
    return [
        Tensor(spec.name, _OPENVINO_NAMES.get(spec.type), _fixed(spec.shape))
        for spec in sorted(specs, key=lambda spec: spec.name)
        if graph_tensors.get(spec.name)
    ]


def _fixed(shape: tuple[int | str | None, ...] | None) -> tuple[int | None, ...] | None:
    """The sizes that are numbers; others have no fixed size."""
    return None if shape is None else tuple(size if isinstance(size, int) else None for size in shape)


def _aliases(graph_tensors: Mapping[str, str], tensors: Iterable[Tensor]) -> dict[str, str]:
    """Every name of an end → its key: the key itself, which wins, the graph tensor, its node."""
    names: dict[str, str] = {}
    for tensor in tensors:
        graph_tensor = graph_tensors[tensor.name]
        for name in (graph_tensor, graph_tensor.removesuffix(":0")):
            names.setdefault(name, tensor.name)
    return names | {tensor.name: tensor.name for tensor in tensors}
