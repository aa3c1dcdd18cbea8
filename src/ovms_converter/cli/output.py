"""The one place where anything is printed: results to stdout, all else to stderr, without secrets."""

import io
import json
import os
import sys
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import TextIO

from ovms_converter.errors import ResourceError
from ovms_converter.redaction import Redactor

__all__ = ["Level", "Output", "Settings"]

_COLOURS = {"error": "1;31", "warning": "1;33", "hint": "1;36"}


class Level(IntEnum):
    """How much is shown on stderr: lines of this level and of those after it."""

    DEBUG = 10
    INFO = 20
    WARNING = 30
    ERROR = 40


@dataclass(frozen=True)
class Settings:
    """How to show things.

    `document`   stdout carries one JSON document instead of the URL
    `log_format` "text" or "json": lines on stderr for people or for programs
    `level`      the least important level that is shown
    """

    document: bool = False
    log_format: str = "text"
    level: Level = Level.INFO


class Output:
    """stdout and stderr of one command. Safe to use from any thread."""

    def __init__(
        self,
        environ: Mapping[str, str],
        settings: Settings | None = None,
        stdout: TextIO | None = None,
        stderr: TextIO | None = None,
    ) -> None:
        self.settings = settings or Settings()
        # A stream that the caller has closed is None.
        self.stdout = stdout or sys.stdout or io.StringIO()
        self.stderr = stderr or sys.stderr or io.StringIO()
        self.redactor = Redactor.from_environment(environ)
        capable = environ.get("TERM") != "dumb"
        self.terminal = self.stderr.isatty() and capable
        self.colour = self.terminal and not environ.get("NO_COLOR")
        self.documented = False
        self._lock = threading.Lock()

    def shows(self, level: Level) -> bool:
        """Whether lines of this level are shown."""
        return level >= self.settings.level

    def label(self, word: str) -> str:
        """A word such as `error`, in colour on a terminal; the word itself carries the meaning."""
        return f"\033[{_COLOURS[word]}m{word}\033[0m" if self.colour else word

    def scrub(self, text: str) -> str:
        """The text without any secret."""
        return self.redactor.scrub(text)

    def columns(self) -> int | None:
        """The width of the terminal behind stderr; None if there is none."""
        if not self.terminal:
            return None
        import shutil

        return shutil.get_terminal_size().columns

    def line(self, text: str) -> None:
        """One line on stderr. A reader that went away, or a full disk, does not disturb the work."""
        with self._lock:
            try:
                self.stderr.write(self.scrub(text) + "\n")
                self.stderr.flush()
            except OSError:
                self._abandon(self.stderr)

    def record(self, level: Level, text: str, fields: Mapping[str, object]) -> None:
        """One line of JSON on stderr."""
        document = self.scrub_fields({"level": level.name.lower(), "message": text} | dict(fields))
        self.line(json.dumps(document, ensure_ascii=False))

    def result(self, text: str) -> None:
        """The result on stdout, exactly as it is: a URL is a product, not a message.

        What the locale cannot write, such as a path that is no text, goes out as the bytes it came from.
        Raises `ResourceError` if it does not go out.
        """
        try:
            try:
                self.stdout.write(text + "\n")
            except UnicodeEncodeError:
                self.stdout.buffer.write(os.fsencode(text) + b"\n")
            self.stdout.flush()
        except BrokenPipeError:
            self._abandon(self.stdout)
        except OSError as error:
            self._abandon(self.stdout)
            raise ResourceError(
                f"stdout cannot be written: {(error.strerror or str(error)).lower()}",
                hint="make room where it goes, and run the command again",
            ) from None

    def document(self, document: Mapping[str, object]) -> None:
        """The one JSON document on stdout."""
        self.documented = True
        self.result(json.dumps(document, indent=2, ensure_ascii=False))

    def scrub_fields(self, fields: Mapping[str, object]) -> dict[str, object]:
        """JSON values without any secret."""
        return {key: _scrubbed(value, self.redactor) for key, value in fields.items()}

    @staticmethod
    def _abandon(stream: TextIO) -> None:
        """Let what is still buffered go nowhere, so that the interpreter does not complain at its end."""
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, stream.fileno())
        os.close(null)


def _scrubbed(value: object, redactor: Redactor) -> object:
    if isinstance(value, str):
        return redactor.scrub(value)
    if isinstance(value, Mapping):
        return {key: _scrubbed(item, redactor) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_scrubbed(item, redactor) for item in value]
    return value
