"""`ovms-converter inspect`: what is at a URL, and what a conversion would do to it."""

import time

import click

from ovms_converter.cli.inspection import inspection_lines
from ovms_converter.cli.output import Settings
from ovms_converter.cli.session import Session
from ovms_converter.cli.url_command import UrlCommand

__all__ = ["command"]

_TEXT = """\
Tell what model is at URL, a path or any URL that `convert` reads: its format and
why, inputs and outputs, operations and weights, what would not convert, what is
executable in it, what a conversion would take, and the command line for it. Of a
large model a few kilobytes are read; nothing is loaded or converted. Where
versions were published, it tells the story of the newest one. Ends with 5 if
`convert` could not take the model."""
_EXAMPLES = (
    "ovms-converter inspect s3://mlflow/1/run42/artifacts/model",
    "ovms-converter inspect https://host/net.onnx --json | jq .model.operations",
    "ovms-converter inspect ./models/net   # a model repository",
)
_OPTIONS = (
    ("--input-format FORMAT", "Expect this format, as `convert` does [default: auto]"),
    ("--json", "Write one JSON document to stdout, also for a model that is refused"),
)


@click.pass_obj
def _inspect(session: Session, /, url: str, input_format: str, document: bool) -> int:
    output = session.output
    output.settings = Settings(document=document)

    from ovms_converter.inspection import inspect, inspection_document

    started = time.monotonic()
    found = inspect(url, environ=session.environ, input_format=input_format)
    if document:
        output.document(output.scrub_fields(inspection_document(found)))
    else:
        for line in inspection_lines(found, time.monotonic() - started):
            output.result(output.scrub(line))
    if found.refusal:
        raise found.refusal
    return 0


command = UrlCommand(
    "inspect",
    _inspect,
    text=_TEXT,
    examples=_EXAMPLES,
    options=_OPTIONS,
    params=[
        click.Option(["--input-format", "--input_format", "input_format"], default="auto"),
        click.Option(["--json", "document"], is_flag=True),
    ],
)
