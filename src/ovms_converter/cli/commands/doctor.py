"""`ovms-converter doctor`: the command line of `convert`, only to see if both locations can be reached."""

from typing import TYPE_CHECKING

import click

from ovms_converter.cli.asked import asked
from ovms_converter.cli.failures import error_fields
from ovms_converter.cli.help import help_option, render
from ovms_converter.cli.options import ParameterCommand
from ovms_converter.cli.output import Output
from ovms_converter.cli.session import Session

if TYPE_CHECKING:
    from ovms_converter.diagnosis import Diagnosis

__all__ = ["command"]

_TEXT = """\
Show which settings count for INPUT_MODEL and OUTPUT_MODEL, where each came from,
and whether the one can be read and the other written. Takes the parameters of
`convert` and the same variables: replace `convert` in a command line by
`doctor`. Nothing is converted, and nothing that is written stays."""
_EXAMPLES = (
    "ovms-converter doctor s3://models/run42/model s3://models/run42/ovms",
    "FUSEML_INPUT_MODEL=s3://models/run42/model ovms-converter doctor",
)
_OPTIONS = (
    ("--json", "Write one JSON document to stdout"),
    ("-h, --help", "Show this and exit"),
)


class _Doctor(ParameterCommand):
    """The command with its help."""

    def get_help(self, ctx: click.Context) -> str:
        """What it shows; the parameters are those of `convert`."""
        return render(
            usage=f"{ctx.command_path} [INPUT_MODEL] [OUTPUT_MODEL] [OPTIONS]",
            text=_TEXT,
            examples=_EXAMPLES,
            sections=[("Options", _OPTIONS)],
        )


@click.pass_obj
def _doctor(session: Session, /, **values: object) -> int:
    from ovms_converter.diagnosis import diagnose

    request, step = asked(session, values)
    output = session.output
    for warning in step.warnings:
        output.line(f"{output.label('warning')}: {warning}")
    found = []
    for diagnosis in diagnose(request, session.environ):
        found.append(diagnosis)
        if not output.settings.document:
            _show(output, diagnosis)
    if output.settings.document:
        output.document({"locations": [output.scrub_fields(_fields(diagnosis)) for diagnosis in found]})
    return next((diagnosis.error.exit_code for diagnosis in found if diagnosis.error), 0)


def _show(output: Output, diagnosis: "Diagnosis") -> None:
    lines = [f"{diagnosis.side}  {diagnosis.location}"]
    lines += [f"  {choice.name:<13} {choice.value}  ({choice.origin})" for choice in diagnosis.choices]
    if diagnosis.error:
        lines.append(f"  {output.label('error')}: {diagnosis.error.message}")
        if diagnosis.error.hint:
            lines.append(f"  {output.label('hint')}: {diagnosis.error.hint}")
    else:
        lines.append(f"  ok            {diagnosis.finding}")
    for line in lines:
        output.result(output.scrub(line))


def _fields(diagnosis: "Diagnosis") -> dict[str, object]:
    return {
        "side": diagnosis.side,
        "location": diagnosis.location,
        "settings": [
            {"name": choice.name, "value": choice.value, "origin": choice.origin}
            for choice in diagnosis.choices
        ],
        "finding": diagnosis.finding,
        "error": error_fields(diagnosis.error) if diagnosis.error else None,
    }


command = _Doctor(
    "doctor",
    callback=_doctor,
    add_help_option=False,
    params=[click.Option(["--json"], is_flag=True), help_option()],
)
