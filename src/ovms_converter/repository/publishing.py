"""Writing versions and taking them away: the next number, what killed runs left, what is too old.

A *finished* version has a record, and every file of the record with its size. A *leftover* has a record and
lacks the model's own file, which is written last and removed first: its run was killed, or is still at work.
It is never reused or completed: the next run takes the next number. After a run has published, it removes a
leftover that has a lower number than the highest finished version, so that its number is never handed out
again, and

- that would have become the same as the version just published: its run, should it still be at work, finds
  its claim gone and reports that version instead; or
- in which nothing was written for a day before the version just published, by the store's own clock.

Only files that a record names are ever removed. A directory without a record is not this program's.
"""

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

from ovms_converter.errors import AccessDeniedError, AlreadyExistsError, NotFoundError
from ovms_converter.repository.versions import RECORD, Version, members, read_record, versions_of
from ovms_converter.storage.base import PROBE, SMALL_FILE, Destination, Progress

__all__ = ["Finished", "ModelRepository", "Published", "Retired"]

_ATTEMPTS = 20
_ABANDONED_AFTER = timedelta(days=1)
_MODEL_SUFFIXES = (".xml", ".onnx", ".pb", ".pdmodel", ".tflite")


class Finished(NamedTuple):
    """A finished version with its record."""

    version: Version
    record: Mapping[str, Any]


WillDo: TypeAlias = Callable[[Finished], bool]
"""Whether a version of the same fingerprint makes a new one superfluous."""


@dataclass(frozen=True)
class Published:
    """The version that holds a result: one that was `written`, or one that was `found` to be the same."""

    number: int
    written: bool
    found: Finished | None = None


@dataclass(frozen=True)
class Retired:
    """Versions that were removed, and the paths of files that are no part of them and were left."""

    numbers: tuple[int, ...]
    left: tuple[str, ...]


class ModelRepository:
    """The versions at a destination."""

    def __init__(self, destination: Destination) -> None:
        self.destination = destination

    def versions(self) -> tuple[Version, ...]:
        """All versions, finished or not, lowest first."""
        return versions_of(self.destination.list())

    def find(self, fingerprint: str) -> Finished | None:
        """The newest finished version with its record, if it has this fingerprint."""
        return self._find(self.versions(), fingerprint)

    def check_free(self, wanted: str) -> None:
        """Raise `AlreadyExistsError` if `wanted` is a number that is taken, as `publish` would."""
        if wanted.isdigit():
            self._number(wanted, {version.number for version in self.versions()})

    def newest(self) -> Finished | None:
        """The newest finished version with its record."""
        return self._newest(self.versions())

    def would_publish(self, record: Mapping[str, Any], wanted: str, will_do: WillDo) -> Published:
        """What `publish` would do now with a result of this record. Raises as it does."""
        versions = self.versions()
        same = self._find(versions, record["fingerprint"]) if wanted == "auto" else None
        if same and will_do(same):
            return Published(same.version.number, written=False, found=same)
        return Published(self._number(wanted, {version.number for version in versions}), written=False)

    def publish(
        self,
        files: Mapping[str, Path],
        wanted: str,
        progress: Progress,
        will_do: WillDo = lambda _: True,
    ) -> Published:
        """Publish files (name → local file, in the order to be written, the record first) as a new version.

        `wanted` is a number as text, "next" for the next free one, or "auto" for the newest version if its
        record has the same fingerprint and it `will_do`, else the next free one. Raises `AlreadyExistsError`
        if the wanted number is taken. If another run takes the next number meanwhile, the one after it is
        tried.
        """
        fingerprint = None
        if wanted == "auto":
            fingerprint = json.loads(files[RECORD].read_text(encoding="utf-8"))["fingerprint"]
        refused: set[int] = set()
        for _ in range(_ATTEMPTS):
            versions = self.versions()
            same = self._find(versions, fingerprint) if fingerprint else None
            if same and will_do(same):
                return Published(same.version.number, written=False, found=same)
            number = self._number(wanted, refused | {version.number for version in versions})
            try:
                self.destination.publish(str(number), files, progress)
            except AlreadyExistsError:
                if wanted.isdigit():
                    raise
                refused.add(number)
                continue
            if self._is_ours(number, files):
                return Published(number, written=True)
            refused.add(number)
        raise AlreadyExistsError(
            f"other runs took each of {_ATTEMPTS} version numbers at `{self.destination.location}` first",
            hint="let fewer runs publish to one location at a time",
        )

    def clean(self, published: int) -> tuple[str, ...]:
        """Remove what killed runs left, now that version `published` is there; return the paths.

        The rule is told at the top of this module.
        """
        entries = self.destination.list()
        removed = [entry.path for entry in entries if entry.path.startswith(PROBE)]
        self.destination.remove(removed)
        versions = versions_of(entries)
        highest = max((version.number for version in versions if _has_model(version)), default=0)
        newest = next((version for version in versions if version.directory == str(published)), None)
        record = read_record(self.destination, newest) if newest else None
        if newest is None or record is None:
            return tuple(removed)
        for version in versions:
            if version.number >= highest or _has_model(version):
                continue
            claim = read_record(self.destination, version)
            if claim and (
                claim.get("fingerprint") == record.get("fingerprint") or _is_abandoned(version, newest)
            ):
                removed += self._remove(version, claim)
                removed += self._remove_late(version.directory, claim)
        return tuple(removed)

    def retire(self, keep: int, published: int) -> Retired:
        """Remove finished versions, the lowest first, until only the `keep` highest are left.

        Version `published`, which a server may just be loading, always stays. A version's graph is removed
        first, so that no server loads half of it, and its record last, so that what a killed run leaves of
        it is recognised.
        """
        versions = self.versions()
        records = [(version, read_record(self.destination, version)) for version in versions]
        finished = [(version, record) for version, record in records if record and version.holds(record)]
        numbers: list[int] = []
        left: list[str] = []
        for version, record in finished[:-keep]:
            if version.number == published:
                continue
            known = self._remove(version, record)
            numbers.append(version.number)
            left += [entry.path for entry in version.files.values() if entry.path not in known]
        return Retired(tuple(numbers), tuple(left))

    def _find(self, versions: tuple[Version, ...], fingerprint: str) -> Finished | None:
        found = self._newest(versions)
        return found if found and found.record.get("fingerprint") == fingerprint else None

    def _newest(self, versions: tuple[Version, ...]) -> Finished | None:
        for version in reversed(versions):
            record = read_record(self.destination, version)
            if record is not None and version.holds(record):
                return Finished(version, record)
        return None

    def _number(self, wanted: str, taken: Iterable[int]) -> int:
        number = int(wanted) if wanted.isdigit() else max(taken, default=0) + 1
        if number in taken:
            raise AlreadyExistsError(
                f"version {number} exists already at `{self.destination.location}`",
                hint="a published version is never changed; use `--model-version next`",
            )
        return number

    def _is_ours(self, number: int, files: Mapping[str, Path]) -> bool:
        """Whether a version that was just written is whole and still claimed by this run.

        If its claim is gone, another run took this one for dead and published the same, or a later, version:
        what this run wrote into it after that is removed again.
        """
        record = files[RECORD].read_bytes()
        try:
            claim = self.destination.read(f"{number}/{RECORD}", max(len(record), SMALL_FILE))
        except AccessDeniedError:
            return True  # who may write only cannot look
        except NotFoundError:
            self.destination.remove([f"{number}/{name}" for name in _removal_order(files)])
            return False
        there = {entry.path: entry.size for entry in self.destination.list()}
        return claim == record and all(
            there.get(f"{number}/{name}") == path.stat().st_size for name, path in files.items()
        )

    def _remove(self, version: Version, record: Mapping[str, Any]) -> list[str]:
        """Remove those files of a version that its record names, and the record; return their paths."""
        ours = members(record) | {RECORD}
        names = _removal_order(name for name in version.files if name in ours)
        paths = [f"{version.directory}/{name}" for name in names]
        self.destination.remove(paths)
        return paths

    def _remove_late(self, directory: str, record: Mapping[str, Any]) -> list[str]:
        """Remove what the run whose claim was removed, should it still be at work, wrote since."""
        late = (version for version in self.versions() if version.directory == directory)
        return [path for version in late for path in self._remove(version, record)]


def _has_model(version: Version) -> bool:
    """Whether the file is there that completes a version: it is written last, and removed first."""
    return RECORD in version.files and any(name.endswith(_MODEL_SUFFIXES) for name in version.files)


def _is_abandoned(version: Version, newest: Version) -> bool:
    return bool(
        version.modified and newest.modified and newest.modified - version.modified > _ABANDONED_AFTER
    )


def _removal_order(names: Iterable[str]) -> list[str]:
    """Names in the order of removal: what a server looks for first, the record last."""
    return sorted(names, key=lambda name: (name == RECORD, not name.endswith(_MODEL_SUFFIXES), name))
