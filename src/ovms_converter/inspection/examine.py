"""The steps of an inspection: list, recognise, describe, judge. Nothing is converted or loaded."""

import posixpath
from collections.abc import Callable, Mapping
from contextlib import ExitStack, closing
from dataclasses import replace
from typing import TypeVar

from ovms_converter import formats
from ovms_converter.acquisition import directory_of, nothing_at, with_place
from ovms_converter.coverage import Operations, coverage, has_rule, workaround
from ovms_converter.errors import AmbiguousModelError, ModelError
from ovms_converter.formats.base import Files, ModelDescription, SourceModel
from ovms_converter.formats.describe import describe
from ovms_converter.formats.framework import FrameworkFormat
from ovms_converter.formats.native import IR
from ovms_converter.formats.tree import Tree
from ovms_converter.inspection.archives import HEAD, archive_kind, open_archive
from ovms_converter.inspection.details import companions, details
from ovms_converter.inspection.forecast import forecast
from ovms_converter.inspection.programs import executable_content
from ovms_converter.inspection.published import (
    find_published,
    is_published,
    published_description,
    source_graph,
)
from ovms_converter.inspection.reading import CountedFiles
from ovms_converter.inspection.report import Archive, Inspection, UnsupportedOperation
from ovms_converter.inspection.shapes import input_report, shape_advice
from ovms_converter.storage import open_source
from ovms_converter.storage.archive_rules import TooMuchError
from ovms_converter.storage.base import Listing, Source
from ovms_converter.storage.location import Location

__all__ = ["inspect"]

_STORES = ("s3", "gs", "az")
_WRITTEN = (*_STORES, "file")

_ROWS = {"zip": "archive.zip", "tar": "archive.tar", "tar.gz": "archive.gzip", "gzip": "archive.gzip"}
"""The formats of archives that a conversion unpacks."""

_Result = TypeVar("_Result")


def inspect(location: str, *, environ: Mapping[str, str], input_format: str = "auto") -> Inspection:
    """What is at a URL or path, from its listing and a few small reads; `environ` has the credentials.

    A model that is damaged or cannot be converted is told of too, as far as it can be read, with the error
    that `convert` would end with as `refusal`. Raises `RequestError`, `LocationError` and `UnavailableError`.
    """
    place = Location.parse(location)
    source = open_source(place, environ)
    listing = source.list()
    if listing.is_file and formats.stands_for_directory(listing.entries[0].path):
        place = directory_of(place)
        source = open_source(place, environ)
        listing = source.list()
    if not listing.entries:
        raise nothing_at(place)
    with closing(CountedFiles(source, listing)) as files, ExitStack() as resources:
        return _Examination(source, place, listing, files, input_format, resources).inspection()


class _Examination:
    """One inspection and what it has learned so far."""

    def __init__(
        self,
        source: Source,
        place: Location,
        listing: Listing,
        counted: CountedFiles,
        input_format: str,
        resources: ExitStack,
    ) -> None:
        self.source = source
        self.place = place
        self.listing = listing
        self.counted = counted
        self.files: Files = counted
        self.archive: Archive | None = None
        self.excess = ""
        self.input_format = input_format
        self.resources = resources
        self.refusal: ModelError | None = None

    def inspection(self) -> Inspection:
        sizes = self.counted.sizes()
        known = [size for size in sizes.values() if size is not None]
        found = Inspection(
            location=str(self.place),
            files=len(sizes),
            total_bytes=sum(known) if len(known) == len(sizes) else None,
            bytes_read=0,
            requests=0,
            published=None if self.listing.is_file else find_published(self.files, self.place.name),
        )
        if found.published and all(is_published(path, self.place.name) for path in sizes):
            found = self._published(found)
        elif self._opened():
            found = self._source(found)
        if self.excess or (self.archive and self.archive.files is None):
            found = self._unread(found)
        return replace(
            found,
            archive=self.archive,
            bytes_read=self.counted.bytes_read,
            requests=self.counted.requests,
            refusal=self.refusal,
        )

    def _opened(self) -> bool:
        """Open a single file where that must be; False if it is refused, or would cost too much."""
        if not self.listing.is_file:
            return True
        (entry,) = self.listing.entries
        found = self._tried(lambda: open_archive(self.source, entry, self.counted, self.resources))
        if found is not None:
            self.archive, self.excess = found.archive, found.excess
            self.files = found.files or self.files
        elif self.refusal:
            self.archive = Archive(
                archive_kind(self.counted.read(entry.path, 0, HEAD), entry.path), None, None
            )
        return self.refusal is None and not self.excess

    def _unread(self, found: Inspection) -> Inspection:
        """What can be said of a file that is refused, or not looked into to its end."""
        told = found.description or self._beginning()
        found = replace(found, description=told, convertible=self.refusal is None, command=())
        if self.refusal:
            return found
        advice = f"{self.excess}: `convert` takes all of it"
        known = found.model_bytes if found.total_bytes is not None else None
        return replace(found, model_bytes=known, advice=(advice,), command=self._command(()))

    def _beginning(self) -> ModelDescription | None:
        """What the first bytes of a single file tell."""
        if self.archive:
            row = formats.format_named(_ROWS[self.archive.kind])
            return ModelDescription(row.name, row.title, "its first bytes are those of one")
        tree = formats.open_tree(self.counted)
        model = self._tried(lambda: formats.identify(tree, self.input_format))
        if model is None:
            return None
        return ModelDescription(model.format, formats.format_named(model.format).title, model.evidence)

    def _published(self, found: Inspection) -> Inspection:
        assert found.published is not None
        description = published_description(found.published, self.files)
        return replace(
            found,
            path=found.published.place,
            description=description,
            inputs=tuple(input_report(spec, description.format) for spec in description.inputs),
            model_bytes=sum(size or 0 for size in found.published.files.values()),
        )

    def _source(self, found: Inspection) -> Inspection:
        tree = formats.open_tree(self.files)
        model = self._tried(lambda: formats.identify(tree, self.input_format))
        if model is None:
            return found
        row = formats.format_named(model.format)
        self._tried(lambda: row.confirm(tree, model))
        if isinstance(row, FrameworkFormat):
            self._tried(lambda: row.check_trust(tree, model))
        description = self._tried(lambda: describe(self.files, model))
        found = replace(
            found,
            path=model.path,
            mlflow=model.mlflow,
            model_bytes=sum(self.files.sizes()[path] or 0 for path in model.needs),
            executable=self._tried(lambda: executable_content(tree, model)) or (),
        )
        if description:
            found = self._described(found, description)
            if row.convertible:
                found = self._detailed(found, tree, model, description)
        if model.format == IR.name and description:
            found = self._described(found, source_graph(description, self.files, model.path))
        return replace(found, convertible=self.refusal is None)

    def _described(self, found: Inspection, description: ModelDescription) -> Inspection:
        """What the model says of itself; the advice of a format that is refused is its refusal's hint."""
        notes = tuple(note for note in description.notes if not note.startswith("logged by MLflow"))
        if not formats.format_named(description.format).convertible:
            notes = notes[1:]
        inputs = tuple(input_report(spec, description.format) for spec in description.inputs)
        return replace(found, description=replace(description, notes=notes), inputs=inputs)

    def _detailed(
        self, found: Inspection, tree: Tree, model: SourceModel, description: ModelDescription
    ) -> Inspection:
        """Operations, weights, forecast and command line of a model of a format that can be converted."""
        needed = {*model.needs, *(self._tried(lambda: companions(tree, model)) or ())}
        seen = self._tried(lambda: details(tree, model))
        if seen is None:
            return replace(found, command=() if self.refusal else self._command(()))
        notes = found.description.notes if found.description else ()
        sizes = self.files.sizes()
        weights = sum(kind.bytes for kind in seen.weights)
        # The neighbours of a single file are not listed; their weights tell their size.
        source_bytes = max(sum(sizes.get(path) or 0 for path in needed), weights)
        expected = forecast(
            seen.weights,
            format=model.format,
            source_bytes=(found.total_bytes or 0) if self.archive else source_bytes,
            remote=self.place.is_remote,
            stored=self.place.scheme in _STORES,
            unpacked_bytes=(self.archive.bytes or 0) if self.archive else 0,
        )
        return replace(
            found,
            description=replace(description, operations=seen.operations.by_domain(), notes=notes),
            model_bytes=source_bytes,
            weights=seen.weights,
            coverage=coverage(),
            unsupported=_unsupported(seen.operations),
            forecast=expected if seen.weights else None,
            advice=(*seen.advice, *shape_advice(found.inputs), *self._secret_advice()),
            command=() if self.refusal or seen.options is None else self._command(seen.options),
        )

    def _command(self, options: tuple[str, ...]) -> tuple[str, ...]:
        """A command line that converts what is here, to a place beside it; none if it would hold a secret."""
        shown = str(self.place)
        if shown != self.place.text:
            return ()
        if self.place.scheme not in _WRITTEN:
            target = f"./{posixpath.splitext(self.place.name.removesuffix('.gz'))[0] or 'model'}-ovms"
        elif self.listing.is_file:
            target = f"{posixpath.splitext(shown.removesuffix('.gz'))[0]}-ovms"
        else:
            target = f"{shown.rstrip('/')}/ovms"
        chosen = () if self.input_format == "auto" else ("--input-format", self.input_format)
        return ("ovms-converter", "convert", shown, target, *chosen, *options)

    def _secret_advice(self) -> tuple[str, ...]:
        if str(self.place) == self.place.text:
            return ()
        return ("the URL holds what is not repeated here: give it to `ovms-converter convert` as it is",)

    def _tried(self, step: Callable[[], _Result]) -> _Result | None:
        """What a step gives, or None with the first error about the model kept as the refusal."""
        try:
            return step()
        except AmbiguousModelError as error:
            self.refusal = self.refusal or with_place(error, self.place, archive=self.archive is not None)
        except ModelError as error:
            self.refusal = self.refusal or error
        except TooMuchError as excess:
            self.excess = self.excess or str(excess)
        return None


def _unsupported(operations: Operations) -> tuple[UnsupportedOperation, ...]:
    return tuple(
        UnsupportedOperation(
            domain,
            name,
            count,
            tuple(operations.nodes[domain, name]),
            workaround(domain, name),
        )
        for (domain, name), count in operations.counts.most_common()
        if not has_rule(domain, name) and (domain, name) not in operations.own
    )
