"""A small `.onnx` beside the large one: its weights are references into the original file.

Protocol Buffers must be parsed into memory as a whole, so an ONNX file with its weights inside costs its
size twice. External data, in contrast, is only mapped. This writes a copy of the model in which every large
tensor points to the place where its bytes already are; the file itself appears beside it by a hard link,
because OpenVINO refuses external data outside of the model's directory, behind symbolic links as well.
"""

import contextlib
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from ovms_converter.errors import CorruptModelError, ResourceError
from ovms_converter.formats.wire import LENGTH, Field, Message, bytes_field, fields, varint_field
from ovms_converter.optimizer.onnx_graph import is_classical

__all__ = ["Weights", "external_files", "place_file"]

_WEIGHTS = "ovms-converter.weights"
_LEAST = 4096
"""Bytes from which a tensor is worth a reference."""

_TENSOR_NAME, _DATA_TYPE, _RAW, _FLOATS, _DOUBLES, _EXTERNAL, _LOCATION = 8, 2, 9, 4, 10, 13, 14
_FLOAT, _DOUBLE = 1, 11
_ATTRIBUTE, _ONE_TENSOR, _ONE_GRAPH, _TENSORS, _GRAPHS = 5, 5, 6, 10, 11
_NODE, _INITIALIZER = 1, 5


@dataclass
class Weights:
    """Moves the tensors of one model out of it; `moved` counts their bytes."""

    moved: int = 0

    def graph(self, data: memoryview, start: int, keep: Callable[[Field], bool] = lambda _: True) -> bytes:
        """A `GraphProto` at `start` of the file, its weights as references, without what `keep` denies."""
        parts: list[bytes] = []
        for item in fields(data):
            if not keep(item):
                continue
            if item.number == _INITIALIZER:
                parts.append(bytes_field(_INITIALIZER, self.tensor(item.data, start + item.payload)))
            elif item.number == _NODE:
                parts.append(self._node(data, item, start))
            else:
                parts.append(bytes(data[item.start : item.end]))
        return b"".join(parts)

    def tensor(self, data: memoryview, start: int) -> bytes:
        """A `TensorProto` at `start` of the file, with a reference for its elements if they are many."""
        if len(data) < _LEAST:
            return bytes(data)
        elements = _elements(Message(data))
        if elements is None:
            return bytes(data)
        self.moved += len(elements.data)
        entries = {
            "location": _WEIGHTS,
            "offset": str(start + elements.payload),
            "length": str(len(elements.data)),
        }
        references = (bytes_field(1, key) + bytes_field(2, value) for key, value in entries.items())
        return b"".join(
            [
                *(
                    bytes(data[item.start : item.end])
                    for item in fields(data)
                    if item.start != elements.start
                ),
                *(bytes_field(_EXTERNAL, reference) for reference in references),
                varint_field(_LOCATION, 1),
            ]
        )

    def _node(self, data: memoryview, item: Field, start: int) -> bytes:
        """A `NodeProto` field; only a large one can hold a large tensor, in an attribute or in a subgraph."""
        if len(item.data) < _LEAST or is_classical(item.data):
            return bytes(data[item.start : item.end])
        node, at = item.data, start + item.payload
        parts = [
            bytes_field(_ATTRIBUTE, self._attribute(part.data, at + part.payload))
            if part.number == _ATTRIBUTE
            else bytes(node[part.start : part.end])
            for part in fields(node)
        ]
        return bytes_field(_NODE, b"".join(parts))

    def _attribute(self, data: memoryview, start: int) -> bytes:
        parts: list[bytes] = []
        for item in fields(data):
            if item.number in (_ONE_TENSOR, _TENSORS):
                parts.append(bytes_field(item.number, self.tensor(item.data, start + item.payload)))
            elif item.number in (_ONE_GRAPH, _GRAPHS):
                parts.append(bytes_field(item.number, self.graph(item.data, start + item.payload)))
            else:
                parts.append(bytes(data[item.start : item.end]))
        return b"".join(parts)

    def place(self, model: Path, directory: Path) -> None:
        """Put the original file where the references expect it, if there are any."""
        if self.moved:
            place_file(model, directory / _WEIGHTS)


def _elements(tensor: Message) -> Field | None:
    """The field whose payload is the elements as they lie in memory; None if they are few or elsewhere."""
    if tensor.integer(_LOCATION):
        return None
    kind = tensor.integer(_DATA_TYPE)
    for number, wanted in ((_RAW, None), (_FLOATS, _FLOAT), (_DOUBLES, _DOUBLE)):
        found = tensor.all(number)
        if found and wanted in (None, kind) and len(found) == 1 and found[0].wire_type == LENGTH:
            return found[0] if len(found[0].data) >= _LEAST else None
    return None


def external_files(graph: memoryview) -> Iterator[PurePosixPath]:
    """The files that the tensors of a graph and its subgraphs lie in, relative to the model; with repeats."""
    for item in fields(graph):
        if item.number == _INITIALIZER:
            yield from _external_files(item.data)
        elif item.number == _NODE and not is_classical(item.data):
            for attribute in Message(item.data).messages(_ATTRIBUTE):
                for tensor in (*attribute.all(_ONE_TENSOR), *attribute.all(_TENSORS)):
                    yield from _external_files(tensor.data)
                for inner in (*attribute.all(_ONE_GRAPH), *attribute.all(_GRAPHS)):
                    yield from external_files(inner.data)


def _external_files(tensor: memoryview) -> Iterator[PurePosixPath]:
    for item in fields(tensor):
        if item.number == _EXTERNAL and item.wire_type == LENGTH:
            entry = Message(item.data)
            if entry.text(1) == "location":
                path = PurePosixPath(entry.text(2))
                if path.is_absolute() or ".." in path.parts:
                    raise CorruptModelError(
                        f"the external data `{path}` lies outside of the model's directory"
                    )
                yield path


def place_file(original: Path, place: Path) -> None:
    """Make a file appear at another place: by a hard link, or by a copy where the file system has no links.

    The copy is made inside the kernel, shared or page by page, so it takes disk but no memory of this
    process. Raises `ResourceError` if the disk is full.
    """
    place.parent.mkdir(parents=True, exist_ok=True)
    # what is there may be a link to somebody's file, which must never be written to
    place.unlink(missing_ok=True)
    with contextlib.suppress(OSError):
        # a link to a symbolic link would lead out of the directory
        place.hardlink_to(original.resolve())
        return
    try:
        _copy(original, place)
    except OSError as error:
        raise ResourceError(f"cannot copy the weights into the work directory: {error.strerror}") from None


def _copy(original: Path, place: Path) -> None:
    with original.open("rb") as source, place.open("xb") as target:
        left = os.fstat(source.fileno()).st_size
        try:
            while left and hasattr(os, "copy_file_range"):
                copied = os.copy_file_range(source.fileno(), target.fileno(), min(left, 1 << 30))
                left -= copied
                if not copied:
                    return
        except OSError:
            source.seek(0)
            target.seek(0)
            shutil.copyfileobj(source, target, 1 << 20)
            return
        if left:
            shutil.copyfileobj(source, target, 1 << 20)
