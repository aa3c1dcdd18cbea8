"""The command `ovms-converter`: which commands there are, and how any of them ends."""

import contextlib
import importlib
import itertools
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TextIO

import click

from ovms_converter._version import __version__
from ovms_converter.cli.failures import as_converter_error, error_fields
from ovms_converter.cli.help import help_option, render
from ovms_converter.cli.output import Level, Output, Settings
from ovms_converter.cli.session import Session
from ovms_converter.errors import InternalError, RequestError, ResourceError
from ovms_converter.workflow.fuseml import TEKTON_RESULTS

__all__ = ["execute"]

_COMMANDS = {
    "convert": "Convert a model and publish it as a version to serve",
    "inspect": "See what a model is, and what a conversion would do",
    "doctor": "See whether both locations can be reached, and how",
    "lint": "See what a server would stumble over in a model repository",
    "verify": "See whether a published version is still what was published",
    "report": "Write the story of a published version as a page to look at",
    "demo": "See it all happen on this machine, in seconds",
}
_REPORT = "this is a bug of ovms-converter: please report it with the lines above and its `--version`"
_EXAMPLES = (
    "ovms-converter demo",
    "ovms-converter convert s3://models/run42/model s3://models/run42/ovms",
    "ovms-converter convert --help",
)


def execute(
    argv: Sequence[str],
    *,
    environ: Mapping[str, str] | None = None,
    results_directory: Path = TEKTON_RESULTS,
    stdout: TextIO | None = None,
    stderr: TextIO | None = None,
) -> int:
    """Run one command line and give its exit code; everything that it prints goes to the two streams.

    `results_directory` is where the result that `TASK_RESULT` names is written.
    """
    environ = os.environ if environ is None else environ
    output = Output(environ, _first_settings(argv), stdout, stderr)
    session = Session(environ, results_directory, output)
    if not argv:
        output.result(_help())
        return RequestError.exit_code
    try:
        code = _Group().main(list(argv), prog_name="ovms-converter", standalone_mode=False, obj=session)
    except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001 - this is where every error ends
        return _fail(session, error)
    return code if isinstance(code, int) else 0


class _Group(click.Group):
    """The commands; each lives in a module of its name, which is imported when it is called."""

    def __init__(self) -> None:
        super().__init__(
            "ovms-converter",
            params=[
                click.Option(["--version"], is_flag=True, is_eager=True, callback=_show_version),
                help_option(),
            ],
            add_help_option=False,
        )

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - as click calls it
        """In the order in which a newcomer needs them."""
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 - as above
        """Import a command's module."""
        if cmd_name not in _COMMANDS:
            return None
        command = importlib.import_module(f"ovms_converter.cli.commands.{cmd_name}").command
        assert isinstance(command, click.Command)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command, or name the nearest one."""
        name = args[0]
        if name.startswith("-") or name in _COMMANDS:
            return super().resolve_command(ctx, args)
        import difflib

        near = difflib.get_close_matches(name, _COMMANDS, n=1)
        advice = f"; did you mean `{near[0]}`?" if near else f"; there are {', '.join(_COMMANDS)}"
        hint = "`ovms-converter --help` tells how to call it"
        if not near and ("/" in name or Path(name).exists()):
            hint = "`ovms-converter convert INPUT_MODEL OUTPUT_MODEL` converts a model"
        raise RequestError(f"there is no command `{name}`{advice}", hint=hint)

    def get_help(self, ctx: click.Context) -> str:  # noqa: ARG002 - as above
        """The overview."""
        return _help()


def _help() -> str:
    return render(
        usage="ovms-converter COMMAND ...",
        text="Turn a trained model at a URL into a model repository that OpenVINO Model Server serves.",
        sections=[
            ("Commands", list(_COMMANDS.items())),
            ("Options", [("--version", "Show the version and exit"), ("-h, --help", "Show this and exit")]),
        ],
        examples=_EXAMPLES,
    )


def _first_settings(argv: Sequence[str]) -> Settings:
    """How to show an error in the command line itself."""
    logs_json = "--log-format=json" in argv or ("--log-format", "json") in itertools.pairwise(argv)
    return Settings(document="--json" in argv, log_format="json" if logs_json else "text")


def _show_version(ctx: click.Context, _parameter: click.Parameter, wanted: bool) -> None:
    if not wanted:
        return
    from importlib.metadata import version

    ctx.ensure_object(Session).output.result(f"ovms-converter {__version__} (openvino {version('openvino')})")
    ctx.exit()


def _fail(session: Session, cause: BaseException) -> int:
    """Tell of an error and give its exit code."""
    error = as_converter_error(cause, session.variables)
    output = session.output
    if isinstance(error, InternalError):
        import traceback

        for line in "".join(traceback.format_exception(cause)).splitlines():
            output.line(line)
        error.hint = "; ".join(filter(None, (error.hint, _REPORT)))
    if output.settings.log_format == "json":
        output.record(Level.ERROR, error.message, error_fields(error))
    else:
        output.line(f"{output.label('error')}: {error.message}")
        if error.hint:
            output.line(f"{output.label('hint')}: {error.hint}")
    if output.settings.document and not output.documented:
        with contextlib.suppress(ResourceError):  # the error that it would tell came first
            output.document({"error": output.scrub_fields(error_fields(error))})
    return error.exit_code
