"""Does the written IR load, compile and run, and compute what its source does?"""

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass, replace

import openvino as ov

from ovms_converter.engine import death
from ovms_converter.engine.job import ConversionJob, OutputComparison
from ovms_converter.engine.worker import execution, samples
from ovms_converter.engine.worker.compare import NoReferenceError, NotComparableError, compare
from ovms_converter.engine.worker.execution import Runner, Tensor
from ovms_converter.engine.worker.reference import is_installed
from ovms_converter.engine.worker.samples import Draw, Sizes
from ovms_converter.engine.worker.save import Written
from ovms_converter.errors import RequestError, VerificationError
from ovms_converter.optimizer.native import cause_of

__all__ = ["Verified", "verify"]

_COMPARED_BYTES = 64 << 20
"""ONNX Runtime copies the weights: larger models are compared only when asked for."""


@dataclass(frozen=True)
class Verified:
    """How a result was verified, in one line; notes for the user; and figures if it was compared."""

    text: str
    notes: tuple[str, ...] = ()
    comparison: tuple[OutputComparison, ...] = ()


def verify(written: Written, job: ConversionJob) -> Verified:
    """Verify the pair of files on disk as `job.verify` asks.

    "compare" of what the arguments changed on purpose is "load" with a note. "auto" is "compare" for a small
    ONNX model if ONNX Runtime is installed, and "load" if it is not or cannot run the source.

    Raises:
        RequestError: "compare" needs ONNX Runtime, and it is not installed.
        VerificationError: it does not load, compile or run, or it computes something else than its source.
        ResourceError: memory ran out.
    """
    try:
        if job.verify == "compare" or (job.verify == "auto" and _is_cheap(written, job)):
            return _compare_or_load(written, job)
        return _load(written)
    except (RuntimeError, ValueError) as error:
        resources = death.of_exception(error, f"running `{written.xml.name}`")
        raise resources or VerificationError(
            f"the converted model does not run on the CPU: {cause_of(error)}",
            hint="`--verify off` publishes it without this check",
        ) from None


def _compare_or_load(written: Written, job: ConversionJob) -> Verified:
    try:
        return _compare(written, job)
    except NotComparableError as error:
        reason = error
    if isinstance(reason, NoReferenceError) and job.verify == "compare":
        raise VerificationError(
            f"the result cannot be compared with its source: {reason}",
            hint="`--verify load` publishes it without a comparison",
        )
    loaded = _load(written)
    return replace(loaded, notes=(f"the result was not compared with its source: {reason}", *loaded.notes))


def _is_cheap(written: Written, job: ConversionJob) -> bool:
    if job.format != "onnx" or not is_installed():
        return False
    return execution.weigh(ov.Core().read_model(str(written.xml))) <= _COMPARED_BYTES


def _compare(written: Written, job: ConversionJob) -> Verified:
    if job.format != "onnx":
        raise NotComparableError(f"there is no reference for the format `{job.format}`")
    if not is_installed():
        raise RequestError(
            "to compare the result with its source needs ONNX Runtime",
            hint="pip install 'ovms-converter[verify]', or `--verify load`",
            parameter="verify",
        )
    compared = compare(written, job)
    return Verified(compared.text, compared.notes, compared.figures)


def _load(written: Written) -> Verified:
    """Read the files back, compile them for the CPU in full precision and run them on small seeded inputs."""
    try:
        return execution.run_file(written.xml, _run)
    except _NoSizesError as error:
        return Verified(
            "loaded and compiled; not run: no sizes for the free dimensions were found that it runs with",
            (f"the model was not run, because it fails with every guessed input size: {error}",),
        )


class _NoSizesError(RuntimeError):
    """The model runs with none of the guessed sizes, which may be the fault of the guess."""


def _run(runner: Runner, inputs: Sequence[ov.Output]) -> Verified:
    """Run once, and if the batch is free and that is cheap, once more with a batch of two."""
    sizes = _first_that_runs(runner, inputs)
    text = f"loaded, {runner.method}"
    if not (samples.has_free_batch(inputs) and runner.repeatable and sizes.batch == 1):
        return Verified(text)
    try:
        runner.run(_tensors(inputs, Sizes(2, sizes.other, sizes.rank)))
    except (RuntimeError, ValueError) as error:
        note = f"the batch is free, but the model runs with one of 1 and not with one of 2: {cause_of(error)}"
        return Verified(f"{text} with a batch of 1", (note,))
    return Verified(f"{text} with a batch of 1 and of 2")


def _first_that_runs(runner: Runner, inputs: Sequence[ov.Output]) -> Sizes:
    """The first of the candidate sizes that the model runs with; raises the first error if there is none."""
    first, *more = samples.candidates(inputs)
    try:
        runner.run(_tensors(inputs, first))
    except (RuntimeError, ValueError) as error:
        for sizes in more:
            with contextlib.suppress(RuntimeError, ValueError):
                runner.run(_tensors(inputs, sizes))
                return sizes
        if samples.has_other_free_dimensions(inputs) and not death.of_exception(error, ""):
            raise _NoSizesError(cause_of(error)) from None
        raise
    return first


def _tensors(inputs: Sequence[ov.Output], sizes: Sizes) -> list[Tensor]:
    tensors = samples.fill(inputs, sizes, Draw.ZEROS)
    if tensors is None:
        raise ValueError("its inputs are too large to run it")
    return tensors
