"""Inputs that somebody gave: the file of `verify_data`, and the input example of an MLflow artifact.

`verify_data` is what a client of the result would send: a `.npz` with one array for each input, by its name
in the result. Arrays `output:NAME` are what the result shall compute of them. The input example is what the
source takes, in one of the forms that MLflow has written since 1.0.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import openvino as ov

from ovms_converter.engine.worker.bfloat import dtype_of
from ovms_converter.engine.worker.execution import Array
from ovms_converter.engine.worker.treatment import Treatment
from ovms_converter.errors import RequestError
from ovms_converter.optimizer.shapes import sizes
from ovms_converter.optimizer.suggestions import did_you_mean, listed

__all__ = ["OUTPUT", "Example", "Examples", "MisfitError", "read_data", "read_mlflow"]

OUTPUT = "output:"
"""Begins the name of an array that is a recorded output."""

_MOST = 64
"""Of more rows than a fixed batch takes, so many batches are used."""

_RANKS = "biuf"
"""numpy's letters for types, each of which the next ones hold."""


class MisfitError(Exception):
    """An input example does not fit the model; the text says why, and goes on from what names the example."""


@dataclass(frozen=True, eq=False)
class Example:
    """Inputs by their name in the result, of its types, and what it shall compute of them, if given.

    Arrays have no truth value for `==`, so an example equals itself alone.
    """

    inputs: Mapping[str, Array]
    outputs: Mapping[str, Array]


@dataclass(frozen=True)
class Examples:
    """Inputs that somebody gave: `data` of `verify_data`, and `example` that came with the model."""

    data: tuple[Example, ...] = ()
    example: tuple[Example, ...] = ()

    @property
    def recorded(self) -> tuple[Example, ...]:
        """Those that tell outputs."""
        return tuple(each for each in self.data if each.outputs)


def read_data(path: Path, model: ov.Model) -> tuple[Example, ...]:
    """The examples of a `.npz` for a converted model; a batch of one also comes twice if the batch is free.

    Raises `RequestError` for `verify_data` if names, types or shapes are not those of the model.
    """
    try:
        with np.load(path, allow_pickle=False) as stored:
            arrays = {name: np.asarray(stored[name]) for name in stored.files}
    except (ValueError, OSError, KeyError, EOFError, MemoryError) as error:
        raise _refused(f"cannot be read: {' '.join(str(error).split())[:200]}") from None
    names = [_name(port) for port in model.inputs]
    ends = [_name(port) for port in model.outputs]
    outputs = {
        name.removeprefix(OUTPUT): array
        for name, array in arrays.items()
        if name.startswith(OUTPUT) and name not in names
    }
    inputs = {name: array for name, array in arrays.items() if name in names}
    _refuse_unknown(
        [name for name in arrays if name not in names and not name.startswith(OUTPUT)], names, "input"
    )
    _refuse_unknown([name for name in outputs if name not in ends], ends, "output")
    missing = [name for name in names if name not in inputs]
    if missing:
        raise _refused(f"lacks the input `{missing[0]}`", f"the result takes {listed(names)}")
    try:
        typed = {_name(port): _typed(_name(port), inputs[_name(port)], port) for port in model.inputs}
        return _fitted(typed, outputs, model)
    except MisfitError as error:
        raise _refused(str(error), "its arrays are what a client of the result sends") from None


def read_mlflow(
    path: Path, signature: Mapping[str, Any] | None, model: ov.Model, treatment: Treatment
) -> tuple[Example, ...]:
    """The examples of an MLflow artifact, as inputs of the result.

    Raises `MisfitError` if the file is in none of MLflow's forms, or fits other inputs than the source's.
    """
    try:
        content = json.loads(path.read_bytes())
        found = _by_input(_unwrapped(content), signature, model, treatment)
    except (ValueError, TypeError, LookupError, OverflowError, RecursionError, OSError):
        raise MisfitError("is none of numbers or text") from None
    inputs = {}
    for port in model.inputs:
        steps = treatment.inputs[_name(port)]
        if steps.name not in found:
            raise MisfitError(f"lacks the input `{steps.name}`")
        values, dtype = found[steps.name], _dtype(port)
        if (values.dtype.kind == "U") != (dtype.kind == "U"):
            raise MisfitError(f"holds {values.dtype} for `{steps.name}`, and the model takes {dtype}")
        with np.errstate(all="ignore"):
            inputs[_name(port)] = values.astype(dtype) if dtype.kind == "U" else steps.back(values, dtype)
    return _fitted(inputs, {}, model)


def _name(port: ov.Output) -> str:
    return str(port.get_any_name())


def _refused(problem: str, hint: str | None = None) -> RequestError:
    return RequestError(f"the file of `verify_data` {problem}", hint=hint, parameter="verify_data")


def _refuse_unknown(unknown: Sequence[str], known: Sequence[str], kind: str) -> None:
    if unknown:
        hint = did_you_mean(unknown[0], known) or f"it has {listed(known)}"
        raise _refused(f"holds `{unknown[0]}`, and the result has no such {kind}", hint)


def _dtype(port: ov.Output) -> "np.dtype[np.generic]":
    kind = port.get_element_type()
    if kind == ov.Type.string:
        return np.dtype(np.str_)
    try:
        dtype: np.dtype[np.generic] = dtype_of(kind)
    except RuntimeError:
        problem = f"cannot hold `{_name(port)}`: numpy has no type for `{kind.get_type_name()}`"
        raise MisfitError(problem) from None
    return dtype


def _typed(name: str, values: Array, port: ov.Output) -> Array:
    """The values in the input's type, if that holds them."""
    dtype = _dtype(port)
    kinds = (values.dtype.kind.replace("S", "U"), dtype.kind)
    narrower = _RANKS.find(kinds[0]) > _RANKS.find(kinds[1]) and set(kinds) != {"u", "i"}
    if kinds[0] != kinds[1] and ("U" in kinds or narrower):
        raise MisfitError(f"holds `{name}` of the type {values.dtype}, and the input takes {dtype}")
    if values.dtype.kind == "S":
        return np.char.decode(values.astype(np.bytes_), "utf-8", "backslashreplace")
    with np.errstate(all="ignore"):
        typed = values.astype(dtype)
    whole = dtype.kind in "iu"
    if not (np.array_equal(typed, values) if whole else _as_finite(typed, values)):
        raise MisfitError(f"holds numbers for `{name}` that are out of the range of its type {dtype}")
    return typed


def _as_finite(typed: Array, values: Array) -> bool:
    """Whether floats have become infinite nowhere; text and truth values never do."""
    if typed.dtype.kind != "f":
        return True
    return bool(np.all(np.isfinite(typed) | ~np.isfinite(values.astype(np.float64))))


def _fitted(
    inputs: Mapping[str, Array], outputs: Mapping[str, Array], model: ov.Model
) -> tuple[Example, ...]:
    """The inputs as batches that the model takes: as they are, or in parts of a batch that is fixed."""
    batch = _batch_to_cut(inputs, model)
    if batch is not None:
        size, rows = batch
        other = [name for name, values in outputs.items() if not values.ndim or len(values) != rows]
        if other:
            raise MisfitError(f"holds {rows} rows of inputs, and another number for `{OUTPUT}{other[0]}`")
        return tuple(
            Example(_rows(inputs, each), _rows(outputs, each))
            for each in [np.arange(at, at + size) % rows for at in range(0, rows, size)][:_MOST]
        )
    whole = Example(inputs, outputs)
    free = all(len(_shape(port) or ()) > 0 and (_shape(port) or (0,))[0] is None for port in model.inputs)
    single = all(array.ndim and len(array) == 1 for array in (*inputs.values(), *outputs.values()))
    if not (free and single):
        return (whole,)
    twice = np.array([0, 0])
    return (whole, Example(_rows(inputs, twice), _rows(outputs, twice)))


def _rows(arrays: Mapping[str, Array], numbers: Array) -> dict[str, Array]:
    return {name: np.asarray(array[numbers], order="C") for name, array in arrays.items()}


def _shape(port: ov.Output) -> tuple[int | None, ...] | None:
    return sizes(port.get_partial_shape())


def _batch_to_cut(inputs: Mapping[str, Array], model: ov.Model) -> tuple[int, int] | None:
    """The fixed batch and the number of rows if only they differ; None if all shapes are the model's."""
    others: set[tuple[int, int]] = set()
    for port in model.inputs:
        values, shape = inputs[_name(port)], _shape(port)
        if shape is None or port.get_partial_shape().compatible(ov.PartialShape(list(values.shape))):
            others.add((0, 0))
            continue
        rest = ov.PartialShape(list(port.get_partial_shape()))
        if len(shape) != values.ndim or shape[0] is None or not len(values):
            raise _other_shape(port, values)
        rest[0] = ov.Dimension(values.shape[0])
        if not rest.compatible(ov.PartialShape(list(values.shape))):
            raise _other_shape(port, values)
        others.add((shape[0], values.shape[0]))
    if others == {(0, 0)}:
        return None
    if len(others) > 1:
        raise MisfitError("has other numbers of rows for one input than for another")
    return others.pop()


def _other_shape(port: ov.Output, values: Array) -> MisfitError:
    shape = list(values.shape)
    return MisfitError(
        f"holds `{_name(port)}` of the shape {shape}, and the input is {port.get_partial_shape()}"
    )


@dataclass(frozen=True)
class _Table:
    """A data frame: its columns' names, and its rows."""

    columns: tuple[str, ...]
    rows: list[Any]


def _unwrapped(content: Any) -> Any:
    """What MLflow's and TensorFlow Serving's wrappers hold: a list, a mapping by name, or a table."""
    if isinstance(content, dict):
        for wrapper in ("inputs", "instances", "dataframe_split", "dataframe_records"):
            if wrapper in content and set(content) <= {wrapper, "params"}:
                return _unwrapped(content[wrapper])
        if "data" in content and set(content) <= {"columns", "data", "index"}:
            return _Table(tuple(map(str, content.get("columns", ()))), content["data"])
    if isinstance(content, list) and content and all(isinstance(row, dict) for row in content):
        columns = tuple(map(str, content[0]))
        return _Table(columns, [[row[column] for column in columns] for row in content])
    return content


def _by_input(
    content: Any, signature: Mapping[str, Any] | None, model: ov.Model, treatment: Treatment
) -> dict[str, Array]:
    """The values by the source's names; one input takes what has no name, and the columns of a table."""
    names = [treatment.inputs[_name(port)].name for port in model.inputs]
    ports = dict(zip(names, model.inputs, strict=True))
    if isinstance(content, dict):
        if len(content) == len(names) == 1:
            content = {names[0]: next(iter(content.values()))}
        return {name: _array(values) for name, values in content.items() if name in ports}
    if not isinstance(content, _Table):
        if len(names) != 1:
            raise MisfitError(f"is one array, and the model takes {listed(names)}")
        return {names[0]: _array(content)}
    columns, rows = content.columns, content.rows
    if (set(names) <= set(columns) and len(names) > 1) or list(columns) == names:
        return {
            name: _column(_array([row[columns.index(name)] for row in rows]), ports[name]) for name in names
        }
    if len(names) != 1:
        raise MisfitError(f"is a table, and the model takes {listed(names)}")
    order = _order(columns, signature)
    return {names[0]: _array([[row[at] for at in order] for row in rows] if columns else rows)}


def _order(columns: Sequence[str], signature: Mapping[str, Any] | None) -> list[int]:
    """The columns in the order of the signature, if it names just them."""
    named = [str(each.get("name")) for each in (signature or {}).get("inputs", []) if isinstance(each, dict)]
    order: Callable[[int], int] = lambda at: named.index(columns[at])  # noqa: E731
    numbers = range(len(columns))
    return sorted(numbers, key=order) if sorted(named) == sorted(columns) else list(numbers)


def _column(values: Array, port: ov.Output) -> Array:
    """One value a row; an input of two dimensions has each in a row of its own."""
    shape = _shape(port)
    return values.reshape(-1, 1) if shape is not None and len(shape) == 2 and values.ndim == 1 else values


def _array(values: Any) -> Array:
    array = np.array(values)
    if array.dtype.kind not in "biufU":
        raise MisfitError("is none of numbers or text")
    return array
