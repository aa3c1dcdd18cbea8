"""The process of a framework: no network, no credentials, and an end that is explained, whatever happens.

A package that calls itself `keras` and comes first in the search path plays the library that goes wrong.
"""

import json
import os
import platform
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from engine_rig import children, names_in
from ovms_converter.engine.client import Engine
from ovms_converter.engine.job import ConversionJob
from ovms_converter.errors import (
    ConverterError,
    CorruptModelError,
    ModelError,
    ResourceError,
    UnsupportedModelError,
)
from ovms_converter.events import Event, Listener, Note, ignore
from ovms_converter.frameworks import isolation, process, protocol
from ovms_converter.frameworks.base import ExportJob
from ovms_converter.optimizer.arguments import OptimizerArguments

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="what is proved here is Linux's own")


@pytest.fixture
def library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file of a package that a child imports instead of Keras; what it says is executed there."""
    (tmp_path / "lib" / "keras").mkdir(parents=True)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "lib"))
    return tmp_path / "lib" / "keras" / "__init__.py"


@pytest.fixture
def job(tmp_path: Path) -> ExportJob:
    (tmp_path / "m.keras").write_bytes(b"model")
    (tmp_path / "exported").mkdir()
    return ExportJob("keras.keras", tmp_path / "m.keras", tmp_path / "exported")


def failure(job: ExportJob) -> ConverterError:
    before = set(children())
    with pytest.raises(ConverterError) as caught:
        process.export(job)
    assert not set(children()) - before
    return caught.value


def engine_failure(
    job: ExportJob, tmp_path: Path, *, time_limit: float = 60, listener: Listener = ignore
) -> ConverterError:
    """The same through the engine, as a user meets it."""
    asked = ConversionJob(job.format, job.model, OptimizerArguments(), "m", tmp_path / "out", "load")
    before = set(children())
    with (
        pytest.raises(ConverterError) as caught,
        Engine(tmp_path / "s", listener=listener, time_limit=time_limit) as engine,
    ):
        engine.convert(asked)
    assert not set(children()) - before
    assert names_in(tmp_path / "s") == []
    return caught.value


def test_a_model_of_links_can_be_read(library: Path, job: ExportJob, tmp_path: Path) -> None:
    """As in a cache of downloads; other files beside those that are linked stay closed where that can be."""
    blobs, model = tmp_path / "blobs", tmp_path / "model"
    blobs.mkdir()
    model.mkdir()
    (blobs / "1").write_text("weights")
    (model / "weights").symlink_to(blobs / "1")
    library.write_text(f"raise ValueError(open({str(model / 'weights')!r}).read())")
    assert failure(replace(job, model=model)).message.endswith("ValueError: weights")


@pytest.mark.parametrize("family", ["AF_INET", "AF_INET6", "AF_UNIX", "AF_NETLINK"])
def test_no_socket_can_be_opened(library: Path, job: ExportJob, family: str) -> None:
    library.write_text(f"import socket\nsocket.socket(socket.{family}, socket.SOCK_DGRAM)")
    error = failure(job)
    assert type(error) is ModelError
    assert error.message == "Keras cannot open `m.keras`: PermissionError: [Errno 13] Permission denied"


def test_what_the_library_starts_has_no_network_either(library: Path, job: ExportJob) -> None:
    attempt = "import socket; socket.create_server(('127.0.0.1', 0))"
    library.write_text(
        f"import subprocess, sys\nsubprocess.run([sys.executable, '-c', {attempt!r}], check=True)"
    )
    assert "CalledProcessError" in failure(job).message


def test_the_library_does_not_get_at_its_parents_memory(library: Path, job: ExportJob) -> None:
    library.write_text(
        "import ctypes, os\n"
        "libc = ctypes.CDLL(None, use_errno=True)\n"
        "assert libc.ptrace(16, os.getppid(), 0, 0) == -1\n"
        "raise OSError(ctypes.get_errno(), 'ptrace')\n"
    )
    assert failure(job).message.endswith("PermissionError: [Errno 13] ptrace")


@pytest.mark.parametrize("name", ["AWS_SECRET_ACCESS_KEY", "MLFLOW_TRACKING_TOKEN", "FUSEML_INPUT_MODEL"])
def test_no_credential_is_in_its_environment(
    library: Path, job: ExportJob, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv(name, "canary")
    library.write_text("import os\nraise ValueError(sorted(os.environ.items()))")
    error = failure(job)
    assert "canary" not in error.message
    assert name not in error.message


def test_the_row_of_the_framework_sets_its_environment(
    library: Path, job: ExportJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KERAS_BACKEND", "jax")
    library.write_text("import os\nraise ValueError(os.environ['KERAS_BACKEND'])")
    assert failure(job).message.endswith("ValueError: openvino")


def test_a_hang_ends_at_the_time_limit(library: Path, job: ExportJob, tmp_path: Path) -> None:
    library.write_text("import time\ntime.sleep(3600)")
    error = engine_failure(job, tmp_path, time_limit=5)
    assert error.message.startswith("the converter process did not finish within 5 s while exporting")
    assert (error.exit_code, bool(error.hint)) == (5, True)


def test_what_the_library_has_started_ends_with_the_engine(
    library: Path, job: ExportJob, tmp_path: Path
) -> None:
    library.write_text(
        "import subprocess, time\n"
        "one = subprocess.Popen(['sleep', '3600'])\n"
        "print('started', one.pid, flush=True)\n"
        "time.sleep(3600)\n"
    )
    heard: list[Event] = []
    engine_failure(job, tmp_path, time_limit=10, listener=heard.append)
    notes = [event.text.split() for event in heard if isinstance(event, Note)]
    (pid,) = [int(words[1]) for words in notes if words[0] == "started"]
    assert gone([pid])


@pytest.mark.parametrize("number", [signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS])
def test_a_crash_is_a_damaged_model(library: Path, job: ExportJob, number: signal.Signals) -> None:
    library.write_text(f"import os\nos.kill(os.getpid(), {number:d})")
    error = failure(job)
    assert type(error) is CorruptModelError
    assert error.message == f"Keras crashed (signal {number:d}) while exporting `m.keras`"
    assert (error.exit_code, bool(error.hint)) == (5, True)


def test_a_crash_is_told_through_the_engine(library: Path, job: ExportJob, tmp_path: Path) -> None:
    library.write_text("import os\nos.abort()")
    error = engine_failure(job, tmp_path)
    assert error.message == "Keras crashed (signal 6) while exporting `m.keras`"
    assert error.exit_code == 5


@pytest.mark.parametrize(
    "way",
    [
        "import os, signal\nos.kill(os.getpid(), signal.SIGKILL)",
        "raise MemoryError",
        "import os\nos.write(2, b'terminate: std::bad_alloc')\nos.abort()",
        "raise RuntimeError('[enforce fail] DefaultCPUAllocator: cannot allocate memory')",
        "import resource\nresource.setrlimit(resource.RLIMIT_DATA, (1 << 28, 1 << 28))\nbytearray(1 << 30)",
    ],
)
def test_an_end_for_want_of_memory_is_told_as_such(library: Path, job: ExportJob, way: str) -> None:
    library.write_text(way)
    error = failure(job)
    assert type(error) is ResourceError
    assert (error.exit_code, bool(error.hint)) == (7, True)
    assert "exporting `m.keras`" in error.message


def test_the_memory_limit_counts_for_it(library: Path, job: ExportJob, tmp_path: Path) -> None:
    library.write_text("import resource\nraise ValueError(resource.getrlimit(resource.RLIMIT_DATA)[0])")
    asked = ConversionJob(job.format, job.model, OptimizerArguments(), "m", tmp_path / "out", "load")
    with (
        Engine(tmp_path / "s", listener=lambda event: None, memory_limit=3 << 30) as engine,
        pytest.raises(ModelError, match=str(3 << 30)),
    ):
        engine.convert(asked)


def test_what_it_prints_is_a_note_for_the_log(library: Path, job: ExportJob, tmp_path: Path) -> None:
    library.write_text("print('looking at the model')\nraise KeyError('x')")
    asked = ConversionJob(job.format, job.model, OptimizerArguments(), "m", tmp_path / "out", "load")
    heard: list[Event] = []
    with Engine(tmp_path / "s", listener=heard.append) as engine, pytest.raises(ModelError, match="KeyError"):
        engine.convert(asked)
    assert Note("debug", "looking at the model") in heard


@pytest.mark.parametrize(
    ("way", "said"),
    [
        ("import sys\nsys.exit(3)", "SystemExit: 3"),
        ("import os\nos._exit(3)", "Keras ended with status 3 while exporting `m.keras`"),
        ("raise ValueError('first\\nsecond')", "Keras cannot open `m.keras`: ValueError: first"),
        ("raise RecursionError", "Keras cannot open `m.keras`: RecursionError"),
    ],
)
def test_any_other_end_names_library_and_model(library: Path, job: ExportJob, way: str, said: str) -> None:
    library.write_text(way)
    error = failure(job)
    assert type(error) is ModelError
    assert error.message.endswith(said)
    assert error.hint


ANSWERS = [
    "nonsense",
    "[1]",
    "{}",
    '{"exported": "../m.keras", "format": "onnx", "notes": []}',
    '{"exported": "/etc/passwd", "format": "onnx", "notes": []}',
    '{"exported": "missing", "format": "onnx", "notes": []}',
    '{"exported": "written", "format": "pickle", "notes": []}',
    '{"exported": "written", "format": "onnx", "notes": "text"}',
    '{"failed": "Exception", "message": "none of ours"}',
    "[" * 100_000,
]


@pytest.mark.parametrize("answer", ANSWERS, ids=range(len(ANSWERS)))
def test_an_answer_is_not_believed(library: Path, job: ExportJob, answer: str) -> None:
    """Code out of a trusted model can write to the pipe what it likes."""
    (job.output / "written").write_bytes(b"x")
    library.write_text(
        "import os, sys\n"
        "reply = int(sys.argv[sys.argv.index('--reply') + 1])\n"
        f"os.write(reply, {answer.encode()!r} + b'\\n')\n"
        "os._exit(0)\n"
    )
    error = failure(job)
    assert type(error) is ModelError
    assert error.message == "Keras gave no usable answer while exporting `m.keras`"


def test_what_may_run_code_is_refused_where_the_network_stays_open(
    job: ExportJob, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """As on systems that offer neither of the two ways to close it."""
    program = (
        "import sys\n"
        "from ovms_converter.frameworks import __main__ as child, protocol\n"
        "from pathlib import Path\n"
        "child._serve(sys.stdout.buffer, None)\n"
    )
    for trusted in (True, False):
        asked = ExportJob(job.format, job.model, job.output, trusted=trusted)
        done = subprocess.run(
            [sys.executable, "-c", program],
            input=protocol.encode_job(asked, "export"),
            capture_output=True,
            check=True,
            env=os.environ | {"KERAS_BACKEND": "openvino"},
        )
        error = protocol.decode_failure(protocol.json_object(done.stdout.splitlines()[-1]))
        assert error is not None
        assert ("the network cannot be closed" in error.message) == trusted
        assert isinstance(error, UnsupportedModelError) == trusted


def test_a_network_namespace_closes_it_as_well() -> None:
    program = (
        "import socket\n"
        "from ovms_converter.frameworks import isolation\n"
        "print(isolation._leave_network())\n"
        "with socket.socket() as client:\n"
        "    client.settimeout(5)\n"
        "    print(client.connect_ex(('127.0.0.1', {port})))\n"
    )
    import socket

    with socket.create_server(("127.0.0.1", 0)) as server:
        text = program.format(port=server.getsockname()[1])
        done = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, check=True)
    closed, result = done.stdout.split()
    if closed == "False":
        pytest.skip("this system offers no user namespaces")
    assert result != "0"


def test_another_architecture_is_not_filtered_by_the_wrong_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "machine", lambda: "riscv64")
    assert not isolation._filter_calls()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_killing_the_converter_leaves_no_process(
    library: Path, job: ExportJob, tmp_path: Path, number: signal.Signals
) -> None:
    library.write_text(
        "import os, time\nwith open('pids', 'w') as file:\n"
        "    file.write(f'{os.getppid()} {os.getpid()}')\n"
        "time.sleep(3600)"
    )
    program = (
        "import sys\nfrom ovms_converter.cli import main\n"
        f"sys.argv = ['ovms-converter', 'convert', {str(job.model)!r}, {str(tmp_path / 'out')!r}]\nmain()"
    )
    job.model.write_bytes(archive())
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    pids: list[int] = []
    with subprocess.Popen(
        [sys.executable, "-c", program],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=os.environ | {"TMPDIR": str(temporary)},
    ) as one:
        deadline = time.monotonic() + 60
        while len(pids) < 2 and time.monotonic() < deadline:
            time.sleep(0.05)
            pids = [int(text) for mark in temporary.rglob("pids") for text in mark.read_text().split()]
        one.send_signal(number)
        one.communicate(timeout=60)
    assert len(pids) == 2
    assert gone(pids)
    assert not (tmp_path / "out").exists()


def gone(pids: list[int]) -> bool:
    """Whether processes are no more, soon; one that waits to be reaped by init counts as gone."""
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        if not any(runs(pid) for pid in pids):
            return True
        time.sleep(0.05)
    return False


def runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def archive() -> bytes:
    """A file that is recognised as a Keras archive."""
    import io
    import zipfile

    with io.BytesIO() as file:
        with zipfile.ZipFile(file, "w") as written:
            for name in ("metadata.json", "config.json", "model.weights.h5"):
                written.writestr(name, json.dumps({}))
        return file.getvalue()
