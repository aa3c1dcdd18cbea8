"""An inspection for a person to read: aligned, 80 columns wide, the same with and without colours."""

import shlex
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from ovms_converter.formats.signature import signature_specs
from ovms_converter.units import duration, size

if TYPE_CHECKING:
    from ovms_converter.formats.base import TensorSpec
    from ovms_converter.inspection.report import Archive, InputReport, Inspection, Published

__all__ = ["inspection_lines"]

_WIDTH = 80
_COLUMN = 12
_NAME = 30
"""Names up to this length are aligned; longer ones push their line."""

_LISTED = 12
"""Operations that are listed before the rest is summed up."""

_JOINT = "\N{NO-BREAK SPACE}"
"""Becomes a space where no line may end."""

_Row = tuple[str, Sequence[str]]


def inspection_lines(found: "Inspection", seconds: float) -> list[str]:
    """The whole report; `seconds` is the wall time that it took."""
    rows = [*_model(found), *_graph(found), *_risks(found), *_conversion(found), *_published(found)]
    rows.append(("looked at", [_cost(found, seconds)]))
    return [line for name, texts in rows for line in _row(name, texts)]


def _row(name: str, texts: Sequence[str]) -> Iterator[str]:
    """A name and its paragraphs beside it; a command is never broken, so that it can be copied."""
    for number, text in enumerate(texts):
        start = (name if number == 0 else "").ljust(_COLUMN)
        if text.startswith("ovms-converter "):
            yield start + text
            continue
        deeper = " " * (len(text) - len(text.lstrip()))
        wrapped = textwrap.wrap(
            text.lstrip(),
            _WIDTH,
            initial_indent=start + deeper,
            subsequent_indent=" " * _COLUMN + deeper + ("  " if deeper else ""),
            break_long_words=False,
            break_on_hyphens=False,
        )
        yield from (line.replace(_JOINT, " ") for line in wrapped)


def _model(found: "Inspection") -> Iterator[_Row]:
    model = found.description
    if model is None:
        several = found.refusal is not None and found.refusal.kind == "ambiguous-model"
        yield "format", ["several models" if several else "none that is known here"]
    else:
        yield "format", [f"{model.title} ({model.format})"]
        yield "because", [model.evidence]
        if model.producer:
            yield "producer", [model.producer]
    if found.archive:
        yield "archive", [_archive(found.archive)]
    mlflow = found.mlflow
    if mlflow:
        flavors = [*sorted(mlflow.flavors), *(["python_function"] if mlflow.python_function else [])]
        facts = [f"MLflow {mlflow.mlflow_version or 'before 1.27'}", f"flavors {', '.join(flavors)}"]
        facts += [f"run {mlflow.run_id}"] if mlflow.run_id else []
        yield "logged by", ["; ".join(facts)]
        if mlflow.signature and (found.convertible or not (model and (model.inputs or model.outputs))):
            ends = tuple(signature_specs(mlflow.signature, part) for part in ("inputs", "outputs"))
            yield "", [_signature("its signature", (ends[0], ends[1]))]
    if found.model_bytes:
        yield "size", [size(found.model_bytes)]


def _archive(archive: "Archive") -> str:
    if archive.files is None or archive.bytes is None:
        return archive.kind
    plural = "" if archive.files == 1 else "s"
    return f"{archive.kind} of {archive.files} file{plural}, {size(archive.bytes)} unpacked"


def _graph(found: "Inspection") -> Iterator[_Row]:
    model = found.description
    if model is None:
        return
    lengths = [len(spec.name) for spec in (*model.inputs, *model.outputs)]
    width = max((length for length in lengths if length <= _NAME), default=0)
    if found.inputs:
        yield "inputs", [_input(report, width) for report in found.inputs]
    if model.outputs:
        yield "outputs", [_tensor(spec, width) for spec in model.outputs]
    if len(model.signatures) > 1 or (model.signatures and not model.inputs):
        yield "signatures", [_signature(name, ends) for name, ends in model.signatures.items()]
    if len(model.tags) > 1:
        yield "graphs", [f"tags {','.join(tags) or '(none)'}" for tags in model.tags]
    if model.opsets:
        yield "opsets", [", ".join(f"{domain} {version}" for domain, version in sorted(model.opsets.items()))]
    if model.operations:
        yield "operations", [_operations(model.operations)]
    if found.weights:
        yield "weights", [_weights(found)]
    if model.notes:
        yield "notes", model.notes


def _tensor(spec: "TensorSpec", width: int) -> str:
    shape = str(spec).removeprefix(f"{spec.name} {spec.type} ")
    return f"{spec.name:<{width}}  {spec.type} {shape}"


def _input(report: "InputReport", width: int) -> str:
    text = _tensor(report.spec, width)
    return f"{text}  perhaps {report.layout}" if report.layout else text


def _signature(name: str, ends: tuple[Sequence["TensorSpec"], Sequence["TensorSpec"]]) -> str:
    inputs, outputs = (", ".join(str(spec) for spec in part) or "nothing" for part in ends)
    return f"{name}: {inputs} -> {outputs}"


def _operations(operations: Mapping[str, Mapping[str, int]]) -> str:
    counts = [
        (count, name if domain in ("ai.onnx", "tensorflow", "openvino") else f"{domain}.{name}")
        for domain, named in operations.items()
        for name, count in named.items()
    ]
    counts.sort(key=lambda item: (-item[0], item[1]))
    shown = ", ".join(f"{name}{_JOINT}{count}" for count, name in counts[:_LISTED])
    more = f" and {len(counts) - _LISTED} more kinds" if len(counts) > _LISTED else ""
    return f"{sum(count for count, _ in counts)}: {shown}{more}"


def _weights(found: "Inspection") -> str:
    total = sum(kind.elements for kind in found.weights)
    kinds = ", ".join(f"{kind.type} {size(kind.bytes)}" for kind in found.weights)
    return f"{_count(total)} parameter{'' if total == 1 else 's'}: {kinds}"


def _count(number: int) -> str:
    """`423 k`, `25.6 M`, `7.24 G`."""
    for factor, unit in ((1e9, " G"), (1e6, " M"), (1e3, " k")):
        if number >= factor:
            return f"{number / factor:.3g}{unit}"
    return str(number)


def _risks(found: "Inspection") -> Iterator[_Row]:
    if found.unsupported and found.coverage:
        head = (
            f"openvino {found.coverage.openvino} has no rule to convert these; `convert` tries all the same"
        )
        lines = [head]
        for each in found.unsupported:
            nodes = ", ".join(each.nodes)
            more = f" and {each.count - len(each.nodes)} more" if each.count > len(each.nodes) else ""
            lines.append(f"  {each.operation} ({each.domain}), {each.count}: {nodes}{more}")
            lines.append(f"    {each.workaround}")
        yield "unsupported", lines
    if found.coverage and not found.coverage.matches:
        yield (
            "attention",
            [
                f"operations were judged by what openvino {found.coverage.openvino} knows, and "
                f"{found.coverage.installed or 'none'} is installed"
            ],
        )
    if found.executable:
        lines = []
        for item in found.executable:
            lines.append(f"{item.path}: {item.kind}")
            if item.found:
                lines.append(f"  {', '.join(item.found)}")
        lines.append("none of it is loaded here")
        yield "programs", lines


def _conversion(found: "Inspection") -> Iterator[_Row]:
    if found.advice:
        yield "options", found.advice
    forecast = found.forecast
    if forecast:
        yield (
            "forecast",
            [
                f"result {size(forecast.output)}, or {size(forecast.output_fp16)} with `--data-type FP16`",
                f"download {size(forecast.download)}, temporary disk {size(forecast.disk)}, "
                f"memory below {size(forecast.memory)}",
            ],
        )
    if found.command:
        yield "convert", [shlex.join(found.command)]


def _published(found: "Inspection") -> Iterator[_Row]:
    published = found.published
    if published is None:
        return
    numbers = ", ".join(map(str, published.versions)) or "none"
    place = f" in `{published.directory}`" if published.directory else ""
    incomplete = (
        f"; without a graph: {', '.join(map(str, published.incomplete))}" if published.incomplete else ""
    )
    plural = "" if len(published.versions) == 1 else "s"
    yield "published", [f"version{plural} {numbers}{place}{incomplete}"]
    if published.newest is not None:
        files = ", ".join(
            name if count is None else f"{name} {size(count)}" for name, count in published.files.items()
        )
        yield f"version {published.newest}"[:_COLUMN], [files, *_record(published)]


def _record(published: "Published") -> Iterator[str]:
    record = published.record
    if record is None:
        yield "no conversion.json: not published by ovms-converter, or it cannot be read"
        return
    source, versions, parameters = (record.get(part) for part in ("source", "versions", "parameters"))
    if isinstance(source, dict):
        yield f"from {source.get('url')} ({source.get('format')})"
    if isinstance(versions, dict):
        yield "by " + ", ".join(f"{name} {version}" for name, version in versions.items())
    if isinstance(parameters, dict):
        given = [
            f"--{name.replace('_', '-')} {shlex.quote(str(item.get('value')))}"
            for name, item in parameters.items()
            if isinstance(item, dict) and name not in ("input_model", "output_model")
        ]
        yield f"with {' '.join(given)}" if given else "with no parameters"
    if record.get("verification"):
        yield f"verified: {record['verification']}"


def _cost(found: "Inspection", seconds: float) -> str:
    listed = f"{found.files} file{'' if found.files == 1 else 's'}"
    total = f" of {size(found.total_bytes)}" if found.total_bytes is not None else ""
    requests = f"{found.requests} request{'' if found.requests == 1 else 's'}"
    return f"{listed}{total}: read {size(found.bytes_read)} in {requests}, {duration(seconds)}"
