"""All checks of a published version in their order: digests, signature, loading, comparison."""

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ovms_converter.errors import CorruptModelError
from ovms_converter.events import Listener, Stage, ignore
from ovms_converter.provenance import PublicKey, key_of, provenance
from ovms_converter.recheck.files import (
    READ_BY_SERVERS,
    CheckedFile,
    Signature,
    checked_files,
    checked_signature,
)
from ovms_converter.recheck.running import Run, compared, loaded, source_request
from ovms_converter.record import hashed
from ovms_converter.repository import RECORD, SIGNATURE
from ovms_converter.repository.finding import RecordedVersion, find_version
from ovms_converter.repository.versions import check_small, members
from ovms_converter.request import ConversionRequest
from ovms_converter.stages import Stages
from ovms_converter.storage.base import FetchedTree

__all__ = ["Checks", "Recheck", "recheck"]


@dataclass(frozen=True)
class Checks:
    """What is checked beside the digests.

    `load`     whether the version is loaded and run
    `key`      the public key's path or `env:NAME`; None to check no signature
    `compare`  whether it is compared with its source
    `source`   where the source is; None for where the record says
    `trust_source`  whether code in the source may run
    `timeout`  seconds that loading or comparing may take
    """

    load: bool = False
    key: str | None = None
    compare: bool = False
    source: str | None = None
    trust_source: bool = False
    timeout: float = 3600.0


@dataclass(frozen=True)
class Recheck:
    """What was checked.

    `url`        the repository, without secrets
    `version`    the number of the version
    `files`      all files of its record, in the record's order
    `strangers`  files in the version that the record does not know, below the repository
    `record`     the record itself, as JSON values
    `signature`  None if there is none, and none was asked for
    `run`        None if the version was not run
    `statement`  the provenance of the version as an in-toto statement, as JSON values
    """

    url: str
    version: int
    files: tuple[CheckedFile, ...]
    strangers: tuple[str, ...]
    record: Mapping[str, Any]
    statement: Mapping[str, Any]
    signature: Signature | None = None
    run: Run | None = None

    @property
    def differing(self) -> tuple[CheckedFile, ...]:
        """The files that are not what the record says."""
        return tuple(file for file in self.files if file.fault)

    @property
    def intruders(self) -> tuple[str, ...]:
        """Those of the strangers that a server would read: it may load one instead of what was published."""
        return tuple(path for path in self.strangers if path.endswith(READ_BY_SERVERS))

    @property
    def is_as_published(self) -> bool:
        """Whether a server gets exactly what was published."""
        return not self.differing and not self.intruders

    @property
    def is_good(self) -> bool:
        """Whether every check that was made passed."""
        return (
            self.is_as_published
            and not (self.signature and self.signature.faults)
            and not (self.run and self.run.fault)
        )


def recheck(
    text: str, *, environ: Mapping[str, str], listener: Listener = ignore, checks: Checks | None = None
) -> Recheck:
    """Check the newest finished version at a URL or path, or the one that `URL/N` names.

    The files of a store come to this machine for a moment; they need that much room in `TMPDIR`. The output
    side's credentials of `environ` count, and the input side's for the source. A version with a wrong file is
    not run.

    Raises `NotFoundError` if there is no such version with a record, `CorruptModelError` if the record is
    damaged, `RequestError` if a key, a package or the place of the source is missing, and whatever a store
    answers.
    """
    checks = checks or Checks()
    key = PublicKey.load(checks.key, environ) if checks.key else None
    found = find_version(text, environ)
    request = _request(found, checks)
    with tempfile.TemporaryDirectory(prefix="ovms-converter-") as directory:
        work = Path(directory)
        tree = _fetched(found, work / "version", listener)
        result = _compared_with_record(found, tree, key)
        if not result.is_good or not (checks.load or request):
            return result
        return _with_run(result, _Place(found, tree, work), checks, request, environ, listener)


@dataclass(frozen=True)
class _Place:
    """A version that is on this machine, and a directory to work in."""

    found: RecordedVersion
    tree: FetchedTree
    work: Path


def _request(found: RecordedVersion, checks: Checks) -> ConversionRequest | None:
    """What the source is compared by, if it is."""
    if not (checks.compare or checks.source):
        return None
    repository = found.destination.location.text
    return source_request(
        found.record,
        checks.source,
        repository,
        trusted=checks.trust_source,
        timeout=checks.timeout,
    )


def _fetched(found: RecordedVersion, directory: Path, listener: Listener) -> FetchedTree:
    """The record, the files that it names and the signature, as far as they are there."""
    version, location = found.version, str(found.destination.location)
    names = [name for name in (RECORD, SIGNATURE, *found.record["files"]) if name in version.files]
    paths = [f"{version.directory}/{name}" for name in dict.fromkeys(names)]
    sizes = [version.files[name].size or 0 for name in dict.fromkeys(names)]
    directory.mkdir()
    source = found.destination.as_source()
    source.list()
    with Stages(listener)(Stage.VERIFY, location, sum(sizes)) as progress:
        tree = source.fetch(paths, directory, progress)
        return FetchedTree(tree.root, hashed(tree))


def _compared_with_record(found: RecordedVersion, tree: FetchedTree, key: PublicKey | None) -> Recheck:
    version, record = found.version, found.record
    there = {file.path: file for file in tree.files}
    strangers = sorted(set(version.files) - members(record) - {RECORD, SIGNATURE})
    digests = {
        name: there[path].sha256 if (path := f"{version.directory}/{name}") in there else None
        for name in version.files
        if name != SIGNATURE
    }
    known = {name: digest for name, digest in digests.items() if digest}
    return Recheck(
        str(found.destination.location),
        version.number,
        checked_files(version.directory, record, there),
        tuple(f"{version.directory}/{name}" for name in strangers),
        record,
        provenance(record, known),
        _signature(found, tree, key, digests),
    )


def _signature(
    found: RecordedVersion, tree: FetchedTree, key: PublicKey | None, digests: Mapping[str, str | None]
) -> Signature | None:
    directory = found.version.directory
    path = f"{directory}/{SIGNATURE}"
    if SIGNATURE in found.version.files:
        try:
            check_small(found.version, SIGNATURE)
        except CorruptModelError as error:
            return Signature(path, None, False, ((path, error.message),))
        bundle = (tree.root / path).read_bytes()
        if key:
            return checked_signature(directory, bundle, key, digests)
        return Signature(path, key_of(bundle), False, ())
    if key:
        return Signature(path, None, False, ((path, "it is not there: the version is not signed"),))
    if found.record.get("signed_by"):
        return Signature(path, None, False, ((path, "it is not there, and the record tells of a signature"),))
    return None


def _with_run(
    result: Recheck,
    place: _Place,
    checks: Checks,
    request: ConversionRequest | None,
    environ: Mapping[str, str],
    listener: Listener,
) -> Recheck:
    graph = next((file.path for file in result.files if file.path.endswith(".xml")), None)
    if graph is None:
        return replace(result, run=Run("not run: the source was published as it was"))
    path = place.tree.root / graph
    if request is None:
        return replace(result, run=loaded(path.parent, path.stem, place.work, listener, checks.timeout))
    record = place.found.record
    run = compared(path.parent, path.stem, request, record, place.work, listener, environ)
    return replace(result, run=run)
