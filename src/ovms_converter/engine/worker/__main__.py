"""The start of the child: bind its life to the parent's, bound its memory, load openvino, take one job."""

import argparse
import contextlib
import ctypes
import gc
import logging
import os
import resource
import signal
import sys
import threading
from pathlib import Path

_PR_SET_PDEATHSIG = 1  # <linux/prctl.h>

_LEVELS = {
    "DEBUG": logging.DEBUG,
    "INFO": logging.INFO,
    "WARN": logging.WARNING,
    "WARNING": logging.WARNING,
    "CRITICAL": logging.CRITICAL,
}


def main() -> None:
    """Run the child. It never returns: `os._exit` spares native libraries' destructors, which may crash."""
    parser = argparse.ArgumentParser(prog="ovms_converter.engine.worker")
    parser.add_argument("--reply", type=int, required=True, help="the file descriptor for answers")
    parser.add_argument("--parent", type=int, required=True, help="the process that must be alive")
    parser.add_argument("--memory-limit", type=int, help="bytes of private memory")
    parser.add_argument("--log-level", default="ERROR")
    options = parser.parse_args()
    _die_with(options.parent)
    _volunteer_for_the_oom_killer()
    # A crash is an expected end here: no core file as large as the model.
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if options.memory_limit is not None:
        _limit_memory(options.memory_limit)
    logging.basicConfig(level=_LEVELS.get(options.log_level.upper(), logging.ERROR))
    # openvino asks this package for consent on import and forks and connects; without it, it does neither.
    sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]
    from ovms_converter.engine.worker import serve

    # Reading a graph makes 100,000s of small objects and few cycles: by default, the search for these takes
    # as long as the reading. What is imported by now is never garbage.
    gc.freeze()
    gc.set_threshold(200_000)
    reply = os.fdopen(options.reply, "wb", buffering=0)
    line = sys.stdin.buffer.readline()
    if line:
        threading.Thread(target=_watch_parent, name="parent", daemon=True).start()
        with contextlib.suppress(BrokenPipeError):
            serve.serve(line, reply)
    sys.stdout.flush()
    os._exit(0)


def _die_with(parent: int) -> None:
    """Have the kernel kill this process when the parent dies; where it is not Linux, `_watch_parent` does."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


def _watch_parent() -> None:
    """End this process when the parent's end of the job pipe closes."""
    os.read(sys.stdin.fileno(), 1)
    os._exit(1)


def _volunteer_for_the_oom_killer() -> None:
    """Let the kernel end this process before its parent, which can then tell what happened."""
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000")


def _limit_memory(limit: int) -> None:
    """Bound private memory. RLIMIT_DATA does not count mapped files, so the weights' size does not matter."""
    hard = resource.getrlimit(resource.RLIMIT_DATA)[1]
    soft = limit if hard == resource.RLIM_INFINITY else min(limit, hard)
    resource.setrlimit(resource.RLIMIT_DATA, (soft, hard))


if __name__ == "__main__":
    main()
