"""Scratch directories beside published ones: held while a process uses them, cleared when none does any more.

A process that is killed cannot clean up. The system drops its lock on the directory, however it ends, so that
the next process on the same machine knows at once. Locks do not always reach other machines that share the
file system; what one of those left is cleared when nothing in it has changed for a day.
"""

import contextlib
import fcntl
import hashlib
import os
import re
import secrets
import shutil
import time
from pathlib import Path

__all__ = ["SCRATCH_PREFIX", "Scratch", "clear_dead", "make"]

SCRATCH_PREFIX = ".ovms-"
"""Names that OVMS skips (they are no number) and that no listing of ours shows."""

STALE_SECONDS = 24 * 3600
_UNKNOWN_MACHINE = "00000000"
_NAME = re.compile(r"\.ovms-([0-9a-f]{8})-[0-9a-f]{12}")
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


class Scratch:
    """A directory that this process holds until `release`, or until the process ends."""

    def __init__(self, path: Path, handle: int) -> None:
        self.path = path
        self._handle: int | None = handle

    def release(self) -> None:
        """Let go of the directory; it stays where it is."""
        if self._handle is not None:
            os.close(self._handle)
            self._handle = None


def make(parent: Path) -> Scratch:
    """A new, empty directory in `parent`, held. Raises `OSError`."""
    while True:
        path = parent / f"{SCRATCH_PREFIX}{_machine()}-{secrets.token_hex(6)}"
        path.mkdir()
        handle = _held(path)
        if handle is not None:
            return Scratch(path, handle)


def clear_dead(parent: Path) -> None:
    """Remove the scratch directories in `parent` that nobody uses any more. What cannot be removed stays."""
    with contextlib.suppress(OSError), os.scandir(parent) as items:
        for item in items:
            name = _NAME.fullmatch(item.name)
            if name and item.is_dir(follow_symlinks=False):
                _clear(Path(item.path), same_machine=name[1] == _machine() != _UNKNOWN_MACHINE)


def _clear(path: Path, *, same_machine: bool) -> None:
    with contextlib.suppress(OSError):
        handle = os.open(path, os.O_RDONLY)
        try:
            locked = _lock(handle)
            if locked is False:
                return
            if (same_machine and locked) or time.time() - _last_change(path) > STALE_SECONDS:
                shutil.rmtree(path, ignore_errors=True)
        finally:
            os.close(handle)


def _held(path: Path) -> int | None:
    """An open, locked handle of a directory; None if another process took it for dead meanwhile."""
    try:
        handle = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return None
    if _lock(handle) is False or not path.exists():
        os.close(handle)
        return None
    return handle


def _lock(handle: int) -> bool | None:
    """True if the lock is ours now, False if somebody has it, None if the file system knows no such locks."""
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return None
    return True


def _last_change(path: Path) -> float:
    return max(entry.stat().st_mtime for entry in (path, *path.rglob("*")))


def _machine() -> str:
    """Eight hex digits that are the same for all processes under one running kernel."""
    try:
        return hashlib.sha256(_BOOT_ID.read_bytes()).hexdigest()[:8]
    except OSError:
        return _UNKNOWN_MACHINE
