"""Running a model on the CPU in bounded memory, whatever the size of its weights.

OpenVINO's CPU plugin keeps a second, repacked copy of every weight that it compiles in, so that running a
model costs its size in anonymous memory. Three methods, by the bytes of weights as the plugin would hold
them:

1. Up to `WHOLE_BYTES`, or what a caller allows: compiled as it is, the way a server does.
2. Otherwise the large weights of MatMul and Gather become further inputs, fed from the mapped file. An input
   of a dynamic shape is neither repacked nor copied, so it costs nothing; one of a static shape is copied.
3. If what then remains (convolutions) or what is fed is still much, the graph is cut into parts in their
   topological order, and each is compiled, run on the results of those before it, and freed (`cutting`).

All methods run the same operations of the written file on the same weights. What 2 and 3 do not exercise is
the plugin's fusing and repacking of just those weights, or across the cuts. Where one of them cannot compile
or run a model, the model is run whole: the verdict is never that of the method.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Protocol, TypeAlias, TypeVar

import numpy as np
import openvino as ov
from openvino import op

from ovms_converter.engine import death
from ovms_converter.engine.worker.bfloat import Array, as_array, as_tensor
from ovms_converter.engine.worker.cutting import FED_PART_BYTES, Key, Part, compiled_bytes, cut, key_of

__all__ = [
    "CPU_CONFIG",
    "LOADED_BYTES",
    "WHOLE_BYTES",
    "Array",
    "Method",
    "Runner",
    "Tensor",
    "array_of",
    "methods",
    "run_file",
    "weigh",
]

WHOLE_BYTES = 112 << 20
"""The weights that a model may have to be compiled as it is, where it runs more than once."""

LOADED_BYTES = 64 << 20
"""The same where it runs once: parts then take no longer, and a plugin that folds batch norms into
convolutions holds their weights three times."""

_FED_BYTES = 1 << 20

CPU_CONFIG = {"INFERENCE_PRECISION_HINT": "f32"}
"""Full precision: some CPUs' default is bf16, whose errors would hide those of the conversion."""

Result = TypeVar("Result")
Tensor: TypeAlias = "np.ndarray[tuple[int, ...], np.dtype[np.generic]] | ov.Tensor"

_WEIGHT_CONSUMERS = frozenset({"MatMul", "Gather"})


class Runner(Protocol):
    """A model that can be run.

    `method` is a few words on how, for the report; `repeatable` tells that a further run costs little.
    """

    method: str
    repeatable: bool

    def run(self, inputs: Sequence[Tensor]) -> list[Array]:
        """The outputs, in the model's order; `inputs` in the model's order too. Raises RuntimeError."""


Method: TypeAlias = Callable[[ov.Model, ov.Core], Runner]
"""Compiles a model. Raises RuntimeError if openvino cannot."""


def methods(model: ov.Model, whole_bytes: int | None = None) -> tuple[Method, ...]:
    """The methods to try with a model of this size, in order. Each changes the model it is called with.

    `whole_bytes` are the weights that it may have to be compiled as it is, by default `WHOLE_BYTES`.
    """
    limit = WHOLE_BYTES if whole_bytes is None else whole_bytes
    return (_whole,) if weigh(model) <= limit else (partial(_bounded, limit), _whole)


def run_file(
    xml: Path,
    use: Callable[[Runner, Sequence[ov.Output]], Result],
    *,
    read: ov.Model | None = None,
    whole_bytes: int | None = None,
) -> Result:
    """Call `use` with what runs a written IR and with its inputs.

    `read` is the model if it was read already, and is used up; for `whole_bytes` see `methods`. Should the
    method for its size fail, it is done again with the model compiled whole; the last failure counts.

    Raises:
        ResourceError: memory ran out.
        RuntimeError, ValueError: openvino cannot compile the model, or cannot run it.
    """
    core = ov.Core()
    model = core.read_model(str(xml)) if read is None else read
    *bounded, last = methods(model, whole_bytes)
    for method in bounded:
        try:
            return _use(model, core, method, use)
        except (RuntimeError, ValueError) as error:  # noqa: PERF203 - compiling takes longer
            resources = death.of_exception(error, f"running `{xml.name}`")
            if resources:
                raise resources from None
            model = core.read_model(str(xml))
    return _use(model, core, last, use)


def _use(
    model: ov.Model, core: ov.Core, method: Method, use: Callable[[Runner, Sequence[ov.Output]], Result]
) -> Result:
    inputs = list(model.inputs)  # those that a method adds are none of the caller's
    return use(method(model, core), inputs)


def weigh(model: ov.Model) -> int:
    """Bytes of a model's weights as the CPU plugin would hold them: compressed ones are expanded to f32."""
    return sum(compiled_bytes(node) for node in model.get_ops() if node.get_type_name() == "Constant")


def _whole(model: ov.Model, core: ov.Core) -> Runner:
    return _Whole(model, core)


def _bounded(whole_bytes: int, model: ov.Model, core: ov.Core) -> Runner:
    fed = _feed_weights(model)
    sizes = {weight.name: int(weight.tensor.get_byte_size()) for weight in fed}
    bounded = weigh(model) <= whole_bytes and sum(sizes.values()) <= FED_PART_BYTES
    parts = [] if bounded else cut(model, sizes)
    return _Fed(_Parts(parts, model, core) if parts else _Whole(model, core), fed)


class _Whole:
    method = "compiled and run"
    repeatable = True

    def __init__(self, model: ov.Model, core: ov.Core) -> None:
        self._request = core.compile_model(model, "CPU", CPU_CONFIG).create_infer_request()

    def run(self, inputs: Sequence[Tensor]) -> list[Array]:
        return _infer(self._request, inputs)


def _infer(request: ov.InferRequest, inputs: Sequence[Tensor]) -> list[Array]:
    kinds = [port.get_element_type() for port in request.model_inputs]
    feed = [
        as_tensor(value, kind) if kind == ov.Type.bf16 and not isinstance(value, ov.Tensor) else value
        for value, kind in zip(inputs, kinds, strict=True)
    ]
    results = request.infer(feed)
    return [as_array(results[at], port.get_element_type()) for at, port in enumerate(request.model_outputs)]


class _Fed:
    """A runner whose model has further inputs, at the end, for weights."""

    def __init__(self, runner: Runner, fed: "list[_FedWeight]") -> None:
        self._runner = runner
        self._fed = fed
        self.repeatable = runner.repeatable
        self.method = runner.method
        if fed:
            self.method += f" with {len(fed)} large weights read from the file"

    def run(self, inputs: Sequence[Tensor]) -> list[Array]:
        return self._runner.run([*inputs, *(weight.tensor for weight in self._fed)])


@dataclass(frozen=True)
class _FedWeight:
    """`name` is the unique name of the input; `tensor` is a view of the mapped file that `constant` keeps."""

    name: str
    tensor: ov.Tensor
    constant: ov.Node


def _feed_weights(model: ov.Model) -> list[_FedWeight]:
    """Replace the large weights of MatMul and Gather by inputs at the end of the model's inputs."""
    fed: list[_FedWeight] = []
    parameters: list[ov.Node] = []
    for constant in model.get_ordered_ops():
        if constant.get_type_name() != "Constant" or constant.get_byte_size() < _FED_BYTES:
            continue
        free = _free_dimension(constant)
        if free is None:
            continue
        shape = ov.PartialShape(list(constant.get_output_shape(0)))
        shape[free] = ov.Dimension()
        parameter = op.Parameter(constant.get_output_element_type(0), shape)
        for target in constant.output(0).get_target_inputs():
            target.replace_source_output(parameter.output(0))
        parameters.append(parameter)
        fed.append(_FedWeight(parameter.get_name(), constant.get_tensor_view(), constant))
    if parameters:
        model.add_parameters(parameters)
        model.validate_nodes_and_infer_types()
    return fed


def _free_dimension(constant: ov.Node) -> int | None:
    """The dimension of a weight that may become dynamic, or None if the weight is not one that can be fed.

    It is one that does not show in the consumer's output: the contracted one of a MatMul, the indexed one of
    a Gather.
    """
    rank = len(constant.get_output_shape(0))
    targets = list(constant.output(0).get_target_inputs())
    uses = [
        use
        for target in targets
        for use in (
            list(target.get_node().output(0).get_target_inputs())
            if target.get_node().get_type_name() == "Convert"
            else [target]
        )
    ]
    if not uses or rank < 1:
        return None
    free = 0
    for use in uses:
        node, index = use.get_node(), use.get_index()
        if node.get_type_name() not in _WEIGHT_CONSUMERS:
            return None
        if node.get_type_name() == "MatMul" and rank >= 2:
            transposed = node.get_attributes()["transpose_b" if index == 1 else "transpose_a"]
            free = rank - 1 if transposed == (index == 1) else rank - 2
        elif node.get_type_name() == "Gather" and index != 0:
            return None
    return free


class _Parts:
    """Runs the parts of a model one after another; each is compiled anew, for memory, at every run."""

    repeatable = False

    def __init__(self, parts: list[Part], model: ov.Model, core: ov.Core) -> None:
        self._parts = parts
        self._core = core
        self._inputs = [(node.get_name(), 0) for node in model.get_parameters()]
        self._outputs = [key_of(node.input_value(0)) for node in model.get_results()]
        self.method = f"compiled and run in {len(parts)} parts"

    def run(self, inputs: Sequence[Tensor]) -> list[Array]:
        uses = Counter(key for part in self._parts for key in part.needs) + Counter(self._outputs)
        values: dict[Key, Tensor] = dict(zip(self._inputs, inputs, strict=True))
        for part in self._parts:
            request = self._core.compile_model(part.model, "CPU", CPU_CONFIG).create_infer_request()
            results = _infer(request, [values[key] for key in part.needs])
            values |= dict(zip(part.gives, results, strict=True))
            uses.subtract(part.needs)
            values = {key: value for key, value in values.items() if uses[key] > 0}
        return [np.asarray(array_of(values[key])) for key in self._outputs]


def array_of(value: Tensor) -> Array:
    """A tensor's values. Raises RuntimeError for an element type that numpy lacks."""
    if not isinstance(value, ov.Tensor):
        return value
    if value.element_type.bitwidth < 8 and value.element_type != ov.Type.boolean:
        raise RuntimeError(f"numpy has no type for `{value.element_type.get_type_name()}`")
    return as_array(value.data, value.element_type)
