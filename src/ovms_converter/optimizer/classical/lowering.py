"""An ONNX graph without operators of ai.onnx.ml: each becomes plain ones that compute the same."""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TypeAlias

from ovms_converter.errors import CorruptModelError, UnsupportedModelError
from ovms_converter.formats.onnx import CLASSICAL_DOMAIN
from ovms_converter.formats.wire import Field, Message, bytes_field, fields
from ovms_converter.optimizer.classical import linear, preparation, trees
from ovms_converter.optimizer.classical.attributes import MlNode, read_node
from ovms_converter.optimizer.classical.emitter import Emitter
from ovms_converter.optimizer.onnx_graph import (
    ATTRIBUTE_GRAPH,
    ATTRIBUTE_GRAPHS,
    GRAPH_INITIALIZER,
    GRAPH_INPUT,
    GRAPH_NODE,
    GRAPH_OUTPUT,
    GRAPH_VALUE_INFO,
    NODE_ATTRIBUTE,
    NODE_INPUT,
    OnnxValue,
    encode_value,
    is_classical,
    read_value,
)
from ovms_converter.optimizer.repairs.onnx_classical import CLASSICAL

__all__ = ["LOWERINGS", "Lowered", "lowered_graph"]

_TENSOR_SHAPE, _TENSOR_NAME = 1, 8
_DOMAIN_BYTES = re.compile(re.escape(CLASSICAL_DOMAIN.encode()))
_DEEPEST = 64

_Shapes: TypeAlias = dict[str, tuple[int | None, ...] | None]

LOWERINGS: Mapping[str, Callable[[Emitter, MlNode], None]] = {
    "ArrayFeatureExtractor": preparation.lower_array_feature_extractor,
    "Binarizer": preparation.lower_binarizer,
    "FeatureVectorizer": preparation.lower_feature_vectorizer,
    "Imputer": preparation.lower_imputer,
    "LabelEncoder": preparation.lower_label_encoder,
    "LinearClassifier": linear.lower_linear_classifier,
    "LinearRegressor": linear.lower_linear_regressor,
    "Normalizer": preparation.lower_normalizer,
    "OneHotEncoder": preparation.lower_one_hot_encoder,
    "SVMClassifier": linear.lower_svm_classifier,
    "SVMRegressor": linear.lower_svm_regressor,
    "Scaler": preparation.lower_scaler,
    "TreeEnsemble": trees.lower_tree_ensemble,
    "TreeEnsembleClassifier": trees.lower_tree_classifier,
    "TreeEnsembleRegressor": trees.lower_tree_regressor,
    "ZipMap": preparation.lower_zip_map,
}
"""The operators that have a plain form; `formats.onnx.CLASSICAL_OPERATIONS` are their names."""


@dataclass(frozen=True)
class Lowered:
    """A `GraphProto` of plain operators; `repairs` names those that it had of ai.onnx.ml."""

    graph: bytes
    repairs: frozenset[str]
    notes: tuple[str, ...]


def lowered_graph(graph: memoryview, opset: int, version: int) -> Lowered | None:
    """The graph with plain operators of the `opset` of the default domain; None if it has no others.

    Bodies of loops and branches are gone through. `version` is that of ai.onnx.ml which the model asks for.

    Raises `UnsupportedModelError` for an operator without a plain form, and `CorruptModelError`.
    """
    work = _Lowering(opset, version)
    found = work.graph(graph, {}, 0)
    if found is None:
        return None
    return Lowered(found, frozenset(CLASSICAL[name].name for name in work.operations), tuple(work.notes))


class _Lowering:
    """The lowering of one model; `operations` are those that it met."""

    def __init__(self, opset: int, version: int) -> None:
        self._opset = opset
        self._version = version
        self.operations: set[str] = set()
        self.notes: list[str] = []

    def graph(self, graph: memoryview, around: _Shapes, depth: int) -> bytes | None:
        """A graph in plain operators; `around` are shapes of the tensors of the graphs that it is in."""
        items = list(fields(graph))
        if depth > _DEEPEST:
            raise CorruptModelError("loops and branches of the ONNX model lie too deep in each other")
        if not any(_may_be_classical(item) for item in items):
            return None
        shapes, needed = {**around, **_shapes(graph)}, frozenset(_read_names(graph))
        emitters: list[Emitter] = []
        changed: dict[str, OnnxValue] = {}
        nodes: dict[int, list[bytes]] = {}
        for item in items:
            if _is_classical(item):
                node = read_node(Message(item.data), shapes, needed, self._version)
                emitters.append(self._emitted(node, depth))
                nodes[item.start] = emitters[-1].nodes
                if node.operation == "ZipMap":
                    changed[node.outputs[0]] = OnnxValue(node.outputs[0], "f32", None)
            elif _may_be_classical(item):
                inner = self._with_subgraphs(item.data, shapes, depth)
                if inner is not None:
                    nodes[item.start] = [inner]
        if not nodes:
            return None
        parts: list[bytes] = []
        for item in items:
            if item.start in nodes:
                parts += [bytes_field(GRAPH_NODE, node) for node in nodes[item.start]]
            elif item.number in (GRAPH_OUTPUT, GRAPH_VALUE_INFO) and read_value(item).name in changed:
                parts.append(bytes_field(item.number, encode_value(changed[read_value(item).name])))
            else:
                parts.append(bytes(graph[item.start : item.end]))
        parts += [bytes_field(GRAPH_INITIALIZER, each) for emitter in emitters for each in emitter.constants]
        return b"".join(parts)

    def _emitted(self, node: MlNode, depth: int) -> Emitter:
        emitter = Emitter(node.outputs[0] if node.outputs else node.name, self._opset)
        _lowering(node)(emitter, node)
        self.operations.add(node.operation)
        if node.operation == "ZipMap":
            if depth:
                raise UnsupportedModelError(
                    f"the node `{node.name}` is a `ZipMap` of {CLASSICAL_DOMAIN} in a loop or a branch, "
                    "and OpenVINO has no maps",
                    hint="export the model without it: with `options={'zipmap': False}`",
                )
            self.notes.append(
                f"`{node.outputs[0]}` is a matrix with a column for each class in place of a map (ZipMap)"
            )
        return emitter

    def _with_subgraphs(self, data: memoryview, shapes: _Shapes, depth: int) -> bytes | None:
        """A node with its subgraphs in plain operators; None if they are already."""
        changed = False
        parts: list[bytes] = []
        for item in fields(data):
            inner = self._attribute(item.data, shapes, depth) if item.number == NODE_ATTRIBUTE else None
            changed = changed or inner is not None
            parts.append(
                bytes(data[item.start : item.end]) if inner is None else bytes_field(NODE_ATTRIBUTE, inner)
            )
        return b"".join(parts) if changed else None

    def _attribute(self, data: memoryview, shapes: _Shapes, depth: int) -> bytes | None:
        changed = False
        parts: list[bytes] = []
        for item in fields(data):
            is_graph = item.number in (ATTRIBUTE_GRAPH, ATTRIBUTE_GRAPHS)
            inner = self.graph(item.data, shapes, depth + 1) if is_graph else None
            changed = changed or inner is not None
            parts.append(
                bytes(data[item.start : item.end]) if inner is None else bytes_field(item.number, inner)
            )
        return b"".join(parts) if changed else None


def _lowering(node: MlNode) -> Callable[[Emitter, MlNode], None]:
    if node.operation not in LOWERINGS or not node.inputs or not any(node.outputs):
        raise UnsupportedModelError(
            f"the node `{node.name}` is a `{node.operation}` of {CLASSICAL_DOMAIN}, "
            "which has no form in plain ONNX operators"
        )
    return LOWERINGS[node.operation]


def _is_classical(item: Field) -> bool:
    return item.number == GRAPH_NODE and is_classical(item.data)


def _may_be_classical(item: Field) -> bool:
    """Whether a node or one in its subgraphs may be of the domain, by its bytes."""
    return item.number == GRAPH_NODE and (is_classical(item.data) or bool(_DOMAIN_BYTES.search(item.data)))


def _shapes(graph: memoryview) -> _Shapes:
    """The shapes of the graph's tensors, as far as it declares them."""
    found: _Shapes = {}
    for item in fields(graph):
        if item.number in (GRAPH_INPUT, GRAPH_OUTPUT, GRAPH_VALUE_INFO):
            value = read_value(item)
            found[value.name] = value.shape
        elif item.number == GRAPH_INITIALIZER:
            tensor = Message(item.data)
            found[tensor.text(_TENSOR_NAME)] = tuple(tensor.integers(_TENSOR_SHAPE))
    return found


def _read_names(graph: memoryview) -> Iterator[str]:
    """Every tensor that a node, one of a subgraph, or the graph's end reads."""
    for item in fields(graph):
        if item.number == GRAPH_OUTPUT:
            yield read_value(item).name
        elif item.number == GRAPH_NODE:
            node = Message(item.data)
            yield from node.texts(NODE_INPUT)
            if not is_classical(item.data):
                for attribute in node.messages(NODE_ATTRIBUTE):
                    for number in (ATTRIBUTE_GRAPH, ATTRIBUTE_GRAPHS):
                        for inner in attribute.all(number):
                            yield from _read_names(inner.data)
