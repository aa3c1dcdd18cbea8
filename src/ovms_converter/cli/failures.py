"""Every way in which a command can fail, as one `ConverterError`."""

import errno
from collections.abc import Mapping

import click

from ovms_converter.errors import (
    ConverterError,
    InternalError,
    InterruptedRunError,
    RequestError,
    ResourceError,
)
from ovms_converter.parameters import PARAMETERS

__all__ = ["as_converter_error", "error_fields"]

_OF_CONVERT = "ovms-converter convert"


def as_converter_error(error: BaseException, variables: Mapping[str, str]) -> ConverterError:
    """What happened in the project's own terms.

    `variables` tells which parameters came from which environment variable: an error about one of them names
    it, because that is the name that its author wrote. What is none of the project's errors is a bug.
    """
    if isinstance(error, RequestError) and error.parameter and error.parameter in variables:
        variable = variables[error.parameter]
        message = error.message
        if variable not in message:
            message = f"`{variable}`: {message}"
        return RequestError(message, hint=error.hint, parameter=error.parameter)
    if isinstance(error, ConverterError):
        return error
    if isinstance(error, click.UsageError):
        return _usage(error)
    if isinstance(error, KeyboardInterrupt | click.Abort):
        return InterruptedRunError(2)
    if isinstance(error, MemoryError):
        return ResourceError("out of memory", hint="give the process more memory")
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return ResourceError(
            f"no space left on the disk that holds `{error.filename or 'the temporary files'}`",
            hint="set `TMPDIR` to a directory on a larger disk",
        )
    return InternalError(f"{type(error).__name__}: {error}")


def _usage(error: click.UsageError) -> RequestError:
    if isinstance(error, click.NoSuchOption):
        return _no_such_option(error)
    message = error.format_message().rstrip(".")
    message = message[:1].lower() + message[1:]
    path = error.ctx.command_path if error.ctx else "ovms-converter"
    hint = f"`{path} --help` tells how to call it"
    if "unexpected extra argument" in message and error.ctx and "output" in error.ctx.params:
        hint = "`--output` names the file to write"
    return RequestError(message, hint=hint)


def _no_such_option(error: click.NoSuchOption) -> RequestError:
    name = error.option_name
    path = error.ctx.command_path if error.ctx else "ovms-converter"
    letter = name.lstrip("-")
    for parameter in PARAMETERS:
        if letter in parameter.short:
            return RequestError(
                f"there is no option `{name}`",
                hint=f"write `{parameter.flag}`; Model Optimizer's short options go into `--extra-args`",
            )
    hint = f"`{path} --help` lists them all"
    if path != _OF_CONVERT and name.replace("_", "-") in _options_of_convert():
        hint = f"it is one of `{_OF_CONVERT}`, and stands behind that"
    elif error.possibilities:
        hint = f"did you mean `{error.possibilities[0]}`?"
    return RequestError(f"there is no option `{name}`", hint=hint)


def _options_of_convert() -> set[str]:
    from ovms_converter.cli.commands.convert import command

    return {spelling for option in command.params for spelling in option.opts}


def error_fields(error: ConverterError) -> dict[str, object]:
    """An error as JSON values; secrets are still in it."""
    return {
        "kind": error.kind,
        "message": error.message,
        "hint": error.hint,
        "exit_code": error.exit_code,
        "parameter": error.parameter if isinstance(error, RequestError) else None,
    }
