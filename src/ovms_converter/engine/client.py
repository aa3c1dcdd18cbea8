"""The client: it starts the child process, hands it one job, makes an answer of whatever happens to it."""

import contextlib
import os
import selectors
import shutil
import signal
import subprocess
import tempfile
import time
from collections import deque
from pathlib import Path
from types import TracebackType

from ovms_converter.engine import death, process
from ovms_converter.engine.container import container
from ovms_converter.engine.job import ConversionJob, ConvertedModel
from ovms_converter.engine.protocol import (
    MAX_LINE,
    Doing,
    Done,
    Failed,
    StageEnded,
    decode_message,
    encode_job,
    raised,
)
from ovms_converter.errors import ConverterError, InternalError
from ovms_converter.events import Listener, Note, Stage, StageFinished, StageStarted
from ovms_converter.processes import secluded

__all__ = ["DEFAULT_TIME_LIMIT", "Engine"]

DEFAULT_TIME_LIMIT = 3600.0
"""Seconds for one job: a model of 100 GB takes less, so what takes longer will not end."""

_KEPT_OUTPUT = 64 << 10
"""How much of the end of the child's output is kept, in characters, to explain a crash."""

_LONGEST_OUTPUT_LINE = 4096

_WATCH = 0.01
"""Seconds between two looks at the memory of a container that has a limit."""


class Engine:
    """The child process that owns openvino, as a context manager. It takes one job.

    Entering starts the child and returns at once: openvino loads while the caller does something else, for
    instance downloads. Leaving ends the child, whatever it does, and removes its directory. `convert` waits
    in a way that lets a signal handler's exception through.

    In a container with a limit of memory, the child is ended before the kernel would kill one or all of the
    container's processes.

    On Linux the child also ends when the thread that entered ends; elsewhere when this process does.

    Args:
        scratch: a directory, made if it is missing; the child gets a new one of its own in it.
        listener: is told of the stages CONVERT and VERIFY, and of all that the child prints (as debug notes).
        time_limit: seconds of wall time for one job; None for no limit.
        memory_limit: bytes of private memory that the child may take (RLIMIT_DATA: weights that are mapped
            from files do not count); None for no limit.
        log_level: "DEBUG" and so on, for the child's own logging.
    """

    def __init__(
        self,
        scratch: Path,
        *,
        listener: Listener,
        time_limit: float | None = DEFAULT_TIME_LIMIT,
        memory_limit: int | None = None,
        log_level: str = "ERROR",
    ) -> None:
        self._scratch = scratch
        self._listener = listener
        self._time_limit = time_limit
        self._memory_limit = memory_limit
        self._log_level = log_level
        self._cleanup = contextlib.ExitStack()
        self._child: subprocess.Popen[bytes] | None = None
        self._replies = -1
        self._output: deque[str] = deque()
        self._output_size = 0
        self._container = container()
        self._stage: Stage | None = None
        self._doing = "starting"

    def __enter__(self) -> "Engine":
        with contextlib.ExitStack() as undo:
            self._scratch.mkdir(parents=True, exist_ok=True)
            directory = Path(tempfile.mkdtemp(prefix="engine-", dir=self._scratch))
            undo.callback(shutil.rmtree, directory, ignore_errors=True)
            self._replies, reply = os.pipe()
            undo.callback(os.close, self._replies)
            try:
                child = process.start(
                    directory, reply, log_level=self._log_level, memory_limit=self._memory_limit
                )
            except OSError as error:
                raise InternalError(f"the converter process cannot be started: {error.strerror}") from None
            finally:
                os.close(reply)
            undo.callback(_end, child)
            self._child = child
            self._cleanup = undo.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._child = None
        self._cleanup.close()

    def convert(self, job: ConversionJob) -> ConvertedModel:
        """Convert one model and wait for it.

        Raises:
            ConverterError: the child's own error; ModelError or VerificationError if the child crashed or
                took too long, ResourceError if memory or disk ran out, InternalError for a bug (the child's
                traceback is its cause).
        """
        child = self._child
        if child is None or child.stdin is None or child.stdout is None:
            raise InternalError("the converter process is not running")
        deadline = None if self._time_limit is None else time.monotonic() + self._time_limit
        # If the child is dead already, its last words below tell more than the broken pipe.
        with secluded():
            with contextlib.suppress(BrokenPipeError):
                _write(child.stdin.fileno(), encode_job(job))
            done = self._wait(child, child.stdout.fileno(), deadline)
        xml = job.output / f"{job.stem}.xml"
        weights = job.output / f"{job.stem}.bin"
        for path in (xml, weights):
            if not path.is_file() or path.is_symlink() or not path.stat().st_size:
                raise InternalError(f"the converter process did not write `{path.name}`")
        return ConvertedModel(xml=xml, bin=weights, **vars(done))

    def _wait(self, child: "subprocess.Popen[bytes]", printed: int, deadline: float | None) -> Done:
        """Read both pipes until the child has answered or is dead."""
        replies = _Lines(MAX_LINE)
        lines = _Lines(_LONGEST_OUTPUT_LINE)
        answer: Done | Failed | None = None
        with selectors.DefaultSelector() as selector:
            selector.register(self._replies, selectors.EVENT_READ)
            selector.register(printed, selectors.EVENT_READ)
            while answer is None and selector.get_map():
                left = None if deadline is None else deadline - time.monotonic()
                if left is not None and left <= 0:
                    raise death.of_limit(self._time_limit or 0, self._doing)
                for key, _ in selector.select(self._patience(left)):
                    data = os.read(key.fd, 1 << 16)
                    if not data:
                        selector.unregister(key.fd)
                    if key.fd == printed:
                        self._heard(lines.feed(data))
                        continue
                    for line in replies.feed(data):
                        answer = self._understand(line) or answer
                if answer is None:
                    self._check_container()
        if isinstance(answer, Done):
            return answer
        if isinstance(answer, Failed):
            error = raised(answer)
            self._listener(Note("debug", answer.traceback))
            if isinstance(error, InternalError):
                raise error from _ChildTraceback(answer.traceback)
            raise error from None
        raise self._died(child)

    def _patience(self, left: float | None) -> float | None:
        """Seconds to wait for the child before the next look at the container's memory."""
        if self._container is None:
            return left
        return _WATCH if left is None else min(left, _WATCH)

    def _check_container(self) -> None:
        if self._container and self._container.is_full(in_use := self._container.in_use()):
            raise death.of_container(self._container.limit, in_use, self._doing)

    def _understand(self, line: bytes) -> Done | Failed | None:
        try:
            message = decode_message(line)
        except ValueError as error:
            raise InternalError(str(error)) from None
        if isinstance(message, Doing):
            if message.stage is not self._stage:
                self._listener(StageStarted(message.stage))
            self._stage, self._doing = message.stage, message.text
        elif isinstance(message, StageEnded):
            self._listener(StageFinished(message.stage, message.seconds, detail=message.detail))
        elif isinstance(message, Note):
            self._listener(message)
        else:
            return message
        return None

    def _heard(self, lines: list[bytes]) -> None:
        for line in lines:
            text = line.decode("utf-8", "backslashreplace").rstrip()
            if not text:
                continue
            self._output.append(text)
            self._output_size += len(text)
            while self._output_size > _KEPT_OUTPUT:
                self._output_size -= len(self._output.popleft())
            self._listener(Note("debug", text))

    def _died(self, child: "subprocess.Popen[bytes]") -> ConverterError:
        try:
            returncode = child.wait(timeout=10)
        except subprocess.TimeoutExpired:
            return InternalError("the converter process closed its pipes and did not end")
        output = "\n".join(self._output)
        limit = self._container.limit if self._container else None
        error = death.describe(returncode, self._stage, self._doing, output, limit)
        if isinstance(error, InternalError) and output:
            error.__cause__ = _ChildTraceback(output)
        return error


class _ChildTraceback(Exception):  # noqa: N818
    """Carries the child's traceback or last output as the cause of an `InternalError`, for the log."""

    def __str__(self) -> str:
        return "\n" + "".join(str(argument) for argument in self.args)


class _Lines:
    """Cuts a stream into lines; one that is longer than `limit` bytes is handed out in pieces."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._rest = bytearray()

    def feed(self, data: bytes) -> list[bytes]:
        """The lines that are complete with `data`; empty data is the end and completes the last one."""
        self._rest += data
        *lines, rest = bytes(self._rest).split(b"\n")
        if not data or len(rest) > self._limit:
            lines.append(rest)
            rest = b""
        self._rest = bytearray(rest)
        return [line for line in lines if line]


def _write(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def _end(child: "subprocess.Popen[bytes]") -> None:
    """Kill the child and wait until it is gone, so that nothing writes to the scratch directory any more.

    With it goes its process group: a framework's library may have started further processes.
    """
    if child.returncode is None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(child.pid, signal.SIGKILL)
    child.kill()
    for pipe in (child.stdin, child.stdout):
        if pipe is not None:
            pipe.close()
    child.wait()
