"""The start of the child: bind its life to the parent's, bound its memory, load openvino, take one job."""

import argparse
import contextlib
import gc
import logging
import os
import sys
import threading

from ovms_converter.processes import be_bounded, die_with

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
    die_with(options.parent)
    be_bounded(options.memory_limit)
    logging.basicConfig(level=_LEVELS.get(options.log_level.upper(), logging.ERROR))
    # openvino asks this package for consent on import and forks and connects; without it, it does neither.
    sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]
    # A quarter of the import of openvino is its own converter, which is imported if it is there.
    sys.modules["openvino.tools.ovc"] = None  # type: ignore[assignment]
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


def _watch_parent() -> None:
    """End this process when the parent's end of the job pipe closes."""
    os.read(sys.stdin.fileno(), 1)
    os._exit(1)


if __name__ == "__main__":
    main()
