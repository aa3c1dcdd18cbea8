"""Does the written IR load, compile and run, and compute what its source does?"""

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import islice

import openvino as ov

from ovms_converter.engine import death
from ovms_converter.engine.job import ConversionJob, OutputComparison
from ovms_converter.engine.worker import examples, execution, samples, weights
from ovms_converter.engine.worker.compare import Examples, NoReferenceError, compare
from ovms_converter.engine.worker.examples import Example
from ovms_converter.engine.worker.execution import Runner, Tensor
from ovms_converter.engine.worker.exporting import Source
from ovms_converter.engine.worker.reference import missing_extra
from ovms_converter.engine.worker.samples import Draw, Sizes
from ovms_converter.engine.worker.save import Written
from ovms_converter.engine.worker.treatment import NotComparableError, Treatment
from ovms_converter.errors import RequestError, VerificationError
from ovms_converter.optimizer.conversion import open_model
from ovms_converter.optimizer.native import cause_of

__all__ = ["Verified", "verify"]

_COMPARED_BYTES = 64 << 20
"""A reference copies the weights: larger models are compared only when asked for."""

_UNCOMPARED = ("openvino.ir", "paddle")
"""Formats that "auto" never compares: there is no reference but OpenVINO's own, which is slow."""


@dataclass(frozen=True)
class Verified:
    """How a result was verified, in one line; notes for the user; and figures if it was compared."""

    text: str
    notes: tuple[str, ...] = ()
    comparison: tuple[OutputComparison, ...] = ()


_CALIBRATION = 16
"""So many samples of those for calibration are compared on."""


@dataclass(frozen=True)
class _Task:
    """What is verified: the written `model`, of a `source`, for a `job`."""

    written: Written
    job: ConversionJob
    source: Source
    model: ov.Model


_FIX_RANKS = (
    "give the inputs that it depends on a shape with `--input_shape`, or a value with "
    "`--freeze_placeholder_with_value`"
)


def verify(written: Written, job: ConversionJob, source: Source) -> Verified:
    """Verify the pair of files on disk as `job.verify` asks; `source` is what was converted.

    "compare" of what cannot be compared is "load" with a note. "auto" is "compare" for a small model whose
    reference is installed, or if there are data to compare on, and "load" if that is not possible.

    Raises:
        RequestError: "compare" needs a package that is not installed, or `verify_data` does not fit.
        VerificationError: it does not load, compile or run, or it computes something else than its source.
        ResourceError: memory ran out.
    """
    try:
        task = _Task(written, job, source, ov.Core().read_model(str(written.xml)))
        return _verify(task)
    except (RuntimeError, ValueError) as error:
        resources = death.of_exception(error, f"running `{written.xml.name}`")
        cause = cause_of(error)
        raise resources or VerificationError(
            f"the converted model does not run on the CPU: {cause}",
            hint=_FIX_RANKS if "dynamic rank" in cause else "`--verify off` publishes it without this check",
        ) from None


def _verify(task: _Task) -> Verified:
    job = task.job
    data = _data(task)
    given = Examples(data)
    wanted = job.verify == "compare" or (job.verify == "auto" and (bool(data) or _is_cheap(task)))
    if not wanted:
        return _load(task, given)
    extra = missing_extra(job.format)
    if extra and job.verify == "compare" and not given.recorded:
        raise RequestError(
            f"to compare the result with its source needs {_RUNTIMES[extra]}",
            hint=f"pip install 'ovms-converter[{extra}]', or `--verify load`",
            parameter="verify",
        )
    notes: tuple[str, ...] = ()
    try:
        treatment = _treatment(task)
        given, notes = _with_example(task, treatment, given)
        compared = compare(task.written, job, task.source, treatment, given)
        return Verified(compared.text, (*notes, *compared.notes), compared.figures)
    except NotComparableError as error:
        reason = error
    note = f"the result was not compared with its source: {reason}"
    if given.recorded:
        compared = compare(task.written, job, task.source, None, given)
        return Verified(compared.text, (note, *notes, *compared.notes), compared.figures)
    if isinstance(reason, NoReferenceError) and job.verify == "compare" and job.format not in _UNCOMPARED:
        raise VerificationError(
            f"the result cannot be compared with its source: {reason}",
            hint="`--verify load` publishes it without a comparison",
        )
    loaded = _load(task, given)
    return replace(loaded, notes=(note, *notes, *loaded.notes))


def _data(task: _Task) -> tuple[Example, ...]:
    """The inputs that were given to compare on, else some of those that the result was calibrated for."""
    if task.job.verify_data:
        return examples.read_data(task.job.verify_data, task.model)
    if task.job.calibration_data:
        taken = islice(weights.calibration(task.model, task.job.calibration_data), _CALIBRATION)
        return tuple(Example(inputs, {}) for inputs in taken)
    return ()


_RUNTIMES = {"verify": "ONNX Runtime", "tensorflow": "TensorFlow"}


def _is_cheap(task: _Task) -> bool:
    if task.job.format in _UNCOMPARED or missing_extra(task.job.format):
        return False
    return execution.weigh(task.model) <= _COMPARED_BYTES


def _treatment(task: _Task) -> Treatment:
    source = open_model(task.source.model, task.source.format, task.job.arguments)
    return Treatment.of(task.model, source, task.job.arguments)


def _with_example(task: _Task, treatment: Treatment, given: Examples) -> tuple[Examples, tuple[str, ...]]:
    """The given data and the example that came with the model, and a note if that does not fit."""
    if task.job.example is None:
        return given, ()
    try:
        found = examples.read_mlflow(task.job.example, task.job.signature, task.model, treatment)
    except examples.MisfitError as error:
        return given, (f"the input example of the artifact was not used: it {error}",)
    return replace(given, example=found), ()


def _load(task: _Task, given: Examples) -> Verified:
    """Read the files back, compile them for the CPU in full precision and run them on small seeded inputs."""
    xml = task.written.xml
    try:
        return execution.run_file(xml, lambda runner, inputs: _run(runner, inputs, given))
    except _NoSizesError as error:
        return Verified(
            "loaded and compiled; not run: no inputs were found that it runs with",
            (f"the model was not run, because it fails with every guessed input: {error}",),
        )


class _NoSizesError(RuntimeError):
    """The model runs with none of the guessed inputs, which may be the fault of the guess."""


def _run(runner: Runner, inputs: Sequence[ov.Output], given: Examples) -> Verified:
    """Run on the given data, else once, and if the batch is free and that is cheap, with a batch of two."""
    if given.data:
        for each in given.data:
            runner.run([each.inputs[port.get_any_name()] for port in inputs])
        return Verified(f"loaded, {runner.method} on `verify_data`")
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
        if death.of_exception(error, ""):
            raise
        settings = samples.has_settings(inputs)
        draws = (Draw.UNIT, Draw.COUNTS) if settings else ()
        for sizes, draw in (*((sizes, Draw.ZEROS) for sizes in more), *((first, draw) for draw in draws)):
            with contextlib.suppress(RuntimeError, ValueError):
                runner.run(_tensors(inputs, sizes, draw))
                return sizes
        if samples.has_other_free_dimensions(inputs) or settings:
            raise _NoSizesError(cause_of(error)) from None
        raise
    return first


def _tensors(inputs: Sequence[ov.Output], sizes: Sizes, draw: Draw = Draw.ZEROS) -> list[Tensor]:
    tensors = samples.fill(inputs, sizes, draw)
    if tensors is None:
        raise ValueError("its inputs are too large to run it")
    return tensors
