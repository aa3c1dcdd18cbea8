"""What a person types and sees."""

import sys

from ovms_converter.errors import InterruptedRunError

__all__ = ["main"]


def main() -> None:
    """Run the command line of this process and end the process."""
    from ovms_converter.cli.signals import signals_as_errors

    with signals_as_errors():
        try:
            from ovms_converter.cli.app import execute

            code = execute(sys.argv[1:])
        except InterruptedRunError as error:
            code = error.exit_code
    sys.exit(code)
