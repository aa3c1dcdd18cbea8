"""How the child process is started: its command, its environment, its own directory."""

import os
import site
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import ovms_converter

__all__ = ["child_environment", "command", "start"]

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
    root = Path(ovms_converter.__file__).absolute().parent.parent
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


def command(reply: int, log_level: str, memory_limit: int | None) -> list[str]:
    """The command line of the child. `reply` is the file descriptor that it answers on."""
    isolation = ["-s"] if sys.flags.no_user_site else []
    arguments = ["--reply", str(reply), "--parent", str(os.getpid()), "--log-level", log_level]
    if memory_limit is not None:
        arguments += ["--memory-limit", str(memory_limit)]
    return [sys.executable, *isolation, "-m", "ovms_converter.engine.worker", *arguments]


def start(
    directory: Path, reply: int, *, log_level: str, memory_limit: int | None
) -> "subprocess.Popen[bytes]":
    """Start the child in `directory`, which is empty and its own, without waiting for it.

    It is in a session of its own: a Ctrl-C at the terminal reaches this process alone, which then ends the
    child.
    """
    return subprocess.Popen(  # noqa: S603 - this interpreter, and arguments that are numbers and our own words
        command(reply, log_level, memory_limit),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        pass_fds=(reply,),
        cwd=directory,
        env=child_environment(os.environ, directory),
        start_new_session=True,
        bufsize=0,
    )


def _site_directories() -> set[Path]:
    directories = {Path(entry).absolute() for entry in site.getsitepackages()}
    if site.ENABLE_USER_SITE:
        directories.add(Path(site.getusersitepackages()).absolute())
    return directories
