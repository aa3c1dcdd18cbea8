"""Re-checks a published version: is every file still what the record of its conversion says?"""

import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ovms_converter.errors import CorruptModelError
from ovms_converter.events import Listener, Stage, StageFinished, StageProgress, StageStarted, ignore
from ovms_converter.record import hashed
from ovms_converter.repository import RECORD
from ovms_converter.repository.finding import find_version

__all__ = ["CheckedFile", "Recheck", "recheck"]

_READ_BY_SERVERS = (
    ".bin", ".onnx", ".xml", "mapping_config.json", ".pdiparams", ".pdmodel", ".pb", ".tflite",
)  # fmt: skip
"""What OVMS looks for in a version directory."""


@dataclass(frozen=True)
class CheckedFile:
    """A file of the record. `path` is below the repository; sizes in bytes, digests are SHA-256 in hex.

    `size` and `sha256` are None if the file is not there.
    """

    path: str
    size: int | None
    sha256: str | None
    recorded_size: int
    recorded_sha256: str

    @property
    def fault(self) -> str | None:
        """What differs, one line; None if nothing does."""
        if self.size is None:
            return "it is not there"
        if self.size != self.recorded_size:
            return f"it has {self.size:,} bytes, and the record tells of {self.recorded_size:,}"
        if self.sha256 != self.recorded_sha256:
            return f"its SHA-256 is {self.sha256}, and the record tells of {self.recorded_sha256}"
        return None


@dataclass(frozen=True)
class Recheck:
    """What was checked.

    `url`       the repository, without secrets
    `version`   the number of the version
    `files`     all files of its record, in the record's order
    `strangers` files in the version that the record does not know, below the repository
    `record`    the record itself, as JSON values
    """

    url: str
    version: int
    files: tuple[CheckedFile, ...]
    strangers: tuple[str, ...]
    record: Mapping[str, Any]

    @property
    def differing(self) -> tuple[CheckedFile, ...]:
        """The files that are not what the record says."""
        return tuple(file for file in self.files if file.fault)

    @property
    def intruders(self) -> tuple[str, ...]:
        """Those of the strangers that a server would read: it may load one instead of what was published."""
        return tuple(path for path in self.strangers if path.endswith(_READ_BY_SERVERS))

    @property
    def is_as_published(self) -> bool:
        """Whether a server gets exactly what was published."""
        return not self.differing and not self.intruders


def recheck(text: str, *, environ: Mapping[str, str], listener: Listener = ignore) -> Recheck:
    """Read the files of the newest finished version at a URL or path, or of the one that `URL/N` names.

    The files of a store come to this machine for a moment; they need that much room in `TMPDIR`. The output
    side's credentials of `environ` count.

    Raises `NotFoundError` if there is no such version with a record, `CorruptModelError` if the record is
    damaged, and whatever a store answers.
    """
    found = find_version(text, environ)
    destination, version, record = found.destination, found.version, found.record
    location = destination.location
    facts = {name: _facts(name, value) for name, value in record["files"].items()}
    paths = [f"{version.directory}/{name}" for name in facts if name in version.files]
    total = sum(version.files[name].size or 0 for name in facts if name in version.files)
    moved = 0

    def progress(count: int) -> None:
        nonlocal moved
        moved += count
        listener(StageProgress(Stage.VERIFY, moved))

    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="ovms-converter-") as directory:
        listener(StageStarted(Stage.VERIFY, str(location), total))
        source = destination.as_source()
        source.list()
        tree = source.fetch(paths, Path(directory), progress)
        fetched = {file.path: file for file in hashed(tree)}
        listener(StageFinished(Stage.VERIFY, time.monotonic() - started, moved, str(location)))
    files = []
    for name, (size, sha256) in facts.items():
        path = f"{version.directory}/{name}"
        file = fetched.get(path)
        files.append(
            CheckedFile(path, file.size if file else None, file.sha256 if file else None, size, sha256)
        )
    strangers = sorted(set(version.files) - set(facts) - {RECORD})
    return Recheck(
        str(location),
        version.number,
        tuple(files),
        tuple(f"{version.directory}/{name}" for name in strangers),
        record,
    )


def _facts(name: str, value: Mapping[str, Any]) -> tuple[int, str]:
    size, sha256 = value.get("size"), value.get("sha256")
    if not isinstance(size, int) or not isinstance(sha256, str):
        raise CorruptModelError(
            f"`{RECORD}` tells no size and digest of `{name}`",
            hint="publish the model again as a new version",
        )
    return size, sha256
