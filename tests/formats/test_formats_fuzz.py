"""Hostile bytes: only errors of this package come out of any reader, and its work grows with the size."""

import json
import struct
from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from formats_helpers import DATA, MemoryFiles, adding, external_tensor, onnx_bytes
from ovms_converter import formats
from ovms_converter.errors import ConverterError, CorruptModelError
from ovms_converter.formats.base import Files
from ovms_converter.formats.checkpoint import read_checkpoint, shard_count
from ovms_converter.formats.describe import describe
from ovms_converter.formats.mlmodel import parse_mlmodel
from ovms_converter.formats.onnx_graph import describe_onnx
from ovms_converter.formats.outline import onnx_outline
from ovms_converter.formats.saved_model import describe_saved_model
from ovms_converter.formats.tree import Window, inside
from ovms_converter.formats.wire import Message, bytes_field, encode_varint, fields, varint_field
from ovms_converter.formats.zipdir import zip_names

ONNX = onnx_bytes(adding("w"), [external_tensor("w", "w.bin", offset=4, length=8)])
SAVED_MODEL = (DATA / "mlflow/2.22.1-tensorflow-module-signature/model/tf2model/saved_model.pb").read_bytes()
INDEX = (
    DATA / "mlflow/2.22.1-tensorflow-module-signature/model/tf2model/variables/variables.index"
).read_bytes()
MLMODEL = (DATA / "mlflow/2.9.2-onnx-external/model/MLmodel").read_bytes()
KERAS = (DATA / "formats/mlflow/3.18.0-keras-lambda/data/model.keras").read_bytes()

quick = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])

wire_messages = st.recursive(
    st.binary(max_size=12),
    lambda inner: st.lists(
        st.one_of(
            st.builds(bytes_field, st.integers(1, 30), inner),
            st.builds(varint_field, st.integers(1, 30), st.integers(-(2**63), 2**63 - 1)),
        ),
        max_size=6,
    ).map(b"".join),
    max_leaves=25,
)
"""Well-formed messages of any field numbers, nested."""


def mutated(original: bytes) -> st.SearchStrategy[bytes]:
    """A real file with some bytes overwritten, and perhaps cut off."""
    size = len(original)
    edits = st.lists(st.tuples(st.integers(0, size - 1), st.binary(min_size=1, max_size=4)), max_size=6)

    def apply(changes: list[tuple[int, bytes]], end: int) -> bytes:
        data = bytearray(original)
        for at, new in changes:
            data[at : at + len(new)] = new
        return bytes(data[:end])

    return st.builds(apply, edits, st.one_of(st.just(size), st.integers(0, size)))


def survives(read: Callable[[], object]) -> None:
    """Nothing but an error of this package, with one line of text."""
    try:
        read()
    except ConverterError as error:
        assert error.exit_code in (2, 5)
        assert error.message
        assert "\n" not in error.message


def recognised(files: Files) -> object:
    """Go through everything that looks at a tree without needing it on disk."""
    survives(lambda: formats.recognise(files))
    found = formats.identify(formats.open_tree(files))
    return describe(files, found)


@quick
@given(st.one_of(st.binary(max_size=200), wire_messages))
def test_the_wire_reader(data: bytes) -> None:
    view = memoryview(data)
    survives(lambda: [item.data for item in fields(view)])
    survives(lambda: [Message(view).integers(number) for number in range(1, 31)])
    survives(lambda: [Message(view).texts(number) for number in range(1, 31)])


@quick
@given(wire_messages)
def test_the_wire_reader_takes_apart_what_was_put_together(data: bytes) -> None:
    def whole(items: list[tuple[int, bytes]]) -> bytes:
        return b"".join(bytes_field(number, payload) for number, payload in items)

    items = [(number, data[:number]) for number in range(1, 6)]
    assert [(item.number, bytes(item.data)) for item in fields(memoryview(whole(items)))] == items


@given(st.integers(-(2**63), 2**64 - 1))
def test_varints(number: int) -> None:
    found = next(fields(memoryview(b"\x08" + encode_varint(number))))
    assert found.integer == number % 2**64


@quick
@given(st.one_of(wire_messages.map(lambda data: bytes_field(7, data)), mutated(ONNX)))
def test_the_onnx_reader(data: bytes) -> None:
    survives(lambda: describe_onnx(memoryview(data)))
    survives(lambda: onnx_outline(Window(lambda start, length: data[start : start + length], len(data))))


@quick
@given(st.one_of(wire_messages.map(lambda data: bytes_field(2, data)), mutated(SAVED_MODEL)))
def test_the_saved_model_reader(data: bytes) -> None:
    survives(lambda: describe_saved_model(memoryview(data)))


@quick
@given(st.one_of(st.binary(max_size=200), mutated(INDEX)))
def test_the_checkpoint_reader(data: bytes) -> None:
    survives(lambda: read_checkpoint(memoryview(data)))
    survives(lambda: shard_count(data))


@quick
@given(st.one_of(st.binary(max_size=200), st.text(max_size=200).map(str.encode), mutated(MLMODEL)))
@example(b"flavors: {onnx: {data: " + b"9" * 5000 + b"}}")
@example(b"flavors: {? [a] : b}")
@example(b"flavors: {a: !!set {b, c}}")
@example(b"flavors: &a {a: *a}")
@example(b"? !!map {flavors: x} : y")
def test_the_mlmodel_reader(data: bytes) -> None:
    survives(lambda: parse_mlmodel(data))


@quick
@given(
    st.recursive(
        st.one_of(st.none(), st.booleans(), st.integers(), st.text(max_size=8), st.just("model.onnx")),
        lambda inner: st.one_of(
            st.lists(inner, max_size=3),
            st.dictionaries(
                st.sampled_from(["data", "saved_model_dir", "model_data", "inputs"]), inner, max_size=3
            ),
        ),
        max_leaves=8,
    ),
    st.sampled_from(
        ["onnx", "tensorflow", "keras", "pytorch", "paddle", "sklearn", "python_function", "spacy"]
    ),
)
def test_any_values_in_an_mlmodel(value: object, flavor: str) -> None:
    content = json.dumps({"flavors": {flavor: value}, "signature": value}).encode()
    survives(lambda: recognised(MemoryFiles({"MLmodel": content, "model.onnx": ONNX})))


@quick
@given(st.one_of(st.binary(max_size=300), mutated(KERAS)))
def test_the_zip_reader(data: bytes) -> None:
    names = zip_names(Window(lambda start, length: data[start : start + length], len(data)))
    assert len(names) <= len(data)


@quick
@given(
    st.dictionaries(
        st.sampled_from(
            [
                "m",
                "m.onnx",
                "m.pb",
                "saved_model.pb",
                "variables/variables.index",
                "MLmodel",
                "m.pt",
                "m.xml",
                "1/m.xml",
            ]
        ),
        st.one_of(
            st.binary(max_size=60),
            wire_messages,
            mutated(ONNX),
            mutated(INDEX),
            mutated(MLMODEL),
            mutated(KERAS),
        ),
        min_size=1,
        max_size=4,
    )
)
def test_any_tree(contents: dict[str, bytes]) -> None:
    survives(lambda: recognised(MemoryFiles(contents)))
    survives(lambda: recognised(MemoryFiles(contents, sizes_known=False)))


@quick
@given(st.text(max_size=30))
def test_a_path_from_a_model_stays_inside_or_is_refused(path: str) -> None:
    try:
        found = inside("base", path, "a file")
    except CorruptModelError:
        return
    assert found == "base" or found.startswith("base/")
    assert ".." not in found.split("/")


class Counted:
    """A window's source that counts bytes, to see that work stays in proportion."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.total = 0

    def read(self, start: int, length: int) -> bytes:
        found = self.data[start : start + length]
        self.total += len(found)
        return found


@pytest.mark.parametrize("length", [1, 200, 5000])
def test_an_outline_reads_in_proportion(length: int) -> None:
    data = bytes_field(7, bytes_field(5, bytes_field(9, b"x" * length)) * 50)
    counted = Counted(data)
    onnx_outline(Window(counted.read, len(data)))
    assert counted.total < 3 * len(data) + 50 * 8192


def test_an_index_whose_blocks_overlap_is_refused() -> None:
    entry = b"\0\x01\x02k" + varint_field(4, 1)
    block = entry * 3 + struct.pack("<II", 0, 1)
    data = block + b"\0" + b"\0" * 4
    handle = bytes([0, len(block)])
    top = b"".join(b"\0\x01\x02" + bytes([97 + number]) + handle for number in range(9)) + struct.pack(
        "<II", 0, 1
    )
    footer = (b"\0\0" + encode_varint(len(data)) + encode_varint(len(top))).ljust(40, b"\0")
    index = data + top + b"\0" + b"\0" * 4 + footer + struct.pack("<Q", 0xDB4775248B80FB57)
    with pytest.raises(CorruptModelError, match="overlap"):
        read_checkpoint(memoryview(index))


def test_a_name_that_grows_with_every_entry_is_refused() -> None:
    entries = b"".join(encode_varint(number) + b"\x01\0k" for number in range(6000))
    block = entries + struct.pack("<II", 0, 1)
    top = b"\0\x01" + bytes([1 + len(encode_varint(len(block)))]) + b"k\0" + encode_varint(len(block))
    top += struct.pack("<II", 0, 1)
    start = len(block) + 5
    footer = (b"\0\0" + encode_varint(start) + encode_varint(len(top))).ljust(40, b"\0")
    index = block + b"\0" * 5 + top + b"\0" * 5 + footer + struct.pack("<Q", 0xDB4775248B80FB57)
    with pytest.raises(CorruptModelError, match="damaged"):
        read_checkpoint(memoryview(index))


def test_a_shape_of_a_million_dimensions_is_refused() -> None:
    dims = bytes_field(1, b"\xff\xff\xff\xff\xff\xff\xff\xff\x7f" * 100_000)
    with pytest.raises(CorruptModelError, match="impossible shape"):
        describe_onnx(memoryview(bytes_field(7, bytes_field(5, dims + varint_field(2, 1)))))
