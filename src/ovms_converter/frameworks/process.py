"""The side of the parent: a framework's process is started, asked, and its end explained."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections import deque
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from ovms_converter.errors import ConverterError, CorruptModelError, ModelError, ResourceError
from ovms_converter.exhaustion import MORE_MEMORY, says_out_of_memory
from ovms_converter.frameworks import OPENERS, protocol
from ovms_converter.frameworks.base import Exported, ExportJob
from ovms_converter.messages import line
from ovms_converter.processes import child_environment, interpreter, secluded

if TYPE_CHECKING:
    from ovms_converter.frameworks.base import Array

__all__ = ["FrameworkProcess", "export", "run_reference"]

_KEPT_LINES = 200
"""How many lines of the end of what the process printed are kept, to explain a crash."""

_LONGEST_PRINTED = 4096
"""Bytes; a longer line is taken in pieces."""


def export(job: ExportJob) -> Exported:
    """Export a model with its own library, in a process that ends with this call.

    Raises:
        ConverterError: the process's own error; `CorruptModelError` if the library crashed, `ResourceError`
        if memory ran out, `ModelError` for whatever else the library did not do.
    """
    with FrameworkProcess(job, "export") as process:
        return process.exported()


def run_reference(job: ExportJob, inputs: "Mapping[str, Array]") -> "dict[str, Array]":
    """What the source computes in its own library, by the names of the exported outputs.

    For more than one set of inputs, `FrameworkProcess` loads the model only once. Raises as `export` does.
    """
    with FrameworkProcess(job, "run") as process:
        return process.run(inputs)


class FrameworkProcess:
    """The process of one framework with one model, as a context manager; leaving ends it.

    It has no network, no credentials, a directory of its own, and the bounds of this process. What it prints
    is printed here, line by line. It ends with this process and with the thread that entered. How long it may
    take is for the caller to watch.

    `task` is "export" or "run".
    """

    def __init__(self, job: ExportJob, task: str) -> None:
        self._job = job
        self._task = task
        self._framework = OPENERS[job.format]
        self._printed: deque[str] = deque(maxlen=_KEPT_LINES)
        self._cleanup = contextlib.ExitStack()
        self._directory = Path()
        self._replies = -1
        self._rest = b""
        self._runs = 0

    def __enter__(self) -> "FrameworkProcess":
        with contextlib.ExitStack() as undo:
            undo.enter_context(secluded())
            self._directory = Path(tempfile.mkdtemp(prefix="framework-"))
            undo.callback(shutil.rmtree, self._directory, ignore_errors=True)
            self._replies, reply = os.pipe()
            undo.callback(os.close, self._replies)
            try:
                self._child = self._start(reply)
            finally:
                os.close(reply)
            self._reader = threading.Thread(target=self._echo, name="framework", daemon=True)
            self._reader.start()
            undo.callback(self._end)
            self._send(protocol.encode_job(self._job, self._task))
            self._cleanup = undo.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._cleanup.close()

    def exported(self) -> Exported:
        """Wait for the export. Raises as `export` does."""
        found = protocol.exported_of(self._answer(), self._job.output)
        if found is None:
            raise self._unusable()
        return found

    def run(self, inputs: "Mapping[str, Array]") -> "dict[str, Array]":
        """Run the source on inputs by name. Raises as `run_reference` does; then others can be tried."""
        self._runs += 1
        given, wanted = (self._directory / f"{kind}-{self._runs}.npz" for kind in ("inputs", "outputs"))
        protocol.save_arrays(given, inputs)
        self._send(line({"inputs": str(given), "outputs": str(wanted)}))
        self._answer()
        try:
            return protocol.load_arrays(wanted)
        except (ValueError, OSError, KeyError, EOFError):
            raise self._unusable() from None
        finally:
            given.unlink(missing_ok=True)
            wanted.unlink(missing_ok=True)

    def _start(self, reply: int) -> "subprocess.Popen[bytes]":
        settings = self._framework.exporting if self._task == "export" else self._framework.running
        arguments = ["--reply", str(reply), "--parent", str(os.getpid())]
        return subprocess.Popen(  # noqa: S603 - this interpreter, and arguments that are numbers
            [*interpreter("ovms_converter.frameworks"), *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            pass_fds=(reply,),
            cwd=self._directory,
            env=child_environment(os.environ, self._directory) | dict(settings),
            bufsize=0,
        )

    def _echo(self) -> None:
        """Print what the process prints, and keep the end of it."""
        assert self._child.stdout is not None
        with contextlib.suppress(OSError, ValueError):
            while data := self._child.stdout.readline(_LONGEST_PRINTED):
                text = data.decode("utf-8", "backslashreplace").rstrip()
                self._printed.append(text)
                print(text, file=sys.stderr, flush=True)  # noqa: T201 - the client hears this process's output

    def _send(self, message: bytes) -> None:
        assert self._child.stdin is not None
        # If the process is dead already, its end tells more than the broken pipe.
        with contextlib.suppress(BrokenPipeError):
            self._child.stdin.write(message)

    def _answer(self) -> Mapping[str, object]:
        """The next message, if it is no failure, which is raised."""
        while b"\n" not in self._rest and len(self._rest) <= protocol.MAX_LINE:
            data = os.read(self._replies, 1 << 16)
            if not data:
                raise self._died()
            self._rest += data
        message, _, self._rest = self._rest.partition(b"\n")
        try:
            value = protocol.json_object(message)
        except ValueError:
            raise self._unusable() from None
        error = protocol.decode_failure(value)
        if error:
            raise error
        return value

    @property
    def _doing(self) -> str:
        return f"{'exporting' if self._task == 'export' else 'running'} `{self._job.model.name}`"

    def _unusable(self) -> ModelError:
        return ModelError(
            f"{self._framework.title} gave no usable answer while {self._doing}",
            hint="run again with `--log_level DEBUG` to see what it printed",
        )

    def _died(self) -> ConverterError:
        """Why the process ended without an answer."""
        status = self._child.wait()
        self._reader.join(timeout=10)
        if says_out_of_memory("\n".join(self._printed)) and status in (-signal.SIGABRT, 1):
            return ResourceError(f"memory ran out while {self._doing}", hint=MORE_MEMORY)
        if status == -signal.SIGKILL:
            return ResourceError(
                f"{self._framework.title} was killed while {self._doing}: memory ran out, most likely",
                hint=MORE_MEMORY,
            )
        if status < 0:
            return CorruptModelError(
                f"{self._framework.title} crashed (signal {-status}) while {self._doing}",
                hint="the model is damaged or breaks the library; check that the file is whole",
            )
        return ModelError(
            f"{self._framework.title} ended with status {status} while {self._doing}",
            hint="run again with `--log_level DEBUG` to see what it printed",
        )

    def _end(self) -> None:
        self._child.kill()
        self._child.wait()
        self._reader.join(timeout=1)
        for pipe in (self._child.stdin, self._child.stdout):
            if pipe is not None:
                pipe.close()
