"""Does the written IR compute what its source computes, and what was recorded?"""

import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeAlias

import numpy as np
import openvino as ov

from ovms_converter.engine import death
from ovms_converter.engine.job import ConversionJob, OutputComparison
from ovms_converter.engine.tolerance import FULL_PRECISION, Tolerance, tolerance_for
from ovms_converter.engine.worker import difference, execution, samples
from ovms_converter.engine.worker.examples import Example
from ovms_converter.engine.worker.execution import Array, Runner
from ovms_converter.engine.worker.exporting import Source
from ovms_converter.engine.worker.reference import (
    NoReference,
    Reference,
    ReferenceError,
    evaluate,
    runtimes,
)
from ovms_converter.engine.worker.samples import Draw, Shape, Sizes
from ovms_converter.engine.worker.save import Written
from ovms_converter.engine.worker.treatment import NotComparableError, Treatment
from ovms_converter.errors import ConverterError, RequestError, VerificationError
from ovms_converter.formats.local import mapped
from ovms_converter.formats.onnx_graph import describe_onnx
from ovms_converter.optimizer.conversion import convert
from ovms_converter.optimizer.native import NATIVE_ERRORS, cause_of

__all__ = ["Compared", "Examples", "NoReferenceError", "compare"]

_ROUNDS = 8
_SMALL = 1 << 20
"""Up to so many bytes of weights, a model is compared on `_ROUNDS` samples of every kind, others on one."""

_HELD_BYTES = 64 << 20
"""What the samples of one size may take together; of a model with large inputs or outputs there are fewer."""

_Drawing: TypeAlias = tuple[Draw, int]
"""How a sample's values are drawn, and with which seed."""

_BLAME_BYTES = 8 << 20
"""Up to so many bytes of weights, OpenVINO's slow reference implementations tell the plugin's faults."""


class NoReferenceError(NotComparableError):
    """The source does not run in any runtime of its own that is installed."""


@dataclass(frozen=True)
class Examples:
    """Inputs that somebody gave: `data` of `verify_data`, and `example` that came with the model."""

    data: tuple[Example, ...] = ()
    example: tuple[Example, ...] = ()

    @property
    def recorded(self) -> tuple[Example, ...]:
        """Those that tell outputs."""
        return tuple(each for each in self.data if each.outputs)


@dataclass(frozen=True)
class Compared:
    """What was compared, in one line, the figures of every output, and notes for the user."""

    text: str
    figures: tuple[OutputComparison, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True)
class _Sample:
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


def compare(
    written: Written, job: ConversionJob, source: Source, treatment: Treatment | None, examples: Examples
) -> Compared:
    """Run the source in its own runtime and the IR in OpenVINO's CPU plugin on the same inputs.

    They are the given ones and seeded ones, in full precision, with a batch of one and, if the batch is free,
    of two. `source` is what was converted, `treatment` None if only recorded outputs are there.

    Raises:
        NotComparableError: the source does not run as a reference. RequestError: it does not run on
        `verify_data`. VerificationError: an output differs, with what is at fault where that can be told.
        RuntimeError: the IR does not compile or run.
    """
    recorded = [_Sample(_in_order(written, each), each.outputs, given=True) for each in examples.recorded]
    parts, found = [], list[_Sample]()
    tolerance = tolerance_for(
        half_precision=job.arguments.half_precision,
        weights=job.weights,
        calibrated=job.calibration_data is not None,
        asked=job.tolerance,
    )
    if treatment is not None:
        name, found = _expected(written, job, source, treatment, examples)
        parts.append(f"{tolerance.verdict} {name} on {len(found)} samples")
    if recorded:
        parts.append(f"{tolerance.verdict} the outputs in `verify_data`")
    ran, results, refused = execution.run_file(
        written.xml, lambda runner, _: _run_what_runs(runner, [*recorded, *found])
    )
    figures, why = _judge(written, ran, results, tolerance)
    if why:
        _, by_record = _judge(written, recorded, results[: len(recorded)], tolerance)
        other = "`verify_data` tells" if by_record else "its source"
        blame = _blame(written, job, source, ran, tolerance)
        raise VerificationError(
            f"the converted model computes something else than {other}: {by_record or why}; {blame}",
            hint="`--verify load` publishes it all the same",
        )
    batches = sorted({_batch(written, sample) for sample in ran})
    text = f" with a batch of {_listed(batches)}" if len(batches) > 1 else ""
    note = f"OpenVINO refuses {refused[0]} of the samples that the source accepts: {refused[1]}"
    return Compared(", and ".join(parts) + text, figures, (note,) if refused[0] else ())


def _in_order(written: Written, example: Example) -> dict[str, Array]:
    return {port.name: example.inputs[port.name] for port in written.inputs}


def _expected(
    written: Written, job: ConversionJob, source: Source, treatment: Treatment, examples: Examples
) -> tuple[str, list[_Sample]]:
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
        except (ReferenceError, NoReference) as error:  # noqa: PERF203 - a run takes longer
            failures.append(str(error))
    raise NoReferenceError(
        failures[0] if failures else f"there is no reference for the format `{job.format}`"
    )


def _given(written: Written, drawing: "_Drawer", examples: Examples) -> list[_Sample]:
    """What the source makes of the inputs that somebody gave; of an example that it refuses nothing."""
    found = []
    for each in (*examples.data, *examples.example):
        inputs = _in_order(written, each)
        mine = each in examples.data
        try:
            found.append(_Sample(inputs, drawing.run(inputs), given=mine))
        except ReferenceError as error:
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
        """What the source makes of values for the IR, as the IR's outputs. Raises `ReferenceError`."""
        results = self.reference.run(self.treatment.feed(values))
        lost = [name for name, _ in self.treatment.outputs.values() if name not in results]
        if lost:
            raise ReferenceError(f"{self.reference.name} gives no output `{lost[0]}`")
        return self.treatment.expected(results)

    def samples(self, known: Sequence[Mapping[str, Array]]) -> list[_Sample]:
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
            raise ReferenceError(why)
        if not _same(found[0].expected, self.run(found[0].inputs)):
            raise NotComparableError("its source computes something else at every run")
        return found

    def _drawn(
        self, sizes: Sizes | tuple[Shape, ...], draws: Iterable[_Drawing]
    ) -> tuple[list[_Sample], str]:
        """The samples of these sizes that the source runs with, and why it does not run with others.

        If it runs with none of as many as there are ways to draw, more are not tried, and no more either when
        those that were found are large.
        """
        found, why, held = list[_Sample](), "", 0
        for number, (draw, seed) in enumerate(draws):
            if held > _HELD_BYTES or (number >= len(Draw) and not found):
                break
            try:
                values = _values(self.inputs, sizes, draw, seed)
                found.append(_Sample(values, self.run(values)))
                held += found[-1].size
            except ReferenceError as error:
                why = why or str(error)
        return found, why


def _values(
    inputs: Sequence[ov.Output], sizes: Sizes | tuple[Shape, ...], draw: Draw, seed: int
) -> dict[str, Array]:
    tensors = samples.fill(inputs, sizes, draw, seed)
    if tensors is None:
        raise ReferenceError("its inputs are too large to run it")
    try:
        arrays = [execution.array_of(tensor) for tensor in tensors]
    except RuntimeError as error:
        raise ReferenceError(cause_of(error)) from None
    return {port.get_any_name(): array for port, array in zip(inputs, arrays, strict=True)}


def _same(one: Mapping[str, Array], other: Mapping[str, Array]) -> bool:
    return all(np.array_equal(a, other[name], equal_nan=a.dtype.kind == "f") for name, a in one.items())


def _run(runner: Runner, found: Sequence[_Sample]) -> list[list[Array]]:
    return [runner.run(list(sample.inputs.values())) for sample in found]


def _run_what_runs(
    runner: Runner, found: Sequence[_Sample]
) -> tuple[list[_Sample], list[list[Array]], tuple[int, str]]:
    """The samples that run and their results, and how many do not, with the first reason.

    Some made-up inputs are none of the model's domain, and whether they are refused is no matter of right or
    wrong. Raises RuntimeError if fewer than half run, or one that was given does not.
    """
    ran, results, why = [], [], []
    for sample in found:
        try:
            results.append(runner.run(list(sample.inputs.values())))
        except (RuntimeError, ValueError) as error:  # noqa: PERF203 - a run takes longer
            if sample.given or death.of_exception(error, ""):
                raise
            why.append(error)
        else:
            ran.append(sample)
    if len(ran) < len(why):
        raise why[0]
    return ran, results, (len(why), cause_of(why[0]) if why else "")


def _listed(numbers: Sequence[int]) -> str:
    *first, last = map(str, numbers)
    return " and ".join(filter(None, (", ".join(first), last)))


def _batch(written: Written, sample: _Sample) -> int:
    """The size of the first input whose batch is free; 1 if there is none."""
    first = {port.name: port.shape.strip("[]").partition(",")[0] for port in written.inputs}
    free = [name for name, size in first.items() if size == "?" or ".." in size]
    values = sample.inputs[free[0]] if free else np.zeros(())
    return int(values.shape[0]) if values.ndim else 1


def _judge(
    written: Written, found: Sequence[_Sample], results: Sequence[Sequence[Array]], tolerance: Tolerance
) -> tuple[tuple[OutputComparison, ...], str]:
    """The worst figures of every output over all samples, and what is wrong, if anything is."""
    figures, wrong = [], []
    for number, port in enumerate(written.outputs):
        seen = [
            difference.measure(port.name, result[number], sample.expected[port.name], tolerance)
            for sample, result in zip(found, results, strict=True)
            if port.name in sample.expected
        ]
        if not seen:
            continue
        figures.append(
            OutputComparison(
                port.name,
                max(one.figures.max_abs for one in seen),
                max(one.figures.max_rel for one in seen),
                min(one.figures.cosine for one in seen),
            )
        )
        wrong += [f"of output `{port.name}`: {one.why}" for one in seen if one.why][:1]
    return tuple(figures), wrong[0] if wrong else ""


def _blame(
    written: Written, job: ConversionJob, source: Source, found: Sequence[_Sample], tolerance: Tolerance
) -> str:
    """What is at fault: the precision of the weights, the CPU plugin or the IR, as far as can be told."""
    try:
        if job.arguments.half_precision or job.weights:
            results = _run_in_full_precision(job, source, found)
            _, why = _judge(written, found, results, FULL_PRECISION)
            if not why:
                return f"with FP32 weights it is right, so {(job.weights or 'fp16').upper()} is the cause"
        if written.bin.stat().st_size > _BLAME_BYTES:
            return "whether the conversion or OpenVINO's CPU plugin is the cause was not examined"
        model = ov.Core().read_model(str(written.xml))
        try:
            results = [evaluate(model, list(sample.inputs.values())) for sample in found]
        except NATIVE_ERRORS:  # an operation that has no reference implementation
            _, why = _judge(written, found, _run_rows_alone(written, model, found), tolerance)
            if not why:
                return "each row by itself is right, so OpenVINO's CPU plugin is the cause"
            return "whether the conversion or OpenVINO's CPU plugin is the cause cannot be told"
        _, why = _judge(written, found, results, tolerance)
    except (*NATIVE_ERRORS, ConverterError):
        return "whether the conversion or OpenVINO's CPU plugin is the cause cannot be told"
    return "the conversion is the cause" if why else "the IR is right, and OpenVINO's CPU plugin is the cause"


def _run_rows_alone(written: Written, model: ov.Model, found: Sequence[_Sample]) -> list[list[Array]]:
    """What the CPU plugin computes of every row of a batch by itself.

    Raises ValueError if the rows of a batch cannot be told apart.
    """
    runner = execution.methods(model)[0](model, ov.Core())
    results = []
    for sample in found:
        rows = {len(values) if values.ndim else 0 for values in sample.inputs.values()}
        if len(rows) != 1 or not all(port.shape.startswith("[?") for port in written.inputs):
            raise ValueError("its inputs have no batch in common")
        parts = [
            runner.run([values[row : row + 1] for values in sample.inputs.values()])
            for row in range(rows.pop())
        ]
        results.append([np.concatenate(values) for values in zip(*parts, strict=True)])
    return results


def _run_in_full_precision(job: ConversionJob, source: Source, found: Sequence[_Sample]) -> list[list[Array]]:
    """What the same conversion computes with uncompressed weights."""
    arguments = replace(job.arguments, data_type=None, compress_to_fp16=None)
    with tempfile.TemporaryDirectory() as scratch:
        model = convert(source.model, source.format, arguments, Path(scratch)).model
        return _run(execution.methods(model)[0](model, ov.Core()), found)
