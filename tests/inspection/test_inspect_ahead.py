"""Asking beforehand for what is likely needed next changes how long a look takes, and nothing else."""

import threading
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ovms_converter.errors import UnavailableError
from ovms_converter.formats.onnx_graph import describe_onnx
from ovms_converter.formats.outline import onnx_outline
from ovms_converter.formats.tree import Sample
from ovms_converter.formats.wire import bytes_field, encode_varint, varint_field
from ovms_converter.inspection.reading import CountedFiles
from ovms_converter.storage.base import Entry, FetchedTree, Listing, Progress
from ovms_converter.storage.location import Location


class Store:
    """A source of one file that knows which reads somebody waits for: those of the main thread."""

    location = Location.parse("s3://bucket/m.onnx")

    def __init__(self, pieces: Mapping[int, bytes], size: int, broken: range = range(0)) -> None:
        self._pieces = pieces
        self._broken = broken
        self.size = size
        self.awaited = 0

    def list(self) -> Listing:
        return Listing(True, (Entry("m.onnx", self.size),))

    def reads_parts(self, path: str) -> bool:
        return True

    def fetch(self, paths: Sequence[str], directory: Path, progress: Progress) -> FetchedTree:
        raise NotImplementedError

    def size_of(self, path: str) -> int | None:
        return self.size

    def read(self, path: str, start: int = 0, length: int | None = None) -> bytes:
        self.awaited += threading.current_thread() is threading.main_thread()
        if start in self._broken:
            raise UnavailableError("the store is gone")
        end = self.size if length is None else min(start + length, self.size)
        data = bytearray(end - start)
        for at, piece in self._pieces.items():
            first, last = max(at, start), min(at + len(piece), end)
            if first < last:
                data[first - start : last - start] = piece[first - at : last - at]
        return bytes(data)


def layered(layers: int) -> Store:
    """A model with its weights inside: six of 4 MB and six of 4 kB in each of its layers."""
    shapes = [(1024, 1024), (1024,)] * 6
    named = [(f"layer{layer}.w{index}", dims) for layer in range(layers) for index, dims in enumerate(shapes)]
    parts: list[tuple[bytes, int]] = []
    for name, dims in named:
        size = 4 * (1024 if len(dims) == 1 else 1024 * 1024)
        head = b"".join(varint_field(1, dim) for dim in dims) + varint_field(2, 1) + bytes_field(8, name)
        head += encode_varint(9 << 3 | 2) + encode_varint(size)
        parts.append((encode_varint(5 << 3 | 2) + encode_varint(len(head) + size) + head, size))
    start = varint_field(1, 8) + encode_varint(7 << 3 | 2)
    start += encode_varint(sum(len(head) + size for head, size in parts))
    pieces = {0: start}
    at = len(start)
    for head, size in parts:
        pieces[at] = head
        at += len(head) + size
    return Store(pieces, at)


def looked_at(store: Store) -> CountedFiles:
    with closing(CountedFiles(store, store.list())) as files:
        found = describe_onnx(memoryview(onnx_outline(Sample(files, "m.onnx", store.size).window())))
    assert found.parameter_bytes > store.size - 100_000
    return files


def test_a_model_of_many_like_layers_takes_few_waits() -> None:
    """A thousand layers of a gigabyte or two would take minutes one answer after the other."""
    few, many = layered(6), layered(48)
    looked_at(few)
    files = looked_at(many)
    assert files.requests > 48 * 6
    assert many.awaited - few.awaited < 10
    assert many.awaited < 60


def test_guesses_cost_little_where_nothing_repeats() -> None:
    sizes = [1000 * index * index for index in range(40, 120)]
    store = Store({}, sum(sizes) + 20_000)
    at = 0
    with closing(CountedFiles(store, store.list())) as files:
        for size in sizes:
            files.read("m.onnx", at, 8192)
            at += size
    assert files.requests <= len(sizes) + 8


@given(
    st.lists(st.sampled_from([5_000, 40_000, 41_000, 300_000]), min_size=1, max_size=60),
    st.sampled_from([10, 8192]),
)
def test_the_bytes_are_the_files(distances: list[int], length: int) -> None:
    size = sum(distances) + length
    pieces = {at: at.to_bytes(8, "big") for at in range(0, size, 4096)}
    store = Store(pieces, size)
    at = 0
    with closing(CountedFiles(store, store.list())) as files:
        for distance in distances:
            assert files.read("m.onnx", at, length) == store.read("m.onnx", at, length)
            at += distance


def test_an_error_of_a_guess_is_that_of_the_read() -> None:
    store = Store({}, 4_000_000, broken=range(1_900_000, 4_000_000))
    with closing(CountedFiles(store, store.list())) as files, pytest.raises(UnavailableError, match="gone"):
        for at in range(0, 4_000_000, 100_000):
            files.read("m.onnx", at, 8192)


def test_an_error_of_a_guess_that_nobody_needed_is_none() -> None:
    store = Store({}, 4_000_000, broken=range(1_900_000, 4_000_000))
    with closing(CountedFiles(store, store.list())) as files:
        for at in range(0, 1_800_000, 100_000):
            files.read("m.onnx", at, 8192)
