"""Run a command and measure its whole process tree: wall time, CPU time, peak anonymous memory.

    python benchmarks/measure.py -- ovms-converter convert model.onnx /tmp/out

Anonymous memory (`Anonymous` of `/proc/PID/smaps_rollup`, summed over the tree, polled) is what a container
pays for: pages of mapped files are dropped under pressure, anonymous ones are not. Peaks shorter than the
poll interval can be missed. Linux only.
"""

import argparse
import contextlib
import json
import os
import resource
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

__all__ = ["Measurement", "measure"]


@dataclass(frozen=True)
class Measurement:
    """What one run cost. Seconds of wall and CPU time; peaks in MiB, summed over the process tree."""

    returncode: int
    wall: float
    cpu: float
    peak_anonymous: float
    peak_resident: float


def measure(
    command: Sequence[str],
    *,
    interval: float = 0.01,
    environ: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    quiet: bool = True,
) -> Measurement:
    """Run a command to its end and measure it with all its descendants, every `interval` seconds.

    `quiet` drops what it prints, except for errors.
    """
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    started = time.perf_counter()
    output = subprocess.DEVNULL if quiet else None
    process = subprocess.Popen(
        command, env=dict(environ) if environ is not None else None, cwd=cwd, stdout=output
    )
    peaks = [0, 0]
    done = threading.Event()

    def poll() -> None:
        while not done.wait(interval):
            anonymous, resident = _memory(process.pid)
            peaks[0], peaks[1] = max(peaks[0], anonymous), max(peaks[1], resident)

    poller = threading.Thread(target=poll)
    poller.start()
    try:
        returncode = process.wait()
    finally:
        wall = time.perf_counter() - started
        done.set()
        poller.join()
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Measurement(returncode, wall, cpu, peaks[0] / 1024, peaks[1] / 1024)


def _memory(root: int) -> tuple[int, int]:
    """Anonymous and resident KiB of a process and its descendants; those that are gone count nothing."""
    anonymous = resident = 0
    for pid in _tree(root):
        try:
            fields = Path(f"/proc/{pid}/smaps_rollup").read_text().split()
        except OSError:
            continue
        anonymous += int(fields[fields.index("Anonymous:") + 1])
        resident += int(fields[fields.index("Rss:") + 1])
    return anonymous, resident


def _tree(root: int) -> list[int]:
    found = [root]
    for pid in found:
        with contextlib.suppress(OSError):
            for task in os.scandir(f"/proc/{pid}/task"):
                found += [int(child) for child in Path(task.path, "children").read_text().split()]
    return found


def main() -> int:
    """Measure the command after `--`; print one JSON object and end with the command's status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--interval", type=float, default=0.01, help="seconds between two looks")
    parser.add_argument("command", nargs="+")
    options = parser.parse_args()
    measured = measure(options.command, interval=options.interval, quiet=False)
    print(json.dumps(asdict(measured)))
    return measured.returncode


if __name__ == "__main__":
    sys.exit(main())
