"""The stages in their order: fetch → recognise → convert → verify → publish. Read this module first.

A model comes in as a URL (`storage`), becomes a recognised `SourceModel` (`formats`), goes through the child
process that owns openvino (`engine`), and leaves as a numbered version (`repository`). Nothing is
written at the destination before everything else has succeeded.
"""

import errno
import tempfile
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from ovms_converter.acquisition import Acquisition
from ovms_converter.engine.client import Engine
from ovms_converter.engine.job import ConversionJob, ConvertedModel, Port, Timing
from ovms_converter.errors import ResourceError, VerificationError
from ovms_converter.events import Listener
from ovms_converter.formats.base import SourceModel
from ovms_converter.jobs import conversion_job
from ovms_converter.pipeline.outcome import Outcome, outcome_of_version
from ovms_converter.pipeline.publishing import Made, publish
from ovms_converter.pipeline.result import Result, files_of_conversion, files_of_source
from ovms_converter.pipeline.same import as_failure_of, is_verified_enough, known_by_bytes, known_by_store
from ovms_converter.pipeline.telling import Telling
from ovms_converter.pipeline.wish import Wish
from ovms_converter.record import hashed, source_operations
from ovms_converter.repository import Finished, ModelRepository
from ovms_converter.request import ConversionRequest
from ovms_converter.storage import open_destination
from ovms_converter.storage.base import FetchedTree

__all__ = ["Outcome", "Port", "Timing", "run"]


def run(request: ConversionRequest, *, environ: Mapping[str, str], listener: Listener) -> Outcome:
    """Do what a request asks for. Raises any `ConverterError`; then nothing is left behind, here or there."""
    try:
        return _run(request, environ, Telling(request, listener))
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise ResourceError(
                f"no space left on the disk that holds `{error.filename or tempfile.gettempdir()}`",
                hint="set `TMPDIR` to a directory on a larger disk; source and result lie there for a while",
            ) from None
        raise


def _run(request: ConversionRequest, environ: Mapping[str, str], tell: Telling) -> Outcome:
    wish = Wish.of(request, environ)
    acquisition = Acquisition(request, environ)
    destination = open_destination(request.output, environ, request.input)
    repository = ModelRepository(destination)

    if known := known_by_store(wish, repository, acquisition):
        number = known.version.number
        tell.info(f"nothing was read: by their ETags the source's files are those of version {number}")
        return outcome_of_version(*known, request.output.reported, tell.seconds)

    with ExitStack() as stack:
        work = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="ovms-converter-")))
        tell.begins(work)
        # It loads openvino while the source is listed and fetched.
        engine = stack.enter_context(_engine(request, work, tell)) if _is_converted(request) else None

        # fetch, recognise
        acquisition.look()
        destination.check_writable()
        repository.check_free(request.model_version)
        wish = wish.with_files(environ, work)
        model, tree = acquisition.fetch(work / "source", tell.stage)
        tell.fetched(tree)
        wish = wish.for_model(model)

        # Digests are taken beside the conversion and the verification, on a core that they leave idle.
        pool = stack.enter_context(ThreadPoolExecutor(max_workers=3))
        source_files = pool.submit(hashed, tree)
        operations = pool.submit(source_operations, model, tree)
        known = known_by_bytes(wish, repository, model, source_files.result)
        if known and is_verified_enough(known, wish):
            return outcome_of_version(*known, request.output.reported, tell.seconds)

        # convert, verify
        result = Result(request, destination, work, stack)
        converted: ConvertedModel | None = None
        if engine:
            job = _job(wish, acquisition, model, tree, result, work)
            converted = _convert(engine, job, result, pool, tell, known)
            files = files_of_conversion(wish.request, converted)
        else:
            destination.copy_from(acquisition.source)
            files = files_of_source(model, tree)

        made = Made(model, source_files.result(), operations.result(), acquisition.state(), converted, files)
        return publish(made, wish, result, repository, tell)


def _is_converted(request: ConversionRequest) -> bool:
    """False if the source is to be published as it is."""
    return request.output_format == "openvino"


def _engine(request: ConversionRequest, work: Path, tell: Telling) -> Engine:
    return Engine(
        work / "engine",
        listener=tell,
        time_limit=request.timeout,
        memory_limit=request.memory_limit,
        log_level=request.arguments.log_level or "ERROR",
    )


def _job(
    wish: Wish, acquisition: Acquisition, model: SourceModel, tree: FetchedTree, result: Result, work: Path
) -> ConversionJob:
    """What the child process is asked for, with the data to verify and to calibrate with."""
    job = replace(
        conversion_job(wish.request, model, tree, result.directory),
        verify_data=wish.data,
        calibration_data=wish.calibration,
    )
    if job.example is None and wish.request.verify not in ("off", "load"):
        return replace(job, example=acquisition.example(model, tree, work / "example"))
    return job


def _convert(
    engine: Engine, job: ConversionJob, result: Result, pool: ThreadPoolExecutor, tell: Telling,
    known: Finished | None,
) -> ConvertedModel:  # fmt: skip
    """Convert and verify. `known` is a version that was made of the same, and is to be verified better."""
    if known:
        number = known.version.number
        tell.info(f"version {number} would come out again, but was verified less than is asked now")
    result.watch(f"{job.stem}.bin", tell.converted, pool)
    try:
        return engine.convert(job)
    except VerificationError as error:
        if known is None:
            raise
        raise as_failure_of(known, error, result.directory) from None
    finally:
        tell.converted.set()
