"""Verification of a result against its source, or where that cannot be, against what was recorded."""

from dataclasses import replace

from ovms_converter.engine.worker import examples
from ovms_converter.engine.worker.compare import compare
from ovms_converter.engine.worker.drawing import NoReferenceError
from ovms_converter.engine.worker.examples import Example, Examples
from ovms_converter.engine.worker.extras import missing_extra
from ovms_converter.engine.worker.load import load
from ovms_converter.engine.worker.treatment import NotComparableError, Treatment
from ovms_converter.engine.worker.verification import UNCOMPARED, Task, Verified
from ovms_converter.errors import RequestError, VerificationError
from ovms_converter.optimizer.conversion import open_model

__all__ = ["verify_against_source"]

_RUNTIMES = {"verify": "ONNX Runtime", "tensorflow": "TensorFlow"}


def verify_against_source(task: Task, data: tuple[Example, ...]) -> Verified:
    """Compare on `data`, the example that came with the model, and made-up inputs; else load and run it.

    Raises as `verify.verify` does.
    """
    job, given = task.job, Examples(data)
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
    if isinstance(reason, NoReferenceError) and job.verify == "compare" and job.format not in UNCOMPARED:
        raise VerificationError(
            f"the result cannot be compared with its source: {reason}",
            hint="`--verify load` publishes it without a comparison",
        )
    loaded = load(task.written.xml, task.model, data)
    return replace(loaded, notes=(note, *notes, *loaded.notes))


def _treatment(task: Task) -> Treatment:
    source = open_model(task.source.model, task.source.format, task.job.arguments)
    return Treatment.of(task.model, source, task.job.arguments)


def _with_example(task: Task, treatment: Treatment, given: Examples) -> tuple[Examples, tuple[str, ...]]:
    """The given data and the example that came with the model, and a note if that does not fit."""
    if task.job.example is None:
        return given, ()
    try:
        found = examples.read_mlflow(task.job.example, task.job.signature, task.model, treatment)
    except examples.MisfitError as error:
        return given, (f"the input example of the artifact was not used: it {error}",)
    return replace(given, example=found), ()
