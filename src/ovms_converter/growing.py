"""A file that another process still writes: read, hashed and sent to the disk meanwhile.

For a large model, each of these takes as long as the writing itself, and another core is idle.
"""

import contextlib
import hashlib
import os
import threading
from collections.abc import Iterator
from io import FileIO
from pathlib import Path

__all__ = ["digest_of_growing", "write_back_growing"]

_BLOCK = 1 << 18
_PAUSE = 0.01
"""Seconds until one looks again whether the file has grown."""

_AT_ONCE = 32 << 20
"""Bytes from which new data are worth a wait for the disk."""


def digest_of_growing(path: Path, finished: threading.Event) -> str:
    """SHA-256 of a file, as hex digits, which is only appended to until `finished` is set.

    The file need not be there yet. Should it have been written anew, it is read anew. Raises `OSError`,
    also if there is no file in the end.
    """
    hasher, hashed = hashlib.sha256(), 0
    with _when_there(path, finished).open("rb", buffering=0) as file:
        for block in _blocks(file, finished):
            hasher.update(block)
            hashed += len(block)
        read, there = os.fstat(file.fileno()), path.stat()
    if (read.st_ino, hashed) != (there.st_ino, there.st_size):
        return digest_of_growing(path, finished)
    return hasher.hexdigest()


def write_back_growing(path: Path, finished: threading.Event) -> None:
    """Have a file written to the disk while it grows, until `finished` is set; a flush must follow.

    Otherwise a system with much memory begins with it when it is flushed. An error of the disk is left to
    that flush.
    """
    with contextlib.suppress(OSError):
        handle = os.open(_when_there(path, finished), os.O_RDONLY)
        try:
            written = 0
            while not finished.wait(_PAUSE):
                size = os.fstat(handle).st_size
                if size - written >= _AT_ONCE:
                    os.fsync(handle)
                    written = size
        finally:
            os.close(handle)


def _when_there(path: Path, finished: threading.Event) -> Path:
    while not path.exists() and not finished.wait(_PAUSE):
        pass
    return path


def _blocks(file: FileIO, finished: threading.Event) -> Iterator[memoryview]:
    """The file's bytes up to its end when `finished` is set; each block is good until the next."""
    buffer = memoryview(bytearray(_BLOCK))
    while True:
        last = finished.is_set()
        size = file.readinto(buffer)
        if size:
            yield buffer[:size]
        elif last:
            return
        else:
            finished.wait(_PAUSE)
