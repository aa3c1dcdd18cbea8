"""A process that has used a store ends in peace, however soon."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ovms_converter.storage import native_threads
from servers import S3Bucket

PUBLISH = """
import os, sys
from pathlib import Path
from ovms_converter.storage import open_destination
from ovms_converter.storage.location import Location

here = Path(sys.argv[2])
files = {"conversion.json": here / "small", "m.bin": here / "large", "m.xml": here / "small"}
open_destination(Location.parse(sys.argv[1]), os.environ).publish(sys.argv[3], files, lambda count: None)
"""


@pytest.mark.slow
def test_a_process_ends_in_peace_right_after_an_upload(s3: S3Bucket, tmp_path: Path) -> None:
    """Without the wait, one in about ten was aborted by the client's threads."""
    (tmp_path / "small").write_bytes(b"{}")
    (tmp_path / "large").write_bytes(bytes(48 << 20))
    for number in range(15):
        done = subprocess.run(
            [sys.executable, "-c", PUBLISH, s3.url("out"), str(tmp_path), str(number + 1)],
            env={**os.environ, **s3.environ()},
            capture_output=True,
            text=True,
            check=False,
        )
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert len(s3.keys("out/")) == 45


def threads(*states: str) -> dict[str, tuple[str, tuple[str, ...]]]:
    """What is seen of threads: a letter for the state, a number for how often it has run."""
    return {str(number): (state[0], (state[1:],)) for number, state in enumerate(states)}


@pytest.mark.parametrize(
    ("looks", "seen"),
    [
        ([threads("S1"), threads("S1")], 2),
        ([threads("R1"), threads("R1"), threads("S2"), threads("S2")], 4),
        ([threads("S1", "S1"), threads("S1", "S2"), threads("S1", "S2")], 3),
        ([threads("S1", "S1"), threads("S1"), threads("S1")], 3),
        ([threads(), threads()], 2),
    ],
    ids=["asleep", "busy", "woken", "ended", "none"],
)
def test_the_wait_ends_when_nothing_has_run_between_two_looks(
    looks: list[dict[str, tuple[str, tuple[str, ...]]]], seen: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    left = list(looks)
    monkeypatch.setattr(native_threads, "_native_threads", lambda: left.pop(0))
    monkeypatch.setattr(native_threads, "_TASKS", Path("/"))
    monkeypatch.setattr(time, "sleep", lambda seconds: None)
    native_threads.wait()
    assert len(looks) - len(left) == seen


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="no /proc here")
def test_threads_of_python_are_not_waited_for() -> None:
    """Those that run here: the main one above all, which is always busy looking."""
    assert str(os.getpid()) not in native_threads._native_threads()
