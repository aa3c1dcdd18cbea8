"""What a framework's process may still touch once it opens what a stranger wrote: the model, its own
directory, the libraries; no other file, no other process, no right of root.
"""

import ctypes
import os
import struct
import sys
from collections.abc import Iterator
from pathlib import Path

from ovms_converter.frameworks.base import ExportJob
from ovms_converter.frameworks.landlock import restrict

__all__ = ["confine"]

_PR_CAPBSET_DROP, _PR_SET_NO_NEW_PRIVS, _PR_CAP_AMBIENT = 24, 38, 47  # <linux/prctl.h>
_PR_CAP_AMBIENT_CLEAR_ALL = 4
_CAPABILITY_VERSION = 0x20080522  # <linux/capability.h>: two words of 32
_CAP_DAC_OVERRIDE = 1
_LAST_CAPABILITY = 63

_SYSTEM = (
    "/usr", "/lib", "/lib32", "/lib64", "/bin", "/sbin", "/nix/store", "/gnu/store",
    "/etc/ld.so.cache", "/etc/ld.so.conf", "/etc/ld.so.conf.d", "/etc/ld.so.preload", "/etc/alternatives",
    "/etc/localtime", "/etc/timezone", "/etc/nsswitch.conf", "/etc/passwd", "/etc/group", "/etc/os-release",
    "/etc/mime.types", "/etc/ssl/openssl.cnf", "/etc/pki/tls/openssl.cnf", "/etc/crypto-policies",
    "/proc", "/sys/devices/system", "/sys/fs/cgroup", "/sys/kernel/mm",
    "/dev/null", "/dev/zero", "/dev/random", "/dev/urandom",
)  # fmt: skip
"""What an interpreter and its libraries read. In `/proc` the kernel guards other processes' own files."""

_SINKS = ("/dev/null", "/dev/zero")


def confine(job: ExportJob, directory: Path) -> bool:
    """Give up everything that `job` does not need, for this process and its descendants.

    `directory` is the process's own. Call it before any thread starts. Gives False if the kernel does not
    restrict files: then all those of the same user stay open to it.
    """
    if sys.platform != "linux":
        return False
    readable = [*map(Path, _SYSTEM), *_interpreter(), *_of_model(job)]
    restricted = restrict(readable, [directory, job.output, *map(Path, _SINKS)])
    # Where files are restricted, root may go on reading a model that belongs to someone else.
    _drop_capabilities(1 << _CAP_DAC_OVERRIDE if restricted else 0)
    return restricted


def _interpreter() -> Iterator[Path]:
    """Where this Python and the libraries of its search path lie."""
    yield from map(Path, {sys.prefix, sys.exec_prefix, sys.base_prefix, sys.base_exec_prefix})
    yield Path(sys.executable).resolve()
    searched = os.environ.get("LD_LIBRARY_PATH", "").split(os.pathsep)
    yield from (Path(entry) for entry in (*sys.path, *searched) if entry)


def _of_model(job: ExportJob) -> Iterator[Path]:
    """The model's files; in a cache of downloads they may be links."""
    yield job.model
    if job.example:
        yield job.example
    if job.model.is_dir():
        yield from (path for path in job.model.rglob("*") if path.is_symlink() and path.is_file())


def _drop_capabilities(kept: int) -> None:
    """Lose all capabilities but those of the mask `kept`, and the way to get them back by executing."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    libc.prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0)
    for number in range(_LAST_CAPABILITY + 1):
        if not kept >> number & 1:
            libc.prctl(_PR_CAPBSET_DROP, number, 0, 0, 0)
    header = struct.pack("Ii", _CAPABILITY_VERSION, 0)
    found = ctypes.create_string_buffer(24)
    if libc.capget(header, found) != 0:
        return
    words = struct.unpack("6I", found.raw)
    low = [word & kept for word in words[:3]]
    libc.capset(header, struct.pack("6I", *low, 0, 0, 0))
