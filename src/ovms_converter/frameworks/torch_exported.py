"""An exported program (`torch.export`): PyTorch's graph with the types and shapes of everything."""

from collections.abc import Sequence

import openvino as ov
import torch
from openvino import opset13
from openvino.frontend.pytorch.fx_decoder import TorchFXPythonDecoder
from openvino.frontend.pytorch.torchdynamo.export_decompositions import ops_to_not_decompose
from torch.export.graph_signature import ConstantArgument, InputKind, OutputKind, TensorArgument
from torch.utils import _pytree as pytree

from ovms_converter.errors import UnsupportedModelError
from ovms_converter.frameworks.torch_values import Input

__all__ = ["ExportedProgram"]

_RANDOM = ("dropout", "feature_dropout", "alpha_dropout", "native_dropout")


class ExportedProgram:
    """A loaded exported program."""

    def __init__(self, program: torch.export.ExportedProgram) -> None:
        self._program = program
        signature = program.graph_signature
        self._check_mode()
        values = {node.name: node.meta.get("val") for node in program.graph.nodes if node.op == "placeholder"}
        self._given: list[tuple[object, bool]] = []
        self.inputs: list[Input] = []
        for spec in signature.input_specs:
            if spec.kind is not InputKind.USER_INPUT:
                continue
            if isinstance(spec.arg, ConstantArgument):
                self._given.append((spec.arg.value, False))
            elif isinstance(spec.arg, TensorArgument):
                self._given.append((None, True))
                self.inputs.append(_input(spec.arg.name, values[spec.arg.name]))
            else:
                raise UnsupportedModelError(
                    f"the program takes `{spec.arg.name}`, which is no tensor",
                    hint="export it with a tensor or a constant in its place",
                )
        outputs = [spec for spec in signature.output_specs if spec.kind is OutputKind.USER_OUTPUT]
        self.outputs = [spec.arg.name for spec in outputs if isinstance(spec.arg, TensorArgument)]
        self._module = program.module(check_guards=False)
        self._order: list[int] = []

    def _check_mode(self) -> None:
        """Refuse what was exported while it trained, or what changes itself: a server keeps no state."""
        changed = self._program.graph_signature.buffers_to_mutate
        random = any(
            node.op == "call_function"
            and getattr(getattr(node.target, "overloadpacket", None), "__name__", "") in _RANDOM
            and True in node.args
            for node in self._program.graph.nodes
        )
        if changed or random:
            what = (
                f"it changes `{next(iter(changed.values()))}` as it runs"
                if changed
                else "it drops values at random"
            )
            raise UnsupportedModelError(
                f"the program was exported in training mode, or keeps state: {what}",
                hint="run `model.eval()` before `torch.export.export`",
            )

    def call(self, values: Sequence[torch.Tensor]) -> object:
        """What the program computes."""
        tensors = iter(values)
        flat = [next(tensors) if free else constant for constant, free in self._given]
        arguments, named = pytree.tree_unflatten(flat, self._program.call_spec.in_spec)
        with torch.no_grad():
            return self._module(*arguments, **named)

    def decoder(self, _ports: Sequence[Input]) -> TorchFXPythonDecoder:
        """The program for OpenVINO's front end."""
        table = torch.export.default_decompositions()
        for operator in ops_to_not_decompose():
            if operator in table:
                table.pop(operator)
        program = self._program.run_decompositions(table)
        module = program.module(check_guards=False)
        end = next(node for node in module.graph.nodes if node.op == "output")
        leaves = [leaf for leaf in pytree.tree_leaves(end.args) if isinstance(leaf, torch.fx.Node)]
        once = list(dict.fromkeys(leaves))
        self._order = [once.index(leaf) for leaf in leaves]
        end.args = (tuple(once),)
        return TorchFXPythonDecoder(module, dynamic_shapes=True)

    def completed(self, model: ov.Model) -> ov.Model:
        """The converted graph with the outputs that are there twice, which the front end takes only once."""
        results = model.get_results()
        if self._order == list(range(len(results))):
            return model
        ports = [opset13.result(results[position].input_value(0)) for position in self._order]
        return ov.Model(ports, model.get_parameters(), model.get_friendly_name())


def _input(name: str, value: object) -> Input:
    if not isinstance(value, torch.Tensor):
        raise UnsupportedModelError(f"the program takes `{name}`, of which it does not say what it is")
    # A symbol may stand for one number only, which PyTorch fixed as it exported.
    shape = tuple(size if isinstance(size, int) else size.node.maybe_as_int() for size in value.shape)
    return Input(name, str(value.dtype).removeprefix("torch."), shape)
