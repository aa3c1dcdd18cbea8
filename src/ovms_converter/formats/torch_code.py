"""The code of a TorchScript program, read as text: what `forward` takes, and how its result nests.

PyTorch writes such code in Python's syntax (`torch/csrc/jit/serialization/python_print.cpp`): one `return` at
the end, and no variable that changes what it holds but lists and dictionaries.
"""

import ast
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

__all__ = ["Forward", "read_forward"]

_CODE_BYTES = 1 << 20
"""Bytes of the longest class that is read."""

_DEPTH = 20
"""How deep a result nests, and how long a chain of variables is followed."""

_PLAIN = ("int", "float", "bool", "str", "NoneType", "number", "Device")
"""Types of results that are no tensors and are not published."""

_Keys = tuple[str | None, ...]
_Literal = TypeVar("_Literal", ast.Tuple, ast.List, ast.Dict)


@dataclass(frozen=True)
class Forward:
    """`arguments` are the names, with whether each is a tensor and whether it may be left out.

    `outputs` has for every tensor in the result the key that it has in a dictionary, or None for none; it is
    None itself if the code does not tell.
    """

    arguments: tuple[tuple[str, bool, bool], ...]
    outputs: _Keys | None

    def taken(self, wanted: frozenset[str]) -> tuple[str, ...] | None:
        """The inputs if those in `wanted` are named; None if one is no tensor and must not be left out."""
        if any(not tensor and not free and name not in wanted for name, tensor, free in self.arguments):
            return None
        return tuple(name for name, tensor, _ in self.arguments if tensor or name in wanted)


def read_forward(code: str, kind: str) -> Forward | None:
    """`forward` of the class `kind`; None if it is not there or beyond what is read."""
    _, found, after = code.partition(f"class {kind}(Module):")
    text = found + after.partition("\nclass ")[0]
    if not found or len(text) > _CODE_BYTES:
        return None
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None
    (body,) = (each.body for each in tree.body[:1] if isinstance(each, ast.ClassDef))
    method = next(
        (each for each in body if isinstance(each, ast.FunctionDef) and each.name == "forward"), None
    )
    if method is None or method.args.vararg or method.args.kwarg or not method.args.args:
        return None
    arguments = method.args.args[1:]
    first_free = len(arguments) - len(method.args.defaults)
    return Forward(
        tuple(
            (each.arg, _is_tensor(each.annotation), position >= first_free)
            for position, each in enumerate(arguments)
        ),
        _Result(method).keys(),
    )


def _is_tensor(annotation: ast.expr | None) -> bool:
    return isinstance(annotation, ast.Name) and annotation.id == "Tensor"


class _UnknownError(Exception):
    """The code does not tell."""


class _Result:
    """The result of one method."""

    def __init__(self, method: ast.FunctionDef) -> None:
        self._type = method.returns
        self._returns = [each.value for each in ast.walk(method) if isinstance(each, ast.Return)]
        self._values: dict[str, list[ast.expr]] = {}
        self._read: dict[str, int] = {}
        for each in ast.walk(method):
            if isinstance(each, ast.Name) and isinstance(each.ctx, ast.Load):
                self._read[each.id] = self._read.get(each.id, 0) + 1
            elif isinstance(each, ast.Assign):
                for target in each.targets:
                    names = target.elts if isinstance(target, ast.Tuple) else [target]
                    for name in names:
                        if isinstance(name, ast.Name):
                            alone = not isinstance(target, ast.Tuple)
                            self._values.setdefault(name.id, []).append(
                                each.value if alone else ast.Constant(...)
                            )

    def keys(self) -> _Keys | None:
        """What `Forward.outputs` holds."""
        try:
            found = {tuple(self._leaves(self._type, value, None, 0)) for value in self._returns}
        except _UnknownError:
            return None
        return found.pop() if len(found) == 1 else None

    def _leaves(
        self, kind: ast.expr | None, value: ast.expr | None, key: str | None, depth: int
    ) -> Iterator[str | None]:
        """The key of each tensor in a value of a type."""
        if depth > _DEPTH:
            raise _UnknownError
        if _is_tensor(kind):
            yield key
        elif isinstance(kind, ast.Name) and kind.id in _PLAIN:
            return
        elif isinstance(kind, ast.Subscript) and isinstance(kind.value, ast.Name):
            yield from self._nested(kind.value.id, _parts(kind.slice), value, depth)
        else:
            raise _UnknownError

    def _nested(
        self, kind: str, parts: Sequence[ast.expr], value: ast.expr | None, depth: int
    ) -> Iterator[str | None]:
        if kind == "Tuple":
            found = self._literals(value, ast.Tuple, depth) if value is not None else ()
            if not found or any(len(each.elts) != len(parts) for each in found):
                for part in parts:
                    yield from self._leaves(part, None, None, depth + 1)
                return
            yield from _agreed(
                [
                    leaf
                    for part, item in zip(parts, each.elts, strict=True)
                    for leaf in self._leaves(part, item, None, depth + 1)
                ]
                for each in found
            )
        elif kind == "List":
            yield from _agreed(
                [leaf for item in each.elts for leaf in self._leaves(parts[0], item, None, depth + 1)]
                for each in self._needed(value, ast.List, depth)
            )
        elif kind == "Dict":
            yield from _agreed(
                [
                    leaf
                    for name, item in zip(each.keys, each.values, strict=True)
                    for leaf in self._leaves(parts[1], item, _constant(name), depth + 1)
                ]
                for each in self._needed(value, ast.Dict, depth)
            )
        else:
            raise _UnknownError

    def _needed(self, value: ast.expr | None, kind: type[_Literal], depth: int) -> Sequence[_Literal]:
        found = self._literals(value, kind, depth) if value is not None else ()
        if not found:
            raise _UnknownError
        return found

    def _literals(self, value: ast.expr, kind: type[_Literal], depth: int) -> Sequence[_Literal]:
        """The literals that a value may be; none if it may be anything else, or change on its way."""
        if isinstance(value, kind):
            return (value,)
        if not isinstance(value, ast.Name) or depth > _DEPTH or self._read.get(value.id) != 1:
            return ()
        found = [self._literals(each, kind, depth + 1) for each in self._values.get(value.id, ())]
        return [literal for each in found for literal in each] if all(found) else ()


def _parts(kind: ast.expr) -> Sequence[ast.expr]:
    return kind.elts if isinstance(kind, ast.Tuple) else (kind,)


def _constant(key: ast.expr | None) -> str:
    if not isinstance(key, ast.Constant):
        raise _UnknownError
    return str(key.value)


def _agreed(found: Iterator[list[str | None]]) -> list[str | None]:
    """What all of them say. Raises `_UnknownError` if they differ."""
    first, *others = found
    if any(other != first for other in others):
        raise _UnknownError
    return first
