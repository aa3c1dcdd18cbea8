"""What is at fault where a result differs from its source: its precision, the conversion, or the plugin."""

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import openvino as ov

from ovms_converter.engine.job import ConversionJob
from ovms_converter.engine.tolerance import FULL_PRECISION, Tolerance
from ovms_converter.engine.worker import execution
from ovms_converter.engine.worker.drawing import Sample
from ovms_converter.engine.worker.execution import Array
from ovms_converter.engine.worker.exporting import Source
from ovms_converter.engine.worker.judging import judge
from ovms_converter.engine.worker.reference import evaluate
from ovms_converter.engine.worker.save import Written
from ovms_converter.errors import ConverterError
from ovms_converter.optimizer.conversion import convert
from ovms_converter.optimizer.native import NATIVE_ERRORS

__all__ = ["Blame", "blame"]

_BLAME_BYTES = 8 << 20
"""Up to so many bytes of weights, OpenVINO's slow reference implementations tell the plugin's faults."""

_ALL_THE_SAME = "`--verify load` publishes it all the same"
_REPAIRED = "leave out `--repairs off`: what OpenVINO is known to get wrong is repaired otherwise"


@dataclass(frozen=True)
class Blame:
    """What is at fault, as the end of a sentence, and the next thing to try, as a hint."""

    text: str
    hint: str


_NOT_EXAMINED = "whether the conversion or OpenVINO's CPU plugin is the cause was not examined"
_NOT_TOLD = "whether the conversion or OpenVINO's CPU plugin is the cause cannot be told"


def blame(
    written: Written, job: ConversionJob, source: Source, found: Sequence[Sample], tolerance: Tolerance, *,
    has_reference: bool,
) -> Blame:  # fmt: skip
    """What is at fault: the precision of the weights, the tolerance, the CPU plugin or the IR.

    As far as can be told. Without a reference, what was recorded may be wrong as well.
    """
    repaired = _REPAIRED if job.arguments.repairs == "off" else None
    untold = repaired or _ALL_THE_SAME
    try:
        if job.arguments.half_precision or job.weights:
            results = _run_in_full_precision(job, source, found)
            if not judge(written, found, results, FULL_PRECISION)[1]:
                return _of_precision(job)
        if written.bin.stat().st_size > _BLAME_BYTES:
            return Blame(_NOT_EXAMINED, untold)
        model = ov.Core().read_model(str(written.xml))
        try:
            results = [evaluate(model, list(sample.inputs.values())) for sample in found]
        except NATIVE_ERRORS:  # an operation that has no reference implementation
            if judge(written, found, _run_rows_alone(written, model, found), tolerance)[1]:
                return Blame(_NOT_TOLD, untold)
            return _of_plugin("each row by itself is right, so", repaired)
        if not judge(written, found, results, tolerance)[1]:
            return _of_plugin("the IR is right, and", repaired)
    except (*NATIVE_ERRORS, ConverterError):
        return Blame(_NOT_TOLD, untold)
    if tolerance.relative < FULL_PRECISION.relative and not judge(written, found, results, FULL_PRECISION)[1]:
        return Blame(
            f"two right implementations differ as much: it is within the usual tolerance of "
            f"{FULL_PRECISION.relative:g}, so the smaller tolerance is the cause",
            "leave out `--tolerance`, or give a larger one",
        )
    if not has_reference:
        return Blame("the conversion is the cause, or what was recorded", repaired or _ALL_THE_SAME)
    return Blame(
        "the conversion is the cause",
        repaired or f"it is wrong on every device: report it with the model; {_ALL_THE_SAME}",
    )


def _of_plugin(found: str, repaired: str | None) -> Blame:
    return Blame(
        f"{found} OpenVINO's CPU plugin is the cause",
        repaired
        or "another device or release may compute it right: `--verify load` publishes it all the same",
    )


def _of_precision(job: ConversionJob) -> Blame:
    """The blame of weights, or activations, of fewer bits."""
    accept = "; or accept that with a larger `--tolerance`"
    if job.weights == "int4":
        hint = "compress less, with `--weights int8`"
    elif job.calibration_data:
        hint = "give more, or more typical, samples as `--calibration_data`, or leave it out"
    elif job.weights:
        hint = "leave out `--weights`"
    else:
        hint = "keep the weights as they are: `--data_type FP32`"
    name = (job.weights or "fp16").upper()
    return Blame(f"with FP32 weights it is right, so {name} is the cause", hint + accept)


def _run_rows_alone(written: Written, model: ov.Model, found: Sequence[Sample]) -> list[list[Array]]:
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


def _run_in_full_precision(job: ConversionJob, source: Source, found: Sequence[Sample]) -> list[list[Array]]:
    """What the same conversion computes with uncompressed weights."""
    arguments = replace(job.arguments, data_type=None, compress_to_fp16=None)
    with tempfile.TemporaryDirectory() as scratch:
        model = convert(source.model, source.format, arguments, Path(scratch)).model
        runner = execution.methods(model)[0](model, ov.Core())
        return [runner.run(list(sample.inputs.values())) for sample in found]
