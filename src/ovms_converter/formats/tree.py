"""A tree of files as the formats look at it: a few bytes of each, read once; and the tree on this machine."""

import os
import posixpath
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cached_property
from pathlib import Path

from ovms_converter.errors import AccessDeniedError, CorruptModelError, NotFoundError
from ovms_converter.formats.base import Files
from ovms_converter.formats.words import shown
from ovms_converter.formats.zipdir import zip_names

__all__ = ["LocalFiles", "Sample", "Tree", "Window", "inside", "stands_for_directory"]

HEAD = 4096
"""Bytes of a file that are read to tell what it is."""

PROBES = 16
"""Files whose names tell nothing that are opened if nothing else is found, the largest first."""

_DIRECTORY_NAMES = ("MLmodel", "saved_model.pb", "saved_model.pbtxt")
_OUTPUT_SUFFIXES = (".xml", ".bin", ".mapping")
_OUTPUT_RECORD = "conversion.json"


def stands_for_directory(name: str) -> bool:
    """True for a file name that means the directory it is in: `MLmodel`, `saved_model.pb`."""
    return posixpath.basename(name) in _DIRECTORY_NAMES


def inside(base: str, path: str, named_by: str) -> str:
    """`path`, which a file of the model names, below the directory `base`; both POSIX.

    Raises `CorruptModelError` if it is absolute or leaves the directory. Windows' separators are read as
    such.
    """
    parts = path.replace("\\", "/").split("/")
    if (
        not path.strip()
        or path[0] in "/\\~"
        or path[1:2] == ":"
        or "://" in path
        or ".." in parts
        or not path.isprintable()
    ):
        raise CorruptModelError(
            f"{named_by} names the file {shown(path)}, which is not inside the model's directory",
            hint="only files below the model's own directory are read; copy the file there and name it "
            "relatively",
        )
    return posixpath.join(base, *(part for part in parts if part not in ("", ".")))


class LocalFiles:
    """A file, or a directory with everything below it, on this machine.

    `paths` limits the tree to some files. Links to files are followed, links to directories are not. Raises
    `NotFoundError`.
    """

    def __init__(self, root: Path, paths: Iterable[str] | None = None) -> None:
        if root.is_file() and paths is None:
            paths = None if stands_for_directory(root.name) else (root.name,)
            root = root.parent
        if not root.is_dir():
            raise NotFoundError(f"there is nothing at `{root}`")
        self._root = root
        found = self._walk() if paths is None else paths
        self._sizes: dict[str, int | None] = {path: (root / path).stat().st_size for path in sorted(found)}

    def _walk(self) -> Iterator[str]:
        for directory, _, names in os.walk(self._root):
            for name in names:
                path = Path(directory, name)
                if path.is_file():
                    yield path.relative_to(self._root).as_posix()

    def sizes(self) -> Mapping[str, int | None]:
        """The bytes of every file by its relative POSIX path."""
        return self._sizes

    def read(self, path: str, start: int = 0, length: int | None = None) -> bytes:
        """Up to `length` bytes from `start`; raises `NotFoundError` or `AccessDeniedError`."""
        try:
            with (self._root / path).open("rb") as file:
                file.seek(start)
                return file.read(-1 if length is None else length)
        except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
            raise NotFoundError(f"there is no file `{path}` in `{self._root}`") from None
        except PermissionError:
            raise AccessDeniedError(f"the file `{path}` in `{self._root}` may not be read") from None


class Window:
    """Random access to a file of any size through few reads, each larger than the one before while they go
    on.

    `size` is the file's in bytes, or as many as are known to be there.
    """

    def __init__(self, read: Callable[[int, int], bytes], size: int, head: bytes = b"") -> None:
        self.size = size
        self._read = read
        self._start, self._block = 0, head
        self._step = HEAD

    def bytes(self, start: int, length: int) -> bytes:
        """Exactly the bytes from `start` on, fewer only at the end of the file."""
        end = min(start + length, self.size)
        if start >= end:
            return b""
        if not (self._start <= start and end <= self._start + len(self._block)):
            following = self._start <= start <= self._start + len(self._block) + HEAD
            self._step = min(self._step * 2, 1 << 20) if following else 2 * HEAD
            self._block = self._read(start, min(max(end - start, self._step), self.size - start))
            self._start = start
        return self._block[start - self._start : end - self._start]


class Sample:
    """One file: its name, its size in bytes (None if the store does not tell), its first bytes if asked."""

    def __init__(self, files: Files, path: str, size: int | None) -> None:
        self.path = path
        self.size = size
        self._files = files

    @property
    def name(self) -> str:
        """The last part of the path."""
        return posixpath.basename(self.path)

    @property
    def suffix(self) -> str:
        """The ending of the name, lower case, with its dot."""
        return posixpath.splitext(self.path)[1].lower()

    @property
    def stem(self) -> str:
        """The name without its ending."""
        return posixpath.splitext(self.name)[0] or self.name

    @cached_property
    def head(self) -> bytes:
        """The first 4 KiB."""
        head = self._files.read(self.path, 0, HEAD)
        if self.size is None:
            self.size = len(head) if len(head) < HEAD else self._files.sizes().get(self.path)
        return head

    def read(self, start: int, length: int) -> bytes:
        """Up to `length` bytes from `start`."""
        if start + length <= len(self.head):
            return self.head[start : start + length]
        return self._files.read(self.path, start, length)

    def window(self) -> Window:
        """The file for reading here and there; only its head if its size is not known."""
        head = self.head
        return Window(self.read, len(head) if self.size is None else self.size, head)

    @cached_property
    def zip_names(self) -> tuple[str, ...]:
        """The names in a ZIP archive, from its directory at the end; none if it is no whole archive."""
        return zip_names(self.window()) if self.head.startswith(b"PK\x03\x04") else ()


class Tree:
    """Files without those that are no source: hidden ones, and versions that a conversion has put there.

    A format takes what it recognises (`take`), and the formats after it do not see these files any more.
    """

    def __init__(self, files: Files, suffixes: frozenset[str], paths: Iterable[str] | None = None) -> None:
        self.files = files
        self._suffixes = suffixes
        self._is_whole = paths is None
        self._show(_sources(files.sizes()) if paths is None else paths)

    def _show(self, paths: Iterable[str]) -> None:
        sizes = self.files.sizes()
        self.paths = tuple(sorted(paths))
        self._known = frozenset(self.paths)
        self._samples = {path: Sample(self.files, path, sizes[path]) for path in self.paths}
        self._taken: set[str] = set()
        self.probing = len(self.paths) == 1

    def __contains__(self, path: object) -> bool:
        return path in self._known

    def sample(self, path: str) -> Sample:
        """A file of the tree, or one of a version that was published there."""
        if path not in self._samples:
            self._samples[path] = Sample(self.files, path, self.files.sizes()[path])
        return self._samples[path]

    def below(self, directory: str) -> tuple[str, ...]:
        """The paths of all files in a directory and its directories; all of the tree's for ""."""
        return tuple(path for path in self.paths if not directory or path.startswith(f"{directory}/"))

    def named(self, name: str) -> Iterator[Sample]:
        """The files of that name that no format has taken."""
        for path in self.paths:
            if posixpath.basename(path) == name and path not in self._taken:
                yield self._samples[path]

    def unclaimed(self) -> Iterator[Sample]:
        """The files worth a look that no format has taken: by their ending, or all of them while probing."""
        left = [self._samples[path] for path in self.paths if path not in self._taken]
        if self.probing:
            yield from sorted(left, key=lambda sample: -(sample.size or 0))[:PROBES]
        else:
            yield from (sample for sample in left if sample.suffix in self._suffixes)

    def take(self, paths: Iterable[str]) -> None:
        """Files that belong to a model that was found."""
        self._taken.update(paths)

    def narrowed(self, path: str) -> "Tree":
        """The tree of one file, or of a directory of this tree; paths stay relative to this tree."""
        return self.limited((path,) if path in self._known else self.below(path))

    def show_published(self) -> bool:
        """Count the versions that a conversion has put there among the files; False if there are none.

        Nothing is taken any more then. A tree of some of the files stays as it is.
        """
        visible = _visible(self.files.sizes())
        if not self._is_whole or len(visible) <= len(self.paths):
            return False
        self._show(visible)
        return True

    def limited(self, paths: Iterable[str]) -> "Tree":
        """The tree of some of the files."""
        return Tree(self.files, self._suffixes, paths)


def _sources(sizes: Mapping[str, int | None]) -> Iterable[str]:
    """Every file but hidden ones and published versions; if that leaves nothing, the tree is what it is."""
    visible = _visible(sizes)
    published = _published_versions(visible)
    sources = [path for path in visible if posixpath.dirname(path) not in published]
    return sources or visible or sizes


def _visible(paths: Iterable[str]) -> list[str]:
    return [
        path
        for path in paths
        if not any(part.startswith(".") or part == "__MACOSX" for part in path.split("/"))
    ]


def _published_versions(paths: Iterable[str]) -> set[str]:
    """Numbered directories that hold OpenVINO IR and nothing else: results of a conversion, not sources."""
    members: dict[str, list[str]] = {}
    for path in paths:
        members.setdefault(posixpath.dirname(path), []).append(posixpath.basename(path))
    return {
        directory
        for directory, names in members.items()
        if posixpath.basename(directory).isdigit()
        and any(name.endswith(".xml") for name in names)
        and all(name.endswith(_OUTPUT_SUFFIXES) or name == _OUTPUT_RECORD for name in names)
    }
