"""Nodes with a meaning that OpenVINO's rules do not see, written with nodes that they read right.

- `GRU`, `LSTM` and `RNN` with `layout` 1 (opset 14): the rules take the batch for the time.
- `NonMaxSuppression`: boxes go if they overlap by *more* than the threshold; OpenVINO also drops those that
  overlap by just as much, so the threshold is raised by its smallest step.
- `SpaceToDepth` in the mode CRD (opset 27): the rule knows DCR alone.
- `Resize` that keeps the aspect ratio (opset 18): the rule stretches.
"""

import struct
from collections.abc import Sequence

from ovms_converter.formats.wire import Message
from ovms_converter.optimizer.onnx_graph import NODE_INPUT, NODE_NAME, NODE_OUTPUT
from ovms_converter.optimizer.repairs.base import OnnxRepair
from ovms_converter.optimizer.repairs.onnx_build import (
    changed,
    constant,
    integer_attribute,
    integers_attribute,
    node,
    without,
)
from ovms_converter.optimizer.repairs.translation import SUPPORTED, attribute

__all__ = ["REWRITTEN"]

_INTEGER, _INTEGERS, _TEXT = 3, 8, 4

_ROWS = (1, 0, 2)
_BATCHED = (0, 5, 6)
"""The inputs of which `layout` tells the order: the sequence and the first states."""
_BACK = {0: (2, 0, 1, 3), 1: _ROWS, 2: _ROWS}


def _batch_first(original: Message) -> Sequence[bytes] | None:
    layout = attribute(original, "layout")
    if layout is None or not layout.integer(_INTEGER):
        return None
    inputs, outputs = original.texts(NODE_INPUT), original.texts(NODE_OUTPUT)
    first = _first(outputs)
    before, after = [], []
    for number, name in enumerate(inputs):
        if name and number in _BATCHED:
            inputs[number] = f"{first}/input{number}"
            before.append(_transposed(name, inputs[number], _ROWS))
    for number, name in enumerate(outputs):
        if name:
            outputs[number] = f"{first}/output{number}"
            after.append(_transposed(outputs[number], name, _BACK[number]))
    return [*before, changed(original, inputs, outputs, without(original, "layout")), *after]


def _transposed(source: str, target: str, order: Sequence[int]) -> bytes:
    return node("Transpose", [source], [target], target, integers_attribute("perm", order))


def _first(names: Sequence[str]) -> str:
    return next(filter(None, names), "")


def _above_the_threshold(original: Message) -> Sequence[bytes]:
    """By one step of f32: `t * (1 + 2^-23)`, and by the smallest normal number from 0."""
    inputs, outputs = original.texts(NODE_INPUT), original.texts(NODE_OUTPUT)
    inputs += [""] * (4 - len(inputs))
    name = _first(outputs)
    factor, step, scaled, raised = (f"{name}/{part}" for part in ("factor", "step", "scaled", "threshold"))
    nodes = [constant(step, "f32", [1], struct.pack("<f", 1.1754944e-38))]
    if inputs[3]:
        nodes += [
            constant(factor, "f32", [1], struct.pack("<f", 1 + 2**-23)),
            node("Mul", [inputs[3], factor], [scaled], scaled),
            node("Add", [scaled, step], [raised], raised),
        ]
    inputs[3] = raised if inputs[3] else step
    return [*nodes, changed(original, inputs, outputs, without(original))]


def _crd(original: Message) -> Sequence[bytes] | None:
    """The channels of a block are together, not the blocks of a channel: turned around behind it."""
    mode, block = attribute(original, "mode"), attribute(original, "blocksize")
    if mode is None or mode.text(_TEXT) != "CRD" or block is None:
        return None
    size = block.integer(_INTEGER)
    (source, *_), (target, *_) = original.texts(NODE_INPUT), original.texts(NODE_OUTPUT)
    part = {word: f"{target}/{word}" for word in ("depth", "last", "sizes", "split", "turned", "shape")}
    sizes = b"".join(each.to_bytes(8, "little", signed=True) for each in (0, 0, 0, size * size, -1))
    return [
        changed(original, [source], [part["depth"]], without(original, "mode")),
        _transposed(part["depth"], part["last"], (0, 2, 3, 1)),
        constant(part["sizes"], "i64", [5], sizes),
        node("Reshape", [part["last"], part["sizes"]], [part["split"]], part["split"]),
        _transposed(part["split"], part["turned"], (0, 4, 3, 1, 2)),
        node("Shape", [part["depth"]], [part["shape"]], part["shape"]),
        node("Reshape", [part["turned"], part["shape"]], [target], original.text(NODE_NAME) or target),
    ]


def _aspect_ratio(original: Message) -> Sequence[bytes] | None:
    """The sizes that keep the ratio, computed from the given ones."""
    policy = attribute(original, "keep_aspect_ratio_policy")
    inputs, outputs = original.texts(NODE_INPUT), original.texts(NODE_OUTPUT)
    kind = policy.text(_TEXT) if policy else "stretch"
    if kind not in ("not_larger", "not_smaller") or len(inputs) < 4 or not inputs[3]:
        return None
    axes = attribute(original, "axes")
    name = _first(outputs)
    part = {word: f"{name}/{word}" for word in _STEPS}
    nodes = [node("Shape", [inputs[0]], [part["shape"]], part["shape"])]
    now = part["shape"]
    if axes is not None:
        numbers = axes.integers(_INTEGERS)
        raw = b"".join(number.to_bytes(8, "little", signed=True) for number in numbers)
        nodes.append(constant(part["axes"], "i64", [len(numbers)], raw))
        nodes.append(
            node("Gather", [now, part["axes"]], [part["old"]], part["old"], integer_attribute("axis", 0))
        )
        now = part["old"]
    f32, i64 = integer_attribute("to", 1), integer_attribute("to", 7)
    reduce = "ReduceMin" if kind == "not_larger" else "ReduceMax"
    nodes += [
        node("Cast", [now], [part["from"]], part["from"], f32),
        node("Cast", [inputs[3]], [part["to"]], part["to"], f32),
        node("Div", [part["to"], part["from"]], [part["ratios"]], part["ratios"]),
        node(reduce, [part["ratios"]], [part["ratio"]], part["ratio"], integer_attribute("keepdims", 1)),
        node("Mul", [part["from"], part["ratio"]], [part["scaled"]], part["scaled"]),
        constant(part["half"], "f32", [1], struct.pack("<f", 0.5)),
        node("Add", [part["scaled"], part["half"]], [part["above"]], part["above"]),
        node("Floor", [part["above"]], [part["rounded"]], part["rounded"]),
        node("Cast", [part["rounded"]], [part["sizes"]], part["sizes"], i64),
    ]
    inputs[3] = part["sizes"]
    return [*nodes, changed(original, inputs, outputs, without(original, "keep_aspect_ratio_policy"))]


_STEPS = (
    "shape", "axes", "old", "from", "to", "ratios", "ratio", "scaled", "half", "above", "rounded", "sizes",
)  # fmt: skip

REWRITTEN = (
    *(
        OnnxRepair(
            name=f"onnx-{operation}-layout",
            fault=f"read a batch-first `{operation}` as if time came first",
            issue="https://github.com/openvinotoolkit/openvino/issues/37820",
            versions="2026.4",
            operation=operation,
            opsets=range(14, 100),
            rewrite=_batch_first,
        )
        for operation in ("GRU", "LSTM", "RNN")
    ),
    OnnxRepair(
        name="onnx-NonMaxSuppression-threshold",
        fault="drop boxes of `NonMaxSuppression` that overlap by just the threshold",
        issue=SUPPORTED,
        versions="2026.4",
        operation="NonMaxSuppression",
        opsets=range(10, 100),
        rewrite=_above_the_threshold,
    ),
    OnnxRepair(
        name="onnx-SpaceToDepth-mode",
        fault="ignore the `mode` of `SpaceToDepth`",
        issue=SUPPORTED,
        versions="2026.4",
        operation="SpaceToDepth",
        opsets=range(1, 100),
        rewrite=_crd,
    ),
    OnnxRepair(
        name="onnx-Resize-aspect-ratio",
        fault="ignore the `keep_aspect_ratio_policy` of `Resize`",
        issue=SUPPORTED,
        versions="2026.4",
        operation="Resize",
        opsets=range(18, 100),
        rewrite=_aspect_ratio,
    ),
)
