"""Whatever happens to the child, the caller gets an error that says so, and nothing is left behind."""

import contextlib
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper

from engine_rig import children, convert, dense, job, names_in, slow, value, when, write
from ovms_converter.engine.client import Engine
from ovms_converter.errors import (
    ConverterError,
    CorruptModelError,
    InternalError,
    InterruptedRunError,
    ModelError,
    ResourceError,
    VerificationError,
)
from ovms_converter.events import Stage, StageStarted, ignore

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks for the child in /proc")


@pytest.fixture(autouse=True)
def nothing_left(tmp_path: Path) -> object:
    """Every test here ends without a child and with an empty scratch directory."""
    before = set(children())
    yield
    assert not set(children()) - before
    if (tmp_path / "s").exists():
        assert names_in(tmp_path / "s") == []


def kill(number: int) -> Callable[[int], None]:
    return lambda pid: os.kill(pid, number)


@pytest.mark.parametrize(
    "number", [signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS, signal.SIGFPE, signal.SIGILL]
)
def test_a_crash_while_converting_is_a_damaged_model(tmp_path: Path, number: signal.Signals) -> None:
    with pytest.raises(CorruptModelError) as caught:
        convert(
            job(slow(tmp_path / "net.onnx"), tmp_path / "out"),
            tmp_path / "s",
            listener=when(StageStarted, Stage.CONVERT, kill(number)),
        )
    assert caught.value.message == f"the converter process crashed ({number.name}) while reading `net.onnx`"
    assert caught.value.exit_code == 5
    assert caught.value.hint


def test_a_crash_of_the_result_is_a_failed_verification(tmp_path: Path) -> None:
    with pytest.raises(VerificationError, match=r"crashed \(SIGSEGV\) while running `model.xml`") as caught:
        convert(
            job(slow(tmp_path / "net.onnx"), tmp_path / "out"),
            tmp_path / "s",
            listener=when(StageStarted, Stage.VERIFY, kill(signal.SIGSEGV)),
        )
    assert caught.value.exit_code == 6


def test_a_child_that_is_killed_ran_out_of_memory(tmp_path: Path) -> None:
    with pytest.raises(ResourceError, match=r"was killed while reading `net.onnx`: memory ran out") as caught:
        convert(
            job(slow(tmp_path / "net.onnx"), tmp_path / "out"),
            tmp_path / "s",
            listener=when(StageStarted, Stage.CONVERT, kill(signal.SIGKILL)),
        )
    assert caught.value.exit_code == 7


def test_a_child_that_is_told_to_stop_is_an_interruption(tmp_path: Path) -> None:
    with pytest.raises(InterruptedRunError) as caught:
        convert(
            job(slow(tmp_path / "net.onnx"), tmp_path / "out"),
            tmp_path / "s",
            listener=when(StageStarted, Stage.CONVERT, kill(signal.SIGTERM)),
        )
    assert caught.value.exit_code == 143


def test_a_child_that_dies_before_the_job_is_a_bug(tmp_path: Path) -> None:
    before = set(children())
    with Engine(tmp_path / "s", listener=ignore) as engine:
        (pid,) = set(children()) - before
        os.kill(pid, signal.SIGSEGV)
        with pytest.raises(InternalError, match="crashed"):
            engine.convert(job(dense(tmp_path / "m.onnx"), tmp_path / "out"))


def test_a_job_without_a_child_is_a_bug(tmp_path: Path) -> None:
    with pytest.raises(InternalError, match="not running"):
        Engine(tmp_path / "s", listener=ignore).convert(job(tmp_path / "m.onnx", tmp_path / "out"))


def test_a_model_that_takes_too_long_is_a_model_error(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="did not finish within 2 s while ") as caught:
        convert(job(slow(tmp_path / "net.onnx"), tmp_path / "out"), tmp_path / "s", time_limit=2)
    assert caught.value.exit_code == 5


@pytest.mark.parametrize("limit", [16, 60, 100])
def test_a_memory_limit_ends_in_a_resource_error(tmp_path: Path, limit: int) -> None:
    """At 16 MiB numpy does not fit, at 60 openvino does not, at 100 the tensors of this model do not.

    Left to itself, the import ends with no word of memory at 60 (Python 3.13), or never at 16 (3.10).
    """
    nodes = [helper.make_node("Tile", ["x", "n"], ["t"]), helper.make_node("Relu", ["t"], ["y"])]
    ends = [value("x", TensorProto.FLOAT, [1024, 1024]), value("y", TensorProto.FLOAT, None)]
    model = write(tmp_path / "m.onnx", nodes, ends[:1], ends[1:], {"n": np.array([64, 8])})
    with pytest.raises(ResourceError, match="memory ran out") as caught:
        convert(job(model, tmp_path / "out"), tmp_path / "s", memory_limit=limit << 20)
    assert caught.value.exit_code == 7


@pytest.mark.slow
def test_weights_do_not_count_against_the_memory_limit(tmp_path: Path) -> None:
    """260 MiB of weights, more than the limit leaves beside openvino, are mapped and never copied."""
    model = dense(tmp_path / "m.onnx", width=3700, layers=5)
    result = convert(job(model, tmp_path / "out"), tmp_path / "s", memory_limit=320 << 20)
    assert "large weights read from the file" in result.verified


def test_a_file_that_cannot_grow_is_a_resource_error(tmp_path: Path) -> None:
    """The limit of a file's size stands for a full disk: the write fails in the middle in the same way."""
    model = dense(tmp_path / "m.onnx", width=512)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 16, limits[1]))
    try:
        with pytest.raises(ResourceError, match=r"disk is full .* while writing `model.xml`") as caught:
            convert(job(model, tmp_path / "out"), tmp_path / "s")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert caught.value.exit_code == 7


def test_an_exception_while_the_child_works_ends_it(tmp_path: Path) -> None:
    def interrupt(_: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        convert(
            job(slow(tmp_path / "net.onnx"), tmp_path / "out"),
            tmp_path / "s",
            listener=when(StageStarted, Stage.CONVERT, interrupt),
        )


PROGRAM = """
import signal, sys
from pathlib import Path
from engine_rig import children, convert, job, when
from ovms_converter.events import Stage, StageStarted

def stop(number, frame):
    raise SystemExit(128 + number)

if {handled}:
    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
listener = when(StageStarted, Stage.CONVERT, lambda pid: print(pid, flush=True))
convert(job(Path("net.onnx"), Path("out")), Path("s"), listener=listener)
"""


def parent(tmp_path: Path, *, handled: bool) -> "tuple[subprocess.Popen[str], int]":
    """A process that is in the middle of a conversion, and its child's id."""
    slow(tmp_path / "net.onnx")
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM.format(handled=handled)],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parent)},
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stdout is not None
    return process, int(process.stdout.readline())


def gone(pid: int) -> bool:
    """Whether a process has ended; waits for it for a while."""
    for _ in range(1000):
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            return True
        if state == "Z":
            return True
        time.sleep(0.01)
    return False


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_handled_signal_gets_through_and_leaves_nothing(tmp_path: Path, number: signal.Signals) -> None:
    process, child = parent(tmp_path, handled=True)
    with process:
        process.send_signal(number)
        assert process.wait(30) == 128 + number
    assert gone(child)
    assert names_in(tmp_path / "s") == []


def test_the_child_dies_with_a_parent_that_is_killed(tmp_path: Path) -> None:
    process, child = parent(tmp_path, handled=False)
    with process:
        process.kill()
    assert gone(child)
    shutil.rmtree(tmp_path / "s")  # nobody was there to do it


def test_a_ctrl_c_at_the_terminal_does_not_reach_the_child(tmp_path: Path) -> None:
    process, child = parent(tmp_path, handled=True)
    with process:
        assert os.getpgid(child) != os.getpgid(process.pid)
        process.send_signal(signal.SIGINT)


def test_a_writer_that_is_refused_is_no_bug(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("a file where a directory should be")
    with pytest.raises(ConverterError):
        convert(job(dense(tmp_path / "m.onnx"), tmp_path / "out"), tmp_path / "s")


def test_openvino_opens_no_socket_and_starts_no_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An audit hook sees every socket, fork and exec of Python's, and /proc the sockets of native code."""
    dense(tmp_path / "m.onnx")
    events = ("socket.", "os.fork", "os.exec", "os.posix_spawn", "subprocess.", "os.system")
    audit = tmp_path / "audit"
    audit.mkdir()
    (audit / "sitecustomize.py").write_text(
        "import os, sys\n"
        f"log = os.open({str(tmp_path / 'log')!r}, os.O_WRONLY | os.O_CREAT | os.O_APPEND)\n"
        "def hook(event, args):\n"
        f"    if event.startswith({events}):\n"
        "        os.write(log, event.encode() + b' ')\n"
        "sys.addaudithook(hook)\n"
        "os.write(log, b'started ')\n"
    )
    sockets: list[str] = []

    def look(pid: int) -> None:
        for entry in Path(f"/proc/{pid}/fd").iterdir():
            with contextlib.suppress(FileNotFoundError):  # closed between the listing and the look
                sockets.append(str(entry.readlink()))

    monkeypatch.setenv("PYTHONPATH", str(audit))
    convert(
        job(tmp_path / "m.onnx", tmp_path / "out"),
        tmp_path / "s",
        listener=when(StageStarted, Stage.VERIFY, look),
    )
    assert (tmp_path / "log").read_text().split() == ["started"]
    assert sockets
    assert not [target for target in sockets if target.startswith("socket:")]
