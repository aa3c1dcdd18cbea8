"""Telling that memory or disk ran out from what libraries say, which has no type of its own."""

import errno

from ovms_converter.errors import ResourceError

__all__ = ["MORE_MEMORY", "of_exception", "says_out_of_memory"]

MORE_MEMORY = "give the step more memory, or raise `memory_limit` if it was given"
_MORE_DISK = "free some space, or point TMPDIR at a larger disk"

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


def of_exception(error: BaseException, doing: str) -> ResourceError | None:
    """The error for an exception that means that memory or disk ran out, or None if it is something else.

    OpenVINO's exceptions are RuntimeErrors that can only be told by their text.
    """
    text = str(error)
    if isinstance(error, MemoryError) or says_out_of_memory(text):
        return ResourceError(f"memory ran out while {doing}", hint=MORE_MEMORY)
    no_space = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
    if no_space or _says(text, _OUT_OF_DISK):
        return ResourceError(
            f"the disk is full or a file-size limit was reached while {doing}", hint=_MORE_DISK
        )
    return None


def says_out_of_memory(text: str) -> bool:
    """Whether a message, or the end of what a process printed, tells that there was no memory."""
    return _says(text, _OUT_OF_MEMORY)


def _says(text: str, words: tuple[str, ...]) -> bool:
    lowered = text.lower()
    return any(word in lowered for word in words)
