"""What of an archive is taken: the same rules whether it is unpacked or only looked into.

Nothing in an archive is trusted: not its names, not the sizes it tells, not its links.
"""

import lzma
import re
import tarfile
import unicodedata
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from ovms_converter.errors import CorruptModelError, ModelError
from ovms_converter.storage.location import why_unsafe
from ovms_converter.units import size as shown_size

__all__ = ["ArchiveLimits", "ArchiveRules", "Member", "TooMuchError", "is_litter", "shared_top"]

_DRIVE = re.compile(r"[A-Za-z]:")


@dataclass(frozen=True)
class ArchiveLimits:
    """When an archive is taken for a bomb.

    `total_bytes` of all files; `ratio` of their bytes to the archive's, which counts from `ratio_from` bytes
    on, as a small model of zeros is no attack; `members` counts directories too. `looked_at` is how many
    bytes are unpacked by who only looks and may stop (`TooMuchError`); None if nobody may.
    """

    total_bytes: int = 256 << 30
    ratio: int = 200
    ratio_from: int = 1 << 30
    members: int = 20_000
    looked_at: int | None = None


@dataclass(frozen=True)
class Member:
    """One entry: `problem` says why it cannot be unpacked, `source` is what its own library knows of it."""

    name: str
    is_directory: bool
    size: int
    problem: str | None
    source: zipfile.ZipInfo | tarfile.TarInfo = field(repr=False)


class TooMuchError(Exception):
    """Who only looks ends here, and the message says why; nothing is wrong with the archive."""

    @classmethod
    def unpacked(cls, count: int) -> "TooMuchError":
        """More than `count` bytes would be unpacked."""
        return cls(f"more than {shown_size(count)} of it would have to be unpacked, where `inspect` ends")


class ArchiveRules:
    """The state of one archive: what was taken of it, and what must not be taken any more."""

    def __init__(self, archive: str, archive_bytes: int, limits: ArchiveLimits) -> None:
        self._archive = archive
        self._limits = limits
        self._allowed = min(limits.total_bytes, max(limits.ratio_from, limits.ratio * archive_bytes))
        self._bytes = 0
        self._spellings: dict[str, tuple[str, bool]] = {}

    def accepted(self, members: Iterable[Member]) -> Iterator[Member]:
        """The members that are files, their names cleaned. Raises `ModelError` for one that is not safe."""
        for number, member in enumerate(members):
            if number >= self._limits.members:
                raise self.refusal(f"has more than {self._limits.members} members")
            name = member.name.removeprefix("./").removesuffix("/") if member.name != "." else ""
            if not name or is_litter(name):
                self.pass_over(member.size)
                continue
            self.check_size(member.size)
            reason = _unsafe(name) or member.problem
            if reason:
                shown = "".join(letter if letter.isprintable() else "?" for letter in name)
                raise self.refusal(f"has a member that is not unpacked: `{shown}` {reason}")
            self._claim(name, member.is_directory)
            if not member.is_directory:
                yield Member(name, False, member.size, None, member.source)

    def pass_over(self, size: int) -> None:
        """Count bytes that are read but not written. Raises `ModelError` if there are too many."""
        self.check_size(size)
        self._bytes += size

    def check_size(self, size: int) -> None:
        """Raise `ModelError` if so many bytes more are too many, `TooMuchError` if a look stops there."""
        total = self._bytes + size
        if total > self._allowed:
            raise self.refusal(
                f"unpacks to more than {self._allowed >> 20} MiB, which is taken for an attack"
            )
        if self._limits.looked_at is not None and total > self._limits.looked_at:
            raise TooMuchError.unpacked(self._limits.looked_at)

    @contextmanager
    def damages(self) -> Iterator[None]:
        """Turn what `zipfile`, `tarfile` and `gzip` raise for damaged bytes into `CorruptModelError`."""
        try:
            yield
        except (
            zipfile.BadZipFile,
            tarfile.TarError,
            EOFError,
            zlib.error,
            lzma.LZMAError,
            ValueError,
        ) as problem:
            raise self.damage(problem) from None
        except (NotImplementedError, RuntimeError) as problem:
            raise self.refusal(f"cannot be unpacked: {problem}") from None
        except OSError as problem:  # bz2 and gzip have no error of their own for some damages
            raise self.damage(problem) from None

    def damage(self, problem: Exception) -> CorruptModelError:
        """The archive is damaged: `problem` says how."""
        return CorruptModelError(
            f"the archive `{self._archive}` is damaged: {str(problem) or 'it ends too early'}",
            hint="make or upload the archive again",
        )

    def emptiness(self) -> CorruptModelError:
        """There is no file in the archive."""
        return CorruptModelError(
            f"the archive `{self._archive}` holds no file", hint="make or upload the archive again"
        )

    def refusal(self, reason: str) -> ModelError:
        """The archive is not unpacked, for this reason."""
        return ModelError(
            f"the archive `{self._archive}` {reason}",
            hint="unpack it yourself, and give the directory of the model",
        )

    def _claim(self, name: str, is_directory: bool) -> None:
        """Raise if this name, or a directory on its way, is another member's name on some file system."""
        parts = name.split("/")
        for depth in range(1, len(parts) + 1):
            path = "/".join(parts[:depth])
            entry = (path, is_directory or depth < len(parts))
            key = unicodedata.normalize("NFC", unicodedata.normalize("NFC", path).casefold())
            known = self._spellings.get(key)
            if known is not None and (known != entry or not entry[1]):
                raise self.refusal(f"has two members of one name: `{known[0]}` and `{path}`")
            self._spellings[key] = entry


def _unsafe(name: str) -> str | None:
    """Why a member of this name is not unpacked on any system; None if it is."""
    if "\\" in name or _DRIVE.match(name):
        return "is written as a path of Windows"
    if any("\ud800" <= letter <= "\udfff" for letter in name):
        return "has a name that is not UTF-8"
    return why_unsafe(name)


def is_litter(name: str) -> bool:
    """Whether this is what macOS leaves in archives: twins of files that look like models and are none."""
    parts = PurePosixPath(name).parts
    return bool(parts) and (parts[0] == "__MACOSX" or parts[-1] == ".DS_Store" or parts[-1].startswith("._"))


def shared_top(paths: Sequence[str]) -> str:
    """The directories that hold nothing but the next one, with a slash at their end: "" if there is none."""
    top = ""
    while len({path[len(top) :].partition("/")[0] for path in paths}) == 1 and "/" in paths[0][len(top) :]:
        top += paths[0][len(top) :].partition("/")[0] + "/"
    return top
