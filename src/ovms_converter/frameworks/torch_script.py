"""A TorchScript program: its graph made concrete enough for OpenVINO, which reads no optional arguments,
no checks of ranks and no lists whose length it cannot see."""

from collections.abc import Collection, Iterator, Sequence

import openvino as ov
import torch
from openvino.frontend.pytorch.ts_decoder import TorchScriptPythonDecoder

from ovms_converter.errors import UnsupportedModelError
from ovms_converter.frameworks.torch_values import Dims, Input

__all__ = ["ScriptProgram"]

_C = torch._C
_ROUNDS = 4
"""How often the graph is simplified: each pass makes work for the others."""

_GROUPS = {"aten::conv1d": 6, "aten::conv2d": 6, "aten::conv3d": 6, "aten::_convolution": 8}
"""Convolutions, and which operand of theirs is the number of groups."""

_RECURRENT = {"aten::lstm": 2, "aten::gru": 2}
"""Recurrent layers, and which operand of theirs is the list of weights."""

_ATTENTION = {"aten::_native_multi_head_attention": 3, "aten::_transformer_encoder_layer_fwd": 1}
"""Fused attention layers, and which operand of theirs is the length of the vectors that they read."""

_ELEMENTWISE = (
    "aten::to",
    "aten::sub",
    "aten::div",
    "aten::mul",
    "aten::add",
    "aten::relu",
    "aten::contiguous",
)
"""Operations that leave a shape as it is, mostly."""

_RANDOM = ("aten::dropout", "aten::dropout_", "aten::feature_dropout", "aten::alpha_dropout")


class ScriptProgram:
    """A loaded TorchScript module, in evaluation mode.

    Arguments that may be left out are left out, but for those in `wanted`.
    """

    def __init__(self, module: torch.jit.ScriptModule, wanted: Collection[str] = ()) -> None:
        if not module._c._has_method("forward"):
            raise UnsupportedModelError(
                "the program has no method `forward`, or several of that name",
                hint="put the layer into a module of your own whose `forward` calls it, and export that",
            )
        self._module = module.eval()
        self._frozen = torch.jit.freeze(self._module)
        self._graph = self._frozen.inlined_graph
        self._check_mode()
        self._defaults: dict[int, object] = {}
        self.outputs: list[str] = []
        self.inputs: list[Input] = []
        typical = _first_shape(self._graph)
        values = list(self._graph.inputs())[1:]
        schema = self._module.forward.schema.arguments[1:]
        for position, (argument, value) in enumerate(zip(schema, values, strict=True)):
            if isinstance(argument.type, torch.TensorType) or argument.name in wanted:
                shapes = tuple(_likely(value))
                self.inputs.append(Input(argument.name, likely=shapes, usual=_type(value), typical=typical))
            elif argument.has_default_value():
                self._defaults[position] = argument.default_value
            else:
                raise UnsupportedModelError(
                    f"the program takes `{argument.name}`, which is no tensor but {argument.type}",
                    hint="export it with `torch.export`, which takes structures apart",
                )

    def _check_mode(self) -> None:
        """Refuse what was traced while it trained: it would draw numbers, or use the batch's statistics."""
        for kind in _RANDOM:
            for node in self._graph.findAllNodes(kind, True):
                if list(node.inputs())[-1].toIValue() is True:
                    raise _training()
        for node in self._graph.findAllNodes("aten::batch_norm", True):
            if list(node.inputs())[5].toIValue() is True:
                raise _training()

    def call(self, values: Sequence[torch.Tensor]) -> object:
        """What the program computes."""
        named = {port.own: value for port, value in zip(self.inputs, values, strict=True)}
        with torch.no_grad():
            return self._module(**named) if self._defaults else self._module(*values)

    def decoder(self, ports: Sequence[Input]) -> TorchScriptPythonDecoder:
        """The program for OpenVINO's front end, whose first input is the module itself."""
        graph = self._graph
        self._bind()
        _leave_fast_path(graph)
        values = list(graph.inputs())[1:]
        for value, port in zip(values, ports, strict=True):
            value.setType(
                _C.TensorType.get()
                .with_dtype(getattr(torch, port.type or "float32"))
                .with_device(torch.device("cpu"))
                .with_sizes(list(port.shape or ()))
            )
        for _ in range(_ROUNDS):
            _C._jit_pass_propagate_shapes_on_graph(graph)
            _C._jit_pass_peephole(graph)
            _C._jit_pass_constant_propagation(graph)
            _C._jit_pass_constant_loop_unrolling(graph)
            _fold_identity(graph)
            _C._jit_pass_constant_propagation(graph)
            _C._jit_pass_dce(graph)
        decoder = TorchScriptPythonDecoder(self._frozen, graph_element=graph, alias_db=graph.alias_db())
        decoder._transform_tensor_list_constants_to_listconstruct(graph)
        decoder._transform_optional_constants(graph)
        return decoder

    def completed(self, model: ov.Model) -> ov.Model:
        """The converted graph, which has everything."""
        return model

    def _bind(self) -> None:
        """Make constants of the arguments that are left at their defaults."""
        for position in sorted(self._defaults, reverse=True):
            value = list(self._graph.inputs())[position + 1]
            with self._graph.insert_point_guard(next(iter(self._graph.nodes()))):
                value.replaceAllUsesWith(self._graph.insertConstant(self._defaults[position]))
            self._graph.eraseInput(position + 1)


def _leave_fast_path(graph: torch.Graph) -> None:
    """Take the plain way through attention layers, which choose a fused operator by reasons against it.

    The condition is `not len(reasons) > 0`, see `torch/nn/modules/activation.py`; both ways compute the same.
    """
    for node in graph.findAllNodes("prim::If", True):
        condition = next(node.inputs())
        length = condition
        for kind in ("aten::__not__", "aten::gt", "aten::len"):
            if length.node().kind() != kind:
                break
            length = next(length.node().inputs())
        else:
            if isinstance(length.type(), torch.StringType):
                _answer(graph, condition.node(), False)


def _fold_identity(graph: torch.Graph) -> None:
    """Answer what PyTorch's own passes leave open: whether a value is itself."""
    for kind, answer in (("aten::__is__", True), ("aten::__isnot__", False)):
        for node in graph.findAllNodes(kind, True):
            one, other = node.inputs()
            if one.unique() == other.unique():
                _answer(graph, node, answer)


def _answer(graph: torch.Graph, node: torch.Node, answer: bool) -> None:
    with graph.insert_point_guard(node):
        constant = graph.insertConstant(answer)
    next(node.outputs()).replaceAllUsesWith(constant)


def _training() -> UnsupportedModelError:
    return UnsupportedModelError(
        "the program was traced in training mode, so what it computes is not what was trained",
        hint="run `model.eval()` before `torch.jit.trace`",
    )


def _type(value: torch.Value) -> str | None:
    """The type of an index that an embedding looks up; others depend on who calls."""
    return (
        "int64"
        if any(use.user.kind() == "aten::embedding" and use.offset == 1 for use in value.uses())
        else None
    )


def _likely(value: torch.Value, depth: int = 0) -> Iterator[Dims]:
    """Shapes that the operations which read the value at first would accept, by the weights beside it."""
    for use in value.uses():
        node = use.user
        operands = list(node.inputs())
        weight = operands[1].toIValue() if len(operands) > 1 else None
        width = _channels(node.kind(), operands, weight) if isinstance(weight, torch.Tensor) else None
        if use.offset == 0 and isinstance(weight, torch.Tensor) and width is not None:
            if "conv" in node.kind():
                yield (None, width, *(None,) * (weight.ndim - 2))
            elif node.kind() == "aten::batch_norm":
                yield from ((None, width, *(None,) * rank) for rank in range(3))
            else:
                yield from ((*(None,) * rank, width) for rank in (1, 2, 3))
            return
        if node.kind() == "aten::embedding" and use.offset == 1:
            yield from ((None, None), (None,))
            return
        if node.kind() in _RECURRENT and use.offset == 0:
            steps = _recurrent_width(node)
            if steps is not None:
                yield (None, None, steps)
                return
        if node.kind() in _ELEMENTWISE and depth < _ROUNDS:
            found = tuple(_likely(next(node.outputs()), depth + 1))
            if found:
                yield from found
                return


def _first_shape(graph: torch.Graph) -> Dims | None:
    """The shape that the first layer takes, or one behind it that knows the rank; for advice only."""
    first: Dims | None = None
    sequence: Dims | None = None
    for node in _nodes(graph):
        operands = list(node.inputs())
        if node.kind() in _ATTENTION:
            width = operands[_ATTENTION[node.kind()]].toIValue()
            sequence = sequence or ((None, None, width) if isinstance(width, int) else None)
        elif node.kind() == "aten::embedding":
            first = first or (None, None)
        elif node.kind() in _RECURRENT:
            width = _recurrent_width(node)
            sequence = sequence or ((None, None, width) if width is not None else None)
        elif first is None and len(operands) > 1:
            weight = operands[1].toIValue()
            width = _channels(node.kind(), operands, weight) if isinstance(weight, torch.Tensor) else None
            if width is not None and isinstance(weight, torch.Tensor):
                spatial = (None,) * (weight.ndim - 2) if "conv" in node.kind() else ()
                first = (None, width, *spatial)
    if sequence is not None and (first is None or (len(first) == 2 and first[-1] is not None)):
        return (None, None, sequence[-1] if first is None else first[-1])
    return first


def _nodes(block: torch.Graph | torch.Block) -> Iterator[torch.Node]:
    """All nodes in their order, those in branches and loops at their place."""
    for node in block.nodes():
        yield node
        for inner in node.blocks():
            yield from _nodes(inner)


def _recurrent_width(node: torch.Node) -> int | None:
    """The length of the vectors that a recurrent layer reads; None if its weights are no constants."""
    listed = list(node.inputs())[_RECURRENT[node.kind()]]
    weights = listed.toIValue() or [item.toIValue() for item in listed.node().inputs()]
    return int(weights[0].shape[1]) if weights and isinstance(weights[0], torch.Tensor) else None


def _channels(kind: str, operands: Sequence[torch.Value], weight: torch.Tensor) -> int | None:
    """The length of the dimension that a layer with this weight reads; None if it is no such layer."""
    if kind in _GROUPS:
        transposed = kind == "aten::_convolution" and operands[6].toIValue()
        return int(weight.shape[0] if transposed else weight.shape[1] * operands[_GROUPS[kind]].toIValue())
    if kind in ("aten::linear", "aten::batch_norm"):
        return int(weight.shape[-1])
    if kind in ("aten::matmul", "aten::mm") and weight.ndim == 2:
        return int(weight.shape[0])
    return None
