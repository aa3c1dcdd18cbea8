"""What is at fault where a result differs from its source: its precision, the conversion, or the plugin."""

import tempfile
from collections.abc import Sequence
from dataclasses import replace
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

__all__ = ["blame"]

_BLAME_BYTES = 8 << 20
"""Up to so many bytes of weights, OpenVINO's slow reference implementations tell the plugin's faults."""


def blame(
    written: Written, job: ConversionJob, source: Source, found: Sequence[Sample], tolerance: Tolerance
) -> str:
    """What is at fault: the precision of the weights, the CPU plugin or the IR, as far as can be told."""
    try:
        if job.arguments.half_precision or job.weights:
            results = _run_in_full_precision(job, source, found)
            _, why = judge(written, found, results, FULL_PRECISION)
            if not why:
                return f"with FP32 weights it is right, so {(job.weights or 'fp16').upper()} is the cause"
        if written.bin.stat().st_size > _BLAME_BYTES:
            return "whether the conversion or OpenVINO's CPU plugin is the cause was not examined"
        model = ov.Core().read_model(str(written.xml))
        try:
            results = [evaluate(model, list(sample.inputs.values())) for sample in found]
        except NATIVE_ERRORS:  # an operation that has no reference implementation
            _, why = judge(written, found, _run_rows_alone(written, model, found), tolerance)
            if not why:
                return "each row by itself is right, so OpenVINO's CPU plugin is the cause"
            return "whether the conversion or OpenVINO's CPU plugin is the cause cannot be told"
        _, why = judge(written, found, results, tolerance)
    except (*NATIVE_ERRORS, ConverterError):
        return "whether the conversion or OpenVINO's CPU plugin is the cause cannot be told"
    return "the conversion is the cause" if why else "the IR is right, and OpenVINO's CPU plugin is the cause"


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
