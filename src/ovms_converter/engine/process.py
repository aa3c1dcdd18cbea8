"""How the child process is started: its command, its environment, its own directory."""

import os
import subprocess
from pathlib import Path

from ovms_converter.processes import child_environment, interpreter

__all__ = ["command", "start"]


def command(reply: int, log_level: str, memory_limit: int | None) -> list[str]:
    """The command line of the child. `reply` is the file descriptor that it answers on."""
    arguments = ["--reply", str(reply), "--parent", str(os.getpid()), "--log-level", log_level]
    if memory_limit is not None:
        arguments += ["--memory-limit", str(memory_limit)]
    return [*interpreter("ovms_converter.engine.worker"), *arguments]


def start(
    directory: Path, reply: int, *, log_level: str, memory_limit: int | None
) -> "subprocess.Popen[bytes]":
    """Start the child in `directory`, which is empty and its own, without waiting for it.

    It is in a session of its own: a Ctrl-C at the terminal reaches this process alone, which then ends the
    child.
    """
    return subprocess.Popen(  # noqa: S603 - this interpreter, and arguments that are numbers and our own words
        command(reply, log_level, memory_limit),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        pass_fds=(reply,),
        cwd=directory,
        env=child_environment(os.environ, directory),
        start_new_session=True,
        bufsize=0,
    )
