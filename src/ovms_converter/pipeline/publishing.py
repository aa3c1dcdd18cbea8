"""The last stage: the record and the signature are written, and the version is published."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from ovms_converter.acquisition import SourceState
from ovms_converter.assurance import assurance_of
from ovms_converter.engine.job import ConvertedModel, Timing
from ovms_converter.errors import ConverterError, RequestError
from ovms_converter.events import Note, Stage
from ovms_converter.formats.base import SourceModel
from ovms_converter.pipeline.outcome import Outcome, outcome_of_version
from ovms_converter.pipeline.result import Result
from ovms_converter.pipeline.same import is_verified_enough
from ovms_converter.pipeline.telling import Telling
from ovms_converter.pipeline.wish import Wish
from ovms_converter.provenance import manifest, sealed
from ovms_converter.record import build_record, digest
from ovms_converter.repository import RECORD, SIGNATURE, Finished, ModelRepository, Published
from ovms_converter.storage.base import FetchedFile

__all__ = ["Made", "publish"]


@dataclass(frozen=True)
class Made:
    """What a run has made, ready to be published.

    `model`, `source_files`, `operations`, `state`  the source: what it is, its files with their digests, its
    operations by type, and by what its store knows it
    `converted`  the result, None where the source is published as it is
    `files`      what to publish after the record, by name, the file that completes a version last
    """

    model: SourceModel
    source_files: tuple[FetchedFile, ...]
    operations: Mapping[str, int]
    state: SourceState | None
    converted: ConvertedModel | None
    files: Mapping[str, Path]

    @property
    def notes(self) -> tuple[str, ...]:
        """What a user should know of the conversion, a line each."""
        return self.converted.notes if self.converted else ()

    @property
    def timings(self) -> tuple[Timing, ...]:
        """Of the source and the result, if they were asked for."""
        return self.converted.timings if self.converted else ()


def publish(made: Made, wish: Wish, result: Result, repository: ModelRepository, tell: Telling) -> Outcome:
    """Publish a new version, unless one that is there already will do; in a dry run, only say so.

    Raises what the destination raises, and `RequestError` if the version cannot be signed.
    """
    request = wish.request
    total = sum(path.stat().st_size for path in made.files.values())
    with tell.stage(Stage.PUBLISH, str(request.output), total) as progress:
        written = result.described(made.files)
        record = _record(made, wish, written)
        path = result.directory / RECORD
        path.write_text(json.dumps(record, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        files = {RECORD: path} | _signature(wish, written, path) | dict(made.files)
        sizes = {name: file.stat().st_size for name, file in files.items()}

        def will_do(found: Finished) -> bool:
            # The same bytes have just passed; of others with the same fingerprint, their own record counts.
            return found.record["files"] == record["files"] or is_verified_enough(found, wish)

        if request.dry_run:
            published = repository.would_publish(record, request.model_version, will_do)
        else:
            published = repository.publish(files, request.model_version, progress, will_do)
    if published.written:
        _tidy(repository, request.keep, published.number, tell)
    for note in made.notes:
        tell.warn(note)
    if published.found:
        return _outcome_of_found(published.found, made, wish, record, tell)
    return _outcome_of_new(published, sizes, made, wish, record, tell)


def _outcome_of_found(
    found: Finished, made: Made, wish: Wish, record: Mapping[str, Any], tell: Telling
) -> Outcome:
    """A version was there already, and has perhaps just passed a stronger verification than its own."""
    return replace(
        outcome_of_version(*found, wish.request.output.reported, tell.seconds),
        checked_again=not is_verified_enough(found, wish),
        verified=record["verification"],
        notes=made.notes,
        timings=made.timings,
    )


def _outcome_of_new(
    published: Published, sizes: Mapping[str, int], made: Made, wish: Wish, record: Mapping[str, Any],
    tell: Telling,
) -> Outcome:  # fmt: skip
    """A version was written, or would be; `sizes` are the bytes of its files by name."""
    converted = made.converted
    return Outcome(
        url=wish.request.output.reported,
        version=published.number,
        published=published.written,
        source_format=made.model.format,
        evidence=made.model.evidence,
        inputs=converted.inputs if converted else (),
        outputs=converted.outputs if converted else (),
        source_bytes=sum(file.size for file in made.source_files),
        result_bytes=sum(sizes.values()),
        seconds=tell.seconds,
        notes=made.notes,
        verified=record["verification"],
        files=tuple(sorted(f"{published.number}/{name}" for name in sizes)),
        dry_run=wish.request.dry_run,
        timings=made.timings,
        record=record,
    )


def _record(made: Made, wish: Wish, written: Sequence[FetchedFile]) -> dict[str, Any]:
    return build_record(
        wish.request,
        made.model,
        made.source_files,
        made.converted,
        written,
        wish.circumstances,
        asked=wish.digest,
        assurance=assurance_of(wish.request, made.converted, wish.data_digest),
        state=asdict(made.state) if made.state else None,
        operations=made.operations,
    )


def _signature(wish: Wish, written: Sequence[FetchedFile], record: Path) -> dict[str, Path]:
    """The signature over all files of the version, if one was asked for, as a file to publish."""
    if wish.key is None:
        return {}
    if any(file.path == SIGNATURE for file in written):
        raise RequestError(
            f"the model has a file `{SIGNATURE}` of its own, and its signature would have that name",
            hint="convert it to `openvino`, or publish it without `--sign`",
            parameter="sign",
        )
    digests = {file.path: file.sha256 or "" for file in written} | {RECORD: digest(record)}
    statement = manifest(wish.request.output.name or "model", digests, SIGNATURE)
    path = record.with_name(SIGNATURE)
    path.write_bytes(sealed(statement, wish.key))
    return {SIGNATURE: path}


def _tidy(repository: ModelRepository, keep: int | None, number: int, tell: Telling) -> None:
    """Remove leftovers and versions that are too old. The new one is there, whatever becomes of these."""
    try:
        for path in repository.clean(number):
            tell(Note("debug", f"removed `{path}`, which a run that was killed had left"))
        if keep is None:
            return
        retired = repository.retire(keep, number)
    except ConverterError as error:
        tell.warn(f"old versions were not removed: {error.message}")
        return
    if retired.numbers:
        numbers = ", ".join(map(str, retired.numbers))
        tell.info(f"removed version {numbers}: `keep` is {keep}")
    for path in retired.left:
        tell.warn(f"`{path}` is not of this program's making, and was left")
