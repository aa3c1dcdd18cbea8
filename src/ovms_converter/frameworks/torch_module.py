"""A pickled module: Python code of its author, made a program of PyTorch's own."""

import inspect
import warnings
from collections.abc import Collection, Sequence

import torch

from ovms_converter.errors import UnsupportedModelError
from ovms_converter.frameworks.torch_exported import ExportedProgram
from ovms_converter.frameworks.torch_layers import first_shape, likely
from ovms_converter.frameworks.torch_script import ScriptProgram
from ovms_converter.frameworks.torch_values import Input, sample

__all__ = ["ModuleProgram"]

_UNROLLED = ("boolean", "iterating over a tensor", "Python integer", "Python number", "Python index")
"""Words of the warnings that tracing gives where what it writes down holds for its sample only."""


class ModuleProgram:
    """A module in evaluation mode; arguments with a default are left out, but for those in `wanted`."""

    def __init__(self, module: torch.nn.Module, wanted: Collection[str] = ()) -> None:
        self._module = module.eval()
        self.outputs: list[str] = []
        self.inputs: list[Input] = []
        shapes, typical = likely(module), first_shape(module)
        for name, parameter in inspect.signature(module.forward).parameters.items():
            if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
                continue
            if parameter.default is parameter.empty or name in wanted:
                self.inputs.append(Input(name, likely=shapes.get(name, ()), typical=typical))

    def call(self, values: Sequence[torch.Tensor]) -> object:
        """What the module computes."""
        with torch.no_grad():
            return self._module(**self._named(values))

    def _named(self, values: Sequence[torch.Tensor]) -> dict[str, torch.Tensor]:
        return {port.own: value for port, value in zip(self.inputs, values, strict=True)}

    def program(self, ports: Sequence[Input], size: int) -> ExportedProgram | ScriptProgram:
        """The module as a program: exported, else scripted, else traced if a trace holds for all inputs.

        `size` is that of free dimensions with which the module runs. Some of them may be fixed in the result
        if an export fixes them, as it does for the steps of an LSTM, and nothing else works.

        Raises `UnsupportedModelError` with what PyTorch says if none of it works.
        """
        exported, why = None, ""
        try:
            exported = self._exported(ports, size)
        except Exception as error:  # noqa: BLE001 - PyTorch raises what it likes
            why = next(
                (line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__
            )
        if exported and not any(map(_fixes, ports, exported.inputs)):
            return exported
        try:
            return ScriptProgram(torch.jit.script(self._module), [port.own for port in ports])
        except Exception as error:
            if isinstance(error, UnsupportedModelError) and not exported:
                raise
        try:
            return self._traced(ports, size, why)
        except UnsupportedModelError:
            if not exported:
                raise
            return exported

    def _exported(self, ports: Sequence[Input], size: int) -> ExportedProgram:
        for batch in (2, 1):
            values = sample(ports, batch, size)
            free = {
                port.own: {
                    position: torch.export.Dim.AUTO
                    for position, length in enumerate(port.shape or ())
                    if length is None and (batch != 1 or position)
                }
                for port in ports
            }
            exported = torch.export.export(
                self._module, (), kwargs=self._named(values), dynamic_shapes=free, strict=False
            )
            program = ExportedProgram(exported)
            if all(
                wanted.shape[:1] != (None,) or found.shape[:1] == (None,)
                for wanted, found in zip(ports, program.inputs, strict=True)
                if wanted.shape and found.shape
            ):
                break
        return program

    def _traced(self, ports: Sequence[Input], size: int, why: str) -> ScriptProgram:
        refusal = UnsupportedModelError(
            f"PyTorch cannot make a program of the module: {why}",
            hint="export it where it was trained, with `torch.export` or `torch.jit.script`",
        )
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            try:
                traced = torch.jit.trace(
                    self._module, example_kwarg_inputs=self._named(sample(ports, 2, size)), strict=False
                )
            except Exception:  # noqa: BLE001 - as above
                raise refusal from None
        if any(word in str(warning.message) for warning in told for word in _UNROLLED):
            raise refusal
        return ScriptProgram(traced)


def _fixes(wanted: Input, found: Input) -> bool:
    """Whether a dimension that was free is no more."""
    pairs = zip(wanted.shape or (), found.shape or (), strict=False)
    return any(before is None and after is not None for before, after in pairs)
