"""The memory of the container that this process runs in: its limit, and what of it is in use.

In a pod the kernel may kill every process of a container that goes over its limit (cgroup v2's
`memory.oom.group`, which the kubelet sets), the one that could have said why among them. So the limit is
watched, and the child is ended just before. Files: https://docs.kernel.org/admin-guide/cgroup-v2.html and
https://docs.kernel.org/admin-guide/cgroup-v1/memory.html
"""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Container", "container"]

_ROOT = Path("/sys/fs/cgroup")
_PROC = Path("/proc")

_UNLIMITED = 1 << 60
"""Version 1 writes a number near 2**63 for no limit."""

_RESERVE = 32 << 20
"""The child is ended when no more than this is left, or an eighth of the limit: it takes that in 10 ms."""


@dataclass(frozen=True)
class Container:
    """A control group with a limit of memory; sizes in bytes.

    `limit`    what all processes in it may take together
    `used`     the file that tells what they take, pages of files among it
    `pages`    names in `memory.stat` of what are pages of files, which the kernel drops when it needs room
    """

    directory: Path
    limit: int
    used: str
    pages: tuple[str, ...]

    def in_use(self) -> int:
        """What the processes hold and the kernel cannot drop; 0 if that cannot be read."""
        with contextlib.suppress(OSError, ValueError):
            taken = int((self.directory / self.used).read_text())
            lines = (line.split() for line in (self.directory / "memory.stat").read_text().splitlines())
            return max(taken - sum(int(value) for name, value in lines if name in self.pages), 0)
        return 0

    def is_full(self, in_use: int) -> bool:
        """Whether so little is left that the kernel may kill soon."""
        return in_use > self.limit - min(_RESERVE, self.limit // 8)


def container(root: Path = _ROOT, proc: Path = _PROC) -> Container | None:
    """The tightest control group around this process that limits memory; None if none does, or elsewhere."""
    found = [*_second(root, proc), *_first(root, proc)]
    return min(found, key=lambda one: one.limit, default=None)


def _second(root: Path, proc: Path) -> Iterator[Container]:
    """Version 2: one tree for all controllers."""
    for directory in _around(root, _path(proc, "")):
        limit = _number(directory / "memory.max")
        if limit is not None:
            yield Container(directory, limit, "memory.current", ("inactive_file", "active_file"))


def _first(root: Path, proc: Path) -> Iterator[Container]:
    """Version 1: a tree of its own for the controller `memory`."""
    for directory in _around(root / "memory", _path(proc, "memory")):
        limit = _number(directory / "memory.limit_in_bytes")
        if limit is not None:
            pages = ("total_inactive_file", "total_active_file")
            yield Container(directory, limit, "memory.usage_in_bytes", pages)


def _path(proc: Path, controller: str) -> str | None:
    """The group of this process in the tree of a controller, "" for version 2's."""
    with contextlib.suppress(OSError):
        for line in (proc / "self/cgroup").read_text().splitlines():
            _, controllers, path = line.split(":", 2)
            if controller in controllers.split(","):
                return path
    return None


def _around(root: Path, path: str | None) -> Iterator[Path]:
    """A group's directory and those around it. In a container the group's own may be mounted as the root."""
    if path is not None:
        group = root / path.strip("/")
        yield from (directory for directory in (group, *group.parents) if directory.is_relative_to(root))


def _number(file: Path) -> int | None:
    """A limit; None for `max`, for none, and where there is no such file."""
    with contextlib.suppress(OSError, ValueError):
        value = int(file.read_text())
        return value if 0 < value < _UNLIMITED else None
    return None
