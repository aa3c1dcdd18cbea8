"""Does the written IR compute what its source computes, and what was recorded?"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import openvino as ov

from ovms_converter.engine import death
from ovms_converter.engine.job import ConversionJob, OutputComparison
from ovms_converter.engine.tolerance import tolerance_for
from ovms_converter.engine.worker import execution
from ovms_converter.engine.worker.blame import Blame, blame
from ovms_converter.engine.worker.drawing import Sample, expected, in_order
from ovms_converter.engine.worker.examples import Examples
from ovms_converter.engine.worker.execution import Array, Runner
from ovms_converter.engine.worker.exporting import Source
from ovms_converter.engine.worker.judging import judge
from ovms_converter.engine.worker.save import Written
from ovms_converter.engine.worker.treatment import Treatment
from ovms_converter.errors import VerificationError
from ovms_converter.optimizer.native import cause_of

__all__ = ["Compared", "compare"]


@dataclass(frozen=True)
class Compared:
    """What was compared, in one line, the figures of every output, and notes for the user."""

    text: str
    figures: tuple[OutputComparison, ...]
    notes: tuple[str, ...]


_RECORD = Blame(
    "it computes what its source does, so the outputs in `verify_data` are the cause",
    "record them again from this source, or leave the arrays `output:…` out",
)


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
    recorded = [Sample(in_order(written, each), each.outputs, given=True) for each in examples.recorded]
    parts, found = [], list[Sample]()
    tolerance = tolerance_for(
        half_precision=job.arguments.half_precision or _computes_in_bfloat(written),
        weights=job.weights,
        calibrated=job.calibration_data is not None,
        asked=job.tolerance,
    )
    if treatment is not None:
        name, found = expected(written, job, source, treatment, examples)
        parts.append(f"{tolerance.verdict} {name} on {len(found)} samples")
    if recorded:
        parts.append(f"{tolerance.verdict} the outputs in `verify_data`")
    ran, results, refused = execution.run_file(
        written.xml, lambda runner, _: _run_what_runs(runner, [*recorded, *found])
    )
    figures, why = judge(written, ran, results, tolerance)
    if why:
        _, by_record = judge(written, recorded, results[: len(recorded)], tolerance)
        other = "`verify_data` tells" if by_record else "its source"
        if (
            by_record
            and found
            and not judge(written, ran[len(recorded) :], results[len(recorded) :], tolerance)[1]
        ):
            found_out = _RECORD
        else:
            found_out = blame(written, job, source, ran, tolerance, has_reference=bool(found))
        raise VerificationError(
            f"the converted model computes something else than {other}: {by_record or why}; {found_out.text}",
            hint=found_out.hint,
        )
    batches = sorted({_batch(written, sample) for sample in ran})
    text = f" with a batch of {_listed(batches)}" if len(batches) > 1 else ""
    note = f"OpenVINO refuses {refused[0]} of the samples that the source accepts: {refused[1]}"
    return Compared(", and ".join(parts) + text, figures, (note,) if refused[0] else ())


def _run_what_runs(
    runner: Runner, found: Sequence[Sample]
) -> tuple[list[Sample], list[list[Array]], tuple[int, str]]:
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


def _computes_in_bfloat(written: Written) -> bool:
    """Whether the source rounds to 8 bits after each operation; weights alone may be of that type in any."""
    return any(
        output.get_element_type() == ov.Type.bf16
        for node in ov.Core().read_model(str(written.xml)).get_ops()
        if node.get_type_name() not in ("Constant", "Convert")
        for output in node.outputs()
    )


def _batch(written: Written, sample: Sample) -> int:
    """The size of the first input whose batch is free; 1 if there is none."""
    first = {port.name: port.shape.strip("[]").partition(",")[0] for port in written.inputs}
    free = [name for name, size in first.items() if size == "?" or ".." in size]
    values = sample.inputs[free[0]] if free else np.zeros(())
    return int(values.shape[0]) if values.ndim else 1
