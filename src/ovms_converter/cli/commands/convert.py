"""`ovms-converter convert`: flags and variables in, a run of the pipeline, one URL out."""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ovms_converter.cli.asked import asked
from ovms_converter.cli.display import open_display
from ovms_converter.cli.failures import error_fields
from ovms_converter.cli.help import help_option, parameter_sections, render
from ovms_converter.cli.options import ParameterCommand
from ovms_converter.cli.output import Level, Output, Settings
from ovms_converter.cli.reporting import check_report_file, write_report
from ovms_converter.cli.session import Session
from ovms_converter.cli.summary import outcome_document, result_line, summary_lines
from ovms_converter.errors import LocationError
from ovms_converter.events import Note
from ovms_converter.workflow.results import check_result_file, write_result

if TYPE_CHECKING:
    from ovms_converter.pipeline import Outcome

__all__ = ["command"]

_LEVELS = {
    "NOTSET": Level.DEBUG,
    "DEBUG": Level.DEBUG,
    "INFO": Level.INFO,
    "WARN": Level.WARNING,
    "WARNING": Level.WARNING,
    "ERROR": Level.ERROR,
    "CRITICAL": Level.ERROR,
}
_TEXT = """\
Convert the model at INPUT_MODEL to OpenVINO IR and publish it as the next
version under OUTPUT_MODEL, by default where the input is. Both are a path or a
URL: s3://, gs://, az://, file://; the input also http:// or https://. The URL
goes to stdout, everything else to stderr."""
_NOTES = """\
Every parameter can also come from the environment, as FUSEML_<NAME>, for
example FUSEML_BATCH=1; the command line wins, and an empty value counts as not
given. Names may be written with - or with _. A switch alone means yes;
--switch=false turns off what the environment turns on."""
_EXAMPLES = (
    "# an artifact that MLflow wrote to MinIO, for a batch of one",
    "S3_ENDPOINT=http://minio:9000 ovms-converter convert \\",
    "  s3://mlflow/1/run42/artifacts/model s3://models/cifar --batch 1",
    "# an ONNX file from the web into a directory, halved to 16 bits",
    "ovms-converter convert https://host/net.onnx ./models/net --data-type FP16",
    "# as Model Optimizer would have been called",
    "ovms-converter convert ./saved_model ./models/net \\",
    "  --input-shape [1,224,224,3] --mean-values [127.5] --scale 127.5",
    "# as a step of a workflow: everything from the environment",
    "FUSEML_INPUT_MODEL=s3://b/model FUSEML_OUTPUT_MODEL=s3://b/ovms \\",
    "  ovms-converter convert",
)
_OWN = (
    ("--json", "Write one JSON document to stdout instead of the URL"),
    ("-q, --quiet", "Write nothing to stderr but errors"),
    ("--log-format FORMAT", "Lines on stderr as text or json [default: text]"),
    ("--result-file PATH", "Write the URL to this file as well, without a newline"),
    ("--report FILE", "Write a page about the conversion, HTML for people, once it succeeded"),
    ("-h, --help", "Show this and exit"),
)


class _Convert(ParameterCommand):
    """The command with its help."""

    def get_help(self, ctx: click.Context) -> str:
        """Parameters by group, examples first."""
        return render(
            usage=f"{ctx.command_path} [INPUT_MODEL] [OUTPUT_MODEL] [OPTIONS]",
            text=_TEXT,
            sections=[*parameter_sections(), ("Output", _OWN), ("Environment", [(_NOTES, "")])],
            examples=_EXAMPLES,
        )


@click.pass_obj
def _convert(session: Session, /, **values: object) -> int:
    output = session.output
    output.settings = _settings(values, {})
    request, step = asked(session, values)
    output.settings = _settings(values, {name: item.value for name, item in request.parameters.items()})
    result_files = [path for path in (step.result_file, values["result_file"]) if isinstance(path, Path)]
    for path in result_files:
        check_result_file(path)
    page = values["report"]
    if isinstance(page, Path):
        check_report_file(page)

    from ovms_converter.pipeline import run

    started = time.monotonic()
    with open_display(output) as display:
        for warning in step.warnings:
            display(Note("warning", warning))
        outcome = run(request, environ=session.environ, listener=display)
    seconds = time.monotonic() - started
    _report(output, outcome, seconds, result_files, page if isinstance(page, Path) else None)
    return 0


def _settings(values: Mapping[str, object], given: Mapping[str, str]) -> Settings:
    """How to show things, from the command's own options and from `verbose` and `log_level`."""
    from ovms_converter.optimizer.syntax import parse_flag

    if values["quiet"]:
        level = Level.ERROR
    elif "verbose" in given and parse_flag(given["verbose"], "verbose"):
        level = Level.DEBUG
    else:
        level = _LEVELS.get(given.get("log_level", "").upper(), Level.INFO)
    return Settings(bool(values["json"]), str(values["log_format"]), level)


def _report(
    output: Output, outcome: "Outcome", seconds: float, result_files: Sequence[Path], page: Path | None
) -> None:
    """Hand the URL over: to the files, to stdout, and to whoever reads stderr; write the page of a report.

    The model is published by now, so a file that cannot be written does not keep stdout and the summary from
    coming; it is raised at the end.
    """
    failure: LocationError | None = None
    try:
        for path in () if outcome.dry_run else result_files:
            write_result(path, outcome.url)
        if page:
            _write_page(output, outcome, seconds, page)
    except LocationError as error:
        failure = error
    document = output.scrub_fields(outcome_document(outcome)) | {"url": outcome.url}
    if output.shows(Level.INFO) and output.settings.log_format == "json":
        output.record(Level.INFO, f"published {outcome.url}", {"event": "finished"} | document)
    elif output.shows(Level.INFO):
        if output.terminal:
            output.line("")
        same_screen = not output.settings.document and output.stdout.isatty() and output.stderr.isatty()
        width = output.columns()
        for line in summary_lines(outcome, seconds=seconds, with_url=not same_screen, terminal_width=width):
            output.line(line)
    if not output.settings.document:
        output.result(outcome.url)
    elif failure:
        output.document(document | {"error": output.scrub_fields(error_fields(failure))})
    else:
        output.document(document)
    if failure:
        raise failure


def _write_page(output: Output, outcome: "Outcome", seconds: float, path: Path) -> None:
    """Write the report as a page."""
    from ovms_converter.report import Run, render, story_of_run

    result = "" if outcome.published else result_line(outcome)
    run = Run(outcome.seconds, seconds, result, outcome.timings)
    story = story_of_run(output.scrub_fields(outcome.record), outcome.url, outcome.version, run)
    write_report(path, render(story))


command = _Convert(
    "convert",
    callback=_convert,
    add_help_option=False,
    params=[
        click.Option(["--json"], is_flag=True),
        click.Option(["-q", "--quiet"], is_flag=True),
        click.Option(["--log-format"], type=click.Choice(["text", "json"]), default="text"),
        click.Option(["--result-file"], type=click.Path(path_type=Path)),
        click.Option(["--report"], type=click.Path(path_type=Path)),
        help_option(),
    ],
)
