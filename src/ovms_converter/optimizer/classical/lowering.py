"""An ONNX graph without operators of ai.onnx.ml: each becomes plain ones that compute the same."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from ovms_converter.errors import UnsupportedModelError
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
    NODE_OPERATION,
    OnnxValue,
    encode_value,
    is_classical,
    read_value,
)
from ovms_converter.optimizer.repairs.onnx_classical import CLASSICAL

__all__ = ["LOWERINGS", "Lowered", "lowered_graph"]

_TENSOR_SHAPE, _TENSOR_NAME = 1, 8

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

    `version` is that of ai.onnx.ml which the model asks for.

    Raises `UnsupportedModelError` for an operator without a plain form, and `CorruptModelError`.
    """
    found = [Message(item.data) for item in fields(graph) if _is_classical(item)]
    if not found:
        return None
    shapes, needed = _shapes(graph), frozenset(_read_names(graph))
    parts: list[bytes] = []
    emitters: list[Emitter] = []
    changed: dict[str, OnnxValue] = {}
    notes: list[str] = []
    for item in fields(graph):
        if not _is_classical(item):
            continue
        node = read_node(Message(item.data), shapes, needed, version)
        emitter = Emitter(node.outputs[0] if node.outputs else node.name, opset)
        _lowering(node)(emitter, node)
        emitters.append(emitter)
        if node.operation == "ZipMap":
            changed[node.outputs[0]] = OnnxValue(node.outputs[0], "f32", None)
            notes.append(
                f"`{node.outputs[0]}` is a matrix with a column for each class in place of a map (ZipMap)"
            )
    made = iter(emitters)
    for item in fields(graph):
        if _is_classical(item):
            parts += [bytes_field(GRAPH_NODE, node) for node in next(made).nodes]
        elif item.number in (GRAPH_OUTPUT, GRAPH_VALUE_INFO) and read_value(item).name in changed:
            parts.append(bytes_field(item.number, encode_value(changed[read_value(item).name])))
        else:
            parts.append(bytes(graph[item.start : item.end]))
    parts += [bytes_field(GRAPH_INITIALIZER, each) for emitter in emitters for each in emitter.constants]
    names = frozenset(CLASSICAL[node.text(NODE_OPERATION)].name for node in found)
    return Lowered(b"".join(parts), names, tuple(notes))


def _lowering(node: MlNode) -> Callable[[Emitter, MlNode], None]:
    if node.operation not in LOWERINGS or not node.inputs or not any(node.outputs):
        raise UnsupportedModelError(
            f"the node `{node.name}` is a `{node.operation}` of {CLASSICAL_DOMAIN}, "
            "which has no form in plain ONNX operators"
        )
    return LOWERINGS[node.operation]


def _is_classical(item: Field) -> bool:
    return item.number == GRAPH_NODE and is_classical(item.data)


def _shapes(graph: memoryview) -> dict[str, tuple[int | None, ...] | None]:
    """The shapes of the graph's tensors, as far as it declares them."""
    found: dict[str, tuple[int | None, ...] | None] = {}
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
