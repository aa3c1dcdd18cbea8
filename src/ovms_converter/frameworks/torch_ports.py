"""What goes into a PyTorch program: names, types and shapes, from the first source that tells them.

A program itself often says little. In this order: what the user asked for, MLflow's signature, MLflow's
input example, the program (`.pt2` says all, TorchScript its names), the layer that reads the input. What
comes of it is tried out in PyTorch before anything is exported.
"""

import itertools
import json
import operator
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from ovms_converter.errors import RequestError
from ovms_converter.formats.base import shape_text
from ovms_converter.formats.torch_naming import signed_inputs, signed_names
from ovms_converter.frameworks.base import ExportJob
from ovms_converter.frameworks.torch_ranks import is_batched, means_same
from ovms_converter.frameworks.torch_values import Dims, Input, sample
from ovms_converter.optimizer.arguments import OptimizerArguments
from ovms_converter.optimizer.values import InputEntry, Shape

__all__ = ["Settled", "settle", "wanted"]

_SIZES = (16, 32, 64, 224, 28, 8, 5, 299, 128, 256, 1, 2)
"""Sizes that are tried for dimensions of which nothing is known."""

_TYPES = {
    "boolean": "bool",
    "bf16": "bfloat16",
    "f16": "float16",
    "f32": "float32",
    "f64": "float64",
    "i8": "int8",
    "i16": "int16",
    "i32": "int32",
    "i64": "int64",
    "u8": "uint8",
}
"""OpenVINO's names of element types → PyTorch's."""

_TRIED_TYPES = ("float32", "int64", "float16", "bfloat16", "float64", "bool")
"""Types that are tried for inputs of which nothing tells it."""

_MEANING = {
    3: "[batch,time,features] or [batch,channels,length]",
    4: "[batch,channels,height,width]",
    5: "[batch,channels,depth,height,width]",
}
"""What the dimensions of a shape mostly are."""

_REFUSALS = (
    RuntimeError,
    ValueError,
    IndexError,
    TypeError,
    AssertionError,
    KeyError,
    torch.jit.Error,
)
"""What a program raises for inputs that it was not made for."""

_TRIALS = 200
"""How many combinations of shapes and types are tried out."""


@dataclass(frozen=True)
class Settled:
    """Inputs whose types and shapes are known, what the program makes of a sample of them, and notes.

    `size` is what free dimensions but the batch had in that sample. `result` is None if the program could not
    be tried out.
    """

    inputs: tuple[Input, ...]
    result: object
    size: int
    notes: tuple[str, ...]

    def narrowed(self, own: Sequence[Input]) -> "Settled":
        """The same with the dimensions that a program of such inputs has fixed, and a note of each."""
        pairs = list(zip(self.inputs, own, strict=True))
        fixed = [replace(port, shape=found.shape) for port, found in pairs]
        notes = tuple(
            f"`{port.name}` takes the shape {shape_text(found.shape)} alone: "
            "PyTorch's export holds for no other, and the module's code is not there to be scripted"
            for port, found in pairs
            if port.shape != found.shape
        )
        return replace(self, inputs=tuple(fixed), notes=(*self.notes, *notes)) if notes else self


def settle(own: Sequence[Input], call: Callable[[Sequence[torch.Tensor]], object], job: ExportJob) -> Settled:
    """Decide names, types and shapes.

    `call` runs the program. Raises `RequestError` with the option to give if a shape cannot be told.
    """
    known = _asked(_exemplified(_signed([replace(port, name=port.own) for port in own], job), job), job)
    guessed = [port for port in known if port.shape is None]
    unknown = [port for port in guessed if not port.likely]
    if unknown:
        raise _no_shape(unknown[0], known)
    settled, result, size, why = _tried(known, call)
    if settled is None:
        if guessed:
            raise _no_shape(guessed[0], known, why)
        if _shaped(job) and not any(None in (port.shape or ())[1:] for port in known):
            raise RequestError(
                f"the program does not run with {', '.join(map(str, known))}: {why}",
                hint="give the shapes that it was made for, or leave them out",
                parameter="input_shape",
            )
        settled = [replace(port, type=port.type or "float32") for port in known]
        return Settled(tuple(settled), None, size, (f"PyTorch does not run it on made-up inputs: {why}",))
    notes = []
    if any(len(port.likely) > 1 for port in guessed):
        settled, size = _ranked(settled, known, call)
        result = call(sample(settled, 2, size))
    if guessed:
        told = ", ".join(str(port) for port in settled if port.name in {each.name for each in guessed})
        notes.append(f"the shape {told} is that of the layer which reads it; `--input_shape` says another")
    fixed = [
        str(after)
        for before, after in zip(known, settled, strict=True)
        if before.shape and before.shape[0] is None and after.shape and after.shape[0] == 1
    ]
    if fixed:
        notes.append(f"the batch of {', '.join(fixed)} is fixed: the program runs with a batch of 1 only")
    return Settled(tuple(settled), result, size, tuple(notes))


def wanted(job: ExportJob) -> frozenset[str]:
    """The inputs that the user or MLflow's signature names: they are taken even if they may be left out."""
    asked = {entry.name for entry in OptimizerArguments.parse(job.arguments).input}
    return signed_names(job.signature) | asked


def _shaped(job: ExportJob) -> bool:
    """Whether the user gave shapes."""
    arguments = OptimizerArguments.parse(job.arguments)
    return bool(arguments.input_shape) or any(entry.shape is not None for entry in arguments.input)


def _batched(
    trials: Sequence[list[Input]], call: Callable[[Sequence[torch.Tensor]], object]
) -> list[tuple[list[Input], int]]:
    """The shapes that run as they are and keep the items of a batch apart, with the size that was tried."""
    found = []
    for trial in trials:
        settled, _, size, _ = _tried(trial, call)
        if settled == trial and is_batched(trial, call, size):
            found.append((trial, size))
    return found


def _no_shape(port: Input, ports: Sequence[Input], why: str = "") -> RequestError:
    """The refusal of a program that tells too little, with shapes that fit what it tells."""
    examples = [(each, each.shape or next(iter(each.likely), each.typical)) for each in ports]
    if all(shape is None for _, shape in examples):
        example = "`--input_shape [1,3,224,224]` for one image"
    else:
        shapes = ",".join(shape_text(shape or (None, None)) for _, shape in examples)
        meaning = _MEANING.get(len(dict(examples)[port] or ())) if len(ports) == 1 else None
        example = f"`--input_shape {shapes}`" + (f" for {meaning}" if meaning else "")
    every = f"every input ({', '.join(each.name for each in ports)})" if len(ports) > 1 else "the input"
    return RequestError(
        f"the program does not say which shape `{port.name}` has{f': {why}' if why else ''}",
        hint=f"give the shape of {every} with the sizes that it was made for, such as {example}",
        parameter="input_shape",
    )


def _ranked(
    found: Sequence[Input], known: Sequence[Input], call: Callable[[Sequence[torch.Tensor]], object]
) -> tuple[list[Input], int]:
    """The shapes of the one rank that the program can have been made for, and the size they were tried with.

    Raises `RequestError` if there are several, or none in which the items of a batch stay apart.
    """
    typed = [replace(port, type=each.type) for port, each in zip(known, found, strict=True)]
    trials = list(itertools.islice(_candidates(typed), _TRIALS))
    open_ = [at for at, port in enumerate(known) if port.shape is None and len(port.likely) > 1]
    alike = [trial for trial in trials if len({len(trial[at].shape or ()) for at in open_}) == 1]
    right = _batched(alike, call) or _batched(trials, call)
    guessed = next(port for port in known if port.shape is None)
    if not right:
        raise _no_shape(guessed, known, "no shape that its layers take keeps the items of a batch apart")
    (first, size), *others = right
    for other, _ in others:
        if not means_same(first, other, call):
            shapes = " and ".join(", ".join(map(str, each)) for each in (first, other))
            raise _no_shape(guessed, known, f"it runs with {shapes}, and these do not mean the same")
    return first, size


def _signed(ports: list[Input], job: ExportJob) -> list[Input]:
    """With the names, types and shapes of MLflow's signature."""
    signed = signed_inputs([port.own for port in ports], job.signature)
    if signed is None:
        return ports
    return [
        replace(
            port,
            name=signed.name(position, port.own),
            type=port.type or (spec.type if signed.typed and hasattr(torch, spec.type) else None),
            shape=_free(signed.shape(position, port.shape)),
        )
        for position, (port, spec) in enumerate(zip(ports, signed.specs, strict=True))
    ]


def _free(shape: Sequence[int | str | None] | None) -> Dims | None:
    return None if shape is None else tuple(size if isinstance(size, int) else None for size in shape)


def _exemplified(ports: list[Input], job: ExportJob) -> list[Input]:
    """With the shapes of MLflow's input example, whose first dimension is the batch."""
    if job.example is None or all(port.shape is not None for port in ports):
        return ports
    with suppress(OSError, ValueError, RecursionError):
        arrays = _example_arrays(json.loads(job.example.read_text("utf-8")))
        if len(arrays) == len(ports):
            values = [arrays.get(port.own, array) for port, array in zip(ports, arrays.values(), strict=True)]
            return [
                replace(
                    port,
                    shape=port.shape if port.shape is not None else (None, *array.shape[1:]),
                    type=port.type or ("int64" if array.dtype.kind in "iu" else None),
                )
                if array.ndim
                else port
                for port, array in zip(ports, values, strict=True)
            ]
    return ports


def _example_arrays(value: Any) -> dict[str, "np.ndarray[Any, np.dtype[Any]]"]:
    """The arrays in an input example, as MLflow 1 to 3 write it. Raises ValueError for anything else."""
    if isinstance(value, dict) and set(value) == {"inputs"}:
        value = value["inputs"]
    if isinstance(value, dict) and isinstance(value.get("dataframe_split"), dict):
        value = value["dataframe_split"]
    if isinstance(value, dict) and "data" in value and set(value) <= {"data", "columns", "index"}:
        value = value["data"]
    arrays = {
        str(name): np.array(item)
        for name, item in (value if isinstance(value, dict) else {"": value}).items()
    }
    if any(array.dtype.kind not in "fiub" for array in arrays.values()):
        raise ValueError("no numbers")
    return arrays


def _asked(ports: list[Input], job: ExportJob) -> list[Input]:
    """With the shapes and types that the user gave, by name or by position."""
    arguments = OptimizerArguments.parse(job.arguments)
    entries = list(arguments.input) or [InputEntry("", shape=shape) for shape in arguments.input_shape]
    asked = []
    for position, port in enumerate(ports):
        names = (port.name, port.own, f"{port.name}:0")
        entry = next((each for each in entries if each.name in names), None)
        if entry is None and position < len(entries) and not entries[position].name:
            entry = entries[position]
        if entry is not None:
            port = replace(
                port,
                shape=port.shape if entry.shape is None else _dims(entry.shape),
                type=port.type if entry.type is None else port.type or _TYPES.get(entry.type),
            )
        asked.append(port)
    return asked


def _dims(shape: Shape) -> Dims:
    return tuple(size.low if size.static else None for size in shape.dimensions)


def _tried(
    ports: Sequence[Input], call: Callable[[Sequence[torch.Tensor]], object]
) -> tuple[list[Input] | None, object, int, str]:
    """The first types and shapes that the program runs with, the result, the size tried, or why none does."""
    why = ""
    for trial in itertools.islice(_candidates(ports), _TRIALS):
        for batch in (2, 1):
            for size in _SIZES if any(None in (port.shape or ())[1:] for port in trial) else _SIZES[:1]:
                values = sample(trial, batch, size)
                try:
                    result = call(values)
                except _REFUSALS as error:
                    why = why or _first_line(error)
                    continue
                return (trial if batch == 2 else [_of_batch_1(port) for port in trial]), result, size, ""
    return None, None, _SIZES[0], why


def _first_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    told = [line for line in lines if line.startswith(("RuntimeError:", "IndexError:"))] or lines
    return told[-1 if told is not lines else 0][:200] if told else type(error).__name__


def _of_batch_1(port: Input) -> Input:
    if port.shape and port.shape[0] is None:
        return replace(port, shape=(1, *port.shape[1:]))
    return port


def _candidates(ports: Sequence[Input]) -> Iterator[list[Input]]:
    shapes = [[port.shape] if port.shape is not None else list(port.likely) for port in ports]
    types = [
        [port.type] if port.type else sorted(_TRIED_TYPES, key=lambda each: each != port.usual)
        for port in ports
    ]
    # Inputs of one shape are mostly of one type, as indices and their mask are, but for masks of truth
    # values; and of one rank.
    usual = [port.usual or "float32" for port in ports]

    def oddity(pair: tuple[tuple[str, ...], tuple[Dims, ...]]) -> tuple[int, int, int]:
        kinds, dims = pair
        numbers = {(shape, kind) for shape, kind in zip(dims, kinds, strict=True) if kind != "bool"}
        mixed = len(numbers) - len({shape for shape, _ in numbers})
        return mixed, sum(map(operator.ne, kinds, usual)), len({len(shape) for shape in dims})

    combinations = sorted(
        itertools.islice(itertools.product(itertools.product(*types), itertools.product(*shapes)), 5000),
        key=oddity,
    )
    for kinds, dims in combinations:
        yield [
            replace(port, type=kind, shape=shape)
            for port, kind, shape in zip(ports, kinds, dims, strict=True)
        ]
