"""Why a child died that did not say so itself."""

import signal

from ovms_converter.errors import (
    ConverterError,
    CorruptModelError,
    InternalError,
    InterruptedRunError,
    ModelError,
    ResourceError,
    VerificationError,
)
from ovms_converter.events import Stage
from ovms_converter.exhaustion import MORE_MEMORY, of_exception, says_out_of_memory
from ovms_converter.units import size

__all__ = ["describe", "of_container", "of_exception", "of_limit"]

_MORE_FOR_THE_CONTAINER = "give the container more memory"
_SHOW = "run again with `--log_level DEBUG` to see what it printed"


def describe(
    returncode: int, stage: Stage | None, doing: str, output: str, container: int | None = None
) -> ConverterError:
    """The error for a child that ended with `returncode` (negative: a signal) while it was `doing` something.

    `stage` is None as long as it has not begun with the model. `output` is the end of what it printed; the
    C++ runtime names an exception there before it aborts. `container` is the memory, in bytes, that the
    container may take that it ran in, None for no limit.
    """
    if returncode >= 0:
        if says_out_of_memory(output):
            return ResourceError(f"memory ran out while {doing}", hint=MORE_MEMORY)
        return InternalError(
            f"the converter process ended with status {returncode} while {doing}", hint=_SHOW
        )
    number = -returncode
    name = _signal_name(number)
    if number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        return InterruptedRunError(number)
    if number == signal.SIGKILL and container is not None:
        return ResourceError(
            f"the converter process was killed while {doing}: memory ran out, most likely; "
            f"the container has {size(container)}",
            hint=_MORE_FOR_THE_CONTAINER,
        )
    if number == signal.SIGKILL:
        return ResourceError(
            f"the converter process was killed while {doing}: memory ran out, most likely", hint=MORE_MEMORY
        )
    if number == signal.SIGABRT and says_out_of_memory(output):
        return ResourceError(f"memory ran out while {doing}", hint=MORE_MEMORY)
    message = f"the converter process crashed ({name}) while {doing}"
    if stage is None:
        return InternalError(message, hint=_SHOW)
    if stage is Stage.VERIFY:
        return VerificationError(
            message, hint="a server would crash as well; `--verify off` publishes without this check"
        )
    return CorruptModelError(
        message, hint="the model is damaged or breaks OpenVINO; check that the file is whole"
    )


def of_limit(seconds: float, doing: str) -> ModelError:
    """The error for a child that was ended because it took too long."""
    return ModelError(
        f"the converter process did not finish within {seconds:g} s while {doing}",
        hint="the model may be damaged; a very large one needs a higher `timeout`",
    )


def of_container(limit: int, in_use: int, doing: str) -> ResourceError:
    """The error for a child that was ended because its container has no memory left; sizes in bytes."""
    return ResourceError(
        f"memory ran out while {doing}: {size(in_use)} of the container's {size(limit)} are in use",
        hint=_MORE_FOR_THE_CONTAINER,
    )


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
