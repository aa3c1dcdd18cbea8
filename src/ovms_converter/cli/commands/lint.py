"""`ovms-converter lint`: what a server would stumble over in a model repository."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from ovms_converter.cli.failures import error_fields
from ovms_converter.cli.output import Output, Settings
from ovms_converter.cli.session import Session
from ovms_converter.cli.url_command import UrlCommand
from ovms_converter.errors import VerificationError

if TYPE_CHECKING:
    from ovms_converter.lint import LintReport
    from ovms_converter.repository.graph import GraphPort

__all__ = ["command"]

_TEXT = """\
Read the model repository at URL, the directory that holds the numbered versions,
as OpenVINO Model Server and KServe would, whoever wrote it, and name what would
go wrong. Only names, sizes and small files are read. Ends with 6 if there is an
error: nothing would be served, or something wrong. Warnings end with 0."""
_EXAMPLES = (
    "ovms-converter lint s3://models/cifar/",
    "ovms-converter lint ./models/net --json | jq -r '.findings[].code'",
)
_OPTIONS = (("--json", "Write one JSON document to stdout"),)


@click.pass_obj
def _lint(session: Session, /, url: str, document: bool) -> int:
    output = session.output
    output.settings = Settings(document=document)

    from ovms_converter.lint import lint

    report = lint(url, environ=session.environ)
    fault = _fault(report)
    if document:
        output.document(output.scrub_fields(_document(report, fault)))
    else:
        for line in _lines(output, report):
            output.result(output.scrub(line))
    if fault:
        raise fault
    return 0


def _fault(report: "LintReport") -> VerificationError | None:
    """The worst finding, if because of it nothing, or something wrong, would be served."""
    if not report.errors:
        return None
    first = report.errors[0]
    count = len(report.errors)
    return VerificationError(
        f"`{report.url}` has {count} error{'s' if count > 1 else ''}: {first.message}", hint=first.advice
    )


def _lines(output: Output, report: "LintReport") -> Iterator[str]:
    versions = ", ".join(map(str, report.versions)) or "none"
    yield f"versions  {versions}"
    yield f"served    {'nothing' if report.served is None else f'version {report.served}'}"
    if report.graph:
        yield from _ports("inputs", report.graph.inputs)
        yield from _ports("outputs", report.graph.outputs)
        yield f"needs     OpenVINO Model Server {report.graph.minimum_openvino or '(unknown)'} or later"
    for finding in report.findings:
        word = finding.severity.value
        label = output.label(word) if word != "info" else word
        yield f"{label}[{finding.code}]: {f'`{finding.path}`: ' if finding.path else ''}{finding.message}"
        yield f"  {finding.advice}"
    if not report.findings:
        yield "nothing found"


def _ports(heading: str, ports: "tuple[GraphPort, ...]") -> Iterator[str]:
    for index, port in enumerate(ports):
        names = ", ".join(port.names) or "(no name)"
        layout = f" {port.layout}" if port.layout else ""
        yield f"{'' if index else heading:<9} {names}  {port.type} {port.shape}{layout}"


def _document(report: "LintReport", fault: VerificationError | None) -> dict[str, object]:
    """The report as JSON values."""
    graph = report.graph
    return {
        "url": report.url,
        "served": report.served,
        "versions": list(report.versions),
        "graph": {
            "minimum_openvino": graph.minimum_openvino,
            "inputs": [_port(port) for port in graph.inputs],
            "outputs": [_port(port) for port in graph.outputs],
        }
        if graph
        else None,
        "findings": [
            {
                "code": finding.code,
                "severity": finding.severity.value,
                "path": finding.path,
                "message": finding.message,
                "advice": finding.advice,
            }
            for finding in report.findings
        ],
        "error": error_fields(fault) if fault else None,
    }


def _port(port: "GraphPort") -> dict[str, object]:
    return {"names": list(port.names), "type": port.type, "shape": port.shape, "layout": port.layout or None}


command = UrlCommand(
    "lint",
    _lint,
    text=_TEXT,
    examples=_EXAMPLES,
    options=_OPTIONS,
    params=[
        click.Option(["--json", "document"], is_flag=True),
    ],
)
