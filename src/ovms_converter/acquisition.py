"""From a URL to a recognised model on this machine: the first two stages of a conversion."""

import hashlib
import json
import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from ovms_converter import formats
from ovms_converter.errors import AmbiguousModelError, NotFoundError
from ovms_converter.events import Stage
from ovms_converter.formats.base import Files, SourceModel
from ovms_converter.formats.framework import EXAMPLE_BYTES, examples_of
from ovms_converter.repository import RECORD
from ovms_converter.request import ConversionRequest
from ovms_converter.storage import open_source
from ovms_converter.storage.archive import may_be_archive, unpacked
from ovms_converter.storage.base import Entry, FetchedTree, Listing, Source
from ovms_converter.storage.location import Location
from ovms_converter.storage.nearby import CHECK

__all__ = ["Acquisition", "Meter", "SourceState", "StageReport", "directory_of", "nothing_at", "with_place"]

_ARCHIVE_START = 512
_SCRATCH = ".ovms-"
_BY_PATH = re.compile(r"give one of them by its path, such as `<input_model>/[^`]*`")


@dataclass(frozen=True)
class SourceState:
    """What a store tells of a source without its bytes; equal states are equal sources.

    `listing`  digest over the source's place and the names of its files, with the sizes of those not read
    `etags`    strong ETag of every file that was read, by its path
    """

    listing: str
    etags: Mapping[str, str]

    @classmethod
    def parse(cls, value: object) -> "SourceState | None":
        """The state that a record tells of; None if it tells none."""
        if not isinstance(value, Mapping):
            return None
        listing, etags = value.get("listing"), value.get("etags")
        if not isinstance(listing, str) or not isinstance(etags, Mapping) or not etags:
            return None
        known = {path: etag for path, etag in etags.items() if isinstance(etag, str) and etag}
        return cls(listing, known) if len(known) == len(etags) else None


class Meter(Protocol):
    """Counts the bytes of a stage."""

    def __call__(self, count: int, /) -> None:
        """`count` bytes more are through; may be called from any thread."""

    def expect(self, total: int | None) -> None:
        """The stage will move `total` bytes in all; None if that is not known."""


class StageReport(Protocol):
    """Reports a stage while a block runs; what it yields counts bytes."""

    def __call__(
        self, stage: Stage, detail: str = "", total: int | None = None, *, in_place: bool = False
    ) -> AbstractContextManager[Meter]:
        """Begin a stage; one whose bytes stay `in_place` moves none, and what is counted does not show."""


class SourceFiles:
    """A source as the tree of files that the formats look at; `looked_at` are the paths that were read."""

    def __init__(self, source: Source, listing: Listing) -> None:
        self.looked_at: set[str] = set()
        self._source = source
        self._sizes = {entry.path: entry.size for entry in listing.entries}

    def sizes(self) -> Mapping[str, int | None]:
        """See `Files`."""
        return self._sizes

    def read(self, path: str, start: int = 0, length: int | None = None) -> bytes:
        """See `Files`."""
        self.looked_at.add(path)
        data = self._source.read(path, start, length)
        if self._sizes.get(path, 0) is None:
            self._sizes[path] = self._source.size_of(path)
        return data


class Acquisition:
    """The source of one request: `look` finds out what is there, `fetch` brings what conversion needs."""

    def __init__(self, request: ConversionRequest, environ: Mapping[str, str]) -> None:
        self._request = request
        self._environ = environ
        self._source = open_source(request.input, environ)
        self._listing = Listing(is_file=False, entries=())
        self._read: set[str] = set()

    @property
    def source(self) -> Source:
        """Where the files come from."""
        return self._source

    def is_still(self, state: SourceState) -> bool:
        """Whether the source is what it was in an earlier run; its store is asked, no byte is read.

        Raises what `look` raises.
        """
        if formats.stands_for_directory(self._request.input.name):
            self.look()
        if self._source.place is None or not self._source.has_still(state.etags):
            return False
        self.look()
        return self._listed(state.etags) == state.listing

    def state(self) -> SourceState | None:
        """By what a later run can tell that the source has not changed, once all is fetched; None if nothing
        does.
        """
        found = {path: self._source.etag(path) for path in sorted(self._read)}
        etags = {path: etag for path, etag in found.items() if etag}
        if self._source.place is None or len(etags) < len(found):
            return None
        return SourceState(self._listed(etags), etags)

    def _listed(self, etags: Mapping[str, str]) -> str:
        """See `SourceState.listing`. The ETag of a file that was read tells more than its size."""
        files = [[entry.path, None if entry.path in etags else entry.size] for entry in self._listing.entries]
        listed = json.dumps([self._source.place, self._listing.is_file, sorted(files, key=str)])
        return f"sha256:{hashlib.sha256(listed.encode()).hexdigest()}"

    def look(self) -> None:
        """List the source, without what this program published or staged in it.

        Raises `NotFoundError` if nothing is there, and what `Source.list` raises.
        """
        listing = self._source.list()
        if listing.is_file and formats.stands_for_directory(listing.entries[0].path):
            self._source = open_source(directory_of(self._request.input), self._environ)
            listing = self._source.list()
        found = listing.entries
        if not listing.is_file:
            listing = replace(listing, entries=tuple(filter(self._is_source(listing), found)))
        if not listing.entries:
            raise nothing_at(self._request.input, published=bool(found))
        self._listing = listing

    def fetch(self, directory: Path, stage: StageReport) -> tuple[SourceModel, FetchedTree]:
        """Recognise the model by a few bytes and bring it below `directory`, which is made.

        Raises `ModelError` for what is no model that can be converted, and what `Source.fetch` raises.
        """
        directory.mkdir(parents=True)
        if self._is_archive():
            return self._fetch_archive(directory, stage)
        files = SourceFiles(self._source, self._listing)
        with stage(Stage.RECOGNISE, str(self._request.input)):
            model = self._recognise(files)
        sizes = files.sizes()
        total = _sum([sizes.get(path) for path in model.needs])
        in_place = not self._request.input.is_remote
        with stage(Stage.FETCH, str(self._request.input), total, in_place=in_place) as progress:
            tree = self._source.fetch(model.needs, directory, progress)
            missing = self._companions(tree.root, model, files)
            if missing:
                self._refuse_unsupported(tree.root, model)
                progress.expect(_sum([total, *(sizes.get(path) for path in missing)]))
                more = self._source.fetch(missing, directory, progress)
                tree = FetchedTree(tree.root, tree.files + more.files)
        self._read |= files.looked_at | {file.path for file in tree.files}
        return replace(model, needs=tuple(file.path for file in tree.files)), tree

    def _fetch_archive(self, directory: Path, stage: StageReport) -> tuple[SourceModel, FetchedTree]:
        """The other way round: an archive must be here before anybody can look into it."""
        archive, contents = directory / "archive", directory / "contents"
        archive.mkdir()
        contents.mkdir()
        (entry,) = self._listing.entries
        in_place = not self._request.input.is_remote
        with stage(Stage.FETCH, str(self._request.input), entry.size, in_place=in_place) as progress:
            fetched = self._source.fetch([entry.path], archive, progress)
            tree = unpacked(fetched, contents) or fetched
        files = formats.LocalFiles(tree.root, [file.path for file in tree.files])
        with stage(Stage.RECOGNISE, str(self._request.input)):
            model = self._recognise(files, unpacked=tree is not fetched)
            needed = {*model.needs, *self._companions(tree.root, model, files)}
        used = tuple(file for file in tree.files if file.path in needed)
        return replace(model, needs=tuple(file.path for file in used)), FetchedTree(tree.root, used)

    def example(self, model: SourceModel, tree: FetchedTree, directory: Path) -> Path | None:
        """MLflow's input example, which a conversion does not need; fetched if it is not here already."""
        sizes = {entry.path: entry.size for entry in self._listing.entries}
        for path in examples_of(model):
            here = tree.root / path
            size = here.stat().st_size if here.is_file() else sizes.get(path)
            if not size or size > EXAMPLE_BYTES:
                continue
            if here.is_file():
                return here
            directory.mkdir(parents=True, exist_ok=True)
            return self._source.fetch([path], directory, lambda _: None).root / path
        return None

    def _is_archive(self) -> bool:
        if not self._listing.is_file:
            return False
        (entry,) = self._listing.entries
        self._read.add(entry.path)
        return may_be_archive(self._source.read(entry.path, 0, _ARCHIVE_START))

    def _recognise(self, files: Files, *, unpacked: bool = False) -> SourceModel:
        try:
            return formats.recognise(files, self._request.input_format, trusted=self._request.trust_source)
        except AmbiguousModelError as error:
            raise with_place(error, self._request.input, archive=unpacked) from None

    def _companions(self, root: Path, model: SourceModel, files: Files) -> list[str]:
        """What the graph refers to and is not here yet; refuses a graph that cannot be converted."""
        cut = bool(self._request.arguments.input or self._request.arguments.output)
        return sorted(set(formats.companions(root, model, files, cut=cut)) - set(model.needs))

    def _refuse_unsupported(self, root: Path, model: SourceModel) -> None:
        """Refuse a graph that no conversion would take, before its weights are fetched.

        A cut may leave out just what cannot be converted, so a model that is cut gets its chance.
        """
        arguments = self._request.arguments
        cut = arguments.input or arguments.output
        if model.format == "onnx" and self._request.output_format == "openvino" and not cut:
            # Here and not above: what is imported before the child is started delays it.
            from ovms_converter.coverage import refuse_unsupported

            refuse_unsupported(root / model.path, model.path)

    def _is_source(self, listing: Listing) -> Callable[[Entry], bool]:
        """Whether a file belongs to the source: neither below the output nor in a version of ours."""
        request = self._request
        published = tuple(
            entry.path.removesuffix(RECORD) for entry in listing.entries if entry.path.endswith(f"/{RECORD}")
        )

        def belongs(entry: Entry) -> bool:
            staged = any(part.startswith(_SCRATCH) for part in entry.path.split("/"))
            below_output = request.output != request.input and request.output.contains(
                request.input.child(entry.path)
            )
            return not (staged or below_output or entry.path.startswith(published))

        return belongs


def _sum(sizes: Sequence[int | None]) -> int | None:
    """Bytes in all; None if one of the sizes is not known."""
    known = [size for size in sizes if size is not None]
    return sum(known) if len(known) == len(sizes) else None


def nothing_at(location: Location, *, published: bool = False) -> NotFoundError:
    """There are no files, or none but versions that were `published` there."""
    if published:
        return NotFoundError(
            f"there is no model at `{location}` beside the versions that were published there",
            hint="give the place of the model that they were made from, which their `conversion.json` tells",
        )
    if not location.is_remote:
        return NotFoundError(
            f"the directory `{location}` holds no files",
            hint="give the directory or file of the model itself",
        )
    return NotFoundError(f"there is nothing at `{location}`", hint=CHECK)


def with_place(error: AmbiguousModelError, location: Location, *, archive: bool) -> AmbiguousModelError:
    """The error with a path that can be given as it is; of what is in an archive there is none."""
    hint = error.hint or ""
    if archive:
        hint = _BY_PATH.sub("unpack it, and give one of them by its path", hint)
    return AmbiguousModelError(error.message, hint=hint.replace("<input_model>", str(location).rstrip("/")))


def directory_of(location: Location) -> Location:
    """The directory of a file's location; a query, such as a presigned URL's, belongs to the file alone."""
    text = location.text.partition("?")[0] if location.scheme.startswith("http") else location.text
    return Location.parse(text.rstrip("/").rpartition("/")[0] or (text[:1] if text.startswith("/") else "."))
