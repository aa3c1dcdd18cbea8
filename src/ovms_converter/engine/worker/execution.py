"""Running a model on the CPU in bounded memory, whatever the size of its weights.

OpenVINO's CPU plugin keeps a second, repacked copy of every weight that it compiles in, so that running a
model costs its size in anonymous memory. Three methods, by the bytes of weights as the plugin would hold
them:

1. Up to `WHOLE_BYTES`: compiled as it is, the way a server does.
2. Otherwise the large weights of MatMul and Gather become further inputs, fed from the mapped file. An input
of a
   dynamic shape is neither repacked nor copied, so it costs nothing. (One of a static shape would be copied.)
3. If what then remains is still above the limit (convolutions), the graph is cut into parts of at most
`PART_BYTES` of
   weights in topological order, and each is compiled, run on the results of those before it, and freed.

All methods run the same operations of the written file on the same weights. What 2 and 3 do not exercise is
the plugin's fusing and repacking of just those weights, or across the cuts. Where one of them cannot compile
or run a model, the model is run whole: the verdict is never that of the method.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeAlias

import numpy as np
import openvino as ov
from openvino import op

__all__ = ["CPU_CONFIG", "PART_BYTES", "WHOLE_BYTES", "Method", "Runner", "Tensor", "methods", "weigh"]

WHOLE_BYTES = 112 << 20
PART_BYTES = 48 << 20
_FED_BYTES = 1 << 20

CPU_CONFIG = {"INFERENCE_PRECISION_HINT": "f32"}
"""Full precision: some CPUs' default is bf16, whose errors would hide those of the conversion."""

Tensor: TypeAlias = "np.ndarray[tuple[int, ...], np.dtype[np.generic]] | ov.Tensor"
_Array: TypeAlias = "np.ndarray[tuple[int, ...], np.dtype[np.generic]]"
_Key: TypeAlias = tuple[str, int]

_WEIGHT_CONSUMERS = frozenset({"MatMul", "Gather"})
_STATEFUL = frozenset({"ReadValue", "Assign"})


class Runner(Protocol):
    """A model that can be run.

    `method` is a few words on how, for the report; `repeatable` tells that a further run costs little.
    """

    method: str
    repeatable: bool

    def run(self, inputs: Sequence[Tensor]) -> list[_Array]:
        """The outputs, in the model's order; `inputs` in the model's order too. Raises RuntimeError."""


Method: TypeAlias = Callable[[ov.Model, ov.Core], Runner]
"""Compiles a model. Raises RuntimeError if openvino cannot."""


def methods(model: ov.Model) -> tuple[Method, ...]:
    """The methods to try with a model of this size, in order. Each changes the model it is called with."""
    return (_whole,) if weigh(model) <= WHOLE_BYTES else (_bounded, _whole)


def weigh(model: ov.Model) -> int:
    """Bytes of a model's weights as the CPU plugin would hold them: compressed ones are expanded to f32."""
    return sum(_weight(node) for node in model.get_ops() if node.get_type_name() == "Constant")


def _weight(constant: ov.Node) -> int:
    """Bytes of one weight in the plugin; a compressed weight is one whose only use is a Convert."""
    stored = int(constant.get_byte_size())
    if all(
        target.get_node().get_type_name() == "Convert" for target in constant.output(0).get_target_inputs()
    ):
        return max(stored, 4 * int(np.prod(constant.get_output_shape(0), dtype=np.int64)))
    return stored


def _whole(model: ov.Model, core: ov.Core) -> Runner:
    return _Whole(model, core)


def _bounded(model: ov.Model, core: ov.Core) -> Runner:
    fed = _feed_weights(model)
    parts = _cut(model) if weigh(model) > WHOLE_BYTES else []
    return _Fed(_Parts(parts, model, core) if parts else _Whole(model, core), fed)


class _Whole:
    method = "compiled and run"
    repeatable = True

    def __init__(self, model: ov.Model, core: ov.Core) -> None:
        self._request = core.compile_model(model, "CPU", CPU_CONFIG).create_infer_request()

    def run(self, inputs: Sequence[Tensor]) -> list[_Array]:
        results = self._request.infer(list(inputs))
        return [results[index] for index in range(len(results))]


class _Fed:
    """A runner whose model has further inputs, at the end, for weights."""

    def __init__(self, runner: Runner, fed: "list[_FedWeight]") -> None:
        self._runner = runner
        self._fed = fed
        self.repeatable = runner.repeatable
        self.method = runner.method
        if fed:
            self.method += f" with {len(fed)} large weights read from the file"

    def run(self, inputs: Sequence[Tensor]) -> list[_Array]:
        return self._runner.run([*inputs, *(weight.tensor for weight in self._fed)])


@dataclass(frozen=True)
class _FedWeight:
    """`tensor` is a view of the mapped file; `constant` keeps the mapping alive."""

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
        fed.append(_FedWeight(constant.get_tensor_view(), constant))
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


@dataclass
class _Part:
    """A slice of the graph: `needs` are the values it takes, in its inputs' order; `gives` are its results."""

    model: ov.Model
    needs: list[_Key]
    gives: list[_Key]


class _Parts:
    """Runs the parts of a model one after another; each is compiled anew, for memory, at every run."""

    repeatable = False

    def __init__(self, parts: list[_Part], model: ov.Model, core: ov.Core) -> None:
        self._parts = parts
        self._core = core
        self._inputs = [(node.get_name(), 0) for node in model.get_parameters()]
        self._outputs = [_key(node.input_value(0)) for node in model.get_results()]
        self.method = f"compiled and run in {len(parts)} parts"

    def run(self, inputs: Sequence[Tensor]) -> list[_Array]:
        uses = Counter(key for part in self._parts for key in part.needs) + Counter(self._outputs)
        values: dict[_Key, Tensor] = dict(zip(self._inputs, inputs, strict=True))
        for part in self._parts:
            request = self._core.compile_model(part.model, "CPU", CPU_CONFIG).create_infer_request()
            results = request.infer([values[key] for key in part.needs])
            values |= {key: results[index] for index, key in enumerate(part.gives)}
            uses.subtract(part.needs)
            values = {key: value for key, value in values.items() if uses[key] > 0}
        return [np.asarray(_array(values[key])) for key in self._outputs]


def _array(value: Tensor) -> _Array:
    return value.data if isinstance(value, ov.Tensor) else value


def _key(output: ov.Output) -> _Key:
    return output.get_node().get_name(), output.get_index()


def _cut(model: ov.Model) -> list[_Part]:
    """Cut a model into parts of bounded weights, in topological order; an empty list if it cannot be cut.

    Constants and what is computed from constants alone belong to no part: they come along with every part
    that uses them. A subgraph operation (If, Loop, TensorIterator) with its body is one operation.
    """
    nodes = model.get_ordered_ops()
    if any(node.get_type_name() in _STATEFUL for node in nodes):
        return []
    fixed = _weights_of_fixed_nodes(nodes)
    if any(result.input_value(0).get_node().get_name() in fixed for result in model.get_results()):
        return []
    groups = _groups([node for node in nodes if _computes(node, fixed)], fixed)
    place = {node.get_name(): number for number, group in enumerate(groups) for node in group}
    given: dict[_Key, ov.Output] = {}
    needed: list[dict[_Key, list[ov.Input]]] = [{} for _ in groups]
    for number, group in enumerate(groups):
        for target in (target for node in group for target in node.inputs()):
            source = target.get_source_output()
            name = source.get_node().get_name()
            if name not in fixed and place.get(name) != number:
                needed[number].setdefault(_key(source), []).append(target)
                given[_key(source)] = source
    for result in model.get_results():
        given[_key(result.input_value(0))] = result.input_value(0)
    parts = []
    for number, needs in enumerate(needed):
        parameters = []
        for key, targets in needs.items():
            source = given[key]
            parameter = op.Parameter(source.get_element_type(), source.get_partial_shape())
            for target in targets:
                target.replace_source_output(parameter.output(0))
            parameters.append(parameter)
        gives = {key: output for key, output in given.items() if place.get(key[0]) == number}
        results = [op.Result(output) for output in gives.values()]
        parts.append(_Part(ov.Model(results, parameters, f"part {number}"), list(needs), list(gives)))
    return parts


def _weights_of_fixed_nodes(nodes: Sequence[ov.Node]) -> Mapping[str, frozenset[tuple[str, int]]]:
    """For every node that no input reaches, by name: the constants under it, each with its bytes."""
    fixed: dict[str, frozenset[tuple[str, int]]] = {}
    for node in nodes:
        kind = node.get_type_name()
        if kind == "Constant":
            fixed[node.get_name()] = frozenset({(node.get_name(), _weight(node))})
        elif kind not in ("Parameter", "Result") and not kind.startswith("Random"):
            sources = [value.get_node().get_name() for value in node.input_values()]
            if sources and all(source in fixed for source in sources):
                fixed[node.get_name()] = frozenset().union(*(fixed[source] for source in sources))
    return fixed


def _computes(node: ov.Node, fixed: Mapping[str, object]) -> bool:
    return node.get_type_name() not in ("Parameter", "Result") and node.get_name() not in fixed


def _groups(nodes: Sequence[ov.Node], fixed: Mapping[str, frozenset[tuple[str, int]]]) -> list[list[ov.Node]]:
    """Consecutive nodes whose weights together are at most `PART_BYTES`, or one node that is larger alone."""
    return list(_grouped(nodes, fixed))


def _grouped(
    nodes: Sequence[ov.Node], fixed: Mapping[str, frozenset[tuple[str, int]]]
) -> Iterator[list[ov.Node]]:
    group: list[ov.Node] = []
    weights: frozenset[tuple[str, int]] = frozenset()
    for node in nodes:
        own = frozenset().union(
            *(fixed.get(value.get_node().get_name(), frozenset()) for value in node.input_values())
        )
        if group and sum(size for _, size in weights | own) > PART_BYTES:
            yield group
            group, weights = [], frozenset()
        group.append(node)
        weights |= own
    if group:
        yield group
