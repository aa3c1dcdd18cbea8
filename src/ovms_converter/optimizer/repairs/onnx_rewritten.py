"""Nodes with a meaning that OpenVINO's rules do not see, written with nodes that they read right.

- `GRU`, `LSTM` and `RNN` with `layout` 1 (opset 14): the rules take the batch for the time.
- `NonMaxSuppression`: boxes go if they overlap by *more* than the threshold; OpenVINO also drops those that
  overlap by just as much, so the threshold is raised by its smallest step.
- `SpaceToDepth` in the mode CRD (opset 27): the rule knows DCR alone.
- `Resize` that keeps the aspect ratio (opset 18): the rule stretches.
"""

import struct
from collections.abc import Callable, Sequence

from ovms_converter.formats.wire import Message
from ovms_converter.optimizer.onnx_graph import NODE_INPUT, NODE_NAME, NODE_OUTPUT
from ovms_converter.optimizer.repairs.base import OnnxRepair
from ovms_converter.optimizer.repairs.onnx_build import (
    changed,
    constant,
    integer_attribute,
    integers,
    integers_attribute,
    node,
    step,
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
    return step("Transpose", [source], target, integers_attribute("perm", order))


def _constant(output: str, value: float) -> bytes:
    return constant(output, "f32", [1], struct.pack("<f", value))


def _first(names: Sequence[str]) -> str:
    return next(filter(None, names), "")


def _above_the_threshold(original: Message) -> Sequence[bytes]:
    """By one step of f32: `t * (1 + 2^-23)`, and by the smallest normal number from 0."""
    inputs, outputs = original.texts(NODE_INPUT), original.texts(NODE_OUTPUT)
    inputs += [""] * (4 - len(inputs))
    name = _first(outputs)
    factor, least, scaled, raised = (f"{name}/{part}" for part in ("factor", "step", "scaled", "threshold"))
    nodes = [_constant(least, 1.1754944e-38)]
    if inputs[3]:
        nodes += [
            _constant(factor, 1 + 2**-23),
            step("Mul", [inputs[3], factor], scaled),
            step("Add", [scaled, least], raised),
        ]
    inputs[3] = raised if inputs[3] else least
    return [*nodes, changed(original, inputs, outputs, without(original))]


def _crd(original: Message) -> Sequence[bytes] | None:
    """The channels of a block are together, not the blocks of a channel: turned around behind it."""
    mode, block = attribute(original, "mode"), attribute(original, "blocksize")
    if mode is None or mode.text(_TEXT) != "CRD" or block is None:
        return None
    size = block.integer(_INTEGER)
    (source, *_), (target, *_) = original.texts(NODE_INPUT), original.texts(NODE_OUTPUT)
    part = {word: f"{target}/{word}" for word in ("depth", "last", "sizes", "split", "turned", "shape")}
    return [
        changed(original, [source], [part["depth"]], without(original, "mode")),
        _transposed(part["depth"], part["last"], (0, 2, 3, 1)),
        integers(part["sizes"], (0, 0, 0, size * size, -1)),
        step("Reshape", [part["last"], part["sizes"]], part["split"]),
        _transposed(part["split"], part["turned"], (0, 4, 3, 1, 2)),
        step("Shape", [part["depth"]], part["shape"]),
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
    nodes = [step("Shape", [inputs[0]], part["shape"])]
    now = part["shape"]
    if axes is not None:
        nodes.append(integers(part["axes"], axes.integers(_INTEGERS)))
        nodes.append(step("Gather", [now, part["axes"]], part["old"], integer_attribute("axis", 0)))
        now = part["old"]
    f32, i64 = integer_attribute("to", 1), integer_attribute("to", 7)
    reduce = "ReduceMin" if kind == "not_larger" else "ReduceMax"
    nodes += [
        step("Cast", [now], part["from"], f32),
        step("Cast", [inputs[3]], part["to"], f32),
        step("Div", [part["to"], part["from"]], part["ratios"]),
        step(reduce, [part["ratios"]], part["ratio"], integer_attribute("keepdims", 1)),
        step("Mul", [part["from"], part["ratio"]], part["scaled"]),
        _constant(part["half"], 0.5),
        step("Add", [part["scaled"], part["half"]], part["above"]),
        step("Floor", [part["above"]], part["rounded"]),
        step("Cast", [part["rounded"]], part["sizes"], i64),
    ]
    inputs[3] = part["sizes"]
    return [*nodes, changed(original, inputs, outputs, without(original, "keep_aspect_ratio_policy"))]


_STEPS = (
    "shape", "axes", "old", "from", "to", "ratios", "ratio", "scaled", "half", "above", "rounded", "sizes",
)  # fmt: skip


def _read_wrong(
    operation: str,
    what: str,
    fault: str,
    *,
    opset: int,
    rewrite: Callable[[Message], Sequence[bytes] | None],
    issue: str = SUPPORTED,
) -> OnnxRepair:
    """The repair of what is read wrong in every operation set from `opset` on."""
    return OnnxRepair(
        name=f"onnx-{operation}-{what}",
        fault=fault,
        issue=issue,
        versions="2026.4",
        operation=operation,
        opsets=range(opset, 100),
        rewrite=rewrite,
    )


REWRITTEN = (
    *(
        _read_wrong(
            operation,
            "layout",
            f"read a batch-first `{operation}` as if time came first",
            opset=14,
            rewrite=_batch_first,
            issue="https://github.com/openvinotoolkit/openvino/issues/37820",
        )
        for operation in ("GRU", "LSTM", "RNN")
    ),
    _read_wrong(
        "NonMaxSuppression",
        "threshold",
        "drop boxes of `NonMaxSuppression` that overlap by just the threshold",
        opset=10,
        rewrite=_above_the_threshold,
    ),
    _read_wrong("SpaceToDepth", "mode", "ignore the `mode` of `SpaceToDepth`", opset=1, rewrite=_crd),
    _read_wrong(
        "Resize",
        "aspect-ratio",
        "ignore the `keep_aspect_ratio_policy` of `Resize`",
        opset=18,
        rewrite=_aspect_ratio,
    ),
)
