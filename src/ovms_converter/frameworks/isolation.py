"""Closing the network to this process and all that it starts, before it opens what a stranger wrote."""

import contextlib
import ctypes
import os
import platform
import struct
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

__all__ = ["close_network"]

# <linux/prctl.h>, <linux/seccomp.h>, <linux/filter.h>, <linux/sched.h>
_PR_SET_NO_NEW_PRIVS = 38
_PR_SET_SECCOMP = 22
_SECCOMP_MODE_FILTER = 2
_LOAD, _EQUAL, _ABOVE, _RETURN = 0x20, 0x15, 0x35, 0x06
_NUMBER, _ARCHITECTURE = 0, 4  # offsets in struct seccomp_data
_ALLOW = 0x7FFF0000
_REFUSE = 0x00050000 | 13  # EACCES
_CLONE_NEWUSER, _CLONE_NEWNET = 0x10000000, 0x40000000


@dataclass(frozen=True)
class _Architecture:
    """`audit` is the kernel's number of the architecture (<linux/audit.h>), `calls` those that are refused.

    `foreign` is the lowest number of a second table of calls (x32), all of which are refused.
    """

    audit: int
    calls: tuple[int, ...]
    foreign: int | None = None


# socket, and what would get at sockets without it: io_uring_setup, and for other processes' sockets and
# memory ptrace, process_vm_readv, process_vm_writev, pidfd_getfd;
# and for the user's keys add_key, request_key, keyctl.
_ARCHITECTURES: Mapping[str, _Architecture] = {
    "x86_64": _Architecture(0xC000003E, (41, 425, 101, 310, 311, 438, 248, 249, 250), 0x40000000),
    "aarch64": _Architecture(0xC00000B7, (198, 425, 117, 270, 271, 438, 217, 218, 219)),
}


def close_network() -> str | None:
    """Close the network for good, for this process and its descendants; call it before any thread starts.

    Gives the word for how it was done, or None if it cannot be done here.
    """
    if sys.platform != "linux":
        return None
    if _filter_calls():
        return "seccomp"
    return "namespace" if _leave_network() else None


def _filter_calls() -> bool:
    """Have the kernel refuse `socket(2)` of every family."""
    architecture = _ARCHITECTURES.get(platform.machine())
    if architecture is None or struct.calcsize("P") != 8:
        return False
    program = _program(architecture)
    instructions = ctypes.create_string_buffer(program, len(program))
    described = struct.pack("HP", len(program) // 8, ctypes.addressof(instructions))
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0:
        return False
    return bool(libc.prctl(_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, described, 0, 0) == 0)


def _program(architecture: _Architecture) -> bytes:
    """The filter in classic BPF: refuses the listed calls and other architectures', allows all else."""
    checks = [*((_EQUAL, call) for call in architecture.calls)]
    if architecture.foreign is not None:
        checks.insert(0, (_ABOVE, architecture.foreign))
    lines = [
        (_LOAD, 0, 0, _ARCHITECTURE),
        (_EQUAL, 0, len(checks) + 2, architecture.audit),
        (_LOAD, 0, 0, _NUMBER),
        *((code, len(checks) - at, 0, value) for at, (code, value) in enumerate(checks)),
        (_RETURN, 0, 0, _ALLOW),
        (_RETURN, 0, 0, _REFUSE),
    ]
    return b"".join(struct.pack("HBBI", *line) for line in lines)


def _leave_network() -> bool:
    """Move to a new network namespace, which has no interface that is up."""
    user, group = os.getuid(), os.getgid()
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(_CLONE_NEWUSER | _CLONE_NEWNET) != 0:
        return False
    # The same user inside as outside, so that its files stay its own.
    with contextlib.suppress(OSError):
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text(f"{user} {user} 1")
        Path("/proc/self/gid_map").write_text(f"{group} {group} 1")
    return True
