"""What code out of a model may not do where it runs: read the converter's secrets, other files, or harm it.

The hostile model is a pickle that scikit-learn would open; the attempts run when it is loaded, and it tells
what came of them by an error. It tries as whoever runs the tests: as root too, whom permissions do not stop.
"""

import os
import pickle
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from ovms_converter.engine.client import Engine
from ovms_converter.engine.job import ConversionJob
from ovms_converter.errors import ModelError
from ovms_converter.frameworks import landlock
from ovms_converter.frameworks.base import ExportJob
from ovms_converter.frameworks.process import export
from ovms_converter.optimizer.arguments import OptimizerArguments
from ovms_converter.processes import secluded

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="what is proved here is Linux's own")
pytest.importorskip("sklearn")

PROGRAM = """
import ctypes, os, subprocess, sys
libc = ctypes.CDLL(None, use_errno=True)

def ancestors():
    found, pid = [], os.getppid()
    while len(found) < 2:
        found.append(pid)
        with open(f"/proc/{pid}/stat") as file:
            pid = int(file.read().rpartition(")")[2].split()[1])
    return found

def checked(result):
    if result < 0:
        raise OSError(ctypes.get_errno(), "refused")

def outcome(attempt):
    try:
        return "did " + str(attempt())
    except OSError as error:
        return f"refused with {error.errno}"

engine, converter = pids = ancestors()
"""


class Hostile:
    """Runs a text as it is loaded."""

    def __init__(self, program: str) -> None:
        self.program = program

    def __reduce__(self) -> tuple[Callable[..., object], tuple[str, dict[str, str]]]:
        return exec, (self.program, {})


Attempts = Callable[..., list[str]]


@pytest.fixture
def told(tmp_path: Path) -> Attempts:
    """What becomes of attempts, each an expression, below an engine's child and this process.

    "did " and its value, or "refused with " and the error's number.
    """

    def run(*attempts: str) -> list[str]:
        (tmp_path / "out").mkdir(exist_ok=True)
        lines = ", ".join(f"outcome(lambda: {attempt})" for attempt in attempts)
        model = tmp_path / "model.pkl"
        model.write_bytes(
            pickle.dumps(Hostile(f"{PROGRAM}\nraise RuntimeError('told: ' + '; '.join([{lines}]))"))
        )
        job = ConversionJob(
            "sklearn.pickle", model, OptimizerArguments(), "m", tmp_path / "out", "load", trusted=True
        )
        with (
            pytest.raises(ModelError, match="told: ") as caught,
            Engine(tmp_path / "s", listener=lambda _: None, time_limit=100) as engine,
        ):
            engine.convert(job)
        return caught.value.message.partition("told: ")[2].split("; ")

    return run


def has_landlock() -> bool:
    program = "from ovms_converter.frameworks.landlock import restrict; print(restrict([], []))"
    # Nothing can be imported afterwards, nor need be.
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return done.stdout.strip() == "True"


LANDLOCK = sys.platform == "linux" and has_landlock()
needs_landlock = pytest.mark.skipif(not LANDLOCK, reason="this kernel has no Landlock")

READS = [
    f"open(f'/proc/{{{process}}}/{name}', 'rb').read(1)"
    for process in ("engine", "converter")
    for name in ("environ", "mem", "maps", "fd/0", "fd/1")
] + [
    f"os.listdir(f'/proc/{{{process}}}/{name}')"
    for process in ("engine", "converter")
    for name in ("cwd", "root")
]
CALLS = [
    "checked(libc.ptrace(16, converter, 0, 0))",
    "checked(libc.process_vm_readv(converter, (ctypes.c_size_t * 2)(), 1, (ctypes.c_size_t * 2)(), 1, 0))",
    "checked(libc.syscall(438, os.pidfd_open(converter), 0, 0))",
    "checked(libc.syscall({'x86_64': 250}.get(os.uname().machine, 219), 0, -3, 0))",
]
EACCES, EPERM = "refused with 13", "refused with 1"


def test_the_converters_processes_cannot_be_read(told: Attempts) -> None:
    assert set(told(*READS)) == {EACCES}


def test_the_converters_processes_and_keys_cannot_be_called(told: Attempts) -> None:
    assert set(told(*CALLS)) == {EACCES}


def test_the_same_holds_without_landlock(
    told: Attempts, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """On older kernels, the processes are closed to whoever has no right to trace all."""
    without_landlock(monkeypatch, tmp_path)
    assert set(told(*READS)) == {EACCES}
    assert told(f"open({str(tmp_path / 'out')!r} + '/open', 'w')")[0].startswith("did")


def without_landlock(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Have the framework's process find that the kernel has none."""
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib" / "sitecustomize.py").write_text(
        "import sys\n"
        "if sys.orig_argv[-4:-3] == ['--reply'] and 'ovms_converter.frameworks' in sys.orig_argv:\n"
        "    from ovms_converter.frameworks import confinement\n"
        "    confinement.restrict = lambda readable, writable: False\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "lib"))


MASKS = "' '.join(x.split()[1] for x in open('/proc/self/status') if x[:6] in ('CapPrm', 'CapBnd'))"
CODE = "print(open('/proc/self/status').read().partition('CapEff:')[2].split()[0])"
EXECUTED = f"subprocess.check_output([sys.executable, '-c', {CODE!r}], text=True).strip()"


def test_it_has_no_right_of_root(told: Attempts, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    allowed = 2 if LANDLOCK else 0  # to read a model of another owner, where all else is closed
    for mask in " ".join(told(MASKS, EXECUTED)).replace("did", "").split():
        assert int(mask, 16) | allowed == allowed
    without_landlock(monkeypatch, tmp_path)
    assert {int(mask, 16) for mask in told(MASKS)[0].split()[1:]} == {0}


def test_it_inherits_nothing_but_its_own_pipes(told: Attempts) -> None:
    opened = "[n for n in os.listdir('/proc/self/fd') if os.path.lexists('/proc/self/fd/' + n)]"
    links = f"sorted(os.readlink('/proc/self/fd/' + n).split(':')[0] for n in {opened})"
    with Path(os.devnull).open() as leaked:
        os.set_inheritable(leaked.fileno(), True)
        (found,) = told(links)
    # Input, both outputs and the answer; beside them is only the model, which is being read.
    assert found.count("'pipe'") == 4
    assert found.count("', '") == 4
    assert "model.pkl" in found


@needs_landlock
def test_files_with_credentials_cannot_be_read(told: Attempts, tmp_path: Path) -> None:
    names = (".aws/credentials", ".config/gcloud/application_default_credentials.json", ".azure/token.json")
    attempts = [f"os.listdir({str(tmp_path)!r})"]
    for name in names:
        secret = tmp_path / "home" / name
        secret.parent.mkdir(parents=True)
        secret.write_text("canary")
        attempts += [f"open({str(secret)!r}).read()", f"os.listdir({str(secret.parent)!r})"]
    assert set(told(*attempts)) == {EACCES}


@needs_landlock
def test_nothing_can_be_written_but_in_its_own_directory(told: Attempts, tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    mine.write_text("kept")
    outcomes = told(
        f"open({str(tmp_path / 'new')!r}, 'w')",
        f"open({str(mine)!r}, 'a')",
        f"os.truncate({str(mine)!r}, 0)",
        f"os.unlink({str(mine)!r})",
        f"os.rename({str(mine)!r}, 'stolen')",
        f"open({str(tmp_path / 'model.pkl')!r}, 'r+b')",
        f"os.symlink('x', {str(tmp_path / 'link')!r})",
        "open('own', 'w').write('x')",
    )
    assert all(outcome.startswith("refused") for outcome in outcomes[:-1]), outcomes
    assert outcomes[-1] == "did 1"
    assert mine.read_text() == "kept"


@needs_landlock
def test_other_processes_of_the_user_are_closed_to_it(told: Attempts) -> None:
    with subprocess.Popen(["sleep", "100"], env=os.environ | {"SECRET": "canary"}) as other:
        try:
            assert told(f"open('/proc/{other.pid}/environ').read()") == [EACCES]
        finally:
            other.kill()


@needs_landlock
@pytest.mark.skipif(landlock.interface() < 6, reason="this kernel's Landlock knows no signals")
def test_it_cannot_end_the_converter(told: Attempts) -> None:
    assert (
        told(f"os.kill(converter, {signal.SIGCONT:d})", f"os.kill(engine, {signal.SIGCONT:d})") == [EPERM] * 2
    )


def test_a_process_is_open_again_afterwards() -> None:
    def dumpable() -> bool:
        import ctypes

        return bool(ctypes.CDLL(None).prctl(3, 0, 0, 0, 0))

    before = dumpable()
    with secluded():
        assert not dumpable()
        with secluded():
            assert not dumpable()
        assert not dumpable()
    assert dumpable() == before


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
@needs_landlock
def test_root_reads_a_model_of_somebody_else(tmp_path: Path) -> None:
    from sklearn.linear_model import LinearRegression

    model = tmp_path / "model.pkl"
    model.write_bytes(pickle.dumps(LinearRegression().fit([[0.0], [1.0]], [0.0, 1.0])))
    os.chown(model, 12345, 12345)
    model.chmod(0o600)
    (tmp_path / "out").mkdir()
    assert export(ExportJob("sklearn.pickle", model, tmp_path / "out", trusted=True)).format == "onnx"
