"""Loads and runs a published version in the engine's child process, and compares it with its source again."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ovms_converter.acquisition import Acquisition
from ovms_converter.engine.client import Engine
from ovms_converter.engine.job import ConversionJob, ConvertedModel, OutputComparison
from ovms_converter.errors import ModelError, RequestError, VerificationError
from ovms_converter.events import Listener
from ovms_converter.jobs import as_logged, conversion_job
from ovms_converter.optimizer.arguments import OptimizerArguments
from ovms_converter.parameters import by_name
from ovms_converter.record import hashed
from ovms_converter.repository.versions import mapping_of, mappings_of
from ovms_converter.request import ConversionRequest, Given, build_request
from ovms_converter.stages import Stages
from ovms_converter.storage.location import Location

__all__ = ["Run", "compared", "loaded", "source_request"]

_OF_THE_MODEL = ("input_format", "tolerance")
"""Further parameters that say how a source was read, and how exact its result has to be."""


@dataclass(frozen=True)
class Run:
    """What came of running a version.

    `text`     how it was run or compared, one line
    `fault`    what is wrong, one line; None if nothing is
    `figures`  of every output, if it was compared
    `notes`    lines for the user
    """

    text: str
    fault: str | None = None
    figures: tuple[OutputComparison, ...] = ()
    notes: tuple[str, ...] = ()


def loaded(directory: Path, stem: str, work: Path, listener: Listener, timeout: float) -> Run:
    """Read, compile and run `<stem>.xml` in `directory`. Raises `ResourceError`."""
    job = ConversionJob(
        format="openvino.ir",
        model=directory / f"{stem}.xml",
        arguments=OptimizerArguments.parse({}),
        stem=stem,
        output=directory,
        verify="load",
        ready=True,
    )
    return _run(job, work, listener, timeout)


def compared(
    directory: Path, stem: str, request: ConversionRequest, record: Mapping[str, Any], work: Path,
    listener: Listener, environ: Mapping[str, str],
) -> Run:  # fmt: skip
    """Fetch the source of `request` below `work`, and compare `<stem>.xml` in `directory` with it.

    Raises what fetching the source raises, `RequestError` if its own runtime is not installed, and
    `ResourceError`.
    """
    acquisition = Acquisition(request, environ)
    acquisition.look()
    model, tree = acquisition.fetch(work / "source", Stages(listener))
    request = replace(request, arguments=as_logged(request.arguments, model))
    # Which error is still right follows from this; NNCF itself, which a request asks for, is not needed.
    weights = mapping_of(mapping_of(record.get("parameters")).get("weights")).get("value")
    weights = weights if weights in by_name()["weights"].choices else None
    job = replace(conversion_job(request, model, tree, directory), stem=stem, ready=True, weights=weights)
    run = _run(job, work, listener, request.timeout)
    recorded = {file.get("sha256") for file in mappings_of(mapping_of(record.get("source")).get("files"))}
    others = [file.path for file in hashed(tree) if file.sha256 not in recorded]
    notes = [f"`{path}` of the source is not what it was when the version was made" for path in others]
    if not (run.fault or run.figures):
        run = replace(run, fault=next(iter(run.notes), "it could not be compared with its source"))
    return replace(run, notes=(*notes, *run.notes))


def source_request(
    record: Mapping[str, Any], source: str | None, repository: str, *, trusted: bool, timeout: float
) -> ConversionRequest:
    """The request that a record tells of, for the same source or another place of it.

    Code in the source runs only if it is `trusted` now: the record may be anybody's. Raises `RequestError`
    if the record names no place that can be read from here, or what it tells is no request.
    """
    table = by_name()
    recorded = {name: mapping_of(item) for name, item in mapping_of(record.get("parameters")).items()}
    given = {
        name: Given(str(item.get("value", "")), str(item.get("origin")))
        for name, item in recorded.items()
        if item.get("origin") != "default"
        and name in table
        and (table[name].optimizer or name in _OF_THE_MODEL)
    }
    url = source or str(mapping_of(record.get("source")).get("url", ""))
    if not source and not Location.parse(url).is_remote:
        raise RequestError(
            f"the record names the source `{url}`, which was on the machine that made the version",
            hint="say where it is: `--source PATH`",
            parameter="source",
        )
    own = {
        "input_model": url,
        "output_model": repository,
        "verify": "compare",
        "trust_source": str(trusted).lower(),
        "timeout": str(timeout),
    }
    return build_request(given | {name: Given(value, "flag") for name, value in own.items()})


def _run(job: ConversionJob, work: Path, listener: Listener, timeout: float) -> Run:
    try:
        with Engine(work / "engine", listener=listener, time_limit=timeout) as engine:
            done: ConvertedModel = engine.convert(job)
    except (VerificationError, ModelError) as error:
        return Run("", error.message)
    except RequestError as error:
        # Its hint may name a choice that only a conversion has.
        hint = (error.hint or "").partition(", or ")[0] or None
        raise RequestError(error.message, hint=hint, parameter="source") from None
    return Run(done.verified, None, done.comparison, done.notes)
