"""Scratch directories: what a process leaves that is killed, and what one that is at work must not lose."""

import fcntl
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from ovms_converter.storage import open_destination, scratch
from ovms_converter.storage.base import Destination
from ovms_converter.storage.location import Location

HOLD = """
import sys
from pathlib import Path
from ovms_converter.storage.scratch import make
held = make(Path(sys.argv[1]))
(held.path / "model.bin").write_bytes(b"weights")
print(held.path.name, flush=True)
sys.stdin.read()
"""


def destination(path: Path) -> Destination:
    return open_destination(Location.parse(str(path)), {})


@pytest.fixture
def holder(tmp_path: Path) -> Iterator["subprocess.Popen[str]"]:
    """Another process that holds a scratch directory in `tmp_path`."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with process:
        assert process.stdout
        assert process.stdout.readline().startswith(".ovms-")
        yield process
        process.kill()


def names(path: Path) -> list[str]:
    return sorted(entry.name for entry in path.iterdir())


def test_a_directory_at_work_is_left_alone(tmp_path: Path, holder: "subprocess.Popen[str]") -> None:
    (held,) = names(tmp_path)
    own = destination(tmp_path).scratch()
    assert own is not None
    assert names(tmp_path) == sorted([held, own.name])


def test_the_directory_of_a_killed_process_goes_with_the_next_run(
    tmp_path: Path, holder: "subprocess.Popen[str]"
) -> None:
    holder.kill()
    holder.wait()
    assert len(names(tmp_path)) == 1
    own = destination(tmp_path / "served" / "new").scratch()
    assert own is not None
    assert names(tmp_path) == [own.name]


@pytest.mark.parametrize(("hours", "left"), [(23, True), (25, False)])
def test_what_another_machine_left_goes_after_a_day(tmp_path: Path, hours: int, left: bool) -> None:
    foreign = tmp_path / f".ovms-{'0' * 8}-{'1' * 12}"
    foreign.mkdir()
    (foreign / "model.bin").write_bytes(b"weights")
    then = time.time() - hours * 3600
    for path in (foreign / "model.bin", foreign):
        os.utime(path, (then, then))
    scratch.clear_dead(tmp_path)
    assert foreign.exists() == left


def test_directories_of_others_are_never_taken_for_scratch(tmp_path: Path) -> None:
    for name in (".ovms-", ".ovms-backup", ".ovms-00000000-nothex000000", "1"):
        (tmp_path / name).mkdir()
        os.utime(tmp_path / name, (0, 0))
    before = names(tmp_path)
    scratch.clear_dead(tmp_path)
    assert names(tmp_path) == before


def test_a_file_system_without_locks_is_only_cleared_by_age(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_locks(handle: int, operation: int) -> None:
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(fcntl, "flock", no_locks)
    held = scratch.make(tmp_path)
    held.release()
    scratch.clear_dead(tmp_path)
    assert held.path.exists()
    os.utime(held.path, (0, 0))
    scratch.clear_dead(tmp_path)
    assert not held.path.exists()
