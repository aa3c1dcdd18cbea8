"""What a PaddlePaddle inference model (`.pdmodel`) says about itself, read without Paddle.

Field numbers: https://github.com/PaddlePaddle/Paddle/blob/develop/paddle/phi/core/framework/framework.proto
"""

import math
from collections.abc import Iterator

from ovms_converter.errors import CorruptModelError
from ovms_converter.formats.base import TensorSpec
from ovms_converter.formats.contents import Contents, Node, Numbers
from ovms_converter.formats.tree import Window
from ovms_converter.formats.wire import Message

__all__ = ["read_paddle"]

_TYPES = {
    0: ("bool", 1),
    1: ("int16", 2),
    2: ("int32", 4),
    3: ("int64", 8),
    4: ("float16", 2),
    5: ("float32", 4),
    6: ("float64", 8),
    20: ("uint8", 1),
    21: ("int8", 1),
    22: ("bfloat16", 2),
}
"""`VarType.Type` → name and bytes of one element."""

_LARGEST = 256 << 20
"""The graph alone, without weights, is never larger than this."""

_ENDS = ("feed", "fetch")


def read_paddle(file: Window) -> Contents:
    """Inputs, outputs, operations and weights of a ProgramDesc. Raises `CorruptModelError`."""
    if file.size > _LARGEST:
        raise CorruptModelError(f"a graph of {file.size} bytes is none")
    program = Message(memoryview(file.bytes(0, file.size)))
    blocks = program.messages(1)
    if not blocks:
        raise CorruptModelError("it holds no graph")
    variables = {variable.text(1): variable for block in blocks for variable in block.messages(3)}
    operators = [operator for block in blocks for operator in block.messages(4)]
    specs = {name: _spec(variable) for name, variable in variables.items()}
    return Contents(
        inputs=_ends(operators, "feed", 2, specs),
        outputs=_ends(operators, "fetch", 1, specs),
        domain="paddle",
        nodes=tuple(_nodes(operators)),
        weights=tuple(_weights(variables, specs)),
    )


def _nodes(operators: list[Message]) -> Iterator[Node]:
    for operator in operators:
        if operator.text(3) not in _ENDS:
            results = [name for entry in operator.messages(2) for name in entry.texts(2)]
            yield Node(operator.text(3), results[0] if results else "")


def _ends(
    operators: list[Message], kind: str, side: int, specs: dict[str, TensorSpec]
) -> tuple[TensorSpec, ...]:
    """The tensors that the operations `feed` give (field 2) or `fetch` take (field 1), in their order."""
    found = {
        _column(operator): name
        for operator in operators
        if operator.text(3) == kind
        for entry in operator.messages(side)
        for name in entry.texts(2)
    }
    return tuple(specs[name] for _, name in sorted(found.items()) if name in specs)


def _column(operator: Message) -> int:
    """The number of an input or output among its kind: the attribute `col`."""
    return next((each.integer(3) for each in operator.messages(4) if each.text(1) == "col"), 0)


def _tensor(variable: Message) -> Message:
    """The TensorDesc of a variable, in its LoDTensorDesc."""
    return variable.message(2).message(3).message(1)


def _spec(variable: Message) -> TensorSpec:
    tensor = _tensor(variable)
    kind, _ = _TYPES.get(tensor.integer(1), (f"type {tensor.integer(1)}", 0))
    return TensorSpec(
        variable.text(1), kind, tuple(None if size < 0 else size for size in tensor.integers(2))
    )


def _weights(variables: dict[str, Message], specs: dict[str, TensorSpec]) -> Iterator[Numbers]:
    for name, variable in variables.items():
        if variable.integer(3) and name not in _ENDS:
            kind, size = _TYPES.get(_tensor(variable).integer(1), ("unknown", 0))
            count = math.prod(each if isinstance(each, int) else 0 for each in specs[name].shape or ())
            yield Numbers(kind, count, count * size)
