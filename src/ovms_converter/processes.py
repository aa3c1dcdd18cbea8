"""What every child process of this program gets: a clean environment, a life that ends with its parent's,
bounds.
"""

import contextlib
import ctypes
import mmap
import os
import resource
import signal
import site
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

__all__ = ["be_bounded", "child_environment", "die_with", "interpreter", "secluded"]

_ALLOWED = frozenset(
    {
        "PATH",
        "LANG",
        "LC_ALL",
        "LC_CTYPE",
        "TZ",
        "LD_LIBRARY_PATH",
        "DYLD_LIBRARY_PATH",
        "DYLD_FALLBACK_LIBRARY_PATH",
        "SYSTEMROOT",
        "PYTHONHOME",
        "PYTHONPATH",
        "PYTHONPYCACHEPREFIX",
        "PYTHONDONTWRITEBYTECODE",
        "VIRTUAL_ENV",
    }
)
_ALLOWED_PREFIXES = ("OMP_", "KMP_", "ONEDNN_", "DNNL_", "TBB_", "OV_", "OPENVINO_", "MALLOC_")

_LEAST_ROOM = 64 << 20
"""Bytes of private memory that numpy and openvino take while they are imported."""

_PR_SET_PDEATHSIG, _PR_GET_DUMPABLE, _PR_SET_DUMPABLE = 1, 3, 4  # <linux/prctl.h>


def child_environment(environ: Mapping[str, str], directory: Path) -> dict[str, str]:
    """The child's environment: an allow-list of `environ`, so that no credential is ever in it.

    `directory` becomes its home and its place for temporary files. Module search stays as it is in this
    process.
    """
    kept = {
        name: value
        for name, value in environ.items()
        if name in _ALLOWED or (name.startswith(_ALLOWED_PREFIXES) and name.isupper())
    }
    search = [str(Path(entry).absolute()) for entry in kept.pop("PYTHONPATH", "").split(os.pathsep) if entry]
    # Only a source tree needs this: a site directory put before the standard library could hide parts of it.
    root = Path(__file__).absolute().parent.parent
    if str(root) not in search and root not in _site_directories():
        search.append(str(root))
    if search:
        kept["PYTHONPATH"] = os.pathsep.join(search)
    if site.ENABLE_USER_SITE:
        kept["PYTHONUSERBASE"] = site.getuserbase()  # otherwise found through HOME, which is another one now
    # Few allocator arenas and no growing threshold: freed weights go back to the system at once.
    kept.setdefault("MALLOC_ARENA_MAX", "2")
    kept.setdefault("MALLOC_MMAP_THRESHOLD_", "131072")
    kept["OPENBLAS_NUM_THREADS"] = "1"  # numpy's BLAS is not used, and reserves memory for every thread
    return kept | {
        "HOME": str(directory),
        "TMPDIR": str(directory),
        "PYTHONSAFEPATH": "1",
        "PYTHONUNBUFFERED": "1",
        "PYTHONHASHSEED": "0",
        "PYTHONFAULTHANDLER": "1",
        "PYTHONIOENCODING": "utf-8:backslashreplace",
    }


def interpreter(module: str) -> list[str]:
    """The begin of a command line that runs a module of this package in this interpreter."""
    isolation = ["-s"] if sys.flags.no_user_site else []
    return [sys.executable, *isolation, "-m", module]


def die_with(parent: int) -> None:
    """Have this process, a child of `parent`, end when the parent does, and leave Ctrl-C to the parent."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    else:
        threading.Thread(target=_watch, args=(parent,), name="parent", daemon=True).start()
    if os.getppid() != parent:
        os._exit(1)


class _Seclusion:
    """Counts who needs this process to be closed to others, in whichever thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._users = 0
        self._before = 1

    def __enter__(self) -> None:
        libc = ctypes.CDLL(None)
        with self._lock:
            self._users += 1
            if self._users == 1:
                self._before = libc.prctl(_PR_GET_DUMPABLE, 0, 0, 0, 0)
                libc.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._users -= 1
            if not self._users and self._before == 1:
                ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 1, 0, 0, 0)


_SECLUSION = _Seclusion()


@contextlib.contextmanager
def secluded() -> Iterator[None]:
    """Close this process's memory, environment and open files to processes without the right to trace all.

    A child that runs a stranger's code belongs to the same user, who may otherwise read them in `/proc`. On
    Linux only; elsewhere nothing happens.
    """
    if sys.platform != "linux":
        yield
        return
    with _SECLUSION:
        yield


def be_bounded(memory_limit: int | None) -> None:
    """Leave no core file, be the first that the kernel ends when memory is short, and bound private memory.

    RLIMIT_DATA does not count mapped files, so the weights' size does not matter. A child inherits it all.
    Raises `MemoryError` if the limit leaves no room to import what is needed: an import that runs into it may
    end in a SystemError, or never, as numpy's BLAS for Python 3.10 asks again and again.
    """
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000")
    # A crash is an expected end here: no core file as large as the model.
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if memory_limit is not None:
        hard = resource.getrlimit(resource.RLIMIT_DATA)[1]
        soft = memory_limit if hard == resource.RLIM_INFINITY else min(memory_limit, hard)
        resource.setrlimit(resource.RLIMIT_DATA, (soft, hard))
        try:
            mmap.mmap(-1, _LEAST_ROOM, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS).close()
        except OSError as error:
            raise MemoryError(f"no {_LEAST_ROOM} bytes within the limit of {soft}") from error


def _watch(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(1)


def _site_directories() -> set[Path]:
    directories = {Path(entry).absolute() for entry in site.getsitepackages()}
    if site.ENABLE_USER_SITE:
        directories.add(Path(site.getusersitepackages()).absolute())
    return directories
