"""Inputs to compare on, given and made up, and what the source makes of them in a runtime of its own."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import openvino as ov

from ovms_converter.engine.job import ConversionJob
from ovms_converter.engine.worker import execution, samples
from ovms_converter.engine.worker.examples import Example, Examples
from ovms_converter.engine.worker.execution import Array
from ovms_converter.engine.worker.exporting import Source
from ovms_converter.engine.worker.reference import (
    Reference,
    SourceFailedError,
    SourceUnrunnableError,
    runtimes,
)
from ovms_converter.engine.worker.samples import Draw, Shape, Sizes
from ovms_converter.engine.worker.save import Written
from ovms_converter.engine.worker.treatment import NotComparableError, Treatment
from ovms_converter.errors import RequestError
from ovms_converter.formats.local import mapped
from ovms_converter.formats.onnx_graph import describe_onnx
from ovms_converter.optimizer.native import cause_of

__all__ = ["NoReferenceError", "Sample", "expected", "in_order"]

_ROUNDS = 8
_SMALL = 1 << 20
"""Up to so many bytes of weights, a model is compared on `_ROUNDS` samples of every kind, others on one."""

_HELD_BYTES = 64 << 20
"""What the samples of one size may take together; of a model with large inputs or outputs there are fewer."""

_Drawing: TypeAlias = tuple[Draw, int]
"""How a sample's values are drawn, and with which seed."""


class NoReferenceError(NotComparableError):
    """The source does not run in any runtime of its own that is installed."""


@dataclass(frozen=True)
class Sample:
    """Inputs by name, in the IR's order, and what shall come of them, by the names of its outputs.

    `given` is True if a user gave the inputs: then the result must run on them.
    """

    inputs: Mapping[str, Array]
    expected: Mapping[str, Array]
    given: bool = False

    @property
    def size(self) -> int:
        """The bytes of its arrays."""
        return sum(array.nbytes for array in (*self.inputs.values(), *self.expected.values()))


def in_order(written: Written, example: Example) -> dict[str, Array]:
    """The inputs of an example in the order of the written IR's."""
    return {port.name: example.inputs[port.name] for port in written.inputs}


def expected(
    written: Written, job: ConversionJob, source: Source, treatment: Treatment, examples: Examples
) -> tuple[str, list[Sample]]:
    """What the source computes, by the first of its runtimes that runs it, and that runtime's name."""
    inputs = list(ov.Core().read_model(str(written.xml)).inputs)
    rounds = _ROUNDS if written.bin.stat().st_size <= _SMALL else 1
    draws = _draws(_operations(source))
    drawn = [(draw, seed) for seed in range(rounds) for draw in draws]
    failures = []
    for runtime in runtimes(job, treatment):
        try:
            with runtime() as reference:
                drawing = _Drawer(inputs, reference, treatment, drawn)
                given = _given(written, drawing, examples)
                if job.calibration_data:
                    # Of numbers out of the range that it was calibrated for, nothing right is expected.
                    return reference.name, given
                return reference.name, [*given, *drawing.samples([each.inputs for each in given])]
        except (SourceFailedError, SourceUnrunnableError) as error:  # noqa: PERF203 - a run takes longer
            failures.append(str(error))
    raise NoReferenceError(
        failures[0] if failures else f"there is no reference for the format `{job.format}`"
    )


def _given(written: Written, drawing: "_Drawer", examples: Examples) -> list[Sample]:
    """What the source makes of the inputs that somebody gave; of an example that it refuses nothing."""
    found = []
    for each in (*examples.data, *examples.example):
        inputs = in_order(written, each)
        mine = each in examples.data
        try:
            found.append(Sample(inputs, drawing.run(inputs), given=mine))
        except SourceFailedError as error:
            if mine:
                raise RequestError(
                    f"the source does not run on the file of `verify_data`: {error}", parameter="verify_data"
                ) from None
    return found


_RANDOM = frozenset(
    ("Bernoulli", "Multinomial", "RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike")
)

_MOVING = frozenset(
    ("Cast", "CastLike", "Concat", "Constant", "Flatten", "Identity", "Reshape", "Squeeze", "Transpose",
     "Unsqueeze")
)  # fmt: skip
"""ONNX operators that compute nothing: what is NaN or infinite before them is so behind them."""


def _operations(source: Source) -> frozenset[str]:
    """The operators of an ONNX model; none of another format. Raises `NoReferenceError` for random ones."""
    if source.format != "onnx":
        return frozenset()
    domains = mapped(source.model, describe_onnx).operations
    names = frozenset(name for operations in domains.values() for name in operations)
    for name in sorted(names & _RANDOM):
        raise NoReferenceError(f"its source draws random numbers (`{name}`)")
    return names


def _draws(operations: frozenset[str]) -> list[Draw]:
    """The ways to draw samples for a source with these operators.

    If it rounds to a grid as it runs, one implementation goes to the upper and another to the lower point at
    a tie: neither is wrong, and all that follows is a step of the grid apart. NaN and infinities have one
    meaning everywhere only where nothing is computed.
    """
    without = set[Draw]()
    if any(name.endswith("QuantizeLinear") for name in operations):
        without.add(Draw.TIES)
    if not operations or not operations <= _MOVING:
        without.add(Draw.STRANGE)
    return [draw for draw in Draw if draw not in without]


@dataclass(frozen=True)
class _Drawer:
    """Draws samples for the IR's inputs and has the source run on what they are to it."""

    inputs: Sequence[ov.Output]
    reference: Reference
    treatment: Treatment
    draws: Sequence[_Drawing]

    def run(self, values: Mapping[str, Array]) -> dict[str, Array]:
        """What the source makes of values for the IR, as the IR's outputs. Raises `SourceFailedError`."""
        results = self.reference.run(self.treatment.feed(values))
        lost = [name for name, _ in self.treatment.outputs.values() if name not in results]
        if lost:
            raise SourceFailedError(f"{self.reference.name} gives no output `{lost[0]}`")
        return self.treatment.expected(results)

    def samples(self, known: Sequence[Mapping[str, Array]]) -> list[Sample]:
        """Samples of the first sizes that the source runs with at all, and of twice that batch.

        Of `known` inputs, which it runs with, the shapes are drawn for as well; then guessed ones may fail.
        """
        first = [(draw, seed) for draw, seed in self.draws if not seed]
        shapes = {tuple(tuple(map(int, array.shape)) for array in values.values()) for values in known}
        found = [sample for each in sorted(shapes) for sample in self._drawn(each, first)[0]]
        why = ""
        for sizes in samples.candidates(self.inputs):
            more, why = self._drawn(sizes, self.draws)
            if more and samples.has_free_batch(self.inputs):
                more += self._drawn(Sizes(2 * sizes.batch, sizes.other, sizes.rank), first)[0]
            found += more
            if more:
                break
        if not found:
            raise SourceFailedError(why)
        if not _same(found[0].expected, self.run(found[0].inputs)):
            raise NotComparableError("its source computes something else at every run")
        return found

    def _drawn(self, sizes: Sizes | tuple[Shape, ...], draws: Iterable[_Drawing]) -> tuple[list[Sample], str]:
        """The samples of these sizes that the source runs with, and why it does not run with others.

        If it runs with none of as many as there are ways to draw, more are not tried, and no more either when
        those that were found are large.
        """
        found, why, held = list[Sample](), "", 0
        for number, (draw, seed) in enumerate(draws):
            if held > _HELD_BYTES or (number >= len(Draw) and not found):
                break
            try:
                values = _values(self.inputs, sizes, draw, seed)
                found.append(Sample(values, self.run(values)))
                held += found[-1].size
            except SourceFailedError as error:
                why = why or str(error)
        return found, why


def _values(
    inputs: Sequence[ov.Output], sizes: Sizes | tuple[Shape, ...], draw: Draw, seed: int
) -> dict[str, Array]:
    tensors = samples.fill(inputs, sizes, draw, seed)
    if tensors is None:
        raise SourceFailedError("its inputs are too large to run it")
    try:
        arrays = [execution.array_of(tensor) for tensor in tensors]
    except RuntimeError as error:
        raise SourceFailedError(cause_of(error)) from None
    return {port.get_any_name(): array for port, array in zip(inputs, arrays, strict=True)}


def _same(one: Mapping[str, Array], other: Mapping[str, Array]) -> bool:
    return all(np.array_equal(a, other[name], equal_nan=a.dtype.kind == "f") for name, a in one.items())
