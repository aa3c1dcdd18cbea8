"""One job from its line on the pipe to the answer: convert, save, read back, verify."""

import tempfile
import time
import traceback
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import openvino as ov

from ovms_converter.engine import death
from ovms_converter.engine.job import ConversionJob, Timing
from ovms_converter.engine.protocol import (
    Doing,
    Done,
    Failed,
    Message,
    StageEnded,
    decode_job,
    encode_message,
)
from ovms_converter.engine.worker import exporting, save
from ovms_converter.engine.worker.verification import Verified
from ovms_converter.errors import ConverterError, ModelError
from ovms_converter.events import Stage
from ovms_converter.frameworks import FRAMEWORKS
from ovms_converter.optimizer.conversion import convert

__all__ = ["serve"]


class _Pipe(Protocol):
    def write(self, data: bytes, /) -> object: ...


@dataclass
class _Teller:
    """Sends messages, and remembers what is being done for the text of an error."""

    pipe: _Pipe
    text: str = field(default="starting")

    def doing(self, stage: Stage, text: str) -> None:
        self.text = text
        self.send(Doing(stage, text))

    def send(self, message: Message) -> None:
        self.pipe.write(encode_message(message))


def serve(line: bytes, pipe: _Pipe) -> None:
    """Do the job of `line` and write messages to `pipe`, the last one `Done` or `Failed`."""
    tell = _Teller(pipe)
    try:
        tell.send(_work(decode_job(line), tell))
    except ConverterError as error:
        tell.send(_failed(_resources_behind(error, tell.text) or error))
    except Exception as error:  # noqa: BLE001 - whatever it is, the client must hear of it
        tell.send(_failed(death.of_exception(error, tell.text) or error, tell.text))


def _resources_behind(error: ConverterError, doing: str) -> ConverterError | None:
    """What stands for a model's fault is none if memory or disk ran out behind it."""
    behind = error.__context__
    while isinstance(error, ModelError) and behind is not None:
        resources = death.of_exception(behind, doing)
        if resources:
            return resources
        behind = behind.__context__
    return None


def _failed(error: Exception, doing: str = "") -> Failed:
    told = "".join(traceback.format_exception(error))
    if isinstance(error, ConverterError):
        parameter = getattr(error, "parameter", None)
        return Failed(type(error).__name__, error.message, error.hint, parameter, told)
    message = f"the converter process failed while {doing}: {type(error).__name__}: {error}"
    return Failed("InternalError", message, None, None, told)


def _work(job: ConversionJob, tell: _Teller) -> Done:
    started = time.monotonic()
    # In this process's own temporary directory, which the client removes.
    scratch = Path(tempfile.mkdtemp(prefix="convert-"))
    source = exporting.Source(job.model, job.format)
    if job.format in FRAMEWORKS:
        tell.doing(Stage.CONVERT, f"exporting `{job.model.name}` with {FRAMEWORKS[job.format].title}")
        source = exporting.exported(job, scratch)
    repairs: tuple[str, ...] = ()
    if job.ready:
        written, notes = save.read_back(job), [*source.notes]
    else:
        written, notes, repairs = _converted(job, source, scratch, tell)
    convert_seconds = time.monotonic() - started
    if not job.ready:
        tell.send(StageEnded(Stage.CONVERT, convert_seconds, ""))

    started = time.monotonic()
    verified = Verified("not verified: switched off")
    if job.verify != "off":
        # Here and not above: what is imported before the conversion delays it, and adds to its peak.
        from ovms_converter.engine.worker import verify

        tell.doing(Stage.VERIFY, f"running `{job.stem}.xml`")
        verified = verify.verify(written, job, source)
        notes += verified.notes
        tell.send(StageEnded(Stage.VERIFY, time.monotonic() - started, verified.text))
    verify_seconds = time.monotonic() - started
    timings: tuple[Timing, ...] = ()
    if job.benchmark:
        from ovms_converter.engine.worker import speed

        tell.doing(Stage.VERIFY, f"timing `{job.stem}.xml`")
        timings = speed.measure(written, source.model, source.format)
    return Done(
        inputs=written.inputs,
        outputs=written.outputs,
        notes=tuple(notes),
        verified=verified.text,
        convert_seconds=convert_seconds,
        verify_seconds=verify_seconds,
        comparison=verified.comparison,
        repairs=repairs,
        timings=timings,
    )


def _converted(
    job: ConversionJob, source: exporting.Source, scratch: Path, tell: _Teller
) -> tuple[save.Written, list[str], tuple[str, ...]]:
    """The files that the conversion wrote, notes for the user, and the repairs that were needed."""
    tell.doing(Stage.CONVERT, f"reading `{job.model.name}`")
    converted = convert(source.model, source.format, job.arguments, scratch)
    model = _compressed(converted.model, job, tell)
    tell.doing(Stage.CONVERT, f"writing `{job.stem}.xml`")
    written = save.save(model, job, compress_to_fp16=converted.compress_to_fp16)
    return written, [*source.notes, *converted.notes], converted.repairs


def _compressed(model: ov.Model, job: ConversionJob, tell: _Teller) -> ov.Model:
    if job.weights is None:
        return model
    from ovms_converter.engine.worker import weights

    tell.doing(Stage.CONVERT, f"compressing the weights to {job.weights}")
    if job.calibration_data:
        return weights.quantize(model, job.calibration_data)
    return weights.compress(model, job.weights)
