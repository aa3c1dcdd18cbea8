"""From what was typed and what the environment holds to a request, for every command that takes one."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from ovms_converter.cli.options import given_flags
from ovms_converter.cli.session import Session
from ovms_converter.workflow.fuseml import StepInputs, read_environment

if TYPE_CHECKING:
    from ovms_converter.request import ConversionRequest

__all__ = ["asked"]


def asked(session: Session, values: Mapping[str, object]) -> "tuple[ConversionRequest, StepInputs]":
    """The request, and what else the environment says. Flags win over variables.

    Notes in the session which parameters came from which variable, so that an error can name it. Raises
    `RequestError` and `click.UsageError`.
    """
    flags = given_flags(values)
    step = read_environment(session.environ, session.results_directory)
    session.variables = {name: variable for name, variable in step.variables.items() if name not in flags}

    from ovms_converter.request import Given, build_request

    given = {name: Given(value, "environment") for name, value in step.values.items()}
    return build_request(given | {name: Given(value, "flag") for name, value in flags.items()}), step
