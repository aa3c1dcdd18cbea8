"""What a repair is."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from ovms_converter.formats.wire import Message
from ovms_converter.optimizer.native import Model

__all__ = ["GraphRepair", "OnnxRepair", "Repair", "by_operation"]


@dataclass(frozen=True)
class Repair:
    """A known fault of OpenVINO.

    `name`      how the record and notes call it
    `fault`     what goes wrong, as part of a sentence: "OpenVINO would ..."
    `issue`     the upstream report, or the nearest one
    `versions`  the releases of OpenVINO in which the fault was seen
    """

    name: str
    fault: str
    issue: str
    versions: str


@dataclass(frozen=True)
class OnnxRepair(Repair):
    """A fault in reading an ONNX operation of the default domain.

    `opsets`   the versions of the operation set in which the fault shows
    `rewrite`  makes a `NodeProto` into several that compute the same; None if this one is read right
    """

    operation: str
    opsets: range
    rewrite: Callable[[Message], Sequence[bytes] | None]


@dataclass(frozen=True)
class GraphRepair(Repair):
    """A fault in running a converted graph. `apply` changes it and tells in how many places."""

    apply: Callable[[Model], int]


def by_operation(repairs: Sequence[OnnxRepair], opset: int) -> Mapping[str, OnnxRepair]:
    """The repairs for an operation set, by operation."""
    return {repair.operation: repair for repair in repairs if opset in repair.opsets}
