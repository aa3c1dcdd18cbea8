"""A directory published on a file system: made beside its place, flushed to the disk, renamed."""

import contextlib
import errno
import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from ovms_converter.errors import AlreadyExistsError
from ovms_converter.storage.base import Progress
from ovms_converter.storage.disk import disk_errors
from ovms_converter.storage.location import Location
from ovms_converter.storage.scratch import SCRATCH_PREFIX, Scratch, make

__all__ = ["Renaming", "flush", "remove_empty"]

_NO_LINKS = {errno.EXDEV, errno.EPERM, errno.ENOTSUP, errno.EMLINK, errno.ENOSYS}


class Renaming:
    """The directory `name` below a local `location`. `missing` are the directories that have to be made for
    it, the innermost first: they go again if it fails.
    """

    def __init__(self, location: Location, name: str, missing: Sequence[Path]) -> None:
        self._shown = location.child(name)
        self._target = Path(location.path) / name
        self._missing = missing

    def publish(self, files: Mapping[str, Path], progress: Progress) -> None:
        """Make the directory of these files: all or none. Raises as `Destination.publish` does."""
        target = self._target
        staging: Scratch | None = None
        try:
            with disk_errors(self._shown):
                self._refuse_existing()
                target.parent.mkdir(parents=True, exist_ok=True)
                staging = make(target.parent)
                for name, file in files.items():
                    _place(file, staging.path / name)
                    progress((staging.path / name).stat().st_size)
                _flush_tree(staging.path)
                self._show(staging.path)
                flush(target.parent)
        except BaseException:
            if staging:
                shutil.rmtree(staging.path, ignore_errors=True)
            remove_empty(self._missing)
            raise
        finally:
            if staging:
                staging.release()

    def _refuse_existing(self) -> None:
        if os.path.lexists(self._target):
            raise self._exists()

    def _show(self, staging: Path) -> None:
        """Rename the finished directory; the system refuses if another one with files in it is there by
        now.
        """
        try:
            staging.rename(self._target)
        except OSError as error:
            if error.errno in (errno.EEXIST, errno.ENOTEMPTY, errno.ENOTDIR, errno.EISDIR):
                raise self._exists() from None
            raise

    def _exists(self) -> AlreadyExistsError:
        return AlreadyExistsError(f"`{self._shown}` exists already")


def _place(file: Path, target: Path) -> None:
    """Link a file of our own scratch into the staging directory, copy any other.

    A link, not a move: if another run takes the directory first, the file is still there for the next try.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    if any(parent.name.startswith(SCRATCH_PREFIX) for parent in file.parents):
        try:
            target.hardlink_to(file)
        except OSError as error:
            if error.errno not in _NO_LINKS:
                raise
        else:
            return
    shutil.copyfile(file, target)


def remove_empty(directories: Sequence[Path]) -> None:
    """Remove directories, the innermost first, up to the first one that is not empty."""
    with contextlib.suppress(OSError):
        for directory in directories:
            directory.rmdir()


def _flush_tree(directory: Path) -> None:
    """Flush every file and directory below and including this one to the disk."""
    for path in directory.rglob("*"):
        flush(path)
    flush(directory)


def flush(path: Path) -> None:
    """Wait until a file or directory is on the disk. Raises `OSError`."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:
        # Some network and FUSE file systems cannot flush a directory; the rename is still one step.
        if error.errno not in (errno.EINVAL, errno.ENOTSUP, errno.EBADF):
            raise
    finally:
        os.close(handle)
