"""Does the written IR compute what its source computes?"""

import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import TypeAlias

import numpy as np
import openvino as ov

from ovms_converter.engine import death
from ovms_converter.engine.job import ConversionJob, OutputComparison
from ovms_converter.engine.worker import difference, execution, samples
from ovms_converter.engine.worker.execution import Array, Runner
from ovms_converter.engine.worker.reference import Reference, ReferenceError, runtimes
from ovms_converter.engine.worker.samples import Draw, Sizes
from ovms_converter.engine.worker.save import Written
from ovms_converter.errors import ConverterError, VerificationError
from ovms_converter.formats.local import mapped
from ovms_converter.formats.onnx_graph import describe_onnx
from ovms_converter.optimizer.conversion import convert
from ovms_converter.optimizer.native import NATIVE_ERRORS, cause_of

__all__ = ["Compared", "NoReferenceError", "NotComparableError", "compare"]

_SAME_MEANING = frozenset(
    {
        "batch",
        "compress_to_fp16",
        "data_type",
        "disable_nhwc_to_nchw",
        "framework",
        "input",
        "input_shape",
        "layout",
        "log_level",
        "output",
        "repairs",
        "static_shape",
    }
)
"""Arguments after which an input or output that keeps its name and rank still means the same."""

_ROUNDS = 8
_SMALL = 1 << 20
"""Up to so many bytes of weights, a model is compared on `_ROUNDS` samples of every kind, others on one."""

_Drawing: TypeAlias = tuple[Draw, int]
"""How a sample's values are drawn, and with which seed."""

_BLAME_BYTES = 8 << 20
"""Up to so many bytes of weights, OpenVINO's slow reference implementations tell the plugin's faults."""


class NotComparableError(Exception):
    """The result cannot be compared with its source; the text says why."""


class NoReferenceError(NotComparableError):
    """The source does not run in any runtime of its own that is installed."""


@dataclass(frozen=True)
class Compared:
    """What was compared, in one line, the figures of every output, and notes for the user."""

    text: str
    figures: tuple[OutputComparison, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True)
class _Sample:
    """Inputs by name, in the IR's order, and what the source makes of them, in its outputs' order."""

    inputs: Mapping[str, Array]
    expected: Sequence[Array]


def compare(written: Written, job: ConversionJob) -> Compared:
    """Run the source in its own runtime and the IR in OpenVINO's CPU plugin on the same seeded inputs.

    In full precision, with a batch of one and, if the batch is free, of two.

    Raises:
        NotComparableError: the arguments changed what the inputs mean, or the source does not run as a
        reference. VerificationError: an output differs, with what is at fault where that can be told.
        RuntimeError: the IR does not compile or run.
    """
    _check_arguments(job)
    name, found = _expected(written, job)
    half = job.arguments.half_precision
    usual = difference.FP16_TOLERANCE if half else difference.FP32_TOLERANCE
    tolerance = usual if job.tolerance is None else job.tolerance
    found, results, refused = execution.run_file(written.xml, lambda runner, _: _run_what_runs(runner, found))
    figures, why = _judge(written, found, results, tolerance)
    if why:
        blame = _blame(written, job, found, tolerance)
        raise VerificationError(
            f"the converted model computes something else than its source: {why}; {blame}",
            hint="`--verify load` publishes it all the same",
        )
    batches = sorted({_batch(sample) for sample in found})
    text = f" with a batch of {' and '.join(map(str, batches))}" if len(batches) > 1 else ""
    note = f"OpenVINO refuses {refused[0]} of the samples that the source accepts: {refused[1]}"
    return Compared(f"equal to {name} on {len(found)} samples{text}", figures, (note,) if refused[0] else ())


def _expected(written: Written, job: ConversionJob) -> tuple[str, list[_Sample]]:
    """What the source computes, by the first of its runtimes that runs it, and that runtime's name."""
    inputs = list(ov.Core().read_model(str(written.xml)).inputs)
    outputs = [port.name for port in written.outputs]
    rounds = _ROUNDS if written.bin.stat().st_size <= _SMALL else 1
    draws = [draw for draw in Draw if draw is not Draw.TIES or not _quantizes(job)]
    failures = []
    for runtime in runtimes():
        try:
            reference = runtime(job.model)
            _check_ports(written, reference)
            return reference.name, _samples(inputs, reference, outputs, product(draws, range(rounds)))
        except ReferenceError as error:  # noqa: PERF203 - a run takes longer
            failures.append(str(error))
    raise NoReferenceError(failures[0])


def _quantizes(job: ConversionJob) -> bool:
    """Whether the source rounds to a grid as it runs.

    At a tie, one implementation goes to the upper and another to the lower point: neither is wrong, and all
    that follows is a step of the grid apart.
    """
    operations = mapped(job.model, describe_onnx).operations
    return any(name.endswith("QuantizeLinear") for names in operations.values() for name in names)


def _check_arguments(job: ConversionJob) -> None:
    given = job.arguments.to_values().keys() - {name for name, _ in job.arguments.no_ops}
    others = sorted(given - _SAME_MEANING)
    if others:
        names = ", ".join(f"`{name}`" for name in others)
        raise NotComparableError(f"{names} changes what its inputs or outputs mean")


def _check_ports(written: Written, reference: Reference) -> None:
    if not {port.name for port in written.inputs} <= set(reference.inputs):
        raise NotComparableError("it has other inputs than its source")
    if not {port.name for port in written.outputs} <= set(reference.outputs):
        raise NotComparableError("it has outputs that its source does not have")


def _samples(
    inputs: Sequence[ov.Output], reference: Reference, outputs: Sequence[str], draws: Iterable[_Drawing]
) -> list[_Sample]:
    """Samples of the first sizes that the source runs with at all, and of twice that batch."""
    draws = tuple(draws)
    for sizes in samples.candidates(inputs):
        found, why = _drawn(inputs, sizes, reference, outputs, draws)
        if found:
            break
    else:
        raise ReferenceError(why)
    if not _same(found[0].expected, reference.run(found[0].inputs, outputs)):
        raise NotComparableError("its source computes something else at every run")
    if samples.has_free_batch(inputs):
        first = [(draw, seed) for draw, seed in draws if not seed]
        found += _drawn(inputs, Sizes(2 * sizes.batch, sizes.other, sizes.rank), reference, outputs, first)[0]
    return found


def _drawn(
    inputs: Sequence[ov.Output],
    sizes: Sizes,
    reference: Reference,
    outputs: Sequence[str],
    draws: Iterable[_Drawing],
) -> tuple[list[_Sample], str]:
    """The samples of these sizes that the source runs with, and why it does not run with others."""
    found, why = [], ""
    for draw, seed in draws:
        try:
            values = _values(inputs, sizes, draw, seed)
            found.append(_Sample(values, reference.run(values, outputs)))
        except ReferenceError as error:  # noqa: PERF203 - a run takes longer
            why = why or str(error)
    return found, why


def _values(inputs: Sequence[ov.Output], sizes: Sizes, draw: Draw, seed: int) -> dict[str, Array]:
    tensors = samples.fill(inputs, sizes, draw, seed)
    if tensors is None:
        raise ReferenceError("its inputs are too large to run it")
    try:
        arrays = [execution.array_of(tensor) for tensor in tensors]
    except RuntimeError as error:
        raise ReferenceError(cause_of(error)) from None
    return {port.get_any_name(): array for port, array in zip(inputs, arrays, strict=True)}


def _same(one: Sequence[Array], other: Sequence[Array]) -> bool:
    return all(np.array_equal(a, b, equal_nan=a.dtype.kind == "f") for a, b in zip(one, other, strict=True))


def _run(runner: Runner, found: Sequence[_Sample]) -> list[list[Array]]:
    return [runner.run(list(sample.inputs.values())) for sample in found]


def _run_what_runs(
    runner: Runner, found: Sequence[_Sample]
) -> tuple[list[_Sample], list[list[Array]], tuple[int, str]]:
    """The samples that run and their results, and how many do not, with the first reason.

    Some made-up inputs are none of the model's domain, and whether they are refused is no matter of right or
    wrong. Raises RuntimeError if fewer than half run.
    """
    ran, results, why = [], [], []
    for sample in found:
        try:
            results.append(runner.run(list(sample.inputs.values())))
        except (RuntimeError, ValueError) as error:  # noqa: PERF203 - a run takes longer
            if death.of_exception(error, ""):
                raise
            why.append(error)
        else:
            ran.append(sample)
    if len(ran) < len(why):
        raise why[0]
    return ran, results, (len(why), cause_of(why[0]) if why else "")


def _batch(sample: _Sample) -> int:
    first = next(iter(sample.inputs.values()))
    return int(first.shape[0]) if first.ndim else 1


def _judge(
    written: Written, found: Sequence[_Sample], results: Sequence[Sequence[Array]], tolerance: float
) -> tuple[tuple[OutputComparison, ...], str]:
    """The worst figures of every output over all samples, and what is wrong, if anything is."""
    figures, wrong = [], []
    for number, port in enumerate(written.outputs):
        seen = [
            difference.measure(port.name, result[number], sample.expected[number], tolerance)
            for sample, result in zip(found, results, strict=True)
        ]
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


def _blame(written: Written, job: ConversionJob, found: Sequence[_Sample], tolerance: float) -> str:
    """What is at fault: the FP16 weights, the CPU plugin or the IR, as far as that can be told."""
    try:
        if job.arguments.half_precision:
            _, why = _judge(written, found, _run_in_full_precision(job, found), difference.FP32_TOLERANCE)
            if not why:
                return "with FP32 weights it is right, so FP16 is the cause"
        if written.bin.stat().st_size > _BLAME_BYTES:
            return "whether the conversion or OpenVINO's CPU plugin is the cause was not examined"
        model = ov.Core().read_model(str(written.xml))
        _, why = _judge(written, found, [_evaluate(model, sample) for sample in found], tolerance)
    except (*NATIVE_ERRORS, ConverterError):
        return "whether the conversion or OpenVINO's CPU plugin is the cause cannot be told"
    return "the conversion is the cause" if why else "the IR is right, and OpenVINO's CPU plugin is the cause"


def _run_in_full_precision(job: ConversionJob, found: Sequence[_Sample]) -> list[list[Array]]:
    """What the same conversion computes with uncompressed weights."""
    arguments = replace(job.arguments, data_type=None, compress_to_fp16=None)
    with tempfile.TemporaryDirectory() as scratch:
        model = convert(job.model, job.format, arguments, Path(scratch)).model
        return _run(execution.methods(model)[0](model, ov.Core()), found)


def _evaluate(model: ov.Model, sample: _Sample) -> list[Array]:
    """The outputs by OpenVINO's reference implementations, which share no code with its CPU plugin."""
    outputs = [ov.Tensor(port.get_element_type(), ov.Shape([0])) for port in model.outputs]
    if not model.evaluate(outputs, [ov.Tensor(value) for value in sample.inputs.values()]):
        raise RuntimeError("an operation has no reference implementation")
    return [np.array(output.data) for output in outputs]
