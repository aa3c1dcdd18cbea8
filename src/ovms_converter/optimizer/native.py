"""OpenVINO behind a door: imported without its telemetry, and with its exceptions turned into ours."""

import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from ovms_converter.errors import ModelError, ResourceError, UnsupportedModelError
from ovms_converter.exhaustion import MORE_MEMORY
from ovms_converter.optimizer.suggestions import listed

# Otherwise the import opens a connection and forks.
sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]

import openvino as ov  # noqa: E402
from openvino import frontend, opset13  # noqa: E402

__all__ = ["NATIVE_ERRORS", "READ_IT_ELSEWHERE", "Model", "cause_of", "native_errors", "opset13", "ov"]

Model = ov.Model

NATIVE_ERRORS = (
    RuntimeError,
    ValueError,
    TypeError,
    frontend.GeneralFailure,
    frontend.InitializationFailure,
    frontend.NotImplementedFailure,
    frontend.OpConversionFailure,
)
"""What openvino raises; the front ends' own exceptions are no `RuntimeError`."""

READ_IT_ELSEWHERE = "check that the file is whole, and that the model runs in its own framework"
"""A hint for what a front end refuses to read."""

_UNSUPPORTED = re.compile(
    r"(?:No conversion rule found for|no translator found for) operations?(?:\(s\))?: *(.+)"
)
_NOISE = re.compile(
    r"-- .* with a message:|Check '.*' failed at .*|Exception from .*|FrontEnd API failed with .*"
    r"|Errors during .* translation:"
    r"|While validating (?:ONNX )?node .*|Shape inference input shapes .*|Summary:"
    r"|Model wasn't fully converted\..*"
    r"|\[\w+ Frontend\] Conversion failed for .*"
)


_RULE = re.compile(r"While validating ONNX node .*?: (?:Runtime|Value|Type)Error: (.+)")
"""An exception of one of our own rules, which the front end puts into a line of its own."""


def cause_of(error: BaseException) -> str:
    """The line of an openvino exception that says what went wrong, without its source files."""
    raised = _RULE.search(str(error))
    if raised:
        return raised.group(1)[:300]
    lines = [line.strip() for line in str(error).splitlines()]
    telling = [line for line in lines if line and not _NOISE.fullmatch(line)]
    return (telling or lines or [""])[0][:300].rstrip(".:") or type(error).__name__


@contextmanager
def native_errors(doing: str, *, hint: str | None = None) -> Iterator[None]:
    """Turn an exception of openvino into one of ours; `doing` says what failed: "the model cannot be read".

    Raises `UnsupportedModelError` that lists the operations if that is the cause, `ResourceError` if memory
    ran out, else `ModelError` with the cause in one line and the `hint`.
    """
    try:
        yield
    except MemoryError:
        raise ResourceError(f"{doing}: out of memory", hint=MORE_MEMORY) from None
    except NATIVE_ERRORS as error:
        unsupported = _UNSUPPORTED.search(str(error))
        if unsupported:
            operations = [name.strip() for name in unsupported.group(1).split(",") if name.strip()]
            raise UnsupportedModelError(
                f"OpenVINO has no operation for {listed(operations)}",
                hint="cut them off with `input` and `output` if they only prepare or finish the data",
            ) from None
        raise ModelError(f"{doing}: {cause_of(error)}", hint=hint) from None
