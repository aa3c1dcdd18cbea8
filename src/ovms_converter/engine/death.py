"""Why a child died that did not say so itself."""

import errno
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

__all__ = ["describe", "of_exception", "of_limit"]

_OUT_OF_MEMORY = (
    "bad_alloc",
    "failed to allocate",
    "memory allocation",
    "memoryerror",
    "cannot allocate memory",
    "out of memory",
    "could not create a memory object",
    "bad_array_new_length",
    "resource temporarily unavailable",
    "failed to map segment",
)
_OUT_OF_DISK = ("no space left on device", "iostream error", "file too large", "disk quota exceeded")

_MORE_MEMORY = "give the step more memory, or raise `memory_limit` if it was given"
_SHOW = "run again with `--log_level DEBUG` to see what it printed"
_MORE_DISK = "free some space, or point TMPDIR at a larger disk"


def describe(returncode: int, stage: Stage | None, doing: str, output: str) -> ConverterError:
    """The error for a child that ended with `returncode` (negative: a signal) while it was `doing` something.

    `stage` is None as long as it has not begun with the model. `output` is the end of what it printed; the
    C++ runtime names an exception there before it aborts.
    """
    if returncode >= 0:
        if _says(output, _OUT_OF_MEMORY):
            return ResourceError(f"memory ran out while {doing}", hint=_MORE_MEMORY)
        return InternalError(
            f"the converter process ended with status {returncode} while {doing}", hint=_SHOW
        )
    number = -returncode
    name = _signal_name(number)
    if number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        return InterruptedRunError(number)
    if number == signal.SIGKILL:
        return ResourceError(
            f"the converter process was killed while {doing}: memory ran out, most likely", hint=_MORE_MEMORY
        )
    if number == signal.SIGABRT and _says(output, _OUT_OF_MEMORY):
        return ResourceError(f"memory ran out while {doing}", hint=_MORE_MEMORY)
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


def of_exception(error: BaseException, doing: str) -> ResourceError | None:
    """The error for an exception that means that memory or disk ran out, or None if it is something else.

    OpenVINO's exceptions are RuntimeErrors that can only be told by their text.
    """
    text = str(error)
    if isinstance(error, MemoryError) or _says(text, _OUT_OF_MEMORY):
        return ResourceError(f"memory ran out while {doing}", hint=_MORE_MEMORY)
    no_space = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
    if no_space or _says(text, _OUT_OF_DISK):
        return ResourceError(
            f"the disk is full or a file-size limit was reached while {doing}", hint=_MORE_DISK
        )
    return None


def _says(text: str, words: tuple[str, ...]) -> bool:
    lowered = text.lower()
    return any(word in lowered for word in words)


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
