"""What TFLite, Paddle and frozen graphs say about themselves, read without any framework."""

import struct
from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ovms_converter.errors import CorruptModelError
from ovms_converter.formats import LocalFiles, identify, open_tree
from ovms_converter.formats.base import ModelDescription
from ovms_converter.formats.contents import Contents
from ovms_converter.formats.describe import describe
from ovms_converter.formats.flatbuffer import root
from ovms_converter.formats.frozen import read_frozen
from ovms_converter.formats.paddle import read_paddle
from ovms_converter.formats.tflite import read_tflite
from ovms_converter.formats.tree import Window

DATA = Path(__file__).parent.parent / "data"
NATIVE = DATA / "optimizer" / "native"
FROZEN = DATA / "optimizer/signatures/frozen.pb"
PADDLE = DATA / "formats/mlflow/2.9.2-paddle/model.pdmodel"
READERS = {NATIVE / "float.tflite": read_tflite, FROZEN: read_frozen, PADDLE: read_paddle}


def described(path: Path) -> ModelDescription:
    files = LocalFiles(path)
    return describe(files, identify(open_tree(files), "auto"))


def window(data: bytes) -> Window:
    return Window(lambda start, length: data[start : start + length], len(data))


def texts(found: ModelDescription) -> tuple[list[str], list[str]]:
    return [str(each) for each in found.inputs], [str(each) for each in found.outputs]


def test_tflite() -> None:
    found = described(NATIVE / "float.tflite")
    assert texts(found) == (
        ["serving_default_image:0 float32 [?,8,8,3]"],
        ["StatefulPartitionedCall:1 float32 [?,5]", "StatefulPartitionedCall:0 float32 [?,4]"],
    )
    assert found.operations == {"tflite": {"CONV_2D": 1, "MEAN": 1, "FULLY_CONNECTED": 1}}
    inputs, outputs = found.signatures["serving_default"]
    assert [str(each) for each in inputs] == ["image float32 [?,8,8,3]"]
    assert len(outputs) == 2
    assert found.parameters == 139
    assert found.producer == "MLIR Converted."


def test_tflite_of_eight_bits() -> None:
    found = described(NATIVE / "int8.tflite")
    assert texts(found)[0] == ["serving_default_image:0 int8 [?,8,8,3]"]
    assert found.parameter_bytes is not None
    assert found.parameter_bytes < 200


def test_paddle() -> None:
    found = described(PADDLE.parent)
    assert texts(found) == (["x float32 [?,4]"], ["save_infer_model/scale_0.tmp_0 float32 [?,3]"])
    assert found.operations["paddle"]["matmul_v2"] == 2
    assert (found.parameters, found.parameter_bytes) == (67, 268)


def test_frozen_graph() -> None:
    found = described(FROZEN)
    assert texts(found) == (["input float32 [?,8,8,3]"], ["split unknown [...]"])
    assert found.operations["tensorflow"]["Conv2D"] == 1
    assert found.parameter_bytes == 444


def test_frozen_graph_of_which_the_constants_are_not_read(tmp_path: Path) -> None:
    """A constant of 40 MB between two nodes: a few kB are asked for."""
    from ovms_converter.formats.wire import bytes_field, varint_field

    content = bytes_field(2, bytes_field(2, varint_field(1, 10_000_000))) + varint_field(1, 1)
    tensor = bytes_field(8, content + bytes_field(4, bytes(40_000_000)))
    value = bytes_field(1, "value") + bytes_field(2, tensor)
    constant = bytes_field(1, "w") + bytes_field(2, "Const") + bytes_field(5, value)
    relu = bytes_field(1, "y") + bytes_field(2, "Relu") + bytes_field(3, "w")
    data = bytes_field(1, constant) + bytes_field(1, relu)
    asked: list[int] = []

    def read(start: int, length: int) -> bytes:
        asked.append(length)
        return data[start : start + length]

    found = read_frozen(Window(read, len(data)))
    assert found.weights == (("float32", 10_000_000, 40_000_000),)
    assert [each.name for each in found.outputs] == ["y"]
    assert sum(asked) < 200_000


@given(
    st.sampled_from(sorted(READERS)),
    st.lists(st.tuples(st.integers(0, 20_000), st.integers(0, 255)), min_size=1, max_size=12),
    st.integers(0, 20_000),
)
def test_damage_is_told_and_nothing_else_happens(
    path: Path, changes: list[tuple[int, int]], cut: int
) -> None:
    data = bytearray(path.read_bytes())
    for at, value in changes:
        data[at % len(data)] = value
    data = data[: max(len(data) - cut, 1)] if cut % 3 == 0 else data
    try:
        found = READERS[path](window(bytes(data)))
    except CorruptModelError:
        return
    assert isinstance(found, Contents)
    assert isinstance(found.operations(), Mapping)


def test_a_file_that_lists_one_part_again_and_again() -> None:
    """3,000 graphs that are all the same one, of 3,000 operations that are all the same one: 9,000,000."""
    count = 3000
    listing = 4 + 4 * count
    head = struct.pack("<I", 16) + struct.pack("<HHHHHH", 12, 8, 0, 0, 4, 4)

    def table_and_list(at: int) -> bytes:
        """A table at `at`, the list that it has right behind, and what all its entries are behind that."""
        following = at + 8 + listing
        entries = b"".join(struct.pack("<I", following - place) for place in range(at + 12, following, 4))
        return struct.pack("<iI", at - 4, 4) + struct.pack("<I", count) + entries

    data = head + table_and_list(16) + table_and_list(16 + 8 + listing)
    data += struct.pack("<iI", len(data) - 4, 0)
    graphs = root(window(data)).tables(2)
    assert len(graphs) == count
    with pytest.raises(CorruptModelError, match="more parts"):
        for graph in graphs:
            graph.tables(3)
