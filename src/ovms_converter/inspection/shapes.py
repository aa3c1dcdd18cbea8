"""Layouts guessed from shapes, and what `--batch` and `--input-shape` would do; Model Optimizer's own rules.

`--batch` sets the first dimension of every input where that is unknown, 0 or 1, leaves scalars alone, and is
refused where it is anything else.
"""

from collections.abc import Sequence

from ovms_converter.formats.base import TensorSpec
from ovms_converter.inspection.report import InputReport

__all__ = ["input_report", "shape_advice", "shape_text"]

_CHANNELS = (1, 3, 4)
_LAYOUTS = {4: ("NCHW", "NHWC"), 5: ("NCDHW", "NDHWC")}


def shape_text(shape: Sequence[int | str | None] | None) -> str:
    """`[?,3,224,224]`; names of dynamic dimensions as they are, `[...]` for an unknown rank."""
    return "[...]" if shape is None else f"[{','.join('?' if d is None else str(d) for d in shape)}]"


def input_report(spec: TensorSpec, format_name: str) -> InputReport:
    """What can be said of an input before anything is converted."""
    layout, reason = _layout(spec, format_name)
    after, refused = _with_batch(spec)
    return InputReport(spec, layout, reason, after, refused)


def _layout(spec: TensorSpec, format_name: str) -> tuple[str | None, str | None]:
    shape = spec.shape
    names = _LAYOUTS.get(len(shape)) if shape is not None else None
    if shape is None or names is None:
        return None, None
    first, last = shape[1] in _CHANNELS, shape[-1] in _CHANNELS
    if first != last:
        at = 1 if first else len(shape) - 1
        return names[0 if first else 1], f"dimension {at} is {shape[at]}"
    if format_name.startswith("tensorflow"):
        return names[1], "TensorFlow's usual order"
    return None, None


def _with_batch(spec: TensorSpec) -> tuple[tuple[int | str | None, ...] | None, str | None]:
    if spec.shape is None:
        return None, "its number of dimensions is not known"
    if not spec.shape:
        return None, None
    first = spec.shape[0]
    if isinstance(first, int) and first > 1:
        return None, f"its first dimension is {first}, which is no batch of 1 or of unknown size"
    return ("N", *spec.shape[1:]), None


def shape_advice(inputs: Sequence[InputReport]) -> list[str]:
    """What is dynamic, and which option would fix it; one line each."""
    dynamic = [report for report in inputs if not _static(report)]
    if not dynamic:
        return (
            ["all input shapes are fixed; `--batch N` or `--input-shape` would change them"] if inputs else []
        )
    refused = next((report for report in inputs if report.batch_refused), None)
    lines = ["shapes stay dynamic unless you fix them, and a server takes any size in their place"]
    if refused:
        lines.append(f"`--batch` would be refused: input `{refused.spec.name}`: {refused.batch_refused}")
    elif any(report.with_batch for report in inputs):
        shapes = ", ".join(
            f"`{report.spec.name}` {shape_text(report.with_batch)}" for report in inputs if report.with_batch
        )
        lines.append(f"`--batch N` would make {shapes}")
    left = [
        report
        for report in dynamic
        if report.spec.shape is None or any(not isinstance(size, int) for size in report.spec.shape[1:])
    ]
    if left or refused:
        lines.append(f"`{_input_shape(inputs)}` with your numbers for the dynamic dimensions would fix all")
    return lines


def _static(report: InputReport) -> bool:
    shape = report.spec.shape
    return shape is not None and all(isinstance(size, int) for size in shape)


def _input_shape(inputs: Sequence[InputReport]) -> str:
    shapes = ",".join(shape_text(report.spec.shape) for report in inputs)
    if len(inputs) == 1:
        return f"--input-shape {shapes}"
    return f"--input {','.join(report.spec.name for report in inputs)} --input-shape {shapes}"
