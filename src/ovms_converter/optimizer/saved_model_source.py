"""A SavedModel or frozen graph: one signature of one meta graph, and names by Model Optimizer's rules."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from ovms_converter.errors import AmbiguousModelError, CorruptModelError, ModelError, RequestError
from ovms_converter.formats.base import TensorSpec
from ovms_converter.formats.saved_model import DATA_TYPES, MetaGraph, Signature, read_saved_model
from ovms_converter.formats.wire import Message
from ovms_converter.optimizer import saved_model_patch as patch
from ovms_converter.optimizer.arguments import OptimizerArguments
from ovms_converter.optimizer.ports import split_port
from ovms_converter.optimizer.saved_model_variables import fresh_names
from ovms_converter.optimizer.source import InputPoint, Plan, PlannedInput, Tensor
from ovms_converter.optimizer.suggestions import did_you_mean, listed

__all__ = ["SavedModelSource", "read_frozen_graph"]

_DEFAULT = "serving_default"
_OPENVINO_NAMES: Mapping[str, str] = {
    DATA_TYPES[number]: name for name, number in patch.TYPE_NUMBERS.items()
} | {"string": "string"}


class SavedModelSource:
    """A SavedModel directory. Inputs and outputs are named by the keys of the signature."""

    framework = "tf"

    def __init__(self, path: Path, arguments: OptimizerArguments) -> None:
        self._path = path
        metas = read_saved_model(memoryview((path / "saved_model.pb").read_bytes()))
        self._meta = _choose_meta_graph(metas, arguments.saved_model_tags)
        self._signature = _choose_signature(self._meta, arguments.signature)
        self._must_patch = len(metas) > 1 or self._signature.name != _DEFAULT
        self._read_ends(self._signature)

    def _read_ends(self, signature: Signature) -> None:
        self._nodes = {node.text(1): node for node in Message(self._meta.graph).messages(1)}
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

    def find_input(self, name: str) -> InputPoint | None:
        """A key of the signature or its graph tensor, else a node of the graph or a port of one."""
        if name in self._input_keys:
            return InputPoint(self._input_keys[name], original=True)
        return InputPoint(name, original=False) if self._node_of(name) is not None else None

    def find_output(self, name: str) -> str | None:
        """A key of the signature or its graph tensor, else a node of the graph or an output port of one."""
        if name in self._output_keys:
            return self._output_keys[name]
        return name if self._node_of(name) is not None else None

    def names(self) -> Sequence[str]:
        """The keys of the signature and the nodes of the graph."""
        return [*self._input_keys, *self._output_keys, *self._nodes]

    def place_names(self, names: Sequence[str]) -> str:
        """The front end uses the graph tensor, or the key of the signature."""
        known = {**self._input_keys, **self._cut_tensors}
        return next((known[name] for name in names if name in known), names[0])

    def element_types(self) -> Mapping[str, str]:
        """The types that the signature declares."""
        return {tensor.name: tensor.type for tensor in self.inputs if tensor.type}

    def prepare(self, plan: Plan, scratch: Path) -> Path:
        """The directory itself if the front end reads it right, else a patched one."""
        fresh = fresh_names(self._meta)
        if not (plan.cuts or plan.outputs or fresh or self._must_patch):
            return self._path
        cuts = [self._cut(planned) for planned in plan.cuts]
        self._cut_tensors = {f"{cut.placeholder}:0": cut.key for cut in cuts}
        tensors = self._signature.output_tensors
        outputs = {key: tensors.get(key) or self._graph_tensor(key) for key in plan.outputs or tensors}
        directory = scratch / "saved_model"
        patch.write_saved_model(
            self._meta,
            self._path,
            directory,
            {key: tensor for key, tensor in self._signature.input_tensors.items() if tensor},
            {key: tensor for key, tensor in outputs.items() if tensor},
            cuts,
            fresh,
        )
        return directory

    def _node_of(self, name: str) -> str | None:
        if name in self._nodes:
            return name
        node = split_port(name)[1]
        return node if node in self._nodes else None

    def _graph_tensor(self, name: str) -> str:
        """The graph tensor of an output inside the graph: `node`, `node:1`, or what feeds `0:node`."""
        if name in self._nodes:
            return f"{name}:0"
        in_port, node, out_port = split_port(name)
        if in_port is None:
            return f"{node}:{out_port}"
        return self._feeding(name, node, in_port)

    def _feeding(self, typed: str, node: str, port: int) -> str:
        inputs = [source for source in self._nodes[node].texts(3) if not source.startswith("^")]
        if port >= len(inputs):
            raise RequestError(
                f"`{typed}`: the node `{node}` has {len(inputs)} inputs",
                hint="`0:node` is the first input, `node:0` the first output",
            )
        node, output = patch.split_tensor(inputs[port])
        return f"{node}:{output}"

    def _cut(self, planned: PlannedInput) -> patch.GraphCut:
        """A name without a port cuts the first input of the node; a node without inputs is cut behind it."""
        typed = planned.typed
        in_port, node, out_port = (None, typed, None) if typed in self._nodes else split_port(typed)
        if in_port is None and out_port is None:
            has_inputs = any(not source.startswith("^") for source in self._nodes[node].texts(3))
            in_port, out_port = (0, None) if has_inputs else (None, 0)
        tensor = self._feeding(typed, node, in_port) if in_port is not None else f"{node}:{out_port}"
        shape = self._declared_shape(tensor)
        if planned.shape is not None:
            shape = tuple(each.low if each.static else None for each in planned.shape.dimensions)
        kind = planned.type or self._declared_type(node) or "f32"
        return patch.GraphCut(typed, node, in_port, out_port, kind, shape)

    def _declared_type(self, node: str) -> str | None:
        for attribute in self._nodes[node].messages(5):
            if attribute.text(1) in ("T", "dtype"):
                return _OPENVINO_NAMES.get(DATA_TYPES.get(attribute.message(2).integer(6), ""))
        return None

    def _declared_shape(self, tensor: str) -> tuple[int | None, ...] | None:
        """What the exporter noted of the shapes of the node's outputs, if it did."""
        name, port = patch.split_tensor(tensor)
        node = self._nodes.get(name)
        for attribute in node.messages(5) if node else ():
            shapes = (
                attribute.message(2).message(1).messages(7) if attribute.text(1) == "_output_shapes" else []
            )
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


def read_frozen_graph(path: Path) -> SavedModelSource:
    """A TensorFlow 1 `.pb` whose variables are constants. Raises `CorruptModelError` if it is none."""
    meta = read_saved_model(memoryview(patch.wrap_graph(path.read_bytes())))[0]
    return _FrozenGraphSource(meta, path.parent)


def _ends_of_graph(meta: MetaGraph) -> Signature:
    nodes = Message(meta.graph).messages(1)
    consumed = {patch.split_tensor(source.removeprefix("^"))[0] for node in nodes for source in node.texts(3)}
    silent = ("Const", "NoOp", "Placeholder", "Assert", "Print")
    inputs = {node.text(1): f"{node.text(1)}:0" for node in nodes if node.text(2) == "Placeholder"}
    names = [node.text(1) for node in nodes if node.text(2) not in silent and node.text(1) not in consumed]
    outputs = {name: f"{name}:0" for name in names}
    if not outputs:
        raise CorruptModelError("the file holds no TensorFlow graph with outputs")
    placeholders = {node.text(1): node for node in nodes if node.text(1) in inputs}
    specs = tuple(TensorSpec(name, _placeholder_type(placeholders[name]), None) for name in inputs)
    ends = tuple(TensorSpec(name, "", None) for name in outputs)
    return Signature(_DEFAULT, "", specs, ends, inputs, outputs)


def _placeholder_type(node: Message) -> str:
    types = (each.message(2).integer(6) for each in node.messages(5) if each.text(1) == "dtype")
    return DATA_TYPES.get(next(types, 0), "")


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


def _choose_meta_graph(metas: Sequence[MetaGraph], tags: tuple[str, ...]) -> MetaGraph:
    """The meta graph with exactly these tags; without tags the one of `serve`, or the only one."""
    available = listed((",".join(meta.tags) or "(none)" for meta in metas), "and")
    wanted = set(tags) or {"serve"}
    found = [meta for meta in metas if set(meta.tags) == wanted]
    if found:
        return found[0]
    if tags:
        raise RequestError(
            f"the SavedModel has no graph with exactly the tags `{','.join(tags)}`",
            hint=f"it has {available}",
            parameter="saved_model_tags",
        )
    if len(metas) == 1:
        return metas[0]
    raise AmbiguousModelError(
        f"the SavedModel has {len(metas)} graphs and none for serving: {available}",
        hint="choose one with `saved_model_tags`",
    )


def _choose_signature(meta: MetaGraph, name: str | None) -> Signature:
    """The signature of this name; without one `serving_default`, or the only one with outputs."""
    signatures = {each.name: each for each in meta.signatures if not each.name.startswith("__saved_model_")}
    usable = [each for each in signatures.values() if each.outputs]
    if name is not None:
        if name in signatures:
            return signatures[name]
        raise RequestError(
            f"the SavedModel has no signature `{name}`",
            hint=did_you_mean(name, signatures) or f"it has {listed(signatures) or 'none'}",
            parameter="signature",
        )
    if _DEFAULT in signatures:
        return signatures[_DEFAULT]
    if len(usable) == 1:
        return usable[0]
    if not usable:
        raise ModelError(
            "the SavedModel has no signature, so its inputs and outputs are unknown",
            hint="export it with one: `tf.saved_model.save(model, path, signatures=model.call)`",
        )
    raise AmbiguousModelError(
        f"the SavedModel has {len(usable)} signatures and none is `{_DEFAULT}`: "
        f"{listed(each.name for each in usable)}",
        hint=f"choose one with `--signature`, for example `--signature {usable[0].name}`",
    )
