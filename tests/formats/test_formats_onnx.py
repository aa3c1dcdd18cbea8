"""ONNX: recognised by its bytes, whole or refused; external data checked before anything opens it."""

from pathlib import Path

import onnx
import pytest
from onnx import TensorProto, helper

from formats_helpers import FLOAT_INPUT, MemoryFiles, adding, external_tensor, onnx_bytes
from ovms_converter import formats
from ovms_converter.errors import AmbiguousModelError, CorruptModelError, ModelError, UnsupportedModelError
from ovms_converter.formats.base import SourceModel
from ovms_converter.formats.onnx_graph import describe_onnx
from ovms_converter.formats.wire import bytes_field


def write(root: Path, data: bytes, **others: bytes) -> SourceModel:
    """Put a model and its neighbours into a directory, and recognise it."""
    return formats.recognise(formats.LocalFiles(MemoryFiles({"m.onnx": data, **others}).write_to(root)))


@pytest.mark.parametrize("name", ["model.onnx", "model", "model.bin", "weights.pb"])
def test_a_file_is_recognised_by_its_bytes_whatever_its_name(name: str) -> None:
    found = formats.recognise(MemoryFiles({name: onnx_bytes()}))
    assert (found.format, found.path, found.needs, found.stem) == (
        "onnx",
        name,
        (name,),
        name.partition(".")[0],
    )


def test_a_directory_with_one_model_is_that_model() -> None:
    files = MemoryFiles(
        {
            "README.md": b"# hello",
            "sub/net.onnx": onnx_bytes(),
            "sub/weights": b"\1\2\3\4" * 100,
            "test_data_set_0/input_0.pb": helper.make_tensor(
                "x", TensorProto.FLOAT, [1], [1.0]
            ).SerializeToString(),
        }
    )
    found = formats.recognise(files)
    assert (found.path, found.stem) == ("sub/net.onnx", "net")


def test_several_models_are_listed_by_the_sub_path_to_give() -> None:
    files = MemoryFiles({f"m{number:02}.onnx": onnx_bytes() for number in range(13)})
    with pytest.raises(AmbiguousModelError) as caught:
        formats.recognise(files)
    assert caught.value.message == (
        "there are 13 models: " + ", ".join(f"`m{number:02}.onnx`" for number in range(10)) + " and 3 more"
    )
    assert caught.value.hint is not None
    assert "<input_model>/m00.onnx" in caught.value.hint


def test_a_file_without_a_known_size_is_recognised_by_its_beginning() -> None:
    data = onnx_bytes(adding("w"), [helper.make_tensor("w", TensorProto.FLOAT, [4000], [0.5] * 4000)])
    assert formats.recognise(MemoryFiles({"m": data}, sizes_known=False)).format == "onnx"


def test_recognising_a_large_file_reads_a_few_kilobytes() -> None:
    weights = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[1 << 20], raw_data=bytes(4 << 20))
    files = MemoryFiles({"m.onnx": onnx_bytes(adding("w"), [weights])})
    formats.recognise(files)
    assert files.bytes_read < 10_000


@pytest.mark.parametrize("kept", [0.02, 0.3, 0.9, 0.999])
def test_a_truncated_file_is_one_line_before_it_is_fetched(kept: float) -> None:
    weights = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[4096], raw_data=bytes(4 * 4096))
    data = onnx_bytes(adding("w"), [weights])
    with pytest.raises(CorruptModelError, match=r"^`m\.onnx` is truncated or damaged: ") as caught:
        formats.recognise(MemoryFiles({"m.onnx": data[: int(len(data) * kept)]}))
    assert caught.value.hint


def test_random_bytes_named_onnx_are_damage_also_beside_a_readme() -> None:
    for others in ({}, {"README": b"hello", "LICENSE": b"free"}):
        with pytest.raises(CorruptModelError, match=r"`m\.onnx` is truncated or damaged"):
            formats.recognise(MemoryFiles({"m.onnx": b"\xf7\xff\x11" * 99, **others}))


def test_damage_inside_the_graph_is_found_after_fetching(tmp_path: Path) -> None:
    data = bytearray(onnx_bytes())
    at = data.index(b"Relu")
    data[at - 1] = 0x7F
    model = write(tmp_path, bytes(data))
    with pytest.raises(CorruptModelError, match=r"^`m\.onnx` is truncated or damaged: "):
        formats.companions(tmp_path, model)


def test_external_data_is_found_in_every_corner_of_a_model(tmp_path: Path) -> None:
    inner = helper.make_graph(
        [helper.make_node("Identity", ["deep"], ["out"])],
        "inner",
        [],
        [helper.make_tensor_value_info("out", TensorProto.FLOAT, [4])],
        [external_tensor("deep", "subgraph.bin")],
    )
    branch = helper.make_node("If", ["flag"], ["y"], then_branch=inner, else_branch=inner)
    constant = helper.make_node("Constant", [], ["c"], value=external_tensor("c", "attribute.bin"))
    flag = helper.make_tensor_value_info("flag", TensorProto.BOOL, [])
    function = helper.make_function(
        "local",
        "F",
        ["a"],
        ["b"],
        [helper.make_node("Constant", [], ["b"], value=external_tensor("k", "function.bin"))],
        [helper.make_opsetid("", 17)],
    )
    model = onnx.ModelProto.FromString(
        onnx_bytes(
            [constant, branch],
            [external_tensor("w", "weights.bin")],
            functions=[function],
            inputs=[FLOAT_INPUT, flag],
        )
    )
    sparse = model.graph.sparse_initializer.add(dims=[8])
    sparse.values.CopyFrom(external_tensor("s", "sparse.bin"))
    sparse.indices.CopyFrom(helper.make_tensor("i", TensorProto.INT64, [4], [0, 1, 2, 3]))
    model.training_info.add().algorithm.initializer.append(external_tensor("t", "training.bin"))
    model.graph.initializer.append(external_tensor("v", "./sub//more.bin"))
    found = write(tmp_path, model.SerializeToString())
    assert formats.companions(tmp_path, found) == (
        "attribute.bin",
        "function.bin",
        "sparse.bin",
        "sub/more.bin",
        "subgraph.bin",
        "training.bin",
        "weights.bin",
    )


@pytest.mark.parametrize(
    "location",
    ["../secret", "/etc/passwd", "sub/../../x", r"..\x", r"C:\x", r"sub\w.bin", "s3://bucket/x", "", " "],
)
def test_external_data_outside_the_directory_is_refused(tmp_path: Path, location: str) -> None:
    found = write(tmp_path, onnx_bytes(adding("w"), [external_tensor("w", location)]))
    with pytest.raises(CorruptModelError, match="tensor `w`"):
        formats.companions(tmp_path, found)


def test_external_data_behind_a_link_out_of_the_directory_is_refused(tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(bytes(16))
    root = tmp_path / "model"
    root.mkdir()
    found = write(root, onnx_bytes(adding("w"), [external_tensor("w", "w.bin")]))
    (root / "w.bin").symlink_to(tmp_path / "secret")
    with pytest.raises(CorruptModelError, match=r"`w\.bin`, which tensor `w` names, is a link out of"):
        formats.companions(root, found)


@pytest.mark.parametrize(
    ("offset", "length", "fits"), [(0, 16, True), (4, 12, True), (4, 16, False), (99, 0, False)]
)
def test_external_data_must_be_as_long_as_the_graph_says(
    tmp_path: Path, offset: int, length: int, fits: bool
) -> None:
    tensor = external_tensor("w", "w.bin", offset=offset, length=length)
    data = onnx_bytes(adding("w"), [tensor])
    found = write(tmp_path, data, **{"w.bin": bytes(16)})
    listed = formats.LocalFiles(tmp_path)
    single = MemoryFiles({"m.onnx": data}, hidden={"w.bin": bytes(16)})
    for files in (None, listed, single):
        if fits:
            assert formats.companions(tmp_path, found, files) == ("w.bin",)
        else:
            with pytest.raises(
                CorruptModelError, match=r"`w\.bin` is truncated: tensor `w` of `m\.onnx` ends at byte"
            ):
                formats.companions(tmp_path, found, files)


def test_a_length_that_is_not_given_follows_from_the_shape(tmp_path: Path) -> None:
    found = write(
        tmp_path, onnx_bytes(adding("w"), [external_tensor("w", "w.bin", [100])]), **{"w.bin": bytes(16)}
    )
    with pytest.raises(CorruptModelError, match="ends at byte 400, and the file has 16"):
        formats.companions(tmp_path, found)


def test_a_missing_neighbour_of_a_single_object_is_named(tmp_path: Path) -> None:
    data = onnx_bytes(adding("w"), [external_tensor("w", "w.bin")])
    found = write(tmp_path, data)
    with pytest.raises(
        CorruptModelError, match=r"tensor `w` of `m\.onnx` is in the file `w\.bin`, which is missing"
    ):
        formats.companions(tmp_path, found, MemoryFiles({"m.onnx": data}))


@pytest.mark.parametrize("value", ["-4", "many", "9" * 30])
def test_an_offset_that_is_no_number_is_damage(tmp_path: Path, value: str) -> None:
    found = write(tmp_path, onnx_bytes(adding("w"), [external_tensor("w", "w.bin", offset=value)]))
    with pytest.raises(CorruptModelError, match=r"tensor `w` has the offset .*, which is no number"):
        formats.companions(tmp_path, found)


def test_operators_on_maps_are_refused_in_plain_words_unless_the_graph_is_cut(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("DictVectorizer", ["x"], ["s"], domain="ai.onnx.ml"),
        helper.make_node("LinearRegressor", ["s"], ["y"], domain="ai.onnx.ml"),
    ]
    found = write(tmp_path, onnx_bytes(nodes, opsets={"": 17, "ai.onnx.ml": 1}))
    with pytest.raises(UnsupportedModelError) as caught:
        formats.companions(tmp_path, found)
    assert "`ai.onnx.ml`" in caught.value.message
    assert caught.value.message.endswith(": `DictVectorizer` (1)")
    assert formats.companions(tmp_path, found, cut=True) == ()


def test_operators_that_have_a_plain_form_are_not_refused(tmp_path: Path) -> None:
    nodes = [helper.make_node("TreeEnsembleRegressor", ["x"], ["y"], domain="ai.onnx.ml")]
    found = write(tmp_path, onnx_bytes(nodes, opsets={"": 17, "ai.onnx.ml": 3}))
    assert formats.companions(tmp_path, found) == ()


def test_what_a_model_declares() -> None:
    weight = helper.make_tensor("w", TensorProto.FLOAT16, [4], [1.0] * 4)
    listed = helper.make_tensor_value_info("w", TensorProto.FLOAT16, [4])
    function = helper.make_function(
        "local",
        "Twice",
        ["a"],
        ["b"],
        [helper.make_node("Add", ["a", "a"], ["b"])],
        [helper.make_opsetid("", 17)],
    )
    nodes = [
        helper.make_node("Twice", ["x"], ["t"], domain="local"),
        helper.make_node("Gelu", ["t"], ["g"], domain="com.microsoft"),
        helper.make_node("Relu", ["g"], ["y"]),
    ]
    found = describe_onnx(
        memoryview(
            onnx_bytes(
                nodes, [weight], {"": 17, "com.microsoft": 1, "local": 1}, [function], [FLOAT_INPUT, listed]
            )
        )
    )
    assert [str(spec) for spec in found.inputs] == ["x float32 [N,4]"]
    assert [str(spec) for spec in found.outputs] == ["y float32 [N,4]"]
    assert found.opsets == {"ai.onnx": 17, "com.microsoft": 1, "local": 1}
    assert found.operations == {"ai.onnx": {"Relu": 1, "Add": 1}, "com.microsoft": {"Gelu": 1}}
    assert found.functions == ("local:Twice",)
    assert (found.parameters, found.parameter_bytes) == (4, 8)
    assert found.producer == "tests"


def test_graphs_nested_without_end_are_refused(tmp_path: Path) -> None:
    graph = b""
    for _ in range(80):
        graph = bytes_field(1, bytes_field(5, bytes_field(6, graph)))
    found = write(tmp_path, b"\x08\x08" + bytes_field(7, graph))
    with pytest.raises(ModelError, match="nested more than 64 deep"):
        formats.companions(tmp_path, found)
