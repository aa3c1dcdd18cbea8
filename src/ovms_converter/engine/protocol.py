"""The language of the two pipes between client and child: one JSON object a line.

The client sends one job on the child's standard input and keeps that pipe open: its end tells the child that
the client is gone. The child answers on a pipe of its own, because openvino and its libraries print to
stdout and stderr.

The child has read a file that a stranger may have written, so nothing it says is trusted: every line is
bounded and decoded field by field, never unpickled, and it names no path that the client would open.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias, TypeVar

from ovms_converter.engine.job import ConversionJob, Converted, OutputComparison, Port, Timing
from ovms_converter.errors import ConverterError, InternalError
from ovms_converter.events import Note, Stage
from ovms_converter.messages import line as encoded
from ovms_converter.messages import restored
from ovms_converter.optimizer.arguments import OptimizerArguments

__all__ = [
    "MAX_LINE",
    "Doing",
    "Done",
    "Failed",
    "Message",
    "StageEnded",
    "decode_job",
    "decode_message",
    "encode_job",
    "encode_message",
    "raised",
]

MAX_LINE = 8 << 20
"""The longest line, in bytes, that either side accepts."""

_Json: TypeAlias = Mapping[str, object]
_T = TypeVar("_T")


@dataclass(frozen=True)
class Doing:
    """What the child does from now on, so that a crash can be told: the stage, and "reading `model.onnx`"."""

    stage: Stage
    text: str


@dataclass(frozen=True)
class StageEnded:
    """A stage of the child is through, after `seconds` of wall time."""

    stage: Stage
    seconds: float
    detail: str


@dataclass(frozen=True)
class Done(Converted):
    """The job is done. The paths of the files are left out: the client knows them itself."""


@dataclass(frozen=True)
class Failed:
    """The job ended in an error. `kind` is the class's name in `errors`; `traceback` is for the log only."""

    kind: str
    message: str
    hint: str | None
    parameter: str | None
    traceback: str


Message: TypeAlias = Doing | StageEnded | Note | Done | Failed


def encode_job(job: ConversionJob) -> bytes:
    """One line that `decode_job` understands."""
    return encoded(
        {
            "format": job.format,
            "model": str(job.model.absolute()),  # the child runs in another directory
            "arguments": dict(job.arguments.to_values()),
            "stem": job.stem,
            "output": str(job.output.absolute()),
            "verify": job.verify,
            "tolerance": job.tolerance,
            "signature": job.signature,
            "example": str(job.example.absolute()) if job.example else None,
            "versions": dict(job.versions),
            "trusted": job.trusted,
            "verify_data": str(job.verify_data.absolute()) if job.verify_data else None,
            "ready": job.ready,
            "weights": job.weights,
            "benchmark": job.benchmark,
            "calibration_data": str(job.calibration_data.absolute()) if job.calibration_data else None,
        }
    )


def decode_job(line: bytes) -> ConversionJob:
    """The job of a line that `encode_job` wrote."""
    value = json.loads(line)
    return ConversionJob(
        format=value["format"],
        model=Path(value["model"]),
        arguments=OptimizerArguments.parse(value["arguments"]),
        stem=value["stem"],
        output=Path(value["output"]),
        verify=value["verify"],
        tolerance=value["tolerance"],
        signature=value["signature"],
        example=Path(value["example"]) if value["example"] else None,
        versions=value["versions"],
        trusted=value["trusted"],
        verify_data=Path(value["verify_data"]) if value["verify_data"] else None,
        ready=value["ready"],
        weights=value["weights"],
        benchmark=value["benchmark"],
        calibration_data=Path(value["calibration_data"]) if value["calibration_data"] else None,
    )


def encode_message(message: Message) -> bytes:
    """One line that `decode_message` understands."""
    value: dict[str, object] = asdict(message)
    if isinstance(message, Doing | StageEnded):
        value["stage"] = message.stage.value
    return encoded({"is": type(message).__name__, **value})


def decode_message(line: bytes) -> Message:
    """The message of a line that a child sent.

    Raises:
        ValueError: it is none.
    """
    try:
        value = json.loads(line)
        return _DECODERS[value["is"]](value)
    except (KeyError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        raise ValueError(f"no message of the converter process: {type(error).__name__}") from None


def raised(message: Failed) -> ConverterError:
    """The error that the child ended with, of the same class; `InternalError` if it is none of ours."""
    error = restored(message.kind, message.message, message.hint, message.parameter)
    return error or InternalError(message.message, hint=message.hint)


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError("text expected")
    return value


def _optional_text(value: object) -> str | None:
    return None if value is None else _text(value)


def _number(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError("number expected")
    return float(value)


def _tuple(value: object, one: Callable[[Any], _T]) -> tuple[_T, ...]:
    if not isinstance(value, list):
        raise TypeError("list expected")
    return tuple(map(one, value))


def _port(value: _Json) -> Port:
    return Port(_text(value["name"]), _text(value["type"]), _text(value["shape"]))


def _compared(value: _Json) -> OutputComparison:
    figures = (_number(value[name]) for name in ("max_abs", "max_rel", "cosine"))
    return OutputComparison(_text(value["name"]), *figures)


def _timing(value: _Json) -> Timing:
    return Timing(_text(value["runtime"]), _number(value["load"]), _tuple(value["answers"], _number))


def _doing(value: _Json) -> Doing:
    return Doing(Stage(value["stage"]), _text(value["text"]))


def _stage_ended(value: _Json) -> StageEnded:
    return StageEnded(Stage(value["stage"]), _number(value["seconds"]), _text(value["detail"]))


def _note(value: _Json) -> Note:
    level: Literal["debug", "info", "warning"] = "debug"
    if value["level"] == "info":
        level = "info"
    elif value["level"] == "warning":
        level = "warning"
    return Note(level, _text(value["text"]))


def _done(value: _Json) -> Done:
    return Done(
        inputs=_tuple(value["inputs"], _port),
        outputs=_tuple(value["outputs"], _port),
        notes=_tuple(value["notes"], _text),
        verified=_text(value["verified"]),
        convert_seconds=_number(value["convert_seconds"]),
        verify_seconds=_number(value["verify_seconds"]),
        comparison=_tuple(value["comparison"], _compared),
        repairs=_tuple(value["repairs"], _text),
        timings=_tuple(value["timings"], _timing),
    )


def _failed(value: _Json) -> Failed:
    return Failed(
        kind=_text(value["kind"]),
        message=_text(value["message"]),
        hint=_optional_text(value["hint"]),
        parameter=_optional_text(value["parameter"]),
        traceback=_text(value["traceback"]),
    )


_DECODERS: Mapping[str, Callable[[_Json], Message]] = {
    "Doing": _doing,
    "StageEnded": _stage_ended,
    "Note": _note,
    "Done": _done,
    "Failed": _failed,
}
