"""`ReduceL1`, `ReduceLogSum` and `ReduceLogSumExp` of opset 13 to 17: OpenVINO ignores their `axes`.

Until opset 17 these have `axes` as an attribute; OpenVINO looks for the input that opset 18 brought, finds
none, and reduces over everything. `ReduceSum` has the input since opset 13 and `ReduceMax` is read right, so
both stand for them.
"""

from collections.abc import Sequence

from ovms_converter.formats.wire import Message
from ovms_converter.optimizer.onnx_graph import NODE_ATTRIBUTE, NODE_INPUT, NODE_NAME, NODE_OUTPUT
from ovms_converter.optimizer.repairs.base import OnnxRepair
from ovms_converter.optimizer.repairs.onnx_build import (
    integer_attribute,
    integers,
    integers_attribute,
    node,
)

__all__ = ["REDUCE_AXES"]

_ATTRIBUTE_NAME, _ATTRIBUTE_INTEGER, _ATTRIBUTE_INTEGERS, _REFERENCE = 1, 3, 8, 21


class _Reduction:
    """What the rewritten nodes need of the original one."""

    def __init__(self, original: Message) -> None:
        attributes = {each.text(_ATTRIBUTE_NAME): each for each in original.messages(NODE_ATTRIBUTE)}
        axes, keep = attributes.get("axes"), attributes.get("keepdims")
        self.axes = axes.integers(_ATTRIBUTE_INTEGERS) if axes else []
        self.keep = keep.integer(_ATTRIBUTE_INTEGER, 1) if keep else 1
        # inside a function they may be parameters of it
        self.known = not any(each.text(_REFERENCE) for each in attributes.values())
        self.input = next(iter(original.texts(NODE_INPUT)), "")
        self.output = next(iter(original.texts(NODE_OUTPUT)), "")
        self.name = original.text(NODE_NAME) or self.output

    def inner(self, part: str) -> str:
        """The name of a new tensor."""
        return f"{self.output}/{part}"

    def node(self, operation: str, inputs: Sequence[str], output: str, *attributes: bytes) -> bytes:
        """A new node; the one that makes the output has the name of the original."""
        name = self.name if output == self.output else output
        return node(operation, inputs, [output], name, *attributes)

    def sum(self, source: str, output: str, keep: int) -> list[bytes]:
        """The sum over the axes of the original."""
        axes = self.inner("axes")
        return [
            integers(axes, self.axes),
            self.node("ReduceSum", [source, axes], output, integer_attribute("keepdims", keep)),
        ]

    def maximum(self, output: str, keep: int) -> bytes:
        """The maximum over the axes of the original."""
        attributes = integers_attribute("axes", self.axes), integer_attribute("keepdims", keep)
        return self.node("ReduceMax", [self.input], output, *attributes)


def _reduction(original: Message) -> _Reduction | None:
    """The node, if its axes matter: without them it reduces over everything, which is read right."""
    found = _Reduction(original)
    return found if found.axes and found.known and found.input and found.output else None


def _l1(original: Message) -> Sequence[bytes] | None:
    found = _reduction(original)
    if found is None:
        return None
    absolute = found.inner("abs")
    return [found.node("Abs", [found.input], absolute), *found.sum(absolute, found.output, found.keep)]


def _log_sum(original: Message) -> Sequence[bytes] | None:
    found = _reduction(original)
    if found is None:
        return None
    total = found.inner("sum")
    return [*found.sum(found.input, total, found.keep), found.node("Log", [total], found.output)]


def _log_sum_exp(original: Message) -> Sequence[bytes] | None:
    """Less the maximum, so that no exponential overflows."""
    found = _reduction(original)
    if found is None:
        return None
    most, less, powers = found.inner("most"), found.inner("less"), found.inner("exp")
    total, log, added = found.inner("sum"), found.inner("log"), found.inner("max")
    return [
        found.maximum(most, 1),
        found.node("Sub", [found.input, most], less),
        found.node("Exp", [less], powers),
        *found.sum(powers, total, found.keep),
        found.node("Log", [total], log),
        found.maximum(added, found.keep),
        found.node("Add", [log, added], found.output),
    ]


REDUCE_AXES = tuple(
    OnnxRepair(
        name=f"onnx-{operation}-axes",
        fault=f"ignore the `axes` of `{operation}` and reduce over everything",
        issue="https://github.com/openvinotoolkit/openvino/issues/38238",
        versions="2026.4",
        operation=operation,
        opsets=range(13, 18),
        rewrite=rewrite,
    )
    for operation, rewrite in (
        ("ReduceL1", _l1),
        ("ReduceLogSum", _log_sum),
        ("ReduceLogSumExp", _log_sum_exp),
    )
)
