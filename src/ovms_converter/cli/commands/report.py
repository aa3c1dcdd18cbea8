"""`ovms-converter report`: the story of a published version as a page to look at."""

from pathlib import Path

import click

from ovms_converter.cli.reporting import check_report_file, write_report
from ovms_converter.cli.session import Session
from ovms_converter.cli.url_command import UrlCommand

__all__ = ["command"]

_TEXT = """\
Write what `conversion.json` tells of a published version as one HTML file, for
people: what came in and went out, inputs and outputs, how it was verified, how to
serve it. The file asks for nothing from anywhere, and prints well. URL is a model
repository, whose newest finished version is told, or one version in it: URL/3."""
_EXAMPLES = (
    "ovms-converter report s3://models/cifar",
    "ovms-converter report ./models/net/3 --output net-3.html",
)
_OPTIONS = (("-o, --output FILE", "Where to write it, - for stdout [default: report.html]"),)


@click.pass_obj
def _report(session: Session, /, url: str, output: Path) -> int:
    to_stdout = output == Path("-")
    if not to_stdout:
        check_report_file(output)

    from ovms_converter.report import render, story_of_version

    html = render(story_of_version(url, session.environ, session.output.scrub_fields))
    if to_stdout:
        session.output.result(html)
        return 0
    write_report(output, html)
    session.output.result(str(output))
    return 0


command = UrlCommand(
    "report",
    _report,
    text=_TEXT,
    examples=_EXAMPLES,
    options=_OPTIONS,
    params=[
        click.Option(["-o", "--output"], type=click.Path(path_type=Path), default=Path("report.html")),
    ],
)
