"""What only a format's own module of this room can tell: operations by node, weights by type, choices."""

import posixpath
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from ovms_converter import formats
from ovms_converter.coverage import Operations, onnx_operations, served_operations
from ovms_converter.formats.base import SourceModel
from ovms_converter.formats.native import NativeFormat
from ovms_converter.formats.onnx_graph import weights
from ovms_converter.formats.outline import onnx_outline
from ovms_converter.formats.saved_model import MetaGraph, Signature, read_saved_model
from ovms_converter.formats.tensorflow import logged_graphs, served_graph, served_tensors, serving_signature
from ovms_converter.formats.tensorflow_weights import variables
from ovms_converter.formats.tree import Tree
from ovms_converter.formats.wire import Message
from ovms_converter.formats.words import naming
from ovms_converter.inspection.forecast import weight_kinds
from ovms_converter.inspection.report import WeightKind

__all__ = ["Details", "companions", "details"]

_DEFAULT = "serving_default"


@dataclass(frozen=True)
class Details:
    """`operations` are those that a conversion meets; `options` must be given for it, `advice` says why.

    `options` are None if something must be given that only the model's owner knows.
    """

    operations: Operations
    weights: tuple[WeightKind, ...]
    options: tuple[str, ...] | None = ()
    advice: tuple[str, ...] = ()


def details(tree: Tree, model: SourceModel) -> Details | None:
    """The details of a model that can be converted, None for other formats. Raises `CorruptModelError`."""
    read = _READERS.get(model.format)
    if read:
        return read(tree, model)
    row = formats.format_named(model.format)
    return _native(row, tree, model) if isinstance(row, NativeFormat) else None


def companions(tree: Tree, model: SourceModel) -> tuple[str, ...]:
    """What `formats.companions` tells of the fetched model, told before anything is fetched.

    It gets a directory with the graph, without the numbers of large tensors, and with files of the right size
    and no content in place of the variables. Raises `CorruptModelError` or `UnsupportedModelError`.
    """
    with tempfile.TemporaryDirectory(prefix="ovms-converter-") as name:
        root = Path(name)
        sizes = tree.files.sizes()
        for path in model.needs:
            target = root / path
            target.parent.mkdir(parents=True, exist_ok=True)
            if model.format == "onnx":
                target.write_bytes(onnx_outline(tree.sample(path).window()))
            elif model.format == "tensorflow.saved_model" and path.endswith((".pb", ".index")):
                target.write_bytes(tree.files.read(path))
            else:
                with target.open("wb") as file:
                    file.truncate(sizes[path] or 0)
        return formats.companions(root, model, tree.files)


def _onnx(tree: Tree, model: SourceModel) -> Details:
    with naming(model.path):
        message = Message(memoryview(onnx_outline(tree.sample(model.path).window())))
        kinds = weight_kinds((each.type, each.elements, each.size) for each in weights(message))
        return Details(onnx_operations(message), kinds)


def _saved_model(tree: Tree, model: SourceModel) -> Details:
    path = posixpath.join(model.path, "saved_model.pb")
    with naming(path):
        graphs = logged_graphs(read_saved_model(memoryview(tree.files.read(path))), model.mlflow)
        graph = served_graph(graphs)
        signatures = [each for each in graph.signatures if not each.name.startswith("__") and each.outputs]
        options, advice = _choice(graphs, graph, signatures, serving_signature((graph,)))
        tensors = served_tensors(graph)
        operations = served_operations(graph, tensors)
    kinds = weight_kinds(variables(tree, model.path, graph, tensors) or ())
    return Details(operations, kinds, options, advice)


def _native(row: NativeFormat, tree: Tree, model: SourceModel) -> Details | None:
    found = row.read(tree, model)
    if found is None:
        return None
    operations = Operations()
    for node in found.nodes:
        operations.add(found.domain, *node)
    return Details(operations, weight_kinds(found.weights or ()))


def _choice(
    graphs: tuple[MetaGraph, ...], graph: MetaGraph, signatures: list[Signature], chosen: Signature | None
) -> tuple[tuple[str, ...] | None, tuple[str, ...]]:
    """The options that choose a graph and a signature where there is no default."""
    options: list[str] = []
    advice: list[str] = []
    if len(graphs) > 1:
        tags = "; ".join(",".join(each.tags) or "(none)" for each in graphs)
        advice.append(
            f"there are {len(graphs)} graphs, with the tags {tags}: `--saved-model-tags` chooses one"
        )
        if set(graph.tags) != {"serve"}:
            options += ["--saved-model-tags", ",".join(graph.tags)]
    if not signatures:
        advice.append("there is no signature, so inputs and outputs must be named: `--input` and `--output`")
    elif chosen is None:
        names = ", ".join(f"`{each.name}`" for each in signatures)
        advice.append(f"there is no `{_DEFAULT}` among the signatures {names}: `--signature` chooses one")
        options += ["--signature", signatures[0].name]
    elif len(signatures) > 1:
        advice.append(
            f"the signature `{chosen.name}` is converted; `--signature` chooses another of {len(signatures)}"
        )
    return tuple(options) if signatures else None, tuple(advice)


_READERS: Mapping[str, Callable[[Tree, SourceModel], Details]] = {
    "onnx": _onnx,
    "tensorflow.saved_model": _saved_model,
}
