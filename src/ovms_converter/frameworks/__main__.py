"""The framework's process: no network, no credentials, one model. `process.py` is the one way to start it."""

import argparse
import contextlib
import importlib
import os
import sys
import traceback
from pathlib import Path
from typing import BinaryIO, cast

from ovms_converter.errors import ConverterError, ModelError, UnsupportedModelError
from ovms_converter.exhaustion import of_exception
from ovms_converter.frameworks import OPENERS, protocol
from ovms_converter.frameworks.base import ExportJob, Module
from ovms_converter.frameworks.confinement import confine
from ovms_converter.frameworks.isolation import close_network
from ovms_converter.messages import line
from ovms_converter.processes import be_bounded, die_with

_LONGEST_REASON = 300


def main() -> None:
    """Run the process. It never returns: `os._exit` spares native libraries' destructors, which may crash."""
    parser = argparse.ArgumentParser(prog="ovms_converter.frameworks")
    parser.add_argument("--reply", type=int, required=True, help="the file descriptor for answers")
    parser.add_argument("--parent", type=int, required=True, help="the process that must be alive")
    options = parser.parse_args()
    closed = close_network()
    die_with(options.parent)  # after a change of the user namespace, which would undo it
    be_bounded(None)
    # openvino asks this package for consent on import and forks and connects; without it, it does neither.
    sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]
    with os.fdopen(options.reply, "wb", buffering=0) as reply, contextlib.suppress(BrokenPipeError):
        _serve(cast("BinaryIO", reply), closed)
    sys.stdout.flush()
    os._exit(0)


def _serve(reply: BinaryIO, closed: str | None) -> None:
    job, task = protocol.decode_job(sys.stdin.buffer.readline())
    framework = OPENERS[job.format]
    if not confine(job, Path.cwd()):
        print("files of the same user stay open to this process", flush=True)  # noqa: T201 - a note for the log
    try:
        if closed is None:
            _check_open_network(job)
        module = cast("Module", importlib.import_module(f"ovms_converter.frameworks.{framework.module}"))
        if task == "export":
            found = module.export(job)
            path = found.path.relative_to(job.output)
            reply.write(line({"exported": str(path), "format": found.format, "notes": list(found.notes)}))
    except (Exception, SystemExit) as error:  # noqa: BLE001 - whatever a library or an author's code raises
        reply.write(protocol.encode_failure(_told(error, job)))
        return
    while task == "run" and (request := sys.stdin.buffer.readline()):
        try:
            _run(module, job, request)
            reply.write(line({"ran": True}))
        except (Exception, SystemExit) as error:  # noqa: BLE001, PERF203 - as above
            reply.write(protocol.encode_failure(_told(error, job)))


def _check_open_network(job: ExportJob) -> None:
    print("the network cannot be closed to this process", flush=True)  # noqa: T201 - a note for the log
    if job.trusted:
        raise UnsupportedModelError(
            f"`{job.model.name}` may run its author's code, and the network cannot be closed to that here",
            hint="convert it on Linux (x86-64 or AArch64), or without `--trust-source`",
        )


def _run(module: Module, job: ExportJob, request: bytes) -> None:
    places = protocol.json_object(request)
    inputs = protocol.load_arrays(Path(places["inputs"]))
    protocol.save_arrays(Path(places["outputs"]), module.run(job, inputs))


def _told(error: BaseException, job: ExportJob) -> ConverterError:
    """The error as the user gets it; the traceback goes to the log."""
    traceback.print_exception(error)
    if isinstance(error, ConverterError):
        return error
    resources = of_exception(error, f"exporting `{job.model.name}`")
    if resources:
        return resources
    text = next((line.strip() for line in str(error).splitlines() if line.strip()), "")
    reason = f"{type(error).__name__}: {text}" if text else type(error).__name__
    if len(reason) > _LONGEST_REASON:
        reason = f"{reason[:_LONGEST_REASON]}…"
    return ModelError(
        f"{OPENERS[job.format].title} cannot open `{job.model.name}`: {reason}",
        hint="run again with `--log_level DEBUG` to see where it failed",
    )


if __name__ == "__main__":
    main()
