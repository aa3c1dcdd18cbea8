"""What goes over the two pipes of a framework's process: one JSON object a line, arrays in files beside it.

The process may have run code out of a model, so nothing that it says is trusted: a line is bounded and
decoded field by field, and a path that it names must lie where it was told to write.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ovms_converter.errors import ConverterError
from ovms_converter.frameworks.base import EXPORTED_FORMATS, Exported, ExportJob
from ovms_converter.messages import line, restored

if TYPE_CHECKING:
    from ovms_converter.frameworks.base import Array

__all__ = [
    "MAX_LINE",
    "decode_failure",
    "decode_job",
    "encode_failure",
    "encode_job",
    "exported_of",
    "json_object",
    "load_arrays",
    "save_arrays",
]

MAX_LINE = 1 << 20
"""The longest line, in bytes, that is read of such a process."""


def json_object(data: bytes) -> dict[str, Any]:
    """The object of a line. Raises ValueError if it is none."""
    try:
        value: dict[str, Any] = {**json.loads(data)}
    except (TypeError, RecursionError):
        raise ValueError("no JSON object") from None
    return value


def encode_job(job: ExportJob, task: str) -> bytes:
    """The first message to the process; `task` is "export" or "run"."""
    return line(
        {
            "task": task,
            "format": job.format,
            "model": str(job.model.absolute()),
            "output": str(job.output.absolute()),
            "signature": job.signature,
            "example": str(job.example.absolute()) if job.example else None,
            "versions": dict(job.versions),
            "arguments": dict(job.arguments),
            "trusted": job.trusted,
        }
    )


def decode_job(data: bytes) -> tuple[ExportJob, str]:
    """The job and task of `encode_job`."""
    value = json_object(data)
    job = ExportJob(
        format=value["format"],
        model=Path(value["model"]),
        output=Path(value["output"]),
        signature=value["signature"],
        example=Path(value["example"]) if value["example"] else None,
        versions=value["versions"],
        arguments=value["arguments"],
        trusted=value["trusted"],
    )
    return job, value["task"]


def encode_failure(error: ConverterError) -> bytes:
    """The last message of a process that ended with one of our errors."""
    return line(
        {
            "failed": type(error).__name__,
            "message": error.message,
            "hint": error.hint,
            "parameter": getattr(error, "parameter", None),
        }
    )


def decode_failure(value: Mapping[str, object]) -> ConverterError | None:
    """The error that a process ended with, or None if the message is no failure."""
    message, hint, parameter = (value.get(name) for name in ("message", "hint", "parameter"))
    return restored(
        str(value.get("failed")),
        str(message),
        None if hint is None else str(hint),
        None if parameter is None else str(parameter),
    )


def exported_of(value: Mapping[str, object], output: Path) -> Exported | None:
    """What was exported below `output`; None if the message does not say so or names another place."""
    path, format, notes = (value.get(name) for name in ("exported", "format", "notes"))
    if not isinstance(path, str) or format not in EXPORTED_FORMATS or not isinstance(notes, list):
        return None
    root = output.resolve()
    file = (root / path).resolve()
    if not file.is_relative_to(root) or not file.is_file():
        return None
    return Exported(file, str(format), tuple(map(str, notes)))


def save_arrays(path: Path, arrays: "Mapping[str, Array]") -> None:
    """Write arrays by name; the names, which may be anything, are stored beside them."""
    import numpy as np

    numbered = {str(number): array for number, array in enumerate(arrays.values())}
    np.savez(path, allow_pickle=False, names=np.array(list(arrays), dtype=np.str_), **numbered)


def load_arrays(path: Path) -> "dict[str, Array]":
    """What `save_arrays` wrote. Raises ValueError, OSError or KeyError if it is something else."""
    import numpy as np

    with np.load(path, allow_pickle=False) as stored:
        return {str(name): stored[str(number)] for number, name in enumerate(stored["names"])}
