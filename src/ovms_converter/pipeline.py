"""The stages in their order: fetch → recognise → convert → verify → publish. Read this module first.

A model comes in as a URL (`storage`), becomes a recognised `SourceModel` (`formats`), goes through the child
process that owns openvino (`engine`), and leaves as a numbered version (`repository`). Nothing is
written at the destination before everything else has succeeded.
"""

import errno
import json
import shutil
import tempfile
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from ovms_converter._version import __version__
from ovms_converter.acquisition import Acquisition, SourceState
from ovms_converter.engine.client import Engine
from ovms_converter.engine.job import ConversionJob, ConvertedModel, Port, Timing
from ovms_converter.errors import (
    ConverterError,
    RequestError,
    ResourceError,
)
from ovms_converter.events import (
    Listener,
    Note,
    Stage,
    StageFinished,
    StageStarted,
    StageTotal,
)
from ovms_converter.foresight import shortfalls
from ovms_converter.formats.base import SourceModel
from ovms_converter.growing import digest_of_growing, write_back_growing
from ovms_converter.jobs import as_logged, conversion_job, programs
from ovms_converter.optimizer.mapping import mapping_config
from ovms_converter.provenance import PrivateKey, manifest, sealed
from ovms_converter.record import (
    Circumstances,
    build_record,
    digest,
    fingerprint,
    hashed,
    reads_more_than_the_source,
    request_digest,
    source_operations,
)
from ovms_converter.repository import RECORD, SIGNATURE, ModelRepository, Published, Version
from ovms_converter.repository.versions import mapping_of, mappings_of
from ovms_converter.request import ConversionRequest
from ovms_converter.stages import Stages
from ovms_converter.storage import open_destination
from ovms_converter.storage.base import Destination, FetchedFile, FetchedTree, Progress
from ovms_converter.storage.disk import disk_errors
from ovms_converter.storage.local import flush
from ovms_converter.verification_data import fetch_data

__all__ = ["Outcome", "Port", "Timing", "run"]


@dataclass(frozen=True)
class Outcome:
    """What a conversion came to.

    `url`        the destination as it was given, which is what a server takes as its model path
    `version`    the number under it
    `published`  False if nothing was written: the same result was there already, or it was a dry run
    `inputs`, `outputs`  the served model's; empty where the source was published as it was
    `source_bytes`, `result_bytes`  sizes of what was read and of the files of the version
    `seconds`    wall time of each stage that ran
    `timings`    of the source, where it runs here, and of the result, if they were asked for
    `record`     the version's `conversion.json`, as JSON values; of a dry run, what it would be
    """

    url: str
    version: int
    published: bool
    source_format: str
    evidence: str
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    source_bytes: int
    result_bytes: int
    seconds: Mapping[Stage, float]
    notes: tuple[str, ...]
    verified: str
    files: tuple[str, ...]
    dry_run: bool = False
    timings: tuple[Timing, ...] = ()
    record: Mapping[str, Any] = field(default_factory=dict)


def run(request: ConversionRequest, *, environ: Mapping[str, str], listener: Listener) -> Outcome:
    """Do what a request asks for. Raises any `ConverterError`; then nothing is left behind, here or there."""
    try:
        return _Run(request, environ, listener).outcome()
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise ResourceError(
                f"no space left on the disk that holds `{error.filename or tempfile.gettempdir()}`",
                hint="set `TMPDIR` to a directory on a larger disk; source and result lie there for a while",
            ) from None
        raise


class _Run:
    """One conversion and what it has learned so far.

    `asked` is the request as it was made; `request` is what becomes of it once the model is known, and
    `format` the model's.
    """

    def __init__(self, request: ConversionRequest, environ: Mapping[str, str], listener: Listener) -> None:
        self.request = request
        self.asked = request
        self.format: str | None = None
        self.key = PrivateKey.load(request.sign, environ) if request.sign else None
        self.listener = listener
        self.environ = environ
        self.acquisition = Acquisition(request, environ)
        self.destination: Destination = open_destination(request.output, environ, request.input)
        self.repository = ModelRepository(self.destination)
        self.seconds: dict[Stage, float] = {}
        self.stage = Stages(self.listen)
        self.digests: dict[str, Future[str]] = {}
        self.flushed: Future[None] | None = None
        self.operations: Future[Mapping[str, int]] = Future()
        self.data: Path | None = None
        self.example: Path | None = None
        self.calibration: Path | None = None
        self.beside = False
        self.work = Path(tempfile.gettempdir())
        self.warned = False
        self.when_converted: Callable[[], None] = lambda: None

    def outcome(self) -> Outcome:
        known = self._unchanged_at_the_store()
        if known:
            return known
        with ExitStack() as stack:
            work = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="ovms-converter-")))
            self.work = work
            engine: Engine | None = None
            if self.request.output_format == "openvino":
                level = self.request.arguments.log_level or "ERROR"
                engine = stack.enter_context(
                    Engine(
                        work / "engine",
                        listener=self.listen,
                        time_limit=self.request.timeout,
                        memory_limit=self.request.memory_limit,
                        log_level=level,
                    )
                )
            if without_effect := self.request.arguments.without_effect:
                self.listen(Note("info", f"accepted without an effect: {', '.join(without_effect)}"))
            self.acquisition.look()
            self.destination.check_writable()
            self._fetch_data(work)
            model, tree = self.acquisition.fetch(work / "source", self.stage)
            if not self.request.input.is_remote:
                self._foresee(sum(file.size for file in tree.files))
            self.request = replace(self.request, arguments=as_logged(self.request.arguments, model))
            self.format = model.format
            self._check_output_format(model)
            # Digests are taken beside the conversion and the verification, on a core that they leave idle.
            pool = stack.enter_context(ThreadPoolExecutor(max_workers=3))
            files = pool.submit(hashed, tree)
            self.operations = pool.submit(source_operations, model, tree)
            known = self._published_before(model, files)
            if known:
                return known
            if engine and self.request.verify not in ("off", "load"):
                self.example = self.acquisition.example(model, tree, work / "example")
            result = self._scratch(stack, work)
            converted = (
                self._convert(engine, conversion_job(self.request, model, tree, result), pool)
                if engine
                else None
            )
            results = self._results(converted, model, tree)
            return self._publish(model, files.result(), converted, results, result)

    def _fetch_data(self, work: Path) -> None:
        """Bring the files beside the model that the request names."""
        asked = self.request
        if asked.verify_data:
            self.data = fetch_data(asked.verify_data, self.environ, work / "data", "verify_data")
        if asked.calibration_data:
            place = work / "calibration"
            self.calibration = fetch_data(asked.calibration_data, self.environ, place, "calibration_data")

    @property
    def circumstances(self) -> Circumstances:
        """What decides the result beside the source and the parameters."""
        return Circumstances(
            programs(self.request, self.format),
            signer=self.key.fingerprint if self.key else None,
            calibration=digest(self.calibration) if self.calibration else None,
        )

    def _asked_digest(self) -> str:
        return request_digest(self.asked, replace(self.circumstances, programs=programs(self.asked, None)))

    def listen(self, event: Any) -> None:
        """Pass an event on, keeping the time of each stage; the source's size tells what it will take."""
        if isinstance(event, StageFinished):
            self.seconds[event.stage] = event.seconds
            if event.stage is Stage.CONVERT:
                self.when_converted()
        self.listener(event)
        if isinstance(event, StageStarted | StageTotal) and event.stage is Stage.FETCH and event.total:
            self._foresee(event.total)

    def _foresee(self, source_bytes: int) -> None:
        if self.warned:
            return
        for shortfall in shortfalls(self.request, source_bytes, self.work):
            self.warned = True
            self.listener(Note("warning", shortfall))

    def _check_output_format(self, model: SourceModel) -> None:
        wanted = self.request.output_format
        if wanted not in ("openvino", model.format):
            raise RequestError(
                f"`output_format` is `{wanted}`, and the model is `{model.format}`",
                hint=f"convert to `openvino`, or publish the model as it is with `{model.format}`",
                parameter="output_format",
            )

    def _published_before(self, model: SourceModel, files: Future[tuple[FetchedFile, ...]]) -> Outcome | None:
        """The newest version, if it came from the same bytes and parameters by the same programs."""
        if self.request.model_version != "auto" or not self.repository.versions():
            return None
        found = self.repository.find(fingerprint(self.request, model, files.result(), self.circumstances))
        if found is None:
            return None
        return self._as_published(*found)

    def _unchanged_at_the_store(self) -> Outcome | None:
        """The newest version, if the source's store tells by ETags alone that it would come out again."""
        if self.request.model_version != "auto" or not self.request.input.is_remote:
            return None
        if reads_more_than_the_source(self.request):
            return None
        found = self.repository.newest()
        if found is None or found[1].get("request") != self._asked_digest():
            return None
        source = mapping_of(found[1].get("source"))
        made_by = {"ovms_converter": __version__, **programs(self.asked, source.get("format"))}
        state = SourceState.parse(source.get("state"))
        if found[1].get("versions") != made_by or state is None or not self.acquisition.is_still(state):
            return None
        self.listen(
            Note(
                "info",
                f"nothing was read: by their ETags the source's files are those of version {found[0].number}",
            )
        )
        return self._as_published(*found)

    def _as_published(self, version: Version, record: Mapping[str, Any]) -> Outcome:
        """A version that is there already, as the outcome of this run."""
        source = mapping_of(record.get("source"))
        sizes = [file.get("size") for file in mappings_of(source.get("files"))]
        return Outcome(
            url=self.request.output.text,
            version=version.number,
            published=False,
            source_format=str(source.get("format", "")),
            evidence=str(source.get("evidence", "")),
            inputs=_ports(record.get("inputs")),
            outputs=_ports(record.get("outputs")),
            source_bytes=sum(size for size in sizes if isinstance(size, int)),
            result_bytes=sum(entry.size or 0 for entry in version.files.values()),
            seconds=self.seconds,
            notes=tuple(map(str, notes)) if isinstance(notes := record.get("notes"), list) else (),
            verified=str(record.get("verification", "")),
            files=tuple(sorted(f"{version.directory}/{name}" for name in version.files)),
            record=record,
        )

    def _scratch(self, stack: ExitStack, work: Path) -> Path:
        """Where the result is written first: beside a destination on disk, so that publishing is a rename."""
        result = None if self.request.dry_run else self.destination.scratch()
        if result is None:
            result = work / "result"
            result.mkdir()
        else:
            self.beside = True
            stack.callback(shutil.rmtree, result, ignore_errors=True)
        return result

    def _convert(self, engine: Engine, job: ConversionJob, pool: ThreadPoolExecutor) -> ConvertedModel:
        """Convert and verify; the weights are hashed, and go to the disk, while they are written."""
        path, finished = job.output / f"{job.stem}.bin", threading.Event()
        self.when_converted = finished.set
        self.digests[path.name] = pool.submit(digest_of_growing, path, finished)
        if self.beside:
            # A rename publishes them, and they must be on the disk before it: a wait of seconds for a large
            # model if it only began then.
            self.flushed = pool.submit(_flush_growing, path, finished)
        try:
            return engine.convert(
                replace(
                    job,
                    verify_data=self.data,
                    calibration_data=self.calibration,
                    example=job.example or self.example,
                )
            )
        finally:
            finished.set()

    def _results(
        self, converted: ConvertedModel | None, model: SourceModel, tree: FetchedTree
    ) -> dict[str, Path]:
        """The files to publish after the record, by name, the one that completes a version last."""
        if converted:
            pair = {converted.bin.name: converted.bin, converted.xml.name: converted.xml}
            return self._name_mapping(converted) | pair
        self.destination.copy_from(self.acquisition.source)
        base = tree.root / model.path
        root = base if base.is_dir() else base.parent
        paths = {
            str((tree.root / file.path).relative_to(root).as_posix()): tree.root / file.path
            for file in tree.files
        }
        last = "saved_model.pb" if base.is_dir() else base.name
        return {name: path for name, path in paths.items() if name != last} | {last: paths[last]}

    def _name_mapping(self, converted: ConvertedModel) -> dict[str, Path]:
        """The file by which a server renames inputs and outputs, if that was asked for."""
        arguments = self.request.arguments
        if not (arguments.mapping_config and arguments.rename):
            return {}
        names = [[port.name for port in ports] for ports in (converted.inputs, converted.outputs)]
        path = converted.xml.with_name("mapping_config.json")
        path.write_text(json.dumps(mapping_config(arguments.rename, *names), indent=1), encoding="utf-8")
        return {path.name: path}

    def _written(self, results: Mapping[str, Path]) -> tuple[FetchedFile, ...]:
        """The files to publish with their sizes and digests, once the disk has taken what it was given."""
        if self.flushed:
            with disk_errors(Path(self.request.output.path)):
                self.flushed.result()
        return tuple(
            FetchedFile(
                name,
                file.stat().st_size,
                self.digests[name].result() if name in self.digests else digest(file),
            )
            for name, file in sorted(results.items())
        )

    def _publish(
        self,
        model: SourceModel,
        source_files: tuple[FetchedFile, ...],
        converted: ConvertedModel | None,
        results: dict[str, Path],
        directory: Path,
    ) -> Outcome:
        with self.stage(
            Stage.PUBLISH, str(self.request.output), sum(path.stat().st_size for path in results.values())
        ) as progress:
            written = self._written(results)
            state = self.acquisition.state()
            record = build_record(
                self.request,
                model,
                source_files,
                converted,
                written,
                self.circumstances,
                asked=self._asked_digest(),
                state=asdict(state) if state else None,
                operations=self.operations.result(),
            )
            path = directory / RECORD
            path.write_text(json.dumps(record, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
            files = {RECORD: path} | self._signature(written, path) | results
            sizes = {name: file.stat().st_size for name, file in files.items()}
            published = self._to_repository(files, progress)
        if published.written:
            self._tidy(published.number)
        number = published.number
        notes = converted.notes if converted else ()
        for note in notes:
            self.listen(Note("warning", note))
        return Outcome(
            url=self.request.output.text,
            version=number,
            published=published.written,
            source_format=model.format,
            evidence=model.evidence,
            inputs=converted.inputs if converted else (),
            outputs=converted.outputs if converted else (),
            source_bytes=sum(file.size for file in source_files),
            result_bytes=sum(sizes.values()),
            seconds=self.seconds,
            notes=notes,
            verified=record["verification"],
            files=tuple(sorted(f"{number}/{name}" for name in files)),
            dry_run=self.request.dry_run,
            timings=converted.timings if converted else (),
            record=record,
        )

    def _signature(self, written: Sequence[FetchedFile], record: Path) -> dict[str, Path]:
        """The signature over all files of the version, if one was asked for, as a file to publish."""
        if self.key is None:
            return {}
        if any(file.path == SIGNATURE for file in written):
            raise RequestError(
                f"the model has a file `{SIGNATURE}` of its own, and its signature would have that name",
                hint="convert it to `openvino`, or publish it without `--sign`",
                parameter="sign",
            )
        digests = {file.path: file.sha256 or "" for file in written} | {RECORD: digest(record)}
        statement = manifest(self.request.output.name or "model", digests, SIGNATURE)
        path = record.with_name(SIGNATURE)
        path.write_bytes(sealed(statement, self.key))
        return {SIGNATURE: path}

    def _to_repository(self, files: Mapping[str, Path], progress: Progress) -> Published:
        wanted = self.request.model_version
        if self.request.dry_run:
            return Published(self.repository.number_for(wanted), written=False)
        return self.repository.publish(files, wanted, progress)

    def _tidy(self, number: int) -> None:
        """Remove leftovers and versions that are too old. The new one is there, whatever becomes of these."""
        try:
            for path in self.repository.clean(number):
                self.listen(Note("debug", f"removed `{path}`, which a run that was killed had left"))
            if self.request.keep is None:
                return
            retired = self.repository.retire(self.request.keep, number)
        except ConverterError as error:
            self.listen(Note("warning", f"old versions were not removed: {error.message}"))
            return
        if retired.numbers:
            numbers = ", ".join(map(str, retired.numbers))
            self.listen(Note("info", f"removed version {numbers}: `keep` is {self.request.keep}"))
        for path in retired.left:
            self.listen(Note("warning", f"`{path}` is not of this program's making, and was left"))


def _ports(record: Any) -> tuple[Port, ...]:
    return tuple(
        Port(*(str(port.get(name, "")) for name in ("name", "type", "shape"))) for port in mappings_of(record)
    )


def _flush_growing(path: Path, finished: threading.Event) -> None:
    """Have the weights on the disk soon after they are complete."""
    write_back_growing(path, finished)
    flush(path)
