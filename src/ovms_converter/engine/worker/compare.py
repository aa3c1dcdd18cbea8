"""Does the written IR compute what its source computes?"""

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import openvino as ov

from ovms_converter.engine.job import ConversionJob, OutputComparison
from ovms_converter.engine.worker import difference, execution, samples
from ovms_converter.engine.worker.execution import Array, Runner
from ovms_converter.engine.worker.reference import Reference, ReferenceError
from ovms_converter.engine.worker.samples import Sizes
from ovms_converter.engine.worker.save import Written
from ovms_converter.errors import ConverterError, VerificationError
from ovms_converter.optimizer.conversion import convert
from ovms_converter.optimizer.native import NATIVE_ERRORS, cause_of

__all__ = ["Compared", "NotComparableError", "compare"]

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
        "static_shape",
    }
)
"""Arguments after which an input or output that keeps its name and rank still means the same."""

_SEEDS = (11, 12)
_BLAME_BYTES = 8 << 20
"""Up to so many bytes of weights, OpenVINO's slow reference implementations tell the plugin's faults."""


class NotComparableError(Exception):
    """The result cannot be compared with its source; the text says why."""


@dataclass(frozen=True)
class Compared:
    """What was compared, in one line, and the figures of every output."""

    text: str
    figures: tuple[OutputComparison, ...]


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
    try:
        reference = Reference(job.model)
        _check_ports(written, reference)
        found = list(_samples(written, reference))
    except ReferenceError as error:
        raise NotComparableError(str(error)) from None
    half = job.arguments.half_precision
    usual = difference.FP16_TOLERANCE if half else difference.FP32_TOLERANCE
    tolerance = usual if job.tolerance is None else job.tolerance
    results = execution.run_file(written.xml, lambda runner, _: _run(runner, found))
    figures, why = _judge(written, found, results, tolerance)
    if why:
        blame = _blame(written, job, found, tolerance)
        raise VerificationError(
            f"the converted model computes something else than its source: {why}; {blame}",
            hint="`--verify load` publishes it all the same",
        )
    batches = " and ".join(str(size) for size in sorted({_batch(sample) for sample in found}))
    return Compared(f"equal to {reference.name} on {len(found)} samples with a batch of {batches}", figures)


def _check_arguments(job: ConversionJob) -> None:
    given = job.arguments.to_values().keys() - {name for name, _ in job.arguments.no_ops}
    others = sorted(given - _SAME_MEANING)
    if others:
        names = ", ".join(f"`{name}`" for name in others)
        raise NotComparableError(f"{names} changes what its inputs or outputs mean")


def _check_ports(written: Written, reference: Reference) -> None:
    if {port.name for port in written.inputs} != set(reference.inputs):
        raise NotComparableError("it has other inputs than its source")
    if not {port.name for port in written.outputs} <= set(reference.outputs):
        raise NotComparableError("it has outputs that its source does not have")


def _samples(written: Written, reference: Reference) -> Iterator[_Sample]:
    """Samples that the source runs with, of the first sizes that it runs with at all."""
    model = ov.Core().read_model(str(written.xml))
    inputs = list(model.inputs)
    outputs = [port.name for port in written.outputs]
    sizes, below = _sizes(inputs, reference, outputs)
    batches = [sizes]
    if samples.has_free_batch(inputs):
        batches.append(Sizes(2 * sizes.batch, sizes.other, sizes.rank))
    for one in batches:
        for seed in _SEEDS:
            values = _values(inputs, one, seed, below)
            try:
                expected = reference.run(values, outputs)
            except ReferenceError:
                if one is sizes:
                    raise
                continue  # the batch is only declared free
            if seed == _SEEDS[0] and not _same(expected, reference.run(values, outputs)):
                raise NotComparableError("its source computes something else at every run")
            yield _Sample(values, expected)


def _sizes(inputs: Sequence[ov.Output], reference: Reference, outputs: Sequence[str]) -> tuple[Sizes, int]:
    """The first sizes, and the bound of integers, that the source runs with."""
    failure: ReferenceError | None = None
    for below in (2, 1):
        for sizes in samples.candidates(inputs):
            try:
                for seed in _SEEDS:
                    reference.run(_values(inputs, sizes, seed, below), outputs)
            except ReferenceError as error:  # noqa: PERF203 - a run takes longer
                failure = failure or error
            else:
                return sizes, below
    raise failure or ReferenceError("its inputs are too large to run it")


def _values(inputs: Sequence[ov.Output], sizes: Sizes, seed: int, below: int) -> dict[str, Array]:
    tensors = samples.fill(inputs, sizes, seed, integers_below=below, signed=seed == _SEEDS[1])
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
