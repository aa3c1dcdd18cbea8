"""Does the written IR load, compile and run, and compute what its source does?

What only a comparison needs is imported when there is one.
"""

from itertools import islice
from typing import TYPE_CHECKING

import openvino as ov

from ovms_converter.engine import death
from ovms_converter.engine.job import ConversionJob
from ovms_converter.engine.worker import execution
from ovms_converter.engine.worker.exporting import Source
from ovms_converter.engine.worker.extras import missing_extra
from ovms_converter.engine.worker.load import load
from ovms_converter.engine.worker.save import Written
from ovms_converter.engine.worker.verification import UNCOMPARED, Task, Verified
from ovms_converter.errors import VerificationError
from ovms_converter.optimizer.native import cause_of

if TYPE_CHECKING:
    from ovms_converter.engine.worker.examples import Example

__all__ = ["Verified", "verify"]

_COMPARED_BYTES = 64 << 20
"""A reference copies the weights: larger models are compared only when asked for."""

_CALIBRATION = 16
"""So many samples of those for calibration are compared on."""


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
        task = Task(written, job, source, ov.Core().read_model(str(written.xml)))
        return _verify(task)
    except (RuntimeError, ValueError) as error:
        resources = death.of_exception(error, f"running `{written.xml.name}`")
        cause = cause_of(error)
        raise resources or VerificationError(
            f"the converted model does not run on the CPU: {cause}",
            hint=_FIX_RANKS if "dynamic rank" in cause else "`--verify off` publishes it without this check",
        ) from None


def _verify(task: Task) -> Verified:
    job = task.job
    data = _data(task)
    if job.verify == "compare" or (job.verify == "auto" and (bool(data) or _is_cheap(task))):
        from ovms_converter.engine.worker.against_source import verify_against_source

        return verify_against_source(task, data)
    return load(task.written.xml, task.model, data)


def _data(task: Task) -> "tuple[Example, ...]":
    """The inputs that were given to compare on, else some of those that the result was calibrated for."""
    given, calibration = task.job.verify_data, task.job.calibration_data
    if given:
        from ovms_converter.engine.worker.examples import read_data

        return read_data(given, task.model)
    if calibration:
        from ovms_converter.engine.worker.examples import Example
        from ovms_converter.engine.worker.weights import calibration as runs

        return tuple(Example(inputs, {}) for inputs in islice(runs(task.model, calibration), _CALIBRATION))
    return ()


def _is_cheap(task: Task) -> bool:
    if task.job.format in UNCOMPARED or missing_extra(task.job.format):
        return False
    return execution.weigh(task.model) <= _COMPARED_BYTES
