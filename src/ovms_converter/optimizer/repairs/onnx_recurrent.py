"""`LSTM`, `GRU` and `RNN` with what OpenVINO's cells lack: other activations, peepholes, coupled gates.

Its cells know `Sigmoid`, `Tanh` and `Relu`; Keras had `HardSigmoid` as its default. Peepholes and
`input_forget` are ignored, and the lengths of the sequences are where sizes are free. Here each direction is
a loop over the steps of the standard. A `layout` of 1 was rewritten before.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TypeAlias

import numpy as np

from ovms_converter.formats.wire import Message
from ovms_converter.optimizer.native import opset13, ov
from ovms_converter.optimizer.repairs.translation import (
    attribute,
    count,
    given,
    has_input,
    int64,
    integer,
    like,
    size,
    translated,
)

__all__ = ["RECURRENT"]

_INTEGER, _TEXTS = 3, 9
_LENGTHS, _PEEPHOLES = 4, 7
_KNOWN = frozenset(("sigmoid", "tanh", "relu"))
_DEFAULTS = {"LSTM": ("Sigmoid", "Tanh", "Tanh"), "GRU": ("Sigmoid", "Tanh"), "RNN": ("Tanh",)}
"""The activations that are used if none are given, a function a kind of gate."""

Value: TypeAlias = "ov.Node | ov.Output"
Values: TypeAlias = "tuple[Value, ...]"
Activation: TypeAlias = Callable[[Value], Value]

_PARAMETERS: dict[str, tuple[float | None, float | None]] = {
    "affine": (1.0, 0.0),
    "elu": (1.0, None),
    "hardsigmoid": (0.2, 0.5),
    "leakyrelu": (0.01, None),
    "scaledtanh": (1.0, 1.0),
    "thresholdedrelu": (1.0, None),
}
"""The defaults of alpha and beta of the activations that take them, in lower case."""


def _activation(name: str, alpha: float, beta: float) -> Activation:
    """The function of a gate. Raises ValueError for a name that the standard does not have."""
    functions: dict[str, Activation] = {
        "sigmoid": opset13.sigmoid,
        "tanh": opset13.tanh,
        "relu": opset13.relu,
        "softplus": opset13.softplus,
        "softsign": opset13.softsign,
        "elu": lambda x: opset13.elu(x, alpha),
        "affine": lambda x: opset13.add(opset13.multiply(x, like(alpha, x)), like(beta, x)),
        "hardsigmoid": lambda x: opset13.hard_sigmoid(x, like(alpha, x), like(beta, x)),
        "leakyrelu": lambda x: opset13.prelu(x, like(alpha, x)),
        "scaledtanh": lambda x: opset13.multiply(
            opset13.tanh(opset13.multiply(x, like(beta, x))), like(alpha, x)
        ),
        "thresholdedrelu": lambda x: opset13.select(opset13.less(like(alpha, x), x), x, like(0, x)),
    }
    if name not in functions:
        raise ValueError(f"there is no activation `{name}`")
    return functions[name]


def _activations(node: ov.frontend.NodeContext, operation: str, directions: int) -> list[list[Activation]]:
    """Those of each direction; alphas and betas go in order to those that take one, while there are some."""
    names = list(node.get_attribute("activations", list(_DEFAULTS[operation]) * directions))
    alphas = iter(node.get_attribute("activation_alpha", [np.nan]))
    betas = iter(node.get_attribute("activation_beta", [np.nan]))
    found = []
    for name in (each.lower() for each in names):
        alpha, beta = _PARAMETERS.get(name, (None, None))
        found.append(_activation(name, _next(alphas, alpha), _next(betas, beta)))
    each = len(found) // directions
    return [found[start : start + each] for start in range(0, len(found), each)]


def _next(values: Iterator[float], default: float | None) -> float:
    """The next parameter that is given, for an activation that takes one."""
    if default is None:
        return 0.0
    value = next(values, np.nan)
    return default if np.isnan(value) else float(value)


@dataclass(frozen=True)
class _Cell:
    """How a direction of a layer computes: the functions by kind of gate, and what else the node says."""

    functions: Sequence[Activation]
    clip: float
    coupled: bool
    reset_after: bool

    def clipped(self, gate: Value) -> Value:
        """What goes into a function, within the bounds."""
        return opset13.clamp(gate, -self.clip, self.clip) if self.clip > 0 else gate


def _parts(data: Value, axis: int, parts: int) -> list[Value]:
    return list(opset13.split(data, integer(axis), parts).outputs())


def _product(value: Value, weight: Value, added: Value) -> ov.Node:
    return opset13.add(opset13.matmul(value, weight, False, True), added)


def _lstm(cell: _Cell, x: Value, states: Values, constants: Values) -> Values:
    hidden, memory = states
    recurrent, bias, *more = constants
    into, out, forget, new = _parts(opset13.add(x, _product(hidden, recurrent, bias)), 1, 4)
    peepholes = _parts(more[0], 0, 3) if more else []
    if peepholes:
        into = opset13.add(into, opset13.multiply(peepholes[0], memory))
        forget = opset13.add(forget, opset13.multiply(peepholes[2], memory))
    f, g, h = cell.functions
    into = f(cell.clipped(into))
    forget = opset13.subtract(like(1, into), into) if cell.coupled else f(cell.clipped(forget))
    after = opset13.add(opset13.multiply(forget, memory), opset13.multiply(into, g(cell.clipped(new))))
    if peepholes:
        out = opset13.add(out, opset13.multiply(peepholes[1], after))
    return opset13.multiply(f(cell.clipped(out)), h(after)), after


def _gru(cell: _Cell, x: Value, states: Values, constants: Values) -> Values:
    hidden, (recurrent, bias, *_) = states[0], constants
    f, g = cell.functions
    weights, biases, inputs = _parts(recurrent, 0, 3), _parts(bias, 0, 3), _parts(x, 1, 3)
    update, reset = (
        f(cell.clipped(opset13.add(inputs[gate], _product(hidden, weights[gate], biases[gate]))))
        for gate in range(2)
    )
    if cell.reset_after:
        past = opset13.multiply(reset, _product(hidden, weights[2], biases[2]))
    else:
        past = _product(opset13.multiply(reset, hidden), weights[2], biases[2])
    new = g(cell.clipped(opset13.add(inputs[2], past)))
    fresh = opset13.multiply(opset13.subtract(like(1, update), update), new)
    return (opset13.add(fresh, opset13.multiply(update, hidden)),)


def _rnn(cell: _Cell, x: Value, states: Values, constants: Values) -> Values:
    recurrent, bias, *_ = constants
    return (cell.functions[0](cell.clipped(opset13.add(x, _product(states[0], recurrent, bias)))),)


_STEPS = {"LSTM": (_lstm, 4), "GRU": (_gru, 3), "RNN": (_rnn, 1)}
"""The step of each operation, and how many gates it has."""


def _over_time(
    operation: str, cell: _Cell, steps: Value, lengths: Value, constants: Values, first: Values
) -> tuple[Value, Values]:
    """`[T,B,H]`, 0 behind the end of a sequence, and the last states `[B,H]`; `steps` are `[T,B,gates*H]`."""
    kind = like(0, steps).output(0).get_element_type()
    shape = opset13.squeeze(opset13.slice(steps, int64(0), int64(1), int64(1), int64(0)), int64(0))
    step = opset13.parameter(ov.PartialShape([1, *shape.output(0).get_partial_shape()]), kind)
    time, ends = opset13.parameter([1], np.int64), opset13.parameter([-1], np.int64)
    fixed = [opset13.parameter(_shape(each), kind) for each in constants]
    states = [opset13.parameter(_shape(each), kind) for each in first]
    after = _STEPS[operation][0](cell, opset13.squeeze(step, int64(0)), tuple(states), tuple(fixed))
    goes_on = opset13.unsqueeze(opset13.less(time, ends), int64(1))
    kept = [opset13.select(goes_on, new, old) for new, old in zip(after, states, strict=True)]
    shown = opset13.unsqueeze(opset13.select(goes_on, after[0], like(0, after[0])), int64(0))
    body = ov.Model([*kept, shown], [step, time, ends, *fixed, *states], "step")

    loop = opset13.tensor_iterator()
    loop.set_body(body)
    loop.set_sliced_input(step, _output(steps), 0, 1, 1, -1, 0)
    loop.set_sliced_input(time, count(size(steps, 0)).output(0), 0, 1, 1, -1, 0)
    loop.set_invariant_input(ends, _output(lengths))
    for parameter, value in zip(fixed, constants, strict=True):
        loop.set_invariant_input(parameter, _output(value))
    for parameter, value, new in zip(states, first, kept, strict=True):
        loop.set_merged_input(parameter, _output(value), new.output(0))
    last = tuple(loop.get_iter_value(new.output(0), -1) for new in kept)
    return loop.get_concatenated_slices(shown.output(0), 0, 1, 1, -1, 0), last


def _output(value: Value) -> ov.Output:
    return value.output(0) if isinstance(value, ov.Node) else value


def _shape(value: Value) -> ov.PartialShape:
    return _output(value).get_partial_shape()


def _layer(operation: str, node: ov.frontend.NodeContext) -> list[ov.Output]:
    gates = _STEPS[operation][1]
    x, weights, recurrent = (node.get_input(number) for number in range(3))
    hidden = node.get_attribute("hidden_size", 0) or _shape(recurrent)[2].get_length()
    direction = node.get_attribute("direction", "forward")
    directions = 2 if direction == "bidirectional" else 1
    functions = _activations(node, operation, directions)
    bias, lengths, peepholes = given(node, 3), given(node, 4), given(node, _PEEPHOLES)
    ends = opset13.broadcast(size(x, 0), size(x, 1)) if lengths is None else opset13.convert(lengths, "i64")
    every, last = [], []
    for number in range(directions):
        cell = _Cell(
            functions[number],
            node.get_attribute("clip", 0.0),
            bool(node.get_attribute("input_forget", 0)),
            bool(node.get_attribute("linear_before_reset", 0)),
        )
        backwards = direction == "reverse" or number == 1
        sequence = opset13.reverse_sequence(x, ends, 1, 0) if backwards else x
        nothing = opset13.broadcast(like(0, x), int64(2 * gates * hidden))
        both = nothing if bias is None else opset13.gather(bias, integer(number), integer(0))
        of_input, of_state = _parts(both, 0, 2)
        steps = _product(sequence, opset13.gather(weights, integer(number), integer(0)), of_input)
        constants: list[Value] = [opset13.gather(recurrent, integer(number), integer(0)), of_state]
        if operation == "LSTM" and peepholes is not None:
            constants.append(opset13.gather(peepholes, integer(number), integer(0)))
        states = tuple(
            _first_state(given(node, position), number, x, hidden)
            for position in ((5, 6) if operation == "LSTM" else (5,))
        )
        shown, ended = _over_time(operation, cell, steps, ends, tuple(constants), states)
        every.append(opset13.reverse_sequence(shown, ends, 1, 0) if backwards else shown)
        last.append(ended)
    return [_stacked(every, 1), *(_stacked(each, 0) for each in zip(*last, strict=True))]


def _first_state(value: ov.Output | None, number: int, x: Value, hidden: int) -> ov.Node:
    if value is None:
        return opset13.broadcast(like(0, x), opset13.concat([size(x, 1), int64(hidden)], 0))
    return opset13.gather(value, integer(number), integer(0))


def _stacked(values: Sequence[Value], axis: int) -> ov.Output:
    """The directions as an axis of their own."""
    return opset13.concat([opset13.unsqueeze(each, int64(axis)) for each in values], axis).output(0)


def _is_beyond_the_cells(node: Message) -> bool:
    names, coupled = attribute(node, "activations"), attribute(node, "input_forget")
    return (
        has_input(node, _LENGTHS)
        or (coupled is not None and bool(coupled.integer(_INTEGER)))
        or has_input(node, _PEEPHOLES)
        or (names is not None and not {name.lower() for name in names.texts(_TEXTS)} <= _KNOWN)
    )


_READ_ON = "lose the lengths of sequences of free sizes in"

RECURRENT = tuple(
    translated(
        operation,
        partial(_layer, operation),
        fault,
        name=f"onnx-{operation}-cell",
        opsets=range(7, 100),
        applies=_is_beyond_the_cells,
    )
    for operation, fault in (
        ("GRU", f"{_READ_ON} a `GRU`, and refuse activations that its cell lacks"),
        (
            "LSTM",
            f"{_READ_ON} an `LSTM`, ignore its peepholes and coupled gates, "
            "and refuse activations that its cell lacks",
        ),
        ("RNN", f"{_READ_ON} an `RNN`, and refuse activations that its cell lacks"),
    )
)
