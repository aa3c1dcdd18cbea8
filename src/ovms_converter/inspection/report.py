"""What an inspection tells: frozen values, and the same as JSON."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ovms_converter.coverage import Coverage
from ovms_converter.errors import ModelError
from ovms_converter.formats.base import MLflowModel, ModelDescription, TensorSpec

__all__ = [
    "Archive",
    "ExecutableContent",
    "Forecast",
    "InputReport",
    "Inspection",
    "Published",
    "UnsupportedOperation",
    "WeightKind",
    "inspection_document",
]


@dataclass(frozen=True)
class Archive:
    """What the model lies in.

    `kind`   `zip`, `tar`, `tar.gz`, or `gzip` of one file
    `files`  how many are in it, and `bytes` all of them unpacked; None if that would cost too much to tell
    """

    kind: str
    files: int | None
    bytes: int | None


@dataclass(frozen=True)
class InputReport:
    """An input, and what shape options would do to it.

    `layout`      a guess from where a dimension of 1, 3 or 4 channels is: `NCHW`, `NHWC`, ..., or None
    `reason`      one line that says what the guess goes by
    `with_batch`  the shape after `--batch N`, the letter N in it; None if the option leaves it alone
    `batch_refused`  why `--batch` is refused for this input; None if it is not
    """

    spec: TensorSpec
    layout: str | None
    reason: str | None
    with_batch: tuple[int | str | None, ...] | None
    batch_refused: str | None


@dataclass(frozen=True)
class WeightKind:
    """All weights of one type: how many numbers, and their bytes."""

    type: str
    elements: int
    bytes: int


@dataclass(frozen=True)
class UnsupportedOperation:
    """An operation that OpenVINO has no conversion rule for; `nodes` are the names of the first few."""

    domain: str
    operation: str
    count: int
    nodes: tuple[str, ...]
    workaround: str


@dataclass(frozen=True)
class ExecutableContent:
    """A part of the source that is or holds a program.

    `kind`    one line: what it is
    `found`   modules, functions or layers that it names, as far as they were read
    `opened`  whether a conversion would open it
    """

    path: str
    kind: str
    found: tuple[str, ...] = ()
    opened: bool = False


@dataclass(frozen=True)
class Forecast:
    """What a conversion will take, in bytes.

    `download`     the files that are fetched; 0 for a local source
    `output`       the result in the source's own precision, `output_fp16` with `--data-type FP16`
    `memory`       a bound of the anonymous memory of all processes; it grows with TensorFlow models only
    `disk`         temporary files: what is fetched, and the result until it is published
    """

    download: int
    output: int
    output_fp16: int
    memory: int
    disk: int


@dataclass(frozen=True)
class Published:
    """Versions that a server could load from here.

    `directory`  where they are, relative to the location; "" is the location itself
    `place`      the directory of the newest complete one, in the same way
    `versions`   numbers of complete versions, `incomplete` of those without a graph
    `newest`     number of the newest complete version, and its `files` (name → bytes)
    `record`     its `conversion.json`; None if it has none that can be read
    """

    directory: str
    place: str
    versions: tuple[int, ...]
    incomplete: tuple[int, ...]
    newest: int | None
    files: Mapping[str, int | None]
    record: Mapping[str, Any] | None


@dataclass(frozen=True)
class Inspection:
    """Everything that could be learned of what is at a location.

    `location`     redacted
    `archive`      what a conversion unpacks first, if the location is an archive
    `path`         the model's, relative to the location or in the archive; "" is all of it
    `convertible`  whether `convert` takes it, as far as could be seen; `refusal` says why not
    `total_bytes`  of all files that are listed; None if the store does not tell
    `model_bytes`  of the files that belong to the model
    `advice`       one line each: what shape options would do, what must be chosen
    `command`      the words of a command line that converts it; empty if there is none
    `bytes_read`, `requests`  what the inspection cost beyond the listing
    """

    location: str
    files: int
    total_bytes: int | None
    bytes_read: int
    requests: int
    archive: Archive | None = None
    path: str = ""
    convertible: bool = False
    description: ModelDescription | None = None
    mlflow: MLflowModel | None = None
    model_bytes: int | None = None
    inputs: tuple[InputReport, ...] = ()
    weights: tuple[WeightKind, ...] = ()
    coverage: Coverage | None = None
    unsupported: tuple[UnsupportedOperation, ...] = ()
    executable: tuple[ExecutableContent, ...] = ()
    forecast: Forecast | None = None
    advice: tuple[str, ...] = ()
    command: tuple[str, ...] = ()
    published: Published | None = None
    refusal: ModelError | None = field(default=None, compare=False)


def inspection_document(found: Inspection) -> dict[str, object]:
    """The same as JSON values: sizes in bytes, dynamic dimensions null or a name, a refusal as `error`."""
    model = found.description
    refusal = found.refusal
    return {
        "location": found.location,
        "files": found.files,
        "bytes": found.total_bytes,
        "archive": vars(found.archive) if found.archive else None,
        "model": _model(found, model) if model else None,
        "mlflow": _mlflow(found.mlflow) if found.mlflow else None,
        "executable_content": [vars(item) | {"found": list(item.found)} for item in found.executable],
        "forecast": vars(found.forecast) if found.forecast else None,
        "advice": list(found.advice),
        "command": list(found.command) or None,
        "published": _published(found.published) if found.published else None,
        "read": {"bytes": found.bytes_read, "requests": found.requests},
        "error": {
            "kind": refusal.kind,
            "message": refusal.message,
            "hint": refusal.hint,
            "exit_code": refusal.exit_code,
            "parameter": None,
        }
        if refusal
        else None,
    }


def _model(found: Inspection, model: ModelDescription) -> dict[str, object]:
    return {
        "path": found.path,
        "format": model.format,
        "title": model.title,
        "evidence": model.evidence,
        "convertible": found.convertible,
        "producer": model.producer,
        "bytes": found.model_bytes,
        "inputs": [_input(each) for each in found.inputs],
        "outputs": [_tensor(each) for each in model.outputs],
        "signatures": {
            name: {
                "inputs": [_tensor(each) for each in inputs],
                "outputs": [_tensor(each) for each in outputs],
            }
            for name, (inputs, outputs) in model.signatures.items()
        },
        "tags": [list(tags) for tags in model.tags],
        "opsets": dict(model.opsets),
        "operations": {domain: dict(counts) for domain, counts in model.operations.items()},
        "unsupported_operations": [vars(each) | {"nodes": list(each.nodes)} for each in found.unsupported],
        "operations_judged_by": vars(found.coverage) | {"matches": found.coverage.matches}
        if found.coverage
        else None,
        "parameters": model.parameters,
        "parameter_bytes": model.parameter_bytes,
        "weights": [vars(kind) for kind in found.weights],
        "notes": list(model.notes),
    }


def _tensor(spec: TensorSpec) -> dict[str, object]:
    return {"name": spec.name, "type": spec.type, "shape": None if spec.shape is None else list(spec.shape)}


def _input(report: InputReport) -> dict[str, object]:
    return _tensor(report.spec) | {
        "layout_guess": report.layout,
        "layout_reason": report.reason,
        "with_batch": None if report.with_batch is None else list(report.with_batch),
        "batch_refused": report.batch_refused,
    }


def _mlflow(model: MLflowModel) -> dict[str, object]:
    return {
        "version": model.mlflow_version,
        "flavors": sorted({*model.flavors, *(("python_function",) if model.python_function else ())}),
        "run_id": model.run_id,
        "model_uuid": model.model_uuid,
        "signature": dict(model.signature) if model.signature else None,
    }


def _published(found: Published) -> dict[str, object]:
    return {
        "directory": found.directory,
        "versions": list(found.versions),
        "incomplete": list(found.incomplete),
        "newest": found.newest,
        "files": dict(found.files),
        "record": found.record,
    }
