"""TensorFlow as the reference of what OpenVINO reads itself: SavedModels, frozen graphs and TFLite.

Nothing of Python is loaded: the graph of one signature is taken out of the file, checked against the list of
operations that only compute, and run in a session, as TensorFlow Serving does. `tf.saved_model.load` and
Keras's loader are not used.
"""

from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol, TypeAlias

import numpy as np

from ovms_converter.errors import ModelError, UnsupportedModelError
from ovms_converter.formats.saved_model import read_saved_model
from ovms_converter.frameworks.base import Exported, ExportJob
from ovms_converter.frameworks.tensorflow_operations import HARMLESS
from ovms_converter.optimizer.arguments import OptimizerArguments
from ovms_converter.optimizer.plan import make_plan
from ovms_converter.optimizer.saved_model_choice import choose_meta_graph, choose_signature
from ovms_converter.optimizer.saved_model_source import SavedModelSource, read_frozen_graph

__all__ = ["export", "run"]

_INIT = "__saved_model_init_op"
_OLD_INIT = ("saved_model_main_op", "legacy_init_op")


Array: TypeAlias = "np.ndarray[Any, np.dtype[Any]]"


class _Program(Protocol):
    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """The outputs by name."""


def export(job: ExportJob) -> Exported:
    """Nothing is exported: OpenVINO reads TensorFlow's formats itself. Raises `UnsupportedModelError`."""
    raise UnsupportedModelError(f"`{job.model.name}` needs no export")


def run(job: ExportJob, inputs: Mapping[str, Array]) -> dict[str, Array]:
    """What TensorFlow computes, by the names that the converted outputs have before `rename`.

    The inputs are named likewise; those that are left out have their default, if the graph has one. Raises
    `UnsupportedModelError` if the graph does more than compute.
    """
    return _program(job.format, job.model, job.output, tuple(sorted(job.arguments.items()))).run(inputs)


@lru_cache(maxsize=1)
def _program(format: str, model: Path, scratch: Path, arguments: tuple[tuple[str, str], ...]) -> _Program:
    parsed = OptimizerArguments.parse(dict(arguments))
    if format == "tflite":
        return _LiteModel(model, parsed.output)
    return _graph(format, model, scratch, parsed)


def _graph(format: str, model: Path, scratch: Path, arguments: OptimizerArguments) -> "_Graph":
    """The graph of the signature that was converted; of a model that was cut, the one between the cuts."""
    frozen = format == "tensorflow.frozen"
    source = read_frozen_graph(model) if frozen else SavedModelSource(model, arguments)
    plan = make_plan(source, arguments)
    directory, tags, signature = model, arguments.saved_model_tags, arguments.signature
    if frozen or plan.cuts or plan.outputs:
        directory, tags, signature = source.prepare(plan, scratch), (), None
    metas = read_saved_model(memoryview((directory / "saved_model.pb").read_bytes()))
    meta = choose_meta_graph(metas, tags)
    ends = choose_signature(meta, signature)
    outputs = {key: tensor for key, tensor in ends.output_tensors.items() if tensor}
    return _Graph(bytes(meta.data), directory, ends.input_tensors, outputs)


class _Graph:
    """A graph in a session, with its variables restored; `inputs` and `outputs` are graph tensors by name."""

    def __init__(
        self, meta: bytes, directory: Path, inputs: Mapping[str, str], outputs: Mapping[str, str]
    ) -> None:
        import tensorflow as tf

        loaded = tf.compat.v1.MetaGraphDef.FromString(meta)
        self._inputs = {key: _tensor_name(tensor) for key, tensor in inputs.items() if tensor}
        self._outputs = {key: _tensor_name(tensor) for key, tensor in outputs.items()}
        saver = loaded.saver_def
        first = [saver.restore_op_name] if saver.restore_op_name else []
        if first:
            _read_restored(loaded.graph_def, _node(saver.restore_op_name))
        then = list(_initializers(loaded))
        wanted = [*self._outputs.values(), *self._inputs.values(), saver.filename_tensor_name, *first, *then]
        graph_def = _part(loaded.graph_def, [_node(name) for name in wanted if name])
        _check(graph_def)
        graph = tf.Graph()
        with graph.as_default():
            tf.import_graph_def(graph_def, name="")
        self._graph = graph
        self._session = tf.compat.v1.Session(graph=graph, config=_plain_settings(tf))
        if first:
            where = str(directory / "variables" / "variables")
            self._session.run(_operations(graph, first), {_tensor_name(saver.filename_tensor_name): where})
        if then:
            self._session.run(_operations(graph, then))

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """See `run`."""
        unknown = sorted(inputs.keys() - self._inputs.keys())
        if unknown:
            raise ModelError(f"the graph has no input `{unknown[0]}`")
        feed = {}
        for name, place in self._inputs.items():
            tensor = self._graph.get_tensor_by_name(place)
            dtype = tensor.dtype.base_dtype.as_numpy_dtype
            if name in inputs:
                values = inputs[name]
                feed[tensor] = values.astype(object) if dtype is object else values.astype(dtype)
            elif tensor.op.type == "Placeholder" and tensor.shape.rank is not None:
                # Nothing in the result depends on it, but the call of a function takes it.
                feed[tensor] = np.zeros([size or 1 for size in tensor.shape.as_list()], dtype)
        found = self._session.run(self._outputs, feed)
        return {name: _plain(values) for name, values in found.items()}


def _tensor_name(name: str) -> str:
    return name if ":" in name else f"{name}:0"


def _node(name: str) -> str:
    return name.partition(":")[0].removeprefix("^")


def _operations(graph: Any, names: Iterable[str]) -> list[Any]:
    return [graph.get_operation_by_name(_node(name)) for name in names]


def _initializers(meta: Any) -> Iterable[str]:
    """What fills tables and the like once the variables are restored: TensorFlow 2's, else 1's."""
    if _INIT in meta.signature_def:
        yield meta.signature_def[_INIT].outputs[_INIT].name
        return
    for key in _OLD_INIT:
        if key in meta.collection_def and meta.collection_def[key].node_list.value:
            yield meta.collection_def[key].node_list.value[0]
            return


def _read_restored(graph: Any, restore: str) -> None:
    """Let what reads a variable that is not restored read the one that began with its value, and is.

    Keras 3, saved by `tf.saved_model.save`, writes such pairs. OpenVINO gets them in the same way, see
    `optimizer.saved_model_variables`.
    """
    known = {node.name: node for node in graph.node}
    restored = set(known[restore].input) if restore in known else set()
    instead: dict[str, str] = {}
    for node in graph.node:
        if node.op == "AssignVariableOp" and node.input[0] in restored:
            value = known.get(_node(node.input[1]))
            if value is not None and value.op == "ReadVariableOp" and value.input[0] not in restored:
                instead.setdefault(value.input[0], node.input[0])
    for node in graph.node:
        for position, name in enumerate(node.input):
            if name in instead:
                node.input[position] = instead[name]


def _part(graph: Any, names: Sequence[str]) -> Any:
    """The nodes that `names` need, and the functions that these call, without hints of place and shape."""
    known = {node.name: node for node in graph.node}
    waiting, used = [name for name in names if name in known], set[str]()
    while waiting:
        name = waiting.pop()
        if name in used or name not in known:
            continue
        used.add(name)
        waiting += [_node(source) for source in known[name].input]
    part = type(graph)()
    part.versions.CopyFrom(graph.versions)
    part.node.extend(node for node in graph.node if node.name in used)
    functions = {function.signature.name: function for function in graph.library.function}
    called, waiting = set[str](), list(_called(part.node))
    while waiting:
        name = waiting.pop()
        if name in called or name not in functions:
            continue
        called.add(name)
        waiting += _called(functions[name].node_def)
    part.library.function.extend(functions[name] for name in sorted(called))
    for nodes in (part.node, *(function.node_def for function in part.library.function)):
        for node in nodes:
            node.device = ""
            for hint in ("_class", "_output_shapes"):
                node.attr.pop(hint, None)
    return part


def _called(nodes: Iterable[Any]) -> Iterable[str]:
    for node in nodes:
        for value in node.attr.values():
            if value.HasField("func"):
                yield value.func.name
            yield from (function.name for function in value.list.func)


def _check(graph: Any) -> None:
    """Refuse a graph that may do more than compute."""
    own = {function.signature.name for function in graph.library.function}
    used = {node.op for node in graph.node}
    used |= {node.op for function in graph.library.function for node in function.node_def}
    others = sorted(used - HARMLESS - own)
    if others:
        names = ", ".join(f"`{name}`" for name in others[:5])
        raise UnsupportedModelError(
            f"its graph holds {names}, which may do more than compute, so it is not run as a reference"
        )


def _plain_settings(tf: Any) -> Any:
    """As few optimisations as can be: they are nothing to compare with."""
    settings = tf.compat.v1.ConfigProto(
        intra_op_parallelism_threads=1, inter_op_parallelism_threads=1, device_count={"GPU": 0}
    )
    settings.graph_options.optimizer_options.opt_level = tf.compat.v1.OptimizerOptions.L0
    settings.graph_options.rewrite_options.disable_meta_optimizer = True
    return settings


def _plain(values: Any) -> Array:
    """The values as an array of a type that numpy knows by itself, text included."""
    array = np.asarray(values)
    if array.dtype.kind == "O":
        return np.array([_text(item) for item in array.ravel()], dtype=np.str_).reshape(array.shape)
    return array.astype(np.float32) if array.dtype.kind == "V" else array


def _text(value: object) -> str:
    return value.decode("utf-8", "backslashreplace") if isinstance(value, bytes) else str(value)


class _LiteModel:
    """A `.tflite` file in TensorFlow's interpreter with its reference kernels, without delegates."""

    def __init__(self, path: Path, outputs: Sequence[str]) -> None:
        import warnings

        import tensorflow as tf

        lite = tf.lite
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that it will move to another package some day
            self._interpreter = lite.Interpreter(
                model_path=str(path),
                num_threads=1,
                experimental_op_resolver_type=lite.experimental.OpResolverType.BUILTIN_REF,
                experimental_preserve_all_tensors=bool(outputs),
            )
        details = self._interpreter.get_tensor_details()
        if any(each["quantization_parameters"]["scales"].size for each in details):
            raise UnsupportedModelError(
                "it is quantized, and where a value lies between two steps, each runtime may take either"
            )
        self._inputs = {each["name"]: each for each in self._interpreter.get_input_details()}
        ends = details if outputs else self._interpreter.get_output_details()
        self._outputs = {
            each["name"]: each["index"] for each in ends if not outputs or each["name"] in outputs
        }

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """See `run`."""
        for name, values in inputs.items():
            if name not in self._inputs:
                raise ModelError(f"the interpreter has no input `{name}`")
            self._interpreter.resize_tensor_input(self._inputs[name]["index"], values.shape)
        self._interpreter.allocate_tensors()
        for name, values in inputs.items():
            each = self._inputs[name]
            self._interpreter.set_tensor(each["index"], values.astype(each["dtype"]))
        self._interpreter.invoke()
        return {name: _plain(self._interpreter.get_tensor(index)) for name, index in self._outputs.items()}
