"""What the rest of the room knows of a source model, whatever its format."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn, Protocol

from ovms_converter.errors import RequestError
from ovms_converter.formats.base import shape_text
from ovms_converter.optimizer.suggestions import listed, nearest
from ovms_converter.optimizer.values import Shape, Value

__all__ = ["CHANNELS_LAST", "GraphSource", "InputPoint", "Plan", "PlannedInput", "Tensor", "unknown_name"]

CHANNELS_LAST = ("tf", "tflite")
"""The frameworks whose images have their channels in the last dimension."""


@dataclass(frozen=True)
class Tensor:
    """An input or output of the source; type (openvino's name), shape and sizes are None if not declared."""

    name: str
    type: str | None
    shape: tuple[int | None, ...] | None

    def __str__(self) -> str:
        return f"`{self.name}` {shape_text(self.shape)} {self.type or 'of unknown type'}"


@dataclass(frozen=True)
class InputPoint:
    """A place where data can enter the graph: an input of the model, or one that is cut open.

    `name` is the name that it has in the result.
    """

    name: str
    original: bool


@dataclass(frozen=True)
class PlannedInput:
    """An input of the result, or one that becomes a constant.

    `typed` is what the user called it, `fixed_by` the parameter that held its value.
    """

    typed: str
    point: InputPoint
    shape: Shape | None = None
    type: str | None = None
    value: Value | None = None
    fixed_by: str = "freeze_placeholder_with_value"


@dataclass(frozen=True)
class Plan:
    """What shall become of the graph's ends.

    `inputs`   those that the user said something about
    `listed`   whether the user named every input that shall be left; fixed values alone do not
    `outputs`  names in the result, empty for all that there are
    """

    inputs: tuple[PlannedInput, ...] = ()
    listed: bool = False
    outputs: tuple[str, ...] = ()

    @property
    def cuts(self) -> tuple[PlannedInput, ...]:
        """The inputs that are cut open inside the graph."""
        return tuple(planned for planned in self.inputs if not planned.point.original)

    @property
    def frozen(self) -> tuple[PlannedInput, ...]:
        """The inputs that become constants."""
        return tuple(planned for planned in self.inputs if planned.value is not None)


class GraphSource(Protocol):
    """A source model whose ends can be moved before a front end reads it."""

    framework: str
    """The name of OpenVINO's front end: `onnx`, `tf`, `tflite`, `paddle` or `ir`."""
    inputs: Sequence[Tensor]
    outputs: Sequence[Tensor]

    def find_input(self, name: str) -> InputPoint | None:
        """The place that a name means, by mo's rules; raises `RequestError` if it cannot be one."""

    def find_output(self, name: str) -> str | None:
        """The name in the result of the output that a name means."""

    def names(self) -> Sequence[str]:
        """Every name that could be meant."""

    def prepare(self, plan: Plan, scratch: Path) -> Path:
        """A model on disk whose ends are where the plan wants them; not all constants are set yet."""

    def name_of_place(self, names: Sequence[str]) -> str:
        """The name in the result of an input that the front end calls by one of `names`."""


def unknown_name(source: GraphSource, name: str, parameter: str) -> NoReturn:
    """Raise the error for a name that is not in the model, with the nearest ones and the real ends."""
    ends = source.outputs if parameter == "output" else source.inputs
    kind = "outputs" if parameter == "output" else "inputs"
    near = nearest(name, source.names())
    meant = f"did you mean {listed(near, 'or')}? " if near else ""
    raise RequestError(
        f"`{parameter}` names `{name}`, and the model has nothing of that name",
        hint=f"{meant}its {kind} are {', '.join(map(str, ends[:12]))}",
        parameter=parameter,
    )
