"""Let a client's own threads finish before Python goes down.

obstore's threads let go of Python objects some microseconds after their work is done, for which they need the
interpreter. If it is going down by then, they abort the process.
"""

import atexit
import contextlib
import re
import threading
import time
from functools import cache
from pathlib import Path

__all__ = ["rest_before_exit", "wait"]

_TASKS = Path("/proc/self/task")
_LOOK_SECONDS = 0.001
"""Between two looks nobody of Python's runs here, so that a thread that waits for it has its turn."""
_LIMIT_SECONDS = 2.0
"""A thread that is still busy then is none that is about to let go."""
_BLIND_SECONDS = 0.05
"""The wait where a system does not show its threads."""

_STATE = re.compile(r"^State:\s+(\w)", re.MULTILINE)
_SWITCHES = re.compile(r"^\w*voluntary_ctxt_switches:\s+(\d+)", re.MULTILINE)


@cache
def rest_before_exit() -> None:
    """Have this process wait, before its interpreter goes down, until threads that are not Python's rest."""
    atexit.register(wait)


def wait() -> None:
    """Return when native threads sleep, and none has run between two looks."""
    if not _TASKS.is_dir():
        time.sleep(_BLIND_SECONDS)
        return
    last_look = time.monotonic() + _LIMIT_SECONDS
    before = None
    while time.monotonic() < last_look:
        now = _native_threads()
        if now == before and all(state == "S" for state, _ in now.values()):
            return
        before = now
        time.sleep(_LOOK_SECONDS)


def _native_threads() -> dict[str, tuple[str, tuple[str, ...]]]:
    """Thread → its state, and how often it has run: a sleeper that does not run waits for no lock of ours."""
    own = {str(thread.native_id) for thread in threading.enumerate()}
    found = {}
    for task in _TASKS.iterdir():
        # A thread may end between the two.
        with contextlib.suppress(OSError):
            if task.name not in own:
                status = (task / "status").read_text(encoding="ascii", errors="replace")
                state = _STATE.search(status)
                found[task.name] = (state[1] if state else "?", tuple(_SWITCHES.findall(status)))
    return found
